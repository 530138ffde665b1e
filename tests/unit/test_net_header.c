/* The header before every frame. */
#include "t.h"

#include "virtio/net_header.h"

TestSuite(net_header, .timeout = T_SECONDS);

#define BIT(name) (UINT64_C(1) << VIRTIO_NET_F_##name)

enum { LEN = 1000, CSUM = VIRTIO_NET_HDR_F_NEEDS_CSUM };

static const uint64_t all = ~UINT64_C(0);

Test(net_header, is_checked_by_what_was_agreed)
{
	static const struct {
		const char *name;
		uint64_t not_agreed;
		uint32_t len;
		struct virtio_net_hdr_v1 h;
		enum net_header_fault want;
	} rows[] = {
		{ "empty", 0, LEN, { 0 }, NET_HEADER_GOOD },
		{ "no frame", 0, 0, { 0 }, NET_HEADER_FRAME_SHORT },
		{ "9 bytes", 0, 9, { 0 }, NET_HEADER_FRAME_SHORT },
		{ "13 bytes", 0, 13, { 0 }, NET_HEADER_FRAME_SHORT },
		{ "14 bytes", 0, 14, { 0 }, NET_HEADER_GOOD },
		{ "the longest", 0, NET_FRAME_MAX, { 0 }, NET_HEADER_GOOD },
		{ "one more", 0, NET_FRAME_MAX + 1, { 0 }, NET_HEADER_FRAME_LONG },
		{ "4 GiB", 0, UINT32_MAX, { 0 }, NET_HEADER_FRAME_LONG },
		{ "checksum", 0, LEN, { .flags = CSUM, .csum_start = 34, .csum_offset = 16 },
			NET_HEADER_GOOD },
		{ "checksum, not agreed", BIT(CSUM), LEN, { .flags = CSUM, .csum_start = 34 },
			NET_HEADER_CSUM_NOT_AGREED },
		{ "checksum at the end", 0, LEN,
			{ .flags = CSUM, .csum_start = LEN - 12, .csum_offset = 10 },
			NET_HEADER_GOOD },
		{ "checksum over the end", 0, LEN,
			{ .flags = CSUM, .csum_start = LEN - 12, .csum_offset = 11 },
			NET_HEADER_CSUM_RANGE },
		{ "checksum that would wrap", 0, LEN,
			{ .flags = CSUM, .csum_start = 0xffff, .csum_offset = 0xffff },
			NET_HEADER_CSUM_RANGE },
		{ "TCP over IPv4", 0, LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1, .hdr_len = LEN },
			NET_HEADER_GOOD },
		{ "TCP over IPv4, not agreed", BIT(HOST_TSO4), LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 100 },
			NET_HEADER_GSO_NOT_AGREED },
		{ "TCP over IPv6", 0, LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 0xffff },
			NET_HEADER_GOOD },
		{ "TCP over IPv6, not agreed", BIT(HOST_TSO6), LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 100 },
			NET_HEADER_GSO_NOT_AGREED },
		{ "UDP fragments", 0, LEN, { .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 100 },
			NET_HEADER_GOOD },
		{ "UDP fragments, not agreed", BIT(HOST_UFO), LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 100 },
			NET_HEADER_GSO_NOT_AGREED },
		{ "UDP segments", 0, LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = 100 },
			NET_HEADER_GOOD },
		{ "UDP segments, not agreed", BIT(HOST_USO), LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = 100 },
			NET_HEADER_GSO_NOT_AGREED },
		{ "no length", 0, LEN, { .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
			NET_HEADER_GSO_SIZE },
		{ "headers over the end", 0, LEN,
			{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1, .hdr_len = LEN + 1 },
			NET_HEADER_HDR_LEN },
		{ "ECN", 0, LEN, { .gso_type = 0x80 | VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 1 },
			NET_HEADER_GOOD },
		{ "ECN, not agreed", BIT(HOST_ECN), LEN,
			{ .gso_type = 0x80 | VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 1 },
			NET_HEADER_GSO_NOT_AGREED },
		{ "ECN of UDP", 0, LEN,
			{ .gso_type = 0x80 | VIRTIO_NET_HDR_GSO_UDP, .gso_size = 1 },
			NET_HEADER_GSO_NOT_AGREED },
		{ "ECN of nothing", 0, LEN, { .gso_type = 0x80, .gso_size = 1 },
			NET_HEADER_GSO_NOT_AGREED },
		{ "type 2", 0, LEN, { .gso_type = 2, .gso_size = 1 }, NET_HEADER_GSO_NOT_AGREED },
		{ "type 127", 0, LEN, { .gso_type = 127, .gso_size = 1 },
			NET_HEADER_GSO_NOT_AGREED },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct virtio_net_hdr_v1 h = rows[i].h;

		t_row_int(rows[i].name,
			net_header_check(&h, all & ~rows[i].not_agreed, rows[i].len), rows[i].want);
	}
}

