/* The network device: what it offers, its configuration space, its control queue, its life. */
#include "t_net.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/log.h"

TestSuite(net, .timeout = T_SECONDS);

#define BIT(name) VIRTIO_BIT(VIRTIO_NET_F_##name)

static const uint64_t always = VIRTIO_FEATURES_COMMON | BIT(STATUS) | BIT(CTRL_VQ) |
			       BIT(GUEST_ANNOUNCE),
		      csum = BIT(CSUM) | BIT(GUEST_CSUM),
		      tso = BIT(HOST_TSO4) | BIT(HOST_TSO6) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6),
		      ufo = BIT(HOST_UFO) | BIT(GUEST_UFO),
		      uso = BIT(HOST_USO) | BIT(GUEST_USO4) | BIT(GUEST_USO6);

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

/* What the host says to offloads, and what it was asked. */
static struct {
	int code;
	unsigned asked;
	unsigned long refused; /* flags */
	unsigned long flags;   /* that it has */
} host;

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request != TUNSETOFFLOAD)
		return __real_ioctl(fd, request, arg);
	host.asked++;
	errno = (unsigned long)arg & host.refused ? EINVAL : host.code;
	if (errno == 0)
		host.flags = (unsigned long)arg;
	return errno ? -1 : 0;
}

/* --- features --- */

Test(net, offers_what_the_configuration_and_the_host_allow)
{
	static const struct {
		const char *name;
		struct net_config c;
		bool has_uso;
	} in[] = {
		{ "plain", { .id = "a" }, true },
		{ "old host", { .id = "a" }, false },
		{ "all said", { .id = "a", .has_mac = true, .mac = { 2 }, .mtu = 9000 }, true },
		{ "no checksums", { .id = "a", .no_csum = true }, true },
		{ "no TSO", { .id = "a", .no_tso = true }, true },
		{ "no UFO", { .id = "a", .no_ufo = true }, true },
		{ "no USO", { .id = "a", .no_uso = true }, true },
		{ "not merged", { .id = "a", .no_mrg = true }, true },
	};
	const uint64_t mrg = BIT(MRG_RXBUF), all = csum | tso | ufo | uso | mrg;
	const uint64_t out[] = { always | all, always | (all & ~uso),
		always | all | BIT(MAC) | BIT(MTU), always | mrg, always | (all & ~tso),
		always | (all & ~ufo), always | (all & ~uso), always | (all & ~mrg) };

	for (unsigned i = 0; i < ARRAY_SIZE(in); i++) {
		struct tap tap = { .fd = -1, .tx_fd = -1, .has_uso = in[i].has_uso };
		struct virtio_device *dev = NULL;

		t_int(net_new_on(&in[i].c, &tap, &dev, NULL), 0);
		t_row_hex(in[i].name, dev->offered, out[i]);
		t_row_true(in[i].name, dev->ops->accepts(dev, dev->offered));
		t_uint(dev->ops->id, VIRTIO_ID_NET);
		dev->ops->free(dev);
	}
	T_NO_LEAKS();
}

