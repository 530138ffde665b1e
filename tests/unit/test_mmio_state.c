/* The window of a virtio device as plain values: saved at any moment of a driver's life, loaded
 * into another one, and what of a state is refused. */
#include "t_mmio.h"

#include "base/err.h"
#include "t_virtio_state.h"

TestSuite(mmio_state, .timeout = 3 * T_SECONDS);

#define MEM (1ULL << 20)

static const struct t_seg seg = { T_BUFFERS, 8, true };

static void send(struct t_mmio *t, unsigned q, uint16_t head)
{
	t_virtq_send(&t->q[q], head, &seg, 1);
}

static void kick(struct t_mmio *t, unsigned q)
{
	t_virtio_state_kick(&t->w, q);
}

static void expect_used(struct t_mmio *t, unsigned q, uint16_t head)
{
	uint32_t id;

	t_true(t_virtq_used(&t->q[q], &id, NULL));
	t_uint(id, head);
}

static void ignore(struct virtio_mmio *w)
{
	(void)w;
}

/* --- going on --- */

Test(mmio_state, a_running_device_goes_on_in_another_window)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t, u;
		struct virtio_state s;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 1ULL << VIRTIO_RING_F_EVENT_IDX, 8);
		for (uint16_t i = 0; i < 5; i++) {
			send(&t, 0, i);
			kick(&t, 0);
			expect_used(&t, 0, i);
		}
		send(&t, 0, 5);
		send(&t, 1, 3);
		/* Those two are not seen before the pause. */
		virtio_mmio_pause(&t.w, ignore);
		t_int(t.w.pause, MMIO_PAUSED);
		t_virtio_state_save(&t.w, &s);
		t_uint(s.queue[0].at.next_avail, 5);
		t_uint(s.queue[0].at.next_used, 5);
		t_mmio_init_from(&u, &t, &s);
		t_true(u.d.v.active && u.d.v.is_quiesced);
		t_str(u.d.log, "A");
		kick(&u, 0);
		t_str(u.d.log, "A");
		t_uint(t_mmio_interrupts(&u), 0);
		t_hex(t_mmio_read(&u, VIRTIO_MMIO_STATUS), T_RUNNING);
		virtio_mmio_resume(&u.w);
		t_true(t_mmio_interrupts(&u) >= 1);
		t_uint(t_mmio_read(&u, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
		expect_used(&u, 0, 5);
		expect_used(&u, 1, 3);
		t_uint(u.d.served, 2);
		for (uint16_t i = 0; i < 20; i++) {
			send(&u, 0, i % 8);
			kick(&u, 0);
			expect_used(&u, 0, i % 8);
		}
		t_uint(t_virtq_used_count(&u.q[0]), 0);
		t_mmio_write(&u, VIRTIO_MMIO_STATUS, 0);
		t_false(u.d.v.active);
		t_mmio_start(&u, 0, 16);
		t_mmio_fini(&u);
		t_mmio_fini(&t);
	}
	T_NO_LEAKS();
}

/* The steps of a driver, one after the other; each is the last that the first window sees. */
static bool step(struct t_mmio *t, unsigned n)
{
	switch (n) {
	case 0: t_mmio_write(t, VIRTIO_MMIO_STATUS, T_ACK); return true;
	case 1: t_mmio_write(t, VIRTIO_MMIO_STATUS, T_DRIVER); return true;
	case 2: t_mmio_write(t, VIRTIO_MMIO_DRIVER_FEATURES, 1U << T_FEATURE); return true;
	case 3: t_mmio_write(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1); return true;
	case 4: t_mmio_write(t, VIRTIO_MMIO_DRIVER_FEATURES, 1); return true;
	case 5: t_mmio_write(t, VIRTIO_MMIO_STATUS, T_FEATURES_OK); return true;
	case 6: t_mmio_place(t, 0, &t->q[0].at); return true;
	case 7: t_mmio_write(t, VIRTIO_MMIO_QUEUE_SEL, 1); return true;
	case 8: t_mmio_write(t, VIRTIO_MMIO_QUEUE_NUM, 16); return true;
	case 9: t_mmio_place(t, 1, &t->q[1].at); return true;
	case 10: t_mmio_write(t, VIRTIO_MMIO_STATUS, T_RUNNING); return true;
	case 11: send(t, 0, 1); return true;
	case 12: kick(t, 0); return true;
	default: return false;
	}
}

