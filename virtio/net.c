/* The network device: its life and its configuration (net.h; virtio 1.2, 5.1). */
#include "virtio/net.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "virtio/net_private.h"
#include "virtio/state.h"

/* --- features --- */

/* What each feature needs (5.1.3.1): one of two. */
static const struct {
	uint8_t feature, needs[2];
} dependencies[] = {
	{ VIRTIO_NET_F_GUEST_TSO4, { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
	{ VIRTIO_NET_F_GUEST_TSO6, { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
	{ VIRTIO_NET_F_GUEST_ECN, { VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6 } },
	{ VIRTIO_NET_F_GUEST_UFO, { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
	{ VIRTIO_NET_F_GUEST_USO4, { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
	{ VIRTIO_NET_F_GUEST_USO6, { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
	{ VIRTIO_NET_F_HOST_TSO4, { VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM } },
	{ VIRTIO_NET_F_HOST_TSO6, { VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM } },
	{ VIRTIO_NET_F_HOST_ECN, { VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6 } },
	{ VIRTIO_NET_F_HOST_UFO, { VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM } },
	{ VIRTIO_NET_F_HOST_USO, { VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM } },
	{ VIRTIO_NET_F_GUEST_ANNOUNCE, { VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_CTRL_VQ } },
};

static bool net_accepts(const struct virtio_device *dev, uint64_t features)
{
	(void)dev;
	for (unsigned i = 0; i < ARRAY_SIZE(dependencies); i++) {
		if ((features & VIRTIO_BIT(dependencies[i].feature)) &&
			!(features & VIRTIO_BIT(dependencies[i].needs[0])) &&
			!(features & VIRTIO_BIT(dependencies[i].needs[1])))
			return false;
	}
	return true;
}

static uint64_t offered(const struct net_config *c, const struct tap *t)
{
	uint64_t f = VIRTIO_BIT(VIRTIO_NET_F_STATUS) | VIRTIO_BIT(VIRTIO_NET_F_CTRL_VQ) |
		     VIRTIO_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);

	if (c->has_mac)
		f |= VIRTIO_BIT(VIRTIO_NET_F_MAC);
	if (c->mtu != 0)
		f |= VIRTIO_BIT(VIRTIO_NET_F_MTU);
	if (!c->no_mrg)
		f |= VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF);
	/* All segmentation fills in checksums. */
	if (c->no_csum)
		return f;
	f |= VIRTIO_BIT(VIRTIO_NET_F_CSUM) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM);
	if (!c->no_tso)
		f |= VIRTIO_BIT(VIRTIO_NET_F_HOST_TSO4) | VIRTIO_BIT(VIRTIO_NET_F_HOST_TSO6) |
		     VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO4) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO6);
	if (!c->no_ufo)
		f |= VIRTIO_BIT(VIRTIO_NET_F_HOST_UFO) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_UFO);
	if (!c->no_uso && t->has_uso)
		f |= VIRTIO_BIT(VIRTIO_NET_F_HOST_USO) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_USO4) |
		     VIRTIO_BIT(VIRTIO_NET_F_GUEST_USO6);
	return f;
}

/* --- what both directions use --- */

bool net_may_run(const struct net *n, unsigned q)
{
	return virtio_may_run(&n->dev) && n->dev.vq[q].ready;
}

uint64_t net_now_ns(const struct net *n)
{
	struct timespec now;

	if (n->dev.loop)
		return loop_now_ns(n->dev.loop);
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void net_gather(const struct iovec *iov, uint64_t off, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len > 0) {
		size_t part;

		if (off >= iov->iov_len) {
			off -= iov++->iov_len;
			continue;
		}
		part = MIN(len, iov->iov_len - off);
		memcpy(to, (const uint8_t *)iov->iov_base + off, part);
		to += part;
		len -= part;
		off += part;
	}
}

void net_scatter(const struct iovec *iov, uint64_t off, const void *src, size_t len)
{
	const uint8_t *from = src;

	while (len > 0) {
		size_t part;

		if (off >= iov->iov_len) {
			off -= iov++->iov_len;
			continue;
		}
		part = MIN(len, iov->iov_len - off);
		memcpy((uint8_t *)iov->iov_base + off, from, part);
		from += part;
		len -= part;
		off += part;
	}
}

void net_gate_wait(struct net *n, struct net_gate *g, uint64_t ns)
{
	/* Waking up too early only means to ask again, and sums stay small. */
	static const uint64_t wait_max_ns = UINT64_C(3600000000000);
	uint64_t until;

	ns = MIN(ns, wait_max_ns);
	until = net_now_ns(n) + ns;
	if (!loop_op_is_pending(&g->timer)) {
		g->until_ns = until;
		loop_timeout(n->dev.loop, &g->timer, ns);
	} else if (until < g->until_ns) {
		/* Its end is when the run function looks again, and sets it anew. */
		g->until_ns = 0;
		loop_cancel(n->dev.loop, &g->timer);
	}
}

bool net_gate_ask(struct net *n, struct net_gate *g, uint32_t bytes)
{
	uint64_t wait = 0;

	if (g->is_limited)
		wait = limiter_take(&g->limiter, bytes, net_now_ns(n));
	if (wait == 0) {
		g->is_shut = false;
		return true;
	}
	if (!g->is_shut)
		virtio_throttled(
			&n->dev, g == &n->rx.gate ? COUNT_READ : COUNT_WRITE, net_now_ns(n));
	g->is_shut = true;
	net_gate_wait(n, g, wait);
	return false;
}

static void run_queue(struct net *n, unsigned q)
{
	switch (q) {
	case NET_QUEUE_RX: net_rx_run(n); break;
	case NET_QUEUE_TX: net_tx_run(n); break;
	default: net_ctrl_run(n); break;
	}
}

static void run_again(struct loop_tail *tail)
{
	struct net *n = container_of(tail, struct net, tail);
	unsigned queues = n->again;

	n->again = 0;
	for (unsigned q = 0; q < NET_QUEUES; q++) {
		if (queues >> q & 1)
			run_queue(n, q);
	}
	net_settle(n);
}

void net_again(struct net *n, unsigned q)
{
	n->again |= 1U << q;
	loop_defer(n->dev.loop, &n->tail);
}

/* --- the device's ops --- */

enum { NET_OPS = 4 };

static void list_ops(struct net *n, struct loop_op *ret[NET_OPS])
{
	ret[0] = &n->rx.poll;
	ret[1] = &n->rx.gate.timer;
	ret[2] = &n->tx.poll;
	ret[3] = &n->tx.gate.timer;
}

static bool has_pending_op(struct net *n)
{
	struct loop_op *op[NET_OPS];

	list_ops(n, op);
	for (unsigned i = 0; i < NET_OPS; i++) {
		if (loop_op_is_pending(op[i]))
			return true;
	}
	return false;
}

void net_settle(struct net *n)
{
	if (!n->is_waited_for || has_pending_op(n) || n->again != 0)
		return;
	n->is_waited_for = false;
	virtio_quiesced(&n->dev);
}

/*
 * What the host need not finish for this driver.  A guest decides how often that changes, and every
 * change is felt by the whole host: when there were too many the offloads are off until a driver
 * comes later.  They can always be turned off - then the host finishes every frame itself, which
 * costs time and nothing else - and only once for each time that they were turned on.
 */
static void set_offloads(struct net *n)
{
	uint64_t features = n->dev.acked;
	int rc;

	if (tap_has_offloads(&n->tap, features))
		return;
	if (limiter_take(&n->changes, 0, net_now_ns(n)) > 0) {
		log_guest(LOG_WARNING,
			"%s: the driver changes its features too often; offloads stay off",
			n->dev.name);
		features = 0;
	}
	rc = tap_set_offloads(&n->tap, features);
	if (rc == 0)
		return;
	log_guest(LOG_WARNING, "%s: tap '%s' does not take the offloads that were agreed: %s",
		n->dev.name, n->tap.name, strerror(-rc));
	/* Those of the driver before may be on.  Frames that this one did not agree to do not reach
	 * it in any case (net_header_may_receive()). */
	(void)!tap_set_offloads(&n->tap, 0);
}

static void net_activate(struct virtio_device *dev)
{
	struct net *n = net_of(dev);

	set_offloads(n);
	net_rx_activate(n);
}

static void net_kick(struct virtio_device *dev, unsigned q)
{
	run_queue(net_of(dev), q);
}

static void net_quiesce(struct virtio_device *dev)
{
	struct net *n = net_of(dev);
	struct loop_op *op[NET_OPS];

	n->is_waited_for = true;
	list_ops(n, op);
	for (unsigned i = 0; i < NET_OPS; i++)
		loop_cancel(dev->loop, op[i]);
	net_settle(n);
}

static void net_resume(struct virtio_device *dev)
{
	struct net *n = net_of(dev);

	net_rx_resume(n);
	for (unsigned q = 0; q < NET_QUEUES; q++)
		run_queue(n, q);
}

static void net_queue_stopped(struct virtio_device *dev, unsigned q)
{
	struct net *n = net_of(dev);

	if (q == NET_QUEUE_RX)
		net_rx_forget(n);
	else if (q == NET_QUEUE_TX)
		net_tx_forget(n);
}

static void net_reset(struct virtio_device *dev)
{
	struct net *n = net_of(dev);

	net_rx_forget(n);
	net_tx_forget(n);
}

/*
 * What was taken is put back by the queues' positions: a frame that the guest sends and the tap had
 * no room for is sent then, and pays its limiter once more.  A frame that was read from the tap and
 * waits for buffers or for its limiter is lost with the machine that is saved, as on a wire that is
 * pulled; the one that goes on has it.
 */
static void net_save(const struct virtio_device *dev, struct virtio_state *ret)
{
	const struct net *n = container_of(dev, struct net, dev);

	limiter_save(&n->rx.gate.limiter, net_now_ns(n), &ret->limiter[NET_QUEUE_RX]);
	limiter_save(&n->tx.gate.limiter, net_now_ns(n), &ret->limiter[NET_QUEUE_TX]);
	ret->is_link_up = n->is_link_up;
}

static int net_load(struct virtio_device *dev, const struct virtio_state *s)
{
	struct net *n = net_of(dev);
	uint16_t set = s->is_link_up ? VIRTIO_NET_S_LINK_UP : 0;

	limiter_load(&n->rx.gate.limiter, &s->limiter[NET_QUEUE_RX], net_now_ns(n));
	limiter_load(&n->tx.gate.limiter, &s->limiter[NET_QUEUE_TX], net_now_ns(n));
	n->is_link_up = s->is_link_up;
	/* As net_announce(): it may be another host's network. */
	if ((s->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
		(s->acked & VIRTIO_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE)))
		set |= VIRTIO_NET_S_ANNOUNCE;
	net_set_status(n, set, VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	return 0;
}

static void net_free(struct virtio_device *dev)
{
	struct net *n = net_of(dev);

	INVARIANT(!has_pending_op(n) && n->again == 0);
	virtio_device_fini(dev);
	tap_close(&n->tap);
	free(n->rx.spill);
	free(n);
}

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.nqueues = NET_QUEUES,
	.queue_max = NET_QUEUE_MAX,
	.accepts = net_accepts,
	.activate = net_activate,
	.kick = net_kick,
	.quiesce = net_quiesce,
	.resume = net_resume,
	.queue_stopped = net_queue_stopped,
	.reset = net_reset,
	.save = net_save,
	.load = net_load,
	.free = net_free,
};

/* --- configuration space --- */

void net_set_status(struct net *n, uint16_t set, uint16_t clear)
{
	uint16_t status;

	virtio_config_read(
		&n->dev, offsetof(struct virtio_net_config, status), &status, sizeof(status));
	status = (uint16_t)((status & ~clear) | set);
	virtio_config_write(
		&n->dev, offsetof(struct virtio_net_config, status), &status, sizeof(status));
}

/* As far as our features reach: 5.1.4. */
static void write_config(struct net *n, const struct net_config *c)
{
	struct virtio_net_config config = {
		.status = VIRTIO_NET_S_LINK_UP, .max_virtqueue_pairs = 1, .mtu = c->mtu
	};

	if (c->has_mac)
		memcpy(config.mac, c->mac, sizeof(config.mac));
	virtio_config_write(&n->dev, 0, &config, offsetof(struct virtio_net_config, speed));
}

void net_set_link(struct virtio_device *dev, bool up)
{
	struct net *n = net_of(dev);

	if (n->is_link_up == up)
		return;
	n->is_link_up = up;
	net_set_status(n, up ? VIRTIO_NET_S_LINK_UP : 0, up ? 0 : VIRTIO_NET_S_LINK_UP);
}

void net_announce(struct virtio_device *dev)
{
	if (dev->active && virtio_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		net_set_status(net_of(dev), VIRTIO_NET_S_ANNOUNCE, 0);
}

static void gate_init(struct net *n, struct net_gate *g, const struct limiter_config *c)
{
	limiter_init(&g->limiter, c, net_now_ns(n));
	g->is_limited = limiter_is_limited(&g->limiter);
}

static void set_limit(struct net *n, struct net_gate *g, const struct bucket_config *bytes,
	const struct bucket_config *ops)
{
	if (!bytes && !ops)
		return;
	count_add(&n->dev.counters.updates, 1);
	if (bytes)
		bucket_init(&g->limiter.bytes, bytes, net_now_ns(n));
	if (ops)
		bucket_init(&g->limiter.ops, ops, net_now_ns(n));
	g->is_limited = limiter_is_limited(&g->limiter);
	/* Its end makes the run function ask the new one. */
	if (loop_op_is_pending(&g->timer) && g->until_ns != 0) {
		g->until_ns = 0;
		loop_cancel(n->dev.loop, &g->timer);
	}
}

void net_set_rx_limit(struct virtio_device *dev, const struct bucket_config *bytes,
	const struct bucket_config *ops)
{
	struct net *n = net_of(dev);

	set_limit(n, &n->rx.gate, bytes, ops);
}

void net_set_tx_limit(struct virtio_device *dev, const struct bucket_config *bytes,
	const struct bucket_config *ops)
{
	struct net *n = net_of(dev);

	set_limit(n, &n->tx.gate, bytes, ops);
}

/* --- construction --- */

static int check_config(const struct net_config *c, struct err *e)
{
	if (c->mtu != 0 && c->mtu < NET_MTU_MIN)
		return err_set(e, -EINVAL, "net '%s': an MTU of %u is less than %d", c->id, c->mtu,
			NET_MTU_MIN);
	/* A group is no place to send from. */
	if (c->has_mac && (c->mac[0] & 1))
		return err_set(e, -EINVAL,
			"net '%s': the MAC address is one of a group (the first byte is odd)",
			c->id);
	return 0;
}

int net_new_on(
	const struct net_config *c, const struct tap *t, struct virtio_device **ret, struct err *e)
{
	/* Twice as many, because each may be followed by one that turns all off. */
	static const struct limiter_config changes = { .ops = { .size = 5, .refill_ms = 1000 } };
	struct net *n = calloc(1, sizeof(*n));
	uint8_t *spill = calloc(1, NET_SPILL_LEN);

	if (!n || !spill) {
		free(n);
		free(spill);
		return err_sys(e, -ENOMEM, NULL, "net '%s': cannot make the device", c->id);
	}
	n->tap = *t;
	n->rx.spill = spill;
	n->is_link_up = true;
	n->has_mac = c->has_mac;
	memcpy(n->mac, c->mac, sizeof(n->mac));
	n->tail.run = run_again;
	virtio_device_init(&n->dev, &net_ops, offered(c, t));
	(void)snprintf(n->dev.name, sizeof(n->dev.name), "net '%s'", c->id);
	/* Not at activation: a guest does not get a new burst for a reset. */
	gate_init(n, &n->rx.gate, &c->rx);
	gate_init(n, &n->tx.gate, &c->tx);
	limiter_init(&n->changes, &changes, net_now_ns(n));
	net_rx_init(n);
	net_tx_init(n);
	write_config(n, c);
	*ret = &n->dev;
	return 0;
}

static int get_tap(const struct net_config *c, struct tap *t, struct err *e)
{
	if (!c->opened)
		return c->tap ? tap_open(t, c->tap, e) : tap_adopt(t, c->tap_fd, e);
	*t = *c->opened;
	free(c->opened);
	return 0;
}

int net_new(const struct net_config *c, struct virtio_device **ret, struct err *e)
{
	struct tap t;
	int rc = check_config(c, e);

	if (rc < 0) {
		tap_free(c->opened);
		return rc;
	}
	rc = get_tap(c, &t, e);
	if (rc < 0) {
		err_prefix(e, "net '%s'", c->id);
		return rc;
	}
	rc = net_new_on(c, &t, ret, e);
	if (rc < 0) {
		/* Which is the caller's. */
		if (!c->opened && !c->tap)
			t.fd = -1;
		tap_close(&t);
	}
	return rc;
}
