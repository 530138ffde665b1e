/*
 * The window of a virtio device: what its registers hold, the order in which a driver may write
 * them, and its configuration space.  Queues are in test_mmio_queue.c, waiting in test_mmio_wait.c.
 */
#include "t_mmio.h"

#include <sys/eventfd.h>

#include "base/err.h"

TestSuite(mmio, .timeout = T_SECONDS);

#define MEM (16ULL << 20)

static unsigned eventfds_left = 100;

int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);

int __wrap_eventfd(unsigned count, int flags)
{
	if (eventfds_left-- > 0)
		return __real_eventfd(count, flags);
	errno = EMFILE;
	return -1;
}

/* --- registers --- */

Test(mmio, registers_say_what_the_device_is)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_VERSION), 2);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_DEVICE_ID), T_DEVICE_ID);
		t_true(t_mmio_read(&t, VIRTIO_MMIO_VENDOR_ID) != 0);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_STATUS), 0);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_CONFIG_GENERATION), 0);
		t_mmio_fini(&t);
	}
}

/* What may be read; of everything else, written-only registers among it, comes zero. */
static bool is_readable(uint32_t off)
{
	return off <= VIRTIO_MMIO_DEVICE_FEATURES || off == VIRTIO_MMIO_QUEUE_NUM_MAX ||
	       off == VIRTIO_MMIO_QUEUE_READY || off == VIRTIO_MMIO_INTERRUPT_STATUS ||
	       off == VIRTIO_MMIO_STATUS || off == VIRTIO_MMIO_CONFIG_GENERATION ||
	       (off >= VIRTIO_MMIO_SHM_LEN_LOW && off <= VIRTIO_MMIO_SHM_BASE_HIGH);
}

Test(mmio, registers_that_are_written_only_or_do_not_exist_read_as_zero)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	for (uint32_t off = 0; off < 0x100; off += 4) {
		if (!is_readable(off))
			cr_expect(eq(u32, t_mmio_read(&t, off), 0), "register 0x%x", off);
	}
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, there_is_no_shared_memory_of_any_number)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	for (uint32_t id = 0; id < 3; id++) {
		t_mmio_write(&t, VIRTIO_MMIO_SHM_SEL, id);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_SHM_BASE_LOW), UINT32_MAX);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_SHM_BASE_HIGH), UINT32_MAX);
	}
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, writes_to_registers_that_are_read_only_or_do_not_exist_change_nothing)
{
	static const uint32_t writable[] = { VIRTIO_MMIO_DEVICE_FEATURES_SEL,
		VIRTIO_MMIO_DRIVER_FEATURES, VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_QUEUE_SEL,
		VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_NOTIFY,
		VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_STATUS, VIRTIO_MMIO_QUEUE_DESC_LOW,
		VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
		VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTIO_MMIO_QUEUE_USED_LOW,
		VIRTIO_MMIO_QUEUE_USED_HIGH };
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	uint32_t before[64];

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	for (uint32_t i = 0; i < 64; i++)
		before[i] = t_mmio_read(&t, 4 * i);
	for (uint32_t off = 0; off < 0x100; off += 4) {
		bool skip = false;

		for (unsigned k = 0; k < ARRAY_SIZE(writable); k++)
			skip |= off == writable[k];
		if (!skip)
			t_mmio_write(&t, off, 0xa5a5a5a5);
	}
	for (uint32_t i = 0; i < 64; i++)
		cr_expect(eq(u32, t_mmio_read(&t, 4 * i), before[i]), "register 0x%x", 4 * i);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, accesses_of_another_width_or_place_read_as_zero_and_write_nothing)
{
	static const uint32_t widths[] = { 1, 2, 4, 8 };
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	for (unsigned w = 0; w < ARRAY_SIZE(widths); w++) {
		for (uint32_t off = 0; off + widths[w] <= 0x100; off++) {
			uint8_t buf[8], ones[8], zeroes[8] = { 0 };

			if (off % 4 == 0 && widths[w] == 4)
				continue;
			memset(ones, 0xff, sizeof(ones));
			memset(buf, 0xff, sizeof(buf));
			virtio_mmio_bus_ops.write(&t.w, off, ones, widths[w]);
			virtio_mmio_bus_ops.read(&t.w, off, buf, widths[w]);
			cr_expect(eq(int, memcmp(buf, zeroes, widths[w]), 0), "0x%x by %u", off,
				widths[w]);
			cr_expect(eq(int, memcmp(buf + widths[w], ones, 8 - widths[w]), 0));
		}
	}
	t_uint(t_mmio_read(&t, VIRTIO_MMIO_STATUS), 0);
	t_str(t.d.log, "");
	t_mmio_fini(&t);
	loop_free(l);
}