static void layout(struct t_mmio *t)
{
	gpa_t at = T_QUEUES_AT;

	for (unsigned q = 0; q < T_DEVICE_QUEUES; q++)
		at = t_virtq_init(&t->q[q], &t->m, at, 16);
}

Test(mmio_state, a_driver_may_be_at_any_step)
{
	struct loop *l = t_loop_new(0);

	for (unsigned last = 0; last < 13; last++) {
		struct virtio_state s, again;
		struct t_mmio t, u;

		t_mmio_init(&t, l, MEM);
		layout(&t);
		for (unsigned n = 0; n < last; n++)
			t_true(step(&t, n));
		t_virtio_state_save(&t.w, &s);
		t_mmio_init_from(&u, &t, &s);
		t_virtio_state_save(&u.w, &again);
		t_virtio_state_equal(&s, &again);
		virtio_mmio_resume(&u.w);
		for (unsigned n = last; step(&u, n); n++)
			;
		t_hex(t_mmio_read(&u, VIRTIO_MMIO_STATUS), T_RUNNING);
		t_hex(u.d.v.acked, T_VERSION_1 | 1U << T_FEATURE);
		expect_used(&u, 0, 1);
		t_uint(t_virtq_used_count(&u.q[0]), 0);
		t_mmio_fini(&u);
		t_mmio_fini(&t);
	}
	loop_free(l);
	T_NO_LEAKS();
}

Test(mmio_state, the_window_that_was_saved_goes_on_too)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s;
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	for (uint16_t i = 0; i < 8; i++) {
		t_virtio_state_save(&t.w, &s);
		virtio_mmio_resume(&t.w);
		(void)t_mmio_interrupts(&t);
		send(&t, 0, i);
		kick(&t, 0);
		expect_used(&t, 0, i);
		/* It interrupts for the chain and for nothing else. */
		t_uint(t_mmio_interrupts(&t), 1);
	}
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio_state, a_state_is_handed_on_without_a_run_in_between)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s[4];
	struct t_mmio t[4];

	t_mmio_init(&t[0], l, MEM);
	t_mmio_start(&t[0], 0, 8);
	send(&t[0], 0, 4);
	for (unsigned i = 0; i < 4; i++) {
		t_virtio_state_save(&t[i].w, &s[i]);
		t_virtio_state_equal(&s[i], &s[0]);
		if (i < 3)
			t_mmio_init_from(&t[i + 1], &t[i], &s[i]);
	}
	virtio_mmio_resume(&t[3].w);
	expect_used(&t[3], 0, 4);
	t_uint(t[3].d.served, 1);
	for (unsigned i = 4; i-- > 0;)
		t_mmio_fini(&t[i]);
	loop_free(l);
	T_NO_LEAKS();
}

