/* What all virtio devices share: configuration space, interrupts, broken rules. */
#include "t.h"

#include <linux/virtio_config.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/log.h"
#include "t_device.h"
#include "t_virtq.h"
#include "virtio/virtio.h"

TestSuite(virtio, .timeout = T_SECONDS);

static uint64_t interrupts(const struct virtio_device *dev)
{
	uint64_t count;

	return read(dev->irq_fd, &count, sizeof(count)) == (ssize_t)sizeof(count) ? count : 0;
}

static void setup(struct t_device *d)
{
	t_device_init(d);
	d->v.irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t_true(d->v.irq_fd >= 0);
}

/* --- features --- */

Test(virtio, every_device_offers_version_1_event_index_and_indirect_tables)
{
	struct t_device d;

	t_device_init(&d);
	t_int(d.v.irq_fd, -1);
	t_hex(d.v.offered & VIRTIO_FEATURES_COMMON, 1ULL << 32 | 1ULL << 29 | 1ULL << 28);
	t_true(d.v.offered & VIRTIO_BIT(T_FEATURE_B)); /* beyond 32 */
	d.v.acked = VIRTIO_BIT(T_FEATURE_B);
	t_true(virtio_has(&d.v, T_FEATURE_B));
	t_false(virtio_has(&d.v, T_FEATURE_A));
	virtio_device_fini(&d.v);
}

Test(virtio, a_device_that_is_active_cannot_go, .signal = SIGABRT)
{
	struct t_device d;

	t_device_init(&d);
	d.v.active = true;
	virtio_device_fini(&d.v);
}

Test(virtio, a_device_may_run_while_active_and_neither_resting_nor_broken)
{
	for (unsigned bits = 0; bits < 8; bits++) {
		struct virtio_device v = {
			.active = bits & 1, .is_quiesced = bits & 2, .needs_reset = bits & 4
		};

		cr_expect(eq(int, virtio_may_run(&v), bits == 1), "%u", bits);
	}
}

/* --- configuration space --- */

Test(virtio, what_is_written_to_the_configuration_is_read_and_zeroes_behind_it)
{
	struct t_device d;
	uint8_t buf[12];

	setup(&d);
	virtio_config_write(&d.v, 2, "cdef", 4);
	virtio_config_write(&d.v, 0, "ab", 2); /* does not make it shorter */
	memset(buf, 0xff, sizeof(buf));
	virtio_config_read(&d.v, 0, buf, 10);
	t_int(memcmp(buf, "abcdef\0\0\0\0\xff\xff", 12), 0);
	virtio_config_read(&d.v, 5, buf, 2);
	t_int(memcmp(buf, "f\0", 2), 0);
	virtio_config_read(&d.v, 6, buf, 4);
	t_int(memcmp(buf, "\0\0\0\0", 4), 0);
	virtio_config_read(&d.v, SIZE_MAX, buf, 4);
	t_int(memcmp(buf, "\0\0\0\0", 4), 0);
	(void)close(d.v.irq_fd);
	virtio_device_fini(&d.v);
}

Test(virtio, the_configuration_may_be_filled_to_its_end)
{
	struct t_device d;
	uint8_t all[VIRTIO_CONFIG_MAX], buf[VIRTIO_CONFIG_MAX + 8];

	setup(&d);
	memset(all, 0x77, sizeof(all));
	virtio_config_write(&d.v, 0, all, sizeof(all));
	virtio_config_read(&d.v, 0, buf, sizeof(buf));
	t_int(memcmp(buf, all, sizeof(all)), 0);
	t_int(memcmp(buf + sizeof(all), (uint8_t[8]){ 0 }, 8), 0);
	virtio_config_write(&d.v, VIRTIO_CONFIG_MAX, all, 0);
	(void)close(d.v.irq_fd);
	virtio_device_fini(&d.v);
}

Test(virtio, a_write_across_the_end_of_the_configuration_is_our_own_bug, .signal = SIGABRT)
{
	struct t_device d;

	setup(&d);
	virtio_config_write(&d.v, VIRTIO_CONFIG_MAX - 1, "ab", 2);
}

Test(virtio, a_write_whose_place_wraps_is_our_own_bug, .signal = SIGABRT)
{
	struct t_device d;

	setup(&d);
	virtio_config_write(&d.v, SIZE_MAX, "ab", 2);
}

Test(virtio, only_an_active_device_tells_of_its_configuration)
{
	struct t_device d;

	setup(&d);
	virtio_config_write(&d.v, 0, "a", 1);
	t_uint(virtio_config_generation(&d.v), 1);
	t_uint(interrupts(&d.v), 0);
	d.v.active = true;
	virtio_config_write(&d.v, 0, "b", 1);
	t_uint(virtio_config_generation(&d.v), 2);
	t_uint(interrupts(&d.v), 1);
	t_uint(count_get(&d.v.counters.interrupts), 1);
	t_hex(d.v.isr, VIRTIO_ISR_CONFIG);
	d.v.active = false;
	(void)close(d.v.irq_fd);
	virtio_device_fini(&d.v);
}

