/*
 * A block device under a driver that sends any chain.  The input is a script: chains that are laid
 * out as the script says and whose outcome a model foretells, wild descriptors whose outcome nobody
 * knows, and between them resets, pauses and other sizes of the disk.
 *
 * The disk is a file in memory; the loop is a stub with a clock of its own, so that an input always
 * does the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "core/loop.h"
#include "fuzz.h"
#include "t_virtq.h"
#include "virtio/blk.h"

enum {
	OP_REQUEST,
	OP_WILD,
	OP_RESIZE,
	OP_PAUSE,
	OP_RESET,
	OPS,
	OPERATIONS_MAX = 256,

	MEM_LEN = 128 << 10,
	QUEUE_AT = 0x1000,
	QUEUE_LEN = 16,
	TABLE_AT = 0x3000,
	DATA_AT = 0x8000,
	DATA_LEN = MEM_LEN - DATA_AT,
	SEGS_MAX = 2 * QUEUE_LEN,
	SECTORS_MAX = 64,
	DISK_LEN = SECTORS_MAX * 512,
	TURNS_MAX = 100000,
	REPORTS_MAX = 2 * QUEUE_LEN,
	WILD_LEN_MAX = 0x3fff,
};

/* --- the loop --- */

static struct loop_tail *tail;
static struct loop_op *timer;
static uint64_t clock_ns, timer_ns;

void loop_defer(struct loop *l, struct loop_tail *t)
{
	(void)l;
	FUZZ_CHECK(!tail || tail == t);
	tail = t;
}

/* The only one: a rule was broken. */
void loop_post(struct loop *l, struct loop_post *post)
{
	(void)l;
	post->run(post);
}

uint64_t loop_now_ns(struct loop *l)
{
	(void)l;
	return clock_ns;
}

void loop_timeout(struct loop *l, struct loop_op *op, uint64_t ns)
{
	(void)l;
	FUZZ_CHECK(!timer && !loop_op_is_pending(op));
	op->kind = LOOP_TIMEOUT;
	timer = op;
	timer_ns = ns;
}

static void end_timer(int res)
{
	struct loop_op *op = timer;

	timer = NULL;
	op->kind = LOOP_IDLE;
	op->done(op, res);
}

static bool is_cancelled;

void loop_cancel(struct loop *l, struct loop_op *op)
{
	(void)l;
	FUZZ_CHECK(op == timer);
	is_cancelled = true;
}

/* File calls happen when they are submitted, as much of them as the script likes, and are reported
 * later. */
static struct {
	struct loop_op *op;
	int res;
} reports[REPORTS_MAX];
static unsigned nreports;
static struct script *script_of_loop;
static unsigned interruptions;

static void report(struct loop_op *op, enum loop_kind kind, ssize_t res)
{
	FUZZ_CHECK(nreports < REPORTS_MAX && !loop_op_is_pending(op));
	op->kind = kind;
	reports[nreports].op = op;
	reports[nreports++].res = res < 0 ? -errno : (int)res;
}

/* Cuts a transfer short, or off: 0, or the -errno to answer. */
static int cut(const struct iovec *iov, unsigned n, struct iovec *less, unsigned *ret_n)
{
	unsigned how = script_byte(script_of_loop);

	FUZZ_CHECK(n > 0 && n <= SEGS_MAX);
	memcpy(less, iov, n * sizeof(*iov));
	*ret_n = n;
	if (how < 0xc0)
		return 0;
	/* Not for ever: after a while the disk takes it for an error. */
	if (how < 0xc8 && interruptions++ % 16 != 15)
		return -EINTR;
	*ret_n = how % n + 1;
	less[*ret_n - 1].iov_len = (less[*ret_n - 1].iov_len + 1) / 2;
	return 0;
}

void loop_readv(
	struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned n, int64_t at)
{
	struct iovec less[SEGS_MAX];
	unsigned nless;

	(void)l;
	errno = -cut(iov, n, less, &nless);
	report(op, LOOP_READV, errno ? -1 : preadv(fd, less, (int)nless, at));
}

void loop_writev(
	struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned n, int64_t at)
{
	struct iovec less[SEGS_MAX];
	unsigned nless;

	(void)l;
	errno = -cut(iov, n, less, &nless);
	report(op, LOOP_WRITEV, errno ? -1 : pwritev(fd, less, (int)nless, at));
}

