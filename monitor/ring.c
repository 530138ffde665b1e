/* A bounded ring of bytes (ring.h). */
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int ring_init(struct ring *r, size_t size)
{
	void *buf = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*r = (struct ring){ 0 };
	if (buf == MAP_FAILED)
		return -errno;
	(void)pthread_mutex_init(&r->lock, NULL);
	r->buf = buf;
	r->size = size;
	return 0;
}

void ring_fini(struct ring *r)
{
	if (!r->buf)
		return;
	(void)munmap(r->buf, r->size);
	(void)pthread_mutex_destroy(&r->lock);
	*r = (struct ring){ 0 };
}

bool ring_push(struct ring *r, uint8_t byte)
{
	bool was_empty;

	(void)pthread_mutex_lock(&r->lock);
	was_empty = r->count == 0;
	if (r->count < r->size) {
		r->buf[(r->first + r->count) % r->size] = byte;
		r->count++;
	} else {
		r->dropped++;
	}
	(void)pthread_mutex_unlock(&r->lock);
	return was_empty;
}

size_t ring_peek(struct ring *r, uint8_t *buf, size_t len)
{
	size_t n, straight;

	(void)pthread_mutex_lock(&r->lock);
	n = MIN(len, r->count);
	straight = MIN(n, r->size - r->first);
	memcpy(buf, r->buf + r->first, straight);
	memcpy(buf + straight, r->buf, n - straight);
	(void)pthread_mutex_unlock(&r->lock);
	return n;
}

void ring_pop(struct ring *r, size_t len)
{
	(void)pthread_mutex_lock(&r->lock);
	INVARIANT(len <= r->count);
	r->count -= len;
	r->first = r->count == 0 ? 0 : (r->first + len) % r->size;
	(void)pthread_mutex_unlock(&r->lock);
}

uint64_t ring_dropped(struct ring *r)
{
	uint64_t n;

	(void)pthread_mutex_lock(&r->lock);
	n = r->dropped;
	(void)pthread_mutex_unlock(&r->lock);
	return n;
}
