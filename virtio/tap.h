/*
 * A tap of the host: one end is a network interface, the other a descriptor from which frames are
 * read and to which they are written, each behind a header of NET_HEADER_LEN bytes
 * (net_header.h).
 *
 * Owner: the network device.  All calls are for the loop's thread, or before there is one.
 */
#ifndef MVM_VIRTIO_TAP_H
#define MVM_VIRTIO_TAP_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/check.h"

struct err;

/* Not in Debian 12's linux/if_tun.h. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct tap {
	int fd;
	/* The same tap again, for writing: the loop takes one poll for each descriptor, and reading
	 * and writing wait on their own. */
	int tx_fd;
	bool has_uso;      /* the host can cut UDP into segments (Linux 6.2) */
	unsigned offloads; /* TUN_F_... that the host has */
	char name[IFNAMSIZ];
};

/*
 * Attaches to the interface called name, which is made when it does not exist and we may.  0, or
 * -errno with e filled: -ENAMETOOLONG, or what the calls say; then t is closed.
 */
MUST_CHECK int tap_open(struct tap *t, const char *name, struct err *e);

/*
 * Takes over a descriptor that is attached already; it must have been made with IFF_TAP, IFF_NO_PI
 * and IFF_VNET_HDR.  0, or -errno with e filled: -EINVAL for another mode, or what the calls say;
 * then fd stays the caller's and open, because a wrong number may be that of anything.  One that is
 * no such tap is as it was.
 */
MUST_CHECK int tap_adopt(struct tap *t, int fd, struct err *e);

/* Accepts a tap whose descriptors are -1. */
void tap_close(struct tap *t);

/* Closes a tap that is in memory from malloc(), and frees it.  Accepts NULL. */
void tap_free(struct tap *t);

/*
 * Tells the host which of VIRTIO_NET_F_GUEST_* were agreed: what it need not finish for the guest.
 * A change takes a lock that all network interfaces of the host share, and is told to everybody who
 * listens; where there is none the host is not asked.  0, or -errno and all is as before.
 */
MUST_CHECK int tap_set_offloads(struct tap *t, uint64_t features);

/* Whether that would change nothing. */
bool tap_has_offloads(const struct tap *t, uint64_t features);

/* One frame and its header: the bytes moved or -errno; never block.  A frame longer than iov is cut
 * off. */
MUST_CHECK ssize_t tap_read(struct tap *t, const struct iovec *iov, unsigned n);
MUST_CHECK ssize_t tap_write(struct tap *t, const struct iovec *iov, unsigned n);

#endif
