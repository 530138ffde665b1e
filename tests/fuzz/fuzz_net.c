/*
 * A network device between a driver that does anything and a wire that brings anything.  The input
 * is a script.  Its first byte decides whether the driver is honest: then every frame that comes
 * out, at either end, is compared with the one that went in, and at the end none may be missing
 * that was not counted.  A driver that is not writes what it likes into its queues, and the device
 * may only survive.
 *
 * Loop and tap are stubs with a clock of their own, so that an input always does the same.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "fuzz.h"
#include "t_virtq.h"
#include "virtio/net_private.h"

enum {
	OP_GIVE,
	OP_SEND,
	OP_COMMAND,
	OP_KICK,
	OP_ARRIVE,
	OP_TAP,
	OP_TURN,
	OP_TIME,
	OP_PAUSE,
	OP_RESET,
	OP_SETTINGS,
	OP_WILD,
	OPS,
	OPERATIONS_MAX = 400,

	MEM_LEN = 4 << 20,
	QUEUE_AT = 0x1000,
	ENTRIES_MAX = 16,
	TABLE_AT = 0x10000, /* of each chain: 256 bytes */
	AREA_AT = 0x20000,  /* of each chain, for its segments */
	AREA_LEN = 80 << 10,
	SEGS_MAX = 8,

	WAITING_MAX = 8, /* frames on the wire */
	FRAME_MAX = 140000,
	SEQ_AT = 14, /* in a frame, behind its Ethernet header */
	SEQ_LEN = 4,
	PAYLOAD_MIN = SEQ_AT + SEQ_LEN,
};

/* --- the loop --- */

static struct {
	struct loop_op *op[8];
	unsigned nops;
	struct loop_tail *tail;
	uint64_t now_ns;
} host;

static void submit(struct loop_op *op, enum loop_kind kind)
{
	FUZZ_CHECK(op->kind == LOOP_IDLE && op->done && host.nops < ARRAY_SIZE(host.op));
	op->kind = kind;
	op->res = 1;
	host.op[host.nops++] = op;
}

void loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events)
{
	(void)l;
	for (unsigned i = 0; i < host.nops; i++)
		FUZZ_CHECK(host.op[i]->kind != LOOP_POLL || host.op[i]->fd != fd);
	op->fd = fd;
	op->events = events;
	submit(op, LOOP_POLL);
}

void loop_timeout(struct loop *l, struct loop_op *op, uint64_t ns)
{
	(void)l;
	op->len = (int64_t)(host.now_ns + ns);
	submit(op, LOOP_TIMEOUT);
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	(void)l;
	if (op->kind != LOOP_IDLE)
		op->res = -ECANCELED;
}

void loop_defer(struct loop *l, struct loop_tail *tail)
{
	(void)l;
	FUZZ_CHECK(!host.tail || host.tail == tail);
	host.tail = tail;
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
	return host.now_ns;
}

/* --- the tap: the wire brings frames to it, and takes those of the guest --- */

static struct {
	uint8_t frame[FRAME_MAX];
	uint32_t len[WAITING_MAX]; /* with the header */
	uint32_t seq[WAITING_MAX];
	struct virtio_net_hdr_v1 h[WAITING_MAX];
	unsigned nwaiting;
	int read_errno, write_errno;
	uint64_t reads, failures; /* that the device saw */
} tap;

/* The world of one input. */
static struct {
	struct guest_mem mem;
	struct virtio_device *dev;
	struct t_virtq q[NET_QUEUES];
	uint16_t num;
	bool is_honest;
	bool is_paused;
	unsigned quiesced;
	uint64_t features;
	/* by head */
	bool rx_busy[ENTRIES_MAX], tx_busy[ENTRIES_MAX];
	struct t_seg rx_seg[ENTRIES_MAX][SEGS_MAX];
	unsigned rx_nsegs[ENTRIES_MAX];
	bool tx_sent[ENTRIES_MAX]; /* reached the tap */
	uint32_t next_rx_seq, last_rx_seq, next_tx_seq, last_tx_seq;
	uint64_t offered, returned; /* frames to send */
	bool had_reset;
} w;

