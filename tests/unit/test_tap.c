/*
 * Taps: what is asked of the host and what its refusals become, by calls that the test answers; and
 * a real tap in a network of the test's own, where the host allows that.
 */
#include "t.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/err.h"
#include "virtio/net_header.h"
#include "virtio/tap.h"

TestSuite(tap, .timeout = T_SECONDS);

#define BIT(name) (UINT64_C(1) << VIRTIO_NET_F_##name)

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

/* The host. */
static struct {
	bool is_fake;
	int open_errno, attach_errno, mode_errno, header_errno, offload_errno;
	bool lacks_uso;
	/* what it was asked */
	int open_flags;
	short attach_flags;
	char attach_name[IFNAMSIZ];
	int header_len;
	unsigned long offloads[8];
	unsigned noffloads;
	/* of a descriptor that is attached already */
	short mode;
} host;

int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = va_arg(args, mode_t);
	va_end(args);
	if (!host.is_fake || strcmp(path, "/dev/net/tun") != 0)
		return __real_open64(path, flags, mode);
	host.open_flags = flags;
	if (host.open_errno) {
		errno = host.open_errno;
		return -1;
	}
	return eventfd(0, EFD_CLOEXEC);
}

static int answer(int code)
{
	errno = code;
	return code ? -1 : 0;
}

static int set_offload(unsigned long flags)
{
	t_true(host.noffloads < ARRAY_SIZE(host.offloads));
	host.offloads[host.noffloads++] = flags;
	if (host.lacks_uso && (flags & (TUN_F_USO4 | TUN_F_USO6)))
		return answer(EINVAL);
	return answer(host.offload_errno);
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct ifreq *ifr = arg;

	if (!host.is_fake)
		return __real_ioctl(fd, request, arg);
	switch (request) {
	case TUNSETIFF:
		host.attach_flags = ifr->ifr_flags;
		memcpy(host.attach_name, ifr->ifr_name, IFNAMSIZ);
		return answer(host.attach_errno);
	case TUNGETIFF:
		memcpy(ifr->ifr_name, "given0", 7);
		ifr->ifr_flags = host.mode;
		return answer(host.mode_errno);
	case TUNSETVNETHDRSZ: host.header_len = *(int *)arg; return answer(host.header_errno);
	case TUNSETOFFLOAD: return set_offload((unsigned long)arg);
	default: return answer(ENOTTY);
	}
}

static void fake_host(void)
{
	host.is_fake = true;
	host.mode = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
}

/* --- opening --- */

