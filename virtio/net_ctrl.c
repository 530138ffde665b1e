/* The control queue (net_private.h; virtio 1.2, 5.1.6.5): one command, and a polite no to others.
 */
#include <errno.h>

#include "virtio/net_private.h"

/* The share of one run. */
enum { CTRL_COMMANDS = 16 };

static uint8_t execute(struct net *n, const struct virtq_chain *c)
{
	struct virtio_net_ctrl_hdr h;

	if (c->read_len < sizeof(h))
		return VIRTIO_NET_ERR;
	net_gather(c->iov, 0, &h, sizeof(h));
	if (h.class != VIRTIO_NET_CTRL_ANNOUNCE || h.cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK ||
		!virtio_has(&n->dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return VIRTIO_NET_ERR;
	net_set_status(n, 0, VIRTIO_NET_S_ANNOUNCE);
	return VIRTIO_NET_OK;
}

/* False when there is none. */
static bool command(struct net *n)
{
	struct virtq *vq = &n->dev.vq[NET_QUEUE_CTRL];
	struct iovec iov[NET_QUEUE_MAX];
	struct virtq_chain c = { .iov = iov, .iov_max = NET_QUEUE_MAX };
	uint8_t ack;
	int rc = virtq_pop(vq, &c);

	if (rc == 0)
		return virtq_kicks_on(vq);
	/* No chain is longer than the queue, and no queue longer than we allow. */
	INVARIANT(rc != -ENOSPC);
	if (rc < 0 || c.write_len < sizeof(ack)) {
		virtio_break(&n->dev, rc < 0 ? vq->broken : RULE_NET_CTRL);
		return false;
	}
	ack = execute(n, &c);
	net_scatter(&iov[c.nread], 0, &ack, sizeof(ack));
	virtio_mark_dirty(&n->dev, &iov[c.nread], 0, sizeof(ack));
	virtq_push(vq, c.head, sizeof(ack));
	count_add(&n->dev.counters.requests[COUNT_OTHER], 1);
	return true;
}

void net_ctrl_run(struct net *n)
{
	bool go_on = true;

	if (!net_may_run(n, NET_QUEUE_CTRL))
		return;
	virtq_kicks_off(&n->dev.vq[NET_QUEUE_CTRL]);
	for (unsigned i = 0; i < CTRL_COMMANDS && go_on; i++)
		go_on = command(n);
	virtio_publish(&n->dev, NET_QUEUE_CTRL);
	if (go_on)
		net_again(n, NET_QUEUE_CTRL);
}
