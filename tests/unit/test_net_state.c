/* The network device as plain values: saved in the middle of traffic, loaded into another one on
 * the same wire. */
#include "t_net.h"

#include <fcntl.h>
#include <stdlib.h>

#include "t_virtio_state.h"

TestSuite(net_state, .timeout = 3 * T_SECONDS);

enum { SMALL = 60, MEDIUM = 1514, LONG = 60000, ACK = 0x77 };

struct rig {
	struct t_net t;
	struct virtio_mmio w;
	struct net_config c;
};

static void init(struct rig *r, struct loop *l, const struct net_config *c, uint64_t features)
{
	struct virtio_state s;
	gpa_t at = 0x1000;

	r->c = *c;
	r->c.id = "net0";
	t_net_make(&r->t, l, &r->c);
	for (unsigned q = 0; q < NET_QUEUES; q++)
		at = t_virtq_init(&r->t.q[q], &r->t.mem, at, 64);
	t_virtio_state_begin(&s, r->t.dev, features, r->t.q);
	t_virtio_state_load(&r->w, r->t.dev, l, &s);
	virtio_mmio_resume(&r->w);
	/* The announcement of a device that was loaded: its driver has made it. */
	net_set_status(r->t.net, 0, VIRTIO_NET_S_ANNOUNCE);
	(void)t_virtio_state_interrupts(&r->w);
	atomic_store(&r->t.dev->isr, 0);
	t_net_turn(&r->t);
}

static void fini(struct rig *r)
{
	t_virtio_state_end(&r->w);
	(void)close(r->t.wire);
	guest_mem_fini(&r->t.mem);
}

/* Another device at the same end of the wire. */
static struct virtio_device *other(struct rig *r)
{
	struct tap tap = r->t.net->tap;
	struct virtio_device *dev = NULL;

	tap.fd = fcntl(tap.fd, F_DUPFD_CLOEXEC, 0);
	tap.tx_fd = fcntl(tap.fd, F_DUPFD_CLOEXEC, 0);
	t_int(net_new_on(&r->c, &tap, &dev, NULL), 0);
	dev->mem = &r->t.mem;
	return dev;
}

/* Saves the device, ends it and goes on with the other, paused. */
static void change(struct rig *r, struct virtio_state *ret)
{
	struct virtio_device *dev = other(r);

	t_virtio_state_save(&r->w, ret);
	t_virtio_state_end(&r->w);
	t_virtio_state_load(&r->w, dev, r->t.loop, ret);
	r->t.dev = dev;
	r->t.net = net_of(dev);
}

static void expect_sent(struct rig *r, uint16_t head)
{
	struct t_virtq *q = &r->t.q[NET_QUEUE_TX];
	uint32_t id;

	T_NET_UNTIL(&r->t, t_virtq_used_count(q) > 0);
	t_true(t_virtq_used(q, &id, NULL));
	t_uint(id, head);
}

static bool is_wire_empty(struct rig *r)
{
	uint8_t byte;

	return t_net_leaves(&r->t, &byte, 1) < 0;
}

static const struct net_config plain;

/* --- going on --- */

static void traffic(struct loop *l, uint64_t features)
{
	unsigned given = 0;
	struct rig r;

	init(&r, l, &plain, features);
	for (unsigned i = 0; i < 100; i++) {
		size_t len = i % 3 ? SMALL + i : MEDIUM;
		gpa_t at = t_net_alloc(&r.t, 2000);

		/* Some more than are used, so that there is a pool. */
		while (given < i + 5)
			t_net_give(&r.t, given++ % 64, 2048);
		if (i % 5 == 0)
			t_net_kick(&r.t, NET_QUEUE_RX);
		t_net_arrive(&r.t, len, (uint8_t)i);
		t_net_offer(&r.t, i % 64, at, len, (uint8_t)(i + 100));
		if (i % 4 == 0)
			t_net_turn(&r.t);
		if (i % 7 == 0)
			t_net_kick(&r.t, NET_QUEUE_TX);
		if (i % 2) {
			struct virtio_state s;

			change(&r, &s);
			virtio_mmio_resume(&r.w);
			t_true(t_virtio_state_interrupts(&r.w) > 0);
		} else {
			t_net_kick(&r.t, NET_QUEUE_RX);
			t_net_kick(&r.t, NET_QUEUE_TX);
		}
		t_net_expect(&r.t, len, (uint8_t)i, 1);
		t_net_expect_wire(&r.t, len, (uint8_t)(i + 100));
		expect_sent(&r, i % 64);
	}
	t_net_turn(&r.t);
	t_uint(t_virtq_used_count(&r.t.q[NET_QUEUE_RX]), 0);
	t_uint(t_virtq_used_count(&r.t.q[NET_QUEUE_TX]), 0);
	t_true(is_wire_empty(&r));
	fini(&r);
}

