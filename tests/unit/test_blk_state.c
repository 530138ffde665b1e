/* The block device as plain values: saved with requests in its queue, loaded into another one. */
#include "t.h"

#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/err.h"
#include "t_virtio_state.h"
#include "virtio/blk.h"

TestSuite(blk_state, .timeout = T_SECONDS);

enum {
	MEM = 16 << 20,
	QUEUE_AT = 0x1000,
	AREA_AT = 0x100000, /* of requests: header, status, data from the next page on */
	AREA_LEN = 0x8000,
	STATUS_OFF = 0x800,
	DATA_OFF = 0x1000,
	DISK_SIZE = 1 << 20,
	NONE = 0xee,
};

struct rig {
	struct guest_mem mem;
	struct t_virtq q;
	struct loop *l;
	struct virtio_mmio w;
	int file;
	char path[64];
	struct disk_config c;
};

static struct virtio_device *new_disk(struct rig *r)
{
	struct virtio_device *dev = NULL;
	struct err e = { 0 };

	cr_assert(eq(int, blk_new(&r->c, &dev, &e), 0), "%s", e.text);
	dev->mem = &r->mem;
	return dev;
}

/* A running device with limits as given. */
static void init(struct rig *r, struct loop *l, struct limiter_config limit, uint64_t features)
{
	struct virtio_device *dev;
	struct virtio_state s;

	*r = (struct rig){ .l = l };
	t_quiet();
	t_mem_init(&r->mem, MEM);
	(void)t_virtq_init(&r->q, &r->mem, QUEUE_AT, 16);
	r->file = memfd_create("disk", MFD_CLOEXEC);
	t_int(ftruncate(r->file, DISK_SIZE), 0);
	(void)snprintf(r->path, sizeof(r->path), "/proc/self/fd/%d", r->file);
	r->c = (struct disk_config){ .id = "x", .path = r->path, .limit = limit };
	dev = new_disk(r);
	t_virtio_state_begin(&s, dev, features, &r->q);
	t_virtio_state_load(&r->w, dev, l, &s);
	virtio_mmio_resume(&r->w);
	t_uint(t_virtio_state_interrupts(&r->w), 1);
}

static void fini(struct rig *r)
{
	t_virtio_state_end(&r->w);
	guest_mem_fini(&r->mem);
	(void)close(r->file);
}

/* Saves the device, ends it and goes on with another one, paused. */
static void change_devices(struct rig *r, struct virtio_state *ret)
{
	t_virtio_state_save(&r->w, ret);
	t_virtio_state_end(&r->w);
	t_virtio_state_load(&r->w, new_disk(r), r->l, ret);
}

static uint8_t *at(struct rig *r, gpa_t gpa)
{
	uint8_t *p = mem_ptr(&r->mem, gpa, 1);

	t_true(p != NULL);
	return p;
}

static gpa_t area(unsigned i)
{
	return AREA_AT + (gpa_t)i * AREA_LEN;
}

static uint8_t status(struct rig *r, unsigned i)
{
	return *at(r, area(i) + STATUS_OFF);
}

/* Request i in descriptors 3 * i and behind. */
static void offer(struct rig *r, unsigned i, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	struct t_seg segs[] = { { area(i), sizeof(h), false },
		{ area(i) + DATA_OFF, len, type != 1 }, { area(i) + STATUS_OFF, 1, true } };

	memcpy(at(r, area(i)), &h, sizeof(h));
	*at(r, area(i) + STATUS_OFF) = NONE;
	t_virtq_send(&r->q, (uint16_t)(3 * i), segs, 3);
}

static void wait_used(struct rig *r, unsigned n)
{
	while (t_virtq_used_count(&r->q) < n)
		t_virtio_state_turn(&r->w);
}

static void expect_used(struct rig *r, unsigned i)
{
	uint32_t id;

	wait_used(r, 1);
	t_true(t_virtq_used(&r->q, &id, NULL));
	t_uint(id, 3 * i);
	t_uint(status(r, i), VIRTIO_BLK_S_OK);
}

static const struct limiter_config no_limit,
	one_an_hour = { .ops = { .size = 1, .refill_ms = 3600 * 1000 } };

Test(blk_state, requests_go_on_in_another_device_and_none_is_done_twice)
{
	T_EACH_BACKEND(l)
	{
		struct virtio_state s;
		struct rig r;

		init(&r, l, no_limit, UINT64_MAX);
		for (unsigned i = 0; i < 40; i++) {
			unsigned n = i % 5;

			memset(at(&r, area(n) + DATA_OFF), (int)i + 1, 512);
			offer(&r, n, VIRTIO_BLK_T_OUT, i, 512);
			/* Some are done before, some in the first round behind the change. */
			if (i % 3 == 0)
				t_virtio_state_kick(&r.w, 0);
			if (i % 4 == 0) {
				change_devices(&r, &s);
				t_uint(s.queue[0].at.next_used, s.queue[0].at.next_avail);
				virtio_mmio_resume(&r.w);
				t_true(t_virtio_state_interrupts(&r.w) >= 1);
			} else {
				t_virtio_state_kick(&r.w, 0);
			}
			expect_used(&r, n);
			t_uint(t_virtq_used_count(&r.q), 0);
			t_uint(r.q.used->idx, i + 1);
		}
		for (unsigned i = 0; i < 40; i++) {
			uint8_t byte;

			t_int(pread(r.file, &byte, 1, i * 512), 1);
			t_uint(byte, i + 1);
		}
		fini(&r);
	}
	T_NO_LEAKS();
}

