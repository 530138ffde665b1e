/*
 * The block device, between a fake driver and files in memory.  What must happen whatever carries
 * it runs on every engine; what needs an answer at a chosen moment, or a failure, runs with the
 * loop's file calls held back by the test ("held I/O").
 */
#include "t.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/log.h"
#include "t_virtq.h"
#include "virtio/blk.h"

TestSuite(blk, .timeout = T_SECONDS);

enum {
	QUEUE_AT = 0x1000,
	AREA_AT = 0x100000, /* of requests: header, status, ranges, indirect table */
	AREA_LEN = 0x2000,
	STATUS_OFF = 16,
	RANGES_OFF = 32,
	TABLE_OFF = 0x800,
	DATA_AT = 0x800000,
	MEM_SIZE = 32 << 20,
	DISK_SECTORS = 2048,
	DISK_SIZE = DISK_SECTORS * DISK_SECTOR,
	HELD_MAX = 512,
	NONE = 0xee, /* what the status byte is before there is one */
};

/* --- held I/O --- */

struct held_io {
	struct loop_op *op;
	enum loop_kind kind;
	int fd, mode;
	struct iovec iov[4];
	unsigned count;
	int64_t offset, len;
};

static bool hold;
static struct held_io held[HELD_MAX];
static unsigned nheld, next_held;

static void keep(struct loop_op *op, enum loop_kind kind, int fd, const struct iovec *iov,
	unsigned count, int64_t offset)
{
	struct held_io *h = &held[nheld++];

	cr_assert(lt(uint, nheld, HELD_MAX));
	*h = (struct held_io){ .op = op, .kind = kind, .fd = fd, .count = count, .offset = offset };
	for (unsigned i = 0; i < MIN(count, ARRAY_SIZE(h->iov)) && iov; i++)
		h->iov[i] = iov[i];
	for (unsigned i = 0; i < count && iov; i++)
		h->len += (int64_t)iov[i].iov_len;
}

#define WRAP(name, args, call, held_args)                                                          \
	void __real_##name args;                                                                   \
	void __wrap_##name args;                                                                   \
	void __wrap_##name args                                                                    \
	{                                                                                          \
		if (hold)                                                                          \
			keep held_args;                                                            \
		else                                                                               \
			__real_##name call;                                                        \
	}

WRAP(loop_readv,
	(struct loop * l, struct loop_op *op, int fd, const struct iovec *iov, unsigned n,
		int64_t at),
	(l, op, fd, iov, n, at), (op, LOOP_READV, fd, iov, n, at))
WRAP(loop_writev,
	(struct loop * l, struct loop_op *op, int fd, const struct iovec *iov, unsigned n,
		int64_t at),
	(l, op, fd, iov, n, at), (op, LOOP_WRITEV, fd, iov, n, at))
WRAP(loop_sync, (struct loop * l, struct loop_op *op, int fd), (l, op, fd),
	(op, LOOP_SYNC, fd, NULL, 0, 0))

void __real_loop_allocate(
	struct loop *l, struct loop_op *op, int fd, int mode, int64_t off, int64_t len);
void __wrap_loop_allocate(
	struct loop *l, struct loop_op *op, int fd, int mode, int64_t off, int64_t len);
void __wrap_loop_allocate(
	struct loop *l, struct loop_op *op, int fd, int mode, int64_t off, int64_t len)
{
	if (!hold) {
		__real_loop_allocate(l, op, fd, mode, off, len);
		return;
	}
	keep(op, LOOP_ALLOCATE, fd, NULL, 0, off);
	held[nheld - 1].mode = mode;
	held[nheld - 1].len = len;
}

/* Ends the oldest that is held. */
static void answer(int res)
{
	cr_assert(lt(uint, next_held, nheld));
	held[next_held].op->done(held[next_held].op, res);
	next_held++;
}

/* --- calls of the synchronous engine --- */

static int refuse_preadv, refuse_fallocate;
static unsigned short_preadv;

ssize_t __real_preadv64(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t at);
int __real_fallocate64(int fd, int mode, off_t at, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t at, off_t len);

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t at)
{
	struct iovec less = iov[0];

	if (refuse_preadv) {
		errno = refuse_preadv;
		return -1;
	}
	if (short_preadv == 0)
		return __real_preadv64(fd, iov, n, at);
	less.iov_len = MIN(less.iov_len, (size_t)short_preadv);
	return __real_preadv64(fd, &less, 1, at);
}

int __wrap_fallocate64(int fd, int mode, off_t at, off_t len)
{
	if (!refuse_fallocate)
		return __real_fallocate64(fd, mode, at, len);
	errno = refuse_fallocate;
	return -1;
}

/* --- the rig: a driver, a device, a file --- */

struct rig {
	struct guest_mem mem;
	struct loop *l;
	struct virtio_device *dev;
	struct t_virtq q;
	int file;
	char path[64];
	unsigned quiesced;
	bool frees_loop;
};

static struct rig *rig_of; /* for on_quiesced, which knows only the device */

static void on_quiesced(struct virtio_device *dev)
{
	t_true(dev == rig_of->dev);
	rig_of->quiesced++;
}

static int new_file(char *path, size_t len, uint64_t size)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	t_true(fd >= 0);
	t_int(ftruncate(fd, (off_t)size), 0);
	(void)snprintf(path, len, "/proc/self/fd/%d", fd);
	return fd;
}

static void activate(struct rig *r, uint64_t features)
{
	r->dev->acked = features;
	(void)t_virtq_init(&r->q, &r->mem, QUEUE_AT, BLK_QUEUE_MAX);
	t_int(virtq_start(&r->dev->vq[0], &r->mem, &r->q.at, features), RULE_NONE);
	r->dev->active = true;
	r->dev->is_quiesced = false;
	r->dev->ops->activate(r->dev);
}

/* A running device; c->path NULL: a file of DISK_SIZE.  l NULL: a loop of the rig's own. */
static void rig_init(struct rig *r, struct loop *l, const struct disk_config *c)
{
	struct disk_config cfg = *c;
	struct err e = { 0 };

	*r = (struct rig){ .l = l, .file = -1 };
	rig_of = r;
	nheld = next_held = 0;
	if (!l) {
		t_int(loop_new(LOOP_EPOLL, &r->l, NULL, NULL), 0);
		r->frees_loop = true;
	}
	t_mem_init(&r->mem, MEM_SIZE);
	if (!cfg.path) {
		r->file = new_file(r->path, sizeof(r->path), DISK_SIZE);
		cfg.path = r->path;
	}
	if (!cfg.id)
		cfg.id = "x";
	cr_assert(eq(int, blk_new(&cfg, &r->dev, &e), 0), "%s", e.text);
	r->dev->mem = &r->mem;
	r->dev->loop = r->l;
	r->dev->quiesced = on_quiesced;
	activate(r, r->dev->offered);
}

static void turn(struct rig *r)
{
	int rc = loop_turn(r->l);

	t_true(rc == 0 || rc == -EINTR);
}

/* As the transport does it, without the thread that waits. */
static void quiesce(struct rig *r)
{
	r->dev->is_quiesced = true;
	r->dev->ops->quiesce(r->dev);
}

static void reset(struct rig *r)
{
	unsigned before = r->quiesced;

	quiesce(r);
	while (r->quiesced == before)
		turn(r);
	t_uint(r->quiesced, before + 1);
	r->dev->ops->reset(r->dev);
	r->dev->active = false;
	r->dev->is_quiesced = false;
	virtq_stop(&r->dev->vq[0]);
	atomic_store(&r->dev->needs_reset, false);
}

static void rig_fini(struct rig *r)
{
	reset(r);
	r->dev->ops->free(r->dev);
	if (r->frees_loop)
		loop_free(r->l);
	guest_mem_fini(&r->mem);
	if (r->file >= 0)
		(void)close(r->file);
}

/* --- requests: number i has an area of its own and descriptor i of the queue --- */

static gpa_t area(unsigned i)
{
	return AREA_AT + (gpa_t)i * AREA_LEN;
}

static uint8_t *at(struct rig *r, gpa_t gpa)
{
	uint8_t *p = mem_ptr(&r->mem, gpa, 1);

	cr_assert(ne(ptr, p, NULL));
	return p;
}

static uint8_t status(struct rig *r, unsigned i)
{
	return *at(r, area(i) + STATUS_OFF);
}

