/* Taps (tap.h; Documentation/networking/tuntap.rst of Linux). */
#include "virtio/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "virtio/net_header.h"

/* Linux's numbers, not those of net/if.h. */
enum { TAP_FLAGS = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

static int set_offload(int fd, unsigned flags)
{
	return ioctl(fd, TUNSETOFFLOAD, (unsigned long)flags) < 0 ? -errno : 0;
}

/* What is the same for both ways to get a tap: the header, and what the host is able to do. */
static int set_up(struct tap *t, struct err *e)
{
	int len = NET_HEADER_LEN, rc;

	if (ioctl(t->fd, TUNSETVNETHDRSZ, &len) < 0)
		return err_sys(e, -errno, NULL, "tap '%s': cannot set the header's size", t->name);
	/* There is no other way to ask.  Without a driver nothing is to be left to it. */
	t->has_uso = set_offload(t->fd, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) == 0;
	rc = set_offload(t->fd, 0);
	if (rc < 0)
		return err_sys(e, rc, NULL, "tap '%s': cannot set its offloads", t->name);
	t->tx_fd = fcntl(t->fd, F_DUPFD_CLOEXEC, 0);
	if (t->tx_fd < 0)
		return err_sys(
			e, -errno, "see ulimit -n", "tap '%s': cannot duplicate it", t->name);
	return 0;
}

static int attach_failed(const char *name, int code, struct err *e)
{
	char hint[128];

	switch (-code) {
	case EPERM:
		(void)snprintf(hint, sizeof(hint),
			"make it with: ip tuntap add dev %s mode tap user USER", name);
		break;
	case EBUSY: (void)snprintf(hint, sizeof(hint), "another program is attached to it"); break;
	case EINVAL:
		(void)snprintf(hint, sizeof(hint),
			"it is something else than a tap with one queue; see ip -d link show %s",
			name);
		break;
	default: return err_sys(e, code, NULL, "tap '%s': cannot attach to it (TUNSETIFF)", name);
	}
	return err_sys(e, code, hint, "tap '%s': cannot attach to it (TUNSETIFF)", name);
}

int tap_open(struct tap *t, const char *name, struct err *e)
{
	struct ifreq ifr = { 0 };
	int rc;

	*t = (struct tap){ .fd = -1, .tx_fd = -1 };
	if (name[0] == '\0')
		return err_set(e, -EINVAL, "the name of a tap is empty");
	if (strlen(name) >= sizeof(t->name))
		return err_set(e, -ENAMETOOLONG, "tap '%s': its name is longer than %zu characters",
			name, sizeof(t->name) - 1);
	memcpy(t->name, name, strlen(name) + 1);
	memcpy(ifr.ifr_name, t->name, sizeof(ifr.ifr_name));
	ifr.ifr_flags = TAP_FLAGS;
	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return err_sys(e, -errno,
			errno == ENOENT ? "load the module: modprobe tun"
					: "it must be readable and writable for this user",
			"tap '%s': cannot open /dev/net/tun", name);
	if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
		rc = attach_failed(name, -errno, e);
	else
		rc = set_up(t, e);
	if (rc < 0)
		tap_close(t);
	return rc;
}

/* Whether it is a tap at all, and of the mode that we need. */
static int check_mode(struct tap *t, struct err *e)
{
	static const char how[] =
		"attach it with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR before it is passed on";
	struct ifreq ifr = { 0 };
	unsigned flags;

	if (ioctl(t->fd, TUNGETIFF, &ifr) < 0)
		return err_sys(e, -errno, how, "descriptor %d is not a tap (TUNGETIFF)", t->fd);
	memcpy(t->name, ifr.ifr_name, sizeof(t->name));
	t->name[sizeof(t->name) - 1] = '\0';
	flags = (unsigned short)ifr.ifr_flags;
	if ((flags & TAP_FLAGS) != TAP_FLAGS)
		return err_set(e, -EINVAL, "tap '%s' (descriptor %d) has the mode 0x%x (%s)",
			t->name, t->fd, flags, how);
	return 0;
}

static int set_descriptor_flags(int fd, struct err *e)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(e, -errno, NULL, "cannot use descriptor %d as a tap", fd);
	return 0;
}

int tap_adopt(struct tap *t, int fd, struct err *e)
{
	int rc;

	*t = (struct tap){ .fd = fd, .tx_fd = -1 };
	/* First, and without a change: a wrong number may be that of anything. */
	rc = check_mode(t, e);
	if (rc == 0)
		rc = set_descriptor_flags(fd, e);
	if (rc == 0)
		rc = set_up(t, e);
	if (rc < 0) {
		t->fd = -1;
		tap_close(t);
	}
	return rc;
}

void tap_close(struct tap *t)
{
	fd_closep(&t->tx_fd);
	fd_closep(&t->fd);
	t->fd = t->tx_fd = -1;
}

void tap_free(struct tap *t)
{
	if (!t)
		return;
	tap_close(t);
	free(t);
}

static bool has(uint64_t features, unsigned bit)
{
	return features >> bit & 1;
}

static unsigned flags_of(uint64_t features)
{
	unsigned flags = 0;

	if (has(features, VIRTIO_NET_F_GUEST_CSUM))
		flags |= TUN_F_CSUM;
	if (has(features, VIRTIO_NET_F_GUEST_TSO4))
		flags |= TUN_F_TSO4;
	if (has(features, VIRTIO_NET_F_GUEST_TSO6))
		flags |= TUN_F_TSO6;
	if (has(features, VIRTIO_NET_F_GUEST_UFO))
		flags |= TUN_F_UFO;
	/* Linux has one switch for both and refuses the half of it. */
	if (has(features, VIRTIO_NET_F_GUEST_USO4) && has(features, VIRTIO_NET_F_GUEST_USO6))
		flags |= TUN_F_USO4 | TUN_F_USO6;
	return flags;
}

bool tap_has_offloads(const struct tap *t, uint64_t features)
{
	return t->offloads == flags_of(features);
}

int tap_set_offloads(struct tap *t, uint64_t features)
{
	unsigned flags = flags_of(features);
	int rc = 0;

	if (flags != t->offloads)
		rc = set_offload(t->fd, flags);
	if (rc == 0)
		t->offloads = flags;
	return rc;
}

ssize_t tap_read(struct tap *t, const struct iovec *iov, unsigned n)
{
	ssize_t got = readv(t->fd, iov, (int)n);

	return got < 0 ? -errno : got;
}

ssize_t tap_write(struct tap *t, const struct iovec *iov, unsigned n)
{
	ssize_t put = writev(t->tx_fd, iov, (int)n);

	return put < 0 ? -errno : put;
}
