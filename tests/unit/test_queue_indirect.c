/* Virtqueues: chains in indirect tables, and chains for which the caller has no room. */
#include "t_queue.h"

#include "x86/layout.h"

TestSuite(queue_indirect, .timeout = T_SECONDS);

static void put_table(struct t_queue *t, gpa_t at, unsigned i, gpa_t gpa, uint32_t len,
	uint16_t flags, uint16_t next)
{
	struct vring_desc d = { .addr = gpa, .len = len, .flags = flags, .next = next };

	t_int(mem_write(&t->m, at + i * sizeof(d), &d, sizeof(d)), 0);
}

static const struct t_seg three[] = { { 0x40000, 16, false }, { 0x50000, 100, true },
	{ 0x60000, 1, true } };

Test(queue_indirect, an_indirect_table_is_a_chain_at_any_address)
{
	static const gpa_t at[] = { T_QUEUE_TABLE, T_QUEUE_TABLE + 1, T_QUEUE_TABLE + 8,
		T_QUEUE_TABLE + 4095, 16 * T_MIB - 3 * sizeof(struct vring_desc) };

	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		struct t_queue t;

		t_queue_init(&t, 8, T_INDIRECT);
		t_virtq_chain_indirect(&t.q, 5, at[i], three, 3);
		t_queue_offer(&t, 5);
		t_queue_pops(&t, 1, 2);
		t_uint(t.c.head, 5);
		t_uint(t.c.read_len, 16);
		t_uint(t.c.write_len, 101);
		for (unsigned k = 0; k < 3; k++) {
			cr_expect(eq(ptr, t.iov[k].iov_base, t_queue_hva(&t, three[k].gpa)));
			cr_expect(eq(sz, t.iov[k].iov_len, three[k].len));
		}
		t_queue_fini(&t);
	}
}

Test(queue_indirect, the_write_flag_and_the_next_of_an_indirect_descriptor_are_ignored)
{
	struct t_queue t;

	t_queue_init(&t, 8, T_INDIRECT);
	t_virtq_chain_indirect(&t.q, 0, T_QUEUE_TABLE, three, 3);
	t.q.desc[0].flags |= T_W;
	t.q.desc[0].next = 2;
	t_queue_offer(&t, 0);
	t_queue_pops(&t, 1, 2);
	t_queue_fini(&t);
}

Test(queue_indirect, direct_segments_may_be_followed_by_an_indirect_table)
{
	struct t_queue t;

	t_queue_init(&t, 8, T_INDIRECT);
	t_virtq_chain_indirect(&t.q, 7, T_QUEUE_TABLE, three, 3);
	t_virtq_desc(&t.q, 2, T_QUEUE_DATA, 3, T_NEXT, 4);
	t_virtq_desc(&t.q, 4, T_QUEUE_DATA, 4, T_NEXT, 7);
	t_queue_offer(&t, 2);
	t_queue_pops(&t, 3, 2);
	t_uint(t.c.head, 2);
	t_uint(t.c.read_len, 3 + 4 + 16);
	t_queue_fini(&t);
}

Test(queue_indirect, a_table_may_be_longer_than_its_chain_and_be_walked_in_any_order)
{
	struct t_queue t;

	t_queue_init(&t, 8, T_INDIRECT);
	put_table(&t, T_QUEUE_TABLE, 0, T_QUEUE_DATA, 1, T_NEXT, 99);
	put_table(&t, T_QUEUE_TABLE, 99, T_QUEUE_DATA + 7, 2, T_NEXT, 50);
	put_table(&t, T_QUEUE_TABLE, 50, T_QUEUE_DATA + 9, 3, T_W, 0xffff);
	t_virtq_desc(&t.q, 0, T_QUEUE_TABLE, 100 * 16, T_IND, 0);
	t_queue_offer(&t, 0);
	t_queue_pops(&t, 2, 1);
	t_uint(t.c.read_len, 3);
	t_queue_fini(&t);
}

Test(queue_indirect, an_indirect_table_without_the_feature_breaks_it)
{
	struct t_queue t;

	t_queue_init(&t, 8, T_EVENT_IDX);
	t_virtq_chain_indirect(&t.q, 0, T_QUEUE_TABLE, three, 3);
	t_queue_offer(&t, 0);
	t_queue_breaks(&t, RULE_INDIRECT_NOT_AGREED);
	t_queue_fini(&t);
}

Test(queue_indirect, an_indirect_table_that_is_continued_breaks_it)
{
	struct t_queue t;

	t_queue_start_with(&t, T_QUEUE_TABLE, 16, T_IND | T_NEXT, 1);
	t_queue_breaks(&t, RULE_INDIRECT_NEXT);
	t_queue_fini(&t);
}

Test(queue_indirect, an_indirect_table_in_an_indirect_table_breaks_it)
{
	struct t_queue t;

	t_queue_start_with(&t, T_QUEUE_TABLE, 32, T_IND, 0);
	put_table(&t, T_QUEUE_TABLE, 0, T_QUEUE_DATA, 1, T_NEXT, 1);
	put_table(&t, T_QUEUE_TABLE, 1, T_QUEUE_TABLE, 32, T_IND, 0);
	t_queue_breaks(&t, RULE_INDIRECT_NESTED);
	t_queue_fini(&t);
}