Test(net_header, what_means_nothing_is_cleared)
{
	struct virtio_net_hdr_v1 h;

	memset(&h, 0xff, sizeof(h));
	h.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	h.flags = (uint8_t)~CSUM;
	t_int(net_header_check(&h, all, LEN), NET_HEADER_GOOD);
	for (unsigned i = 0; i < sizeof(h); i++)
		t_uint(((uint8_t *)&h)[i], 0);
}

Test(net_header, what_is_asked_for_is_kept)
{
	struct virtio_net_hdr_v1 h = { .flags = 0xff,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 500,
		.csum_start = 34,
		.csum_offset = 16,
		.num_buffers = 7 };

	t_int(net_header_check(&h, all, LEN), NET_HEADER_GOOD);
	t_uint(h.flags, CSUM);
	t_uint(h.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	t_uint(h.hdr_len, 54);
	t_uint(h.gso_size, 500);
	t_uint(h.csum_start, 34);
	t_uint(h.csum_offset, 16);
	t_uint(h.num_buffers, 0);
}

Test(net_header, a_driver_receives_what_it_agreed_to)
{
	static const struct {
		const char *name;
		uint64_t agreed;
		uint8_t flags, type;
		bool want;
	} rows[] = {
		{ "plain", 0, 0, 0, true },
		{ "valid", 0, VIRTIO_NET_HDR_F_DATA_VALID, 0, true },
		{ "partial", BIT(GUEST_CSUM), CSUM, 0, true },
		{ "partial, not agreed", BIT(CSUM), CSUM, 0, false },
		{ "TCP over IPv4", BIT(GUEST_TSO4), 0, VIRTIO_NET_HDR_GSO_TCPV4, true },
		{ "TCP over IPv4, not agreed", BIT(HOST_TSO4), 0, VIRTIO_NET_HDR_GSO_TCPV4, false },
		{ "TCP over IPv6", BIT(GUEST_TSO6), 0, VIRTIO_NET_HDR_GSO_TCPV6, true },
		{ "TCP over IPv6, not agreed", BIT(GUEST_TSO4), 0, VIRTIO_NET_HDR_GSO_TCPV6,
			false },
		{ "UDP fragments", BIT(GUEST_UFO), 0, VIRTIO_NET_HDR_GSO_UDP, true },
		{ "UDP segments, IPv4", BIT(GUEST_USO4), 0, VIRTIO_NET_HDR_GSO_UDP_L4, true },
		{ "UDP segments, IPv6", BIT(GUEST_USO6), 0, VIRTIO_NET_HDR_GSO_UDP_L4, true },
		{ "UDP segments, not agreed", BIT(GUEST_UFO), 0, VIRTIO_NET_HDR_GSO_UDP_L4, false },
		{ "ECN", BIT(GUEST_TSO4) | BIT(GUEST_ECN), 0, 0x80 | VIRTIO_NET_HDR_GSO_TCPV4,
			true },
		{ "ECN, not agreed", BIT(GUEST_TSO4), 0, 0x80 | VIRTIO_NET_HDR_GSO_TCPV4, false },
		{ "nothing known", ~UINT64_C(0), 0, 77, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct virtio_net_hdr_v1 h = { .flags = rows[i].flags, .gso_type = rows[i].type };

		t_row_int(rows[i].name, net_header_may_receive(&h, rows[i].agreed), rows[i].want);
	}
}

Test(net_header, every_fault_has_words)
{
	for (unsigned i = 0; i < NET_HEADER_FAULTS; i++)
		t_true(strlen(net_header_fault_text(i)) > 0);
}

Test(net_header, a_fault_that_does_not_exist_is_our_bug, .signal = SIGABRT)
{
	t_quiet();
	(void)net_header_fault_text(NET_HEADER_FAULTS);
}
