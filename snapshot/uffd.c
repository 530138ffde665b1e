/* Guest memory whose pages another process brings (uffd.h). */
#include "snapshot/uffd.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/helper_thread.h"
#include "snapshot/userfault.h"

enum {
	HANDLER_WAIT_S = 5, /* for a handler whose queue of connections is full */
	MESSAGE_MAX = 1024, /* what handlers in the field have room for */
};

/* --- the message --- */

/* 0 or -EMSGSIZE. */
static int describe(const struct guest_mem *m, char *text, size_t size, size_t *ret_len)
{
	unsigned long long page_size =
		m->pages == MEM_PAGES_2M ? MEM_HUGE_PAGE_SIZE : (unsigned long long)MEM_PAGE_SIZE;
	size_t len = 0;

	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->r[i];
		int n = snprintf(text + len, size - len,
			"%s{\"base_host_virt_addr\":%llu,\"size\":%llu,\"offset\":%llu,"
			"\"page_size\":%llu,\"page_size_kib\":%llu}%s",
			i == 0 ? "[" : ",", (unsigned long long)(uintptr_t)r->hva,
			(unsigned long long)r->len,
			(unsigned long long)(r->hva - (const uint8_t *)m->map), page_size,
			page_size, i + 1 == m->n ? "]" : "");

		if (n < 0 || (size_t)n >= size - len)
			return -EMSGSIZE;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

/* In one message, with fd in it: handlers read once. */
static int hand_over(int socket, const char *text, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)text, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	do {
		n = sendmsg(socket, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* So little is never cut by the kernel. */
	return (size_t)n == len ? 0 : -EIO;
}

/* --- the handler --- */

static int connect_to(const char *path, struct err *e)
{
	const struct timeval wait = { .tv_sec = HANDLER_WAIT_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd CLEANUP(fd_closep) = -1;
	int rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(e, -ENAMETOOLONG, "handler's socket '%s': at most %zu bytes", path,
			sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot make a socket for the handler");
	/* connect() waits as long as this for a place in the handler's queue. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	do {
		rc = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	} while (rc == -EINTR);
	if (rc == -EAGAIN)
		return err_set(e, -ETIMEDOUT,
			"handler at '%s' does not accept connections: see what it is doing", path);
	/* Word for word what clients look for. */
	if (rc < 0)
		return err_set(e, rc, "Failed to connect to UDS Unix stream: %s (os error %d)",
			strerror(-rc), -rc);
	return fd_take(&fd);
}

int uffd_serve(struct uffd *u, const struct guest_mem *m, const char *path, struct err *e)
{
	char text[MESSAGE_MAX];
	size_t len = 0;
	int fd CLEANUP(fd_closep) = -1;
	int socket CLEANUP(fd_closep) = -1;
	int rc;

	/* A page that is there already is never asked for. */
	if (m->prefault)
		return err_set(e, -EINVAL, "pre-faulted memory cannot be brought by a handler");
	socket = connect_to(path, e);
	if (socket < 0)
		return socket;
	/* Handlers in the field expect to hear of removed pages; without it they hear nothing. */
	fd = userfault_open(0, UFFD_FEATURE_EVENT_REMOVE, e);
	if (fd < 0)
		return fd;
	rc = userfault_register(fd, m, UFFDIO_REGISTER_MODE_MISSING, _UFFDIO_COPY, e);
	if (rc < 0)
		return rc;
	rc = describe(m, text, sizeof(text), &len);
	if (rc == 0)
		rc = hand_over(socket, text, len, fd);
	if (rc < 0)
		return err_sys(e, rc, "see what became of the handler",
			"cannot hand guest memory over at '%s'", path);
	*u = (struct uffd){ .fd = fd_take(&fd), .socket = fd_take(&socket) };
	return 0;
}

/* --- its end --- */

/* True while the other side is there: whatever it said is read and forgotten. */
static bool is_still_there(int socket)
{
	char said[256] UNINITIALIZED;
	ssize_t n = recv(socket, said, sizeof(said), MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	return n > 0;
}

/* What the watcher is told; a STOP is more than any number of LOOKs, at the deadline. */
enum { LOOK = 1, STOP = 1 << 20 };

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* For poll(): until the deadline, 0 for none. */
static int ms_until(uint64_t deadline)
{
	uint64_t now = now_ms();

	if (deadline == 0)
		return -1;
	return now < deadline ? (int)(deadline - now) : 0;
}

static void *watcher_main(void *arg)
{
	struct uffd *u = arg;

	for (;;) {
		struct pollfd p[] = {
			{ .fd = u->socket, .events = POLLIN | POLLRDHUP },
			{ .fd = u->stop_fd, .events = POLLIN },
		};

		uint64_t deadline = atomic_load(&u->deadline_ms);
		int n = poll(p, ARRAY_SIZE(p), ms_until(deadline));

		/* It may have been changed at the last moment. */
		if (n == 0 && atomic_load(&u->deadline_ms) == deadline)
			break;
		if (n < 0) {
			if (errno == EINTR || errno == ENOMEM)
				continue;
			/* Nobody would hear of the handler's end any more. */
			break;
		}
		if (p[1].revents) {
			eventfd_t said = STOP;

			(void)eventfd_read(u->stop_fd, &said);
			if (said >= STOP)
				return NULL;
		}
		if (p[0].revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL))
			break;
		if (p[0].revents && !is_still_there(u->socket))
			break;
	}
	u->gone(u->ctx);
	return NULL;
}

int uffd_watch(struct uffd *u, void (*gone)(void *ctx), void *ctx, struct err *e)
{
	int stop CLEANUP(fd_closep) = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc;

	INVARIANT(!u->has_watcher);
	if (stop < 0)
		return err_sys(e, -errno, NULL, "cannot watch the handler");
	u->gone = gone;
	u->ctx = ctx;
	u->stop_fd = stop;
	rc = helper_thread_start(&u->watcher, "uffd-watch", watcher_main, u, e);
	if (rc < 0)
		return rc;
	(void)fd_take(&stop);
	u->has_watcher = true;
	return 0;
}

void uffd_set_deadline(struct uffd *u, unsigned ms)
{
	atomic_store(&u->deadline_ms, ms ? now_ms() + ms : 0);
	if (u->has_watcher)
		(void)eventfd_write(u->stop_fd, LOOK);
}

void uffd_hurry(struct uffd *u)
{
	if (atomic_load(&u->deadline_ms) == 0)
		uffd_set_deadline(u, UFFD_HURRY_MS);
}

void uffd_close(struct uffd *u)
{
	if (u->has_watcher) {
		(void)eventfd_write(u->stop_fd, STOP);
		(void)pthread_join(u->watcher, NULL);
		(void)close(u->stop_fd);
	}
	if (u->socket >= 0)
		(void)close(u->socket);
	if (u->fd >= 0)
		(void)close(u->fd);
	*u = (struct uffd){ .fd = -1, .socket = -1 };
}