Test(net_state, frames_go_on_in_another_device_and_none_is_lost_or_comes_twice)
{
	T_EACH_BACKEND(l)
	{
		traffic(l, T_NET_MERGED);
		traffic(l, T_NET_PLAIN);
		traffic(l, ~VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX));
	}
	T_NO_LEAKS();
}

Test(net_state, frames_that_a_full_tap_does_not_take_are_sent_later_and_once)
{
	T_EACH_BACKEND(l)
	{
		struct virtio_state s;
		struct rig r;
		unsigned n;

		init(&r, l, &plain, T_NET_MERGED);
		for (n = 0; n < 64; n++)
			t_net_offer(&r.t, (uint16_t)n, t_net_alloc(&r.t, 61000), LONG, (uint8_t)n);
		t_net_kick(&r.t, NET_QUEUE_TX);
		t_net_turn(&r.t);
		t_true(r.t.net->tx.is_held && t_virtq_used_count(&r.t.q[NET_QUEUE_TX]) < 60);
		for (unsigned i = 0; i < 64; i++) {
			if (i % 3 == 0) {
				t_virtio_state_save(&r.w, &s);
				t_uint(s.queue[NET_QUEUE_TX].at.next_avail,
					s.queue[NET_QUEUE_TX].at.next_used);
				/* Now the one, now the other. */
				if (i % 2)
					change(&r, &s);
				virtio_mmio_resume(&r.w);
			}
			t_net_expect_wire(&r.t, LONG, (uint8_t)i);
			expect_sent(&r, (uint16_t)i);
		}
		t_net_turn(&r.t);
		t_true(is_wire_empty(&r));
		fini(&r);
	}
	T_NO_LEAKS();
}

Test(net_state, a_frame_that_waits_for_buffers_is_the_saved_devices_and_lost_to_the_other)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned loses = 0; loses < 2; loses++) {
			struct virtio_state s;
			struct rig r;

			init(&r, l, &plain, T_NET_MERGED);
			t_net_give(&r.t, 0, 1000);
			t_net_kick(&r.t, NET_QUEUE_RX);
			t_net_arrive(&r.t, MEDIUM, 1);
			T_NET_UNTIL(&r.t, r.t.net->rx.spilled > 0);
			if (loses)
				change(&r, &s);
			else
				t_virtio_state_save(&r.w, &s);
			t_uint(s.queue[NET_QUEUE_RX].at.next_avail, 0);
			virtio_mmio_resume(&r.w);
			t_net_give(&r.t, 1, 1000);
			t_net_arrive(&r.t, MEDIUM, 2);
			t_net_kick(&r.t, NET_QUEUE_RX);
			if (!loses) {
				t_net_expect(&r.t, MEDIUM, 1, 2);
				t_net_give(&r.t, 2, 2000);
				t_net_kick(&r.t, NET_QUEUE_RX);
			}
			t_net_expect(&r.t, MEDIUM, 2, loses ? 2 : 1);
			fini(&r);
		}
	}
	T_NO_LEAKS();
}

