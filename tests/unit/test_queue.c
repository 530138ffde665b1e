/*
 * Virtqueues, what a driver may do and what it may not: the place of a queue, and the chains in it.
 * Every rule of rules.h that queue.c checks is broken here by name.  What comes back to the driver
 * is in test_queue_ring.c, indirect tables are in test_queue_indirect.c.
 */
#include "t_queue.h"

#include "x86/layout.h"

TestSuite(queue, .timeout = T_SECONDS);

/* --- where a queue lies --- */

Test(queue, sizes_that_are_no_power_of_two_or_out_of_range_are_refused)
{
	static const uint16_t bad[] = { 0, 1, 3, 5, 6, 7, 255, 257, 1023, 1025, 2048, 4096, 32768,
		65535 };
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtq_layout at = t.q.at;

		at.num = bad[i];
		cr_expect(eq(int, virtq_start(&t.vq, &t.m, &at, 0), RULE_QUEUE_SIZE), "size %u",
			bad[i]);
	}
	/* A refusal leaves what was there. */
	t_true(t.vq.ready);
	t_virtq_send(&t.q, 0, &(struct t_seg){ T_QUEUE_DATA, 1, false }, 1);
	t_queue_pops(&t, 1, 0);
	t_queue_fini(&t);
}

/* Starts with one part moved. */
static enum virtio_rule start_at(struct t_queue *t, gpa_t desc, gpa_t avail, gpa_t used)
{
	struct virtq_layout at = { .num = 8, .desc = desc, .avail = avail, .used = used };
	struct virtq vq = { 0 };
	enum virtio_rule rule = virtq_start(&vq, &t->m, &at, 0);

	t_int(vq.ready, rule == RULE_NONE);
	return rule;
}

/* Bytes of the parts of a queue of 8 (2.7): 16 for each entry; 6 and 2; 6 and 8. */
enum { DESC8 = 128, AVAIL8 = 22, USED8 = 70 };

Test(queue, parts_at_a_wrong_alignment_are_refused_and_at_the_least_one_accepted)
{
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	for (unsigned off = 0; off < 32; off++) {
		cr_expect(eq(int, start_at(&t, 0x1000 + off, 0x2000, 0x3000),
				  off % 16 ? RULE_QUEUE_ALIGN : RULE_NONE),
			"table at + %u", off);
		cr_expect(eq(int, start_at(&t, 0x1000, 0x2000 + off, 0x3000),
				  off % 2 ? RULE_QUEUE_ALIGN : RULE_NONE),
			"available ring at + %u", off);
		cr_expect(eq(int, start_at(&t, 0x1000, 0x2000, 0x3000 + off),
				  off % 4 ? RULE_QUEUE_ALIGN : RULE_NONE),
			"used ring at + %u", off);
	}
	t_queue_fini(&t);
}

Test(queue, parts_that_are_not_wholly_in_memory_are_refused)
{
	static const gpa_t nowhere[] = { LAYOUT_HOLE_START, LAYOUT_VIRTIO_BASE,
		LAYOUT_IOAPIC & ~15ULL, LAYOUT_HOLE_END - 16, LAYOUT_HOLE_END + 3 * T_GIB,
		1ULL << 63, UINT64_MAX & ~15ULL };
	struct t_queue t;

	t_queue_init_mem(&t, 6 * T_GIB, 8, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
		gpa_t at = nowhere[i];

		cr_expect(eq(int, start_at(&t, at, 0x2000, 0x3000), RULE_QUEUE_MEMORY));
		cr_expect(eq(int, start_at(&t, 0x1000, at, 0x3000), RULE_QUEUE_MEMORY));
		cr_expect(eq(int, start_at(&t, 0x1000, 0x2000, at), RULE_QUEUE_MEMORY));
	}
	t_queue_fini(&t);
}

Test(queue, parts_may_end_with_memory_and_not_behind_it)
{
	struct t_queue t;
	gpa_t end = 16 * T_MIB;

	t_queue_init(&t, 8, 0);
	t_int(start_at(&t, end - DESC8, 0x2000, 0x3000), RULE_NONE);
	t_int(start_at(&t, end - DESC8 + 16, 0x2000, 0x3000), RULE_QUEUE_MEMORY);
	t_int(start_at(&t, 0x1000, end - AVAIL8, 0x3000), RULE_NONE);
	t_int(start_at(&t, 0x1000, end - AVAIL8 + 2, 0x3000), RULE_QUEUE_MEMORY);
	/* The used ring's last bytes are the event index, which is there whether agreed or not. */
	t_int(start_at(&t, 0x1000, 0x2000, end - USED8 - 2), RULE_NONE);
	t_int(start_at(&t, 0x1000, 0x2000, end - USED8 + 2), RULE_QUEUE_MEMORY);
	t_queue_fini(&t);
}

