/*
 * Receiving (net_private.h; virtio 1.2, 5.1.6.3 and 5.1.6.4).
 *
 * Chains are popped into a pool until a long frame fits.  One readv moves a frame from the tap to
 * the beginning of the pool, and what does not fit there into the spill buffer behind it.  The
 * chains that the frame lies in are pushed, the rest stays for the next one.
 *
 *     pool:  | chain | chain | chain | ... | spill
 *            |<--- frame --->|
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "virtio/net_private.h"

enum {
	/* The share of one run: frames, and bytes that the host copies meanwhile. */
	RX_FRAMES = 64,
	RX_BYTES = 256 << 10,
	/* Payload of Ethernet where no MTU was said. */
	RX_MTU = 1500,
	/* After so many frames in a row that are no longer than this, the next is taken to be short
	 * too (aim()). */
	SHORT_AFTER = 64,
	SHORT_BYTES = 2048,
};

/* How long a frame waits for more buffers: a driver that never gives as many would otherwise
 * receive nothing any more. */
static const uint64_t hold_ns = 1000000000;

static struct virtq *queue(struct net *n)
{
	return &n->dev.vq[NET_QUEUE_RX];
}

static bool is_merged(const struct net *n)
{
	return virtio_has(&n->dev, VIRTIO_NET_F_MRG_RXBUF);
}

/* --- the pool --- */

enum pool_state {
	POOL_ENOUGH,
	POOL_DRY,    /* the driver has no more to give for now */
	POOL_FULL,   /* there is more, but no place for its segments */
	POOL_BROKEN, /* the driver broke a rule */
};

static void move_to_front(struct net_rx *rx)
{
	memmove(rx->iov, rx->iov + rx->iov_first,
		(rx->iov_end - rx->iov_first) * sizeof(rx->iov[0]));
	rx->iov_end -= rx->iov_first;
	rx->iov_first = 0;
}

/* Where the next chain's segments go; the last place is the spill buffer's. */
static struct virtq_chain empty_chain(struct net_rx *rx)
{
	return (struct virtq_chain){ .iov = &rx->iov[rx->iov_end],
		.iov_max = NET_IOV_MAX - 1 - rx->iov_end };
}

static enum pool_state add_chain(struct net *n)
{
	struct net_rx *rx = &n->rx;
	struct virtq_chain c = empty_chain(rx);
	int rc = virtq_pop(queue(n), &c);

	if (rc == -ENOSPC && rx->iov_first > 0) {
		move_to_front(rx);
		c = empty_chain(rx);
		rc = virtq_pop(queue(n), &c);
	}
	if (rc == 0)
		return POOL_DRY;
	if (rc == -ENOSPC)
		return POOL_FULL;
	if (rc < 0) {
		virtio_break(&n->dev, queue(n)->broken);
		return POOL_BROKEN;
	}
	if (c.nread > 0 || c.write_len < NET_HEADER_LEN) {
		virtio_break(&n->dev, RULE_NET_BUFFER);
		return POOL_BROKEN;
	}
	rx->chain[(rx->chain_first + rx->nchains) % NET_QUEUE_MAX] = (struct net_chain){
		.len = c.write_len, .head = c.head, .niov = (uint16_t)c.nwrite
	};
	rx->nchains++;
	rx->iov_end += c.nwrite;
	rx->bytes += c.write_len;
	return POOL_ENOUGH;
}

static enum pool_state fill_pool(struct net *n, uint64_t bytes)
{
	enum pool_state state = POOL_ENOUGH;

	/* The queue has no more entries than the pool has places, so it never overtakes itself. */
	while (n->rx.bytes < bytes && n->rx.nchains < NET_QUEUE_MAX && state == POOL_ENOUGH)
		state = add_chain(n);
	return state;
}