/* --- features --- */

Test(mmio, features_are_offered_in_words_of_32_bits)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	uint64_t offered;

	t_mmio_init(&t, l, MEM);
	offered = t_mmio_read(&t, VIRTIO_MMIO_DEVICE_FEATURES);
	t_mmio_write(&t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	offered |= (uint64_t)t_mmio_read(&t, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	t_hex(offered, 1ULL << T_FEATURE | 1ULL << T_FEATURE_A | 1ULL << T_FEATURE_B | 1ULL << 28 |
			       1ULL << 29 | 1ULL << 32);
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t beyond[] = { 2, 32, UINT32_MAX };

		t_mmio_write(&t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, beyond[i]);
		t_uint(t_mmio_read(&t, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	}
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, a_feature_that_was_never_offered_is_refused_and_the_driver_may_try_again)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	for (unsigned bit = 0; bit < 64; bit++) {
		bool offered = t.d.v.offered & 1ULL << bit;

		if (bit == T_FEATURE_A || bit == T_FEATURE_B)
			continue;
		cr_expect(eq(int, t_mmio_negotiate(&t, T_VERSION_1 | 1ULL << bit), offered),
			"feature %u", bit);
		cr_expect(eq(u64, t.d.v.acked, offered ? T_VERSION_1 | 1ULL << bit : 0));
		if (!offered)
			cr_expect(eq(u32, t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_DRIVER));
		/* Without a reset: features may be changed until they are agreed. */
		if (!offered)
			cr_expect(eq(int, t_mmio_negotiate(&t, T_VERSION_1), 1));
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
	}
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, features_are_refused_without_version_1_beyond_63_and_where_the_device_says_so)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_false(t_mmio_negotiate(&t, 0));
	t_false(t_mmio_negotiate(&t, 1ULL << T_FEATURE));
	t_false(t_mmio_negotiate(&t, T_VERSION_1 | 1ULL << T_FEATURE_A));
	t_false(t_mmio_negotiate(&t, T_VERSION_1 | 1ULL << T_FEATURE_B));
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	t_false(t_mmio_negotiate(&t, T_VERSION_1));
	t_hex(t.d.v.acked, 0);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
	t_true(t_mmio_negotiate(&t, T_VERSION_1 | 1ULL << T_FEATURE_A | 1ULL << T_FEATURE_B));
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, words_of_features_come_in_any_order_and_an_empty_one_beyond_63_is_none)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 3);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	t_true(t_mmio_negotiate(&t, T_VERSION_1));
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
	/* The high word first. */
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_DRIVER);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 1U << T_FEATURE);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_FEATURES_OK);
	t_hex(t.d.v.acked, T_VERSION_1 | 1ULL << T_FEATURE);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, agreed_features_stay_and_a_change_breaks_the_device)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_true(t_mmio_negotiate(&t, T_VERSION_1));
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 1); /* what it is already */
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_FEATURES_OK);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	t_mmio_broke(&t, RULE_FEATURES_LATE);
	t_hex(t.d.v.acked, T_VERSION_1);
	t_mmio_fini(&t);
	loop_free(l);
}

/* --- status --- */

Test(mmio, a_driver_in_order_gets_an_active_device)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 1ULL << T_FEATURE, 8);
		t_str(t.d.log, "A01"); /* what was there before it was active is looked at */
		t_hex(t.d.v.acked, T_VERSION_1 | 1ULL << T_FEATURE);
		t_true(pthread_equal(t.d.ran_on, pthread_self()));
		t_uint(t_mmio_interrupts(&t), 0);
		t_mmio_fini(&t);
	}
}