Test(queue, parts_that_share_a_byte_are_refused_and_neighbours_accepted)
{
	struct t_queue t;
	gpa_t at = 0x4000;

	t_queue_init(&t, 8, 0);
	t_int(start_at(&t, at, at + DESC8, 0x8000), RULE_NONE);
	t_int(start_at(&t, at, at + DESC8 - 2, 0x8000), RULE_QUEUE_OVERLAP);
	t_int(start_at(&t, at, at - AVAIL8, 0x8000), RULE_NONE);
	t_int(start_at(&t, at, at - AVAIL8 + 2, 0x8000), RULE_QUEUE_OVERLAP);
	t_int(start_at(&t, at, 0x8000, at + DESC8), RULE_NONE);
	t_int(start_at(&t, at, 0x8000, at + DESC8 - 4), RULE_QUEUE_OVERLAP);
	t_int(start_at(&t, at, 0x8000, at - USED8 - 2), RULE_NONE);
	t_int(start_at(&t, at, 0x8000, at - USED8 + 2), RULE_QUEUE_OVERLAP);
	t_int(start_at(&t, 0x8000, at, at + AVAIL8 + 2), RULE_NONE);
	t_int(start_at(&t, 0x8000, at, at + AVAIL8 - 2), RULE_QUEUE_OVERLAP);
	t_int(start_at(&t, 0x8000, at, at - USED8 + 2), RULE_QUEUE_OVERLAP);
	t_int(start_at(&t, at, at, at), RULE_QUEUE_OVERLAP);
	t_int(start_at(&t, at, 0x8000, 0x8000), RULE_QUEUE_OVERLAP);
	t_queue_fini(&t);
}

/* --- chains that are right --- */

Test(queue, an_empty_queue_has_no_chain)
{
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	t_int(virtq_pop(&t.vq, &t.c), 0);
	t_virtq_offer(&t.q, 0); /* in the ring, but the index does not say so */
	t_int(virtq_pop(&t.vq, &t.c), 0);
	t_true(t.vq.ready);
	t_queue_fini(&t);
}

Test(queue, a_chain_is_its_segments_in_order_the_readable_ones_first)
{
	static const struct t_seg segs[] = { { 0x40000, 16, false }, { 0x50001, 1, false },
		{ 0x60000, 4096, true }, { 0x70003, 5, true }, { 0x40000, 1, true } };
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	t_virtq_send(&t.q, 6, segs, ARRAY_SIZE(segs)); /* 6, 7, 0, 1, 2 */
	t_queue_pops(&t, 2, 3);
	t_uint(t.c.read_len, 17);
	t_uint(t.c.write_len, 4102);
	t_uint(t.c.head, 6);
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++) {
		cr_expect(eq(ptr, t.iov[i].iov_base, t_queue_hva(&t, segs[i].gpa)), "%u", i);
		cr_expect(eq(sz, t.iov[i].iov_len, segs[i].len), "%u", i);
	}
	t_uint(t.vq.inflight, 1);
	t_queue_fini(&t);
}

Test(queue, flags_that_nobody_defined_are_ignored)
{
	struct t_queue t;

	t_queue_start_with(&t, T_QUEUE_DATA, 9, (uint16_t) ~(T_W | T_NEXT | T_IND), 0xffff);
	t_queue_pops(&t, 1, 0);
	t_queue_fini(&t);
}

Test(queue, a_chain_may_fill_the_whole_table)
{
	for (unsigned num = VIRTQ_SIZE_MIN; num <= VIRTQ_SIZE_MAX; num *= 2) {
		static struct t_seg segs[VIRTQ_SIZE_MAX];
		struct t_queue t;

		for (unsigned i = 0; i < num; i++)
			segs[i] = (struct t_seg){ T_QUEUE_DATA + i, 1 + i, i >= num / 2 };
		t_queue_init(&t, (uint16_t)num, 0);
		t_virtq_send(&t.q, 1, segs, num);
		t_queue_pops(&t, num / 2, num / 2);
		cr_expect(eq(u32, t.c.read_len + t.c.write_len, num * (num + 1) / 2), "%u", num);
		t_queue_fini(&t);
	}
}

Test(queue, memory_may_be_used_to_its_last_byte_on_both_sides_of_the_hole)
{
	static const struct t_seg segs[] = { { LAYOUT_HOLE_START - 7, 7, false },
		{ 0, LAYOUT_HOLE_START & UINT32_MAX, false }, { LAYOUT_HOLE_END, 9, true },
		{ LAYOUT_HOLE_END + 3 * T_GIB - 1, 1, true } };
	struct t_queue t;

	t_queue_init_mem(&t, 6 * T_GIB, 8, 0);
	t_virtq_send(&t.q, 0, segs, ARRAY_SIZE(segs));
	t_queue_pops(&t, 2, 2);
	t_queue_fini(&t);
}