struct writer {
	struct t_device d;
	_Atomic bool stop;
};

static void *write_main(void *arg)
{
	struct writer *w = arg;

	for (uint64_t i = 0; !w->stop; i++) {
		uint8_t all[VIRTIO_CONFIG_MAX];

		memset(all, (int)(i & 0xff), sizeof(all));
		virtio_config_write(&w->d.v, 0, all, sizeof(all));
	}
	return NULL;
}

/* As a driver reads more than it can in one access (2.5.3). */
Test(virtio, a_configuration_read_under_one_generation_is_of_one_write)
{
	static struct writer w;
	unsigned torn = 0, seen = 0;
	pthread_t thread;

	setup(&w.d);
	t_int(pthread_create(&thread, NULL, write_main, &w), 0);
	for (unsigned i = 0; i < 200000 || seen < 100; i++) {
		uint32_t before = virtio_config_generation(&w.d.v);
		uint8_t all[VIRTIO_CONFIG_MAX], low, high;

		virtio_config_read(&w.d.v, 0, all, sizeof(all)); /* one read is of one write */
		for (unsigned k = 1; k < sizeof(all); k++)
			torn += all[k] != all[0];
		virtio_config_read(&w.d.v, 0, &low, 1);
		virtio_config_read(&w.d.v, VIRTIO_CONFIG_MAX - 1, &high, 1);
		if (virtio_config_generation(&w.d.v) != before)
			continue;
		seen++;
		torn += low != high || low != all[0];
	}
	w.stop = true;
	t_int(pthread_join(thread, NULL), 0);
	t_uint(torn, 0);
	(void)close(w.d.v.irq_fd);
	virtio_device_fini(&w.d.v);
}

/* --- interrupts --- */

Test(virtio, a_publication_interrupts_when_the_driver_wants_it)
{
	struct guest_mem m;
	struct t_device d;
	struct t_virtq q;
	struct iovec iov[1];
	struct virtq_chain c = { .iov = iov, .iov_max = 1 };

	setup(&d);
	t_mem_init(&m, 16ULL << 20);
	(void)t_virtq_init(&q, &m, 0x10000, 8);
	t_int(virtq_start(&d.v.vq[1], &m, &q.at, 0), RULE_NONE);
	for (unsigned wants = 0; wants < 2; wants++) {
		q.avail->flags = wants ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
		t_virtq_send(&q, 0, &(struct t_seg){ 0x40000, 1, true }, 1);
		t_int(virtq_pop(&d.v.vq[1], &c), 1);
		virtq_push(&d.v.vq[1], c.head, 1);
		virtio_publish(&d.v, 1);
		t_uint(t_virtq_used_count(&q), wants + 1);
		t_uint(interrupts(&d.v), wants);
		t_hex(d.v.isr, wants ? VIRTIO_ISR_USED : 0);
		t_uint(count_get(&d.v.counters.interrupts), wants);
	}
	virtio_publish(&d.v, 1); /* nothing new */
	t_uint(interrupts(&d.v), 0);
	(void)close(d.v.irq_fd);
	virtio_device_fini(&d.v);
	guest_mem_fini(&m);
}

Test(virtio, an_eventfd_that_is_full_does_not_block_the_loop)
{
	uint64_t full = UINT64_MAX - 1;
	struct t_device d;

	setup(&d);
	t_int(write(d.v.irq_fd, &full, sizeof(full)), sizeof(full));
	d.v.active = true;
	virtio_config_write(&d.v, 0, "a", 1);
	t_hex(d.v.isr, VIRTIO_ISR_CONFIG);
	d.v.active = false;
	(void)close(d.v.irq_fd);
	virtio_device_fini(&d.v);
}

Test(virtio, a_device_without_an_interrupt_still_has_its_status)
{
	struct t_device d;

	t_device_init(&d);
	t_quiet();
	virtio_break(&d.v, RULE_BLK_STATUS);
	t_hex(d.v.isr, VIRTIO_ISR_CONFIG);
	t_true(d.v.needs_reset);
	virtio_device_fini(&d.v);
}

/* --- broken rules --- */

Test(virtio, many_broken_rules_are_all_counted_told_once_and_logged_within_a_budget)
{
	enum { MANY = 10000 };
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct t_device d;
	char text[16384] = "";
	unsigned lines = 0;
	ssize_t n;

	setup(&d);
	log_init(LOG_WARNING, fd);
	for (unsigned i = 0; i < MANY; i++)
		virtio_break(&d.v, RULE_NET_CTRL);
	log_init(LOG_WARNING, STDERR_FILENO);
	t_uint(count_get(&d.v.counters.rule_breaks), MANY);
	t_uint(interrupts(&d.v), 1);
	n = pread(fd, text, sizeof(text) - 1, 0);
	t_true(n > 0);
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	t_true(lines >= 1 && lines <= 2 * LOG_BURST + 2);
	t_has(text, "thing 'test': the driver made a control command without");
	t_has(text, virtio_rule_section(RULE_NET_CTRL));
	(void)close(fd);
	(void)close(d.v.irq_fd);
	virtio_device_fini(&d.v);
}