Test(mmio, features_cannot_be_agreed_before_a_driver_has_come)
{
	static const uint32_t early[] = { 8, 8 | T_ACK, 8 | VIRTIO_CONFIG_S_DRIVER };
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	for (unsigned i = 0; i < ARRAY_SIZE(early); i++) {
		t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
		t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 1);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, early[i]);
		t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), early[i] & T_DRIVER);
		t_hex(t.d.v.acked, 0);
		t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
	}
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, a_driver_that_is_ready_without_features_breaks_the_device)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_false(t_mmio_negotiate(&t, 0));
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
	t_false(t.d.v.active);
	t_str(t.d.log, "");
	t_mmio_broke(&t, RULE_STATUS_ORDER);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_DRIVER | T_NEEDS_RESET);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, a_device_that_needs_a_reset_does_not_begin)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_true(t_mmio_negotiate(&t, T_VERSION_1));
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, 0);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_READY, 1); /* of no size */
	t_mmio_broke(&t, RULE_QUEUE_SIZE);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_FEATURES_OK | T_NEEDS_RESET);
	t_str(t.d.log, "");
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, bits_of_the_status_are_only_added_and_only_those_of_a_driver)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_ACK);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0xffffff00U | T_NEEDS_RESET | 0x30);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FAILED);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING | VIRTIO_CONFIG_S_FAILED);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_RUNNING); /* once more: not once more active */
	t_str(t.d.log, "A01");
	t_mmio_fini(&t);
	loop_free(l);
}

/* Everything that a driver can set is as it was made. */
static void is_fresh(struct t_mmio *t)
{
	t_hex(t_mmio_read(t, VIRTIO_MMIO_STATUS), 0);
	t_hex(t_mmio_read(t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	t_hex(t->d.v.acked, 0);
	t_false(t->d.v.active || t->d.v.is_quiesced);
	t_hex(t_mmio_read(t, VIRTIO_MMIO_DEVICE_FEATURES), (uint32_t)t->d.v.offered);
	t_uint(t_mmio_read(t, VIRTIO_MMIO_QUEUE_NUM_MAX), T_DEVICE_QUEUE_MAX);
	for (unsigned q = 0; q < T_DEVICE_QUEUES; q++) {
		t_mmio_write(t, VIRTIO_MMIO_QUEUE_SEL, q);
		t_uint(t_mmio_read(t, VIRTIO_MMIO_QUEUE_READY), 0);
		t_false(t->d.v.vq[q].ready);
		t_uint(t->w.queue[q].num, 0);
		t_hex(t->w.queue[q].desc | t->w.queue[q].avail | t->w.queue[q].used, 0);
	}
	t_hex(t->w.driver_features, 0);
	t_uint(t->w.driver_features_sel, 0);
}

Test(mmio, a_reset_at_any_point_of_the_initialisation_clears_all)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, T_DRIVER | VIRTIO_CONFIG_S_FAILED);
	t_mmio_write(&t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 7);
	t_mmio_write(&t, VIRTIO_MMIO_DRIVER_FEATURES, 7);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, 99);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
	is_fresh(&t);
	t_true(t_mmio_negotiate(&t, T_VERSION_1));
	(void)t_virtq_init(&t.q[0], &t.m, T_QUEUES_AT, 8);
	t_mmio_place(&t, 0, &t.q[0].at);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_SEL, 99);
	t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
	is_fresh(&t);
	t_str(t.d.log, ""); /* a device that was not active has nothing to do with it */
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, a_reset_of_an_active_or_broken_device_clears_all_and_it_begins_again)
{
	T_EACH_BACKEND(l)
	{
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		for (unsigned i = 0; i < 4; i++) {
			t.d.nlog = 0;
			memset(t.d.log, 0, sizeof(t.d.log));
			t_mmio_start(&t, i % 2 ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0, 8);
			if (i >= 2)
				virtio_break(&t.d.v, RULE_BLK_HEADER);
			t_mmio_write(&t, VIRTIO_MMIO_STATUS, 0);
			t_str(t.d.log, "A01qr");
			is_fresh(&t);
		}
		t_mmio_fini(&t);
	}
}

