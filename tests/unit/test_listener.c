/* The socket that the server listens on (listener.h, server.h). */
#include "t.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "api/listener.h"
#include "api/server.h"
#include "base/err.h"

TestSuite(listener, .timeout = T_SECONDS);

static char folder[64];

static const char *in_folder(const char *name)
{
	static char path[PATH_MAX];

	if (folder[0] == '\0') {
		(void)snprintf(folder, sizeof(folder), "/tmp/mvm-listener-XXXXXX");
		t_true(mkdtemp(folder));
	}
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void done(void)
{
	t_int(rmdir(folder), 0);
}

static int connect_to(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	rc = connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
	(void)close(fd);
	return rc;
}

static mode_t mode_of(const char *path)
{
	struct stat st = { 0 };

	t_int(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

/* --- made at a path --- */

Test(listener, the_file_has_exactly_the_mode_whatever_the_umask, .fini = done)
{
	static const struct {
		unsigned mode, mask;
	} rows[] = { { 0600, 022 }, { 0600, 0 }, { 0660, 077 }, { 0666, 022 } };
	const char *path = in_folder("api.sock");

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct listener l = { .fd = -1 };
		struct err e = { 0 };
		mode_t old = umask(rows[i].mask);

		cr_assert(eq(int, listener_open(&l, path, rows[i].mode, &e), 0), "%s", e.text);
		t_hex(mode_of(path), rows[i].mode);
		t_int(connect_to(path), 0);
		listener_close(&l);
		t_int(access(path, F_OK), -1);
		(void)umask(old);
	}
	T_NO_LEAKS();
}

Test(listener, what_is_in_its_place_is_left_alone, .fini = done)
{
	struct listener first = { .fd = -1 }, second = { .fd = -1 };
	const char *path = in_folder("api.sock");
	struct err e = { 0 };
	char want[256];
	int fd;

	(void)snprintf(want, sizeof(want),
		"Failed to open the API socket at: %s. Check that it is not already used.", path);
	t_int(listener_open(&first, path, 0600, &e), 0);
	t_int(listener_open(&second, path, 0600, &e), -EADDRINUSE);
	t_str(e.text, want);
	t_int(connect_to(path), 0);
	/* One that nobody listens on any more. */
	listener_stop(&first);
	t_int(listener_open(&second, path, 0600, &e), -EADDRINUSE);
	t_has(e.text, want);
	t_has(e.text, "Nobody listens there any more: remove it.");
	listener_close(&first);
	t_int(access(path, F_OK), -1);
	/* Something else. */
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	(void)close(fd);
	t_int(listener_open(&second, path, 0600, &e), -EADDRINUSE);
	t_str(e.text, want);
	t_int(unlink(path), 0);
	T_NO_LEAKS();
}

Test(listener, a_path_that_cannot_be_says_so, .fini = done)
{
	struct listener l = { .fd = -1 };
	struct err e = { 0 };
	unsigned fds = t_count_fds();
	char path[PATH_MAX + 1];

	t_int(listener_open(&l, in_folder("missing/api.sock"), 0600, &e), -ENOENT);
	t_has(e.text, "Failed to open the API socket at: ");
	t_has(e.text, "missing/api.sock: No such file or directory");
	t_int(listener_open(&l, "", 0600, &e), -ENOENT);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	t_int(listener_open(&l, path, 0600, &e), -ENAMETOOLONG);
	/* A name that is too long even in its folder. */
	path[150] = '\0';
	t_int(listener_open(&l, in_folder(path), 0600, &e), -ENAMETOOLONG);
	t_has(e.text, "a shorter name is needed");
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(listener, a_path_longer_than_an_address_works)
{
	enum { DEPTH = 5 };
	static const char part[] = "a-folder-with-a-name-of-40-characters-or";
	struct listener l = { .fd = -1 }, second = { .fd = -1 };
	struct err e = { 0 };
	char path[1024], here[PATH_MAX];
	unsigned fds;

	(void)snprintf(path, sizeof(path), "%s", in_folder(part));
	for (unsigned i = 1; i < DEPTH; i++) {
		t_int(mkdir(path, 0700), 0);
		(void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", part);
	}
	t_true(strlen(path) > 108);
	fds = t_count_fds();
	cr_assert(eq(int, listener_open(&l, path, 0640, &e), 0), "%s", e.text);
	t_uint(t_count_fds(), fds + 1);
	t_hex(mode_of(path), 0640);
	t_int(listener_open(&second, path, 0600, &e), -EADDRINUSE);
	t_true(strstr(e.text, "remove it") == NULL);
	t_true(getcwd(here, sizeof(here)));
	path[strlen(path) - strlen(part) - 1] = '\0';
	t_int(chdir(path), 0);
	t_int(connect_to(part), 0);
	t_int(chdir(here), 0);
	listener_close(&l);
	t_int(rmdir(path), 0);
	T_NO_LEAKS();
	(void)snprintf(path, sizeof(path), "rm -r '%s'", folder);
	t_int(system(path), 0);
}

Test(listener, a_file_that_has_been_replaced_is_not_removed, .fini = done)
{
	struct listener l = { .fd = -1 };
	struct err e = { 0 };
	char path[256], old[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s", in_folder("api.sock"));
	(void)snprintf(old, sizeof(old), "%s", in_folder("old"));
	t_int(listener_open(&l, path, 0600, &e), 0);
	/* It stays under another name, so that its number is not given to the next. */
	t_int(rename(path, old), 0);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	t_true(fd >= 0);
	(void)close(fd);
	listener_close(&l);
	t_int(unlink(path), 0);
	t_int(unlink(old), 0);
	T_NO_LEAKS();
}

/* --- handed over --- */

/* Criterion needs descriptor 3 for itself: these tests are in a child that says what failed. */
#define CHILD_CHECK(cond)                                                                          \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			(void)fprintf(                                                             \
				stderr, "%s:%d: '%s' does not hold\n", __FILE__, __LINE__, #cond); \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static void in_child(int (*test)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(test());
	t_int(waitpid(pid, &status, 0), pid);
	t_int(status, 0);
}

/* A socket at descriptor 3, as a starter leaves it. */
static void put_at_3(int fd)
{
	(void)dup2(fd, 3);
	if (fd != 3)
		(void)close(fd);
}

static void set_environment(const char *pid, const char *count)
{
	char self[16];

	(void)snprintf(self, sizeof(self), "%d", (int)getpid());
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	if (pid)
		(void)setenv("LISTEN_PID", strcmp(pid, "self") == 0 ? self : pid, 1);
	if (count)
		(void)setenv("LISTEN_FDS", count, 1);
	(void)setenv("LISTEN_FDNAMES", "api", 1);
}

static int listening_socket(int type)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	/* A name of the kernel's choice, in no folder. */
	if (bind(fd, (const struct sockaddr *)&at, sizeof(sa_family_t)) < 0 ||
		(type != SOCK_DGRAM && listen(fd, 1) < 0))
		abort();
	return fd;
}

static int found(void)
{
	struct listener l = { .fd = -1 };
	struct err e = { 0 };

	put_at_3(listening_socket(SOCK_STREAM));
	set_environment("self", "2");
	CHILD_CHECK(server_activated_fd(&e) == 3);
	CHILD_CHECK(fcntl(3, F_GETFL) & O_NONBLOCK);
	CHILD_CHECK(fcntl(3, F_GETFD) & FD_CLOEXEC);
	CHILD_CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
	/* It is asked for once. */
	CHILD_CHECK(server_activated_fd(&e) == -ENOENT);
	CHILD_CHECK(listener_adopt(&l, 3, &e) == 0);
	listener_close(&l);
	CHILD_CHECK(fcntl(3, F_GETFD) == -1);
	return 0;
}

Test(listener, a_socket_of_the_starter_is_found)
{
	in_child(found);
}

static int none(void)
{
	static const struct {
		const char *pid, *count;
	} rows[] = { { NULL, NULL }, { "self", NULL }, { NULL, "1" }, { "self", "0" },
		{ "self", "x" }, { "1", "1" }, { "self", "99999999999" }, { "-1", "1" } };
	struct err e = { 0 };

	put_at_3(listening_socket(SOCK_STREAM));
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		set_environment(rows[i].pid, rows[i].count);
		CHILD_CHECK(server_activated_fd(&e) == -ENOENT);
		CHILD_CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS"));
	}
	return 0;
}

Test(listener, without_one_or_for_another_process_there_is_none)
{
	in_child(none);
}

static int refused(void)
{
	struct err e = { 0 };
	int pair[2];

	set_environment("self", "1");
	put_at_3(open("/dev/null", O_RDONLY));
	CHILD_CHECK(server_activated_fd(&e) == -ENOTSOCK);
	set_environment("self", "1");
	put_at_3(listening_socket(SOCK_DGRAM));
	CHILD_CHECK(server_activated_fd(&e) == -EINVAL);
	set_environment("self", "1");
	put_at_3(listening_socket(SOCK_SEQPACKET));
	CHILD_CHECK(server_activated_fd(&e) == -EINVAL);
	set_environment("self", "1");
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	put_at_3(pair[0]);
	CHILD_CHECK(server_activated_fd(&e) == -EINVAL);
	CHILD_CHECK(strstr(e.text, "descriptor 3 is not a listening Unix stream socket"));
	(void)close(3);
	set_environment("self", "1");
	CHILD_CHECK(server_activated_fd(&e) == -EBADF);
	return 0;
}

Test(listener, what_is_no_listening_unix_stream_socket_is_refused)
{
	in_child(refused);
}

Test(listener, a_server_takes_a_listening_socket_over_and_no_other)
{
	struct loop *l = t_loop_new(0);
	struct server_config c = { .fd = listening_socket(SOCK_STREAM), .body_max = 1 };
	struct server *s = NULL;
	struct err e = { 0 };
	int pair[2];

	t_int(server_new(l, &c, &s, &e), 0);
	server_free(s);
	t_int(fcntl(c.fd, F_GETFD), -1);
	t_int(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	c.fd = pair[0];
	t_int(server_new(l, &c, &s, &e), -EINVAL);
	/* Still the caller's. */
	t_true(fcntl(c.fd, F_GETFD) >= 0);
	loop_free(l);
	T_NO_LEAKS();
}
