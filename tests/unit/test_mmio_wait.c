/*
 * The window of a virtio device, what vCPUs wait for: activation, a reset that ends only when the
 * device is at rest, the stop of one queue, and the end of the machine in the middle of it.
 */
#include "t_mmio.h"

TestSuite(mmio_wait, .timeout = T_SECONDS);

#define MEM (16ULL << 20)

static const struct t_seg seg = { T_BUFFERS, 8, true };

static void send(struct t_mmio *t, unsigned q, uint16_t head)
{
	uint64_t one = 1;

	t_virtq_send(&t->q[q], head, &seg, 1);
	t_int(write(t->w.queue[q].kick_fd, &one, sizeof(one)), sizeof(one));
	t_mmio_settle(t);
}

/* An active device that keeps three chains of queue 0 and one of queue 1. */
static void start_holding(struct t_mmio *t, struct loop *l)
{
	t_mmio_init(t, l, MEM);
	t->d.holds = true;
	t_mmio_start(t, 0, 8);
	for (uint16_t i = 0; i < 3; i++)
		send(t, 0, i);
	send(t, 1, 5);
	t_uint(t->d.nheld[0], 3);
	t_uint(t->d.nheld[1], 1);
}

/* --- reset --- */

Test(mmio_wait, a_reset_waits_until_nothing_is_in_flight)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct t_access reset;

		start_holding(&t, l);
		t_mmio_begin(&t, &reset, true, VIRTIO_MMIO_STATUS, 0);
		t_true(t_mmio_waits(&reset));
		t_true(t.d.is_resting);
		t_true(t.d.v.active && t.d.v.is_quiesced);
		/* Nothing new is taken meanwhile. */
		send(&t, 0, 6);
		t_uint(t.d.nheld[0], 3);
		t_true(t_mmio_waits(&reset));
		/* What is finished until then is still given back. */
		t_uint(t_virtq_used_count(&t.q[0]), 0);
		t_device_finish(&t.d);
		t_uint(t_virtq_used_count(&t.q[0]), 3);
		t_uint(t_virtq_used_count(&t.q[1]), 1);
		(void)t_mmio_end(&reset);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_STATUS), 0);
		t_false(t.d.v.active || t.d.v.is_quiesced || t.d.v.vq[0].ready);
		t_mmio_fini(&t);
	}
}

/* After a reset the memory is the driver's again. */
Test(mmio_wait, nothing_is_written_to_the_queues_after_a_reset)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct t_access reset;

		start_holding(&t, l);
		t_mmio_begin(&t, &reset, true, VIRTIO_MMIO_STATUS, 0);
		t_true(t_mmio_waits(&reset));
		t_device_finish(&t.d);
		(void)t_mmio_end(&reset);
		memset(t.q[0].used, 0x5a, 64);
		memset(t.q[1].used, 0x5a, 64);
		(void)t_mmio_interrupts(&t);
		virtio_publish(&t.d.v, 0);
		virtio_publish(&t.d.v, 1);
		for (unsigned i = 0; i < 64; i++) {
			cr_expect(eq(u8, ((uint8_t *)t.q[0].used)[i], 0x5a));
			cr_expect(eq(u8, ((uint8_t *)t.q[1].used)[i], 0x5a));
		}
		t_uint(t_mmio_interrupts(&t), 0);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		t_mmio_fini(&t);
	}
}

Test(mmio_wait, a_device_that_rests_late_is_waited_for_and_begins_again)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		for (unsigned i = 0; i < 3; i++) {
			struct t_access reset;

			t.d.late = true;
			t_mmio_start(&t, 0, 8);
			t_mmio_begin(&t, &reset, true, VIRTIO_MMIO_STATUS, 0);
			t_true(t_mmio_waits(&reset));
			t_device_rest(&t.d);
			(void)t_mmio_end(&reset);
			t_str(t.d.log, "A01qr");
			memset(t.d.log, 0, sizeof(t.d.log));
			t.d.nlog = 0;
		}
		t_mmio_fini(&t);
	}
}

Test(mmio_wait, a_device_that_broke_is_reset_when_its_chains_are_back_and_those_are_not_shown)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct t_access reset;

		start_holding(&t, l);
		send(&t, 0, 7);
		t.q[0].avail->ring[t.q[0].next_avail % 8] = 99;
		t.q[0].next_avail++;
		t_virtq_publish(&t.q[0]);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		t_mmio_settle(&t);
		t_true(t_mmio_read(&t, VIRTIO_MMIO_STATUS) & T_NEEDS_RESET);
		t_mmio_begin(&t, &reset, true, VIRTIO_MMIO_STATUS, 0);
		t_true(t_mmio_waits(&reset));
		t_device_finish(&t.d);
		(void)t_mmio_end(&reset);
		t_uint(t_virtq_used_count(&t.q[0]), 0);
		t_uint(t_virtq_used_count(&t.q[1]), 1); /* a queue that was not broken */
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_STATUS), 0);
		t_mmio_fini(&t);
	}
}

