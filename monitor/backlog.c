/* The last bytes of a stream (backlog.h). */
#include "backlog.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int backlog_init(struct backlog *b, size_t size)
{
	void *buf = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	INVARIANT(size > 0 && (size & (size - 1)) == 0);
	*b = (struct backlog){ 0 };
	if (buf == MAP_FAILED)
		return -ENOMEM;
	(void)pthread_mutex_init(&b->lock, NULL);
	b->buf = buf;
	b->size = size;
	b->is_seen = true;
	return 0;
}

void backlog_fini(struct backlog *b)
{
	if (!b->buf)
		return;
	(void)munmap(b->buf, b->size);
	(void)pthread_mutex_destroy(&b->lock);
	*b = (struct backlog){ 0 };
}

bool backlog_push(struct backlog *b, uint8_t byte)
{
	bool is_first;

	(void)pthread_mutex_lock(&b->lock);
	b->buf[b->end & (b->size - 1)] = byte;
	b->end++;
	is_first = b->is_seen;
	b->is_seen = false;
	(void)pthread_mutex_unlock(&b->lock);
	return is_first;
}

size_t backlog_read(struct backlog *b, uint64_t *at, uint8_t *buf, size_t len, uint64_t *ret_missed)
{
	uint64_t oldest, missed = 0;
	size_t n, from, straight;

	(void)pthread_mutex_lock(&b->lock);
	INVARIANT(*at <= b->end);
	oldest = b->end > b->size ? b->end - b->size : 0;
	if (*at < oldest) {
		missed = oldest - *at;
		*at = oldest;
	}
	n = (size_t)MIN((uint64_t)len, b->end - *at);
	from = *at & (b->size - 1);
	straight = MIN(n, b->size - from);
	/* A caller that only asks what is gone has no buffer. */
	if (n > 0) {
		memcpy(buf, b->buf + from, straight);
		memcpy(buf + straight, b->buf, n - straight);
	}
	*at += n;
	if (*at == b->end)
		b->is_seen = true;
	(void)pthread_mutex_unlock(&b->lock);
	if (ret_missed)
		*ret_missed = missed;
	return n;
}

uint64_t backlog_end(struct backlog *b)
{
	uint64_t end;

	(void)pthread_mutex_lock(&b->lock);
	end = b->end;
	(void)pthread_mutex_unlock(&b->lock);
	return end;
}