Test(net, features_need_one_another)
{
	static const struct {
		const char *name;
		uint64_t features;
		bool good;
	} rows[] = {
		{ "none", 0, true },
		{ "checksums", BIT(CSUM) | BIT(GUEST_CSUM), true },
		{ "TSO4 to send", BIT(HOST_TSO4) | BIT(CSUM), true },
		{ "TSO4 to send, other checksum", BIT(HOST_TSO4) | BIT(GUEST_CSUM), false },
		{ "TSO6 to send", BIT(HOST_TSO6), false },
		{ "UFO to send", BIT(HOST_UFO), false },
		{ "USO to send", BIT(HOST_USO), false },
		{ "USO to send, with checksum", BIT(HOST_USO) | BIT(CSUM), true },
		{ "TSO4 to receive", BIT(GUEST_TSO4) | BIT(GUEST_CSUM), true },
		{ "TSO4 to receive, other checksum", BIT(GUEST_TSO4) | BIT(CSUM), false },
		{ "TSO6 to receive", BIT(GUEST_TSO6), false },
		{ "UFO to receive", BIT(GUEST_UFO), false },
		{ "USO4 to receive", BIT(GUEST_USO4), false },
		{ "USO6 to receive", BIT(GUEST_USO6), false },
		{ "USO to receive, with checksum",
			BIT(GUEST_USO4) | BIT(GUEST_USO6) | BIT(GUEST_CSUM), true },
		{ "ECN to receive", BIT(GUEST_ECN) | BIT(GUEST_CSUM), false },
		{ "ECN to send", BIT(HOST_ECN) | BIT(HOST_TSO6) | BIT(CSUM), true },
		{ "announcement", BIT(GUEST_ANNOUNCE) | BIT(STATUS), false },
		{ "announcement with control", BIT(GUEST_ANNOUNCE) | BIT(CTRL_VQ), true },
	};

	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_make(&t, l, NULL);
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
			t_row_int(rows[i].name, t.dev->ops->accepts(t.dev, rows[i].features),
				rows[i].good);
		t_net_fini(&t);
	}
}

/* --- configuration --- */

Test(net, the_configuration_space_says_what_was_configured)
{
	static const uint8_t mac[NET_MAC_LEN] = { 0x02, 1, 2, 3, 4, 5 };
	struct net_config c = { .id = "lan", .has_mac = true, .mtu = 1400 };
	struct tap tap = { .fd = -1, .tx_fd = -1 };
	struct virtio_net_config got;
	struct virtio_device *dev = NULL;

	memcpy(c.mac, mac, sizeof(mac));
	t_int(net_new_on(&c, &tap, &dev, NULL), 0);
	t_str(dev->name, "net 'lan'");
	virtio_config_read(dev, 0, &got, sizeof(got));
	t_int(memcmp(got.mac, mac, sizeof(mac)), 0);
	t_uint(got.status, VIRTIO_NET_S_LINK_UP);
	t_uint(got.max_virtqueue_pairs, 1);
	t_uint(got.mtu, 1400);
	t_uint(got.speed, 0);
	dev->ops->free(dev);
	T_NO_LEAKS();
}

Test(net, numbers_out_of_range_are_refused)
{
	static const struct {
		const char *name;
		struct net_config c;
		const char *says;
	} rows[] = {
		{ "MTU", { .id = "lan", .mtu = 67 }, "net 'lan': an MTU of 67 is less than 68" },
		{ "MAC", { .id = "lan", .has_mac = true, .mac = { 0x03 } },
			"MAC address is one of a" },
	};
	unsigned fds = t_count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct net_config c = rows[i].c;
		struct virtio_device *dev = NULL;
		struct err e = { 0 };

		c.tap_fd = eventfd(0, EFD_CLOEXEC);
		t_row_int(rows[i].name, net_new(&c, &dev, &e), -EINVAL);
		t_row_has(rows[i].name, e.text, rows[i].says);
		/* The descriptor is still ours. */
		t_row_int(rows[i].name, t_count_fds(), fds + 1);
		t_row_int(rows[i].name, close(c.tap_fd), 0);
	}
}

Test(net, what_is_no_tap_is_refused_by_name)
{
	struct net_config c = { .id = "lan", .tap_fd = eventfd(0, EFD_CLOEXEC) };
	struct virtio_device *dev = NULL;
	struct err e = { 0 };
	unsigned fds = t_count_fds();

	t_true(net_new(&c, &dev, &e) < 0);
	t_has(e.text, "net 'lan': ");
	t_has(e.text, "is not a tap");
	t_uint(t_count_fds(), fds);
	t_true(fcntl(c.tap_fd, F_GETFD) >= 0);
	T_NO_LEAKS();
}

/* A tap in memory of its own, as its user opens it before there is a machine; *ret_wire is the
 * other end. */
static struct tap *open_tap(int *ret_wire)
{
	struct tap *t = calloc(1, sizeof(*t));
	int pair[2];