static uint8_t memory[MEM_LEN] __attribute__((aligned(4096)));

/* What frames are made of: a piece of it, by their number. */
static uint8_t pattern[FRAME_MAX + 256];

static void make_pattern(void)
{
	uint32_t x = 1;

	for (unsigned i = 0; i < sizeof(pattern) && pattern[0] == 0; i++) {
		x = x * 1664525 + 1013904223;
		pattern[sizeof(pattern) - 1 - i] = (uint8_t)(x >> 24 | 1);
	}
}

/* A frame without its header: a pattern and, where there is room, its number. */
static void make_frame(uint8_t *to, uint32_t len, uint32_t seq)
{
	memcpy(to, pattern + seq % 256, len);
	if (len >= PAYLOAD_MIN)
		memcpy(to + SEQ_AT, &seq, sizeof(seq));
}

static uint32_t frame_seq(const uint8_t *frame)
{
	uint32_t seq;

	memcpy(&seq, frame + SEQ_AT, sizeof(seq));
	return seq;
}

/* len is at least PAYLOAD_MIN. */
static bool is_frame(const uint8_t *frame, uint32_t len, uint32_t seq)
{
	const uint8_t *want = pattern + seq % 256;

	return memcmp(frame, want, SEQ_AT) == 0 &&
	       memcmp(frame + PAYLOAD_MIN, want + PAYLOAD_MIN, len - PAYLOAD_MIN) == 0;
}

static bool is_guest(const struct iovec *iov)
{
	const uint8_t *at = iov->iov_base;

	return at >= memory && iov->iov_len <= MEM_LEN &&
	       at + iov->iov_len <= memory + sizeof(memory);
}

static size_t copy_out(const struct iovec *iov, unsigned n, const uint8_t *from, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t part = MIN(len - done, iov[i].iov_len);

		/* memmove: the segments of a hostile driver may be anywhere. */
		memmove(iov[i].iov_base, from + done, part);
		done += part;
	}
	return done;
}

ssize_t tap_read(struct tap *t, const struct iovec *iov, unsigned n)
{
	uint32_t len = tap.len[0];
	size_t got;

	(void)t;
	FUZZ_CHECK(n >= 2 && n <= IOV_MAX);
	for (unsigned i = 0; i + 1 < n; i++)
		FUZZ_CHECK(is_guest(&iov[i]));
	FUZZ_CHECK(iov[n - 1].iov_len == NET_SPILL_LEN);
	if (tap.read_errno) {
		tap.failures += tap.read_errno != EINTR && tap.read_errno != EAGAIN;
		n = (unsigned)tap.read_errno;
		/* What is interrupted is not interrupted for ever. */
		if (tap.read_errno == EINTR)
			tap.read_errno = 0;
		return -(ssize_t)n;
	}
	if (tap.nwaiting == 0)
		return -EAGAIN;
	memset(tap.frame, 0, MIN(len, (uint32_t)NET_HEADER_LEN));
	if (len >= NET_HEADER_LEN) {
		memcpy(tap.frame, &tap.h[0], NET_HEADER_LEN);
		make_frame(tap.frame + NET_HEADER_LEN, len - NET_HEADER_LEN, tap.seq[0]);
	}
	got = copy_out(iov, n, tap.frame, len);
	tap.nwaiting--;
	memmove(tap.len, tap.len + 1, tap.nwaiting * sizeof(tap.len[0]));
	memmove(tap.seq, tap.seq + 1, tap.nwaiting * sizeof(tap.seq[0]));
	memmove(tap.h, tap.h + 1, tap.nwaiting * sizeof(tap.h[0]));
	tap.reads++;
	return (ssize_t)got;
}

