/*
 * Finds machines by their sockets: processes called mvm or firecracker that hold a listening Unix
 * socket.  Processes come and go while it looks; one that goes is left out.
 */
#ifndef MVM_PS_FIND_H
#define MVM_PS_FIND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/check.h"

struct err;

enum { PS_MACHINES_MAX = 65536 };

struct ps_found {
	pid_t pid;
	uid_t uid;
	uint64_t start_ticks; /* clock ticks since boot; 0: unknown */
	char *socket;         /* as the process knows it */
	char *reach;          /* where this process finds it: through /proc/PID/root or cwd */
};

struct ps_list {
	struct ps_found *machine;
	unsigned n;
};

/*
 * proc is "/proc".  With all set, the machines of all users whose processes this one may look
 * into; otherwise those of the own user.  In the order of process ids.  0, or -errno with e filled;
 * ret is then empty.
 */
MUST_CHECK int ps_find(const char *proc, bool all, struct ps_list *ret, struct err *e);

void ps_list_fini(struct ps_list *list); /* accepts a zeroed one */

#endif
