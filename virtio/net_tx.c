/*
 * Sending (net_private.h; virtio 1.2, 5.1.6.2).
 *
 * A chain is popped, its header copied and checked, and the rest goes from the guest's memory to
 * the tap behind our copy.  A frame that has to wait, for the limiter or the tap, is held, and the
 * queue with it: the guest sees it fill up.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "virtio/net_private.h"

/* The share of one run: frames, and bytes that the host copies meanwhile. */
enum { TX_FRAMES = 256, TX_BYTES = 256 << 10 };

static struct virtq *queue(struct net *n)
{
	return &n->dev.vq[NET_QUEUE_TX];
}

static void complete(struct net *n, uint16_t head)
{
	virtq_push(queue(n), head, 0);
	n->tx.is_held = n->tx.is_paid = false;
}

/*
 * Reads the header, wherever its bytes are, and puts our copy in front of the rest: c's segments
 * begin at iov[1], so the place before the first one that is left is always free.
 */
static enum net_header_fault read_header(struct net *n, const struct virtq_chain *c)
{
	struct net_tx *tx = &n->tx;
	unsigned first = 1, last = c->nread;
	size_t skip = NET_HEADER_LEN;

	/* Writable segments have no business here (5.1.6.2.1). */
	if (c->nwrite > 0 || c->read_len < NET_HEADER_LEN + NET_FRAME_MIN)
		return NET_HEADER_FRAME_SHORT;
	net_take_header(&tx->iov[1], &tx->header);
	while (skip >= tx->iov[first].iov_len)
		skip -= tx->iov[first++].iov_len;
	tx->iov[first].iov_base = (uint8_t *)tx->iov[first].iov_base + skip;
	tx->iov[first].iov_len -= skip;
	tx->iov_first = first - 1;
	tx->niov = last - first + 2;
	tx->iov[tx->iov_first] =
		(struct iovec){ .iov_base = &tx->header, .iov_len = sizeof(tx->header) };
	return net_header_check(&tx->header, n->dev.acked, c->read_len - NET_HEADER_LEN);
}

/* Takes the next frame; false when there is none. */
static bool take_frame(struct net *n)
{
	struct net_tx *tx = &n->tx;
	struct virtq_chain c = { .iov = &tx->iov[1], .iov_max = NET_QUEUE_MAX };
	enum net_header_fault fault;
	int rc = virtq_pop(queue(n), &c);

	if (rc == 0) {
		count_add(&n->dev.counters.way[COUNT_WRITE].no_buffer, 1);
		return virtq_kicks_on(queue(n));
	}
	/* No chain is longer than the queue, and no queue longer than we allow. */
	INVARIANT(rc != -ENOSPC);
	if (rc < 0) {
		virtio_break(&n->dev, queue(n)->broken);
		return false;
	}
	fault = read_header(n, &c);
	if (fault != NET_HEADER_GOOD) {
		log_guest(LOG_DEBUG, "%s: a frame is not sent: %s", n->dev.name,
			net_header_fault_text(fault));
		count_add(&n->dev.counters.errors, 1);
		count_add(&n->dev.counters.malformed, 1);
		complete(n, c.head);
		return true;
	}
	tx->is_held = true;
	tx->head = c.head;
	tx->len = c.read_len;
	return true;
}

/* Somebody should hear of it. */
static void tap_failed(struct net *n, int code)
{
	if (!n->tx.has_failed)
		log_guest(LOG_WARNING, "%s: tap '%s' takes no frames: %s%s", n->dev.name,
			n->tap.name, strerror(-code), code == -EIO ? " (is the link up?)" : "");
	n->tx.has_failed = true;
	count_add(&n->dev.counters.errors, 1);
	count_add(&n->dev.counters.way[COUNT_WRITE].fails, 1);
	count_add(&n->dev.counters.way[COUNT_WRITE].backend_fails, 1);
}

