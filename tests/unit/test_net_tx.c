/* What the network device sends. */
#include "t_net.h"

#include <sys/socket.h>

TestSuite(net_tx, .timeout = T_SECONDS);

enum { SMALL = 60, MEDIUM = 1514, LONG = 60000 };

void __real_loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events);
void __wrap_loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events);

/* The next polls end in a failure. */
static unsigned bad_polls, polls;

void __wrap_loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events)
{
	polls++;
	if (bad_polls > 0) {
		bad_polls--;
		fd = -1;
	}
	__real_loop_poll(l, op, fd, events);
}

static struct t_virtq *ring(struct t_net *t)
{
	return &t->q[NET_QUEUE_TX];
}

static void kick(struct t_net *t)
{
	t_net_kick(t, NET_QUEUE_TX);
	t_net_turn(t);
}

static uint64_t errors(struct t_net *t)
{
	return count_get(&t->dev->counters.errors);
}

static uint64_t sent(struct t_net *t)
{
	return count_get(&t->dev->counters.requests[COUNT_WRITE]);
}

static bool is_wire_empty(struct t_net *t)
{
	uint8_t byte;

	return t_net_leaves(t, &byte, 1) < 0;
}

/* A used entry of chain head, without a written byte. */
static void expect_done(struct t_net *t, uint16_t head)
{
	uint32_t id, len;

	T_NET_UNTIL(t, t_virtq_used_count(ring(t)) > 0);
	t_true(t_virtq_used(ring(t), &id, &len));
	t_uint(id, head);
	t_uint(len, 0);
}

Test(net_tx, a_frame_leaves_with_its_header)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_offer(&t, 5, t_net_alloc(&t, 2000), MEDIUM, 1);
		kick(&t);
		t_net_expect_wire(&t, MEDIUM, 1);
		expect_done(&t, 5);
		t_uint(sent(&t), 1);
		t_uint(count_get(&t.dev->counters.bytes[COUNT_WRITE]), MEDIUM);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_tx, the_shortest_and_the_longest_frame_leave)
{
	static const size_t lengths[] = { NET_FRAME_MIN, NET_FRAME_MAX };

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
			struct t_net t;

			t_net_init(&t, l, T_NET_MERGED);
			t_net_offer(&t, 0, t_net_alloc(&t, T_NET_LONG), lengths[i], 2);
			kick(&t);
			t_net_expect_wire(&t, lengths[i], 2);
			t_net_fini(&t);
		}
	}
}

Test(net_tx, a_header_may_be_split_over_five_descriptors)
{
	/* Where the header's pieces end, and whether a piece of the frame is with the last one. */
	static const uint32_t cuts[][5] = { { 1, 2, 5, 2, 2 }, { 1, 2, 5, 2, 20 },
		{ 3, 3, 3, 2, 2 } };

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(cuts); i++) {
			for (unsigned indirect = 0; indirect < 2; indirect++) {
				uint8_t frame[NET_HEADER_LEN + SMALL];
				size_t len = t_net_frame(frame, SMALL, 3), at = 0;
				struct t_seg segs[6];
				struct t_net t;

				t_net_init(&t, l, T_NET_MERGED);
				for (unsigned s = 0; s < 6; s++) {
					uint32_t part = s < 5 ? cuts[i][s] : (uint32_t)(len - at);

					segs[s] = (struct t_seg){ t_net_alloc(&t, part), part,
						false };
					memcpy(t_net_at(&t, segs[s].gpa, part), frame + at, part);
					at += part;
				}
				if (indirect) {
					t_virtq_chain_indirect(
						ring(&t), 1, t_net_alloc(&t, 256), segs, 6);
					t_virtq_offer(ring(&t), 1);
					t_virtq_publish(ring(&t));
				} else {
					t_virtq_send(ring(&t), 1, segs, 6);
				}
				kick(&t);
				t_net_expect_wire(&t, SMALL, 3);
				expect_done(&t, 1);
				t_net_fini(&t);
			}
		}
	}
}