Test(net_state, limiters_hold_on_with_what_they_had)
{
	const struct net_config c = { .rx = { .ops = { 1, 3600000, 0 } },
		.tx = { .bytes = { 100, 3600000, 0 } } };

	T_EACH_BACKEND(l)
	{
		const struct bucket_config none = { 0 };
		struct virtio_state s;
		struct rig r;

		init(&r, l, &c, T_NET_MERGED);
		for (uint16_t i = 0; i < 4; i++) {
			t_net_give(&r.t, i, 2048);
			t_net_arrive(&r.t, SMALL, (uint8_t)i);
			t_net_offer(&r.t, i, t_net_alloc(&r.t, 100), SMALL, (uint8_t)i);
		}
		t_net_kick(&r.t, NET_QUEUE_RX);
		t_net_kick(&r.t, NET_QUEUE_TX);
		t_net_expect(&r.t, SMALL, 0, 1);
		t_net_expect_wire(&r.t, SMALL, 0);
		expect_sent(&r, 0);
		T_NET_UNTIL(&r.t, r.t.net->rx.gate.is_shut && r.t.net->tx.gate.is_shut);
		/* Twice, the second time without a run in between. */
		change(&r, &s);
		change(&r, &s);
		t_uint(s.limiter[NET_QUEUE_RX].ops.tokens, 0);
		t_uint(s.limiter[NET_QUEUE_TX].bytes.tokens, 100 - SMALL - NET_HEADER_LEN);
		virtio_mmio_resume(&r.w);
		t_net_turn(&r.t);
		t_uint(t_virtq_used_count(&r.t.q[NET_QUEUE_RX]), 0);
		t_uint(t_virtq_used_count(&r.t.q[NET_QUEUE_TX]), 0);
		T_NET_UNTIL(&r.t, r.t.net->rx.gate.is_shut && r.t.net->tx.gate.is_shut);
		net_set_rx_limit(r.t.dev, &none, &none);
		net_set_tx_limit(r.t.dev, &none, &none);
		/* Frame 1 had been read, and went with the device. */
		t_net_expect(&r.t, SMALL, 2, 1);
		t_net_expect(&r.t, SMALL, 3, 1);
		for (uint16_t i = 1; i < 4; i++) {
			t_net_expect_wire(&r.t, SMALL, (uint8_t)i);
			expect_sent(&r, i);
		}
		fini(&r);
	}
	T_NO_LEAKS();
}

/* --- configuration --- */

static void send_command(struct rig *r, uint8_t class, uint8_t cmd)
{
	struct virtio_net_ctrl_hdr h = { .class = class, .cmd = cmd };
	gpa_t at = t_net_alloc(&r->t, 0x2000);
	struct t_seg segs[] = { { at, sizeof(h), false }, { at + 0x1000, 1, true } };

	memcpy(t_net_at(&r->t, at, sizeof(h)), &h, sizeof(h));
	*t_net_at(&r->t, at + 0x1000, 1) = ACK;
	t_virtq_send(&r->t.q[NET_QUEUE_CTRL], 0, segs, 2);
}

