/*
 * The host's side of the serial port: stdin and stdout on the event loop.
 *
 * Output: a vCPU puts bytes into a ring and goes on; the loop writes them when the reader can take
 * them.  A reader that is slow costs bytes (counted), never the guest's time; a reader that is gone
 * costs all of them. Input: read when the UART has room, never more than it takes.  On a terminal
 * Ctrl-A begins a command for mvm; there keys are read at any time and wait in a buffer, so that a
 * guest that does not read cannot keep the person from leaving.
 */
#ifndef MVM_CONSOLE_H
#define MVM_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/loop.h"
#include "legacy/serial.h"

struct err;
struct console;

/* What a person asks for with Ctrl-A and a letter. */
enum console_command { CONSOLE_QUIT, CONSOLE_SHUTDOWN };

struct console_host {
	void (*command)(void *ctx, enum console_command command); /* on the loop's thread */
	void *ctx;
};

enum { CONSOLE_RING_SIZE = 256 * 1024 };

/*
 * Takes in_fd and out_fd (borrowed).  has_keys: in_fd is a terminal, Ctrl-A is ours.  Loop thread.
 * 0 or -errno with e filled.
 */
MUST_CHECK int console_new(struct loop *l, int in_fd, int out_fd, bool has_keys,
	const struct console_host *host, struct console **ret, struct err *e);

/* The loop has stopped.  Accepts NULL. */
void console_free(struct console *c);

/* What the UART needs, before the first vCPU runs; and the UART, when it exists. */
struct serial_host console_serial_host(struct console *c);
void console_attach(struct console *c, struct serial *s);

/*
 * Writes out what is left, for at most timeout_ms without progress, and not once stop_fd (-1: none)
 * can be read. After the loop has stopped.
 */
void console_drain(struct console *c, int timeout_ms, int stop_fd);

/* Back in the foreground: reads the terminal again, which ended when it was somebody else's.  Loop
 * thread. */
void console_resume(struct console *c);

/* Bytes that were lost because the reader was too slow or gone. */
uint64_t console_dropped(struct console *c);

/* Keys that were lost because the guest does not read. */
uint64_t console_keys_dropped(const struct console *c);

#endif
