/*
 * The inside of the network device, for its own files and its tests: net.c (life and
 * configuration), net_rx.c, net_tx.c, net_ctrl.c.
 *
 * Each queue has a run function that works until it has to wait, or has had its share, and can be
 * called at any time: what it waits for - buffers, the tap, time - only makes it look again.
 */
#ifndef MVM_VIRTIO_NET_PRIVATE_H
#define MVM_VIRTIO_NET_PRIVATE_H

#include <limits.h>
#include <string.h>

#include "core/loop.h"
#include "virtio/net.h"
#include "virtio/net_header.h"
#include "virtio/tap.h"
#include "virtio/virtio.h"

enum {
	NET_QUEUE_MAX = 256,
	/* Segments of one readv, the spill buffer among them. */
	NET_IOV_MAX = IOV_MAX,
	/* Segments that a short frame is read into, at most. */
	NET_SHORT_IOV = 4,
	/* The longest frame and a bit: one that fills it is one that was cut off. */
	NET_SPILL_LEN = 68 << 10,
	/* How long a tap that has failed is left alone. */
	NET_RETRY_NS = 100000000,
};

/* A limiter, and the timer that ends waiting for it or for something else. */
struct net_gate {
	struct limiter limiter;
	bool is_limited; /* limiter has something to say */
	struct loop_op timer;
	uint64_t until_ns; /* when timer ends; 0: at once */
	bool is_shut;      /* the limiter holds a frame back */
};

/* A chain that was popped and is not pushed yet. */
struct net_chain {
	uint32_t len; /* bytes that may be written */
	uint16_t head;
	uint16_t niov;
};

struct net_rx {
	struct net_gate gate;
	struct loop_op poll;
	bool has_failed; /* the tap's failure is in the log */
	/* A frame that was read and is not delivered yet; it begins with the first chain. */
	uint32_t frame;         /* its bytes with the header; 0: there is none */
	uint32_t spilled;       /* the last bytes of it, which are not in the guest's memory yet */
	uint32_t spill_end;     /* where they end in spill */
	uint64_t hold_until_ns; /* when waiting for room ends */
	unsigned short_run;     /* short frames since the last long one */
	/* The guest's buffers, oldest first: as many as a long frame needs, if there are. */
	uint32_t want;  /* bytes */
	uint64_t bytes; /* in all of them */
	unsigned chain_first, nchains, iov_first, iov_end;
	struct net_chain chain[NET_QUEUE_MAX]; /* a ring */
	struct iovec iov[NET_IOV_MAX];         /* of all chains, iov_first to iov_end */
	struct iovec few[NET_SHORT_IOV + 1];   /* of a frame that is expected to be short */
	uint8_t *spill;                        /* NET_SPILL_LEN bytes */
};

struct net_tx {
	struct net_gate gate;
	struct loop_op poll;
	bool has_failed; /* the tap's failure is in the log */
	/* A frame that was taken and is not sent yet. */
	bool is_held;
	bool is_paid; /* the limiter has let it pass */
	uint16_t head;
	uint32_t len; /* bytes with the header */
	unsigned iov_first, niov;
	struct virtio_net_hdr_v1 header;
	struct iovec iov[1 + NET_QUEUE_MAX]; /* the header and the segments of the chain */
};

struct net {
	struct virtio_device dev;
	struct tap tap;
	struct limiter changes; /* of the tap's offloads */
	bool is_link_up;
	bool has_mac; /* mac is what the guest should send from */
	uint8_t mac[NET_MAC_LEN];
	bool is_waited_for; /* virtio_quiesced() is owed */
	unsigned again; /* queues, as bits, that go on when the loop has served everybody else */
	struct loop_tail tail;
	struct net_rx rx;
	struct net_tx tx;
};

static inline struct net *net_of(struct virtio_device *dev)
{
	return container_of(dev, struct net, dev);
}

/* net_new() on a tap that is there; t is taken over when it succeeds. */
MUST_CHECK int net_new_on(
	const struct net_config *c, const struct tap *t, struct virtio_device **ret, struct err *e);

void net_rx_init(struct net *n);
void net_rx_activate(struct net *n);
void net_rx_run(struct net *n);
void net_rx_resume(struct net *n);
void net_rx_forget(struct net *n);

void net_tx_init(struct net *n);
void net_tx_run(struct net *n);
void net_tx_forget(struct net *n);

void net_ctrl_run(struct net *n);

/* True while queue q may be worked on. */
bool net_may_run(const struct net *n, unsigned q);

/* Runs queue q again at the end of the round. */
void net_again(struct net *n, unsigned q);

/* To be called by whatever ends: when it was the last that a quiesce waits for, that is told. */
void net_settle(struct net *n);

uint64_t net_now_ns(const struct net *n);

/* Sets or clears bits of the status in the configuration space. */
void net_set_status(struct net *n, uint16_t set, uint16_t clear);

/* True when a frame of so many bytes may pass; otherwise the timer runs.  Once for each frame that
 * may pass. */
bool net_gate_ask(struct net *n, struct net_gate *g, uint32_t bytes);

static inline bool net_gate_pass(struct net *n, struct net_gate *g, uint32_t bytes)
{
	return (!g->is_limited && !g->is_shut) || net_gate_ask(n, g, bytes);
}

/* Ends in so many ns, or earlier. */
void net_gate_wait(struct net *n, struct net_gate *g, uint64_t ns);

/* Copies between dst or src and the bytes from off on of segments that together are long enough. */
void net_gather(const struct iovec *iov, uint64_t off, void *dst, size_t len);
void net_scatter(const struct iovec *iov, uint64_t off, const void *src, size_t len);

/* Copies the header out of segments that together are long enough: each byte is read once, and the
 * barrier keeps the compiler from going back to the guest's copy. */
static inline void net_take_header(const struct iovec *iov, struct virtio_net_hdr_v1 *ret)
{
	if (iov->iov_len >= sizeof(*ret))
		memcpy(ret, iov->iov_base, sizeof(*ret));
	else
		net_gather(iov, 0, ret, sizeof(*ret));
	__asm__ volatile("" ::: "memory");
}

#endif