	t_int(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	*t = (struct tap){ .fd = pair[0], .tx_fd = dup(pair[0]), .has_uso = true, .name = "tap9" };
	*ret_wire = pair[1];
	return t;
}

Test(net, a_tap_that_is_open_already_is_taken_over_also_by_a_failure)
{
	unsigned fds = t_count_fds();
	struct net_config good = { .id = "lan", .tap = "tap9" }, bad = { .id = "lan", .mtu = 1 };
	struct virtio_device *dev = NULL;
	struct err e = { 0 };
	int wire;

	good.opened = open_tap(&wire);
	cr_assert(eq(int, net_new(&good, &dev, &e), 0), "%s", e.text);
	t_uint(t_count_fds(), fds + 3);
	t_true(dev->offered & BIT(HOST_USO));
	dev->ops->free(dev);
	(void)close(wire);
	t_uint(t_count_fds(), fds);
	bad.opened = open_tap(&wire);
	t_int(net_new(&bad, &dev, &e), -EINVAL);
	(void)close(wire);
	t_uint(t_count_fds(), fds);
	tap_free(NULL);
	T_NO_LEAKS();
}

/* --- the link and announcements --- */

Test(net, the_link_is_told_to_the_driver)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		uint32_t generation;

		t_net_init(&t, l, T_NET_MERGED);
		generation = virtio_config_generation(t.dev);
		net_set_link(t.dev, true);
		t_uint(virtio_config_generation(t.dev), generation);
		net_set_link(t.dev, false);
		t_uint(t_net_status(&t), 0);
		t_true(virtio_config_generation(t.dev) != generation);
		t_uint(atomic_load(&t.dev->isr), VIRTIO_ISR_CONFIG);
		net_set_link(t.dev, true);
		t_uint(t_net_status(&t), VIRTIO_NET_S_LINK_UP);
		t_net_fini(&t);
	}
}

static struct t_virtq *ctrl(struct t_net *t)
{
	return &t->q[NET_QUEUE_CTRL];
}

/* Sends a command and returns the answer. */
static uint8_t command(struct t_net *t, uint8_t class, uint8_t cmd, uint32_t len)
{
	gpa_t at = t_net_alloc(t, 64);
	struct t_seg segs[] = { { at, len, false }, { at + 32, 1, true } };
	uint32_t written;

	memset(t_net_at(t, at, 64), 0xee, 64);
	*t_net_at(t, at, 1) = class;
	*t_net_at(t, at + 1, 1) = cmd;
	t_virtq_send(ctrl(t), 0, segs, 2);
	t_net_kick(t, NET_QUEUE_CTRL);
	t_true(t_virtq_used(ctrl(t), NULL, &written));
	t_uint(written, 1);
	t_uint(*t_net_at(t, at + 33, 1), 0xee);
	return *t_net_at(t, at + 32, 1);
}

Test(net, an_announcement_is_due_until_it_is_acknowledged)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		net_announce(t.dev);
		t_uint(t_net_status(&t), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
		t_uint(atomic_load(&t.dev->isr), VIRTIO_ISR_CONFIG);
		t_uint(command(&t, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, 2),
			VIRTIO_NET_OK);
		t_uint(t_net_status(&t), VIRTIO_NET_S_LINK_UP);
		t_net_fini(&t);
	}
}

Test(net, a_driver_that_cannot_announce_is_not_asked)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_make(&t, l, NULL);
		net_announce(t.dev);
		t_net_start(&t, ~BIT(GUEST_ANNOUNCE), T_NET_QUEUE);
		net_announce(t.dev);
		t_uint(t_net_status(&t), VIRTIO_NET_S_LINK_UP);
		t_uint(atomic_load(&t.dev->isr), 0);
		t_uint(command(&t, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, 2),
			VIRTIO_NET_ERR);
		t_net_fini(&t);
	}
}