Test(blk_state, a_request_that_a_limiter_holds_stays_in_the_ring_and_its_tokens_are_kept)
{
	T_EACH_BACKEND(l)
	{
		struct virtio_state s;
		struct rig r;
		struct bucket_config none = { 0 };

		init(&r, l, one_an_hour, UINT64_MAX);
		for (unsigned i = 0; i < 3; i++)
			offer(&r, i, VIRTIO_BLK_T_IN, i, 512);
		t_virtio_state_kick(&r.w, 0);
		expect_used(&r, 0);
		t_uint(status(&r, 1), NONE);
		t_virtio_state_save(&r.w, &s);
		t_uint(s.queue[0].at.next_avail, 1);
		t_uint(s.queue[0].at.next_used, 1);
		t_uint(s.limiter[0].ops.tokens, 0);
		/* It goes on unharmed. */
		virtio_mmio_resume(&r.w);
		t_uint(t_virtio_state_interrupts(&r.w), 1); /* that of request 0 */
		t_virtio_state_turn(&r.w);
		t_uint(status(&r, 1), NONE);
		change_devices(&r, &s);
		virtio_mmio_resume(&r.w);
		t_virtio_state_turn(&r.w);
		t_uint(status(&r, 1), NONE);
		t_uint(count_get(&r.w.dev->counters.throttled), 1);
		blk_set_limit(r.w.dev, &none, &none);
		expect_used(&r, 1);
		expect_used(&r, 2);
		t_uint(t_virtq_used_count(&r.q), 0);
		fini(&r);
	}
	T_NO_LEAKS();
}

Test(blk_state, a_saved_device_goes_on_and_so_does_its_double_from_that_moment)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s, again;
	struct rig r;

	init(&r, l, no_limit, UINT64_MAX);
	offer(&r, 0, VIRTIO_BLK_T_OUT, 0, 512);
	t_virtio_state_kick(&r.w, 0);
	expect_used(&r, 0);
	t_virtio_state_save(&r.w, &s);
	virtio_mmio_resume(&r.w);
	offer(&r, 1, VIRTIO_BLK_T_OUT, 1, 512);
	t_virtio_state_kick(&r.w, 0);
	expect_used(&r, 1);
	t_virtio_state_save(&r.w, &again);
	t_uint(again.queue[0].at.next_used, 2);
	s.queue[0].at = again.queue[0].at;
	s.isr = again.isr;
	t_virtio_state_equal(&s, &again);
	fini(&r);
	loop_free(l);
	T_NO_LEAKS();
}

Test(blk_state, a_device_that_was_never_resumed_is_saved_as_it_was_loaded)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s, again;
	struct rig r;

	init(&r, l, one_an_hour, UINT64_MAX);
	for (unsigned i = 0; i < 2; i++)
		offer(&r, i, VIRTIO_BLK_T_IN, i, 512);
	t_virtio_state_kick(&r.w, 0);
	expect_used(&r, 0);
	for (unsigned i = 0; i < 3; i++) {
		change_devices(&r, &s);
		t_virtio_state_save(&r.w, &again);
		t_virtio_state_equal(&s, &again);
		t_uint(again.queue[0].at.next_avail, 1);
	}
	fini(&r);
	loop_free(l);
	T_NO_LEAKS();
}

Test(blk_state, a_disk_that_has_grown_meanwhile_tells_its_driver)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s;
	uint64_t capacity;
	struct rig r;

	init(&r, l, no_limit, UINT64_MAX);
	t_virtio_state_save(&r.w, &s);
	t_virtio_state_end(&r.w);
	t_int(ftruncate(r.file, 2 * DISK_SIZE), 0);
	t_virtio_state_load(&r.w, new_disk(&r), l, &s);
	t_uint(t_virtio_state_interrupts(&r.w), 0);
	virtio_mmio_resume(&r.w);
	t_uint(t_virtio_state_interrupts(&r.w), 1);
	t_uint(atomic_load(&r.w.dev->isr), VIRTIO_ISR_USED | VIRTIO_ISR_CONFIG);
	t_uint(virtio_config_generation(r.w.dev), s.generation + 1);
	virtio_config_read(r.w.dev, 0, &capacity, sizeof(capacity));
	t_uint(capacity, 2 * DISK_SIZE / 512);
	fini(&r);
	loop_free(l);
}