Test(net_state, a_driver_that_can_is_asked_to_announce_itself_on_the_new_host)
{
	struct loop *l = t_loop_new(0);

	for (unsigned can = 0; can < 2; can++) {
		struct virtio_state s;
		struct rig r;

		init(&r, l, &plain, can ? UINT64_MAX : ~VIRTIO_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
		change(&r, &s);
		t_uint(t_net_status(&r.t),
			VIRTIO_NET_S_LINK_UP | (can ? VIRTIO_NET_S_ANNOUNCE : 0));
		t_uint(virtio_config_generation(r.t.dev), s.generation + can);
		t_uint(t_virtio_state_interrupts(&r.w), 0);
		virtio_mmio_resume(&r.w);
		t_true(t_virtio_state_interrupts(&r.w) > 0);
		t_uint(atomic_load(&r.t.dev->isr), VIRTIO_ISR_USED | (can ? VIRTIO_ISR_CONFIG : 0));
		if (can) {
			send_command(&r, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK);
			t_virtio_state_kick(&r.w, NET_QUEUE_CTRL);
			t_uint(t_net_status(&r.t), VIRTIO_NET_S_LINK_UP);
		}
		fini(&r);
	}
	loop_free(l);
	T_NO_LEAKS();
}

Test(net_state, a_device_without_a_driver_has_nothing_to_announce)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s;
	struct rig r;

	init(&r, l, &plain, UINT64_MAX);
	t_virtio_state_save(&r.w, &s);
	s = (struct virtio_state){ .type = s.type,
		.nqueues = NET_QUEUES,
		.config_len = s.config_len,
		.is_link_up = true };
	virtio_config_read(r.t.dev, 0, s.config, s.config_len);
	{
		struct virtio_device *dev = other(&r);

		t_virtio_state_end(&r.w);
		t_virtio_state_load(&r.w, dev, l, &s);
		r.t.dev = dev;
	}
	t_uint(t_net_status(&r.t), VIRTIO_NET_S_LINK_UP);
	t_false(r.t.dev->active);
	virtio_mmio_resume(&r.w);
	t_uint(t_virtio_state_interrupts(&r.w), 0);
	fini(&r);
	loop_free(l);
	T_NO_LEAKS();
}

Test(net_state, a_cable_that_was_pulled_stays_pulled)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s;
	struct rig r;

	init(&r, l, &plain, ~VIRTIO_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
	net_set_link(r.t.dev, false);
	change(&r, &s);
	t_false(s.is_link_up);
	t_uint(t_net_status(&r.t), 0);
	/* The driver knows. */
	t_uint(virtio_config_generation(r.t.dev), s.generation);
	virtio_mmio_resume(&r.w);
	t_net_give(&r.t, 0, 2048);
	t_net_arrive(&r.t, SMALL, 1);
	t_net_kick(&r.t, NET_QUEUE_RX);
	T_NET_UNTIL(&r.t, count_get(&r.t.dev->counters.dropped) == 1);
	net_set_link(r.t.dev, true);
	t_net_arrive(&r.t, SMALL, 2);
	t_net_expect(&r.t, SMALL, 2, 1);
	fini(&r);
	loop_free(l);
}

/* --- dirty pages --- */

enum { GIVE_SMALL = 1, GIVE_LARGE = 2, WAIT = 4, RUN = 8, DOWN = 16, CHANGE = 32 };

static const struct {
	const char *name;
	uint64_t features;
	size_t len;
	unsigned how;
	unsigned least; /* pages that have to change: more than the rings' */
} received[] = {
	{ "short", T_NET_MERGED, SMALL, GIVE_LARGE, 2 },
	{ "short, not merged", T_NET_PLAIN, SMALL, GIVE_LARGE, 2 },
	{ "no event index", ~VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX), SMALL, GIVE_LARGE, 2 },
	{ "long, in small buffers", T_NET_MERGED, LONG, GIVE_SMALL, 15 },
	{ "long, in large buffers", T_NET_MERGED, LONG, GIVE_LARGE, 15 },
	{ "long, not merged", T_NET_PLAIN, LONG, GIVE_LARGE, 15 },
	{ "long after short ones", T_NET_MERGED, LONG, GIVE_SMALL | RUN, 15 },
	{ "waits for buffers", T_NET_MERGED, LONG, GIVE_SMALL | WAIT, 15 },
	{ "waits for buffers through a pause", T_NET_MERGED, LONG, GIVE_SMALL | WAIT | CHANGE, 15 },
	{ "dropped", T_NET_MERGED, LONG, GIVE_LARGE | DOWN, 14 },
};

/* Frames until the device expects short ones. */
static void run_of_short_ones(struct rig *r)
{
	for (unsigned i = 0; i < 70; i++) {
		t_net_give(&r->t, i % 32, 2048);
		t_net_arrive(&r->t, SMALL, (uint8_t)i);
		t_net_kick(&r->t, NET_QUEUE_RX);
		t_net_expect(&r->t, SMALL, (uint8_t)i, 1);
	}
}