static void drop_first_chain(struct net_rx *rx)
{
	const struct net_chain *c = &rx->chain[rx->chain_first];

	rx->iov_first += c->niov;
	rx->bytes -= c->len;
	rx->chain_first = (rx->chain_first + 1) % NET_QUEUE_MAX;
	rx->nchains--;
	if (rx->nchains == 0)
		rx->iov_first = rx->iov_end = 0;
}

/* --- one frame --- */

static void give_up_frame(struct net *n, _Atomic uint64_t *counter)
{
	n->rx.frame = n->rx.spilled = 0;
	count_add(counter, 1);
	count_add(&n->dev.counters.way[COUNT_READ].fails, 1);
}

/* The interface was deleted, or something as grave: nothing to poll for. */
static void tap_failed(struct net *n, int code)
{
	if (!n->rx.has_failed)
		log_guest(LOG_WARNING, "%s: tap '%s' gives no frames: %s", n->dev.name, n->tap.name,
			code ? strerror(-code) : "it has ended");
	n->rx.has_failed = true;
	count_add(&n->dev.counters.errors, 1);
	count_add(&n->dev.counters.way[COUNT_READ].backend_fails, 1);
	net_gate_wait(n, &n->rx.gate, NET_RETRY_NS);
}

/*
 * Decides about a frame that lies at the beginning of the pool.  A header may say things that the
 * driver did not agree to only where the tap had the frame in its queue before it was told what was
 * agreed.  room is how much of the pool it was read into.
 */
static void take_frame(struct net *n, uint32_t len, uint64_t room)
{
	struct net_rx *rx = &n->rx;
	const struct iovec *iov = &rx->iov[rx->iov_first];
	struct virtio_net_hdr_v1 h;

	rx->frame = len;
	rx->short_run = len <= SHORT_BYTES ? rx->short_run + 1 : 0;
	if (len < NET_HEADER_LEN + NET_FRAME_MIN) {
		give_up_frame(n, &n->dev.counters.errors);
		return;
	}
	/* One that was cut off, because it filled the spill buffer too, is among these. */
	if (!n->is_link_up || len > NET_HEADER_LEN + NET_FRAME_MAX ||
		(!is_merged(n) && len > rx->bytes)) {
		give_up_frame(n, &n->dev.counters.dropped);
		return;
	}
	net_take_header(iov, &h);
	if (!net_header_may_receive(&h, n->dev.acked)) {
		give_up_frame(n, &n->dev.counters.errors);
		return;
	}
	/* The tap says "valid" to everybody, but it may be said only to those who agreed on
	 * checksums (5.1.6.4.1). */
	if (h.flags != 0 && !virtio_has(&n->dev, VIRTIO_NET_F_GUEST_CSUM)) {
		h.flags = 0;
		net_scatter(
			iov, offsetof(struct virtio_net_hdr_v1, flags), &h.flags, sizeof(h.flags));
	}
	rx->spilled = len > room ? (uint32_t)(len - room) : 0;
	rx->spill_end = rx->spilled;
	if (rx->spilled > 0)
		rx->hold_until_ns = net_now_ns(n) + hold_ns;
}

/*
 * Where the next frame is read to: the whole pool and the spill buffer; or, after a run of short
 * frames, only as much of the pool as they need, because the kernel looks at every segment of every
 * read.  A long frame that comes then is copied out of the spill buffer, and ends the run.
 */
static unsigned aim(struct net_rx *rx, struct iovec **ret, uint64_t *ret_room)
{
	const struct iovec spill = { .iov_base = rx->spill, .iov_len = NET_SPILL_LEN };
	unsigned n = 0, all = rx->iov_end - rx->iov_first;
	uint64_t room = 0;

	while (rx->short_run >= SHORT_AFTER && n < MIN(all, (unsigned)NET_SHORT_IOV) &&
		room < SHORT_BYTES) {
		rx->few[n] = rx->iov[rx->iov_first + n];
		room += rx->few[n++].iov_len;
	}
	if (room >= SHORT_BYTES) {
		rx->few[n] = spill;
		*ret = rx->few;
		*ret_room = room;
		return n + 1;
	}
	rx->iov[rx->iov_end] = spill;
	*ret = &rx->iov[rx->iov_first];
	*ret_room = rx->bytes;
	return all + 1;
}