Test(tap, by_name_attaches_with_header_and_without_waiting)
{
	unsigned fds = t_count_fds();
	struct tap t;
	struct err e = { 0 };

	fake_host();
	t_int(tap_open(&t, "tap0", &e), 0);
	t_int(host.open_flags & (O_ACCMODE | O_CLOEXEC | O_NONBLOCK),
		O_RDWR | O_CLOEXEC | O_NONBLOCK);
	t_hex((unsigned short)host.attach_flags, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	t_str(host.attach_name, "tap0");
	t_int(host.header_len, 12);
	t_str(t.name, "tap0");
	t_true(t.tx_fd >= 0 && t.tx_fd != t.fd);
	t_true(fcntl(t.tx_fd, F_GETFD) & FD_CLOEXEC);
	tap_close(&t);
	t_int(t.fd, -1);
	tap_close(&t);
	t_uint(t_count_fds(), fds);
}

Test(tap, asks_whether_the_host_has_uso_and_leaves_nothing_on)
{
	struct tap t;

	fake_host();
	for (unsigned lacks = 0; lacks < 2; lacks++) {
		host.lacks_uso = lacks;
		host.noffloads = 0;
		t_int(tap_open(&t, "tap0", NULL), 0);
		t_int(t.has_uso, !lacks);
		t_uint(host.noffloads, 2);
		t_hex(host.offloads[0], TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6);
		t_hex(host.offloads[1], 0);
		tap_close(&t);
	}
}

Test(tap, refusals_say_what_failed_and_what_to_do)
{
	static const struct {
		const char *name;
		int *which, code, want;
		const char *says[3];
	} rows[] = {
		{ "no module", &host.open_errno, ENOENT, -ENOENT,
			{ "tap 'tap0'", "/dev/net/tun", "modprobe tun" } },
		{ "closed", &host.open_errno, EACCES, -EACCES,
			{ "tap 'tap0'", "/dev/net/tun", "readable and writable" } },
		{ "not ours", &host.attach_errno, EPERM, -EPERM,
			{ "tap 'tap0'", "TUNSETIFF",
				"ip tuntap add dev tap0 mode tap user USER" } },
		{ "in use", &host.attach_errno, EBUSY, -EBUSY,
			{ "tap 'tap0'", "TUNSETIFF", "another program" } },
		{ "many queues", &host.attach_errno, EINVAL, -EINVAL,
			{ "tap 'tap0'", "one queue", "ip -d link show tap0" } },
		{ "else", &host.attach_errno, ENOMEM, -ENOMEM,
			{ "tap 'tap0'", "TUNSETIFF", "memory" } },
		{ "header", &host.header_errno, EINVAL, -EINVAL,
			{ "tap 'tap0'", "header", "size" } },
		{ "offloads", &host.offload_errno, EINVAL, -EINVAL,
			{ "tap 'tap0'", "offloads", "" } },
	};
	unsigned fds = t_count_fds();

	fake_host();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err e = { 0 };
		struct tap t;

		*rows[i].which = rows[i].code;
		t_row_int(rows[i].name, tap_open(&t, "tap0", &e), rows[i].want);
		for (unsigned s = 0; s < ARRAY_SIZE(rows[i].says); s++)
			t_row_has(rows[i].name, e.text, rows[i].says[s]);
		t_row_int(rows[i].name, t.fd, -1);
		t_row_int(rows[i].name, t_count_fds(), fds);
		*rows[i].which = 0;
	}
}

Test(tap, names_have_1_to_15_characters)
{
	struct err e = { 0 };
	struct tap t;

	fake_host();
	t_int(tap_open(&t, "a23456789012345", &e), 0);
	tap_close(&t);
	t_int(tap_open(&t, "a234567890123456", &e), -ENAMETOOLONG);
	t_has(e.text, "longer than 15 characters");
	t_int(tap_open(&t, "", &e), -EINVAL);
}

Test(tap, no_descriptor_is_left_for_writing)
{
	struct rlimit limit;
	struct err e = { 0 };
	struct tap t;
	int last = eventfd(0, EFD_CLOEXEC);

	fake_host();
	t_int(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)last + 2;
	t_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
	t_int(tap_open(&t, "tap0", &e), -EMFILE);
	t_has(e.text, "ulimit -n");
	/* Which gave its own back. */
	t_int(eventfd(0, 0), last + 1);
}

/* --- a descriptor that is attached already --- */

Test(tap, adopted_becomes_nonblocking_and_is_not_inherited)
{
	int fd = eventfd(0, 0);
	struct err e = { 0 };
	struct tap t;

	fake_host();
	t_int(tap_adopt(&t, fd, &e), 0);
	t_int(t.fd, fd);
	t_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	t_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	t_str(t.name, "given0");
	t_int(host.header_len, 12);
	tap_close(&t);
}

