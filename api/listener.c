/* The server's socket (listener.h), and socket activation (server.h). */
#include "api/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/server.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/parse.h"

enum { ACTIVATED_FD = 3 };

/* --- made at a path --- */

/*
 * The address of a path.  One that is too long for it is reached through its folder, which is
 * opened as *ret_folder and has to stay open as long as the address is used.
 */
static int address_of(const char *path, struct sockaddr_un *ret, int *ret_folder)
{
	const char *name = strrchr(path, '/');
	char folder[PATH_MAX];
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", path);
	if (n > 0 && (size_t)n < sizeof(ret->sun_path))
		return 0;
	if (n <= 0 || n >= PATH_MAX)
		return n <= 0 ? -ENOENT : -ENAMETOOLONG;
	n = name ? (int)(name - path) + 1 : 0;
	(void)snprintf(folder, sizeof(folder), "%.*s.", n, path);
	name = path + n;
	*ret_folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_folder < 0)
		return -errno;
	n = snprintf(
		ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", *ret_folder, name);
	return (size_t)n < sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

/* Whether a socket is there that nobody listens on any more. */
static bool is_stale(const struct sockaddr_un *at)
{
	CLEANUP(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 &&
	       errno == ECONNREFUSED;
}

static int refuse(struct err *e, int rc, const char *path, const struct sockaddr_un *at)
{
	struct stat st;

	if (rc != -EADDRINUSE)
		return err_sys(e, rc, rc == -ENAMETOOLONG ? "a shorter name is needed" : NULL,
			"Failed to open the API socket at: %s", path);
	return err_set(e, rc,
		"Failed to open the API socket at: %s. Check that it is not already used.%s", path,
		lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && is_stale(at)
			? " (Nobody listens there any more: remove it.)"
			: "");
}

/*
 * The file gets the mode of the socket less the umask, so that nobody can connect before a chmod;
 * what the umask took away is given back afterwards.
 */
static int bind_with_mode(int fd, const struct sockaddr_un *at, unsigned mode, struct stat *ret)
{
	if (fchmod(fd, mode) < 0 || bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0)
		return -errno;
	if (lstat(at->sun_path, ret) < 0)
		return -errno;
	if ((ret->st_mode & 07777) != mode && chmod(at->sun_path, mode) < 0)
		return -errno;
	return 0;
}

int listener_open(struct listener *l, const char *path, unsigned mode, struct err *e)
{
	CLEANUP(fd_closep) int folder = -1;
	CLEANUP(fd_closep) int fd = -1;
	struct sockaddr_un at;
	struct stat st = { 0 };
	char *copy;
	int rc = address_of(path, &at, &folder);

	if (rc < 0)
		return refuse(e, rc, path, NULL);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 ? -errno : bind_with_mode(fd, &at, mode & 0777, &st);
	if (rc < 0)
		return refuse(e, rc, path, &at);
	rc = listen(fd, SERVER_LISTEN_BACKLOG) < 0 ? -errno : 0;
	copy = rc == 0 ? strdup(path) : NULL;
	if (!copy) {
		rc = refuse(e, rc < 0 ? rc : -ENOMEM, path, &at);
		(void)unlink(path);
		return rc;
	}
	*l = (struct listener){ fd_take(&fd), copy, st.st_dev, st.st_ino };
	return 0;
}

void listener_stop(struct listener *l)
{
	if (l->fd >= 0)
		(void)close(l->fd);
	l->fd = -1;
}

void listener_close(struct listener *l)
{
	struct stat st;

	listener_stop(l);
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		(void)unlink(l->path);
	free(l->path);
	l->path = NULL;
}

/* --- handed over --- */

static int option_of(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -errno : value;
}

static int check(int fd, struct err *e)
{
	int domain = option_of(fd, SO_DOMAIN), flags;

	if (domain < 0)
		return err_sys(e, domain, NULL, "descriptor %d is not a socket", fd);
	if (domain != AF_UNIX || option_of(fd, SO_TYPE) != SOCK_STREAM ||
		option_of(fd, SO_ACCEPTCONN) != 1)
		return err_set(
			e, -EINVAL, "descriptor %d is not a listening Unix stream socket", fd);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(e, -errno, NULL, "cannot prepare descriptor %d", fd);
	return 0;
}

int listener_adopt(struct listener *l, int fd, struct err *e)
{
	int rc = check(fd, e);

	if (rc == 0)
		*l = (struct listener){ .fd = fd };
	return rc;
}

int server_activated_fd(struct err *e)
{
	const char *pid_text = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
	uint64_t pid = 0, count = 0;
	bool is_ours = pid_text && count_text && parse_u64(pid_text, 1, INT_MAX, &pid) == 0 &&
		       parse_u64(count_text, 1, INT_MAX, &count) == 0 && pid == (uint64_t)getpid();
	int rc;

	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	if (!is_ours)
		return err_set(e, -ENOENT, "no socket was handed over (LISTEN_FDS, LISTEN_PID)");
	rc = check(ACTIVATED_FD, e);
	return rc < 0 ? rc : ACTIVATED_FD;
}
