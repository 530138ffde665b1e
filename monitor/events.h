/*
 * What happened to a machine, in order, for whoever watches: the last EVENTS_KEPT events, each with
 * a sequence number.
 *
 *     instance, console, devices --event_emit()--> ring --event_get()--> readers, at their own pace
 *
 * A reader is a sequence number.  One that is too slow finds that its event is gone and goes on
 * with the oldest that is still there; the gap in the numbers tells it how many it has missed.
 * Nothing here waits for a reader.
 *
 * The loop's thread.
 */
#ifndef MVM_EVENTS_H
#define MVM_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

enum { EVENTS_KEPT = 256, EVENT_SUBJECT_MAX = 80, EVENT_TEXT_MAX = 256 };

enum event_kind {
	EVENT_STATE,       /* text: the new state's name, as instance_state_name() says it */
	EVENT_BOOT_DONE,   /* the guest's own mark (legacy/post.h); number: us since the start was
			    * asked for */
	EVENT_PANIC,       /* text: the line seen on the console */
	EVENT_NEEDS_RESET, /* subject: the device's id; text: the rule that its driver broke */
	EVENT_LIMITER, /* subject: the device's id; number: times it was held back since the last */
	EVENT_DISK,    /* subject: the disk's id; number: its size in bytes; text: its path */
	EVENT_EXIT,    /* number: the exit status of the process; text: why */
	EVENT_KINDS,
};

struct event {
	uint64_t seq;    /* from 1 on, without gaps */
	int64_t time_us; /* CLOCK_REALTIME */
	enum event_kind kind;
	uint64_t number;
	char subject[EVENT_SUBJECT_MAX];
	char text[EVENT_TEXT_MAX]; /* from the guest where the kind says so: any bytes but NUL */
};

/* Told of every new event; the reader's own. */
struct event_listener {
	void (*ready)(struct event_listener *l); /* must not emit, add or remove */
	/* private */
	struct event_listener *next, *prev;
};

struct events {
	uint64_t next; /* the sequence number that the next event gets */
	struct event *ring;
	struct event_listener *listeners;
};

/* 0 or -ENOMEM.  The memory is only touched where events have been. */
MUST_CHECK int events_init(struct events *ev);
void events_fini(struct events *ev); /* accepts a zeroed one */

/* subject and text may be NULL; what is too long is cut off. */
void event_emit(struct events *ev, enum event_kind kind, const char *subject, uint64_t number,
	const char *text);

/*
 * The event with the number *seq, or the oldest that is kept when that one is gone; *seq is then
 * its number plus one.  NULL when it has not happened yet.  Valid until the next event_emit().
 */
const struct event *event_get(const struct events *ev, uint64_t *seq);

void event_listen(struct events *ev, struct event_listener *l);
void event_unlisten(struct events *ev, struct event_listener *l);

#endif
