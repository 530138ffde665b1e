/* What the network device receives. */
#include "t_net.h"

#include <sys/socket.h>

TestSuite(net_rx, .timeout = T_SECONDS);

enum { SMALL = 60, MEDIUM = 1514, LONG = 65000, BUFFER = 2048 };

static struct t_virtq *ring(struct t_net *t)
{
	return &t->q[NET_QUEUE_RX];
}

static void kick(struct t_net *t)
{
	t_net_kick(t, NET_QUEUE_RX);
	t_net_turn(t);
}

static uint64_t dropped(struct t_net *t)
{
	return count_get(&t->dev->counters.dropped);
}

static uint64_t errors(struct t_net *t)
{
	return count_get(&t->dev->counters.errors);
}

static uint64_t received(struct t_net *t)
{
	return count_get(&t->dev->counters.requests[COUNT_READ]);
}

/* True when nothing has been taken from the wire: what was written there is still to be read. */
static bool is_untouched(struct t_net *t)
{
	uint8_t byte;

	return recv(t->net->tap.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

Test(net_rx, a_frame_lies_in_one_buffer_with_its_header)
{
	static const uint64_t agreed[] = { T_NET_PLAIN, T_NET_MERGED };

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(agreed); i++) {
			struct t_net t;

			t_net_init(&t, l, agreed[i]);
			t_net_give(&t, 0, BUFFER);
			kick(&t);
			t_net_arrive(&t, MEDIUM, 1);
			/* Merged or not, num_buffers is 1. */
			t_net_expect(&t, MEDIUM, 1, 1);
			t_uint(received(&t), 1);
			t_uint(count_get(&t.dev->counters.bytes[COUNT_READ]), MEDIUM);
			t_net_fini(&t);
		}
	}
	T_NO_LEAKS();
}

Test(net_rx, merged_buffers_share_a_frame)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		uint32_t head, len;

		t_net_init(&t, l, T_NET_MERGED);
		for (uint16_t i = 0; i < 8; i++)
			t_net_give(&t, i, 600);
		kick(&t);
		t_net_arrive(&t, MEDIUM, 2);
		t_net_arrive(&t, 1200 - NET_HEADER_LEN, 3);
		t_net_expect(&t, MEDIUM, 2, 3);
		/* The second fills its buffers to the last byte and begins in a new one. */
		T_NET_UNTIL(&t, t_virtq_used_count(ring(&t)) == 2);
		t_true(t_virtq_used(ring(&t), &head, &len) && head == 3 && len == 600);
		t_true(t_virtq_used(ring(&t), &head, &len) && head == 4 && len == 600);
		t_net_fini(&t);
	}
}

Test(net_rx, unmerged_frames_each_have_a_buffer)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_PLAIN);
		for (uint16_t i = 0; i < 4; i++)
			t_net_give(&t, i, BUFFER);
		kick(&t);
		for (uint8_t i = 0; i < 4; i++)
			t_net_arrive(&t, SMALL + i, i);
		for (uint8_t i = 0; i < 4; i++)
			t_net_expect(&t, SMALL + i, i, 1);
		t_net_fini(&t);
	}
}

Test(net_rx, a_header_may_be_split_over_five_descriptors)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		struct t_seg segs[5];
		gpa_t at;
		uint16_t buffers = 1;
		uint8_t got[NET_HEADER_LEN] = { 0 };
		uint32_t len;

		t_net_init(&t, l, T_NET_MERGED);
		at = t_net_alloc(&t, BUFFER);
		/* num_buffers, the bytes 10 and 11, are in two of them. */
		segs[0] = (struct t_seg){ at, 1, true };
		segs[1] = (struct t_seg){ at + 100, 5, true };
		segs[2] = (struct t_seg){ at + 200, 5, true };
		segs[3] = (struct t_seg){ at + 300, 2, true };
		segs[4] = (struct t_seg){ at + 400, 1000, true };
		t_virtq_send(ring(&t), 0, segs, ARRAY_SIZE(segs));
		memset(t_net_at(&t, at, 400), 0xff, 400);
		kick(&t);
		t_net_arrive(&t, SMALL, 4);
		T_NET_UNTIL(&t, t_virtq_used(ring(&t), NULL, &len));
		t_uint(len, NET_HEADER_LEN + SMALL);
		memcpy(got, t_net_at(&t, at, 1), 1);
		memcpy(got + 1, t_net_at(&t, at + 100, 5), 5);
		memcpy(got + 6, t_net_at(&t, at + 200, 5), 5);
		memcpy(got + 11, t_net_at(&t, at + 300, 1), 1);
		t_int(memcmp(got + offsetof(struct virtio_net_hdr_v1, num_buffers), &buffers, 2),
			0);
		t_uint(got[0], 0);
		t_uint(*t_net_at(&t, at + 301, 1), 4); /* the frame's first byte */
		t_net_fini(&t);
	}
}

