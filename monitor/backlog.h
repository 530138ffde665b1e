/*
 * The last bytes of a stream, kept for any number of readers: one thread that must not wait writes,
 * the loop reads.
 *
 * A position is the number of bytes that were written before it, since the start.  A reader is a
 * position of its own; one that falls behind by more than the size finds its bytes gone, goes on
 * with the oldest that are kept, and is told how many it has missed.
 */
#ifndef MVM_BACKLOG_H
#define MVM_BACKLOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct backlog {
	pthread_mutex_t lock; /* held for a copy of bytes at most */
	uint8_t *buf;
	size_t size;  /* a power of 2 */
	uint64_t end; /* position behind the newest byte */
	bool is_seen; /* somebody looked at end since the last write */
};

/* 0 or -ENOMEM.  The memory is only touched where bytes have been. */
MUST_CHECK int backlog_init(struct backlog *b, size_t size);
void backlog_fini(struct backlog *b); /* accepts a zeroed one */

/* Adds a byte; true for the first one since backlog_read() found nothing more or since the start,
 * so that somebody has to be woken.  Any thread. */
bool backlog_push(struct backlog *b, uint8_t byte);

/*
 * Copies up to len bytes from *at on, and how many; *at moves behind them.  Where *at's byte is
 * gone it first moves to the oldest that is there, and *ret_missed (which may be NULL) gets the
 * distance, otherwise 0.
 */
size_t backlog_read(
	struct backlog *b, uint64_t *at, uint8_t *buf, size_t len, uint64_t *ret_missed);

/* The position behind the newest byte. */
uint64_t backlog_end(struct backlog *b);

#endif