/* --- several vCPUs --- */

Test(mmio_wait, another_vcpu_waits_too_but_never_its_interrupt_handler)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct t_access reset, status, write, again;
		uint32_t value;

		start_holding(&t, l);
		virtio_config_write(&t.d.v, 0, "conf", 4);
		t_mmio_begin(&t, &reset, true, VIRTIO_MMIO_STATUS, 0);
		t_true(t_mmio_waits(&reset));
		t_mmio_begin(&t, &status, false, VIRTIO_MMIO_STATUS, 0);
		t_mmio_begin(&t, &write, true, VIRTIO_MMIO_QUEUE_SEL, 1);
		t_mmio_begin(&t, &again, true, VIRTIO_MMIO_STATUS, 0);
		t_true(t_mmio_waits(&status));
		t_true(t_mmio_waits(&write));
		t_true(t_mmio_waits(&again));
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
		t_mmio_write(&t, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		t_hex(t_mmio_read(&t, 0x100), 0x666e6f63);
		t_device_finish(&t.d);
		(void)t_mmio_end(&reset);
		/* Seen before the reset or after it, never in the middle. */
		value = t_mmio_end(&status);
		t_hex(value, 0);
		(void)t_mmio_end(&write);
		(void)t_mmio_end(&again);
		t_uint(t.d.log[t.d.nlog - 2] == 'q' && t.d.log[t.d.nlog - 1] == 'r', 1);
		t_mmio_fini(&t);
	}
}

struct hammer {
	struct t_mmio *t;
	uint32_t seed;
	struct loop_post post;
	_Atomic unsigned *running;
	pthread_t thread;
};

static void ignore(struct loop_post *post)
{
	(void)post;
}

static void *hammer_main(void *arg)
{
	static const uint32_t regs[] = { VIRTIO_MMIO_STATUS, VIRTIO_MMIO_STATUS,
		VIRTIO_MMIO_DRIVER_FEATURES, VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_QUEUE_SEL,
		VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_NOTIFY,
		VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_INTERRUPT_ACK };
	static const uint32_t values[] = { 0, 1, 3, 11, 15, 8, 2, 16, T_QUEUES_AT, 0x20000 };
	struct hammer *h = arg;

	for (unsigned i = 0; i < 4000; i++) {
		uint32_t value, reg;

		h->seed = h->seed * 1664525 + 1013904223;
		reg = regs[(h->seed >> 8) % ARRAY_SIZE(regs)];
		value = values[(h->seed >> 16) % ARRAY_SIZE(values)];
		if (h->seed >> 31)
			virtio_mmio_bus_ops.write(&h->t->w, reg, (uint8_t *)&value, 4);
		else
			virtio_mmio_bus_ops.read(&h->t->w, reg, (uint8_t *)&value, 4);
	}
	(*h->running)--;
	loop_post(h->t->l, &h->post);
	return NULL;
}

Test(mmio_wait, four_vcpus_that_write_anything_leave_a_device_that_can_be_reset_and_used)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct hammer h[4];
		_Atomic unsigned running = ARRAY_SIZE(h);

		t_mmio_init(&t, l, MEM);
		for (uint32_t i = 0; i < ARRAY_SIZE(h); i++) {
			h[i] = (struct hammer){
				.t = &t, .seed = i * 77, .post.run = ignore, .running = &running
			};
			t_int(pthread_create(&h[i].thread, NULL, hammer_main, &h[i]), 0);
		}
		while (running > 0)
			t_int(loop_turn(l), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(h); i++)
			t_int(pthread_join(h[i].thread, NULL), 0);
		t_mmio_settle(&t);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
		t_mmio_start(&t, 0, 8);
		t.d.served = 0;
		send(&t, 0, 0);
		t_uint(t.d.served, 1);
		t_mmio_fini(&t);
	}
}

/* --- one queue --- */

Test(mmio_wait, a_queue_that_is_stopped_is_left_alone_and_the_other_goes_on)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 0, 8);
		send(&t, 0, 0);
		send(&t, 1, 0);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, 0);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 0);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 0);
		t_false(t.d.v.vq[0].ready);
		t_true(t.d.v.active && t.d.v.vq[1].ready);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING);
		t.d.served = 0;
		send(&t, 0, 1);
		t_uint(t.d.served, 0);
		send(&t, 1, 1);
		send(&t, 1, 2);
		t_uint(t.d.served, 2);
		t_uint(t_virtq_used_count(&t.q[0]), 1);
		t_uint(t_virtq_used_count(&t.q[1]), 3); /* and its indices have gone on */
		t_mmio_fini(&t);
	}
}