Test(blk_state, a_disk_without_the_drivers_features_is_refused)
{
	struct loop *l = t_loop_new(0);
	struct virtio_mmio w = { 0 };
	struct virtio_device *dev;
	struct virtio_state s;
	struct err e = { 0 };
	struct rig r;

	init(&r, l, no_limit, UINT64_MAX);
	t_virtio_state_save(&r.w, &s);
	r.c.read_only = true; /* no discards */
	t_virtio_state_end(&r.w);
	dev = new_disk(&r);
	t_int(virtio_mmio_init(&w, dev, NULL), 0);
	t_int(virtio_mmio_load(&w, &s, &e), -EOPNOTSUPP);
	t_has(e.text, "0x6000");
	virtio_mmio_fini(&w);
	dev->ops->free(dev);
	guest_mem_fini(&r.mem);
	(void)close(r.file);
	loop_free(l);
	T_NO_LEAKS();
}

/* Any numbers of a limiter end in waiting or in going on. */
Test(blk_state, no_value_of_a_limiter_is_believed)
{
	static const uint64_t values[] = { 0, 1, 511, 512, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX };
	const struct limiter_config limit = { .bytes = { 4096, 1, 512 }, .ops = { 4, 1, 2 } };
	struct loop *l = t_loop_new(0);

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(values); k++) {
			struct bucket_config none = { 0 };
			struct virtio_state s;
			struct rig r;

			init(&r, l, limit, UINT64_MAX);
			t_virtio_state_save(&r.w, &s);
			t_virtio_state_end(&r.w);
			s.limiter[0].bytes = (struct bucket_state){ values[i], values[k],
				values[(i + k) % 7], values[(2 * i + k) % 7] };
			s.limiter[0].ops = s.limiter[0].bytes;
			t_virtio_state_load(&r.w, new_disk(&r), l, &s);
			offer(&r, 0, VIRTIO_BLK_T_IN, 0, 512);
			virtio_mmio_resume(&r.w);
			t_virtio_state_turn(&r.w);
			blk_set_limit(r.w.dev, &none, &none);
			expect_used(&r, 0);
			fini(&r);
		}
	}
	loop_free(l);
	T_NO_LEAKS();
}

/* --- dirty pages --- */

Test(blk_state, every_page_that_a_request_writes_to_is_marked)
{
	static const struct {
		const char *name;
		uint32_t type, len;
		unsigned most; /* pages: two of rings at most, status, data */
	} rows[] = { { "read", VIRTIO_BLK_T_IN, 512, 4 },
		{ "long read", VIRTIO_BLK_T_IN, 0x6000, 9 }, { "write", VIRTIO_BLK_T_OUT, 4096, 3 },
		{ "id", VIRTIO_BLK_T_GET_ID, 20, 4 }, { "short id", VIRTIO_BLK_T_GET_ID, 8, 3 },
		{ "nothing known", 77, 512, 3 },
		{ "read behind the end", VIRTIO_BLK_T_IN, 513, 3 } };

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < 3 * ARRAY_SIZE(rows); i++) {
			uint64_t features =
				i % 3 == 1 ? ~VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX) : UINT64_MAX;
			const char *name = rows[i / 3].name;
			static uint8_t data[0x6000];
			struct t_dirty d;
			unsigned marked;
			struct rig r;

			init(&r, l, no_limit, features);
			r.c.sync_engine = i % 3 == 2;
			memset(data, 0x5a, sizeof(data));
			t_int(pwrite(r.file, data, sizeof(data), 0), sizeof(data));
			if (r.c.sync_engine) {
				struct virtio_state s;

				change_devices(&r, &s);
				virtio_mmio_resume(&r.w);
			}
			offer(&r, 0, rows[i / 3].type, 0, rows[i / 3].len);
			t_dirty_begin(&d, &r.mem);
			t_virtio_state_kick(&r.w, 0);
			wait_used(&r, 1);
			t_virtio_state_turn(&r.w);
			marked = t_dirty_end(&d, name);
			cr_expect(le(uint, marked, rows[i / 3].most), "row '%s': %u", name, marked);
			t_row_true(name, status(&r, 0) != NONE);
			fini(&r);
		}
	}
	T_NO_LEAKS();
}

Test(blk_state, a_read_that_fails_half_way_has_marked_what_it_wrote)
{
	struct loop *l = t_loop_new(0);
	static uint8_t data[DISK_SIZE];
	struct t_dirty d;
	struct rig r;

	init(&r, l, no_limit, UINT64_MAX);
	memset(data, 0x5a, sizeof(data));
	t_int(pwrite(r.file, data, sizeof(data), 0), sizeof(data));
	t_int(ftruncate(r.file, 0x2000), 0);
	offer(&r, 0, VIRTIO_BLK_T_IN, 0, 0x5000);
	t_dirty_begin(&d, &r.mem);
	t_virtio_state_kick(&r.w, 0);
	wait_used(&r, 1);
	t_virtio_state_turn(&r.w);
	t_uint(*at(&r, area(0) + DATA_OFF + 0x1fff), 0x5a);
	(void)t_dirty_end(&d, "read");
	t_uint(status(&r, 0), VIRTIO_BLK_S_IOERR);
	fini(&r);
	loop_free(l);
}