/* The chain as given, in an indirect table, offered and not published. */
static void offer(struct rig *r, unsigned i, const struct t_seg *segs, unsigned n)
{
	t_virtq_chain_indirect(&r->q, (uint16_t)i, area(i) + TABLE_OFF, segs, n);
	t_virtq_offer(&r->q, (uint16_t)i);
}

/* Header, data and status, each in its own segment. */
static void request(struct rig *r, unsigned i, uint32_t type, uint64_t sector,
	const struct t_seg *data, unsigned n)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	struct t_seg segs[BLK_QUEUE_MAX] = { { area(i), sizeof(h), false } };

	memcpy(at(r, area(i)), &h, sizeof(h));
	*at(r, area(i) + STATUS_OFF) = NONE;
	for (unsigned s = 0; s < n; s++)
		segs[s + 1] = data[s];
	segs[n + 1] = (struct t_seg){ area(i) + STATUS_OFF, 1, true };
	offer(r, i, segs, n + 2);
}

static void request_read(struct rig *r, unsigned i, uint64_t sector, gpa_t to, uint32_t len)
{
	request(r, i, VIRTIO_BLK_T_IN, sector, &(struct t_seg){ to, len, true }, 1);
}

static void request_write(struct rig *r, unsigned i, uint64_t sector, gpa_t from, uint32_t len)
{
	request(r, i, VIRTIO_BLK_T_OUT, sector, &(struct t_seg){ from, len, false }, 1);
}

static void request_ranges(struct rig *r, unsigned i, uint32_t type,
	const struct virtio_blk_discard_write_zeroes *ranges, unsigned n)
{
	uint32_t len = n * (uint32_t)sizeof(*ranges);

	memcpy(at(r, area(i) + RANGES_OFF), ranges, len);
	request(r, i, type, 0, &(struct t_seg){ area(i) + RANGES_OFF, len, false }, 1);
}

static void kick(struct rig *r)
{
	t_virtq_publish(&r->q);
	if (virtio_may_run(r->dev))
		r->dev->ops->kick(r->dev, 0);
}

static void wait_used(struct rig *r, unsigned n)
{
	while (t_virtq_used_count(&r->q) < n)
		turn(r);
}

/* What the used ring says of request i, which is the next one in it. */
static uint32_t used_len(struct rig *r, unsigned i)
{
	uint32_t id = 0, len = 0;

	t_true(t_virtq_used(&r->q, &id, &len));
	t_uint(id, i);
	return len;
}

static uint32_t finish(struct rig *r, unsigned i)
{
	kick(r);
	wait_used(r, 1);
	return used_len(r, i);
}

/* Every engine: both backends, and the synchronous one on either. */
#define EACH_ENGINE(r, config)                                                                     \
	T_EACH_BACKEND(l_)                                                                         \
	for (unsigned sync_ = 0; sync_ < 2; sync_++)                                               \
		for (struct rig rig_, *r = each_begin(&rig_, l_, (config), sync_ == 1); r;         \
			rig_fini(r), r = NULL)

static struct rig *each_begin(
	struct rig *r, struct loop *l, struct disk_config config, bool is_sync)
{
	config.sync_engine = is_sync;
	rig_init(r, l, &config);
	return r;
}

#define PLAIN ((struct disk_config){ 0 })

static void fill(uint8_t *to, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

/* --- data --- */

Test(blk, a_read_brings_what_the_file_has)
{
	EACH_ENGINE(r, PLAIN)
	{
		uint8_t want[4096];

		fill(want, sizeof(want), 1);
		t_int(pwrite(r->file, want, sizeof(want), 8 * 512), sizeof(want));
		request_read(r, 0, 8, DATA_AT, sizeof(want));
		t_uint(finish(r, 0), sizeof(want) + 1);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
		t_int(memcmp(at(r, DATA_AT), want, sizeof(want)), 0);
		t_uint(count_get(&r->dev->counters.requests[COUNT_READ]), 1);
		t_uint(count_get(&r->dev->counters.bytes[COUNT_READ]), sizeof(want));
		t_uint(count_get(&r->dev->counters.errors), 0);
	}
}

Test(blk, a_write_reaches_the_file)
{
	EACH_ENGINE(r, PLAIN)
	{
		uint8_t got[1024];

		fill(at(r, DATA_AT), sizeof(got), 9);
		request_write(r, 5, DISK_SECTORS - 2, DATA_AT, sizeof(got));
		t_uint(finish(r, 5), 1);
		t_int(status(r, 5), VIRTIO_BLK_S_OK);
		t_int(pread(r->file, got, sizeof(got), DISK_SIZE - 1024), sizeof(got));
		t_int(memcmp(at(r, DATA_AT), got, sizeof(got)), 0);
		t_uint(count_get(&r->dev->counters.bytes[COUNT_WRITE]), sizeof(got));
	}
}

Test(blk, as_many_segments_as_a_request_may_have_of_any_length)
{
	enum { N = BLK_QUEUE_MAX - 2 };

	EACH_ENGINE(r, PLAIN)
	{
		static uint8_t want[256 * 1024];
		struct t_seg data[N];
		uint32_t len = 0;

		fill(want, sizeof(want), 3);
		t_int(pwrite(r->file, want, sizeof(want), 0), sizeof(want));
		for (unsigned i = 0; i < N; i++) {
			data[i] = (struct t_seg){ DATA_AT + (N - i) * 0x1000 + i, 1 + i * 3, true };
			len += data[i].len;
		}
		data[N - 1].len += 512 - len % 512;
		len += 512 - len % 512;
		request(r, 0, VIRTIO_BLK_T_IN, 0, data, N);
		t_uint(finish(r, 0), len + 1);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
		for (unsigned i = 0, off = 0; i < N; off += data[i].len, i++)
			cr_expect(eq(int, memcmp(at(r, data[i].gpa), want + off, data[i].len), 0));
	}
}

Test(blk, a_header_in_five_descriptors_and_the_status_at_the_end_of_the_data)
{
	EACH_ENGINE(r, PLAIN)
	{
		struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN, .sector = 3 };
		struct t_seg segs[] = { { area(0), 3, false }, { area(0) + 3, 1, false },
			{ area(0) + 4, 7, false }, { area(0) + 11, 4, false },
			{ area(0) + 15, 1, false }, { DATA_AT, 100, true },
			{ DATA_AT + 100, 413, true } };

		memcpy(at(r, area(0)), &h, sizeof(h));
		t_int(pwrite(r->file, "hello", 5, 3 * 512), 5);
		*at(r, DATA_AT + 512) = NONE;
		offer(r, 0, segs, ARRAY_SIZE(segs));
		t_uint(finish(r, 0), 513);
		t_int(*at(r, DATA_AT + 512), VIRTIO_BLK_S_OK);
		t_int(memcmp(at(r, DATA_AT), "hello", 5), 0);
	}
}

Test(blk, no_data_is_no_io)
{
	EACH_ENGINE(r, PLAIN)
	{
		request(r, 0, VIRTIO_BLK_T_IN, 0, NULL, 0);
		t_uint(finish(r, 0), 1);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
		request(r, 0, VIRTIO_BLK_T_OUT, DISK_SECTORS, NULL, 0);
		t_uint(finish(r, 0), 1);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
	}
}

Test(blk, the_id_is_padded_with_zeroes_and_cut_at_twenty_bytes)
{
	static const char *const ids[][2] = { { "root", "root" },
		{ "exactly-twenty-bytes", "exactly-twenty-bytes" },
		{ "rather-more-than-twenty-bytes", "rather-more-than-twe" } };

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		EACH_ENGINE(r, ((struct disk_config){ .id = ids[i][0] }))
		{
			char want[24] = { 0 };

			memcpy(want, ids[i][1], strlen(ids[i][1]));
			want[20] = want[21] = want[22] = want[23] = 'x';
			memset(at(r, DATA_AT), 'x', 24);
			request(r, 0, VIRTIO_BLK_T_GET_ID, 0, &(struct t_seg){ DATA_AT, 20, true },
				1);
			t_uint(finish(r, 0), 21);
			t_int(status(r, 0), VIRTIO_BLK_S_OK);
			t_int(memcmp(at(r, DATA_AT), want, sizeof(want)), 0);
		}
	}
}