/* --- the ring's indices --- */

Test(queue, an_index_that_jumps_by_more_than_the_queue_breaks_it)
{
	static const uint16_t jumps[] = { 9, 100, 32768, 65535 };

	for (unsigned i = 0; i < ARRAY_SIZE(jumps); i++) {
		struct t_queue t;

		t_queue_init(&t, 8, 0);
		WRITE_ONCE(t.q.avail->idx, jumps[i]);
		t_queue_breaks(&t, RULE_AVAIL_JUMP);
		t_queue_fini(&t);
	}
}

Test(queue, an_index_that_goes_back_breaks_it)
{
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	t_virtq_send(&t.q, 0, &(struct t_seg){ T_QUEUE_DATA, 1, false }, 1);
	t_queue_pops(&t, 1, 0);
	virtq_push(&t.vq, 0, 0);
	WRITE_ONCE(t.q.avail->idx, 0);
	t_int(virtq_pop(&t.vq, &t.c), -EBADMSG);
	t_int(t.vq.broken, RULE_AVAIL_JUMP);
	t_queue_fini(&t);
}

Test(queue, as_many_chains_as_entries_may_be_in_flight_and_not_one_more)
{
	struct t_queue t;

	t_queue_init(&t, 4, 0);
	for (uint16_t i = 0; i < 4; i++)
		t_virtq_send(&t.q, i, &(struct t_seg){ T_QUEUE_DATA, 1, false }, 1);
	for (unsigned i = 0; i < 4; i++)
		t_queue_pops(&t, 1, 0);
	t_int(virtq_pop(&t.vq, &t.c), 0);
	t_uint(t.vq.inflight, 4);
	t_virtq_send(&t.q, 0, &(struct t_seg){ T_QUEUE_DATA, 1, false }, 1);
	t_queue_breaks(&t, RULE_TOO_MANY_CHAINS);
	t_queue_fini(&t);
}

Test(queue, a_chain_given_back_makes_room_for_another)
{
	struct t_queue t;

	t_queue_init(&t, 2, 0);
	for (uint16_t i = 0; i < 2; i++)
		t_virtq_send(&t.q, i, &(struct t_seg){ T_QUEUE_DATA, 1, false }, 1);
	t_queue_pops(&t, 1, 0);
	t_queue_pops(&t, 1, 0);
	virtq_push(&t.vq, 1, 0);
	t_uint(t.vq.inflight, 1);
	t_queue_offer(&t, 1);
	t_queue_pops(&t, 1, 0);
	t_uint(t.c.head, 1);
	t_queue_fini(&t);
}

Test(queue, a_head_out_of_range_breaks_it)
{
	static const uint16_t heads[] = { 8, 9, 32768, 65535 };

	for (unsigned i = 0; i < ARRAY_SIZE(heads); i++) {
		struct t_queue t;

		t_queue_init(&t, 8, 0);
		t_queue_offer(&t, heads[i]);
		t_queue_breaks(&t, RULE_HEAD_RANGE);
		t_queue_fini(&t);
	}
}

Test(queue, a_next_out_of_range_breaks_it)
{
	static const uint16_t nexts[] = { 8, 9, 32768, 65535 };

	for (unsigned i = 0; i < ARRAY_SIZE(nexts); i++) {
		struct t_queue t;

		t_queue_start_with(&t, T_QUEUE_DATA, 1, T_NEXT, nexts[i]);
		t_queue_breaks(&t, RULE_NEXT_RANGE);
		t_queue_fini(&t);
	}
}

/* --- the length of a chain --- */

Test(queue, a_descriptor_that_follows_itself_breaks_it)
{
	struct t_queue t;

	t_queue_start_with(&t, T_QUEUE_DATA, 1, T_NEXT, 0);
	t_queue_breaks(&t, RULE_CHAIN_LENGTH);
	t_queue_fini(&t);
}

Test(queue, a_chain_that_loops_through_the_whole_table_breaks_it)
{
	for (unsigned num = VIRTQ_SIZE_MIN; num <= VIRTQ_SIZE_MAX; num *= 2) {
		struct t_queue t;

		t_queue_init(&t, (uint16_t)num, 0);
		for (unsigned i = 0; i < num; i++)
			t_virtq_desc(&t.q, (uint16_t)i, T_QUEUE_DATA, 1, T_NEXT,
				(uint16_t)((i + 1) % num));
		t_queue_offer(&t, 0);
		t_queue_breaks(&t, RULE_CHAIN_LENGTH);
		t_queue_fini(&t);
	}
}