/* What must hold of every header that the host is given. */
static void check_header(const struct virtio_net_hdr_v1 *h, uint32_t len)
{
	bool wants_csum = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;

	FUZZ_CHECK((h->flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 && h->num_buffers == 0);
	FUZZ_CHECK(!wants_csum || ((w.features & VIRTIO_BIT(VIRTIO_NET_F_CSUM)) &&
					  h->csum_start + h->csum_offset + 2U <= len));
	FUZZ_CHECK(wants_csum || (h->csum_start == 0 && h->csum_offset == 0));
	FUZZ_CHECK(h->hdr_len <= len);
	switch (h->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE: FUZZ_CHECK(h->gso_size == 0 && h->hdr_len == 0); return;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		FUZZ_CHECK(w.features & VIRTIO_BIT(VIRTIO_NET_F_HOST_TSO4));
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		FUZZ_CHECK(w.features & VIRTIO_BIT(VIRTIO_NET_F_HOST_TSO6));
		break;
	case VIRTIO_NET_HDR_GSO_UDP:
		FUZZ_CHECK(w.features & VIRTIO_BIT(VIRTIO_NET_F_HOST_UFO));
		break;
	default:
		FUZZ_CHECK(h->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4);
		FUZZ_CHECK(w.features & VIRTIO_BIT(VIRTIO_NET_F_HOST_USO));
	}
	FUZZ_CHECK(h->gso_size > 0);
}

ssize_t tap_write(struct tap *t, const struct iovec *iov, unsigned n)
{
	struct virtio_net_hdr_v1 h;
	uint32_t len = 0;

	(void)t;
	FUZZ_CHECK(n >= 2 && n <= IOV_MAX && iov[0].iov_len == sizeof(h));
	FUZZ_CHECK(!is_guest(&iov[0]));
	memcpy(&h, iov[0].iov_base, sizeof(h));
	for (unsigned i = 1; i < n; i++) {
		FUZZ_CHECK(is_guest(&iov[i]) && iov[i].iov_len > 0);
		len += (uint32_t)iov[i].iov_len;
	}
	FUZZ_CHECK(len >= NET_FRAME_MIN && len <= NET_FRAME_MAX);
	check_header(&h, len);
	if (tap.write_errno) {
		n = (unsigned)tap.write_errno;
		if (tap.write_errno == EINTR)
			tap.write_errno = 0;
		return -(ssize_t)n;
	}
	if (w.is_honest && len >= PAYLOAD_MIN) {
		uint32_t at = 0, seq;

		for (unsigned i = 1; i < n; i++) {
			memcpy(tap.frame + at, iov[i].iov_base, iov[i].iov_len);
			at += (uint32_t)iov[i].iov_len;
		}
		seq = frame_seq(tap.frame);
		FUZZ_CHECK(seq > w.last_tx_seq && seq < w.next_tx_seq);
		FUZZ_CHECK(is_frame(tap.frame, len, seq));
		w.last_tx_seq = seq;
	}
	return (ssize_t)(len + sizeof(h));
}

int tap_set_offloads(struct tap *t, uint64_t features)
{
	(void)t;
	return features & VIRTIO_BIT(VIRTIO_NET_F_GUEST_UFO) ? -EINVAL : 0;
}

/* Some are there already, some change, some are refused. */
bool tap_has_offloads(const struct tap *t, uint64_t features)
{
	(void)t;
	return features & VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO4);
}

void tap_close(struct tap *t)
{
	(void)t;
}

/* Nobody passes an open one here. */
void tap_free(struct tap *t)
{
	FUZZ_CHECK(!t);
}

int tap_open(struct tap *t, const char *name, struct err *e)
{
	(void)t;
	(void)name;
	(void)e;
	return -ENOENT;
}

int tap_adopt(struct tap *t, int fd, struct err *e)
{
	(void)fd;
	return tap_open(t, "", e);
}