Test(tap, adopted_must_be_a_tap_of_the_right_mode)
{
	static const struct {
		const char *name;
		int mode_errno, mode, want;
		const char *says;
	} rows[] = {
		{ "no tap", ENOTTY, 0, -ENOTTY, "is not a tap" },
		{ "not attached", EBADFD, 0, -EBADFD, "is not a tap" },
		{ "tun", 0, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, -EINVAL, "tap 'given0'" },
		{ "no header", 0, IFF_TAP | IFF_NO_PI, -EINVAL, "IFF_VNET_HDR" },
		{ "packet information", 0, IFF_TAP | IFF_VNET_HDR, -EINVAL, "IFF_NO_PI" },
	};
	int fd = eventfd(0, 0);
	unsigned fds = t_count_fds();

	fake_host();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err e = { 0 };
		struct tap t;

		host.mode_errno = rows[i].mode_errno;
		host.mode = (short)rows[i].mode;
		t_row_int(rows[i].name, tap_adopt(&t, fd, &e), rows[i].want);
		t_row_has(rows[i].name, e.text, rows[i].says);
		/* It is somebody else's: open, and as it was. */
		t_row_int(rows[i].name, t_count_fds(), fds);
		t_row_int(rows[i].name, fcntl(fd, F_GETFD), 0);
		t_row_int(rows[i].name, fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
		t_row_int(rows[i].name, host.noffloads, 0);
		t_row_int(rows[i].name, host.header_len, 0);
		t_row_int(rows[i].name, t.fd, -1);
	}
}

Test(tap, one_that_cannot_be_set_up_stays_with_the_caller)
{
	int fd = eventfd(0, 0);
	unsigned fds = t_count_fds();
	struct err e = { 0 };
	struct tap t;

	fake_host();
	host.offload_errno = EINVAL;
	t_int(tap_adopt(&t, fd, &e), -EINVAL);
	t_has(e.text, "offloads");
	t_int(t.fd, -1);
	tap_close(&t);
	t_uint(t_count_fds(), fds);
	t_true(fcntl(fd, F_GETFD) >= 0);
}

Test(tap, a_closed_descriptor_is_refused)
{
	struct err e = { 0 };
	struct tap t;

	t_int(tap_adopt(&t, 1000, &e), -EBADF);
	t_has(e.text, "descriptor 1000");
	t_int(tap_adopt(&t, -1, &e), -EBADF);
}

/* --- offloads --- */