void loop_sync(struct loop *l, struct loop_op *op, int fd)
{
	(void)l;
	report(op, LOOP_SYNC, fdatasync(fd));
}

void loop_allocate(struct loop *l, struct loop_op *op, int fd, int mode, int64_t off, int64_t len)
{
	(void)l;
	report(op, LOOP_ALLOCATE, fallocate(fd, mode, off, len));
}

/* Until nothing is left to do; time passes as fast as it is asked for. */
static void run_loop(void)
{
	unsigned turns = 0;

	while ((tail || timer || nreports > 0) && turns++ < TURNS_MAX) {
		struct loop_tail *t;

		for (; nreports > 0 && turns < TURNS_MAX; turns++) {
			struct loop_op *op = reports[--nreports].op;

			op->kind = LOOP_IDLE;
			op->done(op, reports[nreports].res);
		}
		t = tail;
		tail = NULL;
		if (t)
			t->run(t);
		if (!timer)
			continue;
		if (!is_cancelled)
			clock_ns += timer_ns;
		is_cancelled = false;
		end_timer(0);
	}
	FUZZ_CHECK(turns < TURNS_MAX);
}

/* --- the machine --- */

struct machine {
	struct guest_mem mem;
	struct virtio_device *dev;
	struct t_virtq q;
	struct script *script;
	int file;
	bool is_read_only, has_flush;
	uint64_t sectors;
	uint8_t disk[DISK_LEN]; /* what must be in the file */
	unsigned quiesced;
};

static struct machine *machine; /* for on_quiesced, which knows only the device */

/* Nothing is told but what may be, and a rule only of a device that it broke. */
static void on_news(
	struct virtio_device *dev, enum virtio_news news, uint64_t number, const char *text)
{
	switch (news) {
	case VIRTIO_NEWS_BROKEN: FUZZ_CHECK(dev->needs_reset && text && text[0]); break;
	case VIRTIO_NEWS_THROTTLED: FUZZ_CHECK(number > 0 && !text); break;
	case VIRTIO_NEWS_CAPACITY: FUZZ_CHECK(text && text[0]); break;
	}
}

static void on_quiesced(struct virtio_device *dev)
{
	FUZZ_CHECK(dev == machine->dev);
	machine->quiesced++;
}

static uint32_t script_u16(struct script *s)
{
	uint32_t low = script_byte(s);

	return low | (uint32_t)script_byte(s) << 8;
}

static void activate(struct machine *m)
{
	uint64_t features = m->dev->offered;

	if (script_byte(m->script) & 1)
		features &= ~VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX);
	if (script_byte(m->script) & 1)
		features &= ~VIRTIO_BIT(VIRTIO_BLK_F_FLUSH);
	m->dev->acked = features;
	(void)t_virtq_init(&m->q, &m->mem, QUEUE_AT, QUEUE_LEN);
	FUZZ_CHECK(virtq_start(&m->dev->vq[0], &m->mem, &m->q.at, features) == RULE_NONE);
	m->dev->active = true;
	m->dev->ops->activate(m->dev);
}

static void quiesce(struct machine *m)
{
	unsigned before = m->quiesced;

	m->dev->is_quiesced = true;
	m->dev->ops->quiesce(m->dev);
	run_loop();
	FUZZ_CHECK(m->quiesced == before + 1);
}

static void reset(struct machine *m)
{
	quiesce(m);
	m->dev->ops->reset(m->dev);
	m->dev->active = m->dev->is_quiesced = false;
	virtq_stop(&m->dev->vq[0]);
	atomic_store(&m->dev->needs_reset, false);
}

static void kick(struct machine *m)
{
	t_virtq_publish(&m->q);
	if (virtio_may_run(m->dev))
		m->dev->ops->kick(m->dev, 0);
	run_loop();
}

static void check_disk(const struct machine *m)
{
	static uint8_t now[DISK_LEN];
	struct stat st;

	FUZZ_CHECK(fstat(m->file, &st) == 0 && (uint64_t)st.st_size == m->sectors * 512);
	FUZZ_CHECK(pread(m->file, now, sizeof(now), 0) == st.st_size);
	FUZZ_CHECK(memcmp(now, m->disk, m->sectors * 512) == 0);
}