Test(blk, a_flush_is_answered)
{
	EACH_ENGINE(r, PLAIN)
	{
		request(r, 0, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
		t_uint(finish(r, 0), 1);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
		t_uint(count_get(&r->dev->counters.requests[COUNT_FLUSH]), 1);
	}
}

Test(blk, a_discard_gives_room_back_and_reads_as_zeroes)
{
	EACH_ENGINE(r, PLAIN)
	{
		struct virtio_blk_discard_write_zeroes ranges[] = { { 0, 64, 0 }, { 128, 64, 0 } };
		static uint8_t data[DISK_SIZE], zero[64 * 512];
		struct stat before, after;

		memset(data, 'd', sizeof(data));
		t_int(pwrite(r->file, data, sizeof(data), 0), sizeof(data));
		t_int(fstat(r->file, &before), 0);
		request_ranges(r, 0, VIRTIO_BLK_T_DISCARD, ranges, 2);
		t_uint(finish(r, 0), 1);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
		t_int(fstat(r->file, &after), 0);
		t_int(after.st_blocks, before.st_blocks - 128);
		t_int(after.st_size, DISK_SIZE);
		t_int(pread(r->file, data, 192 * 512, 0), 192 * 512);
		t_int(memcmp(data, zero, sizeof(zero)), 0);
		t_int(data[64 * 512], 'd');
		t_int(memcmp(data + 128 * 512, zero, sizeof(zero)), 0);
		t_uint(count_get(&r->dev->counters.requests[COUNT_DISCARD]), 1);
		t_uint(count_get(&r->dev->counters.bytes[COUNT_DISCARD]), 128 * 512);
	}
}

Test(blk, zeroes_that_may_unmap_are_a_hole)
{
	EACH_ENGINE(r, PLAIN)
	{
		struct virtio_blk_discard_write_zeroes range = { 8, 8,
			VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP };
		uint8_t got[4096], zero[4096] = { 0 };

		memset(got, 'd', sizeof(got));
		t_int(pwrite(r->file, got, sizeof(got), 4096), sizeof(got));
		request_ranges(r, 0, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1);
		t_uint(finish(r, 0), 1);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
		t_int(pread(r->file, got, sizeof(got), 4096), sizeof(got));
		t_int(memcmp(got, zero, sizeof(got)), 0);
	}
}

/* --- requests that cannot be done --- */

Test(blk, a_wrong_request_is_answered_and_the_device_lives)
{
	static const struct {
		const char *name;
		uint32_t type;
		uint64_t sector;
		uint32_t len;
		uint8_t status;
	} rows[] = {
		{ "read behind the end", VIRTIO_BLK_T_IN, DISK_SECTORS, 512, VIRTIO_BLK_S_IOERR },
		{ "read over the end", VIRTIO_BLK_T_IN, DISK_SECTORS - 1, 1024,
			VIRTIO_BLK_S_IOERR },
		{ "write over the end", VIRTIO_BLK_T_OUT, DISK_SECTORS - 1, 1024,
			VIRTIO_BLK_S_IOERR },
		{ "sector and length wrap", VIRTIO_BLK_T_IN, UINT64_MAX, 1024, VIRTIO_BLK_S_IOERR },
		{ "the offset wraps", VIRTIO_BLK_T_OUT, 1ULL << 55, 512, VIRTIO_BLK_S_IOERR },
		{ "half a sector", VIRTIO_BLK_T_IN, 0, 256, VIRTIO_BLK_S_IOERR },
		{ "huge", VIRTIO_BLK_T_IN, 0, 16 << 20, VIRTIO_BLK_S_IOERR },
		{ "unknown type", 0x1234, 0, 512, VIRTIO_BLK_S_UNSUPP },
		{ "a short id", VIRTIO_BLK_T_GET_ID, 0, 19, VIRTIO_BLK_S_IOERR },
	};

	EACH_ENGINE(r, PLAIN)
	{
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			bool is_write = rows[i].type == VIRTIO_BLK_T_OUT;

			request(r, i, rows[i].type, rows[i].sector,
				&(struct t_seg){ DATA_AT, rows[i].len, !is_write }, 1);
			t_row_int(rows[i].name, finish(r, i), is_write ? 1 : 0);
			t_row_int(rows[i].name, status(r, i), rows[i].status);
		}
		t_uint(count_get(&r->dev->counters.errors), ARRAY_SIZE(rows));
		t_uint(count_get(&r->dev->counters.bytes[COUNT_READ]), 0);
		t_false(atomic_load(&r->dev->needs_reset));
		request_read(r, 0, 0, DATA_AT, 512);
		t_uint(finish(r, 0), 513);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
	}
}

Test(blk, ranges_that_are_wrong)
{
	EACH_ENGINE(r, PLAIN)
	{
		struct virtio_blk_discard_write_zeroes ranges[33] = { { 0, 8, 0 } };

		request(r, 0, VIRTIO_BLK_T_DISCARD, 0, NULL, 0);
		(void)finish(r, 0);
		t_int(status(r, 0), VIRTIO_BLK_S_IOERR);
		request_ranges(r, 1, VIRTIO_BLK_T_DISCARD, ranges, 33);
		(void)finish(r, 1);
		t_int(status(r, 1), VIRTIO_BLK_S_UNSUPP);
		request(r, 2, VIRTIO_BLK_T_DISCARD, 0, &(struct t_seg){ DATA_AT, 24, false }, 1);
		(void)finish(r, 2);
		t_int(status(r, 2), VIRTIO_BLK_S_IOERR);
		ranges[0].flags = 0x10;
		request_ranges(r, 3, VIRTIO_BLK_T_WRITE_ZEROES, ranges, 1);
		(void)finish(r, 3);
		t_int(status(r, 3), VIRTIO_BLK_S_UNSUPP);
		ranges[0] = (struct virtio_blk_discard_write_zeroes){ DISK_SECTORS, 1, 0 };
		request_ranges(r, 4, VIRTIO_BLK_T_WRITE_ZEROES, ranges, 1);
		(void)finish(r, 4);
		t_int(status(r, 4), VIRTIO_BLK_S_IOERR);
		/* As many as may be, most of them empty. */
		ranges[0] = (struct virtio_blk_discard_write_zeroes){ 0, 8, 0 };
		request_ranges(r, 5, VIRTIO_BLK_T_DISCARD, ranges, 32);
		(void)finish(r, 5);
		t_int(status(r, 5), VIRTIO_BLK_S_OK);
		t_false(atomic_load(&r->dev->needs_reset));
	}
}

Test(blk, nothing_is_written_to_a_read_only_disk)
{
	EACH_ENGINE(r, ((struct disk_config){ .read_only = true }))
	{
		struct virtio_blk_discard_write_zeroes range = { 0, 8, 0 };
		uint8_t got[512], zero[512] = { 0 };

		memset(at(r, DATA_AT), 'w', 512);
		request_write(r, 0, 0, DATA_AT, 512);
		(void)finish(r, 0);
		t_int(status(r, 0), VIRTIO_BLK_S_IOERR);
		request_ranges(r, 1, VIRTIO_BLK_T_DISCARD, &range, 1);
		(void)finish(r, 1);
		t_int(status(r, 1), VIRTIO_BLK_S_UNSUPP);
		request_ranges(r, 2, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1);
		(void)finish(r, 2);
		t_int(status(r, 2), VIRTIO_BLK_S_UNSUPP);
		t_int(pread(r->file, got, sizeof(got), 0), sizeof(got));
		t_int(memcmp(got, zero, sizeof(got)), 0);
		request_read(r, 3, 0, DATA_AT, 512);
		(void)finish(r, 3);
		t_int(status(r, 3), VIRTIO_BLK_S_OK);
	}
}

Test(blk, a_chain_that_is_no_request_breaks_the_device_until_a_reset)
{
	t_quiet();
	EACH_ENGINE(r, PLAIN)
	{
		struct t_seg no_status[] = { { area(0), 16, false }, { DATA_AT, 512, false } };
		struct t_seg short_header[] = { { area(0), 15, false }, { DATA_AT, 513, true } };

		offer(r, 0, no_status, 2);
		request_read(r, 1, 0, DATA_AT, 512);
		kick(r);
		t_true(atomic_load(&r->dev->needs_reset));
		t_uint(count_get(&r->dev->counters.rule_breaks), 1);
		kick(r);
		t_uint(t_virtq_used_count(&r->q), 0);
		reset(r);
		activate(r, r->dev->offered);
		offer(r, 0, short_header, 2);
		kick(r);
		t_true(atomic_load(&r->dev->needs_reset));
		reset(r);
		activate(r, r->dev->offered);
		request_read(r, 1, 0, DATA_AT, 512);
		t_uint(finish(r, 1), 513);
	}
}

