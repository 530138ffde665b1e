/*
 * A bounded ring of bytes between one thread that must not wait and one that may be slow.  What
 * does not fit is dropped and counted.  It rewinds when it is empty, so that a quiet producer
 * touches the same few pages again and again.
 */
#ifndef MVM_RING_H
#define MVM_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct ring {
	pthread_mutex_t lock; /* held for a copy of bytes at most */
	uint8_t *buf;
	size_t size, first, count;
	uint64_t dropped;
};

/* 0 or -ENOMEM.  The memory is only touched where bytes have been. */
MUST_CHECK int ring_init(struct ring *r, size_t size);
void ring_fini(struct ring *r); /* accepts a zeroed ring */

/* Adds a byte; true when the ring was empty before, so that somebody has to be woken. */
bool ring_push(struct ring *r, uint8_t byte);

/* Copies up to len of the oldest bytes without taking them, and how many. */
size_t ring_peek(struct ring *r, uint8_t *buf, size_t len);

/* Takes the oldest len bytes, at most what ring_peek() said. */
void ring_pop(struct ring *r, size_t len);

uint64_t ring_dropped(struct ring *r);

#endif
