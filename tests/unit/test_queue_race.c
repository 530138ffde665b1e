/*
 * Virtqueues with a driver on another CPU: nobody sleeps while the other waits for him, and what
 * the driver changes while it is read is either what it was or what it became.
 */
#include "t_queue.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

TestSuite(queue_race, .timeout = 3 * T_SECONDS);

static const struct t_seg one[] = { { T_QUEUE_DATA, 8, true } };

/* --- a wish and an index that cross: one side at least must see the other --- */

enum { MEETINGS = 100000 };

struct meeting {
	struct t_queue t;
	bool event_idx, is_publish;
	_Atomic unsigned round, done; /* the driver's turn, and what it has finished */
	bool driver_sees;
};

static void wait_until(const _Atomic unsigned *at, unsigned value)
{
	for (unsigned i = 1; atomic_load(at) != value; i++) {
		if (i % 1000 == 0)
			(void)sched_yield();
	}
}

/* So that the two meet each time another way apart. */
static void stagger(unsigned turns)
{
	for (volatile unsigned i = 0; i < turns; i++)
		;
}

/* Makes one more available, then looks whether a kick is wanted. */
static bool driver_sends(struct meeting *m)
{
	struct t_virtq *q = &m->t.q;

	WRITE_ONCE(q->avail->idx, (uint16_t)(q->avail->idx + 1));
	atomic_thread_fence(memory_order_seq_cst); /* 2.7.13.4.1 */
	if (m->event_idx)
		return t_virtq_avail_event(q) == (uint16_t)(q->avail->idx - 1);
	return !(READ_ONCE(q->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Asks for an interrupt, then looks whether something is there already. */
static bool driver_listens(struct meeting *m)
{
	struct t_virtq *q = &m->t.q;

	if (m->event_idx)
		t_virtq_used_event(q, q->seen_used);
	else
		WRITE_ONCE(q->avail->flags, 0);
	atomic_thread_fence(memory_order_seq_cst); /* 2.7.13.4 */
	return t_virtq_used_count(q) > 0;
}

static void *meet(void *arg)
{
	struct meeting *m = arg;

	for (unsigned i = 1; i <= MEETINGS; i++) {
		wait_until(&m->round, i);
		stagger(i % 31);
		m->driver_sees = m->is_publish ? driver_listens(m) : driver_sends(m);
		atomic_store(&m->done, i);
	}
	return NULL;
}

/* The device's side: from no wish at all to the moment when both act.  True when it has seen the
 * driver, or has told it. */
static bool device_acts(struct meeting *m, unsigned round)
{
	struct virtq *vq = &m->t.vq;
	bool sees;

	if (m->is_publish) {
		WRITE_ONCE(m->t.q.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
		t_virtq_used_event(&m->t.q, (uint16_t)(m->t.q.seen_used - 1));
		t_queue_offer(&m->t, 0);
		t_int(virtq_pop(vq, &m->t.c), 1);
		virtq_push(vq, 0, 0);
	} else {
		virtq_kicks_off(vq);
	}
	atomic_store(&m->round, round);
	stagger(round % (round & 1024 ? 401 : 61));
	sees = m->is_publish ? virtq_publish(vq) : virtq_kicks_on(vq);
	wait_until(&m->done, round);
	if (m->is_publish) {
		(void)t_virtq_used(&m->t.q, NULL, NULL);
	} else {
		t_int(virtq_pop(vq, &m->t.c), 1);
		virtq_push(vq, 0, 0);
		(void)virtq_publish(vq);
	}
	return sees;
}

static void nobody_is_missed(bool is_publish, bool event_idx)
{
	struct meeting *m = calloc(1, sizeof(*m));
	unsigned missed = 0;
	pthread_t thread;

	m->is_publish = is_publish;
	m->event_idx = event_idx;
	t_queue_init(&m->t, 4, event_idx ? T_EVENT_IDX : 0);
	t_virtq_chain(&m->t.q, 0, one, 1);
	t_int(pthread_create(&thread, NULL, meet, m), 0);
	for (unsigned i = 1; i <= MEETINGS; i++)
		missed += !device_acts(m, i) && !m->driver_sees;
	t_int(pthread_join(thread, NULL), 0);
	t_uint(missed, 0);
	t_queue_fini(&m->t);
	free(m);
}

Test(queue_race, kicks_that_go_on_while_a_chain_comes_miss_nothing_with_flags)
{
	nobody_is_missed(false, false);
}

Test(queue_race, kicks_that_go_on_while_a_chain_comes_miss_nothing_with_the_event_index)
{
	nobody_is_missed(false, true);
}

Test(queue_race, a_chain_that_comes_back_while_the_driver_begins_to_listen_is_told_with_flags)
{
	nobody_is_missed(true, false);
}

Test(queue_race,
	a_chain_that_comes_back_while_the_driver_begins_to_listen_is_told_with_the_event_index)
{
	nobody_is_missed(true, true);
}

/* --- a driver on another CPU --- */

enum { ROUND_TRIPS = 60000, TALK_NUM = 4 };

struct talk {
	struct t_queue t;
	bool event_idx;
	int kick, interrupt; /* eventfds */
	_Atomic unsigned kicks, interrupts;
	_Atomic bool lost; /* somebody slept and nobody woke him */
};

static void ring(int fd)
{
	uint64_t count = 1;

	INVARIANT(write(fd, &count, sizeof(count)) == (ssize_t)sizeof(count));
}

static bool sleep_on(struct talk *k, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t count;

	if (k->lost || poll(&p, 1, 5000) <= 0) {
		k->lost = true;
		return false;
	}
	return read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

static bool driver_wants_to_kick(struct talk *k, uint16_t old)
{
	struct t_virtq *q = &k->t.q;

	atomic_thread_fence(memory_order_seq_cst); /* 2.7.13.4.1 */
	if (k->event_idx)
		return vring_need_event(t_virtq_avail_event(q), q->next_avail, old);
	return !(READ_ONCE(q->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Looks for a while, each time another, so that both sides meet at every point of their ways. */
static bool comes_soon(struct talk *k, unsigned turn)
{
	for (unsigned i = 0; i < turn % 509; i++) {
		if (t_virtq_used_count(&k->t.q) > 0)
			return true;
	}
	return false;
}

/* Sends a chain, waits for it to come back, and sleeps only when told that it will be woken. */
static void *drive(void *arg)
{
	struct talk *k = arg;
	struct t_virtq *q = &k->t.q;

	for (unsigned sent = 0; sent < ROUND_TRIPS && !k->lost;) {
		uint16_t old = q->next_avail;
		unsigned n = MIN(1 + sent % TALK_NUM, ROUND_TRIPS - sent);

		for (unsigned i = 0; i < n; i++)
			t_virtq_offer(q, (uint16_t)i);
		t_virtq_publish(q);
		if (driver_wants_to_kick(k, old)) {
			k->kicks++;
			ring(k->kick);
		}
		for (sent += n; n > 0 && !k->lost;) {
			if (t_virtq_used(q, NULL, NULL)) {
				n--;
				continue;
			}
			if (comes_soon(k, sent))
				continue;
			t_virtq_used_event(q, q->seen_used);
			atomic_thread_fence(memory_order_seq_cst); /* 2.7.13.4 */
			if (t_virtq_used_count(q) == 0)
				(void)sleep_on(k, k->interrupt);
		}
	}
	return NULL;
}

static void serve(struct talk *k)
{
	struct t_queue *t = &k->t;

	for (unsigned served = 0; served < ROUND_TRIPS && !k->lost;) {
		int rc = virtq_pop(&t->vq, &t->c);

		if (rc == 1) {
			virtq_push(&t->vq, t->c.head, 0);
			served++;
			continue;
		}
		t_int(rc, 0);
		if (virtq_publish(&t->vq)) {
			k->interrupts++;
			ring(k->interrupt);
		}
		if (served < ROUND_TRIPS && !virtq_kicks_on(&t->vq) && sleep_on(k, k->kick))
			virtq_kicks_off(&t->vq);
	}
	if (virtq_publish(&t->vq))
		ring(k->interrupt);
}

static void talk(bool event_idx)
{
	struct talk *k = calloc(1, sizeof(*k));
	pthread_t thread;

	k->event_idx = event_idx;
	k->kick = eventfd(0, EFD_CLOEXEC);
	k->interrupt = eventfd(0, EFD_CLOEXEC);
	t_queue_init(&k->t, TALK_NUM, event_idx ? T_EVENT_IDX : 0);
	for (uint16_t i = 0; i < TALK_NUM; i++)
		t_virtq_chain(&k->t.q, i, one, 1);
	t_int(pthread_create(&thread, NULL, drive, k), 0);
	serve(k);
	t_int(pthread_join(thread, NULL), 0);
	t_false(k->lost);
	t_true(k->kicks > 0 && k->interrupts > 0);
	t_queue_fini(&k->t);
	free(k);
}

Test(queue_race, no_kick_and_no_interrupt_is_lost_with_the_event_index)
{
	talk(true);
}

Test(queue_race, no_kick_and_no_interrupt_is_lost_with_flags)
{
	talk(false);
}

/* --- a driver that changes descriptors while they are read --- */

enum { FLIPS_POPS = 100000, SHORT_LEN = 16, LONG_LEN = 4096 };

struct flipper {
	struct vring_desc *at;
	struct vring_desc value[2];
	_Atomic bool stop;
	_Atomic uint64_t flips;
};

static void *flip(void *arg)
{
	struct flipper *f = arg;

	for (unsigned i = 0; !f->stop; i ^= 1) {
		WRITE_ONCE(f->at->addr, f->value[i].addr);
		WRITE_ONCE(f->at->len, f->value[i].len);
		WRITE_ONCE(f->at->flags, f->value[i].flags);
		WRITE_ONCE(f->at->next, f->value[i].next);
		f->flips++;
	}
	return NULL;
}

struct flips {
	unsigned taken[2]; /* by which of the two lengths */
	unsigned broken, wrong;
};

static void look(struct t_queue *t, const struct flipper *f, int rc, struct flips *got)
{
	uint8_t *ram = t->m.map;

	if (rc == -EBADMSG) {
		got->broken++;
		t_queue_start(t, 2, T_INDIRECT);
		return;
	}
	for (unsigned i = 0; rc == 1 && i < t->c.nread + t->c.nwrite; i++) {
		uint8_t *base = t->iov[i].iov_base;
		size_t len = t->iov[i].iov_len;

		got->wrong += base < ram || base > ram + t->m.map_len ||
			      len > (size_t)(ram + t->m.map_len - base);
		for (unsigned k = 0; k < 2; k++)
			got->taken[k] += len == f->value[k].len;
		got->wrong += len != f->value[0].len && len != f->value[1].len;
	}
	got->wrong += rc != 1;
}

static bool has_seen_both(const struct flips *got)
{
	return got->taken[0] > 0 && (got->taken[1] > 0 || got->broken > 0);
}

static struct flips pop_while_flipping(struct vring_desc a, struct vring_desc b)
{
	struct flipper f = { .value = { a, b } };
	struct flips got = { 0 };
	struct t_queue t;
	pthread_t thread;

	t_queue_init(&t, 2, T_INDIRECT);
	f.at = &t.q.desc[0];
	*f.at = a;
	t_int(pthread_create(&thread, NULL, flip, &f), 0);
	while (f.flips < 1000)
		(void)usleep(100);
	/* Until both have been seen, which on a busy host takes longer: the suite's time is the
	 * limit. */
	for (unsigned i = 0; i < FLIPS_POPS || !has_seen_both(&got); i++) {
		int rc;

		t_queue_offer(&t, 0);
		rc = virtq_pop(&t.vq, &t.c);
		look(&t, &f, rc, &got);
		if (rc == 1)
			virtq_push(&t.vq, t.c.head, 0);
	}
	f.stop = true;
	t_int(pthread_join(thread, NULL), 0);
	t_queue_fini(&t);
	return got;
}

Test(queue_race, a_length_that_changes_while_it_is_read_is_one_of_the_two)
{
	struct flips got =
		pop_while_flipping((struct vring_desc){ .addr = T_QUEUE_DATA, .len = SHORT_LEN },
			(struct vring_desc){ .addr = T_QUEUE_DATA + 0x10000, .len = LONG_LEN });

	t_uint(got.wrong, 0);
	t_uint(got.broken, 0);
	t_true(got.taken[0] > 0 && got.taken[1] > 0);
}

Test(queue_race, a_length_that_is_bad_half_of_the_time_is_refused_or_good)
{
	/* Each half alone is good at the other's place: address and length must come from one
	 * check. */
	struct flips got = pop_while_flipping(
		(struct vring_desc){ .addr = 16 * T_MIB - SHORT_LEN, .len = SHORT_LEN },
		(struct vring_desc){ .addr = T_QUEUE_DATA, .len = UINT32_MAX });

	t_uint(got.wrong, 0);
	t_true(got.broken > 0 && got.taken[0] > 0);
	t_uint(got.taken[1], 0);
}

Test(queue_race, a_descriptor_that_is_now_direct_and_now_a_table_is_refused_or_good)
{
	struct flips got =
		pop_while_flipping((struct vring_desc){ .addr = T_QUEUE_DATA, .len = SHORT_LEN },
			(struct vring_desc){ .addr = 16 * T_MIB - SHORT_LEN,
				.len = LONG_LEN,
				.flags = VRING_DESC_F_INDIRECT });

	/* As a table it is never memory, or it is one empty descriptor. */
	t_uint(got.wrong, 0);
	t_true(got.broken > 0 && got.taken[0] > 0);
}

/* A table that is one descriptor longer half of the time, at the end of memory: the descriptor
 * behind it, which is not the guest's, must never be seen. */
Test(queue_race, the_length_of_a_table_is_read_once)
{
	static const struct vring_desc last = {
		.addr = T_QUEUE_DATA, .len = 1, .flags = VRING_DESC_F_NEXT, .next = 1
	};
	struct flipper f = { 0 };
	struct t_queue t;
	pthread_t thread;
	unsigned seen[RULE_COUNT] = { 0 };

	t_queue_init(&t, 2, T_INDIRECT);
	memcpy(t_queue_hva(&t, T_QUEUE_TABLE - 16), &last, sizeof(last));
	t_virtq_desc((struct t_virtq[]){ { .desc = t_queue_hva(&t, T_QUEUE_TABLE) } }, 0,
		T_QUEUE_DATA, 1, 0, 0);
	t.m.r[0].len = T_QUEUE_TABLE;
	for (unsigned i = 0; i < 2; i++)
		f.value[i] = (struct vring_desc){ .addr = T_QUEUE_TABLE - 16,
			.len = 16 + 16 * i,
			.flags = VRING_DESC_F_INDIRECT };
	f.at = &t.q.desc[0];
	*f.at = f.value[0];
	t_int(pthread_create(&thread, NULL, flip, &f), 0);
	for (unsigned i = 0;
		i < FLIPS_POPS || !seen[RULE_NEXT_RANGE] || !seen[RULE_INDIRECT_MEMORY]; i++) {
		t_queue_offer(&t, 0);
		/* While the queue begins anew there may be a plain segment of both. */
		if (virtq_pop(&t.vq, &t.c) == 1 && t.c.nread + t.c.nwrite > 1)
			cr_fatal("a descriptor behind the end of memory was used");
		seen[t.vq.broken]++;
		t_queue_start(&t, 2, T_INDIRECT);
	}
	f.stop = true;
	t_int(pthread_join(thread, NULL), 0);
	t_queue_fini(&t);
}