/* --- what the loop would do --- */

static bool is_due(const struct loop_op *op)
{
	if (op->res == -ECANCELED)
		return true;
	if (op->kind == LOOP_TIMEOUT)
		return (uint64_t)op->len <= host.now_ns;
	if (op->events == POLLIN)
		return tap.nwaiting > 0 || (tap.read_errno != 0 && tap.read_errno != EAGAIN);
	return tap.write_errno != EAGAIN;
}

/* One round: what is due is served once, then the tail runs.  True when something was. */
static bool turn(void)
{
	struct loop_op *due[ARRAY_SIZE(host.op)];
	struct loop_tail *tail = NULL;
	unsigned n = 0, kept = 0;

	for (unsigned i = 0; i < host.nops; i++) {
		if (is_due(host.op[i]))
			due[n++] = host.op[i];
		else
			host.op[kept++] = host.op[i];
	}
	host.nops = kept;
	for (unsigned i = 0; i < n; i++) {
		int res = due[i]->res;

		due[i]->kind = LOOP_IDLE;
		if (due[i]->len == 0 && res == 1)
			res = POLLIN;
		due[i]->done(due[i], res);
	}
	tail = host.tail;
	host.tail = NULL;
	if (tail)
		tail->run(tail);
	return n > 0 || tail;
}

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
	(void)dev;
	w.quiesced++;
}

static void pause_device(void)
{
	unsigned before = w.quiesced;

	w.dev->is_quiesced = true;
	w.dev->ops->quiesce(w.dev);
	while (turn())
		;
	FUZZ_CHECK(w.quiesced == before + 1);
	FUZZ_CHECK(host.nops == 0 && !host.tail);
	w.is_paused = true;
}

static void resume_device(void)
{
	w.dev->is_quiesced = w.is_paused = false;
	w.dev->ops->resume(w.dev);
}

static void kick(unsigned q)
{
	if (virtio_may_run(w.dev) && w.dev->vq[q].ready)
		w.dev->ops->kick(w.dev, q);
}

static void start(uint64_t features)
{
	gpa_t at = QUEUE_AT;

	w.features = w.dev->offered & features;
	/* As the transport would not let pass. */
	if (!w.dev->ops->accepts(w.dev, w.features))
		w.features &= VIRTIO_FEATURES_COMMON | VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF);
	w.features |= VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC);
	w.dev->acked = w.features;
	for (unsigned q = 0; q < NET_QUEUES; q++) {
		at = t_virtq_init(&w.q[q], &w.mem, at, w.num);
		FUZZ_CHECK(virtq_start(&w.dev->vq[q], &w.mem, &w.q[q].at, w.features) == RULE_NONE);
	}
	memset(w.rx_busy, 0, sizeof(w.rx_busy));
	memset(w.tx_busy, 0, sizeof(w.tx_busy));
	w.dev->active = true;
	w.dev->is_quiesced = false;
	w.dev->ops->activate(w.dev);
	for (unsigned q = 0; q < NET_QUEUES; q++)
		kick(q);
}

static void stop(void)
{
	if (!w.is_paused)
		pause_device();
	w.dev->ops->reset(w.dev);
	w.dev->active = w.dev->is_quiesced = w.is_paused = false;
	for (unsigned q = 0; q < NET_QUEUES; q++)
		virtq_stop(&w.dev->vq[q]);
	atomic_store(&w.dev->needs_reset, false);
}

/* --- the driver --- */