/* --- requests that a model foretells --- */

struct request {
	uint8_t in[DATA_LEN];
	size_t in_len, out_len;
	gpa_t in_at, out_at;
};

/* Chooses lengths so that all that matters is near: whole sectors, and a little more or less. */
static uint32_t choose_len(struct script *s)
{
	uint32_t choice = script_byte(s);

	if (choice < 0x40)
		return choice + 1;
	if (choice < 0x80)
		return ((choice & 15) + 1) * 512;
	if (choice < 0xc0)
		return ((choice & 15) + 1) * 512 + 1;
	return (script_u16(s) & 0xfff) + 1;
}

static uint64_t choose_sector(struct script *s)
{
	uint32_t choice = script_byte(s);

	if (choice < 0xc0)
		return choice & (SECTORS_MAX - 1);
	if (choice < 0xe0)
		return UINT64_MAX - (choice & 31);
	return 1ULL << (choice & 31) << (script_byte(s) & 31);
}

/* Writes a header, and ranges behind it where the request has some, over the readable bytes. */
static void fill_in(struct machine *m, struct request *r)
{
	struct virtio_blk_outhdr h = { 0 };
	struct script *s = m->script;
	uint32_t type = script_byte(s);

	h.type = type & 0x80 ? type << 4 : type & 15;
	h.sector = choose_sector(s);
	memset(r->in, script_byte(s), r->in_len);
	for (size_t at = sizeof(h); at + 16 <= r->in_len && at < sizeof(h) + 16 * 40; at += 16) {
		struct virtio_blk_discard_write_zeroes range = { 0 };

		if (h.type != VIRTIO_BLK_T_DISCARD && h.type != VIRTIO_BLK_T_WRITE_ZEROES)
			break;
		range.sector = choose_sector(s);
		range.num_sectors = script_byte(s) & 31;
		range.flags = script_byte(s) & 0x83;
		if (range.flags & 0x82)
			range.num_sectors <<= 24;
		range.flags &= script_byte(s);
		memcpy(r->in + at, &range, sizeof(range));
	}
	memcpy(r->in, &h, r->in_len < sizeof(h) ? r->in_len : sizeof(h));
	memcpy(mem_ptr(&m->mem, r->in_at, r->in_len), r->in, r->in_len);
}

static bool is_inside(const struct machine *m, uint64_t sector, uint64_t n)
{
	return sector <= m->sectors && n <= m->sectors - sector;
}

static unsigned expect_ranges(struct machine *m, const struct request *r, bool is_discard)
{
	struct virtio_blk_discard_write_zeroes range;
	size_t len = r->in_len - sizeof(struct virtio_blk_outhdr);
	const uint8_t *at = r->in + sizeof(struct virtio_blk_outhdr);
	unsigned answer = VIRTIO_BLK_S_OK;

	if (m->is_read_only)
		return VIRTIO_BLK_S_UNSUPP;
	if (len == 0 || len % 16 != 0)
		return VIRTIO_BLK_S_IOERR;
	if (len / 16 > 32)
		return VIRTIO_BLK_S_UNSUPP;
	for (size_t i = 0; i < len; i += 16) {
		memcpy(&range, at + i, sizeof(range));
		if ((range.flags & (is_discard ? ~0U : ~1U)) || range.num_sectors > 4U << 20)
			return VIRTIO_BLK_S_UNSUPP;
		if (!is_inside(m, range.sector, range.num_sectors))
			answer = VIRTIO_BLK_S_IOERR;
	}
	for (size_t i = 0; i < len && answer == VIRTIO_BLK_S_OK; i += 16) {
		memcpy(&range, at + i, sizeof(range));
		if (range.num_sectors == 0)
			continue;
		/* Files in memory have holes but no other zeroes. */
		if (!is_discard && !range.flags)
			return VIRTIO_BLK_S_UNSUPP;
		memset(m->disk + range.sector * 512, 0, range.num_sectors * 512);
	}
	return answer;
}

/* What the device must answer; the model's disk follows.  *ret_data: bytes that it must write
 * before the status. */