Test(net, other_commands_get_a_no)
{
	static const struct {
		const char *name;
		uint8_t class, cmd;
		uint32_t len;
	} rows[] = {
		{ "promiscuous", VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 3 },
		{ "MAC", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 8 },
		{ "queues", VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 4 },
		{ "another announcement", VIRTIO_NET_CTRL_ANNOUNCE, 1, 2 },
		{ "half a header", VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, 1 },
		{ "nothing", 255, 255, 32 },
	};

	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		net_announce(t.dev);
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
			t_row_int(rows[i].name,
				command(&t, rows[i].class, rows[i].cmd, rows[i].len),
				VIRTIO_NET_ERR);
		t_uint(t_net_status(&t), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
		t_false(t_net_needs_reset(&t));
		t_net_fini(&t);
	}
}

Test(net, a_command_without_room_for_the_answer_needs_a_reset)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		struct t_seg seg = { T_NET_BUFFERS, 2, false };

		t_net_init(&t, l, T_NET_MERGED);
		t_virtq_send(ctrl(&t), 0, &seg, 1);
		t_net_kick(&t, NET_QUEUE_CTRL);
		t_true(t_net_needs_reset(&t));
		t_uint(t_virtq_used_count(ctrl(&t)), 0);
		t_net_fini(&t);
	}
}

Test(net, a_command_may_be_split_and_a_queue_full)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		gpa_t at;
		struct t_seg segs[4];

		t_net_make(&t, l, NULL);
		t_net_start(&t, T_NET_MERGED, 128);
		at = t_net_alloc(&t, 64);
		segs[0] = (struct t_seg){ at, 1, false };
		segs[1] = (struct t_seg){ at + 8, 1, false };
		segs[2] = (struct t_seg){ at + 16, 1, true };
		segs[3] = (struct t_seg){ at + 24, 4, true };
		*t_net_at(&t, at, 1) = VIRTIO_NET_CTRL_ANNOUNCE;
		*t_net_at(&t, at + 8, 1) = VIRTIO_NET_CTRL_ANNOUNCE_ACK;
		*t_net_at(&t, at + 16, 1) = 0xee;
		for (uint16_t i = 0; i < 128; i += 4) {
			t_virtq_chain(ctrl(&t), i, segs, 4);
			t_virtq_offer(ctrl(&t), i);
		}
		t_virtq_publish(ctrl(&t));
		t_net_kick(&t, NET_QUEUE_CTRL);
		/* More than one run's share. */
		t_true(t_virtq_used_count(ctrl(&t)) < 32);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(ctrl(&t)), 32);
		t_uint(*t_net_at(&t, at + 16, 1), VIRTIO_NET_OK);
		t_net_fini(&t);
	}
}

/* --- life --- */

Test(net, an_idle_device_is_quiesced_at_once)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t.dev->is_quiesced = true;
		t.dev->ops->quiesce(t.dev);
		t_uint(t.quiesced, 1);
		t_net_resume(&t);
		t_net_fini(&t);
	}
}

Test(net, everything_at_once_is_quiesced_once)
{
	T_EACH_BACKEND(l)
	{
		struct net_config c = { .id = "net0",
			.rx = { .ops = { .size = 1, .refill_ms = 1000000 } },
			.tx = { .ops = { .size = 1, .refill_ms = 1000000 } } };
		struct t_net t;

		t_net_make(&t, l, &c);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		for (uint16_t i = 0; i < 3; i++) {
			t_net_give(&t, i, 2000);
			t_net_arrive(&t, 100, (uint8_t)i);
			t_net_offer(&t, i, t_net_alloc(&t, 2000), 100, (uint8_t)i);
		}
		t_net_kick(&t, NET_QUEUE_RX);
		t_net_kick(&t, NET_QUEUE_TX);
		t_true(loop_op_is_pending(&t.net->rx.gate.timer));
		t_true(loop_op_is_pending(&t.net->tx.gate.timer));
		t_net_fini(&t);
		t_uint(t.quiesced, 1);
	}
	T_NO_LEAKS();
}

/* --- a queue is stopped --- */