Test(blk, what_is_in_flight_when_the_driver_breaks_a_rule_still_ends)
{
	struct rig rig, *r = &rig;
	struct t_seg no_status[] = { { area(2), 16, false } };

	t_quiet();
	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_read(r, 0, 0, DATA_AT, 512);
	request_read(r, 1, 0, DATA_AT, 512);
	kick(r);
	t_uint(nheld, 2);
	offer(r, 2, no_status, 1);
	kick(r);
	t_true(atomic_load(&r->dev->needs_reset));
	answer(512);
	answer(-EIO);
	turn(r);
	rig_fini(r);
	T_NO_LEAKS();
}

/* --- many at once --- */

Test(blk, two_hundred_and_fifty_six_requests_at_once)
{
	EACH_ENGINE(r, PLAIN)
	{
		bool seen[BLK_QUEUE_MAX] = { false };
		uint32_t id, len;

		for (unsigned i = 0; i < DISK_SECTORS; i++)
			t_int(pwrite(r->file, &i, sizeof(i), i * 512), sizeof(i));
		for (unsigned i = 0; i < BLK_QUEUE_MAX; i++)
			request_read(r, i, i * 3, DATA_AT + i * 512, 512);
		kick(r);
		wait_used(r, BLK_QUEUE_MAX);
		while (t_virtq_used(&r->q, &id, &len)) {
			unsigned got;

			t_uint(len, 513);
			t_true(id < BLK_QUEUE_MAX && !seen[id]);
			seen[id] = true;
			t_int(status(r, id), VIRTIO_BLK_S_OK);
			memcpy(&got, at(r, DATA_AT + id * 512), sizeof(got));
			t_uint(got, id * 3);
		}
		t_uint(count_get(&r->dev->counters.requests[COUNT_READ]), BLK_QUEUE_MAX);
	}
}

Test(blk, all_answers_of_a_round_are_one_interrupt)
{
	struct rig rig, *r = &rig;

	hold = true;
	rig_init(r, NULL, &PLAIN);
	for (unsigned i = 0; i < 8; i++)
		request_read(r, i, 0, DATA_AT, 512);
	kick(r);
	t_uint(nheld, 8);
	for (unsigned i = 0; i < 8; i++)
		answer(512);
	t_uint(t_virtq_used_count(&r->q), 0); /* not before the end of the round */
	turn(r);
	t_uint(t_virtq_used_count(&r->q), 8);
	t_uint(count_get(&r->dev->counters.interrupts), 1);
	rig_fini(r);
}

Test(blk, what_came_between_the_last_look_and_the_wish_for_kicks_is_taken)
{
	EACH_ENGINE(r, PLAIN)
	{
		/* More than one batch of requests that end at once: the rest comes without a kick.
		 */
		for (unsigned turns = 0; turns < 3; turns++) {
			for (unsigned i = 0; i < BLK_QUEUE_MAX; i++)
				request(r, i, 0x77, 0, NULL, 0);
			kick(r);
			wait_used(r, BLK_QUEUE_MAX);
			for (unsigned i = 0; i < BLK_QUEUE_MAX; i++)
				t_uint(used_len(r, i), 1);
		}
		t_uint(t_virtq_avail_event(&r->q), (uint16_t)(3 * BLK_QUEUE_MAX));
	}
}

static void on_timeout(struct loop_op *op, int res)
{
	(void)op;
	(void)res;
}

static void pass_ms(struct rig *r, unsigned ms)
{
	struct loop_op op = { .done = on_timeout };

	loop_timeout(r->l, &op, ms * 1000000ULL);
	while (loop_op_is_pending(&op))
		turn(r);
}

Test(blk, latencies_are_counted_from_the_queue_to_the_answer)
{
	struct rig rig, *r = &rig;

	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_read(r, 0, 0, DATA_AT, 512);
	kick(r);
	pass_ms(r, 3);
	answer(512);
	turn(r);
	t_true(histogram_quantile_us(&r->dev->counters.latency, 1000) >= 2048);
	rig_fini(r);
	hold = false;
	rig_init(r, NULL, &((struct disk_config){ .sync_engine = true }));
	request_read(r, 0, 0, DATA_AT, 512);
	(void)finish(r, 0);
	t_true(histogram_quantile_us(&r->dev->counters.latency, 1000) > 0);
	rig_fini(r);
}

/* --- short transfers and failures --- */

Test(blk, short_reads_are_continued_where_they_ended)
{
	struct rig rig, *r = &rig;
	struct t_seg data[] = { { DATA_AT, 300, true }, { DATA_AT + 0x1000, 700, true },
		{ DATA_AT + 0x2000, 24, true } };

	hold = true;
	rig_init(r, NULL, &PLAIN);
	request(r, 0, VIRTIO_BLK_T_IN, 4, data, 3);
	kick(r);
	answer(100);
	t_int(held[1].offset, 4 * 512 + 100);
	t_true(held[1].iov[0].iov_base == at(r, DATA_AT + 100));
	t_uint(held[1].iov[0].iov_len, 200);
	answer(200);
	t_uint(held[2].count, 2);
	t_true(held[2].iov[0].iov_base == at(r, DATA_AT + 0x1000));
	answer(-EINTR);
	answer(-EAGAIN);
	answer(710);
	t_uint(held[5].count, 1);
	t_true(held[5].iov[0].iov_base == at(r, DATA_AT + 0x2000 + 10));
	t_uint(held[5].len, 14);
	answer(14);
	turn(r);
	t_uint(used_len(r, 0), 1025);
	t_int(status(r, 0), VIRTIO_BLK_S_OK);
	rig_fini(r);
}

Test(blk, short_reads_of_the_synchronous_engine_are_continued)
{
	struct rig rig, *r = &rig;
	uint8_t want[2048];

	rig_init(r, NULL, &((struct disk_config){ .sync_engine = true }));
	fill(want, sizeof(want), 5);
	t_int(pwrite(r->file, want, sizeof(want), 0), sizeof(want));
	short_preadv = 100;
	request_read(r, 0, 0, DATA_AT, sizeof(want));
	t_uint(finish(r, 0), sizeof(want) + 1);
	t_int(memcmp(at(r, DATA_AT), want, sizeof(want)), 0);
	rig_fini(r);
}

Test(blk, a_read_that_fails_says_what_was_written_before)
{
	struct rig rig, *r = &rig;

	t_quiet();
	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_read(r, 0, 0, DATA_AT, 1024);
	kick(r);
	answer(512);
	answer(-EIO);
	turn(r);
	t_uint(used_len(r, 0), 512);
	t_int(status(r, 0), VIRTIO_BLK_S_IOERR);
	t_uint(count_get(&r->dev->counters.errors), 1);
	t_uint(count_get(&r->dev->counters.bytes[COUNT_READ]), 0);
	rig_fini(r);
}

Test(blk, a_call_that_never_moves_is_given_up)
{
	struct rig rig, *r = &rig;

	t_quiet();
	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_read(r, 0, 0, DATA_AT, 512);
	kick(r);
	while (next_held < nheld)
		answer(-EAGAIN);
	turn(r);
	t_int(status(r, 0), VIRTIO_BLK_S_IOERR);
	rig_fini(r);
}

