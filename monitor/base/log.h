/*
 * Log lines for people: "mvm: warning: text" on stderr, one write per line, no allocation, any
 * thread.
 *
 * The threshold and the descriptor are the one mutable global of the program.  They are set before
 * the first thread starts and never after, because a log that had to be passed to every function
 * would be in every signature for the sake of two integers.
 *
 * Only main, the vCPU loop, servers and virtio devices log above debug - the last of what a guest
 * or the host did to them while nobody waits for an answer; everybody else returns an error.
 */
#ifndef MVM_BASE_LOG_H
#define MVM_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Before any thread starts.  fd stays the caller's. */
void log_init(enum log_level threshold, int fd);

bool log_is_on(enum log_level level);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

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
			log_line(level, fmt, ##__VA_ARGS__);                                       \
			if (swallowed_ > 0)                                                        \
				log_line(level, "%u lines like the last one were left out",        \
					swallowed_);                                               \
		}                                                                                  \
	} while (0)

#endif
