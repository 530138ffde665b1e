/* What happened to a machine (events.h). */
#include "events.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const size_t ring_bytes = EVENTS_KEPT * sizeof(struct event);

int events_init(struct events *ev)
{
	void *ring =
		mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*ev = (struct events){ .next = 1 };
	if (ring == MAP_FAILED)
		return -ENOMEM;
	ev->ring = ring;
	return 0;
}

void events_fini(struct events *ev)
{
	if (!ev->ring)
		return;
	INVARIANT(!ev->listeners);
	(void)munmap(ev->ring, ring_bytes);
	*ev = (struct events){ 0 };
}

static void put(char *to, size_t size, const char *from)
{
	size_t len = from ? strnlen(from, size - 1) : 0;

	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
}

void event_emit(struct events *ev, enum event_kind kind, const char *subject, uint64_t number,
	const char *text)
{
	struct event *e = &ev->ring[ev->next % EVENTS_KEPT];
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	e->seq = ev->next++;
	e->time_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	e->kind = kind;
	e->number = number;
	put(e->subject, sizeof(e->subject), subject);
	put(e->text, sizeof(e->text), text);
	for (struct event_listener *l = ev->listeners; l; l = l->next)
		l->ready(l);
}

const struct event *event_get(const struct events *ev, uint64_t *seq)
{
	uint64_t oldest = ev->next > EVENTS_KEPT ? ev->next - EVENTS_KEPT : 1;
	uint64_t at = MAX(*seq, oldest);

	if (at >= ev->next)
		return NULL;
	*seq = at + 1;
	return &ev->ring[at % EVENTS_KEPT];
}

void event_listen(struct events *ev, struct event_listener *l)
{
	l->prev = NULL;
	l->next = ev->listeners;
	if (l->next)
		l->next->prev = l;
	ev->listeners = l;
}

void event_unlisten(struct events *ev, struct event_listener *l)
{
	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		ev->listeners = l->next;
	l->next = l->prev = NULL;
}
