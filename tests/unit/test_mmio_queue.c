/* The window of a virtio device: its queues, kicks, and chains on their way through it. */
#include "t_mmio.h"

#include <sys/eventfd.h>

#include "x86/layout.h"

TestSuite(mmio_queue, .timeout = 3 * T_SECONDS);

#define MEM (16ULL << 20)

static const struct t_seg seg = { T_BUFFERS, 8, true };

static void ring(struct t_mmio *t, unsigned q)
{
	uint64_t one = 1;

	t_int(write(t->w.queue[q].kick_fd, &one, sizeof(one)), sizeof(one));
}

/* A device with features agreed and a layout for queue 0 that it would take. */
static struct virtq_layout negotiated(struct t_mmio *t, struct loop *l, uint64_t mem)
{
	t_mmio_init(t, l, mem);
	t_true(t_mmio_negotiate(t, T_VERSION_1));
	(void)t_virtq_init(&t->q[0], &t->m, T_QUEUES_AT, 16);
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_SEL, 0);
	return t->q[0].at;
}

/* --- selection --- */

Test(mmio_queue, a_queue_that_does_not_exist_has_no_size_and_is_never_ready)
{
	static const uint32_t none[] = { T_DEVICE_QUEUES, VIRTIO_QUEUES_MAX, 255, 65535, 65536,
		UINT32_MAX };
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, none[i]);
		cr_expect(eq(u32, t_mmio_read(&t, VIRTIO_MMIO_QUEUE_NUM_MAX), 0), "%u", none[i]);
		cr_expect(eq(u32, t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 0), "%u", none[i]);
	}
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING); /* looking breaks nothing */
	t_mmio_fini(&t);
	loop_free(l);
}

static const uint32_t queue_registers[] = { VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_DESC_LOW,
	VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
	VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH, VIRTIO_MMIO_QUEUE_READY };

Test(mmio_queue, setting_up_a_queue_that_does_not_exist_breaks_the_device)
{
	static const uint32_t none[] = { T_DEVICE_QUEUES, 65535, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(queue_registers); k++) {
			struct loop *l = t_loop_new(0);
			struct t_mmio t;

			t_mmio_init(&t, l, MEM);
			t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, none[i]);
			t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 0); /* as Linux does */
			t_false(t_mmio_read(&t, VIRTIO_MMIO_STATUS) & T_NEEDS_RESET);
			t_mmio_write(&t, queue_registers[k], 1);
			cr_expect(eq(u32, t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_NEEDS_RESET),
				"register 0x%x of queue %u", queue_registers[k], none[i]);
			if (i + k == 0)
				t_mmio_broke(&t, RULE_QUEUE_NONE);
			t_mmio_fini(&t);
			loop_free(l);
		}
	}
}

/* --- set-up --- */

Test(mmio_queue, a_queue_may_lie_above_4_gib)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, 6ULL << 30);
	t_true(t_mmio_negotiate(&t, T_VERSION_1));
	(void)t_virtq_init(&t.q[0], &t.m, LAYOUT_HOLE_END + (1ULL << 30), 256);
	t_mmio_place(&t, 0, &t.q[0].at);
	t_uint(t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 1);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
	t_virtq_send(&t.q[0], 0, &seg, 1);
	ring(&t, 0);
	t_mmio_settle(&t);
	t_true(t_virtq_used(&t.q[0], NULL, NULL));
	t_mmio_fini(&t);
	loop_free(l);
}

struct bad_layout {
	const char *name;
	uint32_t num;
	gpa_t desc, avail, used; /* added to good ones */
};

/* Not one of them is started, each breaks the rule; at most LOG_BURST rows, because each is to say
 * so in the log. */