/* Receive buffers are taken, one of two frames is sent, the other held by a limiter. */
static void work_both_ways(struct t_net *t, struct loop *l, uint64_t refill_ms)
{
	struct net_config c = { .id = "net0",
		.tx = { .ops = { .size = 1, .refill_ms = refill_ms } } };

	t_net_make(t, l, &c);
	t_net_start(t, T_NET_MERGED, T_NET_QUEUE);
	for (uint16_t i = 0; i < 4; i++)
		t_net_give(t, i, 500);
	t_net_kick(t, NET_QUEUE_RX);
	for (uint16_t i = 0; i < 2; i++)
		t_net_offer(t, i, t_net_alloc(t, 2000), 100, (uint8_t)i);
	t_net_kick(t, NET_QUEUE_TX);
	t_net_expect_wire(t, 100, 0);
	t_true(t->net->tx.is_held);
	t_uint(t->net->rx.nchains, 4);
}

Test(net, sending_is_stopped_and_receiving_goes_on_in_all_buffers)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		work_both_ways(&t, l, 1000000);
		t_net_stop_queue(&t, NET_QUEUE_TX);
		t_false(t.net->tx.is_held);
		t_false(loop_op_is_pending(&t.net->tx.gate.timer));
		for (uint8_t i = 0; i < 4; i++)
			t_net_arrive(&t, 300, i);
		for (uint8_t i = 0; i < 4; i++)
			t_net_expect(&t, 300, i, 1);
		t_uint(t.dev->vq[NET_QUEUE_RX].inflight, 0);
		t_net_turn(&t);
		t_uint(count_get(&t.dev->counters.requests[COUNT_WRITE]), 1);
		t_false(t_net_needs_reset(&t));
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net, receiving_is_stopped_and_what_is_held_is_sent_later)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		work_both_ways(&t, l, 50);
		/* A frame that waits for more room than there is. */
		t_net_arrive(&t, 3000, 9);
		T_NET_UNTIL(&t, t.net->rx.spilled > 0);
		t_net_stop_queue(&t, NET_QUEUE_RX);
		t_uint(t.net->rx.frame, 0);
		t_uint(t.net->rx.nchains, 0);
		t_net_arrive(&t, 100, 10);
		t_net_expect_wire(&t, 100, 1);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(&t.q[NET_QUEUE_TX]), 2);
		t_uint(t_virtq_used_count(&t.q[NET_QUEUE_RX]), 0);
		t_false(loop_op_is_pending(&t.net->rx.poll));
		t_false(t_net_needs_reset(&t));
		/* The next driver finds no trace of it. */
		t_net_quiesce(&t);
		t_net_reset(&t);
		t_net_start(&t, T_NET_MERGED, T_NET_QUEUE);
		t_net_give(&t, 7, 2000);
		t_net_kick(&t, NET_QUEUE_RX);
		t_net_expect(&t, 100, 10, 1);
		t_net_fini(&t);
	}
	T_NO_LEAKS();
}

Test(net, control_is_stopped_and_the_rest_goes_on)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		work_both_ways(&t, l, 50);
		t_net_stop_queue(&t, NET_QUEUE_CTRL);
		for (uint8_t i = 0; i < 4; i++)
			t_net_arrive(&t, 300, i);
		for (uint8_t i = 0; i < 4; i++)
			t_net_expect(&t, 300, i, 1);
		t_net_expect_wire(&t, 100, 1);
		t_net_fini(&t);
	}
}

Test(net, a_broken_device_rests)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_init(&t, l, T_NET_MERGED);
		t_net_give(&t, 0, 2000);
		t_net_kick(&t, NET_QUEUE_RX);
		virtio_break(t.dev, RULE_NET_CTRL);
		t_net_arrive(&t, 100, 1);
		t_net_offer(&t, 0, t_net_alloc(&t, 2000), 100, 1);
		t_net_turn(&t);
		t.dev->ops->kick(t.dev, NET_QUEUE_TX);
		t_net_turn(&t);
		t_uint(t_virtq_used_count(&t.q[NET_QUEUE_RX]), 0);
		t_uint(t_virtq_used_count(&t.q[NET_QUEUE_TX]), 0);
		t_net_fini(&t);
	}
}

/* --- offloads of the host --- */

