/* What happened to a machine, for readers at their own pace. */
#include "t.h"

#include <stdio.h>

#include "events.h"

TestSuite(events, .timeout = T_SECONDS);

Test(events, events_are_numbered_from_one_and_keep_what_they_were_given)
{
	struct events ev;
	const struct event *e;
	uint64_t seq = 0;

	t_int(events_init(&ev), 0);
	t_true(event_get(&ev, &seq) == NULL);
	t_uint(seq, 0);
	event_emit(&ev, EVENT_STATE, NULL, 0, "Running");
	event_emit(&ev, EVENT_LIMITER, "net0", 17, NULL);
	e = event_get(&ev, &seq);
	t_true(e != NULL);
	t_uint(e->seq, 1);
	t_int(e->kind, EVENT_STATE);
	t_str(e->subject, "");
	t_str(e->text, "Running");
	t_true(e->time_us > 1500000000000000);
	e = event_get(&ev, &seq);
	t_uint(e->seq, 2);
	t_uint(e->number, 17);
	t_str(e->subject, "net0");
	t_str(e->text, "");
	t_uint(seq, 3);
	t_true(event_get(&ev, &seq) == NULL);
	t_uint(seq, 3);
	events_fini(&ev);
	T_NO_LEAKS();
}

Test(events, a_slow_reader_goes_on_with_the_oldest_that_is_kept)
{
	struct events ev;
	uint64_t seq = 5, n = 0;
	const struct event *e;

	t_int(events_init(&ev), 0);
	for (unsigned i = 1; i <= 1000; i++)
		event_emit(&ev, EVENT_DISK, "d", i, NULL);
	while ((e = event_get(&ev, &seq)) != NULL) {
		if (n++ == 0)
			t_uint(e->seq, 1000 - EVENTS_KEPT + 1);
		t_uint(e->number, e->seq);
	}
	t_uint(n, EVENTS_KEPT);
	t_uint(seq, 1001);
	events_fini(&ev);
}

/* A client may ask for any number. */
Test(events, a_number_from_the_future_is_waited_for)
{
	static const uint64_t rows[] = { 2, 1000, UINT64_MAX };
	struct events ev;

	t_int(events_init(&ev), 0);
	event_emit(&ev, EVENT_STATE, NULL, 0, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t seq = rows[i];

		t_true(event_get(&ev, &seq) == NULL);
		t_uint(seq, rows[i]);
	}
	events_fini(&ev);
}

Test(events, what_is_too_long_is_cut_off)
{
	char subject[EVENT_SUBJECT_MAX + 10], text[EVENT_TEXT_MAX + 10];
	struct events ev;
	const struct event *e;
	uint64_t seq = 1;

	memset(subject, 's', sizeof(subject));
	memset(text, 't', sizeof(text));
	subject[sizeof(subject) - 1] = text[sizeof(text) - 1] = '\0';
	t_int(events_init(&ev), 0);
	event_emit(&ev, EVENT_PANIC, subject, 0, text);
	e = event_get(&ev, &seq);
	t_uint(strlen(e->subject), EVENT_SUBJECT_MAX - 1);
	t_uint(strlen(e->text), EVENT_TEXT_MAX - 1);
	/* The next one in the same place does not show what was there. */
	for (unsigned i = 0; i < EVENTS_KEPT; i++)
		event_emit(&ev, EVENT_STATE, "a", 0, "b");
	seq = 0;
	e = event_get(&ev, &seq);
	t_str(e->subject, "a");
	t_str(e->text, "b");
	events_fini(&ev);
}

struct listener {
	struct event_listener l;
	unsigned told;
};

static void ready(struct event_listener *l)
{
	container_of(l, struct listener, l)->told++;
}

Test(events, listeners_are_told_of_every_event_until_they_leave)
{
	struct listener a = { .l.ready = ready }, b = a, c = a;
	struct events ev;

	t_int(events_init(&ev), 0);
	event_listen(&ev, &a.l);
	event_listen(&ev, &b.l);
	event_listen(&ev, &c.l);
	event_emit(&ev, EVENT_STATE, NULL, 0, NULL);
	event_unlisten(&ev, &b.l);
	event_emit(&ev, EVENT_STATE, NULL, 0, NULL);
	event_unlisten(&ev, &c.l);
	event_unlisten(&ev, &a.l);
	event_emit(&ev, EVENT_STATE, NULL, 0, NULL);
	t_uint(a.told, 2);
	t_uint(b.told, 1);
	t_uint(c.told, 2);
	events_fini(&ev);
	events_fini(&ev);
}