static void refused(const struct bad_layout *row, enum virtio_rule rule)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	struct virtq_layout at = negotiated(&t, l, MEM);
	const struct {
		uint32_t low, high;
		gpa_t gpa;
	} parts[] = { { VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH,
			      at.desc + row->desc },
		{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
			at.avail + row->avail },
		{ VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH, at.used + row->used } };

	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_NUM, row->num);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		t_mmio_write(&t, parts[i].high, (uint32_t)(parts[i].gpa >> 32));
		t_mmio_write(&t, parts[i].low, (uint32_t)parts[i].gpa);
	}
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 1);
	t_row_int(row->name, t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 0);
	t_row_int(row->name, t.d.v.vq[0].ready, 0);
	t_mmio_broke(&t, rule);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio_queue, a_queue_of_a_size_that_cannot_be_breaks_the_device)
{
	static const struct bad_layout rows[] = {
		{ "no size", 0, 0, 0, 0 },
		{ "one", 1, 0, 0, 0 },
		{ "three", 3, 0, 0, 0 },
		{ "above the device's", 2 * T_DEVICE_QUEUE_MAX, 0, 0, 0 },
		{ "4096", 4096, 0, 0, 0 },
		{ "16 bits of it are good", 0x10000 | 16, 0, 0, 0 },
		{ "32 bits", UINT32_MAX, 0, 0, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		refused(&rows[i], RULE_QUEUE_SIZE);
}

Test(mmio_queue, a_queue_at_a_place_that_cannot_be_breaks_the_device)
{
	refused(&(struct bad_layout){ "table", 16, 8, 0, 0 }, RULE_QUEUE_ALIGN);
	refused(&(struct bad_layout){ "available ring", 16, 0, 1, 0 }, RULE_QUEUE_ALIGN);
	refused(&(struct bad_layout){ "used ring", 16, 0, 0, 2 }, RULE_QUEUE_ALIGN);
	refused(&(struct bad_layout){ "table behind memory", 16, MEM, 0, 0 }, RULE_QUEUE_MEMORY);
	refused(&(struct bad_layout){ "ring far away", 16, 0, 1ULL << 40, 0 }, RULE_QUEUE_MEMORY);
	refused(&(struct bad_layout){ "high half only", 16, 0, 0, 1ULL << 32 }, RULE_QUEUE_MEMORY);
	refused(&(struct bad_layout){ "table on a ring", 16, 16, 0, 0 }, RULE_QUEUE_OVERLAP);
}

Test(mmio_queue, a_queue_before_the_features_breaks_the_device)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	(void)t_virtq_init(&t.q[0], &t.m, T_QUEUES_AT, 16);
	t_mmio_place(&t, 0, &t.q[0].at);
	t_uint(t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 0);
	t_mmio_broke(&t, RULE_STATUS_ORDER);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio_queue, every_register_of_a_ready_queue_is_fixed_and_a_write_breaks_the_device)
{
	for (unsigned i = 0; i < ARRAY_SIZE(queue_registers) - 1; i++) {
		struct loop *l = t_loop_new(0);
		struct t_mmio t;
		struct virtq_layout at = negotiated(&t, l, MEM);
		struct virtio_mmio_queue before;

		t_mmio_place(&t, 0, &at);
		before = t.w.queue[0];
		t_mmio_write(&t, queue_registers[i], 0x5000);
		cr_expect(eq(int,
				  t.w.queue[0].num == before.num &&
					  t.w.queue[0].desc == before.desc &&
					  t.w.queue[0].avail == before.avail &&
					  t.w.queue[0].used == before.used,
				  1),
			"register 0x%x", queue_registers[i]);
		t_true(t.d.v.vq[0].ready);
		cr_expect(eq(u64, count_get(&t.d.v.counters.rule_breaks), 1));
		if (i == 0)
			t_mmio_broke(&t, RULE_QUEUE_LATE);
		t_mmio_fini(&t);
		loop_free(l);
	}
}

Test(mmio_queue, a_queue_may_be_taken_back_and_placed_elsewhere_before_the_driver_is_ready)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	struct virtq_layout at = negotiated(&t, l, MEM);

	t_mmio_place(&t, 0, &at);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 1); /* again: nothing */
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 2);
	t_uint(t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 1);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 0);
	t_uint(t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 0);
	t_false(t.d.v.vq[0].ready);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 0);
	(void)t_virtq_init(&t.q[0], &t.m, 0x40000, 4);
	t_mmio_place(&t, 0, &t.q[0].at);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 1); /* too late for a change, but it is none */
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING);
	t_virtq_send(&t.q[0], 0, &seg, 1);
	ring(&t, 0);
	t_mmio_settle(&t);
	t_true(t_virtq_used(&t.q[0], NULL, NULL));
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio_queue, a_queue_that_becomes_ready_after_the_driver_breaks_the_device)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	struct virtq_layout at = negotiated(&t, l, MEM);

	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
	t_str(t.d.log, "A"); /* no queue is ready, none is looked at */
	t_mmio_place(&t, 0, &at);
	t_uint(t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 0);
	t_false(t.d.v.vq[0].ready);
	t_mmio_broke(&t, RULE_QUEUE_LATE);
	t_mmio_fini(&t);
	loop_free(l);
}