Test(tap, offloads_are_those_that_were_agreed)
{
	static const struct {
		const char *name;
		uint64_t features;
		unsigned long want;
	} rows[] = {
		{ "nothing", 0, 0 },
		{ "what the guest sends", BIT(CSUM) | BIT(HOST_TSO4) | BIT(HOST_USO), 0 },
		{ "checksums", BIT(GUEST_CSUM), TUN_F_CSUM },
		{ "TSO4", BIT(GUEST_CSUM) | BIT(GUEST_TSO4), TUN_F_CSUM | TUN_F_TSO4 },
		{ "TSO6", BIT(GUEST_CSUM) | BIT(GUEST_TSO6), TUN_F_CSUM | TUN_F_TSO6 },
		{ "UFO", BIT(GUEST_CSUM) | BIT(GUEST_UFO), TUN_F_CSUM | TUN_F_UFO },
		{ "USO", BIT(GUEST_CSUM) | BIT(GUEST_USO4) | BIT(GUEST_USO6),
			TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6 },
		/* Linux would refuse that. */
		{ "half of USO", BIT(GUEST_CSUM) | BIT(GUEST_USO4), TUN_F_CSUM },
	};
	struct tap t;

	fake_host();
	t_int(tap_open(&t, "tap0", NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		/* Another set between two rows. */
		t_int(tap_set_offloads(&t, BIT(GUEST_CSUM) | BIT(GUEST_UFO) | BIT(GUEST_TSO4)), 0);
		host.noffloads = 0;
		t_row_int(rows[i].name, tap_set_offloads(&t, rows[i].features), 0);
		t_row_int(rows[i].name, host.noffloads, 1);
		t_row_hex(rows[i].name, host.offloads[0], rows[i].want);
	}
	host.offload_errno = EINVAL;
	host.noffloads = 0;
	t_int(tap_set_offloads(&t, 0), -EINVAL);
	tap_close(&t);
}

Test(tap, offloads_that_the_host_has_already_are_not_set_again)
{
	const uint64_t some = BIT(GUEST_CSUM) | BIT(GUEST_TSO4);
	struct tap t;

	fake_host();
	t_int(tap_open(&t, "tap0", NULL), 0);
	host.noffloads = 0;
	t_true(tap_has_offloads(&t, BIT(HOST_TSO4)));
	t_int(tap_set_offloads(&t, BIT(HOST_TSO4)), 0);
	t_uint(host.noffloads, 0);
	t_false(tap_has_offloads(&t, some));
	for (unsigned i = 0; i < 3; i++)
		t_int(tap_set_offloads(&t, some | (i == 2 ? BIT(GUEST_USO4) : 0)), 0);
	t_true(tap_has_offloads(&t, some));
	t_uint(host.noffloads, 1);
	/* What was refused is not there. */
	host.offload_errno = EINVAL;
	for (unsigned i = 0; i < 2; i++)
		t_int(tap_set_offloads(&t, BIT(GUEST_CSUM)), -EINVAL);
	t_true(tap_has_offloads(&t, some));
	t_uint(host.noffloads, 3);
	tap_close(&t);
}

/* --- the real one --- */

/* In a child; 0 or the line that is wrong. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return __LINE__;                                                           \
	} while (0)

enum { CANNOT = -1 };

/*
 * Runs body in a network of its own, which takes a process with one thread.  Where the host does
 * not allow that, or has no taps, the test is left out.
 */
static void in_own_network(int (*body)(struct tap *t))
{
	int pipe_fd[2], result = CANNOT;
	struct err e = { 0 };
	struct tap t;
	pid_t child;

	t_int(pipe2(pipe_fd, O_CLOEXEC), 0);
	child = fork();
	t_true(child >= 0);
	if (child == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && tap_open(&t, "mvmtap0", &e) == 0)
			result = body(&t);
		(void)!write(pipe_fd[1], &result, sizeof(result));
		_exit(0);
	}
	(void)close(pipe_fd[1]);
	t_int(read(pipe_fd[0], &result, sizeof(result)), sizeof(result));
	t_int(waitpid(child, NULL, 0), child);
	if (result == CANNOT)
		cr_skip_test("no tap in a network of one's own");
	cr_assert(eq(int, result, 0), "line %d does not hold", result);
}

/* The other end of the tap, up: a packet socket; or -1. */
static int other_end(const struct tap *t)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, t->name, sizeof(ifr.ifr_name));
	ifr.ifr_flags = IFF_UP;
	at.sll_ifindex = (int)if_nametoindex(t->name);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ||
		bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -1;
	return fd;
}

/* A frame of an EtherType that nobody answers. */
static void make_frame(uint8_t *frame, size_t len)
{
	memset(frame, 0x5a, len);
	frame[0] = 0x02;
	frame[6] = 0x02;
	frame[12] = 0x88;
	frame[13] = 0xb5;
}

static bool is_other(const uint8_t *frame, ssize_t len)
{
	return len >= 14 && (frame[12] != 0x88 || frame[13] != 0xb5);
}