Test(queue_indirect, an_indirect_table_of_a_wrong_length_breaks_it)
{
	static const uint32_t lens[] = { 0, 1, 15, 17, 31, 33, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
		struct t_queue t;

		t_queue_start_with(&t, T_QUEUE_TABLE, lens[i], T_IND, 0);
		t_queue_breaks(&t, RULE_INDIRECT_LENGTH);
		t_queue_fini(&t);
	}
}

Test(queue_indirect, an_indirect_table_that_is_not_wholly_memory_breaks_it)
{
	static const struct {
		gpa_t gpa;
		uint32_t len;
	} rows[] = { { 16 * T_MIB - 16, 32 }, { 16 * T_MIB - 15, 16 }, { 16 * T_MIB, 16 },
		{ UINT64_MAX - 15, 16 }, { UINT64_MAX - 15, 32 }, { LAYOUT_VIRTIO_BASE, 16 },
		{ T_QUEUE_TABLE, 0xfffffff0U } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct t_queue t;

		t_queue_start_with(&t, rows[i].gpa, rows[i].len, T_IND, 0);
		t_queue_breaks(&t, RULE_INDIRECT_MEMORY);
		t_queue_fini(&t);
	}
}

Test(queue_indirect, a_next_out_of_the_indirect_table_breaks_it)
{
	static const uint16_t nexts[] = { 2, 3, 7, 8, 65535 };

	for (unsigned i = 0; i < ARRAY_SIZE(nexts); i++) {
		struct t_queue t;

		/* The queue's own table is longer, which must not matter. */
		t_queue_start_with(&t, T_QUEUE_TABLE, 32, T_IND, 0);
		put_table(&t, T_QUEUE_TABLE, 0, T_QUEUE_DATA, 1, T_NEXT, nexts[i]);
		t_queue_breaks(&t, RULE_NEXT_RANGE);
		t_queue_fini(&t);
	}
}

Test(queue_indirect, an_indirect_chain_longer_than_the_queue_breaks_it_and_a_loop_too)
{
	struct t_queue t;

	for (unsigned n = 8; n <= 9; n++) {
		t_queue_start_with(&t, T_QUEUE_TABLE, n * 16, T_IND, 0);
		for (unsigned i = 0; i < n; i++)
			put_table(&t, T_QUEUE_TABLE, i, T_QUEUE_DATA, 1, i + 1 < n ? T_NEXT : 0,
				(uint16_t)(i + 1));
		if (n == 8)
			t_queue_pops(&t, 8, 0);
		else
			t_queue_breaks(&t, RULE_CHAIN_LENGTH);
		t_queue_fini(&t);
	}
	t_queue_start_with(&t, T_QUEUE_TABLE, 32, T_IND, 0);
	put_table(&t, T_QUEUE_TABLE, 0, T_QUEUE_DATA, 1, T_NEXT, 1);
	put_table(&t, T_QUEUE_TABLE, 1, T_QUEUE_DATA, 1, T_NEXT, 0);
	t_queue_breaks(&t, RULE_CHAIN_LENGTH);
	t_queue_fini(&t);
}

Test(queue_indirect, segments_of_an_indirect_table_keep_the_same_rules)
{
	static const struct {
		gpa_t gpa;
		uint32_t len;
		enum virtio_rule rule;
	} rows[] = { { T_QUEUE_DATA, 0, RULE_SEGMENT_EMPTY },
		{ 16 * T_MIB - 1, 2, RULE_SEGMENT_MEMORY },
		{ T_QUEUE_DATA, 1, RULE_READ_AFTER_WRITE } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct t_queue t;

		t_queue_start_with(&t, T_QUEUE_TABLE, 32, T_IND, 0);
		put_table(&t, T_QUEUE_TABLE, 0, T_QUEUE_DATA, 1, T_NEXT | T_W, 1);
		put_table(&t, T_QUEUE_TABLE, 1, rows[i].gpa, rows[i].len, 0, 0);
		t_queue_breaks(&t, rows[i].rule);
		t_queue_fini(&t);
	}
}

/* --- room for segments --- */

Test(queue_indirect, a_chain_without_room_for_its_segments_stays_available)
{
	struct t_queue t;

	t_queue_init(&t, 8, T_INDIRECT);
	t_virtq_send(&t.q, 0, three, 3);
	for (unsigned room = 0; room < 3; room++) {
		t.c.iov_max = room;
		memset(t.iov, 0xee, sizeof(t.iov));
		t_int(virtq_pop(&t.vq, &t.c), -ENOSPC);
		t_uint(t.vq.inflight, 0);
		t_true(t.vq.ready);
		/* Not a byte behind the caller's array. */
		t_hex(t.iov[room].iov_len, 0xeeeeeeeeeeeeeeeeULL);
	}
	t.c.iov_max = 3;
	t_queue_pops(&t, 1, 2);
	t_int(virtq_pop(&t.vq, &t.c), 0);
	t_queue_fini(&t);
}

Test(queue_indirect, a_broken_queue_works_again_after_a_start)
{
	struct t_queue t;

	t_queue_start_with(&t, T_QUEUE_DATA, 0, 0, 0);
	t_int(virtq_pop(&t.vq, &t.c), -EBADMSG);
	t_queue_start(&t, 4, 0);
	t_int(t.vq.broken, RULE_NONE);
	t_uint(t.vq.inflight, 0);
	t_virtq_send(&t.q, 0, three, 3);
	t_queue_pops(&t, 1, 2);
	t_queue_fini(&t);
}