Test(net_rx, frames_that_are_none_are_counted_and_leave_the_buffers)
{
	/* Without header, of 9 and of 13 bytes. */
	static const size_t lengths[] = { 5, 9, 13, NET_HEADER_LEN + 13 };

	T_EACH_BACKEND(l)
	{
		struct t_net t;
		uint8_t junk[64] = { 0 };

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, BUFFER);
		kick(&t);
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++)
			t_int(write(t.wire, junk, lengths[i]), lengths[i]);
		t_net_arrive(&t, SMALL, 5);
		t_net_expect(&t, SMALL, 5, 1);
		t_uint(errors(&t), ARRAY_SIZE(lengths));
		t_uint(received(&t), 1);
		t_net_fini(&t);
	}
}

Test(net_rx, an_empty_read_is_not_repeated_at_once)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, BUFFER);
		kick(&t);
		t_int(send(t.wire, "", 0, 0), 0);
		t_net_turn(&t);
		t_uint(errors(&t), 1);
		t_true(loop_op_is_pending(&t.net->rx.gate.timer));
		/* After a while it is tried again. */
		t_net_arrive(&t, SMALL, 6);
		t_net_turn(&t);
		t_uint(received(&t), 0);
		t_net_expect(&t, SMALL, 6, 1);
		t_uint(errors(&t), 1);
		t_net_fini(&t);
	}
}

Test(net_rx, a_tap_that_has_gone_does_not_keep_the_loop_busy)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, BUFFER);
		kick(&t);
		(void)shutdown(t.wire, SHUT_RDWR);
		for (unsigned i = 0; i < 100; i++)
			t_net_turn(&t);
		t_true(errors(&t) >= 1 && errors(&t) <= 2);
		T_NET_UNTIL(&t, errors(&t) >= 3);
		t_net_fini(&t);
	}
}

Test(net_rx, a_frame_of_70000_bytes_is_dropped_and_leaves_the_buffers)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		/* Enough for it, too little for it, and a frame behind it. */
		for (uint16_t i = 0; i < 4; i++)
			t_net_give(&t, i, 40000);
		kick(&t);
		t_net_arrive(&t, T_NET_LONG, 7);
		t_net_arrive(&t, SMALL, 8);
		t_net_expect(&t, SMALL, 8, 1);
		t_uint(dropped(&t), 1);
		/* 140000 is cut off, and that is noticed. */
		t_net_arrive(&t, 2 * T_NET_LONG, 9);
		t_net_arrive(&t, SMALL, 10);
		t_net_expect(&t, SMALL, 10, 1);
		t_uint(dropped(&t), 2);
		t_uint(received(&t), 2);
		t_net_fini(&t);
	}
}

Test(net_rx, the_longest_frame_fits)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		for (uint16_t i = 0; i < 15; i++)
			t_net_give(&t, i, 5000);
		kick(&t);
		t_net_arrive(&t, NET_FRAME_MAX, 11);
		t_net_expect(&t, NET_FRAME_MAX, 11, 14);
		t_net_fini(&t);
	}
}

Test(net_rx, an_unmerged_frame_longer_than_its_buffer_is_dropped)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_PLAIN);
		for (uint16_t i = 0; i < 3; i++)
			t_net_give(&t, i, 1526);
		kick(&t);
		t_net_arrive(&t, MEDIUM + 1, 12);
		t_net_arrive(&t, MEDIUM, 13);
		t_net_expect(&t, MEDIUM, 13, 1);
		t_uint(dropped(&t), 1);
		t_net_fini(&t);
	}
}