Test(queue, a_chain_of_more_than_4_gib_breaks_it_and_one_byte_less_does_not)
{
	struct t_seg segs[] = { { 0, 1U << 31, false }, { 1, (1U << 31) - 1, false },
		{ T_QUEUE_DATA, 1, true } };
	struct t_queue t;

	t_queue_init_mem(&t, 6 * T_GIB, 8, 0);
	t_virtq_send(&t.q, 0, segs, 2);
	t_queue_pops(&t, 2, 0);
	t_uint(t.c.read_len, UINT32_MAX);
	t_virtq_send(&t.q, 3, segs, 3);
	t_queue_breaks(&t, RULE_CHAIN_BYTES);
	t_queue_fini(&t);
}

/* --- segments --- */

Test(queue, a_segment_of_no_length_breaks_it)
{
	struct t_queue t;

	t_queue_start_with(&t, T_QUEUE_DATA, 0, T_W, 0);
	t_queue_breaks(&t, RULE_SEGMENT_EMPTY);
	t_queue_fini(&t);
}

Test(queue, a_segment_that_is_not_wholly_memory_breaks_it)
{
	static const struct {
		const char *name;
		gpa_t gpa;
		uint32_t len;
	} rows[] = {
		{ "address plus length wraps", UINT64_MAX - 15, 17 },
		{ "address plus length is 2^64", UINT64_MAX - 15, 16 },
		{ "wraps into memory", UINT64_MAX - 15, 4096 },
		{ "last address of all", UINT64_MAX, 1 },
		{ "largest length", T_QUEUE_DATA, UINT32_MAX },
		{ "one byte behind memory", LAYOUT_HOLE_END + 3 * T_GIB - 15, 16 },
		{ "first byte behind memory", LAYOUT_HOLE_END + 3 * T_GIB, 1 },
		{ "one byte into the hole", LAYOUT_HOLE_START - 15, 16 },
		{ "in the hole", LAYOUT_HOLE_START, 1 },
		{ "out of the hole", LAYOUT_HOLE_END - 1, 2 },
		{ "across the whole hole", LAYOUT_HOLE_START - 1, (1U << 30) + 2 },
		{ "a device's window", LAYOUT_VIRTIO_BASE, 4 },
		{ "the I/O APIC", LAYOUT_IOAPIC, 4 },
		{ "a LAPIC", LAYOUT_LAPIC, 4096 },
		{ "the top bit", 1ULL << 63 | T_QUEUE_DATA, 16 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned write = 0; write < 2; write++) {
			struct t_queue t;

			t_queue_init_mem(&t, 6 * T_GIB, 8, 0);
			t_virtq_desc(&t.q, 0, rows[i].gpa, rows[i].len, write ? T_W : 0, 0);
			t_queue_offer(&t, 0);
			t_row_int(rows[i].name, virtq_pop(&t.vq, &t.c), -EBADMSG);
			t_row_int(rows[i].name, t.vq.broken, RULE_SEGMENT_MEMORY);
			t_queue_fini(&t);
		}
	}
}

Test(queue, a_readable_segment_behind_a_writable_one_breaks_it)
{
	static const struct t_seg segs[] = { { T_QUEUE_DATA, 1, false }, { T_QUEUE_DATA, 1, true },
		{ T_QUEUE_DATA, 1, false } };
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	t_virtq_send(&t.q, 0, segs, 3);
	t_queue_breaks(&t, RULE_READ_AFTER_WRITE);
	t_queue_fini(&t);
}

Test(queue, a_bad_segment_at_the_end_of_a_chain_breaks_it_too)
{
	static const struct t_seg segs[] = { { T_QUEUE_DATA, 1, false }, { T_QUEUE_DATA, 1, true },
		{ 16 * T_MIB, 1, true } };
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	t_virtq_send(&t.q, 0, segs, 3);
	t_queue_breaks(&t, RULE_SEGMENT_MEMORY);
	t_queue_fini(&t);
}

Test(queue, what_was_pushed_before_the_break_is_not_published_after_it)
{
	struct t_queue t;

	t_queue_init(&t, 8, 0);
	t_virtq_send(&t.q, 0, &(struct t_seg){ T_QUEUE_DATA, 1, true }, 1);
	t_queue_pops(&t, 0, 1);
	virtq_push(&t.vq, 0, 1);
	t_queue_offer(&t, 8);
	t_int(virtq_pop(&t.vq, &t.c), -EBADMSG);
	t_false(virtq_publish(&t.vq));
	t_uint(t_virtq_used_count(&t.q), 0);
	t_queue_fini(&t);
}
