/* Log lines on one descriptor (log.h). */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static struct {
	enum log_level threshold;
	int fd;
} sink = { LOG_WARNING, STDERR_FILENO };

void log_init(enum log_level threshold, int fd)
{
	sink.threshold = threshold;
	sink.fd = fd;
}

bool log_is_on(enum log_level level)
{
	return level <= sink.threshold;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const words[] = {
		[LOG_ERROR] = "error: ",
		[LOG_WARNING] = "warning: ",
		[LOG_INFO] = "",
		[LOG_DEBUG] = "debug: ",
	};
	char line[LINE_MAX_BYTES];
	va_list args;
	int at, n;

	if (!log_is_on(level))
		return;
	at = snprintf(line, sizeof(line), "mvm: %s", words[level]);
	va_start(args, fmt);
	n = vsnprintf(line + at, sizeof(line) - (size_t)at - 1, fmt, args);
	va_end(args);
	if (n < 0)
		return;
	at = MIN(at + n, (int)sizeof(line) - 2);
	line[at++] = '\n';
	/* A log that cannot be written has nobody left to tell. */
	(void)!write(sink.fd, line, (size_t)at);
}

uint64_t log_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool log_budget_take(struct log_budget *b, uint64_t now_ms, uint32_t *ret_swallowed)
{
	/* Plus one, so that the zero of a fresh budget is never the current window. */
	uint64_t window = now_ms / LOG_WINDOW_MS + 1;
	uint64_t seen = atomic_load_explicit(&b->window, memory_order_relaxed);

	/* Relaxed everywhere: a line more or less in a race between two threads harms nobody. */
	if (seen != window && atomic_compare_exchange_strong_explicit(&b->window, &seen, window,
				      memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&b->used, 0, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&b->used, 1, memory_order_relaxed) >= LOG_BURST) {
		/* Back again, or a flood of 2^32 lines would wrap the count around and open the
		 * gate. */
		atomic_fetch_sub_explicit(&b->used, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&b->swallowed, 1, memory_order_relaxed);
		return false;
	}
	*ret_swallowed = atomic_exchange_explicit(&b->swallowed, 0, memory_order_relaxed);
	return true;
}