Test(mmio_state, what_was_pending_stays_pending)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s;
	struct t_mmio t, u;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	virtio_config_write(&t.d.v, 0, "ab", 2);
	t_virtio_state_save(&t.w, &s);
	t_uint(s.isr, VIRTIO_MMIO_INT_CONFIG);
	/* The same bytes: that it was told of them is the state's business. */
	memset(s.config, 0, sizeof(s.config));
	s.config_len = 0;
	t_mmio_init_from(&u, &t, &s);
	t_uint(t_mmio_read(&u, VIRTIO_MMIO_CONFIG_GENERATION), s.generation);
	t_uint(t_mmio_read(&u, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	virtio_mmio_resume(&u.w);
	t_uint(t_mmio_interrupts(&u), 1);
	t_uint(t_mmio_read(&u, VIRTIO_MMIO_INTERRUPT_STATUS),
		VIRTIO_MMIO_INT_CONFIG | VIRTIO_MMIO_INT_VRING);
	t_mmio_fini(&u);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio_state, another_configuration_space_is_news_for_a_driver_that_runs)
{
	static const struct {
		const char *name;
		bool runs;
		const char *bytes;
		uint32_t len;
		bool is_news;
	} rows[] = { { "the same", true, "abcd", 4, false }, { "other", true, "abcx", 4, true },
		{ "shorter", true, "abc", 3, true }, { "longer", true, "abcde", 5, true },
		{ "none", true, "", 0, true }, { "no driver", false, "abcx", 4, false } };
	struct loop *l = t_loop_new(0);

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct virtio_state s;
		struct t_device d;
		struct virtio_mmio w;
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		if (rows[i].runs)
			t_mmio_start(&t, 0, 8);
		t_virtio_state_save(&t.w, &s);
		s.generation = UINT32_MAX;
		s.config_len = rows[i].len;
		memcpy(s.config, rows[i].bytes, rows[i].len);
		t_device_init(&d);
		d.v.mem = &t.m;
		virtio_config_write(&d.v, 0, "abcd", 4);
		t_virtio_state_load(&w, &d.v, l, &s);
		virtio_mmio_resume(&w);
		t_row_int(rows[i].name, virtio_config_generation(&d.v),
			rows[i].is_news || !rows[i].runs ? 0 : UINT32_MAX);
		t_row_int(rows[i].name, atomic_load(&d.v.isr),
			(rows[i].is_news ? VIRTIO_ISR_CONFIG : 0) |
				(rows[i].runs ? VIRTIO_ISR_USED : 0));
		t_row_int(rows[i].name, t_virtio_state_interrupts(&w), rows[i].runs);
		t_virtio_state_end(&w);
		t_mmio_fini(&t);
	}
	loop_free(l);
	T_NO_LEAKS();
}

/* --- broken ones --- */

Test(mmio_state, a_broken_device_stays_broken_until_the_reset)
{
	struct loop *l = t_loop_new(0);

	/* A register's rule, and one of the queue: then the queue does not run. */
	for (unsigned i = 0; i < 2; i++) {
		struct virtio_state s, again;
		struct t_mmio t, u;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 0, 8);
		if (i == 0) {
			t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, 77);
			t_mmio_write(&t, VIRTIO_MMIO_QUEUE_NUM, 1);
		} else {
			t_virtq_offer(&t.q[0], 99);
			t_virtq_publish(&t.q[0]);
			kick(&t, 0);
		}
		t_virtio_state_save(&t.w, &s);
		t_true(s.needs_reset);
		t_int(s.queue[0].running, i == 0);
		t_true(s.queue[0].ready && s.queue[1].running);
		t_mmio_init_from(&u, &t, &s);
		t_virtio_state_save(&u.w, &again);
		t_virtio_state_equal(&s, &again);
		virtio_mmio_resume(&u.w);
		t_hex(t_mmio_read(&u, VIRTIO_MMIO_STATUS), T_RUNNING | T_NEEDS_RESET);
		send(&u, 1, 0);
		kick(&u, 1);
		t_uint(u.d.served, 0);
		t_mmio_write(&u, VIRTIO_MMIO_STATUS, 0);
		t_hex(t_mmio_read(&u, VIRTIO_MMIO_STATUS), 0);
		t_mmio_start(&u, 0, 8);
		send(&u, 0, 2);
		kick(&u, 0);
		expect_used(&u, 0, 2);
		t_mmio_fini(&u);
		t_mmio_fini(&t);
	}
	loop_free(l);
	T_NO_LEAKS();
}

