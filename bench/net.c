/*
 * net: frames through the network device beside bare reads and writes of the same tap, in turn, in
 * one thread.
 *
 * The driver is in this process and as cheap as can be.  What the tap is given it drops behind the
 * tap, in a network namespace of its own; what it gives was put there before, and only the taking
 * is timed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "core/loop.h"
#include "core/mem.h"
#include "report.h"
#include "ring.h"
#include "virtio/net.h"

enum {
	DEFAULT_RUNS = 31,
	SLICE_MS = 50,
	HEADER = 12,        /* struct virtio_net_hdr_v1 */
	PACKET_HEADER = 10, /* what a packet socket takes: without the number of buffers */
	FRAME_MAX = 65549,
	BATCH = 256, /* less than the tap's queue has room for */
	TX_SLOTS = 120,
	RX_BUFFER = 4096,
	MEM_SIZE = 64 << 20,
	QUEUES_AT = 0x10000,
	HEADERS_AT = 0x80000,
	FRAMES_AT = 0x100000,
};

static const char tap_name[] = "mvmbench";

struct row {
	const char *name;
	bool receive, is_tcp; /* is_tcp: one large segment, otherwise nobody's protocol */
	unsigned bytes;
	bool by_bytes; /* told as bytes a second */
};

static const struct row rows[] = {
	{ "send_60_bytes", .bytes = 60 },
	{ "send_1514_bytes", .bytes = 1514 },
	{ "send_tso", .bytes = 64054, .is_tcp = true, .by_bytes = true },
	{ "receive_60_bytes", .receive = true, .bytes = 60 },
	{ "receive_1514_bytes", .receive = true, .bytes = 1514 },
	{ "receive_tso", .receive = true, .bytes = 64054, .is_tcp = true, .by_bytes = true },
};

