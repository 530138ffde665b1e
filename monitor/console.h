/*
 * The host's side of the serial port, on the event loop.
 *
 *                              +--> stdout, or a file (one sink)
 *     vCPU --byte--> backlog --+--> readers that come and go (GET /serial, mvm console)
 *                              +--> a look for the words of a kernel panic
 *     vCPU <-- UART's FIFO <------- stdin, readers that type
 *
 * Output: a vCPU puts bytes into the backlog and goes on; the loop passes them on when a reader can
 * take them.  A reader that is slow loses bytes (counted), never the guest's time.  Input: taken
 * when the UART has room, never more than it takes.  On a terminal Ctrl-A begins a command for mvm;
 * there keys are read at any time and wait in a buffer, so that a guest that does not read cannot
 * keep the person from leaving.
 *
 * The loop's thread, but for what the UART calls.
 */
#ifndef MVM_CONSOLE_H
#define MVM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "core/loop.h"
#include "legacy/serial.h"
#include "virtio/limiter.h"

struct err;
struct console;

/* What a person asks for with Ctrl-A and a letter. */
enum console_command { CONSOLE_QUIT, CONSOLE_SHUTDOWN };

struct console_host {
	void (*command)(void *ctx, enum console_command command);
	/* A line of the guest's that tells of a kernel panic; without its newline, cut at
	 * EVENT_TEXT_MAX.  NULL: nobody asks. */
	void (*panicked)(void *ctx, const char *line);
	void *ctx;
};

enum {
	CONSOLE_BACKLOG = 256 * 1024, /* what the slowest reader may be behind */
	CONSOLE_HISTORY = 64 * 1024,  /* what one that comes late gets */
};

/*
 * Takes in_fd and out_fd (borrowed; -1: none).  has_keys: in_fd is a terminal, Ctrl-A is ours.  0
 * or -errno with e filled.
 */
MUST_CHECK int console_new(struct loop *l, int in_fd, int out_fd, bool has_keys,
	const struct console_host *host, struct console **ret, struct err *e);

/* The loop has stopped and no reader is left.  Accepts NULL. */
void console_free(struct console *c);

/*
 * Output goes to path from now on, instead of out_fd: a file is appended to and made where it is
 * not there, a FIFO is never waited for.  limit is for bytes that are written there (what is over
 * it is dropped and counted); NULL: none.  path NULL: the descriptor of console_new() again. Before
 * the guest runs.  0, or -errno with e filled and nothing changed.
 */
MUST_CHECK int console_set_output(
	struct console *c, const char *path, const struct bucket_config *limit, struct err *e);

/* What the UART needs, before the first vCPU runs; and the UART, when it exists.  NULL: there is
 * none any more. */
struct serial_host console_serial_host(struct console *c);
void console_attach(struct console *c, struct serial *s);

/* While the guest is paused no input is taken. */
void console_set_paused(struct console *c, bool is_paused);

/* --- readers that come and go --- */

/* What they call must not add or remove readers. */
struct console_reader {
	void (*ready)(struct console_reader *r); /* there is more to read */
	void (*room)(struct console_reader *r);  /* console_type() takes bytes again; may be NULL */
	/* private */
	uint64_t at;
	bool waits_for_room;
	struct console_reader *next, *prev;
};

/* To be read from at once.  from_history: begins CONSOLE_HISTORY bytes back, or where the output
 * began. */
void console_reader_add(struct console *c, struct console_reader *r, bool from_history);
void console_reader_remove(struct console *c, struct console_reader *r);

/* Up to len bytes that r has not seen yet, and how many; *ret_missed (may be NULL) as in
 * backlog_read(). */
size_t console_reader_read(struct console *c, struct console_reader *r, uint8_t *buf, size_t len,
	uint64_t *ret_missed);

/* Types for the guest: how many bytes were taken, the rest is to be offered again after r->room().
 */
size_t console_type(struct console *c, struct console_reader *r, const uint8_t *buf, size_t len);

/* --- the end --- */

/*
 * Writes out what is left for the sink, for at most timeout_ms without progress, and not once
 * stop_fd (-1: none) can be read.  After the loop has stopped.
 */
void console_drain(struct console *c, int timeout_ms, int stop_fd);

/* Back in the foreground: reads the terminal again, which ended when it was somebody else's. */
void console_resume(struct console *c);

/* Bytes that the sink lost because it was too slow or gone; and because of its limit. */
uint64_t console_dropped(struct console *c);
uint64_t console_limited(const struct console *c);

/* Bytes written by the guest since the start. */
uint64_t console_output_bytes(struct console *c);

/* Keys that were lost because the guest does not read. */
uint64_t console_keys_dropped(const struct console *c);

#endif