Test(mmio_state, positions_that_no_driver_had_break_the_device_and_nothing_else)
{
	static const uint16_t values[] = { 0, 1, 2, 7, 8, 9, 0x7fff, 0x8000, 0xffff };
	struct loop *l = t_loop_new(0);

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(values); k++) {
			struct virtio_state s;
			struct t_mmio t, u;

			t_mmio_init(&t, l, MEM);
			t_mmio_start(&t, k % 2 ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0, 8);
			send(&t, 0, 0);
			kick(&t, 0);
			t_virtio_state_save(&t.w, &s);
			s.queue[0].at = (struct virtq_position){ .next_avail = values[i],
				.next_used = values[k],
				.signalled = values[(i + k) % 9],
				.has_signalled = (i ^ k) & 1 };
			t_mmio_init_from(&u, &t, &s);
			virtio_mmio_resume(&u.w);
			/* One chain is available: 0 of them or 1 lies before it. */
			cr_expect(eq(int, !!(t_mmio_read(&u, VIRTIO_MMIO_STATUS) & T_NEEDS_RESET),
					  (uint16_t)(1 - values[i]) > 8),
				"at %u", values[i]);
			t_mmio_write(&u, VIRTIO_MMIO_STATUS, 0);
			t_mmio_fini(&u);
			t_mmio_fini(&t);
		}
	}
	loop_free(l);
	T_NO_LEAKS();
}

/* --- what is refused --- */

static struct virtio_state s; /* of a running device; the rows change one thing each */
static struct virtq_state *const q0 = &s.queue[0];

static const struct refusal {
	const char *name;
	struct {
		void *at;
		uint64_t value;
		size_t size;
	} set[3];
	int code;
} refusals[] = {
#define SET(field, v)                                                                              \
	{                                                                                          \
		&s.field, (v), sizeof(s.field)                                                     \
	}
	{ "type", { SET(type, 2) }, -EBADMSG },
	{ "status: unknown bit", { SET(status, T_RUNNING | 16) }, -EBADMSG },
	{ "status: needs reset", { SET(status, T_RUNNING | T_NEEDS_RESET) }, -EBADMSG },
	{ "status: high bit", { SET(status, T_RUNNING | 0x100) }, -EBADMSG },
	{ "status: features without a driver", { SET(status, 8) }, -EBADMSG },
	{ "status: features without acknowledgement", { SET(status, 10) }, -EBADMSG },
	{ "status: running without features", { SET(status, 7) }, -EBADMSG },
	{ "status: features lost", { SET(status, T_DRIVER) }, -EBADMSG },
	{ "status: features lost, and queues are ready", { SET(status, T_DRIVER), SET(acked, 0) },
		-EBADMSG },
	{ "features: not asked for", { SET(acked, T_VERSION_1 | 1U << T_FEATURE) }, -EBADMSG },
	{ "features: not what was asked for", { SET(driver_features, 1) }, -EBADMSG },
	{ "features: version 1", { SET(acked, 0), SET(driver_features, 0) }, -EBADMSG },
	{ "features: half a pair",
		{ SET(acked, T_VERSION_1 | 1U << T_FEATURE_A),
			SET(driver_features, T_VERSION_1 | 1U << T_FEATURE_A) },
		-EBADMSG },
	{ "features: not ours",
		{ SET(acked, T_VERSION_1 | 1), SET(driver_features, T_VERSION_1 | 1) },
		-EOPNOTSUPP },
	{ "features: not ours, the highest",
		{ SET(acked, T_VERSION_1 | 1ULL << 63),
			SET(driver_features, T_VERSION_1 | 1ULL << 63) },
		-EOPNOTSUPP },
	{ "interrupt status", { SET(isr, 4) }, -EBADMSG },
	{ "configuration's length", { SET(config_len, VIRTIO_CONFIG_MAX + 1) }, -EBADMSG },
	{ "configuration's length, huge", { SET(config_len, UINT32_MAX) }, -EBADMSG },
	{ "no queues", { SET(nqueues, 0) }, -EBADMSG },
	{ "one queue more", { SET(nqueues, 3) }, -EBADMSG },
	{ "very many queues", { SET(nqueues, UINT32_MAX) }, -EBADMSG },
	{ "runs and is not ready", { SET(queue[0].ready, false) }, -EBADMSG },
	{ "ready, does not run, and nothing is broken", { SET(queue[0].running, false) },
		-EBADMSG },
	{ "size 0", { SET(queue[0].num, 0) }, -EBADMSG },
	{ "size 1", { SET(queue[0].num, 1) }, -EBADMSG },
	{ "size 7", { SET(queue[0].num, 7) }, -EBADMSG },
	{ "size 512", { SET(queue[0].num, 512) }, -EBADMSG },
	{ "size 65536 + 8", { SET(queue[0].num, 65544) }, -EBADMSG },
	{ "size of 32 bits", { SET(queue[1].num, 0x80000000) }, -EBADMSG },
	{ "table not in memory", { SET(queue[0].desc, MEM) }, -EBADMSG },
	{ "table half in memory", { SET(queue[0].desc, MEM - 64) }, -EBADMSG },
	{ "table at the end of addresses", { SET(queue[0].desc, UINT64_MAX - 15) }, -EBADMSG },
	{ "table at an odd address", { SET(queue[0].desc, T_QUEUES_AT + 8) }, -EBADMSG },
	{ "available ring not in memory", { SET(queue[0].avail, 1ULL << 40) }, -EBADMSG },
	{ "available ring at an odd address", { SET(queue[1].avail, 1) }, -EBADMSG },
	{ "used ring not in memory", { SET(queue[1].used, MEM - 4) }, -EBADMSG },
	{ "used ring at an odd address", { SET(queue[0].used, 2) }, -EBADMSG },
	{ "used ring over the table", { SET(queue[0].used, T_QUEUES_AT) }, -EBADMSG },
	{ "a broken one, and it never was in memory",
		{ SET(needs_reset, true), SET(queue[0].running, false), SET(queue[0].used, MEM) },
		-EBADMSG },
};