/* False when there is none: something wakes us when it is worth to look again. */
static bool read_frame(struct net *n)
{
	struct net_rx *rx = &n->rx;
	struct iovec *iov;
	uint64_t room;
	unsigned count;
	ssize_t got;

	/* Nothing that has a limit on the host's side is waited for in a guest without buffers. */
	if (rx->nchains == 0) {
		count_add(&n->dev.counters.way[COUNT_READ].no_buffer, 1);
		return virtq_kicks_on(queue(n));
	}
	count = aim(rx, &iov, &room);
	got = tap_read(&n->tap, iov, count);
	if (got == -EINTR)
		return true;
	if (got <= 0 && got != -EAGAIN) {
		tap_failed(n, (int)got);
		return false;
	}
	rx->has_failed = false;
	if (got == -EAGAIN) {
		loop_poll(n->dev.loop, &rx->poll, n->tap.fd, POLLIN);
		return false;
	}
	/* Whatever becomes of it. */
	virtio_mark_dirty(&n->dev, iov, 0, MIN((uint64_t)got, room));
	take_frame(n, (uint32_t)got, room);
	return true;
}

/* Copies what has room by now. */
static void unspill(struct net *n)
{
	struct net_rx *rx = &n->rx;
	uint32_t at = rx->frame - rx->spilled;
	uint32_t part = (uint32_t)(MIN(rx->bytes, rx->frame) - at);

	net_scatter(&rx->iov[rx->iov_first], at, rx->spill + rx->spill_end - rx->spilled, part);
	virtio_mark_dirty(&n->dev, &rx->iov[rx->iov_first], at, part);
	rx->spilled -= part;
}

/*
 * Finds room for the end of the frame.  It is given up when the driver cannot have any more room,
 * or takes too long.  False when it waits.
 */
static bool find_room(struct net *n)
{
	struct net_rx *rx = &n->rx;
	enum pool_state state = fill_pool(n, rx->frame);
	uint64_t now;

	if (state == POOL_BROKEN)
		return false;
	unspill(n);
	if (rx->spilled == 0)
		return true;
	now = net_now_ns(n);
	if (state == POOL_FULL || queue(n)->inflight == queue(n)->num || now >= rx->hold_until_ns) {
		give_up_frame(n, &n->dev.counters.dropped);
		return true;
	}
	if (virtq_kicks_on(queue(n)))
		return true;
	net_gate_wait(n, &rx->gate, rx->hold_until_ns - now);
	return false;
}

static void deliver(struct net *n)
{
	struct net_rx *rx = &n->rx;
	uint32_t left = rx->frame;
	const size_t at = offsetof(struct virtio_net_hdr_v1, num_buffers);
	uint64_t room = 0;
	uint16_t used = 0;

	while (room < rx->frame)
		room += rx->chain[(rx->chain_first + used++) % NET_QUEUE_MAX].len;
	/* The tap leaves this field as it was; without merging it is 1 as well (5.1.6.4.1). */
	if (rx->iov[rx->iov_first].iov_len >= NET_HEADER_LEN)
		memcpy((uint8_t *)rx->iov[rx->iov_first].iov_base + at, &used, sizeof(used));
	else
		net_scatter(&rx->iov[rx->iov_first], at, &used, sizeof(used));
	/* The rest was marked when it was read, which may be before a pause. */
	virtio_mark_dirty(&n->dev, &rx->iov[rx->iov_first], at, sizeof(used));
	while (left > 0) {
		const struct net_chain *c = &rx->chain[rx->chain_first];
		uint32_t part = MIN(left, c->len);

		virtq_push(queue(n), c->head, part);
		left -= part;
		drop_first_chain(rx);
	}
	count_add(&n->dev.counters.requests[COUNT_READ], 1);
	count_add(&n->dev.counters.bytes[COUNT_READ], rx->frame - NET_HEADER_LEN);
	rx->frame = 0;
}