Test(mmio, a_broken_rule_is_told_by_status_interrupt_log_and_counter)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	virtio_break(&t.d.v, RULE_NET_BUFFER);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_STATUS), T_RUNNING | T_NEEDS_RESET);
	t_mmio_broke(&t, RULE_NET_BUFFER);
	virtio_break(&t.d.v, RULE_NET_BUFFER);
	t_uint(t_mmio_interrupts(&t), 0); /* told once */
	t_uint(count_get(&t.d.v.counters.rule_breaks), 2);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, what_is_acknowledged_of_the_interrupt_status_goes_and_the_rest_stays)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	t_mmio_start(&t, 0, 8);
	virtio_config_write(&t.d.v, 0, "x", 1);
	t_virtq_send(&t.q[0], 0, &(struct t_seg){ T_BUFFERS, 8, true }, 1);
	t_mmio_write(&t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	t_mmio_settle(&t);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	t_mmio_write(&t, VIRTIO_MMIO_INTERRUPT_ACK, 0xfffffffc);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	t_mmio_write(&t, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
	t_mmio_write(&t, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	t_mmio_fini(&t);
	loop_free(l);
}

/* --- configuration space --- */

Test(mmio, the_configuration_is_read_at_any_place_and_width_with_zeroes_behind_it)
{
	static const uint32_t widths[] = { 1, 2, 4, 8 };
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	uint8_t want[VIRTIO_MMIO_LEN - 0x100] = { 0 };

	t_mmio_init(&t, l, MEM);
	for (uint8_t i = 0; i < 13; i++)
		want[i] = (uint8_t)(0x40 + i);
	virtio_config_write(&t.d.v, 0, want, 13);
	for (unsigned w = 0; w < ARRAY_SIZE(widths); w++) {
		for (uint32_t off = 0; off + widths[w] <= sizeof(want); off++) {
			uint8_t buf[8];

			memset(buf, 0xff, sizeof(buf));
			virtio_mmio_bus_ops.read(&t.w, 0x100 + off, buf, widths[w]);
			cr_expect(eq(int, memcmp(buf, want + off, widths[w]), 0), "%u at %u",
				widths[w], off);
			if (widths[w] < 8)
				cr_expect(eq(u8, buf[widths[w]], 0xff));
		}
	}
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, the_drivers_writes_to_the_configuration_change_nothing)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;

	t_mmio_init(&t, l, MEM);
	virtio_config_write(&t.d.v, 0, "abcd", 4);
	for (uint32_t off = 0x100; off < 0x110; off += 4)
		t_mmio_write(&t, off, 0xffffffff);
	t_hex(t_mmio_read(&t, 0x100), 0x64636261);
	t_hex(t_mmio_read(&t, 0x104), 0);
	t_mmio_fini(&t);
	loop_free(l);
}

Test(mmio, a_change_of_the_configuration_has_its_generation_and_its_interrupt)
{
	struct loop *l = t_loop_new(0);
	struct t_mmio t;
	uint32_t first;

	t_mmio_init(&t, l, MEM);
	virtio_config_write(&t.d.v, 0, "abcd", 4);
	t_uint(t_mmio_interrupts(&t), 0); /* nobody is there to be told */
	t_mmio_start(&t, 0, 8);
	first = t_mmio_read(&t, VIRTIO_MMIO_CONFIG_GENERATION);
	t_uint(t_mmio_read(&t, VIRTIO_MMIO_CONFIG_GENERATION), first);
	virtio_config_write(&t.d.v, 2, "X", 1);
	t_true(t_mmio_read(&t, VIRTIO_MMIO_CONFIG_GENERATION) != first);
	t_hex(t_mmio_read(&t, 0x100), 0x64586261);
	t_uint(t_mmio_interrupts(&t), 1);
	t_hex(t_mmio_read(&t, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	t_mmio_fini(&t);
	loop_free(l);
}

/* --- life --- */

Test(mmio, a_window_without_its_eventfds_is_an_error_and_leaves_nothing)
{
	unsigned fds = t_count_fds();
	struct t_device d;

	for (unsigned n = 0; n < 1 + T_DEVICE_QUEUES; n++) {
		struct virtio_mmio w;
		struct err e = { 0 };

		t_device_init(&d);
		eventfds_left = n;
		t_int(virtio_mmio_init(&w, &d.v, &e), -EMFILE);
		t_int(e.code, -EMFILE);
		t_has(e.text, d.v.name);
		t_has(e.text, "ulimit");
		t_int(d.v.irq_fd, -1);
		t_uint(t_count_fds(), fds);
		virtio_mmio_fini(&w); /* once more is allowed */
		virtio_device_fini(&d.v);
	}
	T_NO_LEAKS();
}

Test(mmio, a_window_leaves_no_descriptor_and_no_memory)
{
	T_EACH_BACKEND(l)
	{
		unsigned fds = t_count_fds();
		struct t_mmio t;

		t_mmio_init(&t, l, MEM);
		t_mmio_start(&t, 0, 8);
		t_mmio_fini(&t);
		t_uint(t_count_fds(), fds);
	}
	T_NO_LEAKS();
}