Test(net_rx, buffers_that_break_the_rules_need_a_reset)
{
	static const struct {
		const char *name;
		struct t_seg seg[2];
		unsigned n;
	} rows[] = {
		{ "nothing writable", { { T_NET_BUFFERS, BUFFER, false } }, 1 },
		{ "readable before writable",
			{ { T_NET_BUFFERS, 12, false }, { T_NET_BUFFERS + 12, BUFFER, true } }, 2 },
		{ "no room for the header", { { T_NET_BUFFERS, 11, true } }, 1 },
		{ "no room in two segments",
			{ { T_NET_BUFFERS, 10, true }, { T_NET_BUFFERS + 10, 1, true } }, 2 },
		{ "not memory", { { UINT64_C(1) << 40, BUFFER, true } }, 1 },
	};

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			struct t_net t;

			t_net_init(&t, l, T_NET_MERGED);
			t_virtq_send(ring(&t), 0, rows[i].seg, rows[i].n);
			t_net_arrive(&t, SMALL, 1);
			kick(&t);
			t_row_true(rows[i].name, t_net_needs_reset(&t));
			t_row_int(rows[i].name, count_get(&t.dev->counters.rule_breaks), 1);
			t_row_int(rows[i].name, t_virtq_used_count(ring(&t)), 0);
			/* A reset is all it takes. */
			t_net_quiesce(&t);
			t_net_reset(&t);
			t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
			t_net_give(&t, 0, BUFFER);
			kick(&t);
			t_net_expect(&t, SMALL, 1, 1);
			t_net_fini(&t);
		}
	}
	T_NO_LEAKS();
}

Test(net_rx, without_buffers_the_tap_is_left_alone_until_the_kick)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_arrive(&t, SMALL, 14);
		t_net_turn(&t);
		t_true(is_untouched(&t));
		t_false(loop_op_is_pending(&t.net->rx.poll));
		/* It wants to hear of the first buffer. */
		t_uint(t_virtq_avail_event(ring(&t)), 0);
		t_net_give(&t, 0, BUFFER);
		kick(&t);
		t_net_expect(&t, SMALL, 14, 1);
		/* And again of the second, when the first is used up. */
		t_net_arrive(&t, SMALL, 15);
		t_net_turn(&t);
		t_true(is_untouched(&t));
		t_uint(t_virtq_avail_event(ring(&t)), 1);
		t_net_give(&t, 1, BUFFER);
		kick(&t);
		t_net_expect(&t, SMALL, 15, 1);
		t_net_fini(&t);
	}
}

Test(net_rx, kicks_are_not_wanted_while_there_are_buffers)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED & ~VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX));
		t_net_give(&t, 0, BUFFER);
		t_net_give(&t, 1, BUFFER);
		t_uint(ring(&t)->used->flags, 0);
		kick(&t);
		t_uint(ring(&t)->used->flags, VRING_USED_F_NO_NOTIFY);
		t_net_arrive(&t, SMALL, 16);
		t_net_expect(&t, SMALL, 16, 1);
		t_uint(ring(&t)->used->flags, VRING_USED_F_NO_NOTIFY);
		t_net_arrive(&t, SMALL, 17);
		t_net_expect(&t, SMALL, 17, 1);
		t_uint(ring(&t)->used->flags, 0);
		t_net_fini(&t);
	}
}