/* Compares what was received with what the wire brought. */
static void check_received(struct t_virtq *q, uint32_t head, uint32_t part)
{
	static uint8_t got[FRAME_MAX];
	struct virtio_net_hdr_v1 h;
	uint32_t at = 0, seq;
	unsigned left = 1;

	for (unsigned i = 0; i < left; i++) {
		uint32_t rest = part;

		/* All buffers of a frame come together. */
		FUZZ_CHECK(i == 0 || t_virtq_used(q, &head, &rest));
		FUZZ_CHECK(head < w.num && w.rx_busy[head] && rest > 0);
		w.rx_busy[head] = false;
		for (unsigned s = 0; rest > 0; s++) {
			uint32_t n;

			FUZZ_CHECK(s < w.rx_nsegs[head]);
			n = MIN(rest, w.rx_seg[head][s].len);
			memcpy(got + at, memory + w.rx_seg[head][s].gpa, n);
			at += n;
			rest -= n;
		}
		if (i == 0) {
			FUZZ_CHECK(at >= NET_HEADER_LEN);
			memcpy(&h, got, sizeof(h));
			left = h.num_buffers;
			FUZZ_CHECK(left >= 1 && left <= w.num);
		}
	}
	FUZZ_CHECK(left == 1 || (w.features & VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF)));
	FUZZ_CHECK(at >= NET_HEADER_LEN + NET_FRAME_MIN && at <= NET_HEADER_LEN + NET_FRAME_MAX);
	FUZZ_CHECK(net_header_may_receive(&h, w.features));
	FUZZ_CHECK(h.flags == 0 || (w.features & VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM)));
	if (at < NET_HEADER_LEN + PAYLOAD_MIN)
		return;
	seq = frame_seq(got + NET_HEADER_LEN);
	FUZZ_CHECK(seq > w.last_rx_seq && seq < w.next_rx_seq);
	FUZZ_CHECK(is_frame(got + NET_HEADER_LEN, at - NET_HEADER_LEN, seq));
	w.last_rx_seq = seq;
}

static void collect(void)
{
	uint32_t id, len;

	while (t_virtq_used(&w.q[NET_QUEUE_RX], &id, &len)) {
		if (w.is_honest)
			check_received(&w.q[NET_QUEUE_RX], id, len);
	}
	while (t_virtq_used(&w.q[NET_QUEUE_TX], &id, &len)) {
		/* A driver that is not may have put its buffers over the used ring. */
		if (!w.is_honest)
			continue;
		FUZZ_CHECK(len == 0);
		FUZZ_CHECK(id < w.num && w.tx_busy[id]);
		w.tx_busy[id] = false;
		w.returned++;
	}
	while (t_virtq_used(&w.q[NET_QUEUE_CTRL], &id, &len))
		FUZZ_CHECK(len == 1 || !w.is_honest);
}

static uint32_t script_u16(struct script *s)
{
	uint32_t low = script_byte(s);

	return low | (uint32_t)script_byte(s) << 8;
}

/* A number that is small more often than it is large. */
static uint32_t script_len(struct script *s)
{
	uint32_t n = script_u16(s);

	return n & 1 ? n : n >> 6;
}

static int free_head(const bool *busy)
{
	for (int i = 0; i < w.num; i++) {
		if (!busy[i])
			return i;
	}
	return -1;
}

static gpa_t table_at(unsigned q, unsigned head)
{
	return TABLE_AT + (q * ENTRIES_MAX + head) * 256;
}

static gpa_t area_at(unsigned q, unsigned head)
{
	return AREA_AT + (q * ENTRIES_MAX + head) * AREA_LEN;
}

static void make_available(
	struct script *s, unsigned q, uint16_t head, const struct t_seg *segs, unsigned n)
{
	if (n == 1 && (script_byte(s) & 1))
		t_virtq_chain(&w.q[q], head, segs, 1);
	else
		t_virtq_chain_indirect(&w.q[q], head, table_at(q, head), segs, n);
	t_virtq_offer(&w.q[q], head);
	t_virtq_publish(&w.q[q]);
}

/* A chain is not longer than the queue. */
static unsigned segs_max(void)
{
	return MIN((unsigned)w.num, (unsigned)SEGS_MAX);
}