Test(net_tx, what_has_no_meaning_in_a_header_is_cleared)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		gpa_t at;
		struct virtio_net_hdr_v1 got, h = { .flags = 0xfe,
			.hdr_len = 0xffff,
			.gso_size = 0xffff,
			.csum_start = 0xffff,
			.csum_offset = 0xffff,
			.num_buffers = 0xffff };
		static const struct virtio_net_hdr_v1 none;
		uint8_t buf[NET_HEADER_LEN + SMALL];

		t_net_init(&t, l, T_NET_MERGED);
		at = t_net_alloc(&t, 2000);
		t_net_offer(&t, 0, at, SMALL, 4);
		memcpy(t_net_at(&t, at, sizeof(h)), &h, sizeof(h));
		kick(&t);
		t_int(t_net_leaves(&t, buf, sizeof(buf)), sizeof(buf));
		memcpy(&got, buf, sizeof(got));
		t_int(memcmp(&got, &none, sizeof(got)), 0);
		/* The guest's own is left as it was. */
		t_int(memcmp(t_net_at(&t, at, sizeof(h)), &h, sizeof(h)), 0);
		t_net_fini(&t);
	}
}

Test(net_tx, bad_frames_are_given_back_and_the_device_lives_on)
{
	static const struct {
		const char *name;
		uint32_t len; /* of the chain */
		struct virtio_net_hdr_v1 h;
	} rows[] = {
		{ "0 bytes", NET_HEADER_LEN, { 0 } },
		{ "9 bytes, no header", 9, { 0 } },
		{ "9 bytes", NET_HEADER_LEN + 9, { 0 } },
		{ "13 bytes", NET_HEADER_LEN + 13, { 0 } },
		{ "70000 bytes", NET_HEADER_LEN + T_NET_LONG, { 0 } },
		{ "checksum past the end", NET_HEADER_LEN + SMALL,
			{ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				.csum_start = SMALL - 2,
				.csum_offset = 1 } },
		{ "checksum of 16 bits", NET_HEADER_LEN + SMALL,
			{ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				.csum_start = 0xffff,
				.csum_offset = 0xffff } },
		{ "segments of no length", NET_HEADER_LEN + SMALL,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 } },
		{ "segments of no type", NET_HEADER_LEN + SMALL,
			{ .gso_type = 2, .gso_size = 100 } },
		{ "headers longer than the frame", NET_HEADER_LEN + SMALL,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 10, .hdr_len = 61 } },
		{ "ECN that was not agreed", NET_HEADER_LEN + SMALL,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
				.gso_size = 10 } },
	};

	T_EACH_BACKEND(l)
	{
		struct t_net t;
		gpa_t at;

		t_net_init(&t, l, T_NET_MERGED);
		at = t_net_alloc(&t, NET_HEADER_LEN + T_NET_LONG);
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			struct t_seg seg = { at, rows[i].len, false };

			(void)t_net_frame(
				t_net_at(&t, at, NET_HEADER_LEN + T_NET_LONG), T_NET_LONG, 0);
			memcpy(t_net_at(&t, at, sizeof(rows[i].h)), &rows[i].h, sizeof(rows[i].h));
			t_virtq_send(ring(&t), 2, &seg, 1);
			kick(&t);
			t_row_true(rows[i].name, is_wire_empty(&t));
			t_row_int(rows[i].name, errors(&t), i + 1);
			expect_done(&t, 2);
			t_row_true(rows[i].name, !t_net_needs_reset(&t));
			t_net_offer(&t, 3, at, SMALL, (uint8_t)i);
			kick(&t);
			t_net_expect_wire(&t, SMALL, (uint8_t)i);
			expect_done(&t, 3);
		}
		t_uint(sent(&t), ARRAY_SIZE(rows));
		t_net_fini(&t);
	}
}

Test(net_tx, writable_segments_are_not_sent)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		gpa_t at;
		struct t_seg segs[2];

		t_net_init(&t, l, T_NET_MERGED);
		at = t_net_alloc(&t, 2000);
		segs[0] = (struct t_seg){ at, 100, false };
		segs[1] = (struct t_seg){ at + 1000, 100, true };
		t_virtq_send(ring(&t), 0, segs, 2);
		t_virtq_send(ring(&t), 2, segs + 1, 1);
		kick(&t);
		t_true(is_wire_empty(&t));
		expect_done(&t, 0);
		expect_done(&t, 2);
		t_uint(errors(&t), 2);
		t_net_fini(&t);
	}
}