static int take_and_give(struct tap *t)
{
	enum { LEN = 100 };
	uint8_t frame[LEN], got[2000];
	struct virtio_net_hdr_v1 h = { 0 };
	struct iovec out[] = { { &h, sizeof(h) }, { frame, LEN } };
	struct iovec in[] = { { got, 7 }, { got + 7, sizeof(got) - 7 } };
	ssize_t n;
	int fd;

	make_frame(frame, LEN);
	/* It is down until somebody raises it. */
	CHECK(tap_read(t, in, 2) == -EAGAIN);
	CHECK(tap_write(t, out, 2) == -EIO);
	fd = other_end(t);
	CHECK(fd >= 0);
	CHECK(tap_write(t, out, 2) == LEN + NET_HEADER_LEN);
	do
		n = recv(fd, got, sizeof(got), 0);
	while (is_other(got, n));
	CHECK(n == LEN && memcmp(got, frame, LEN) == 0);
	CHECK(send(fd, frame, LEN, 0) == LEN);
	do
		n = tap_read(t, in, 2);
	while (is_other(got + NET_HEADER_LEN, n - NET_HEADER_LEN));
	CHECK(n == NET_HEADER_LEN + LEN);
	CHECK(memcmp(got + NET_HEADER_LEN, frame, LEN) == 0);
	/* What is longer than the segments is cut off without a word. */
	in[1].iov_len = NET_HEADER_LEN + LEN - 10 - in[0].iov_len;
	CHECK(send(fd, frame, LEN, 0) == LEN);
	do
		n = tap_read(t, in, 2);
	while (is_other(got + NET_HEADER_LEN, n - NET_HEADER_LEN));
	CHECK(n == NET_HEADER_LEN + LEN - 10);
	return 0;
}

Test(tap, a_real_one_takes_and_gives_frames)
{
	in_own_network(take_and_give);
}

static int offloads(struct tap *t)
{
	uint64_t all = BIT(GUEST_CSUM) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6) | BIT(GUEST_UFO);

	CHECK(tap_set_offloads(t, 0) == 0);
	CHECK(tap_set_offloads(t, all) == 0);
	CHECK(tap_set_offloads(t, all | BIT(GUEST_USO4)) == 0);
	CHECK(!t->has_uso || tap_set_offloads(t, all | BIT(GUEST_USO4) | BIT(GUEST_USO6)) == 0);
	return 0;
}

Test(tap, a_real_one_knows_the_offloads)
{
	in_own_network(offloads);
}

static int attach_again(struct tap *t)
{
	struct tap again;
	struct err e = { 0 };

	CHECK(tap_open(&again, t->name, &e) == -EBUSY);
	CHECK(strstr(e.text, "another program"));
	CHECK(tap_open(&again, "lo", &e) == -EINVAL);
	CHECK(strstr(e.text, "something else than a tap"));
	return 0;
}

Test(tap, a_real_one_is_attached_once_and_lo_is_none)
{
	in_own_network(attach_again);
}

static int pass_on(struct tap *t)
{
	struct tap adopted;
	struct err e = { 0 };
	int fd = dup(t->fd);

	CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0);
	CHECK(tap_adopt(&adopted, fd, &e) == 0);
	CHECK(strcmp(adopted.name, t->name) == 0);
	CHECK(adopted.has_uso == t->has_uso);
	tap_close(&adopted);
	fd = __real_open64("/dev/net/tun", O_RDWR | O_CLOEXEC);
	CHECK(tap_adopt(&adopted, fd, &e) == -EBADFD);
	return 0;
}

Test(tap, a_real_one_can_be_passed_on)
{
	in_own_network(pass_on);
}

static int delete_link(const char *name)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			  .nlmsg_type = RTM_DELLINK,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.link = { .ifi_index = (int)if_nametoindex(name) } };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[256];
	} reply = { 0 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) < 0 || recv(fd, &reply, sizeof(reply), 0) < 0)
		return -errno;
	return reply.error.error;
}

/* The interface is deleted under us: an error, and one that repeats. */
static int vanish(struct tap *t)
{
	uint8_t got[100];
	struct iovec in = { got, sizeof(got) };
	struct pollfd ready = { .fd = t->tx_fd, .events = POLLIN };

	CHECK(delete_link(t->name) == 0);
	CHECK(poll(&ready, 1, 1000) == 1 && (ready.revents & POLLERR));
	CHECK(tap_read(t, &in, 1) == -EBADFD);
	CHECK(tap_read(t, &in, 1) == -EBADFD);
	CHECK(tap_write(t, &in, 1) == -EBADFD);
	return 0;
}

Test(tap, a_real_one_that_is_deleted_says_so)
{
	in_own_network(vanish);
}