/* --- kicks --- */

Test(mmio_queue, a_chain_goes_through_and_its_interrupt_comes)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		uint32_t id = 0, len = 0;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 0, 8);
		for (uint16_t i = 1; i < 20; i++) {
			unsigned q = i % 2;

			t_virtq_send(&t.q[q], i % 8, &seg, 1);
			if (i % 3)
				ring(&t, q);
			else /* where KVM does not take it */
				t_mmio_write(&t, VIRTIO_MMIO_QUEUE_NOTIFY, q);
			t_mmio_settle(&t);
			t_true(t_virtq_used(&t.q[q], &id, &len));
			t_uint(id, i % 8);
			t_uint(len, 8);
			t_uint(t_mmio_interrupts(&t), 1);
			t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
			t_mmio_write(&t, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
			t_uint(count_get(&t.d.v.counters.kicks), i);
			t_uint(count_get(&t.d.v.counters.interrupts), i);
		}
		t_true(pthread_equal(t.d.ran_on, pthread_self()));
		t_uint(t.d.kicks[0], 9 + 1); /* one of the activation */
		t_uint(t.d.kicks[1], 10 + 1);
		t_mmio_fini(&t);
	}
}

Test(mmio_queue, what_was_available_before_the_driver_was_ready_is_served_without_a_kick)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct virtq_layout at = negotiated(&t, l, MEM);

		t_mmio_place(&t, 0, &at);
		t_virtq_send(&t.q[0], 3, &seg, 1);
		ring(&t, 0);
		t_mmio_settle(&t);
		t_uint(t.d.served, 0);
		t_uint(t_virtq_used_count(&t.q[0]), 0);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
		t_uint(t.d.served, 1);
		t_uint(t_virtq_used_count(&t.q[0]), 1);
		t_mmio_fini(&t);
	}
}

Test(mmio_queue, a_device_that_breaks_on_the_first_queue_does_not_look_at_the_second)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	struct virtq_layout at = negotiated(&t, l, MEM);

	t_mmio_place(&t, 0, &at);
	(void)t_virtq_init(&t.q[1], &t.m, T_QUEUES_AT + 0x10000, 16);
	t_mmio_place(&t, 1, &t.q[1].at);
	t_virtq_offer(&t.q[0], 16);
	t_virtq_publish(&t.q[0]);
	t_virtq_send(&t.q[1], 0, &seg, 1);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
	t_str(t.d.log, "A0");
	t_mmio_broke(&t, RULE_HEAD_RANGE);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio_queue, kicks_of_queues_that_are_not_in_use_reach_nobody)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		for (unsigned i = 0; i < 3; i++) {
			ring(&t, 0); /* before anything; after a reset, later */
			ring(&t, 1);
			t_mmio_settle(&t);
			t_uint(t.d.nlog, 0);
			t_true(t_mmio_negotiate(&t, T_VERSION_1));
			(void)t_virtq_init(&t.q[0], &t.m, T_QUEUES_AT, 16);
			t_mmio_place(&t, 0, &t.q[0].at);
			ring(&t, 0);
			t_mmio_settle(&t);
			t_uint(t.d.nlog, 0); /* ready, and the device not active */
			t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
			t_str(t.d.log, "A0");
			ring(&t, 1); /* not ready */
			t_mmio_settle(&t);
			t_str(t.d.log, "A0");
			t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
			memset(t.d.log, 0, sizeof(t.d.log));
			t.d.nlog = 0;
		}
		t_uint(count_get(&t.d.v.counters.kicks), 0);
		t_mmio_fini(&t);
	}
}