Test(mmio_state, what_cannot_be_is_refused)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t, u;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *row = &refusals[i];
		struct virtio_mmio w = { 0 };
		struct t_device d;
		struct err e = { 0 };

		t_virtio_state_save(&t.w, &s);
		for (unsigned k = 0; k < ARRAY_SIZE(row->set) && row->set[k].at; k++)
			memcpy(row->set[k].at, &row->set[k].value, row->set[k].size);
		t_device_init(&d);
		d.v.mem = &t.m;
		t_int(virtio_mmio_init(&w, &d.v, NULL), 0);
		t_row_int(row->name, virtio_mmio_load(&w, &s, &e), row->code);
		t_row_int(row->name, e.code, row->code);
		t_row_true(row->name, strlen(e.text) > 20);
		/* And nothing has changed. */
		t_row_int(row->name, w.pause, MMIO_GOES);
		t_row_int(row->name, w.status, 0);
		t_row_true(row->name, !d.v.vq[0].ready && !d.v.vq[1].ready && d.v.acked == 0);
		virtio_mmio_fini(&w);
		d.v.ops->free(&d.v);
	}
	/* The rows began with something that is accepted. */
	t_virtio_state_save(&t.w, &s);
	t_true(q0->ready && q0->running);
	t_mmio_init_from(&u, &t, &s);
	t_mmio_fini(&u);
	t_mmio_fini(&t);
	loop_free(l);
	T_NO_LEAKS();
}

Test(mmio_state, features_of_a_driver_that_does_not_run_are_refused)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state idle;
	struct virtio_mmio w = { 0 };
	struct t_device d;
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_virtio_state_save(&t.w, &idle);
	idle.acked = T_VERSION_1;
	t_device_init(&d);
	d.v.mem = &t.m;
	t_int(virtio_mmio_init(&w, &d.v, NULL), 0);
	t_int(virtio_mmio_load(&w, &idle, NULL), -EBADMSG);
	virtio_mmio_fini(&w);
	d.v.ops->free(&d.v);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio_state, a_device_that_is_loaded_and_never_goes_on_can_end)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state running;
	struct t_mmio t, u;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	send(&t, 0, 0);
	t_virtio_state_save(&t.w, &running);
	t_mmio_init_from(&u, &t, &running);
	t_mmio_fini(&u);
	t_uint(t_virtq_used_count(&t.q[0]), 0);
	t_mmio_fini(&t);
	loop_free(l);
	T_NO_LEAKS();
}
