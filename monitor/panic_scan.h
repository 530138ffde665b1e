/*
 * Looks for the words of a kernel panic in what a guest writes to its console, line by line, in the
 * memory of one line.
 *
 * What a guest says of itself is a hint for people, nothing to decide by: any program in the guest
 * may write such a line.
 */
#ifndef MVM_PANIC_SCAN_H
#define MVM_PANIC_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

enum { PANIC_LINE_MAX = 256 };

struct panic_scan {
	/* A line with the words in its first PANIC_LINE_MAX - 1 bytes has ended; at most as many as
	 * a log budget allows.  line has neither NUL nor newline in it and is valid during the
	 * call. */
	void (*found)(struct panic_scan *p, const char *line);
	/* private */
	char line[PANIC_LINE_MAX];
	size_t len; /* bytes of the present line that are kept */
	struct log_budget budget;
};

void panic_scan_feed(struct panic_scan *p, const uint8_t *buf, size_t len);

#endif