Test(net_rx, a_frame_longer_than_all_buffers_waits_for_more)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		uint16_t head = 0;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, head++, 100);
		kick(&t);
		t_net_arrive(&t, LONG, 18);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(ring(&t)), 0);
		t_uint(t.net->rx.frame, NET_HEADER_LEN + LONG);
		/* One after the other, of any length, each with its kick. */
		while (t_virtq_used_count(ring(&t)) == 0) {
			t_true(head < T_NET_QUEUE);
			t_uint(t_virtq_avail_event(ring(&t)), head);
			t_net_give(&t, head, 4000U + head * 331U);
			head++;
			kick(&t);
		}
		t_net_expect(&t, LONG, 18, head);
		t_uint(dropped(&t), 0);
		/* What comes next is not mixed up with it. */
		t_net_give(&t, 0, BUFFER);
		kick(&t);
		t_net_arrive(&t, SMALL, 19);
		t_net_expect(&t, SMALL, 19, 1);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_rx, a_frame_that_all_entries_cannot_hold_is_dropped)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		for (uint16_t i = 0; i < T_NET_QUEUE; i++)
			t_net_give(&t, i, 100);
		kick(&t);
		t_net_arrive(&t, 100 * T_NET_QUEUE, 20);
		t_net_arrive(&t, 100 * T_NET_QUEUE - NET_HEADER_LEN, 21);
		/* At once, and the buffers of the first are those of the second. */
		t_net_turn(&t);
		t_uint(dropped(&t), 1);
		t_net_expect(&t, 100 * T_NET_QUEUE - NET_HEADER_LEN, 21, T_NET_QUEUE);
		t_uint(dropped(&t), 1);
		t_net_fini(&t);
	}
}

Test(net_rx, a_frame_does_not_wait_for_room_for_ever)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, 100);
		t_net_give(&t, 1, 100);
		kick(&t);
		t_net_arrive(&t, MEDIUM, 22);
		t_net_arrive(&t, SMALL, 23);
		t_net_turn(&t);
		t_uint(dropped(&t), 0);
		t_net_expect(&t, SMALL, 23, 1);
		t_uint(dropped(&t), 1);
		t_net_fini(&t);
	}
}

Test(net_rx, a_pool_full_of_crumbs_drops_what_it_cannot_hold)
{
	enum { CRUMBS = 250 };

	T_EACH_BACKEND(l)
	{
		struct t_net t;
		struct t_seg segs[CRUMBS];
		gpa_t at, table;

		t_net_make(&t, l, NULL);
		t_net_start(&t, T_NET_MERGED, NET_QUEUE_MAX);
		for (uint16_t i = 0; i < 8; i++) {
			at = t_net_alloc(&t, CRUMBS);
			for (unsigned n = 0; n < CRUMBS; n++)
				segs[n] = (struct t_seg){ at + n, 1, true };
			table = t_net_alloc(&t, CRUMBS * sizeof(struct vring_desc));
			t.buffer[i] = at;
			t_virtq_chain_indirect(ring(&t), i, table, segs, CRUMBS);
			t_virtq_offer(ring(&t), i);
		}
		t_virtq_publish(ring(&t));
		kick(&t);
		/* Four chains have a place in one read, there are eight. */
		t_net_arrive(&t, 5 * CRUMBS, 24);
		t_net_turn(&t);
		t_uint(dropped(&t), 1);
		t_net_arrive(&t, SMALL, 25);
		t_net_expect(&t, SMALL, 25, 1);
		t_net_arrive(&t, SMALL, 26);
		t_net_expect(&t, SMALL, 26, 1);
		t_net_fini(&t);
	}
}

Test(net_rx, thousands_of_frames_go_round)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		uint8_t seed = 0;

		t_net_init(&t, l, T_NET_MERGED);
		for (uint16_t i = 0; i < T_NET_QUEUE; i++)
			t_net_give(&t, i, 512);
		kick(&t);
		for (unsigned i = 0; i < 3000; i++) {
			size_t len = SMALL + i * 37 % 1200;
			unsigned buffers = (unsigned)(NET_HEADER_LEN + len + 511) / 512;

			t_net_arrive(&t, len, seed);
			t_net_expect(&t, len, seed++, buffers);
			/* Given back in the order in which they came. */
			for (unsigned n = 0; n < buffers; n++) {
				uint16_t head = ring(&t)->used
							->ring[(ring(&t)->seen_used - buffers + n) %
								T_NET_QUEUE]
							.id;

				t_virtq_offer(ring(&t), head);
			}
			t_virtq_publish(ring(&t));
			t_net_kick(&t, NET_QUEUE_RX);
		}
		t_uint(received(&t), 3000);
		t_uint(dropped(&t) + errors(&t), 0);
		t_net_fini(&t);
	}
}