/* Only to be counted: what an address may be used for is the host's bridge's business. */
static void look_at_source(struct net *n)
{
	const struct net_tx *tx = &n->tx;
	const size_t at = NET_HEADER_LEN + NET_MAC_LEN; /* behind the destination */
	uint8_t source[NET_MAC_LEN];

	if (!n->has_mac)
		return;
	net_gather(&tx->iov[tx->iov_first], at, source, sizeof(source));
	if (memcmp(source, n->mac, sizeof(source)) != 0)
		count_add(&n->dev.counters.spoofed, 1);
}

/* False when the tap is full: it wakes us. */
static bool send_frame(struct net *n)
{
	struct net_tx *tx = &n->tx;
	struct way_counters *count = &n->dev.counters.way[COUNT_WRITE];
	uint64_t began;
	ssize_t put;

	if (!n->is_link_up) {
		count_add(&n->dev.counters.dropped, 1);
		complete(n, tx->head);
		return true;
	}
	began = tick_now();
	put = tap_write(&n->tap, &tx->iov[tx->iov_first], tx->niov);
	if (put == -EINTR)
		return true;
	if (put == -EAGAIN) {
		loop_poll(n->dev.loop, &tx->poll, n->tap.tx_fd, POLLOUT);
		return false;
	}
	if (put < 0) {
		/* What the tap refuses is gone, as it would be on a wire. */
		tap_failed(n, (int)put);
	} else {
		tx->has_failed = false;
		tally_add(&count->took, tick_now() - began);
		look_at_source(n);
		count_add(&n->dev.counters.requests[COUNT_WRITE], 1);
		count_add(&n->dev.counters.bytes[COUNT_WRITE], tx->len - NET_HEADER_LEN);
	}
	complete(n, tx->head);
	return true;
}

/* Brings one frame a step nearer to the tap.  False when there is nothing to do for now. */
static bool step(struct net *n, uint32_t *bytes)
{
	struct net_tx *tx = &n->tx;

	if (!tx->is_held && !take_frame(n))
		return false;
	/* Refused, or there is one since we last looked. */
	if (!tx->is_held)
		return true;
	if (!tx->is_paid && !net_gate_pass(n, &tx->gate, tx->len))
		return false;
	tx->is_paid = true;
	*bytes += tx->len;
	return send_frame(n);
}

void net_tx_run(struct net *n)
{
	uint32_t bytes = 0;
	bool go_on = true;

	/* While the tap or the limiter is waited for, a kick changes nothing. */
	if (!net_may_run(n, NET_QUEUE_TX) || loop_op_is_pending(&n->tx.poll) ||
		loop_op_is_pending(&n->tx.gate.timer))
		return;
	virtq_kicks_off(queue(n));
	for (unsigned i = 0; i < TX_FRAMES && bytes < TX_BYTES && go_on; i++)
		go_on = step(n, &bytes);
	virtio_publish(&n->dev, NET_QUEUE_TX);
	if (!go_on)
		return;
	count_add(&n->dev.counters.way[COUNT_WRITE].left, 1);
	net_again(n, NET_QUEUE_TX);
}

/* --- waking up --- */

static void tap_ready(struct loop_op *op, int res)
{
	struct net *n = container_of(op, struct net, tx.poll);

	if (res >= 0)
		count_add(&n->dev.counters.way[COUNT_WRITE].backend_events, 1);

	/* The tap is full and the host cannot tell us when it no longer is.  The frame still waits.
	 */
	if (res < 0 && res != -ECANCELED && net_may_run(n, NET_QUEUE_TX)) {
		tap_failed(n, res);
		net_gate_wait(n, &n->tx.gate, NET_RETRY_NS);
	} else {
		net_tx_run(n);
	}
	net_settle(n);
}

static void time_over(struct loop_op *op, int res)
{
	struct net *n = container_of(op, struct net, tx.gate.timer);

	if (res == 0 && n->tx.gate.is_shut)
		count_add(&n->dev.counters.way[COUNT_WRITE].limiter_events, 1);
	net_tx_run(n);
	net_settle(n);
}

void net_tx_init(struct net *n)
{
	n->tx.poll.done = tap_ready;
	n->tx.gate.timer.done = time_over;
}

void net_tx_forget(struct net *n)
{
	n->tx.is_held = n->tx.is_paid = false;
	n->tx.gate.is_shut = false;
}