_Noreturn static void fail(const char *what, int rc)
{
	(void)fprintf(stderr, "net: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- the tap and its frames --- */

static int tap_open_bench(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = HEADER, s, fd;

	if (unshare(CLONE_NEWNET) < 0)
		fail("unshare (root is needed)", -errno);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", tap_name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		fail("the tap", -errno);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ifr.ifr_flags = IFF_UP | IFF_NOARP;
	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
		fail("setting the tap up", -errno);
	(void)close(s);
	return fd;
}

/* A frame to nobody; a TCP segment is to be cut by the receiver's side. */
static void make_frame(const struct row *row, struct virtio_net_hdr *h, uint8_t *frame)
{
	static const uint8_t ethernet[14] = { 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5 };
	static const uint8_t ip[20] = { 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10,
		0, 0, 2 };
	static const uint8_t tcp[20] = { 0x12, 0x34, 0x12, 0x35, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10,
		0xff, 0xff };

	*h = (struct virtio_net_hdr){ 0 };
	memset(frame, 0x5a, row->bytes);
	memcpy(frame, ethernet, sizeof(ethernet));
	if (!row->is_tcp)
		return;
	memcpy(frame + 12, "\x08\x00", 2);
	memcpy(frame + 14, ip, sizeof(ip));
	memcpy(frame + 34, tcp, sizeof(tcp));
	frame[16] = (uint8_t)((row->bytes - 14) >> 8);
	frame[17] = (uint8_t)(row->bytes - 14);
	*h = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1460,
		.csum_start = 34,
		.csum_offset = 16 };
}

/* What puts frames into the tap, for it to give. */
static int sender_open(void)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(tap_name) };
	int one = 1, s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (s < 0 || setsockopt(s, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
		setsockopt(s, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0 ||
		bind(s, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail("the sender's socket", -errno);
	return s;
}

/* Puts BATCH frames into the tap's queue, which has room for them. */
static void sender_fill(int s, const struct row *row)
{
	static uint8_t frame[FRAME_MAX];
	struct virtio_net_hdr header;
	struct iovec iov[2] = { { &header, PACKET_HEADER }, { frame, row->bytes } };
	struct mmsghdr msg[BATCH];
	int sent = 0;

	make_frame(row, &header, frame);
	memset(msg, 0, sizeof(msg));
	for (unsigned i = 0; i < BATCH; i++) {
		msg[i].msg_hdr.msg_iov = iov;
		msg[i].msg_hdr.msg_iovlen = 2;
	}
	while (sent < BATCH) {
		int n = sendmmsg(s, msg, (unsigned)(BATCH - sent), 0);

		if (n < 0)
			fail("sending", -errno);
		sent += n;
	}
}

/* --- bare reads and writes --- */

/* Receives into as much memory as the device's driver has, so that neither finds it in a nearer
 * cache. */
struct raw {
	int fd;
	unsigned next;
	struct virtio_net_hdr_v1 header;
	uint8_t frame[FRAME_MAX];
	uint8_t buffers[RING_NUM * RX_BUFFER + HEADER + FRAME_MAX];
};

static uint64_t raw_send(struct raw *r, const struct row *row)
{
	struct iovec iov[2] = { { &r->header, HEADER }, { r->frame, row->bytes } };

	for (unsigned i = 0; i < BATCH; i++) {
		if (writev(r->fd, iov, 2) < 0)
			fail("writing to the tap", -errno);
	}
	return BATCH;
}

/* Until there are no more, beginning with the wait for the first. */
static uint64_t raw_receive(struct raw *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	uint64_t done = 0;

	(void)poll(&p, 1, SLICE_MS);
	for (;; done++) {
		/* Header and frame in one piece, as they lie in a guest's buffer. */
		uint8_t *at = r->buffers + (size_t)r->next * RX_BUFFER;
		struct iovec iov[2] = { { at, HEADER }, { at + HEADER, FRAME_MAX } };
		ssize_t got = readv(r->fd, iov, 2);

		if (got < 0)
			return done;
		r->next = (r->next + (unsigned)got / RX_BUFFER + 1) % RING_NUM;
	}
}

/* --- the device and its driver --- */

struct driver {
	struct guest_mem mem;
	struct loop *loop;
	struct virtio_device *dev;
	struct ring rx, tx;
	int kick_fd;
	struct loop_op kicks;
	struct loop_op timeout; /* ends a wait without frames */
};

static void on_timeout(struct loop_op *op, int res)
{
	(void)op;
	(void)res;
}

static void on_kick(struct loop_op *op, int res)
{
	struct driver *d = container_of(op, struct driver, kicks);

	if (res == 0)
		d->dev->ops->kick(d->dev, NET_QUEUE_TX);
}

static void driver_open(struct driver *d, int tap)
{
	struct net_config cfg = { .id = "bench", .tap_fd = dup(tap) };
	struct err e = { 0 };

	if (guest_mem_init(&d->mem, MEM_SIZE, MEM_SIZE, MEM_SIZE, MEM_PAGES_HOST, true, &e) < 0 ||
		loop_new(LOOP_URING, &d->loop, NULL, &e) < 0 || net_new(&cfg, &d->dev, &e) < 0) {
		(void)fprintf(stderr, "net: %s\n", e.text);
		exit(1);
	}
	d->timeout.done = on_timeout;
	d->kicks.done = on_kick;
	d->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop_watch(d->loop, &d->kicks, d->kick_fd);
	d->dev->mem = &d->mem;
	d->dev->loop = d->loop;
	d->dev->acked = d->dev->offered;
	ring_init(&d->rx, d->dev, NET_QUEUE_RX, QUEUES_AT);
	ring_init(&d->tx, d->dev, NET_QUEUE_TX, QUEUES_AT + RING_ROOM);
	d->dev->active = true;
	d->dev->ops->activate(d->dev);
	for (uint16_t i = 0; i < RING_NUM; i++) {
		ring_desc(&d->rx, i, FRAMES_AT + (uint64_t)i * RX_BUFFER, RX_BUFFER, true, false);
		ring_offer(&d->rx, i);
	}
	(void)ring_publish(&d->rx);
	d->dev->ops->kick(d->dev, NET_QUEUE_RX);
}

static void turn(struct driver *d)
{
	int rc;

	if (!loop_op_is_pending(&d->timeout))
		loop_timeout(d->loop, &d->timeout, SLICE_MS * 1000000ULL);
	rc = loop_turn(d->loop);
	if (rc < 0)
		fail("the loop", rc);
}

static void tx_prepare(struct driver *d, const struct row *row)
{
	/* Behind the receiver's buffers; all chains send the same frame. */
	const gpa_t frame_at = FRAMES_AT + RING_NUM * RX_BUFFER;
	struct virtio_net_hdr *h = mem_ptr(&d->mem, HEADERS_AT, HEADER);
	uint8_t *frame = mem_ptr(&d->mem, frame_at, FRAME_MAX);

	make_frame(row, h, frame);
	for (uint16_t i = 0; i < TX_SLOTS; i++) {
		ring_desc(&d->tx, (uint16_t)(2 * i), HEADERS_AT, HEADER, false, true);
		ring_desc(&d->tx, (uint16_t)(2 * i + 1), frame_at, row->bytes, false, false);
		ring_offer(&d->tx, (uint16_t)(2 * i));
	}
}

static uint64_t device_send(struct driver *d, bool go_on)
{
	uint64_t done = 0, one = 1;
	uint16_t head;
	uint32_t len;

	/* By eventfd, as a guest's comes. */
	if (ring_publish(&d->tx) && write(d->kick_fd, &one, sizeof(one)) < 0)
		fail("kick", -errno);
	turn(d);
	for (; ring_take(&d->tx, &head, &len); done++) {
		if (go_on)
			ring_offer(&d->tx, head);
	}
	return done;
}

/* A large frame fills many buffers; only its first one begins with a header that counts them. */
static uint64_t device_reap(struct driver *d)
{
	uint64_t frames = 0;
	uint16_t head;
	uint32_t len, parts = 0;

	turn(d);
	while (ring_take(&d->rx, &head, &len)) {
		const struct virtio_net_hdr_v1 *h =
			mem_ptr(&d->mem, FRAMES_AT + (uint64_t)head * RX_BUFFER, HEADER);

		if (parts == 0) {
			parts = h->num_buffers;
			frames++;
		}
		parts--;
		ring_offer(&d->rx, head);
	}
	if (ring_publish(&d->rx))
		d->dev->ops->kick(d->dev, NET_QUEUE_RX);
	return frames;
}

/* As raw_receive(). */
static uint64_t device_receive(struct driver *d)
{
	uint64_t done = 0;

	while (done < BATCH)
		done += device_reap(d);
	return done;
}

/* --- the comparison --- */

struct sides {
	struct raw raw;
	struct driver driver;
	int sender;
};

static double send_rate(struct sides *s, const struct row *row, bool is_raw)
{
	uint64_t start, end, at, done = 0;

	make_frame(row, (struct virtio_net_hdr *)&s->raw.header, s->raw.frame);
	if (!is_raw)
		tx_prepare(&s->driver, row);
	for (at = start = now_ns(), end = start + SLICE_MS * 1000000ULL; at < end; at = now_ns())
		done += is_raw ? raw_send(&s->raw, row) : device_send(&s->driver, true);
	/* What is still on its way belongs to nobody. */
	for (uint64_t left = is_raw ? 0 : TX_SLOTS; left > 0;)
		left -= device_send(&s->driver, false);
	return (double)done * 1e9 / (double)(at - start);
}

/* The tap is filled first; only the receiving is timed. */
static double receive_rate(struct sides *s, const struct row *row, bool is_raw)
{
	uint64_t spent = 0, done = 0;

	while (spent < SLICE_MS * 1000000ULL) {
		uint64_t start;

		sender_fill(s->sender, row);
		start = now_ns();
		done += is_raw ? raw_receive(&s->raw) : device_receive(&s->driver);
		spent += now_ns() - start;
	}
	return (double)done * 1e9 / (double)spent;
}

static double rate(struct sides *s, const struct row *row, bool is_raw)
{
	double frames = row->receive ? receive_rate(s, row, is_raw) : send_rate(s, row, is_raw);

	return row->by_bytes ? frames * row->bytes / 1e6 : frames;
}

static void measure(struct sides *s, const struct row *row, unsigned runs, struct report *report)
{
	struct samples raw = { 0 }, device = { 0 };

	for (unsigned i = 0; i < runs; i++) {
		/* The first of each pair changes, so that a change of pace meets both. */
		for (unsigned side = 0; side < 2; side++) {
			bool is_raw = side == i % 2;

			samples_add(is_raw ? &raw : &device, rate(s, row, is_raw));
		}
	}
	report_metric(report, row->name, row->by_bytes ? "MB/s" : "1/s", &device, &raw, NULL);
	samples_free(&raw);
	samples_free(&device);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "runs", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	struct report report = { .bench = "net" };
	const char *only = NULL;
	unsigned runs = DEFAULT_RUNS;
	static struct sides sides;
	int id;

	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (id == 'o')
			only = optarg;
		else if (id == 'r')
			runs = (unsigned)MAX(atoi(optarg), 1);
		else if (id == 'j')
			report.json = true;
		else
			return 2;
	}
	sides.raw.fd = tap_open_bench();
	sides.sender = sender_open();
	driver_open(&sides.driver, sides.raw.fd);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (!only || strstr(rows[i].name, only))
			measure(&sides, &rows[i], runs, &report);
	return 0;
}
