/*
 * block: requests through the block device beside the same requests by bare io_uring, on the same
 * file, in turn, in one thread.
 *
 * The driver is in this process and as cheap as can be: its chains are laid out once, and a request
 * is a sector, an entry of the available ring and a call of the device.  What is measured is then
 * the device, the loop and the kernel's I/O; the rows with eventfds add the kick and the interrupt
 * as system calls of this thread, where a guest's would be the vCPU's.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "core/loop.h"
#include "core/mem.h"
#include "hammer.h"
#include "report.h"
#include "ring.h"
#include "virtio/blk.h"

enum {
	DEFAULT_RUNS = 7,
	SLICE_MS = 200,
	DEPTH_MAX = 32,
	DESCRIPTORS = 3, /* of a chain: header, data, status */
	BUFFER_MAX = 256 * 1024,
	PAGE = 4096,
	MEM_SIZE = 64 << 20,
	QUEUE_AT = 0x10000,   /* in guest memory: the queue, */
	HEADERS_AT = 0x20000, /* headers and status bytes, */
	BUFFERS_AT = 0x100000 /* buffers */
};

struct row {
	const char *name;
	bool write, sequential, by_eventfd;
	unsigned depth, bytes;
};

static const struct row rows[] = {
	{ "read_iops_4k_qd1", .depth = 1, .bytes = PAGE },
	{ "read_iops_4k_qd8", .depth = 8, .bytes = PAGE },
	{ "read_iops_4k_qd32", .depth = 32, .bytes = PAGE },
	{ "write_iops_4k_qd1", .write = true, .depth = 1, .bytes = PAGE },
	{ "write_iops_4k_qd8", .write = true, .depth = 8, .bytes = PAGE },
	{ "write_iops_4k_qd32", .write = true, .depth = 32, .bytes = PAGE },
	{ "read_iops_256k_sequential_qd8", .sequential = true, .depth = 8, .bytes = BUFFER_MAX },
	{ "write_iops_256k_sequential_qd8", .write = true, .sequential = true, .depth = 8,
		.bytes = BUFFER_MAX },
	{ "read_iops_4k_qd1_eventfds", .by_eventfd = true, .depth = 1, .bytes = PAGE },
	{ "read_iops_4k_qd32_eventfds", .by_eventfd = true, .depth = 32, .bytes = PAGE },
};