Test(net_rx, a_long_frame_after_many_short_ones_is_whole)
{
	/* Of buffers, and of the frame: more than what is read into when short frames are expected,
	 * and no more than what the pool has. */
	static const uint32_t lengths[] = { 300, 2048, 70000 };

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
			size_t len = MIN(LONG, 40 * lengths[i]);
			struct t_net t;

			t_net_make(&t, l, NULL);
			t_net_start(&t, T_NET_MERGED, NET_QUEUE_MAX);
			for (uint16_t n = 0; n < 150; n++)
				t_net_give(&t, n, lengths[i]);
			kick(&t);
			for (uint8_t n = 0; n < 100; n++) {
				t_net_arrive(&t, SMALL, n);
				t_net_expect(&t, SMALL, n, 1);
			}
			t_net_arrive(&t, len, 1);
			t_net_expect(&t, len, 1,
				(unsigned)(NET_HEADER_LEN + len + lengths[i] - 1) / lengths[i]);
			t_net_arrive(&t, SMALL, 2);
			t_net_expect(&t, SMALL, 2, 1);
			t_uint(dropped(&t) + errors(&t), 0);
			t_net_fini(&t);
		}
	}
}

Test(net_rx, headers_that_were_not_agreed_are_kept_from_the_driver)
{
	static const struct {
		const char *name;
		uint64_t agreed;
		uint8_t flags, gso;
		int flags_seen; /* -1: refused */
	} rows[] = {
		{ "valid", T_NET_MERGED, VIRTIO_NET_HDR_F_DATA_VALID, 0,
			VIRTIO_NET_HDR_F_DATA_VALID },
		{ "valid, unagreed", T_NET_MERGED & ~VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM),
			VIRTIO_NET_HDR_F_DATA_VALID, 0, 0 },
		{ "partial", T_NET_MERGED, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0,
			VIRTIO_NET_HDR_F_NEEDS_CSUM },
		{ "partial, unagreed", T_NET_MERGED & ~VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM),
			VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, -1 },
		{ "segments", T_NET_MERGED, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4,
			VIRTIO_NET_HDR_F_NEEDS_CSUM },
		{ "segments, unagreed", T_NET_MERGED & ~VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO4),
			VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4, -1 },
	};

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			uint8_t buf[NET_HEADER_LEN + SMALL];
			size_t len = t_net_frame(buf, SMALL, 0);
			struct t_net t;

			t_net_init(&t, l, rows[i].agreed);
			t_net_give(&t, 0, BUFFER);
			kick(&t);
			buf[0] = rows[i].flags;
			buf[1] = rows[i].gso;
			t_int(write(t.wire, buf, len), len);
			if (rows[i].flags_seen < 0) {
				T_NET_UNTIL(&t, errors(&t) == 1);
				t_row_int(rows[i].name, t_virtq_used_count(ring(&t)), 0);
			} else {
				T_NET_UNTIL(&t, t_virtq_used_count(ring(&t)) == 1);
				t_row_int(rows[i].name, *t_net_at(&t, t.buffer[0], 1),
					rows[i].flags_seen);
			}
			t_net_fini(&t);
		}
	}
}

Test(net_rx, without_a_link_frames_are_dropped)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, BUFFER);
		kick(&t);
		net_set_link(t.dev, false);
		t_net_arrive(&t, SMALL, 27);
		T_NET_UNTIL(&t, dropped(&t) == 1);
		net_set_link(t.dev, true);
		t_net_arrive(&t, SMALL, 28);
		t_net_expect(&t, SMALL, 28, 1);
		t_net_fini(&t);
	}
}

/* --- the limiter --- */

/* One frame at once, then one each 50 ms. */
static const struct limiter_config slow = { .ops = { .size = 1, .refill_ms = 50 } };
/* One frame at once, then nothing as long as a test lasts. */
static const struct limiter_config shut = { .ops = { .size = 1, .refill_ms = 1000000 } };