/* The lines that the log has got. */
static unsigned count_lines(int fd)
{
	char text[8192];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	unsigned lines = 0;

	for (ssize_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	return lines;
}

static void read_log(int fd, char *buf, size_t len)
{
	ssize_t n = pread(fd, buf, len - 1, 0);

	buf[n > 0 ? n : 0] = '\0';
}

Test(blk, every_failure_of_the_host_is_an_io_error_and_the_log_says_it_once)
{
	static const int failures[] = { -EIO, -ENOSPC, -EDQUOT, -ENOMEM, 0 /* end of file */ };
	int log = memfd_create("log", MFD_CLOEXEC);
	struct rig rig, *r = &rig;
	char text[1024];

	log_init(LOG_WARNING, log);
	hold = true;
	rig_init(r, NULL, &PLAIN);
	for (unsigned i = 0; i < ARRAY_SIZE(failures); i++) {
		request_write(r, i, 8, DATA_AT, 1024);
		kick(r);
		answer(failures[i]);
		turn(r);
		t_uint(used_len(r, i), 1);
		t_int(status(r, i), VIRTIO_BLK_S_IOERR);
	}
	t_uint(count_get(&r->dev->counters.errors), ARRAY_SIZE(failures));
	t_uint(count_get(&r->dev->counters.bytes[COUNT_WRITE]), 0);
	t_uint(count_lines(log), 1);
	read_log(log, text, sizeof(text));
	t_has(text, "disk 'x': cannot write 1024 bytes at 4096 of '/proc/self/fd/");
	t_has(text, "Input/output error");
	rig_fini(r);
}

Test(blk, the_synchronous_engine_reports_failures_too)
{
	struct rig rig, *r = &rig;
	struct virtio_blk_discard_write_zeroes range = { 0, 8, 0 };

	t_quiet();
	rig_init(r, NULL, &((struct disk_config){ .sync_engine = true }));
	refuse_preadv = EIO;
	request_read(r, 0, 0, DATA_AT, 512);
	t_uint(finish(r, 0), 0);
	t_int(status(r, 0), VIRTIO_BLK_S_IOERR);
	refuse_fallocate = ENOSPC;
	request_ranges(r, 1, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1);
	(void)finish(r, 1);
	t_int(status(r, 1), VIRTIO_BLK_S_IOERR);
	refuse_fallocate = EOPNOTSUPP;
	request_ranges(r, 2, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1);
	(void)finish(r, 2);
	t_int(status(r, 2), VIRTIO_BLK_S_UNSUPP);
	request_ranges(r, 3, VIRTIO_BLK_T_DISCARD, &range, 1);
	(void)finish(r, 3);
	t_int(status(r, 3), VIRTIO_BLK_S_OK);
	rig_fini(r);
}

Test(blk, a_file_that_is_truncated_under_us_is_an_io_error)
{
	t_quiet();
	EACH_ENGINE(r, PLAIN)
	{
		t_int(ftruncate(r->file, 4096 + 512), 0);
		request_read(r, 0, 8, DATA_AT, 4096);
		t_uint(finish(r, 0), 512); /* what was there */
		t_int(status(r, 0), VIRTIO_BLK_S_IOERR);
		request_read(r, 1, 100, DATA_AT, 512);
		t_uint(finish(r, 1), 0);
		t_int(status(r, 1), VIRTIO_BLK_S_IOERR);
		t_int(ftruncate(r->file, DISK_SIZE), 0);
	}
}

/* --- ranges, one after the other --- */

Test(blk, ranges_are_done_one_after_the_other)
{
	struct rig rig, *r = &rig;
	struct virtio_blk_discard_write_zeroes ranges[] = { { 0, 0, 0 }, { 8, 1, 0 },
		{ 16, 2, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP }, { 24, 0, 0 }, { 32, 3, 0 } };

	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_ranges(r, 0, VIRTIO_BLK_T_WRITE_ZEROES, ranges, 5);
	kick(r);
	t_uint(nheld, 1);
	t_int(held[0].offset, 8 * 512);
	t_int(held[0].len, 512);
	t_hex(held[0].mode, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	answer(0);
	t_uint(nheld, 2);
	t_int(held[1].offset, 16 * 512);
	t_hex(held[1].mode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	answer(0);
	t_int(held[2].offset, 32 * 512);
	answer(0);
	t_uint(nheld, 3);
	turn(r);
	t_uint(used_len(r, 0), 1);
	t_int(status(r, 0), VIRTIO_BLK_S_OK);
	t_uint(count_get(&r->dev->counters.bytes[COUNT_DISCARD]), 6 * 512);
	rig_fini(r);
}

Test(blk, zeroes_fall_back_from_a_hole_and_then_to_the_driver)
{
	struct rig rig, *r = &rig;
	struct virtio_blk_discard_write_zeroes range = { 0, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP };

	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_ranges(r, 0, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1);
	kick(r);
	answer(-EOPNOTSUPP);
	t_hex(held[1].mode, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	answer(-EOPNOTSUPP);
	turn(r);
	t_int(status(r, 0), VIRTIO_BLK_S_UNSUPP);
	rig_fini(r);
}

Test(blk, a_discard_is_advice)
{
	struct rig rig, *r = &rig;
	struct virtio_blk_discard_write_zeroes ranges[] = { { 0, 8, 0 }, { 16, 8, 0 } };

	t_quiet();
	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_ranges(r, 0, VIRTIO_BLK_T_DISCARD, ranges, 2);
	kick(r);
	answer(-EOPNOTSUPP);
	answer(-EOPNOTSUPP);
	turn(r);
	t_int(status(r, 0), VIRTIO_BLK_S_OK);
	/* One that fails otherwise ends the request. */
	request_ranges(r, 1, VIRTIO_BLK_T_DISCARD, ranges, 2);
	kick(r);
	answer(-EIO);
	t_uint(nheld, 3);
	turn(r);
	t_int(status(r, 1), VIRTIO_BLK_S_IOERR);
	rig_fini(r);
}

/* --- safe writes --- */

Test(blk, a_driver_without_flushes_gets_writes_that_are_safe)
{
	struct rig rig, *r = &rig;
	struct virtio_blk_discard_write_zeroes range = { 0, 8, 0 };

	t_quiet();
	hold = true;
	rig_init(r, NULL, &PLAIN);
	reset(r);
	activate(r, r->dev->offered & ~VIRTIO_BIT(VIRTIO_BLK_F_FLUSH));
	request_write(r, 0, 0, DATA_AT, 512);
	request_read(r, 1, 0, DATA_AT, 512);
	request_ranges(r, 2, VIRTIO_BLK_T_DISCARD, &range, 1);
	kick(r);
	t_uint(nheld, 3);
	answer(512);
	t_uint(nheld, 4);
	t_int(held[3].kind, LOOP_SYNC);
	answer(512); /* the read is over with that */
	answer(0);
	t_int(held[4].kind, LOOP_SYNC);
	turn(r);
	(void)used_len(r, 1);
	answer(0);
	answer(-EIO);
	turn(r);
	(void)used_len(r, 0);
	(void)used_len(r, 2);
	t_int(status(r, 0), VIRTIO_BLK_S_OK);
	t_int(status(r, 2), VIRTIO_BLK_S_IOERR);
	rig_fini(r);
}

Test(blk, an_unsafe_cache_offers_no_flush_and_makes_nothing_safe)
{
	struct rig rig, *r = &rig;

	hold = true;
	rig_init(r, NULL, &((struct disk_config){ .unsafe_cache = true }));
	t_false(r->dev->offered & VIRTIO_BIT(VIRTIO_BLK_F_FLUSH));
	request_write(r, 0, 0, DATA_AT, 512);
	request(r, 1, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
	kick(r);
	t_uint(nheld, 1);
	answer(512);
	t_uint(nheld, 1);
	turn(r);
	t_int(status(r, 0), VIRTIO_BLK_S_OK);
	t_int(status(r, 1), VIRTIO_BLK_S_UNSUPP);
	rig_fini(r);
}

Test(blk, a_flush_that_fails_is_an_io_error)
{
	struct rig rig, *r = &rig;

	t_quiet();
	hold = true;
	rig_init(r, NULL, &PLAIN);
	request(r, 0, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
	kick(r);
	t_int(held[0].kind, LOOP_SYNC);
	answer(-EIO);
	turn(r);
	t_uint(used_len(r, 0), 1);
	t_int(status(r, 0), VIRTIO_BLK_S_IOERR);
	rig_fini(r);
}

/* --- quiesce and reset --- */

Test(blk, a_quiesce_with_nothing_in_flight_is_answered_at_once)
{
	struct rig rig, *r = &rig;

	rig_init(r, NULL, &PLAIN);
	quiesce(r);
	t_uint(r->quiesced, 1);
	r->dev->ops->resume(r->dev);
	request_read(r, 0, 0, DATA_AT, 512);
	(void)finish(r, 0);
	rig_fini(r);
}

Test(blk, a_quiesce_waits_for_what_is_in_flight_and_takes_nothing_new)
{
	struct rig rig, *r = &rig;

	hold = true;
	rig_init(r, NULL, &PLAIN);
	request_read(r, 0, 0, DATA_AT, 512);
	request_read(r, 1, 0, DATA_AT, 512);
	kick(r);
	quiesce(r);
	request_read(r, 2, 0, DATA_AT, 512);
	kick(r);
	t_uint(nheld, 2);
	answer(512);
	turn(r);
	t_uint(r->quiesced, 0);
	answer(512);
	turn(r);
	t_uint(r->quiesced, 1);
	t_uint(t_virtq_used_count(&r->q), 2); /* published before the word */
	r->dev->ops->resume(r->dev);
	t_uint(nheld, 3); /* without a kick */
	answer(512);
	turn(r);
	t_uint(t_virtq_used_count(&r->q), 3);
	t_uint(r->quiesced, 1);
	rig_fini(r);
}

Test(blk, a_reset_in_the_middle_of_a_hundred_requests)
{
	EACH_ENGINE(r, PLAIN)
	{
		for (unsigned turns = 0; turns < 5; turns++) {
			for (unsigned i = 0; i < 100; i++)
				request_read(r, i, i, DATA_AT + i * 4096, 4096);
			kick(r);
			for (unsigned i = 0; i < turns && t_virtq_used_count(&r->q) < 100; i++)
				turn(r);
			reset(r);
			/* Nothing of the driver's is touched any more. */
			memset(at(r, QUEUE_AT), 0x55, 0x4000);
			memset(at(r, DATA_AT), 0x66, 100 * 4096);
			for (unsigned i = 0; i < 3; i++)
				pass_ms(r, 0);
			for (unsigned i = 0; i < 100 * 4096; i++)
				t_int(*at(r, DATA_AT + i), 0x66);
			activate(r, r->dev->offered);
			request_read(r, 0, 0, DATA_AT, 512);
			t_uint(finish(r, 0), 513);
		}
	}
	T_NO_LEAKS();
}

/* --- the rate limit --- */

#define LIMIT(byte_size, byte_ms, op_size, op_ms)                                                  \
	((struct disk_config){                                                                     \
		.limit = { .bytes = { byte_size, byte_ms, 0 }, .ops = { op_size, op_ms, 0 } } })

Test(blk, a_limit_holds_a_request_back_and_lets_it_go_in_time)
{
	EACH_ENGINE(r, LIMIT(0, 0, 2, 40))
	{
		for (unsigned i = 0; i < 4; i++)
			request(r, i, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
		kick(r);
		wait_used(r, 2);
		t_uint(count_get(&r->dev->counters.throttled), 1);
		t_uint(t_virtq_used_count(&r->q), 2);
		wait_used(r, 4);
		t_true(count_get(&r->dev->counters.throttled) >= 1);
		t_true(count_get(&r->dev->counters.throttled) <= 2);
		for (unsigned i = 0; i < 4; i++)
			t_int(status(r, i), VIRTIO_BLK_S_OK);
	}
}

static void no_limit(struct rig *r)
{
	static const struct bucket_config none;

	blk_set_limit(r->dev, &none, &none);
}

Test(blk, only_data_costs_bytes)
{
	struct rig rig, *r = &rig;
	struct virtio_blk_discard_write_zeroes range = { 0, 2048, 0 };

	hold = true;
	rig_init(r, NULL, &LIMIT(1024, 3600 * 1000, 0, 0));
	request(r, 0, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
	request_ranges(r, 1, VIRTIO_BLK_T_DISCARD, &range, 1);
	request_read(r, 2, DISK_SECTORS, DATA_AT, 4096);
	request_read(r, 3, 0, DATA_AT, 1024);
	request_read(r, 4, 0, DATA_AT, 512);
	request(r, 5, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
	kick(r);
	t_uint(nheld, 3); /* flush, discard, read: then an hour for the next byte */
	t_uint(count_get(&r->dev->counters.throttled), 1);
	kick(r);
	t_uint(nheld, 3);
	no_limit(r);
	while (nheld < 5)
		turn(r);
	for (unsigned i = 0; i < 5; i++)
		answer(held[i].kind == LOOP_READV ? (int)held[i].len : 0);
	turn(r);
	t_uint(t_virtq_used_count(&r->q), 6);
	t_uint(count_get(&r->dev->counters.throttled), 1);
	rig_fini(r);
}

Test(blk, other_limits_are_asked_at_once)
{
	struct rig rig, *r = &rig;

	rig_init(r, NULL, &LIMIT(512, 3600 * 1000, 0, 0));
	request_read(r, 0, 0, DATA_AT, 512);
	request_read(r, 1, 0, DATA_AT, 512);
	kick(r);
	wait_used(r, 1);
	blk_set_limit(r->dev, &LIMIT(512, 3600 * 1000, 0, 0).limit.bytes, NULL);
	wait_used(r, 2); /* full buckets */
	request_read(r, 2, 0, DATA_AT, 512);
	kick(r);
	t_uint(count_get(&r->dev->counters.throttled), 2);
	no_limit(r);
	wait_used(r, 3);
	rig_fini(r);
}

Test(blk, a_request_that_is_held_back_stays_so_through_a_quiesce)
{
	struct rig rig, *r = &rig;

	rig_init(r, NULL, &LIMIT(0, 0, 1, 30));
	request_read(r, 0, 0, DATA_AT, 512);
	request_read(r, 1, 0, DATA_AT, 512);
	kick(r);
	wait_used(r, 1);
	quiesce(r);
	while (r->quiesced == 0)
		turn(r);
	pass_ms(r, 60);
	t_uint(t_virtq_used_count(&r->q), 1);
	t_int(status(r, 1), NONE);
	r->dev->ops->resume(r->dev);
	wait_used(r, 2);
	t_int(status(r, 1), VIRTIO_BLK_S_OK);
	rig_fini(r);
}

Test(blk, a_reset_forgets_the_request_that_is_held_back)
{
	struct rig rig, *r = &rig;

	rig_init(r, NULL, &LIMIT(0, 0, 1, 3600 * 1000));
	for (unsigned i = 0; i < 300; i++) {
		request_read(r, 0, 0, DATA_AT, 512);
		request_read(r, 1, 0, DATA_AT, 512);
		kick(r);
		reset(r);
		activate(r, r->dev->offered);
	}
	t_true(count_get(&r->dev->counters.requests[COUNT_READ]) == 1);
	rig_fini(r);
	T_NO_LEAKS();
}

/* --- another size, another file --- */

static uint64_t capacity(struct rig *r)
{
	uint64_t sectors = 0;

	virtio_config_read(r->dev, 0, &sectors, sizeof(sectors));
	return sectors;
}

Test(blk, a_disk_that_grows_and_shrinks_while_it_is_used)
{
	EACH_ENGINE(r, PLAIN)
	{
		uint32_t generation = virtio_config_generation(r->dev);
		uint64_t interrupts = count_get(&r->dev->counters.interrupts);
		struct err e;

		t_int(blk_rescan(r->dev, &e), 0);
		t_uint(virtio_config_generation(r->dev), generation); /* nothing new */
		t_int(ftruncate(r->file, DISK_SIZE * 2), 0);
		t_int(blk_rescan(r->dev, &e), 0);
		t_uint(capacity(r), DISK_SECTORS * 2);
		t_true(virtio_config_generation(r->dev) != generation);
		t_uint(count_get(&r->dev->counters.interrupts), interrupts + 1);
		t_uint(atomic_load(&r->dev->isr) & VIRTIO_ISR_CONFIG, VIRTIO_ISR_CONFIG);
		request_read(r, 0, DISK_SECTORS, DATA_AT, 512);
		(void)finish(r, 0);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
		t_int(ftruncate(r->file, 512), 0);
		t_int(blk_rescan(r->dev, &e), 0);
		t_uint(capacity(r), 1);
		request_read(r, 1, 1, DATA_AT, 512);
		(void)finish(r, 1);
		t_int(status(r, 1), VIRTIO_BLK_S_IOERR);
		request_read(r, 2, 0, DATA_AT, 512);
		(void)finish(r, 2);
		t_int(status(r, 2), VIRTIO_BLK_S_OK);
	}
}

/* As its user does it: what may take long is done before. */
static int replace(struct rig *r, const char *path, struct err *e)
{
	struct disk_config cfg;
	struct disk *d = NULL;
	int rc;

	if (blk_is_at(r->dev, path))
		return blk_rescan(r->dev, e);
	blk_config(r->dev, &cfg);
	cfg.path = path;
	rc = disk_open(&cfg, &d, e);
	if (rc == 0)
		blk_replace(r->dev, d);
	return rc;
}

Test(blk, a_disk_is_replaced_and_requests_in_flight_end_on_the_old_one)
{
	struct rig rig, *r = &rig;
	unsigned fds;
	char path[64];
	struct err e;
	int other;

	hold = true;
	rig_init(r, NULL, &PLAIN);
	other = new_file(path, sizeof(path), DISK_SIZE / 2);
	fds = t_count_fds();
	request_read(r, 0, 0, DATA_AT, 1024);
	request_read(r, 1, 0, DATA_AT, 512);
	kick(r);
	cr_assert(eq(int, replace(r, path, &e), 0), "%s", e.text);
	t_uint(capacity(r), DISK_SECTORS / 2);
	t_uint(t_count_fds(), fds + 1);
	request_read(r, 2, 0, DATA_AT, 512);
	request_read(r, 3, DISK_SECTORS - 1, DATA_AT, 512);
	kick(r);
	t_uint(nheld, 3); /* the last one is behind the end of the new file */
	t_int(held[0].fd, held[1].fd);
	t_true(held[2].fd != held[0].fd);
	answer(512);
	t_int(held[3].fd, held[0].fd); /* its rest too */
	answer(512);
	t_uint(t_count_fds(), fds + 1);
	answer(512);
	t_uint(t_count_fds(), fds + 1);
	answer(512);
	t_uint(t_count_fds(), fds); /* closed by the last one on it */
	turn(r);
	t_uint(t_virtq_used_count(&r->q), 4);
	t_int(status(r, 3), VIRTIO_BLK_S_IOERR);
	rig_fini(r);
	(void)close(other);
	T_NO_LEAKS();
}

Test(blk, the_new_file_is_what_is_read)
{
	EACH_ENGINE(r, PLAIN)
	{
		char path[64];
		int other = new_file(path, sizeof(path), DISK_SIZE);
		struct err e;

		t_int(pwrite(other, "other", 5, 0), 5);
		request_read(r, 0, 0, DATA_AT, 512);
		(void)finish(r, 0);
		t_int(replace(r, path, &e), 0);
		request_read(r, 1, 0, DATA_AT, 512);
		(void)finish(r, 1);
		t_int(memcmp(at(r, DATA_AT), "other", 5), 0);
		/* The old one may be had by others again, the new one may not. */
		t_int(replace(r, r->path, &e), 0);
		t_int(replace(r, path, &e), 0);
		(void)close(other);
	}
}

Test(blk, a_replacement_that_cannot_be_opened_changes_nothing)
{
	EACH_ENGINE(r, PLAIN)
	{
		uint32_t generation = virtio_config_generation(r->dev);
		unsigned fds = t_count_fds();
		struct err e;

		t_int(replace(r, "/nonexistent/disk", &e), -ENOENT);
		t_has(e.text, "disk 'x': cannot open '/nonexistent/disk'");
		t_int(replace(r, "/dev/null", &e), -EINVAL);
		t_uint(virtio_config_generation(r->dev), generation);
		t_uint(t_count_fds(), fds);
		request_read(r, 0, 0, DATA_AT, 512);
		(void)finish(r, 0);
		t_int(status(r, 0), VIRTIO_BLK_S_OK);
	}
}

Test(blk, the_same_path_again_is_a_look_at_the_size)
{
	EACH_ENGINE(r, PLAIN)
	{
		struct err e;

		t_int(ftruncate(r->file, DISK_SIZE / 4), 0);
		cr_assert(eq(int, replace(r, r->path, &e), 0), "%s", e.text);
		t_uint(capacity(r), DISK_SECTORS / 4);
	}
}

Test(blk, a_request_that_is_held_back_is_checked_against_the_new_file)
{
	struct rig rig, *r = &rig;
	char path[64];
	int other = new_file(path, sizeof(path), 512);
	struct err e;

	rig_init(r, NULL, &LIMIT(512, 3600 * 1000, 0, 0));
	request_read(r, 0, 0, DATA_AT, 512);
	request_read(r, 1, 100, DATA_AT, 512);
	kick(r);
	wait_used(r, 1);
	t_int(replace(r, path, &e), 0);
	no_limit(r);
	wait_used(r, 2);
	t_int(status(r, 1), VIRTIO_BLK_S_IOERR);
	rig_fini(r);
	(void)close(other);
}

/* --- what the driver sees --- */

Test(blk, features_follow_the_configuration)
{
	enum {
		ALWAYS = 1 << VIRTIO_BLK_F_SIZE_MAX | 1 << VIRTIO_BLK_F_SEG_MAX |
			 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_TOPOLOGY
	};
	enum { WRITES = 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES };
	static const struct {
		const char *name;
		struct disk_config c;
		uint64_t features;
	} rows[] = {
		{ "plain", { 0 }, ALWAYS | WRITES | 1 << VIRTIO_BLK_F_FLUSH },
		{ "read-only", { .read_only = true },
			ALWAYS | 1 << VIRTIO_BLK_F_RO | 1 << VIRTIO_BLK_F_FLUSH },
		{ "unsafe", { .unsafe_cache = true }, ALWAYS | WRITES },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig rig, *r = &rig;

		rig_init(r, NULL, &rows[i].c);
		t_row_hex(rows[i].name, r->dev->offered, rows[i].features | VIRTIO_FEATURES_COMMON);
		t_row_true(rows[i].name, r->dev->ops->accepts(r->dev, r->dev->offered));
		rig_fini(r);
	}
}

Test(blk, the_configuration_space)
{
	struct rig rig, *r = &rig;
	struct virtio_blk_config c;

	rig_init(r, NULL, &PLAIN);
	t_str(r->dev->name, "disk 'x'");
	t_uint(r->dev->ops->id, 2);
	t_uint(r->dev->ops->nqueues, 1);
	virtio_config_read(r->dev, 0, &c, sizeof(c));
	t_uint(c.capacity, DISK_SECTORS);
	t_uint(c.seg_max, BLK_QUEUE_MAX - 2);
	t_true((uint64_t)c.size_max * c.seg_max <= 0x7ffff000);
	t_uint(c.blk_size, 512);
	t_uint(c.blk_size << c.physical_block_exp, 4096);
	t_uint(c.min_io_size, 8);
	t_uint(c.alignment_offset, 0);
	t_uint(c.max_discard_seg, 32);
	t_true(c.max_discard_sectors > 0 && c.max_write_zeroes_sectors > 0);
	t_uint(c.discard_sector_alignment, 8);
	t_uint(c.write_zeroes_may_unmap, 1);
	rig_fini(r);
}

Test(blk, a_device_that_cannot_be_made_leaves_nothing)
{
	struct disk_config c = { .id = "x", .path = "/nonexistent/disk" };
	struct virtio_device *dev = NULL;
	unsigned fds = t_count_fds();
	struct err e;

	t_int(blk_new(&c, &dev, &e), -ENOENT);
	t_true(dev == NULL);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(blk, nothing_is_left_of_a_device)
{
	unsigned fds = t_count_fds();

	EACH_ENGINE(r, ((struct disk_config){ .read_only = true }))
	{
		request_read(r, 0, 0, DATA_AT, 512);
		(void)finish(r, 0);
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

/* --- how long the loop is kept --- */

enum { MIB = 1 << 20, LARGE_DISK = 64 * MIB };

static void large_rig(struct rig *r, bool is_sync)
{
	static char path[64];
	int fd = new_file(path, sizeof(path), LARGE_DISK);
	struct disk_config config = { .path = path, .sync_engine = is_sync };

	hold = true;
	rig_init(r, NULL, &config);
	r->file = fd;
}

Test(blk, one_go_takes_a_mebibyte_and_the_rest_comes_in_later_rounds)
{
	struct rig rig, *r = &rig;

	large_rig(r, false);
	for (unsigned i = 0; i < 10; i++)
		request_read(r, i, 0, DATA_AT, MIB / 4);
	kick(r);
	t_uint(nheld, 4);
	turn(r);
	t_uint(nheld, 8);
	turn(r);
	t_uint(nheld, 10);
	for (unsigned i = 0; i < 10; i++)
		answer(MIB / 4);
	turn(r);
	t_uint(t_virtq_used_count(&r->q), 10);
	rig_fini(r);
}

Test(blk, a_long_transfer_is_not_for_the_loops_thread_whatever_the_engine)
{
	for (unsigned sync = 0; sync < 2; sync++) {
		struct rig rig, *r = &rig;

		large_rig(r, sync == 1);
		request_read(r, 0, 0, DATA_AT, MIB + DISK_SECTOR);
		kick(r);
		t_uint(nheld, 1);
		t_true(held[0].op->is_long);
		/* What is left of it is short, and still part of something long. */
		answer(MIB);
		t_uint(nheld, 2);
		t_true(held[1].op->is_long);
		answer(DISK_SECTOR);
		turn(r);
		t_uint(status(r, 0), VIRTIO_BLK_S_OK);
		if (sync == 0) {
			request_read(r, 1, 0, DATA_AT, MIB);
			kick(r);
			t_false(held[2].op->is_long);
			answer(MIB);
			turn(r);
		}
		rig_fini(r);
	}
}

Test(blk, a_long_transfer_arrives_by_every_engine)
{
	static char path[64];
	int fd = new_file(path, sizeof(path), LARGE_DISK);
	const struct disk_config config = { .path = path };

	EACH_ENGINE(r, config)
	{
		fill(at(r, DATA_AT), 3 * MIB, 7);
		request_write(r, 0, 8, DATA_AT, 3 * MIB);
		t_uint(finish(r, 0), 1);
		t_uint(status(r, 0), VIRTIO_BLK_S_OK);
		request_read(r, 1, 8, DATA_AT + 4 * MIB, 3 * MIB);
		t_uint(finish(r, 1), 3 * MIB + 1);
		t_int(memcmp(at(r, DATA_AT), at(r, DATA_AT + 4 * MIB), 3 * MIB), 0);
	}
	(void)close(fd);
}

/* --- opened before --- */

static struct disk *open_disk(const char *path, const struct disk_config *how)
{
	struct disk_config c = *how;
	struct disk *d = NULL;
	struct err e = { 0 };

	c.id = "x";
	c.path = path;
	cr_assert(eq(int, disk_open(&c, &d, &e), 0), "%s", e.text);
	return d;
}

Test(blk, a_disk_that_is_open_already_is_taken_over)
{
	struct rig rig, *r = &rig;
	struct disk_config c = PLAIN;
	char path[64];
	int file = new_file(path, sizeof(path), DISK_SIZE);
	unsigned fds = t_count_fds();

	c.opened = open_disk(path, &c);
	c.path = "/nonexistent/and/not/looked/at";
	rig_init(r, NULL, &c);
	t_true(blk_is_at(r->dev, path));
	t_uint(capacity(r), DISK_SECTORS);
	blk_config(r->dev, &c);
	t_str(c.path, path);
	t_true(c.opened == NULL);
	rig_fini(r);
	t_uint(t_count_fds(), fds);
	(void)close(file);
	T_NO_LEAKS();
}

Test(blk, a_disk_that_is_open_in_another_way_is_refused_and_closed)
{
	struct virtio_device *dev;
	struct err e = { 0 };
	char path[64];
	int file = new_file(path, sizeof(path), DISK_SIZE);
	unsigned fds = t_count_fds();
	struct disk_config c = { .id = "x", .path = path, .read_only = true };

	c.opened = open_disk(path, &PLAIN);
	t_int(blk_new(&c, &dev, &e), -EINVAL);
	t_has(e.text, "disk 'x'");
	t_uint(t_count_fds(), fds);
	(void)close(file);
	T_NO_LEAKS();
}

/* --- what is told and counted --- */

static struct {
	unsigned n;
	enum virtio_news news;
	uint64_t number;
	char text[80];
} told;

static void on_news(
	struct virtio_device *dev, enum virtio_news news, uint64_t number, const char *text)
{
	(void)dev;
	told.n++;
	told.news = news;
	told.number = number;
	(void)snprintf(told.text, sizeof(told.text), "%s", text ? text : "(none)");
}

Test(blk, another_size_and_another_file_are_told)
{
	struct rig rig, *r = &rig;
	char path[64];
	int other = new_file(path, sizeof(path), DISK_SIZE);
	struct err e;

	told.n = 0;
	rig_init(r, NULL, &PLAIN);
	r->dev->told = on_news;
	t_int(blk_rescan(r->dev, &e), 0);
	t_uint(told.n, 0);
	t_int(ftruncate(r->file, DISK_SIZE / 2), 0);
	t_int(blk_rescan(r->dev, &e), 0);
	t_uint(told.n, 1);
	t_int(told.news, VIRTIO_NEWS_CAPACITY);
	t_uint(told.number, DISK_SIZE / 2);
	t_str(told.text, r->path);
	t_int(replace(r, path, &e), 0);
	t_uint(told.n, 2);
	t_uint(told.number, DISK_SIZE);
	t_str(told.text, path);
	t_uint(count_get(&r->dev->counters.updates), 3);
	t_uint(count_get(&r->dev->counters.config_changes), 2);
	rig_fini(r);
	(void)close(other);
}

Test(blk, a_limiter_that_holds_requests_back_is_told_at_most_once_a_second)
{
	struct rig rig, *r = &rig;

	told.n = 0;
	rig_init(r, NULL, &LIMIT(0, 0, 1, 20));
	r->dev->told = on_news;
	for (unsigned i = 0; i < 20; i++)
		request_read(r, i, 0, DATA_AT, 512);
	kick(r);
	wait_used(r, 20);
	t_uint(told.n, 1);
	t_int(told.news, VIRTIO_NEWS_THROTTLED);
	t_uint(told.number, 1);
	t_uint(count_get(&r->dev->counters.throttled), 19);
	t_uint(count_get(&r->dev->counters.way[COUNT_READ].throttled), 19);
	t_uint(count_get(&r->dev->counters.way[COUNT_READ].limiter_events), 19);
	/* The others were not forgotten. */
	pass_ms(r, 1100);
	request_read(r, 20, 0, DATA_AT, 512);
	request_read(r, 21, 0, DATA_AT, 512);
	kick(r);
	wait_used(r, 22);
	t_uint(told.n, 2);
	t_true(told.number >= 19);
	rig_fini(r);
}

Test(blk, one_bucket_is_changed_and_the_other_goes_on)
{
	static const struct bucket_config none, hour = { .size = 2, .refill_ms = 3600 * 1000 };
	struct rig rig, *r = &rig;

	rig_init(r, NULL, &LIMIT(512, 3600 * 1000, 2, 3600 * 1000));
	request_read(r, 0, 0, DATA_AT, 512);
	request_read(r, 1, 0, DATA_AT, 512);
	request_read(r, 2, 0, DATA_AT, 512);
	request_read(r, 3, 0, DATA_AT, 512);
	kick(r);
	wait_used(r, 1);
	/* Of two operations one is left, which a full bucket of bytes does not bring back. */
	blk_set_limit(r->dev, &none, NULL);
	wait_used(r, 2);
	pass_ms(r, 30);
	t_uint(t_virtq_used_count(&r->q), 2);
	blk_set_limit(r->dev, NULL, NULL);
	pass_ms(r, 30);
	t_uint(t_virtq_used_count(&r->q), 2);
	blk_set_limit(r->dev, NULL, &hour);
	wait_used(r, 4);
	rig_fini(r);
}

Test(blk, requests_are_counted_by_direction)
{
	EACH_ENGINE(r, PLAIN)
	{
		const struct virtio_counters *c = &r->dev->counters;
		struct tally_us us;

		request_read(r, 0, 0, DATA_AT, 512);
		(void)finish(r, 0);
		request_write(r, 1, 0, DATA_AT, 1024);
		(void)finish(r, 1);
		request_write(r, 2, DISK_SECTORS, DATA_AT, 512);
		(void)finish(r, 2);
		request(r, 3, 77, 0, NULL, 0);
		(void)finish(r, 3);
		us = tally_read(&c->way[COUNT_READ].took, NULL);
		t_uint(us.count, 1);
		t_uint(us.min_us, us.max_us);
		us = tally_read(&c->way[COUNT_WRITE].took, NULL);
		t_uint(us.count, 2);
		t_uint(count_get(&c->way[COUNT_WRITE].fails), 1);
		t_uint(count_get(&c->way[COUNT_READ].fails), 0);
		t_uint(count_get(&c->unsupported), 1);
		t_uint(count_get(&c->errors), 2);
		t_uint(count_get(&c->way[COUNT_READ].no_buffer), 0);
		kick(r);
		t_uint(count_get(&c->way[COUNT_READ].no_buffer), 1);
	}
}