_Noreturn static void fail(const char *what, int rc)
{
	(void)fprintf(stderr, "block: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Where the next request goes: the same sequence for both sides. */
struct places {
	uint64_t file_size, state, next;
};

static uint64_t next_place(struct places *p, const struct row *row)
{
	uint64_t blocks = p->file_size / row->bytes;

	if (row->sequential)
		return p->next++ % blocks * row->bytes;
	p->state = p->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (p->state >> 33) % blocks * row->bytes;
}

/* --- bare io_uring --- */

struct raw {
	struct io_uring ring;
	int fd;
	uint8_t *buffers; /* DEPTH_MAX of BUFFER_MAX */
};

static void raw_submit(struct raw *r, const struct row *row, struct places *p, uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
	void *buf = r->buffers + slot * BUFFER_MAX;
	uint64_t place = next_place(p, row);

	if (row->write)
		io_uring_prep_write(sqe, r->fd, buf, row->bytes, place);
	else
		io_uring_prep_read(sqe, r->fd, buf, row->bytes, place);
	io_uring_sqe_set_data64(sqe, slot);
}

static unsigned raw_reap(struct raw *r, const struct row *row, struct places *p, bool go_on)
{
	struct io_uring_cqe *cqe;
	unsigned done = 0;
	int rc = io_uring_submit_and_wait(&r->ring, 1);

	if (rc < 0)
		fail("io_uring_submit_and_wait", rc);
	while (io_uring_peek_cqe(&r->ring, &cqe) == 0) {
		uint64_t slot = cqe->user_data;

		if (cqe->res != (int)row->bytes)
			fail("a bare request failed", cqe->res < 0 ? cqe->res : -EIO);
		io_uring_cqe_seen(&r->ring, cqe);
		done++;
		if (go_on)
			raw_submit(r, row, p, slot);
	}
	return done;
}

static double raw_iops(struct raw *r, const struct row *row, struct places *p)
{
	uint64_t start = now_ns(), end = start + SLICE_MS * 1000000ULL, at = start, done = 0;

	for (unsigned i = 0; i < row->depth; i++)
		raw_submit(r, row, p, i);
	for (; at < end; at = now_ns())
		done += raw_reap(r, row, p, true);
	for (unsigned left = row->depth; left > 0;)
		left -= raw_reap(r, row, p, false);
	return (double)done * 1e9 / (double)(at - start);
}

static void raw_open(struct raw *r, const char *path, bool direct)
{
	int rc = io_uring_queue_init(
		256, &r->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	if (rc < 0)
		fail("io_uring", rc);
	r->fd = open(path, O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0));
	if (r->fd < 0)
		fail(path, -errno);
	r->buffers = mmap(NULL, (size_t)DEPTH_MAX * BUFFER_MAX, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (r->buffers == MAP_FAILED)
		fail("mmap", -errno);
}

static void raw_close(struct raw *r)
{
	io_uring_queue_exit(&r->ring);
	(void)close(r->fd);
	(void)munmap(r->buffers, (size_t)DEPTH_MAX * BUFFER_MAX);
}

/* --- the device and its driver --- */

struct driver {
	struct guest_mem mem;
	struct loop *loop;
	struct virtio_device *dev;
	struct ring ring;
	struct virtio_blk_outhdr *header; /* one for each slot */
	uint8_t *status;
	int kick_fd;
	struct loop_op watch;
	uint32_t type; /* of what is not a write */
};

static void on_kick(struct loop_op *op, int res)
{
	struct driver *d = container_of(op, struct driver, watch);

	if (res == 0)
		d->dev->ops->kick(d->dev, 0);
}

static void driver_open(struct driver *d, const char *path, bool direct)
{
	struct disk_config cfg = { .id = "bench", .path = path, .direct = direct };
	struct err e = { 0 };

	if (guest_mem_init(&d->mem, MEM_SIZE, MEM_SIZE, MEM_SIZE, MEM_PAGES_HOST, true, &e) < 0 ||
		loop_new(LOOP_URING, &d->loop, NULL, &e) < 0 || blk_new(&cfg, &d->dev, &e) < 0) {
		(void)fprintf(stderr, "block: %s\n", e.text);
		exit(1);
	}
	d->dev->mem = &d->mem;
	d->dev->loop = d->loop;
	d->dev->acked = d->dev->offered;
	d->header = mem_ptr(&d->mem, HEADERS_AT, PAGE);
	d->status = mem_ptr(&d->mem, HEADERS_AT + PAGE, PAGE);
	ring_init(&d->ring, d->dev, 0, QUEUE_AT);
	d->dev->active = true;
	d->dev->ops->activate(d->dev);
	d->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->watch.done = on_kick;
	loop_watch(d->loop, &d->watch, d->kick_fd);
}

static void driver_prepare(struct driver *d, const struct row *row)
{
	for (unsigned i = 0; i < row->depth; i++) {
		uint16_t head = (uint16_t)(i * DESCRIPTORS);

		ring_desc(&d->ring, head, HEADERS_AT + i * sizeof(*d->header), sizeof(*d->header),
			false, true);
		ring_desc(&d->ring, (uint16_t)(head + 1), BUFFERS_AT + (uint64_t)i * BUFFER_MAX,
			row->bytes, !row->write, true);
		ring_desc(&d->ring, (uint16_t)(head + 2), HEADERS_AT + PAGE + i, 1, true, false);
		d->header[i].type = row->write ? VIRTIO_BLK_T_OUT : d->type;
	}
	d->dev->irq_fd = row->by_eventfd ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
}

static void driver_submit(struct driver *d, const struct row *row, struct places *p, uint16_t slot)
{
	d->header[slot].sector = next_place(p, row) / DISK_SECTOR;
	d->status[slot] = 0xff;
	ring_offer(&d->ring, (uint16_t)(slot * DESCRIPTORS));
}

static void driver_kick(struct driver *d, const struct row *row)
{
	uint64_t one = 1;

	if (!ring_publish(&d->ring))
		return;
	if (!row->by_eventfd)
		d->dev->ops->kick(d->dev, 0);
	else if (write(d->kick_fd, &one, sizeof(one)) < 0)
		fail("kick", -errno);
}

static unsigned driver_reap(struct driver *d, const struct row *row, struct places *p, bool go_on)
{
	uint16_t head, slot;
	uint32_t len;
	unsigned done = 0;
	int rc = loop_turn(d->loop);

	if (rc < 0)
		fail("the loop", rc);
	while (ring_take(&d->ring, &head, &len)) {
		slot = head / DESCRIPTORS;
		if (d->status[slot] != VIRTIO_BLK_S_OK)
			fail("a request of the device failed", -EIO);
		done++;
		if (go_on)
			driver_submit(d, row, p, slot);
	}
	if (done > 0 && go_on)
		driver_kick(d, row);
	return done;
}

static double device_iops(struct driver *d, const struct row *row, struct places *p)
{
	uint64_t start, end, at, done = 0;

	driver_prepare(d, row);
	start = at = now_ns();
	end = start + SLICE_MS * 1000000ULL;
	for (unsigned i = 0; i < row->depth; i++)
		driver_submit(d, row, p, (uint16_t)i);
	driver_kick(d, row);
	for (; at < end; at = now_ns())
		done += driver_reap(d, row, p, true);
	for (unsigned left = row->depth; left > 0;)
		left -= driver_reap(d, row, p, false);
	if (d->dev->irq_fd >= 0)
		(void)close(d->dev->irq_fd);
	return (double)done * 1e9 / (double)(at - start);
}

/* Ends with the process; what matters is that the file is let go. */
static void driver_close(struct driver *d)
{
	loop_cancel(d->loop, &d->watch);
	while (loop_op_is_pending(&d->watch)) {
		if (loop_turn(d->loop) < 0)
			break;
	}
	d->dev->irq_fd = -1;
	d->dev->active = false;
	d->dev->ops->free(d->dev);
	loop_free(d->loop);
	(void)close(d->kick_fd);
	guest_mem_fini(&d->mem);
}

/* --- the comparison --- */

struct setting {
	unsigned runs; /* of each side, in turn */
	struct report *report;
};

static void measure(const char *where, const struct row *row, struct raw *r, struct driver *d,
	uint64_t size, const struct setting *set)
{
	struct places raw_places = { .file_size = size, .state = 1 }, dev_places = raw_places;
	struct samples raw = { 0 }, device = { 0 };
	char name[128];

	for (unsigned i = 0; i < set->runs; i++) {
		/* The first of each pair changes, so that a change of pace meets both. */
		if (i % 2 == 0)
			samples_add(&raw, raw_iops(r, row, &raw_places));
		samples_add(&device, device_iops(d, row, &dev_places));
		if (i % 2 != 0)
			samples_add(&raw, raw_iops(r, row, &raw_places));
	}
	(void)snprintf(name, sizeof(name), "%s_%s", where, row->name);
	report_metric(set->report, name, "1/s", &device, &raw, NULL);
	samples_free(&raw);
	samples_free(&device);
}

/*
 * The same requests of the device while clients ask the API on the device's own loop as fast as
 * they are answered, beside the device alone.
 */
static void measure_hammered(struct driver *d, uint64_t size, const struct setting *set)
{
	const struct row row = { .depth = DEPTH_MAX, .bytes = PAGE };
	struct places alone_places = { .file_size = size, .state = 1 }, places = alone_places;
	struct samples alone = { 0 }, hammered = { 0 }, answered = { 0 };

	for (unsigned i = 0; i < set->runs; i++) {
		struct hammer h;
		uint64_t start;

		if (i % 2 == 0)
			samples_add(&alone, device_iops(d, &row, &alone_places));
		hammer_start(&h, d->loop);
		start = now_ns();
		samples_add(&hammered, device_iops(d, &row, &places));
		samples_add(&answered, (double)h.answered * 1e9 / (double)(now_ns() - start));
		hammer_end(&h);
		if (i % 2 != 0)
			samples_add(&alone, device_iops(d, &row, &alone_places));
	}
	report_metric(set->report, "read_iops_4k_qd32_8_api_clients", "1/s", &hammered, &alone,
		"no clients");
	report_metric(set->report, "api_answers_meanwhile", "1/s", &answered, NULL, NULL);
	samples_free(&alone);
	samples_free(&hammered);
	samples_free(&answered);
}

/*
 * What the device itself costs: requests that need no I/O, GET_ID, at a depth at which the round of
 * the loop is shared by many.
 */
static void measure_cost(struct driver *d, const struct setting *set)
{
	const struct row row = { .depth = DEPTH_MAX, .bytes = VIRTIO_BLK_ID_BYTES };
	struct places nowhere = { .file_size = PAGE };
	struct samples cost = { 0 };

	for (unsigned i = 0; i < set->runs; i++) {
		double iops;

		d->type = VIRTIO_BLK_T_GET_ID;
		iops = device_iops(d, &row, &nowhere);
		samples_add(&cost, 1e9 / iops);
	}
	d->type = 0;
	report_metric(set->report, "request_without_io", "ns", &cost, NULL, NULL);
	samples_free(&cost);
}

static void fill(const char *path, uint64_t size)
{
	static uint8_t block[1 << 20];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		fail(path, -errno);
	memset(block, 0x5a, sizeof(block));
	for (uint64_t at = 0; at < size; at += sizeof(block)) {
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			fail(path, -errno);
	}
	(void)fsync(fd);
	(void)close(fd);
}

static void bench_folder(const char *where, const char *folder, bool direct, uint64_t size,
	const struct setting *set)
{
	struct driver d = { 0 };
	struct raw r = { 0 };
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/mvm-bench-%d", folder, (int)getpid());
	fill(path, size);
	raw_open(&r, path, direct);
	driver_open(&d, path, direct);
	/* Nobody else needs the name. */
	(void)unlink(path);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		measure(where, &rows[i], &r, &d, size, set);
	if (!direct) {
		measure_cost(&d, set);
		measure_hammered(&d, size, set);
	}
	driver_close(&d);
	raw_close(&r);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "tmpfs", required_argument, NULL, 't' },
		{ "disk", required_argument, NULL, 'd' },
		{ "json", no_argument, NULL, 'j' },
		{ "runs", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	struct report report = { .bench = "block" };
	struct setting set = { .runs = DEFAULT_RUNS, .report = &report };
	const char *tmpfs = NULL, *disk = NULL;
	int id;

	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (id) {
		case 't': tmpfs = optarg; break;
		case 'd': disk = optarg; break;
		case 'j': report.json = true; break;
		case 'r': set.runs = (unsigned)MAX(atoi(optarg), 1); break;
		default: return 2;
		}
	}
	if (tmpfs)
		bench_folder("tmpfs", tmpfs, false, 256 << 20, &set);
	if (disk)
		bench_folder("disk", disk, true, 256 << 20, &set);
	return 0;
}