Test(net_tx, a_queue_that_breaks_its_rules_needs_a_reset)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_offer(&t, 0, t_net_alloc(&t, 2000), SMALL, 5);
		t_virtq_offer(ring(&t), 99);
		t_virtq_publish(ring(&t));
		kick(&t);
		t_net_expect_wire(&t, SMALL, 5);
		t_true(t_net_needs_reset(&t));
		t_uint(t.dev->vq[NET_QUEUE_TX].broken, RULE_HEAD_RANGE);
		t_net_fini(&t);
	}
}

Test(net_tx, more_frames_than_one_turn_has_time_for_all_leave)
{
	enum { FRAMES = 12 };

	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		/* 12 * 60000 bytes: more than one run's share, and more than the wire holds. */
		for (uint16_t i = 0; i < FRAMES; i++)
			t_net_offer(
				&t, i, t_net_alloc(&t, NET_HEADER_LEN + LONG), LONG, (uint8_t)i);
		kick(&t);
		for (uint16_t i = 0; i < FRAMES; i++) {
			t_net_expect_wire(&t, LONG, (uint8_t)i);
			expect_done(&t, i);
		}
		t_net_fini(&t);
	}
}

/* Of the wire, until it is full: the frames that are then in it.  The queue's entries are offered
 * in order. */
static unsigned fill_wire(struct t_net *t)
{
	int least = 1;

	t_int(setsockopt(t->net->tap.tx_fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
	for (uint16_t i = 0; i < T_NET_QUEUE; i++)
		t_net_offer(t, i, t_net_alloc(t, 2000), MEDIUM, (uint8_t)i);
	kick(t);
	t_true(sent(t) < T_NET_QUEUE);
	t_true(t->net->tx.is_held);
	t_true(loop_op_is_pending(&t->net->tx.poll) || loop_op_is_pending(&t->net->tx.gate.timer));
	return (unsigned)sent(t);
}

Test(net_tx, a_full_tap_is_waited_for)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		unsigned before;

		t_net_init(&t, l, T_NET_MERGED);
		before = fill_wire(&t);
		/* Kicks change nothing. */
		kick(&t);
		t_uint(sent(&t), before);
		for (uint16_t i = 0; i < T_NET_QUEUE; i++) {
			t_net_expect_wire(&t, MEDIUM, (uint8_t)i);
			expect_done(&t, i);
		}
		t_true(is_wire_empty(&t));
		t_uint(errors(&t), 0);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_tx, a_full_tap_that_cannot_be_polled_does_not_keep_the_loop_busy)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		bad_polls = 2;
		polls = 0;
		(void)fill_wire(&t);
		for (unsigned i = 0; i < 100; i++)
			t_net_turn(&t);
		t_true(polls <= 2);
		t_true(errors(&t) >= 1 && errors(&t) <= 2);
		/* Nothing of it is lost, and the poll that works ends the trouble. */
		for (uint16_t i = 0; i < T_NET_QUEUE; i++) {
			t_net_expect_wire(&t, MEDIUM, (uint8_t)i);
			expect_done(&t, i);
		}
		t_true(errors(&t) <= 2);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_tx, a_pause_while_a_poll_has_failed)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		bad_polls = 1;
		(void)fill_wire(&t);
		t_false(loop_op_is_pending(&t.net->tx.poll));
		t_net_quiesce(&t);
		t_uint(errors(&t), 1);
		t_net_resume(&t);
		for (uint16_t i = 0; i < T_NET_QUEUE; i++)
			t_net_expect_wire(&t, MEDIUM, (uint8_t)i);
		t_net_fini(&t);
	}
}

Test(net_tx, receiving_goes_on_while_the_tap_is_full)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, 2000);
		t_net_kick(&t, NET_QUEUE_RX);
		(void)fill_wire(&t);
		t_net_arrive(&t, SMALL, 6);
		t_net_expect(&t, SMALL, 6, 1);
		t_net_fini(&t);
	}
}