static void give(struct script *s)
{
	int head = free_head(w.rx_busy);
	gpa_t at;
	uint32_t sum = 0;

	if (head < 0)
		return;
	at = area_at(NET_QUEUE_RX, (unsigned)head);
	w.rx_nsegs[head] = 1 + script_byte(s) % segs_max();
	for (unsigned i = 0; i < w.rx_nsegs[head]; i++) {
		uint32_t len = 1 + script_len(s) % (AREA_LEN / SEGS_MAX);

		/* Honest: together they have room for the header. */
		if (w.is_honest && i + 1 == w.rx_nsegs[head] && sum + len < NET_HEADER_LEN)
			len += NET_HEADER_LEN;
		sum += len;
		w.rx_seg[head][i] = (struct t_seg){ at, len, true };
		at += len;
	}
	w.rx_busy[head] = true;
	make_available(s, NET_QUEUE_RX, (uint16_t)head, w.rx_seg[head], w.rx_nsegs[head]);
}

static void script_header(struct script *s, struct virtio_net_hdr_v1 *h)
{
	uint8_t how = script_byte(s);

	*h = (struct virtio_net_hdr_v1){ 0 };
	if (how & 1) {
		h->flags = script_byte(s);
		h->csum_start = (uint16_t)script_len(s);
		h->csum_offset = (uint16_t)script_len(s);
	}
	if (how & 2) {
		h->gso_type = script_byte(s) & 0x87;
		h->hdr_len = (uint16_t)script_len(s);
		h->gso_size = (uint16_t)script_len(s);
	}
	if (how & 4)
		h->num_buffers = (uint16_t)script_len(s);
}

static void send_frame(struct script *s)
{
	int head = free_head(w.tx_busy);
	struct virtio_net_hdr_v1 h;
	struct t_seg segs[SEGS_MAX];
	uint32_t len, at = 0;
	unsigned n = 0;
	gpa_t area;

	if (head < 0)
		return;
	area = area_at(NET_QUEUE_TX, (unsigned)head);
	script_header(s, &h);
	len = script_len(s) + (script_byte(s) & 8 ? 0 : NET_HEADER_LEN);
	len = MAX(len, 1U);
	if (len >= NET_HEADER_LEN) {
		memcpy(memory + area, &h, sizeof(h));
		make_frame(memory + area + sizeof(h), len - NET_HEADER_LEN, w.next_tx_seq++);
	}
	while (at < len) {
		uint32_t part = n + 1 == segs_max() ? len - at : 1 + script_len(s);

		part = MIN(part, len - at);
		segs[n++] = (struct t_seg){ area + at, part, false };
		at += part;
	}
	w.tx_busy[head] = true;
	w.offered++;
	make_available(s, NET_QUEUE_TX, (uint16_t)head, segs, n);
}

static void command(struct script *s)
{
	uint16_t head = (uint16_t)(script_byte(s) % w.num);
	gpa_t at = area_at(NET_QUEUE_CTRL, head);
	struct t_seg segs[] = { { at, 1 + script_byte(s) % 8U, false }, { at + 16, 1, true } };
	uint8_t how = script_byte(s);

	memory[at] = how & 1 ? VIRTIO_NET_CTRL_ANNOUNCE : script_byte(s);
	memory[at + 1] = how & 2 ? VIRTIO_NET_CTRL_ANNOUNCE_ACK : script_byte(s);
	/* Honest: one command after the other. */
	if (w.is_honest && w.q[NET_QUEUE_CTRL].next_avail == w.q[NET_QUEUE_CTRL].seen_used)
		make_available(s, NET_QUEUE_CTRL, head, segs, 2);
	else if (!w.is_honest)
		make_available(s, NET_QUEUE_CTRL, head, segs, 1 + (how >> 2 & 1));
	kick(NET_QUEUE_CTRL);
}