static void give(struct rig *r, unsigned first, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		t_net_give(&r->t, (uint16_t)((first + i) % 64), len);
}

static void receive(struct rig *r, unsigned row, const char *name)
{
	unsigned how = received[row].how, nbuffers = how & GIVE_LARGE ? 1 : 40, marked;
	uint32_t len = how & GIVE_LARGE ? 68000 : 2048;
	struct t_virtq *q = &r->t.q[NET_QUEUE_RX];
	struct t_dirty d;

	if (how & RUN)
		run_of_short_ones(r);
	if (how & DOWN)
		net_set_link(r->t.dev, false);
	/* The driver writes before the look at memory, or its own pages would be found. */
	give(r, 32, nbuffers, len);
	if (how & WAIT)
		q->avail->idx = (uint16_t)(q->next_avail - 30);
	t_dirty_begin(&d, &r->t.mem);
	t_net_arrive(&r->t, received[row].len, 9);
	t_net_kick(&r->t, NET_QUEUE_RX);
	if (how & WAIT) {
		T_NET_UNTIL(&r->t, r->t.net->rx.spilled > 0);
		if (how & CHANGE) {
			t_virtio_state_pause(&r->w);
			(void)t_dirty_end(&d, name);
			q->avail->idx = q->next_avail;
			t_dirty_begin(&d, &r->t.mem);
			virtio_mmio_resume(&r->w);
		} else {
			q->avail->idx = q->next_avail;
			t_net_kick(&r->t, NET_QUEUE_RX);
		}
	}
	if (how & DOWN)
		T_NET_UNTIL(&r->t, count_get(&r->t.dev->counters.dropped) == 1);
	else
		T_NET_UNTIL(&r->t, t_virtq_used_count(q) > 0);
	t_net_turn(&r->t);
	marked = t_dirty_end(&d, name);
	cr_expect(ge(uint, marked + (how & CHANGE ? 8 : 0), received[row].least), "row '%s': %u",
		name, marked);
	cr_expect(le(uint, marked, received[row].least + 50), "row '%s': %u", name, marked);
}

Test(net_state, every_page_that_a_frame_is_received_into_is_marked)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(received); i++) {
			struct rig r;

			init(&r, l, &plain, received[i].features);
			receive(&r, i, received[i].name);
			fini(&r);
		}
	}
	T_NO_LEAKS();
}

Test(net_state, every_page_that_a_command_or_a_frame_to_send_changes_is_marked)
{
	static const struct {
		const char *name;
		unsigned q, class;
	} rows[] = { { "announcement", NET_QUEUE_CTRL, VIRTIO_NET_CTRL_ANNOUNCE },
		{ "unknown command", NET_QUEUE_CTRL, 99 }, { "sent", NET_QUEUE_TX, 0 } };
	struct loop *l = t_loop_new(0);

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const char *name = rows[i / 2].name;
		struct t_dirty d;
		unsigned marked;
		struct rig r;

		init(&r, l, &plain, i % 2 ? UINT64_MAX : ~VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX));
		if (rows[i / 2].q == NET_QUEUE_CTRL)
			send_command(&r, (uint8_t)rows[i / 2].class, VIRTIO_NET_CTRL_ANNOUNCE_ACK);
		else
			t_net_offer(&r.t, 0, t_net_alloc(&r.t, 2000), MEDIUM, 1);
		t_dirty_begin(&d, &r.t.mem);
		t_virtio_state_kick(&r.w, rows[i / 2].q);
		T_NET_UNTIL(&r.t, t_virtq_used_count(&r.t.q[rows[i / 2].q]) == 1);
		t_net_turn(&r.t);
		marked = t_dirty_end(&d, name);
		cr_expect(le(uint, marked, 3), "row '%s': %u", name, marked);
		t_row_true(name, marked >= (rows[i / 2].q == NET_QUEUE_CTRL ? 2 : 1));
		fini(&r);
	}
	loop_free(l);
	T_NO_LEAKS();
}
