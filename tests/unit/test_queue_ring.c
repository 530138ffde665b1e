/*
 * Virtqueues, what comes back to the driver and who wakes whom: the used ring over many wraps of
 * its index, event index and flags on both sides, and drivers that change a queue while it is read.
 */
#include "t_queue.h"
#include "t_virtio_state.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

TestSuite(queue_ring, .timeout = 3 * T_SECONDS);

static const struct t_seg one[] = { { T_QUEUE_DATA, 8, true } };

/* One chain through the whole queue without a look at who wants to be told. */
static void cycle(struct t_queue *t, uint16_t head, uint32_t written)
{
	t_virtq_offer(&t->q, head);
	t_virtq_publish(&t->q);
	if (virtq_pop(&t->vq, &t->c) != 1)
		cr_fatal("chain %u of the queue is not there", t->q.next_avail);
	virtq_push(&t->vq, t->c.head, written);
}

/* Moves a fresh queue on by n chains, all of them published. */
static void advance(struct t_queue *t, unsigned n)
{
	t_virtq_chain(&t->q, 0, one, 1);
	for (unsigned i = 0; i < n; i++) {
		cycle(t, 0, 0);
		(void)virtq_publish(&t->vq);
	}
	t->q.seen_used = t->q.used->idx;
}

/* --- the used ring --- */

Test(queue_ring, what_is_pushed_is_seen_when_it_is_published_and_in_order)
{
	static const uint16_t order[] = { 3, 0, 2, 1 };
	struct t_queue t;
	uint32_t id = 99, len = 99;

	t_queue_init(&t, 4, 0);
	for (uint16_t i = 0; i < 4; i++)
		t_virtq_send(&t.q, i, one, 1);
	for (unsigned i = 0; i < 4; i++)
		t_int(virtq_pop(&t.vq, &t.c), 1);
	for (unsigned i = 0; i < 4; i++)
		virtq_push(&t.vq, order[i], 10 + order[i]);
	t_uint(t.vq.inflight, 0);
	t_uint(t_virtq_used_count(&t.q), 0);
	t_true(virtq_publish(&t.vq));
	t_uint(t_virtq_used_count(&t.q), 4);
	for (unsigned i = 0; i < 4; i++) {
		t_true(t_virtq_used(&t.q, &id, &len));
		t_uint(id, order[i]);
		t_uint(len, 10 + order[i]);
	}
	t_false(virtq_publish(&t.vq)); /* nothing new */
	t_queue_fini(&t);
}

Test(queue_ring, nothing_pushed_is_nothing_published)
{
	struct t_queue t;

	t_queue_init(&t, 4, 0);
	t_false(virtq_publish(&t.vq));
	t_uint(t.q.used->idx, 0);
	t_queue_fini(&t);
}

Test(queue_ring, more_pushed_than_popped_is_our_own_bug, .signal = SIGABRT)
{
	struct t_queue t;

	t_queue_init(&t, 4, 0);
	virtq_push(&t.vq, 0, 0);
}

/* Every size, with changing numbers of chains in flight, over three wraps of the 16-bit indices. */
Test(queue_ring, all_sizes_work_through_many_wraps_of_the_index)
{
	enum { CHAINS = 3 * 65536 + 100 };

	for (unsigned num = VIRTQ_SIZE_MIN; num <= VIRTQ_SIZE_MAX; num *= 2) {
		struct t_queue t;
		unsigned done = 0, wrong = 0;

		t_queue_init(&t, (uint16_t)num, 0);
		for (unsigned i = 0; i < num; i++)
			t_virtq_desc(
				&t.q, (uint16_t)i, T_QUEUE_DATA + i, i + 1, VRING_DESC_F_WRITE, 0);
		while (done < CHAINS) {
			unsigned n = 1 + done % num;
			uint32_t id, len;

			for (unsigned i = 0; i < n; i++)
				t_virtq_offer(&t.q, (uint16_t)((done + i) % num));
			t_virtq_publish(&t.q);
			for (unsigned i = 0; i < n; i++) {
				wrong += virtq_pop(&t.vq, &t.c) != 1;
				wrong += t.c.head != (done + i) % num;
				wrong += t.c.write_len != t.c.head + 1U;
			}
			wrong += virtq_pop(&t.vq, &t.c) != 0;
			for (unsigned i = 0; i < n; i++)
				virtq_push(&t.vq, (uint16_t)((done + i) % num), done + i);
			wrong += !virtq_publish(&t.vq);
			for (unsigned i = 0; i < n; i++) {
				wrong += !t_virtq_used(&t.q, &id, &len);
				wrong += id != (done + i) % num || len != done + i;
			}
			wrong += t_virtq_used_count(&t.q) != 0;
			done += n;
		}
		cr_expect(eq(uint, wrong, 0), "size %u", num);
		t_queue_fini(&t);
	}
}