Test(net_tx, what_the_tap_refuses_is_counted_and_given_back)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		(void)signal(SIGPIPE, SIG_IGN);
		t_net_init(&t, l, T_NET_MERGED);
		(void)shutdown(t.wire, SHUT_RDWR);
		for (uint16_t i = 0; i < 3; i++)
			t_net_offer(&t, i, t_net_alloc(&t, 2000), SMALL, 7);
		kick(&t);
		for (uint16_t i = 0; i < 3; i++)
			expect_done(&t, i);
		t_uint(errors(&t), 3);
		t_uint(sent(&t), 0);
		t_net_fini(&t);
	}
}

Test(net_tx, without_a_link_frames_are_dropped)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		net_set_link(t.dev, false);
		t_net_offer(&t, 0, t_net_alloc(&t, 2000), SMALL, 8);
		kick(&t);
		expect_done(&t, 0);
		t_true(is_wire_empty(&t));
		t_uint(count_get(&t.dev->counters.dropped), 1);
		t_net_fini(&t);
	}
}

Test(net_tx, a_kick_is_wanted_when_the_queue_is_empty)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		for (uint16_t i = 0; i < 5; i++) {
			t_uint(t_virtq_avail_event(ring(&t)), i);
			t_net_offer(&t, i, t_net_alloc(&t, 2000), SMALL, 9);
			kick(&t);
			t_net_expect_wire(&t, SMALL, 9);
		}
		t_net_fini(&t);
	}
}

/* --- the limiter --- */

static const struct limiter_config slow = { .ops = { .size = 1, .refill_ms = 50 } };

/* Three frames on offer, the first is gone and the second is held. */
static void hold_second(struct t_net *t, struct loop *l, const struct limiter_config *limit)
{
	struct net_config c = { .id = "net0", .tx = *limit };

	t_net_make(t, l, &c);
	t_net_start(t, T_NET_MERGED, T_NET_QUEUE);
	for (uint16_t i = 0; i < 3; i++)
		t_net_offer(t, i, t_net_alloc(t, 2000), MEDIUM, (uint8_t)i);
	kick(t);
	t_net_expect_wire(t, MEDIUM, 0);
	expect_done(t, 0);
	t_true(t->net->tx.is_held);
}

Test(net_tx, the_limiter_delays_and_loses_nothing)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		hold_second(&t, l, &slow);
		kick(&t);
		kick(&t);
		t_uint(count_get(&t.dev->counters.throttled), 1);
		t_true(is_wire_empty(&t));
		t_net_expect_wire(&t, MEDIUM, 1);
		t_net_expect_wire(&t, MEDIUM, 2);
		expect_done(&t, 1);
		expect_done(&t, 2);
		t_uint(count_get(&t.dev->counters.throttled), 2);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_tx, bytes_are_counted_with_the_header)
{
	static const struct limiter_config bytes = {
		.bytes = { .size = 2 * (NET_HEADER_LEN + MEDIUM) - 1, .refill_ms = 1000000 }
	};

	T_EACH_BACKEND(l)
	{
		struct t_net t;

		hold_second(&t, l, &bytes);
		t_net_fini(&t);
	}
}

Test(net_tx, a_frame_pays_once_however_often_it_is_tried)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0",
			.tx = { .ops = { .size = T_NET_QUEUE, .refill_ms = 1000000 } } };
		struct t_net t;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		(void)fill_wire(&t);
		for (uint16_t i = 0; i < T_NET_QUEUE; i++)
			t_net_expect_wire(&t, MEDIUM, (uint8_t)i);
		t_uint(count_get(&t.dev->counters.throttled), 0);
		t_net_fini(&t);
	}
}

Test(net_tx, a_new_limit_is_asked_at_once)
{
	static const struct limiter_config shut = { .ops = { .size = 1, .refill_ms = 1000000 } };
	static const struct limiter_config open = { 0 };

	T_EACH_BACKEND(l)
	{
		struct t_net t;

		hold_second(&t, l, &shut);
		net_set_rx_limit(t.dev, &open.bytes, &open.ops);
		t_net_turn(&t);
		t_true(is_wire_empty(&t));
		/* Twice in a round, and one that lets one pass. */
		net_set_tx_limit(t.dev, &shut.bytes, &shut.ops);
		net_set_tx_limit(t.dev, &shut.bytes, &shut.ops);
		t_net_expect_wire(&t, MEDIUM, 1);
		t_net_turn(&t);
		t_true(is_wire_empty(&t));
		net_set_tx_limit(t.dev, &open.bytes, &open.ops);
		t_net_expect_wire(&t, MEDIUM, 2);
		t_net_fini(&t);
	}
}