/* A driver comes, with the offered of these features, and goes. */
static void come(struct t_net *t, uint64_t features)
{
	if (t->dev->active) {
		t_net_quiesce(t);
		t_net_reset(t);
	}
	t_net_start(t, features, T_NET_QUEUE);
}

static unsigned count_lines(int fd, const char *part)
{
	static char text[1 << 16];
	unsigned n = 0;

	memset(text, 0, sizeof(text));
	t_true(pread(fd, text, sizeof(text) - 1, 0) >= 0);
	for (const char *at = text; (at = strstr(at, part)); at++)
		n++;
	return n;
}

Test(net, a_driver_that_comes_again_and_again_does_not_fill_the_log)
{
	T_EACH_BACKEND(l)
	{
		int log = memfd_create("log", MFD_CLOEXEC);
		struct t_net t;
		unsigned lines;

		t_net_make(&t, l, NULL);
		log_init(LOG_WARNING, log);
		host.code = EINVAL;
		for (unsigned i = 0; i < 100; i++)
			come(&t, T_NET_MERGED);
		lines = count_lines(log, "tap 'wire' does not take the offloads");
		/* The budget is one for both turns, and its window may end meanwhile. */
		t_true(lines <= 2 * LOG_BURST);
		t_true(lines >= 1 || turn_ > 0);
		t_net_fini(&t);
		(void)close(log);
	}
}

/* What the host has while the driver agreed on all offloads. */
static const unsigned long flags_of_all =
	TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_UFO | TUN_F_USO4 | TUN_F_USO6;

Test(net, a_driver_with_the_same_features_costs_the_host_nothing)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_make(&t, l, NULL);
		host.asked = 0;
		for (unsigned i = 0; i < 100; i++)
			come(&t, T_NET_MERGED);
		t_uint(host.asked, 1);
		t_hex(host.flags, flags_of_all);
		t_net_fini(&t);
	}
}

Test(net, offloads_that_change_all_the_time_are_off)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;
		uint64_t begin, end;

		t_net_make(&t, l, NULL);
		host.asked = 0;
		host.flags = 0;
		begin = log_now_ms();
		for (unsigned i = 0; i < 200; i++) {
			/* Two sets that share nothing but checksums, and none. */
			come(&t, i % 3 == 0   ? 0
				 : i % 3 == 1 ? BIT(GUEST_CSUM) | BIT(GUEST_TSO4)
					      : BIT(GUEST_CSUM) | BIT(GUEST_TSO6));
			t_true(host.flags == 0 ||
				(i % 3 == 1 && host.flags == (TUN_F_CSUM | TUN_F_TSO4)) ||
				(i % 3 == 2 && host.flags == (TUN_F_CSUM | TUN_F_TSO6)));
			t_true(i > 4 || (host.flags == 0) == (i % 3 == 0));
		}
		end = log_now_ms();
		t_true(host.asked <= 10 + (end - begin) / 100 + 1);
		/* And come back when there is peace. */
		(void)usleep(500000);
		t_net_turn(&t);
		come(&t, T_NET_MERGED);
		t_hex(host.flags, flags_of_all);
		t_net_fini(&t);
	}
}

Test(net, offloads_of_the_driver_before_do_not_stay_where_new_ones_are_refused)
{
	T_EACH_BACKEND(l)
	{
		struct t_net t;

		t_net_make(&t, l, NULL);
		come(&t, T_NET_MERGED);
		host.refused = TUN_F_TSO6;
		come(&t, BIT(GUEST_CSUM) | BIT(GUEST_TSO6));
		t_hex(host.flags, 0);
		host.refused = 0;
		t_net_fini(&t);
	}
}

Test(net, nothing_is_left_open)
{
	unsigned fds = t_count_fds();
	struct loop *l = t_loop_new(0);
	struct t_net t;

	t_net_init(&t, l, T_NET_MERGED);
	t_net_fini(&t);
	t_loop_done(l);
	/* What the log goes to stays. */
	t_uint(t_count_fds(), fds + 1);
	T_NO_LEAKS();
}
