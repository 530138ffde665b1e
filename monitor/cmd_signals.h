/*
 * Signals of a process that has a machine: blocked in every thread and read from a descriptor on
 * the loop, so that none of them can hit us at a bad moment.
 *
 * The main thread.
 */
#ifndef MVM_CMD_SIGNALS_H
#define MVM_CMD_SIGNALS_H

#include "base/check.h"
#include "core/loop.h"

struct err;

struct signals_host {
	/* SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU; code as in siginfo_t */
	void (*end)(void *ctx, int signo, int code);
	void (*rescan)(void *ctx); /* SIGUSR1 */
	void (*resume)(void *ctx); /* SIGCONT: the terminal is ours again */
	void *ctx;
};

struct signals {
	int fd; /* can be read when a signal waits; -1 before signals_block() */
	struct loop_op op;
	struct loop *loop;
	struct signals_host host;
};

/*
 * From here on signals wait.  What we were started with ignored (nohup, a script's background job)
 * stays ignored; SIGPIPE and SIGXFSZ become errors of the write.  Threads that exist already have a
 * mask of their own.  0, or -errno with e filled.
 */
MUST_CHECK int signals_block(struct signals *s, struct err *e);

/* Serves them on l. */
void signals_serve(struct signals *s, struct loop *l, const struct signals_host *host);

void signals_fini(struct signals *s); /* the loop runs no more */

/* Ends the process the way the signal would have, so that a shell sees what happened. */
void signals_die_by(int signo);

#endif