static unsigned expect(struct machine *m, const struct request *r, size_t *ret_data)
{
	struct virtio_blk_outhdr h;
	size_t in = r->in_len - sizeof(h), out = r->out_len - 1;

	*ret_data = 0;
	memcpy(&h, r->in, sizeof(h));
	switch (h.type) {
	case VIRTIO_BLK_T_IN:
		if (out % 512 != 0 || !is_inside(m, h.sector, out / 512))
			return VIRTIO_BLK_S_IOERR;
		*ret_data = out;
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_OUT:
		if (m->is_read_only || in % 512 != 0 || !is_inside(m, h.sector, in / 512))
			return VIRTIO_BLK_S_IOERR;
		memcpy(m->disk + h.sector * 512, r->in + sizeof(h), in);
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_FLUSH: return m->has_flush ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_UNSUPP;
	case VIRTIO_BLK_T_GET_ID:
		if (out < 20)
			return VIRTIO_BLK_S_IOERR;
		*ret_data = 20;
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_DISCARD: return expect_ranges(m, r, true);
	case VIRTIO_BLK_T_WRITE_ZEROES: return expect_ranges(m, r, false);
	default: return VIRTIO_BLK_S_UNSUPP;
	}
}

static void check_answer(struct machine *m, const struct request *r, uint16_t head)
{
	uint32_t id = 0, len = 0;
	size_t data = 0;
	unsigned answer = expect(m, r, &data);
	const uint8_t *out = mem_ptr(&m->mem, r->out_at, r->out_len);
	struct virtio_blk_outhdr h;

	memcpy(&h, r->in, sizeof(h));
	FUZZ_CHECK(!atomic_load(&m->dev->needs_reset));
	FUZZ_CHECK(t_virtq_used(&m->q, &id, &len) && id == head);
	FUZZ_CHECK(t_virtq_used_count(&m->q) == 0);
	FUZZ_CHECK(out[r->out_len - 1] == answer);
	FUZZ_CHECK(len == (data + 1 == r->out_len ? r->out_len : data));
	if (answer == VIRTIO_BLK_S_OK && h.type == VIRTIO_BLK_T_IN)
		FUZZ_CHECK(memcmp(out, m->disk + h.sector * 512, data) == 0);
	if (answer == VIRTIO_BLK_S_OK && h.type == VIRTIO_BLK_T_GET_ID)
		FUZZ_CHECK(memcmp(out, "fuzz\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20) == 0);
	/* Nothing else was touched. */
	for (size_t i = data; i + 1 < r->out_len; i++)
		FUZZ_CHECK(out[i] == 0xee);
	check_disk(m);
}

static void do_request(struct machine *m)
{
	static struct request r;
	struct t_seg segs[SEGS_MAX];
	struct script *s = m->script;
	unsigned shape = script_byte(s), nread = shape & 7, nwrite = shape >> 3 & 3;
	uint16_t head = script_byte(s) % QUEUE_LEN;
	gpa_t at = DATA_AT + (script_byte(s) & 15);

	if (nread + nwrite == 0 || !virtio_may_run(m->dev))
		return;
	r.in_len = r.out_len = 0;
	r.in_at = r.out_at = at;
	for (unsigned i = 0; i < nread + nwrite; i++) {
		uint32_t len = choose_len(s);

		if (i == nread)
			r.out_at = at;
		segs[i] = (struct t_seg){ at, len, i >= nread };
		*(i < nread ? &r.in_len : &r.out_len) += len;
		at += len;
	}
	if (r.out_len > 0)
		memset(mem_ptr(&m->mem, r.out_at, r.out_len), 0xee, r.out_len);
	if (r.in_len > 0)
		fill_in(m, &r);
	if (shape & 0x20)
		t_virtq_chain_indirect(&m->q, head, TABLE_AT, segs, nread + nwrite);
	else
		t_virtq_chain(&m->q, head, segs, nread + nwrite);
	t_virtq_offer(&m->q, head);
	kick(m);
	if (r.in_len < sizeof(struct virtio_blk_outhdr) || r.out_len == 0)
		FUZZ_CHECK(atomic_load(&m->dev->needs_reset));
	else
		check_answer(m, &r, head);
}

/* --- the rest of what a driver and a host may do --- */

/* Descriptors and rings as they come: they may name each other, the queue itself, or nothing. */
static void do_wild(struct machine *m)
{
	struct script *s = m->script;
	unsigned n = script_byte(s) % QUEUE_LEN;

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = script_byte(s) % QUEUE_LEN;
		gpa_t gpa = (gpa_t)script_byte(s) << 9 | script_byte(s);
		uint32_t len = script_u16(s) & WILD_LEN_MAX;

		t_virtq_desc(&m->q, at, gpa, len, script_byte(s) & 7, script_byte(s) & 31);
	}
	for (unsigned i = script_byte(s) & 3; i > 0; i--)
		t_virtq_offer(&m->q, script_byte(s) % (QUEUE_LEN + 1));
	kick(m);
	FUZZ_CHECK(pread(m->file, m->disk, sizeof(m->disk), 0) == (ssize_t)(m->sectors * 512));
	check_disk(m);
	reset(m);
	activate(m);
}

static void do_resize(struct machine *m)
{
	uint64_t sectors = script_byte(m->script) & (SECTORS_MAX - 1), seen = 0;

	if (sectors < m->sectors)
		memset(m->disk + sectors * 512, 0, (m->sectors - sectors) * 512);
	m->sectors = sectors;
	FUZZ_CHECK(ftruncate(m->file, (off_t)(sectors * 512)) == 0);
	FUZZ_CHECK(blk_rescan(m->dev, NULL) == 0);
	virtio_config_read(m->dev, 0, &seen, sizeof(seen));
	FUZZ_CHECK(seen == sectors);
}

static void step(struct machine *m)
{
	switch (script_byte(m->script) % (OPS * 2)) {
	case OP_WILD: do_wild(m); break;
	case OP_RESIZE: do_resize(m); break;
	case OP_PAUSE:
		quiesce(m);
		m->dev->ops->resume(m->dev);
		run_loop();
		break;
	case OP_RESET:
		reset(m);
		activate(m);
		break;
	default: do_request(m); break;
	}
}

static void start(struct machine *m)
{
	unsigned how = script_byte(m->script);
	struct disk_config c = { .id = "fuzz", .sync_engine = how & 64 };
	static uint8_t loop; /* nobody looks into it */
	char path[64];

	m->is_read_only = c.read_only = (how & 7) == 7;
	c.unsafe_cache = how & 8;
	m->has_flush = !c.unsafe_cache;
	m->sectors = SECTORS_MAX;
	m->file = memfd_create("disk", MFD_CLOEXEC);
	for (size_t i = 0; i < sizeof(m->disk); i++)
		m->disk[i] = (uint8_t)(i * 5 + (i >> 9));
	FUZZ_CHECK(pwrite(m->file, m->disk, DISK_LEN, 0) == DISK_LEN);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", m->file);
	c.path = path;
	FUZZ_CHECK(blk_new(&c, &m->dev, NULL) == 0);
	/* A block of its own, so that a sanitizer sees what reaches past the guest's memory. */
	m->mem = (struct guest_mem){ .n = 1, .r = { { 0, MEM_LEN, calloc(1, MEM_LEN) } } };
	FUZZ_CHECK(m->mem.r[0].hva);
	m->dev->mem = &m->mem;
	m->dev->loop = (struct loop *)(void *)&loop;
	/* The synchronous engine looks at the real clock, for which nobody waits here. */
	if ((how & 16) && !c.sync_engine)
		c.limit.ops = (struct bucket_config){ .size = 3, .refill_ms = 10 };
	if ((how & 32) && !c.sync_engine)
		c.limit.bytes = (struct bucket_config){ .size = 4096, .refill_ms = 10 };
	blk_set_limit(m->dev, &c.limit.bytes, &c.limit.ops);
	m->dev->quiesced = on_quiesced;
	m->dev->told = on_news;
	activate(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine m;
	struct script script = { data, size };

	log_init(LOG_ERROR, -1);
	m = (struct machine){ .script = &script };
	machine = &m;
	tail = NULL;
	timer = NULL;
	nreports = 0;
	script_of_loop = &script;
	is_cancelled = false;
	clock_ns = 1;
	start(&m);
	for (unsigned n = 0; script.left > 0 && n < OPERATIONS_MAX; n++) {
		if (atomic_load(&m.dev->needs_reset)) {
			reset(&m);
			activate(&m);
		}
		step(&m);
	}
	reset(&m);
	m.dev->ops->free(m.dev);
	free(m.mem.r[0].hva);
	(void)close(m.file);
	return 0;
}