Test(mmio_wait, the_stop_of_a_queue_waits_until_nothing_is_in_flight)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct t_access stop;

		start_holding(&t, l);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, 0);
		t_mmio_begin(&t, &stop, true, VIRTIO_MMIO_QUEUE_READY, 0);
		t_true(t_mmio_waits(&stop));
		t_virtq_send(&t.q[1], 6, &seg, 1); /* comes while it waits; served after it */
		t_device_finish(&t.d);
		(void)t_mmio_end(&stop);
		t_uint(t_virtq_used_count(&t.q[0]), 3);
		t_true(t.d.v.active);
		t_uint(t.d.nheld[1], 1);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, 0);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_QUEUE_READY), 0);
		t_mmio_fini(&t);
	}
}

/* --- a pause: no vCPU is in the middle of an access --- */

static unsigned paused;

static void on_paused(struct virtio_mmio *w)
{
	t_true(w->pause == MMIO_PAUSED);
	paused++;
}

Test(mmio_wait, a_pause_waits_until_nothing_is_in_flight_and_a_resume_looks_at_the_queues)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		paused = 0;
		start_holding(&t, l);
		virtio_mmio_pause(&t.w, on_paused);
		t_uint(paused, 0);
		send(&t, 0, 6);
		t_uint(t.d.nheld[0], 3); /* nothing new is taken */
		t_device_finish(&t.d);
		t_uint(paused, 1);
		t_uint(t_virtq_used_count(&t.q[0]), 3);
		t_uint(count_get(&t.d.v.counters.kicks), 4);
		/* Without a kick, and as if nothing had been. */
		virtio_mmio_resume(&t.w);
		t_uint(t.d.nheld[0], 1);
		t_true(t.d.v.active && !t.d.v.is_quiesced);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING);
		t_device_finish(&t.d);
		t.d.holds = false;
		virtio_mmio_pause(&t.w, on_paused);
		t_uint(paused, 2);
		virtio_mmio_resume(&t.w);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
		t_false(t.d.v.active);
		t_mmio_fini(&t);
	}
}

Test(mmio_wait, a_device_that_is_not_active_is_paused_at_once_and_not_touched)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		paused = 0;
		t_mmio_init(&t, l, MEM);
		virtio_mmio_pause(&t.w, on_paused);
		t_uint(paused, 1);
		virtio_mmio_resume(&t.w);
		t_str(t.d.log, "");
		t_mmio_start(&t, 0, 8);
		t_mmio_fini(&t);
	}
}

Test(mmio_wait, a_broken_device_is_paused_too)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		paused = 0;
		start_holding(&t, l);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_NOTIFY, 77);
		virtio_mmio_pause(&t.w, on_paused);
		t_uint(paused, 0);
		t_device_finish(&t.d);
		t_uint(paused, 1);
		virtio_mmio_resume(&t.w);
		t_true(t_mmio_read(&t, VIRTIO_MMIO_STATUS) & T_NEEDS_RESET);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_STATUS), 0);
		t_mmio_fini(&t);
	}
}

/* --- the end of the machine --- */

Test(mmio_wait, a_close_lets_every_vcpu_go_and_the_window_is_dead)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct t_access reset, status;
		unsigned nlog;
		uint32_t value;

		start_holding(&t, l);
		t_mmio_begin(&t, &reset, true, VIRTIO_MMIO_STATUS, 0);
		t_true(t_mmio_waits(&reset));
		t_mmio_begin(&t, &status, false, VIRTIO_MMIO_STATUS, 0);
		t_true(t_mmio_waits(&status));
		virtio_mmio_close(&t.w);
		(void)t_mmio_end(&reset);
		value = t_mmio_end(&status);
		t_hex(value, 0);
		/* The device still has its chains: nobody pretends that it was reset. */
		t_true(t.d.v.active && t.d.v.vq[0].ready);
		nlog = t.d.nlog;
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
		t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 1);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_MAGIC_VALUE), 0);
		t_uint(t.d.nlog, nlog);
		t_mmio_fini(&t);
	}
}

Test(mmio_wait, a_request_that_the_loop_has_not_seen_at_the_close_is_forgotten)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;
		struct t_access ready;

		t_mmio_init(&t, l, MEM);
		t_true(t_mmio_negotiate(&t, T_VERSION_1));
		/* The loop does not run: the request is posted and stays there. */
		t_mmio_begin(&t, &ready, true, VIRTIO_MMIO_STATUS, T_RUNNING);
		(void)usleep(20000);
		t_false(ready.done);
		virtio_mmio_close(&t.w);
		(void)t_mmio_end(&ready);
		t_str(t.d.log, "");
		t_false(t.d.v.active);
		t_mmio_fini(&t);
	}
}

Test(mmio_wait, a_window_may_be_closed_twice_and_before_anything_happened)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		virtio_mmio_close(&t.w);
		virtio_mmio_close(&t.w);
		t_false(t_mmio_negotiate(&t, T_VERSION_1));
		t_mmio_fini(&t);
	}
	T_NO_LEAKS();
}

Test(mmio_wait, a_device_that_says_twice_that_it_rests_is_our_own_bug, .signal = SIGABRT)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
	virtio_quiesced(&t.d.v);
}
