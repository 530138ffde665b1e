/* What the verbs that have a machine share. */
#ifndef MVM_CMD_MACHINE_H
#define MVM_CMD_MACHINE_H

#include <stdint.h>

#include "base/check.h"
#include "core/loop.h"

struct console;
struct err;

/* RAM and swap of this host in bytes, 0 when unknown. */
uint64_t cmd_host_memory(void);

/* The event loop, and a word in the log when it is not the one that was hoped for. */
MUST_CHECK int cmd_make_loop(enum loop_backend want, struct loop **ret, struct err *e);

/* Writes out what the console still has and logs what it has lost; stop_fd as in console_drain().
 * Accepts NULL. */
void cmd_finish_console(struct console *c, int stop_fd);

#endif