static void arrive(struct script *s)
{
	unsigned i = tap.nwaiting;

	if (i == WAITING_MAX)
		return;
	script_header(s, &tap.h[i]);
	tap.len[i] = script_len(s) * (script_byte(s) & 1 ? 2 : 1);
	tap.seq[i] = w.next_rx_seq++;
	tap.nwaiting++;
}

/* Anything in anything: a descriptor, an available entry, an index. */
static void wild(struct script *s)
{
	struct t_virtq *q = &w.q[script_byte(s) % NET_QUEUES];
	uint8_t how = script_byte(s);
	uint16_t at = (uint16_t)(script_byte(s) % w.num);
	gpa_t gpa = (gpa_t)script_u16(s) << (how >> 4);
	uint32_t len = script_len(s);

	if (w.is_honest)
		return;
	switch (how % 4) {
	case 0:
		t_virtq_desc(q, at, gpa, len, script_byte(s) & 7,
			(uint16_t)(script_byte(s) % (w.num + 1)));
		break;
	case 1: q->avail->ring[at] = (uint16_t)gpa; break;
	case 2:
		q->next_avail = (uint16_t)(q->next_avail + (how >> 4));
		t_virtq_publish(q);
		break;
	default: t_virtq_used_event(q, (uint16_t)gpa); break;
	}
}

static void settings(struct script *s)
{
	uint8_t how = script_byte(s);
	struct limiter_config c = {
		.bytes = { .size = script_u16(s), .refill_ms = script_byte(s) },
		.ops = { .size = script_byte(s), .refill_ms = script_byte(s) },
	};

	switch (how % 4) {
	case 0:
		if (how & 4)
			net_set_rx_limit(w.dev, &c.bytes, &c.ops);
		if (how & 8)
			net_set_tx_limit(w.dev, &c.bytes, &c.ops);
		break;
	case 1: net_set_link(w.dev, how & 4); break;
	default: net_announce(w.dev); break;
	}
}

static void set_tap(struct script *s)
{
	static const int codes[] = { 0, EAGAIN, EIO, EINTR, EBADFD, ENOBUFS, 0, 0 };
	uint8_t how = script_byte(s);

	tap.read_errno = codes[how & 7];
	tap.write_errno = codes[how >> 3 & 7];
}

static void restart(uint64_t features)
{
	stop();
	w.had_reset = true;
	start(features);
}

/* --- what always holds --- */

static bool is_worked_on(unsigned q)
{
	return virtio_may_run(w.dev) && w.dev->vq[q].ready;
}

/* No frame is lost but for those that are counted, and no work lies where nobody will look. */
static void check_state(void)
{
	const struct net *n = net_of(w.dev);
	const struct virtio_counters *c = &w.dev->counters;
	uint64_t counted = count_get(&c->errors) + count_get(&c->dropped) +
			   count_get(&c->requests[COUNT_READ]) +
			   count_get(&c->requests[COUNT_WRITE]);

	FUZZ_CHECK(n->rx.nchains <= w.num && n->rx.iov_first <= n->rx.iov_end &&
		   n->rx.iov_end < NET_IOV_MAX);
	FUZZ_CHECK(n->rx.spilled <= n->rx.frame);
	FUZZ_CHECK((n->rx.nchains == 0) == (n->rx.bytes == 0));
	if (w.is_honest && !w.had_reset)
		FUZZ_CHECK(counted + (n->rx.frame > 0) == tap.reads + tap.failures + w.returned);
	FUZZ_CHECK(!w.is_honest || !atomic_load(&w.dev->needs_reset));
	/* A frame in hand, or buffers without a look at the tap: somebody comes back to it. */
	if (is_worked_on(NET_QUEUE_RX) && (n->rx.frame > 0 || n->rx.nchains > 0))
		FUZZ_CHECK(loop_op_is_pending(&n->rx.poll) ||
			   loop_op_is_pending(&n->rx.gate.timer) || (n->again & 1));
	if (is_worked_on(NET_QUEUE_TX) && n->tx.is_held)
		FUZZ_CHECK(loop_op_is_pending(&n->tx.poll) ||
			   loop_op_is_pending(&n->tx.gate.timer) || (n->again & 2));
}