/* --- interrupts --- */

Test(queue_ring, without_the_event_index_the_drivers_flag_suppresses_interrupts)
{
	struct t_queue t;

	t_queue_init(&t, 4, 0);
	advance(&t, 3);
	cycle(&t, 0, 0);
	t_true(virtq_publish(&t.vq));
	WRITE_ONCE(t.q.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	cycle(&t, 0, 0);
	t_false(virtq_publish(&t.vq));
	t_uint(t_virtq_used_count(&t.q), 2); /* seen all the same */
	/* Other bits mean nothing, and the field of the event index neither. */
	WRITE_ONCE(t.q.avail->flags, (uint16_t)~VRING_AVAIL_F_NO_INTERRUPT);
	t_virtq_used_event(&t.q, 1000);
	cycle(&t, 0, 0);
	t_true(virtq_publish(&t.vq));
	t_queue_fini(&t);
}

Test(queue_ring, with_the_event_index_the_drivers_flag_is_ignored)
{
	struct t_queue t;

	t_queue_init(&t, 4, T_EVENT_IDX);
	advance(&t, 0);
	WRITE_ONCE(t.q.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	t_virtq_used_event(&t.q, 0);
	cycle(&t, 0, 0);
	t_true(virtq_publish(&t.vq));
	t_queue_fini(&t);
}

/* 2.7.7.2: the driver is told when the entry that it named is among the new ones.  By counting. */
static bool is_among(uint16_t event, uint16_t old, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if ((uint16_t)(old + i) == event)
			return true;
	}
	return false;
}

Test(queue_ring, with_the_event_index_an_interrupt_comes_when_its_entry_is_among_the_new_ones)
{
	static const unsigned starts[] = { 0, 1, 32766, 65528, 65533, 65535, 65536, 65537 };

	for (unsigned s = 0; s < ARRAY_SIZE(starts); s++) {
		struct t_queue t;
		uint16_t old;

		t_queue_init(&t, 8, T_EVENT_IDX);
		advance(&t, starts[s]);
		for (unsigned n = 1; n <= 8; n++) {
			for (int near = -10; near <= 10; near++) {
				uint16_t event;

				old = t.q.used->idx;
				event = (uint16_t)(old + near);
				t_virtq_used_event(&t.q, event);
				for (unsigned i = 0; i < n; i++)
					cycle(&t, 0, 0);
				cr_expect(eq(int, virtq_publish(&t.vq), is_among(event, old, n)),
					"%u new from %u, event %u", n, old, event);
			}
		}
		t_queue_fini(&t);
	}
}

Test(queue_ring, an_event_far_away_suppresses_all_interrupts_until_it_comes)
{
	struct t_queue t;
	unsigned interrupts = 0;

	t_queue_init(&t, 16, T_EVENT_IDX);
	t_virtq_chain(&t.q, 0, one, 1);
	t_virtq_used_event(&t.q, 40000);
	for (unsigned i = 0; i < 65536; i++) {
		cycle(&t, 0, 0);
		if (virtq_publish(&t.vq)) {
			cr_expect(eq(uint, i, 40000));
			interrupts++;
		}
	}
	t_uint(interrupts, 1);
	t_queue_fini(&t);
}

/* --- kicks --- */

Test(queue_ring, without_the_event_index_kicks_are_a_flag_of_the_used_ring)
{
	struct t_queue t;

	t_queue_init(&t, 4, 0);
	t_virtq_used_event(&t.q, 0x1234);
	virtq_kicks_off(&t.vq);
	t_uint(t.q.used->flags, VRING_USED_F_NO_NOTIFY);
	t_false(virtq_kicks_on(&t.vq));
	t_uint(t.q.used->flags, 0);
	t_uint(t_virtq_avail_event(&t.q), 0);
	t_queue_fini(&t);
}

Test(queue_ring, with_the_event_index_a_kick_is_asked_for_the_next_chain_and_for_none_before)
{
	struct t_queue t;

	t_queue_init(&t, 4, T_EVENT_IDX);
	advance(&t, 65530);
	for (unsigned i = 0; i < 20; i++) {
		uint16_t next = t.q.next_avail;

		t_false(virtq_kicks_on(&t.vq));
		t_uint(t_virtq_avail_event(&t.q), next);
		t_uint(t.q.used->flags, 0);
		virtq_kicks_off(&t.vq);
		t_uint(t.q.used->flags, 0);
		/* As the driver decides: this one is wanted, the ones after it are not. */
		t_true(vring_need_event(t_virtq_avail_event(&t.q), (uint16_t)(next + 1), next));
		cycle(&t, 0, 0);
		cycle(&t, 0, 0);
		t_false(vring_need_event(
			t_virtq_avail_event(&t.q), (uint16_t)(next + 2), (uint16_t)(next + 1)));
	}
	t_queue_fini(&t);
}

Test(queue_ring, what_came_before_kicks_were_on_again_is_told_at_once)
{
	for (unsigned with = 0; with < 2; with++) {
		struct t_queue t;

		t_queue_init(&t, 4, with ? T_EVENT_IDX : 0);
		advance(&t, 65535);
		virtq_kicks_off(&t.vq);
		t_int(virtq_pop(&t.vq, &t.c), 0);
		t_virtq_send(&t.q, 0, one, 1); /* between the last look and this */
		t_true(virtq_kicks_on(&t.vq));
		t_int(virtq_pop(&t.vq, &t.c), 1);
		t_false(virtq_kicks_on(&t.vq));
		t_queue_fini(&t);
	}
}

/* --- positions --- */

Test(queue_ring, a_queue_goes_on_elsewhere_over_many_wraps_of_its_index)
{
	static const uint64_t features[] = { 0, T_EVENT_IDX };

	for (unsigned f = 0; f < ARRAY_SIZE(features); f++) {
		struct t_queue t;

		t_queue_init(&t, 8, features[f]);
		for (uint16_t i = 0; i < 8; i++)
			t_virtq_chain(&t.q, i, one, 1);
		for (unsigned i = 0; i < 70000; i++) {
			struct virtq_position at;
			struct virtq next = { 0 };
			uint32_t id, len;

			t_virtq_used_event(&t.q, (uint16_t)i);
			cycle(&t, i % 8, i);
			if (!virtq_publish(&t.vq))
				cr_fatal("chain %u ended in silence", i);
			if (!t_virtq_used(&t.q, &id, &len) || id != i % 8 || len != i)
				cr_fatal("chain %u did not come back", i);
			if (i % 7)
				continue;
			virtq_get_position(&t.vq, &at);
			if (virtq_start(&next, &t.m, &t.q.at, features[f]) != RULE_NONE)
				cr_fatal("the queue does not start");
			virtq_set_position(&next, &at);
			/* Nothing to say, and nothing to take. */
			if (virtq_publish(&next) || virtq_pop(&next, &t.c) != 0)
				cr_fatal("chain %u was not the last", i);
			t.vq = next;
		}
		t_queue_fini(&t);
	}
}

Test(queue_ring, chains_that_were_taken_and_not_given_back_are_taken_again)
{
	struct virtq_position at;
	struct virtq next = { 0 };
	struct t_queue t;

	t_queue_init(&t, 8, T_EVENT_IDX);
	for (uint16_t i = 0; i < 6; i++)
		t_virtq_send(&t.q, i, one, 1);
	for (unsigned i = 0; i < 5; i++)
		t_int(virtq_pop(&t.vq, &t.c), 1);
	virtq_push(&t.vq, 0, 0);
	virtq_push(&t.vq, 1, 0);
	(void)virtq_publish(&t.vq);
	virtq_get_position(&t.vq, &at);
	t_uint(at.next_avail, 2);
	t_uint(at.next_used, 2);
	t_uint(at.signalled, 2);
	t_true(at.has_signalled);
	t_int(virtq_start(&next, &t.m, &t.q.at, T_EVENT_IDX), RULE_NONE);
	virtq_set_position(&next, &at);
	for (uint16_t i = 2; i < 6; i++) {
		t_int(virtq_pop(&next, &t.c), 1);
		t_uint(t.c.head, i);
	}
	t_int(virtq_pop(&next, &t.c), 0);
	/* The one that was asked has lost nothing by it. */
	t_uint(t.vq.inflight, 3);
	t_int(virtq_pop(&t.vq, &t.c), 1);
	t_uint(t.c.head, 5);
	t_queue_fini(&t);
}

Test(queue_ring, a_position_that_the_driver_never_reached_breaks_the_queue)
{
	struct virtq_position at = { .next_avail = 9 };
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	virtq_set_position(&t.vq, &at);
	t_queue_breaks(&t, RULE_AVAIL_JUMP);
	t_queue_fini(&t);
}

/* --- dirty pages --- */

static void do_push(struct t_queue *t)
{
	t_int(virtq_pop(&t->vq, &t->c), 1);
	virtq_push(&t->vq, t->c.head, 77);
}

static void do_publish(struct t_queue *t)
{
	do_push(t);
	(void)virtq_publish(&t->vq);
}

static void do_kicks_off(struct t_queue *t)
{
	virtq_kicks_off(&t->vq);
}

static void do_kicks_on(struct t_queue *t)
{
	t_int(virtq_pop(&t->vq, &t->c), 1);
	(void)virtq_kicks_on(&t->vq);
}

static void do_kicks_off_and_on(struct t_queue *t)
{
	virtq_kicks_off(&t->vq);
	mem_take_dirty(&t->m, (uint64_t[4096 / 64]){ 0 });
	(void)virtq_kicks_on(&t->vq);
}

Test(queue_ring, every_page_that_a_queue_writes_to_is_marked_and_no_other)
{
	static const struct {
		const char *name;
		void (*act)(struct t_queue *t);
		uint64_t features;
		unsigned pages;
	} rows[] = {
		{ "an entry", do_push, 0, 1 },
		{ "an entry and the index", do_publish, 0, 2 },
		{ "flags", do_kicks_off, 0, 1 },
		{ "flags back", do_kicks_off_and_on, 0, 1 },
		{ "no flags", do_kicks_off, T_EVENT_IDX, 0 },
		{ "event index", do_kicks_on, T_EVENT_IDX, 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct t_queue t;
		struct t_dirty d;

		/* A used ring over three pages: flags and index in the first, entry 600 in the
		 * second, the event index in the third. */
		t_queue_init(&t, 1024, rows[i].features);
		memset(t.q.used, 0, 8192 + 6);
		t.vq.next_used = t.vq.signalled = 600;
		t_virtq_send(&t.q, 5, one, 1);
		t_dirty_begin(&d, &t.m);
		rows[i].act(&t);
		t_row_int(rows[i].name, t_dirty_end(&d, rows[i].name), rows[i].pages);
		t_queue_fini(&t);
	}
}
