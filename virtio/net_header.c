/* The header before every frame (net_header.h). */
#include "virtio/net_header.h"

#include "base/check.h"

static bool has(uint64_t features, unsigned bit)
{
	return features >> bit & 1;
}

/* A frame to be cut into segments: who may send it, who may receive it. */
static const struct {
	uint8_t type;
	uint8_t host, guest[2]; /* one of these features */
	bool is_tcp;
} gso_types[] = {
	{ VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4,
		{ VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO4 }, true },
	{ VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6,
		{ VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_TSO6 }, true },
	{ VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_HOST_UFO,
		{ VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_GUEST_UFO }, false },
	{ VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_F_HOST_USO,
		{ VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6 }, false },
};

static bool may_send(uint8_t gso_type, uint64_t features)
{
	uint8_t type = gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	for (unsigned i = 0; i < ARRAY_SIZE(gso_types); i++) {
		if (gso_types[i].type != type || !has(features, gso_types[i].host))
			continue;
		return !(gso_type & VIRTIO_NET_HDR_GSO_ECN) ||
		       (gso_types[i].is_tcp && has(features, VIRTIO_NET_F_HOST_ECN));
	}
	return false;
}

static enum net_header_fault check_csum(
	struct virtio_net_hdr_v1 *h, uint64_t features, uint32_t frame_len)
{
	enum { CSUM_LEN = 2 };

	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
		h->csum_start = h->csum_offset = 0;
		return NET_HEADER_GOOD;
	}
	if (!has(features, VIRTIO_NET_F_CSUM))
		return NET_HEADER_CSUM_NOT_AGREED;
	/* 16-bit numbers: the sum does not wrap. */
	if ((uint32_t)h->csum_start + h->csum_offset + CSUM_LEN > frame_len)
		return NET_HEADER_CSUM_RANGE;
	return NET_HEADER_GOOD;
}

static enum net_header_fault check_gso(
	struct virtio_net_hdr_v1 *h, uint64_t features, uint32_t frame_len)
{
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		h->gso_size = h->hdr_len = 0;
		return NET_HEADER_GOOD;
	}
	if (!may_send(h->gso_type, features))
		return NET_HEADER_GSO_NOT_AGREED;
	if (h->gso_size == 0)
		return NET_HEADER_GSO_SIZE;
	if (h->hdr_len > frame_len)
		return NET_HEADER_HDR_LEN;
	return NET_HEADER_GOOD;
}

enum net_header_fault net_header_check(
	struct virtio_net_hdr_v1 *h, uint64_t features, uint32_t frame_len)
{
	enum net_header_fault fault;

	if (frame_len < NET_FRAME_MIN)
		return NET_HEADER_FRAME_SHORT;
	if (frame_len > NET_FRAME_MAX)
		return NET_HEADER_FRAME_LONG;
	/* "The checksum is valid" is not a driver's to say, and nobody here would believe it
	 * (5.1.6.2.1); other flags are ignored (5.1.6.2.2). */
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	fault = check_csum(h, features, frame_len);
	return fault != NET_HEADER_GOOD ? fault : check_gso(h, features, frame_len);
}

bool net_header_may_receive(const struct virtio_net_hdr_v1 *h, uint64_t features)
{
	uint8_t type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if ((h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && !has(features, VIRTIO_NET_F_GUEST_CSUM))
		return false;
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	if ((h->gso_type & VIRTIO_NET_HDR_GSO_ECN) && !has(features, VIRTIO_NET_F_GUEST_ECN))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(gso_types); i++) {
		if (gso_types[i].type == type)
			return has(features, gso_types[i].guest[0]) ||
			       has(features, gso_types[i].guest[1]);
	}
	return false;
}

const char *net_header_fault_text(enum net_header_fault fault)
{
	static const char *const texts[NET_HEADER_FAULTS] = {
		[NET_HEADER_GOOD] = "the frame is good",
		[NET_HEADER_FRAME_SHORT] = "the frame is too short",
		[NET_HEADER_FRAME_LONG] = "the frame is too long",
		[NET_HEADER_CSUM_NOT_AGREED] = "it wants a checksum, which was not agreed",
		[NET_HEADER_CSUM_RANGE] = "its checksum lies behind its end",
		[NET_HEADER_GSO_NOT_AGREED] = "it wants a segmentation that was not agreed",
		[NET_HEADER_GSO_SIZE] = "its segments have no length",
		[NET_HEADER_HDR_LEN] = "its headers are longer than the frame",
	};

	INVARIANT((unsigned)fault < ARRAY_SIZE(texts));
	return texts[fault];
}