Test(mmio_queue, a_notification_of_a_queue_that_does_not_exist_breaks_the_device)
{
	static const uint32_t none[] = { T_DEVICE_QUEUES, VIRTIO_QUEUES_MAX, 65536, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		struct loop *l = t_loop_new(0);
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 0, 8);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_NOTIFY, none[i]);
		t_mmio_broke(&t, RULE_QUEUE_NONE);
		t_mmio_fini(&t);
		loop_free(l);
	}
}

Test(mmio_queue, a_broken_device_takes_nothing_more_until_its_reset)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 0, 8);
		t_virtq_send(&t.q[0], 0, &(struct t_seg){ T_BUFFERS, 0, true }, 1);
		ring(&t, 0);
		t_mmio_settle(&t);
		t_mmio_broke(&t, RULE_SEGMENT_EMPTY);
		t_virtq_send(&t.q[1], 0, &seg, 1);
		ring(&t, 1);
		t_mmio_settle(&t);
		t_uint(t_virtq_used_count(&t.q[1]), 0);
		t_uint(t.d.served, 0);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
		t_mmio_start(&t, 0, 8);
		t_virtq_send(&t.q[1], 0, &seg, 1);
		ring(&t, 1);
		t_mmio_settle(&t);
		t_uint(t.d.served, 1);
		t_mmio_fini(&t);
	}
}

/* --- a flood --- */

struct flood {
	struct t_mmio *t;
	_Atomic bool stop;
	_Atomic uint64_t kicks;
};

static void *flood_main(void *arg)
{
	enum { MILLION = 1000000 };
	struct flood *f = arg;

	for (unsigned i = 0; i < MILLION && !f->stop; i++) {
		uint64_t one = 1;

		if (write(f->t->w.queue[0].kick_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
			f->kicks++;
	}
	return NULL;
}

struct tick {
	struct loop_op op;
	unsigned n;
};

static void on_tick(struct loop_op *op, int res)
{
	struct tick *k = container_of(op, struct tick, op);

	k->n++;
	if (res == 0)
		loop_timeout(op->loop, op, 500000);
}

Test(mmio_queue, a_million_kicks_become_fewer_and_other_work_goes_on)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct flood f = { .t = &t };
		struct tick tick = { .op.done = on_tick };
		pthread_t thread;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 0, 8);
		t_int(pthread_create(&thread, NULL, flood_main, &f), 0);
		loop_timeout(l, &tick.op, 500000);
		while (f.kicks < 1000000 || tick.n < 20)
			t_int(loop_turn(l), 0);
		t_int(pthread_join(thread, NULL), 0);
		t_mmio_settle(&t);
		t_true(t.d.kicks[0] > 1);
		t_true(t.d.kicks[0] < 1000000);
		/* The last of them is not lost. */
		t_virtq_send(&t.q[0], 0, &seg, 1);
		ring(&t, 0);
		t_mmio_settle(&t);
		t_uint(t.d.served, 1);
		loop_cancel(l, &tick.op);
		t_mmio_settle(&t);
		t_false(loop_op_is_pending(&tick.op));
		t_mmio_fini(&t);
	}
}