Test(net_rx, the_limiter_delays_and_loses_nothing)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0", .rx = slow };
		struct t_net t;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		for (uint16_t i = 0; i < 8; i++)
			t_net_give(&t, i, BUFFER);
		kick(&t);
		for (uint8_t i = 0; i < 4; i++)
			t_net_arrive(&t, MEDIUM, i);
		t_net_expect(&t, MEDIUM, 0, 1);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(ring(&t)), 0);
		/* More kicks do not make it faster, nor count as more waits. */
		kick(&t);
		kick(&t);
		t_uint(count_get(&t.dev->counters.throttled), 1);
		for (uint8_t i = 1; i < 4; i++)
			t_net_expect(&t, MEDIUM, i, 1);
		t_uint(count_get(&t.dev->counters.throttled), 3);
		t_uint(dropped(&t), 0);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_rx, bytes_are_counted_with_the_header)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0",
			.rx = { .bytes = { .size = 2 * (NET_HEADER_LEN + SMALL),
					.refill_ms = 1000000 } } };
		struct t_net t;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		for (uint16_t i = 0; i < 8; i++)
			t_net_give(&t, i, BUFFER);
		kick(&t);
		for (uint8_t i = 0; i < 3; i++)
			t_net_arrive(&t, SMALL, i);
		T_NET_UNTIL(&t, count_get(&t.dev->counters.throttled) == 1);
		t_uint(received(&t), 2);
		t_net_fini(&t);
	}
}

Test(net_rx, a_new_limit_is_asked_at_once)
{
	static const struct limiter_config open = { 0 };

	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0", .rx = shut };
		struct t_net t;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		for (uint16_t i = 0; i < 8; i++)
			t_net_give(&t, i, BUFFER);
		kick(&t);
		for (uint8_t i = 0; i < 3; i++)
			t_net_arrive(&t, SMALL, i);
		t_net_expect(&t, SMALL, 0, 1);
		t_net_turn(&t);
		/* The other direction's is not this one's. */
		net_set_tx_limit(t.dev, &open.bytes, &open.ops);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(ring(&t)), 0);
		net_set_rx_limit(t.dev, &open.bytes, &open.ops);
		t_net_expect(&t, SMALL, 1, 1);
		t_net_expect(&t, SMALL, 2, 1);
		t_net_fini(&t);
	}
}

Test(net_rx, the_limiter_is_asked_when_room_is_there_and_not_later)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0", .rx = slow };
		struct t_net t;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		t_net_give(&t, 0, BUFFER);
		t_net_give(&t, 1, 500);
		kick(&t);
		t_net_arrive(&t, SMALL, 1);
		t_net_arrive(&t, MEDIUM, 2);
		t_net_expect(&t, SMALL, 1, 1);
		T_NET_UNTIL(&t, t.net->rx.spilled > 0);
		/* A second for the room that is missing; then 50 ms or less for the limiter. */
		limiter_init(&t.net->rx.gate.limiter, &slow, loop_now_ns(l));
		t_uint(limiter_take(&t.net->rx.gate.limiter, 0, loop_now_ns(l)), 0);
		t_net_give(&t, 2, BUFFER);
		kick(&t);
		t_net_turn(&t);
		t_true(t.net->rx.frame == 0 ||
			t.net->rx.gate.until_ns + 500000000 < t.net->rx.hold_until_ns);
		t_net_expect(&t, MEDIUM, 2, 2);
		t_net_fini(&t);
	}
}

Test(net_rx, a_reset_does_not_refill_the_limiter)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0", .rx = shut };
		struct t_net t;

		t_net_make(&t, l, &c);
		for (unsigned i = 0; i < 2; i++) {
			t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
			t_net_give(&t, 0, BUFFER);
			t_net_give(&t, 1, BUFFER);
			t_net_arrive(&t, SMALL, 1);
			t_net_arrive(&t, SMALL, 2);
			kick(&t);
			t_uint(received(&t), 1);
			t_uint(count_get(&t.dev->counters.throttled), i + 1);
			t_true(t.net->rx.frame > 0);
			t_net_quiesce(&t);
			t_net_reset(&t);
		}
		t_net_fini(&t);
	}
}

/* --- pauses and resets in the middle --- */