/* --- pauses and resets in the middle --- */

Test(net_tx, a_pause_while_the_tap_is_full)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		unsigned before;

		t_net_init(&t, l, T_NET_MERGED);
		before = fill_wire(&t);
		t_net_quiesce(&t);
		for (unsigned i = 0; i < before; i++)
			t_net_expect_wire(&t, MEDIUM, (uint8_t)i);
		t_net_turn(&t);
		t_true(is_wire_empty(&t));
		t_net_resume(&t);
		for (unsigned i = before; i < T_NET_QUEUE; i++)
			t_net_expect_wire(&t, MEDIUM, (uint8_t)i);
		/* The poll was cancelled, and that is no failure. */
		t_uint(errors(&t), 0);
		t_net_fini(&t);
	}
}

Test(net_tx, a_pause_while_the_limiter_holds_a_frame)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		hold_second(&t, l, &slow);
		t_net_quiesce(&t);
		(void)usleep(60000);
		t_net_turn(&t);
		t_true(is_wire_empty(&t));
		t_net_resume(&t);
		t_net_expect_wire(&t, MEDIUM, 1);
		t_net_expect_wire(&t, MEDIUM, 2);
		t_net_fini(&t);
	}
}

Test(net_tx, a_reset_forgets_a_frame_that_waits)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		unsigned before;

		t_net_init(&t, l, T_NET_MERGED);
		before = fill_wire(&t);
		t_net_quiesce(&t);
		t_net_reset(&t);
		for (unsigned i = 0; i < before; i++)
			t_net_expect_wire(&t, MEDIUM, (uint8_t)i);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		t_net_turn(&t);
		t_true(is_wire_empty(&t));
		t_net_offer(&t, 0, t_net_alloc(&t, 2000), SMALL, 10);
		kick(&t);
		t_net_expect_wire(&t, SMALL, 10);
		expect_done(&t, 0);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_tx, a_reset_does_not_refill_the_limiter)
{
	static const struct limiter_config once = { .ops = { .size = 1, .refill_ms = 1000000 } };

	T_EACH_BACKEND(l)
	{
		struct t_net t;

		hold_second(&t, l, &once);
		t_net_quiesce(&t);
		t_net_reset(&t);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		t_net_offer(&t, 0, t_net_alloc(&t, 2000), SMALL, 11);
		kick(&t);
		t_true(is_wire_empty(&t));
		t_true(t.net->tx.is_held);
		t_uint(count_get(&t.dev->counters.throttled), 2);
		t_net_fini(&t);
	}
}

/* --- what is counted --- */

Test(net_tx, frames_from_another_address_are_counted_and_sent)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = {
			.id = "net0", .has_mac = true, .mac = { 2, 0, 0, 0, 0, 9 }
		};
		const size_t source = NET_HEADER_LEN + NET_MAC_LEN;
		gpa_t at = T_NET_BUFFERS;
		struct t_net t;
		uint8_t frame[256];
		size_t n;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		t_net_offer(&t, 0, at, 100, 1);
		t_net_kick(&t, NET_QUEUE_TX);
		t_uint(count_get(&t.dev->counters.spoofed), 1);
		t_net_offer(&t, 1, at, 100, 2);
		memcpy(t_net_at(&t, at + source, sizeof(c.mac)), c.mac, sizeof(c.mac));
		t_net_kick(&t, NET_QUEUE_TX);
		t_uint(count_get(&t.dev->counters.spoofed), 1);
		/* Both are on the wire. */
		for (unsigned i = 0; i < 2; i++)
			t_int(t_net_leaves(&t, frame, sizeof(frame)), NET_HEADER_LEN + 100);
		n = (size_t)count_get(&t.dev->counters.way[COUNT_WRITE].took.count);
		t_uint(n, 2);
		t_true(count_get(&t.dev->counters.way[COUNT_WRITE].took.max) > 0);
		t_true(count_get(&t.dev->counters.way[COUNT_WRITE].no_buffer) >= 2);
		t_uint(count_get(&t.dev->counters.way[COUNT_WRITE].fails), 0);
		t_net_fini(&t);
	}
}