static void step(struct script *s)
{
	uint8_t op = script_byte(s);

	switch (op % OPS) {
	case OP_GIVE: give(s); break;
	case OP_SEND: send_frame(s); break;
	case OP_COMMAND: command(s); break;
	case OP_KICK: kick(script_byte(s) % NET_QUEUES); break;
	case OP_ARRIVE: arrive(s); break;
	case OP_TAP: set_tap(s); break;
	case OP_TURN: (void)turn(); break;
	case OP_TIME: host.now_ns += (uint64_t)script_u16(s) << (op & 16); break;
	case OP_PAUSE:
		if (w.is_paused)
			resume_device();
		else
			pause_device();
		break;
	case OP_RESET: restart(script_byte(s) & 1 ? ~UINT64_C(0) : script_u16(s)); break;
	case OP_SETTINGS: settings(s); break;
	default: wild(s); break;
	}
	collect();
	check_state();
}

/* Time passes, the tap is well, the driver gives what it can: everything comes out. */
static void drain(void)
{
	enum { TURNS = 300, HOSTILE_TURNS = 8 };
	static const struct limiter_config open;
	struct script nothing = { NULL, 0 };
	bool is_done = false;

	if (w.is_paused)
		resume_device();
	net_set_link(w.dev, true);
	net_set_rx_limit(w.dev, &open.bytes, &open.ops);
	net_set_tx_limit(w.dev, &open.bytes, &open.ops);
	tap.read_errno = tap.write_errno = 0;
	for (unsigned i = 0; i < (w.is_honest ? TURNS : HOSTILE_TURNS) && !is_done; i++) {
		host.now_ns += 1000000000;
		if (w.is_honest)
			give(&nothing);
		kick(NET_QUEUE_RX);
		kick(NET_QUEUE_TX);
		(void)turn();
		collect();
		check_state();
		is_done = w.is_honest && tap.nwaiting == 0 && net_of(w.dev)->rx.frame == 0 &&
			  !memchr(w.tx_busy, true, sizeof(w.tx_busy));
	}
	FUZZ_CHECK(!w.is_honest || is_done);
	FUZZ_CHECK(!w.is_honest || w.had_reset || w.returned == w.offered);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = { data, size };
	uint8_t how = script_byte(&s);
	struct net_config c = { .id = "net0", .mtu = how & 2 ? 1500 : 0 };
	struct tap t = { .fd = 1, .tx_fd = 2, .has_uso = true, .name = "wire" };

	log_init(LOG_ERROR, -1);
	make_pattern();
	memset(&w, 0, sizeof(w));
	memset(&host, 0, sizeof(host));
	tap.nwaiting = 0;
	tap.read_errno = tap.write_errno = 0;
	tap.reads = tap.failures = 0;
	w.mem = (struct guest_mem){ .n = 1, .r = { { 0, sizeof(memory), memory } } };
	w.is_honest = how & 1;
	w.num = (uint16_t)(ENTRIES_MAX >> (how >> 2 & 3));
	w.next_rx_seq = w.next_tx_seq = 1;
	host.now_ns = 1;
	FUZZ_CHECK(net_new_on(&c, &t, &w.dev, NULL) == 0);
	w.dev->mem = &w.mem;
	w.dev->loop = (struct loop *)(void *)&host;
	w.dev->quiesced = on_quiesced;
	w.dev->told = on_news;
	start(how & 16 ? ~UINT64_C(0) : ~VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF));
	for (unsigned n = 0; s.left > 0 && n < OPERATIONS_MAX; n++)
		step(&s);
	drain();
	stop();
	w.dev->ops->free(w.dev);
	return 0;
}