Test(net_rx, a_pause_while_the_tap_is_polled)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, BUFFER);
		kick(&t);
		t_true(loop_op_is_pending(&t.net->rx.poll));
		t_net_quiesce(&t);
		t_net_arrive(&t, SMALL, 29);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(ring(&t)), 0);
		t_net_resume(&t);
		t_net_expect(&t, SMALL, 29, 1);
		t_net_fini(&t);
	}
}

Test(net_rx, a_pause_while_a_frame_waits_for_room)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, 500);
		kick(&t);
		t_net_arrive(&t, MEDIUM, 30);
		t_net_turn(&t);
		t_net_quiesce(&t);
		t_net_give(&t, 1, BUFFER);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(ring(&t)), 0);
		t_net_resume(&t);
		t_net_expect(&t, MEDIUM, 30, 2);
		/* A long pause is not the driver's. */
		t_net_give(&t, 2, 500);
		kick(&t);
		t_net_arrive(&t, MEDIUM, 31);
		T_NET_UNTIL(&t, t.net->rx.spilled > 0);
		t_net_quiesce(&t);
		t.net->rx.hold_until_ns = 1;
		t_net_resume(&t);
		t_uint(dropped(&t), 0);
		t_net_give(&t, 3, BUFFER);
		kick(&t);
		t_net_expect(&t, MEDIUM, 31, 2);
		t_net_fini(&t);
	}
}

Test(net_rx, a_pause_while_the_limiter_holds_a_frame)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0", .rx = slow };
		struct t_net t;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		t_net_give(&t, 0, BUFFER);
		t_net_give(&t, 1, BUFFER);
		kick(&t);
		t_net_arrive(&t, SMALL, 31);
		t_net_arrive(&t, SMALL, 32);
		t_net_expect(&t, SMALL, 31, 1);
		T_NET_UNTIL(&t, t.net->rx.frame > 0);
		t_net_quiesce(&t);
		(void)usleep(60000);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(ring(&t)), 0);
		t_net_resume(&t);
		t_net_expect(&t, SMALL, 32, 1);
		t_net_fini(&t);
	}
}

Test(net_rx, a_pause_while_there_is_more_to_do)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_make(&t, l, NULL);
		t_net_start(&t, T_NET_MERGED, NET_QUEUE_MAX);
		for (uint16_t i = 0; i < NET_QUEUE_MAX; i++)
			t_net_give(&t, i, BUFFER);
		/* Of long frames the first run takes some. */
		for (uint8_t i = 0; i < 6; i++)
			t_net_arrive(&t, 50000, i);
		t_net_kick(&t, NET_QUEUE_RX);
		t_true(t.net->again != 0 || loop_op_is_pending(&t.net->rx.poll));
		t_net_quiesce(&t);
		t_net_resume(&t);
		for (uint8_t i = 0; i < 6; i++)
			t_net_expect(&t, 50000, i, 25);
		t_net_fini(&t);
	}
}

Test(net_rx, a_reset_forgets_a_frame_that_waits)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, 500);
		kick(&t);
		t_net_arrive(&t, MEDIUM, 33);
		t_net_turn(&t);
		t_true(t.net->rx.spilled > 0);
		t_net_quiesce(&t);
		t_net_reset(&t);
		t_net_arrive(&t, SMALL, 34);
		/* Another driver, other features. */
		t_net_start(&t, T_NET_PLAIN, T_NET_QUEUE);
		t_net_give(&t, 3, BUFFER);
		kick(&t);
		t_net_expect(&t, SMALL, 34, 1);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net_rx, only_the_interrupt_that_is_wanted_is_sent)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		for (uint16_t i = 0; i < 8; i++)
			t_net_give(&t, i, BUFFER);
		t_virtq_used_event(ring(&t), 3);
		for (uint8_t i = 0; i < 3; i++)
			t_net_arrive(&t, SMALL, i);
		kick(&t);
		t_uint(count_get(&t.dev->counters.interrupts), 0);
		t_net_arrive(&t, SMALL, 3);
		t_net_turn(&t);
		t_uint(count_get(&t.dev->counters.interrupts), 1);
		t_uint(t_virtq_used_count(ring(&t)), 4);
		t_net_fini(&t);
	}
}