/* Brings one frame a step nearer to the guest, and adds its bytes when it is there.  False when
 * there is nothing to do for now. */
static bool step(struct net *n, uint32_t *bytes)
{
	struct net_rx *rx = &n->rx;

	if (rx->frame == 0 && (fill_pool(n, rx->want) == POOL_BROKEN || !read_frame(n)))
		return false;
	if (rx->spilled > 0 && !find_room(n))
		return false;
	/* Dropped, or there is more room since we last looked. */
	if (rx->frame == 0 || rx->spilled > 0)
		return true;
	if (!net_gate_pass(n, &rx->gate, rx->frame))
		return false;
	*bytes += rx->frame;
	deliver(n);
	return true;
}

void net_rx_run(struct net *n)
{
	uint32_t bytes = 0;
	bool go_on = true;

	/* While the tap is polled it has nothing. */
	if (!net_may_run(n, NET_QUEUE_RX) || loop_op_is_pending(&n->rx.poll))
		return;
	virtq_kicks_off(queue(n));
	for (unsigned i = 0; i < RX_FRAMES && bytes < RX_BYTES && go_on; i++)
		go_on = step(n, &bytes);
	virtio_publish(&n->dev, NET_QUEUE_RX);
	if (!go_on)
		return;
	count_add(&n->dev.counters.way[COUNT_READ].left, 1);
	net_again(n, NET_QUEUE_RX);
}

/* --- waking up --- */

static void tap_ready(struct loop_op *op, int res)
{
	struct net *n = container_of(op, struct net, rx.poll);

	if (res >= 0)
		count_add(&n->dev.counters.way[COUNT_READ].backend_events, 1);

	if (res < 0 && net_may_run(n, NET_QUEUE_RX))
		tap_failed(n, res);
	else
		net_rx_run(n);
	net_settle(n);
}

static void time_over(struct loop_op *op, int res)
{
	struct net *n = container_of(op, struct net, rx.gate.timer);

	if (res == 0 && n->rx.gate.is_shut)
		count_add(&n->dev.counters.way[COUNT_READ].limiter_events, 1);
	net_rx_run(n);
	net_settle(n);
}

void net_rx_init(struct net *n)
{
	n->rx.poll.done = tap_ready;
	n->rx.gate.timer.done = time_over;
}

void net_rx_activate(struct net *n)
{
	static const uint64_t long_frames =
		VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO4) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO6) |
		VIRTIO_BIT(VIRTIO_NET_F_GUEST_UFO) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_USO4) |
		VIRTIO_BIT(VIRTIO_NET_F_GUEST_USO6);
	uint16_t mtu = 0;

	virtio_config_read(&n->dev, offsetof(struct virtio_net_config, mtu), &mtu, sizeof(mtu));
	if (!is_merged(n))
		n->rx.want = 1; /* a frame has one chain, whatever its length */
	else if (n->dev.acked & long_frames)
		n->rx.want = NET_HEADER_LEN + NET_FRAME_MAX;
	else
		n->rx.want = NET_HEADER_LEN + NET_FRAME_MIN + (mtu ? mtu : RX_MTU);
}

void net_rx_resume(struct net *n)
{
	/* It did not have the time to give buffers. */
	if (n->rx.spilled > 0)
		n->rx.hold_until_ns = net_now_ns(n) + hold_ns;
}

void net_rx_forget(struct net *n)
{
	struct net_rx *rx = &n->rx;

	rx->frame = rx->spilled = 0;
	rx->bytes = 0;
	rx->chain_first = rx->nchains = rx->iov_first = rx->iov_end = 0;
	rx->gate.is_shut = false;
}
