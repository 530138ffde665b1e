/*
 * Log lines for people: one write per line, no allocation, any thread, never from a signal handler.
 *
 * Two shapes.  Plain, for a person at a terminal: "mvm: warning: text".  Stamped, as clients of the
 * API know it: "2026-11-21T09:13:44.123456789 [ID:THREAD:LEVEL:FILE:LINE] text", in local time,
 * with the name of the thread that writes; level and origin only where they were asked for.
 *
 * A line stays one line, whatever a guest or a client puts into its text: control characters and
 * bytes that are not UTF-8 are written as \n, \t, \xNN.  What is longer than LOG_LINE_MAX bytes is
 * cut off.  A stamped line is never waited for: one that cannot be written at once is lost and
 * counted.
 *
 * The settings are the one mutable global of the program, because a log that had to be passed to
 * every function would be in every signature for the sake of a few words.  One thread at a time
 * changes them, while any number of threads log: a line that is written at that moment has the old
 * settings or the new ones, never some of each.
 *
 * Only main, the vCPU loop, servers, metrics and virtio devices log above debug - the last of what
 * a guest or the host did to them while nobody waits for an answer; everybody else returns an
 * error.
 */
#ifndef MVM_BASE_LOG_H
#define MVM_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct err;

enum log_level { LOG_OFF = -1, LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_TRACE };

enum { LOG_LINE_MAX = 4096 }; /* with its newline; what a FIFO takes whole (PIPE_BUF) */

/* Plain lines to fd, which stays the caller's.  Until then: warnings and worse, to stderr. */
void log_init(enum log_level threshold, int fd);

enum { LOG_ID_MAX = 64, LOG_MODULE_MAX = 64 };

/* Stamped lines from now on, to where lines went so far, without level and origin; id is copied, up
 * to LOG_ID_MAX bytes of it. */
void log_stamp(const char *id);

void log_set_level(enum log_level threshold);

/* For stamped lines: what they show, and what the path of a line's file, from the top of the
 * sources ("virtio/net.c"), must begin with (NULL or empty: nothing).  A longer module than
 * LOG_MODULE_MAX is one that no file is of. */
void log_show(bool level, bool origin);
void log_set_module(const char *module);

/*
 * Lines go to the file at path: appended to, made where it is not there; a FIFO is never waited
 * for, with or without a reader (io_open_sink()).  The file of an earlier call is closed.  0, or
 * -errno with e filled and all as before.
 */
MUST_CHECK int log_open(const char *path, struct err *e);

/* Lines that could not be written, whole or in part, and lines that a budget kept back. */
uint64_t log_missed(void);
uint64_t log_limited(void);

/* A line as it is, with its newline, from a signal handler; whatever the threshold. */
void log_from_signal(const char *line, size_t len);

bool log_is_on(enum log_level level);

void log_line(enum log_level level, const char *file, int line, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

/* What is not logged is not evaluated. */
#define log_at(level, ...)                                                                         \
	do {                                                                                       \
		if (log_is_on(level))                                                              \
			log_line(level, __FILE__, __LINE__, __VA_ARGS__);                          \
	} while (0)

#define log_error(...)   log_at(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LOG_DEBUG, __VA_ARGS__)

/*
 * A budget per call site for lines that a guest can cause: at most LOG_BURST in each LOG_WINDOW_MS,
 * so that a hostile guest cannot flood the host.  The first line of a new window says how many were
 * swallowed.
 */
enum { LOG_BURST = 10, LOG_WINDOW_MS = 5000 };

struct log_budget {
	_Atomic uint64_t
		window; /* number of the LOG_WINDOW_MS since boot that the counts belong to */
	_Atomic uint32_t used;
	_Atomic uint32_t swallowed;
};

/* True when a line may be written now; *ret_swallowed is how many were not since the last one that
 * was. */
bool log_budget_take(struct log_budget *b, uint64_t now_ms, uint32_t *ret_swallowed);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t log_now_ms(void);

#define log_guest(level, fmt, ...)                                                                 \
	do {                                                                                       \
		static struct log_budget budget_;                                                  \
		uint32_t swallowed_ = 0;                                                           \
		if (log_is_on(level) && log_budget_take(&budget_, log_now_ms(), &swallowed_)) {    \
			log_line(level, __FILE__, __LINE__, fmt, ##__VA_ARGS__);                   \
			if (swallowed_ > 0)                                                        \
				log_line(level, __FILE__, __LINE__,                                \
					"%u lines like the last one were left out", swallowed_);   \
		}                                                                                  \
	} while (0)

#endif
