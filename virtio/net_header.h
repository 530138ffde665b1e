/*
 * The header before every frame (virtio 1.2, 5.1.6): 12 bytes that say which work on the frame is
 * left to the other side.  Pure functions on copies in our own memory; fuzzed (fuzz_net.c).
 *
 * linux/virtio_net.h of Debian 12 lacks UDP segmentation (USO), so its numbers are here.
 */
#ifndef MVM_VIRTIO_NET_HEADER_H
#define MVM_VIRTIO_NET_HEADER_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
	NET_HEADER_LEN = sizeof(struct virtio_net_hdr_v1),
	/* Lengths of frames in bytes, without the header.  The longest is Ethernet with one VLAN
	 * tag around an IPv6 packet that is no jumbogram. */
	NET_FRAME_MIN = 14,
	NET_FRAME_MAX = 14 + 4 + 40 + 65535,
};

enum net_header_fault {
	NET_HEADER_GOOD,
	NET_HEADER_FRAME_SHORT,
	NET_HEADER_FRAME_LONG,
	NET_HEADER_CSUM_NOT_AGREED,
	NET_HEADER_CSUM_RANGE,
	NET_HEADER_GSO_NOT_AGREED,
	NET_HEADER_GSO_SIZE,
	NET_HEADER_HDR_LEN,
	NET_HEADER_FAULTS,
};

/*
 * Checks the header of a frame of so many bytes that the driver sends, by what was agreed
 * (5.1.6.2), and clears what has no meaning in it: unknown flags and num_buffers, which the device
 * is to ignore, and the fields that belong to a flag or a type which is not set.  After
 * NET_HEADER_GOOD the tap may have it.
 */
enum net_header_fault net_header_check(
	struct virtio_net_hdr_v1 *h, uint64_t features, uint32_t frame_len);

/* Whether the driver has agreed to receive a frame with this header (5.1.6.4). */
bool net_header_may_receive(const struct virtio_net_hdr_v1 *h, uint64_t features);

/* For messages: "the frame is too short". */
const char *net_header_fault_text(enum net_header_fault fault);

#endif
