/*
 * A network card (virtio 1.2, 5.1) on a tap of the host.
 *
 *     queue 0, receive:   tap --readv--> guest's buffers
 *     queue 1, transmit:  guest's buffers --writev--> tap
 *     queue 2, control:   announcements only
 *
 * Frames are moved by the kernel, header included, between the tap and the guest's memory.  We copy
 * only when receiving, once, and only the tail of a frame: one that is longer than all buffers that
 * the guest has given, where it waits in memory of ours until there are more; and a long one after
 * a run of short ones (net_rx.c).  The header of a frame that the guest sends is read once, checked
 * (net_header.h), and our copy is what the tap gets.
 *
 * When the guest gives no buffers the tap is left alone: its queue fills, and the host drops.  When
 * the tap is full the guest's frame waits, and so does the guest.  A rate limiter only ever delays.
 *
 * A saved state has no frames in it.  One that the guest sends and that waits is put back into its
 * ring; one that was read from the tap and not delivered is lost to the device that the state is
 * loaded into, and still delivered by the one that was saved, if that goes on.
 *
 * The device lives on the loop's thread, as virtio.h says.
 */
#ifndef MVM_VIRTIO_NET_H
#define MVM_VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "virtio/limiter.h"

struct err;
struct tap;
struct virtio_device;

enum { NET_QUEUE_RX, NET_QUEUE_TX, NET_QUEUE_CTRL, NET_QUEUES };

enum { NET_MAC_LEN = 6, NET_MTU_MIN = 68, NET_MTU_MAX = 65535 };

struct net_config {
	const char *id;  /* for messages */
	const char *tap; /* name of the interface; NULL: tap_fd is one */
	int tap_fd;      /* taken over when net_new() succeeds; unused with a name */
	bool has_mac;    /* without: the guest makes one up */
	uint8_t mac[NET_MAC_LEN];
	uint16_t mtu; /* NET_MTU_MIN to NET_MTU_MAX; 0: not offered */
	/* Offloads that are not offered.  Without checksums there are none of the others. */
	bool no_csum, no_tso, no_ufo, no_uso;
	bool no_mrg;                  /* receive buffers are not merged */
	struct limiter_config rx, tx; /* what the guest receives, what it sends */
	/* Open already, from malloc(); taken over in any case, also when net_new() fails; tap is
	 * then only a name and tap_fd unused.  NULL: they say what is opened. */
	struct tap *opened;
};

/*
 * Opens the tap and makes the device; nothing of c is needed afterwards.  0, or -errno with e
 * filled: -EINVAL for a number out of range, otherwise what tap_open() and tap_adopt() say.
 */
MUST_CHECK int net_new(const struct net_config *c, struct virtio_device **ret, struct err *e);

/* Other limits for what the guest receives, and for what it sends, each full from now on; NULL
 * leaves one as it is.  A frame that waits is looked at again.  The loop's thread. */
void net_set_rx_limit(struct virtio_device *dev, const struct bucket_config *bytes,
	const struct bucket_config *ops);
void net_set_tx_limit(struct virtio_device *dev, const struct bucket_config *bytes,
	const struct bucket_config *ops);

/* Plugs the cable in or pulls it.  Without it frames are dropped, both ways.  The loop's thread. */
void net_set_link(struct virtio_device *dev, bool up);

/*
 * Asks the guest to announce itself to the network (5.1.6.5.4), as after it has moved; nothing
 * happens with a driver that cannot.  Stays asked for until a driver acknowledges.  The loop's
 * thread.
 */
void net_announce(struct virtio_device *dev);

#endif
