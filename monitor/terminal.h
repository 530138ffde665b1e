/*
 * The terminal on stdin: raw while a guest has it, as it was on every way out.
 *
 * The saved settings are the process's, because a crash handler must reach them: this is the second
 * and last mutable global of the program (the other is the log).
 */
#ifndef MVM_TERMINAL_H
#define MVM_TERMINAL_H

#include <stdbool.h>

/*
 * Makes fd raw when it is a terminal and this process is in its foreground; true when it did.
 * Output processing stays on, so that log lines look right beside the guest's.  From then on fatal
 * signals of our own making (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL) restore it too.  Main
 * thread, once.
 */
bool terminal_make_raw(int fd);

/* Puts the old settings back; without a raw terminal nothing.  Async-signal-safe, may be called
 * twice. */
void terminal_restore(void);

/* Raw again after a stop in between, once we are in the foreground (SIGCONT). */
void terminal_resume(void);

#endif
