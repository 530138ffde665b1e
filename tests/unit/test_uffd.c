/* Guest memory whose pages another process brings. */
#include "t_ram.h"

#include "snapshot/uffd.h"

#include <fcntl.h>
#include <jansson.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/err.h"
#include "snapshot/userfault.h"
#include "x86/layout.h"

TestSuite(uffd, .timeout = T_SECONDS);

enum { PAGES = 1024 };

/* --- what the kernel refuses --- */

static int no_device, no_call;
static uint64_t unknown_features;
static int register_fails;

long __real_syscall(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long nr, long a, long b, long c, long d, long e, long f);
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

long __wrap_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	if (no_call && nr == SYS_userfaultfd) {
		errno = -no_call;
		return -1;
	}
	return __real_syscall(nr, a, b, c, d, e, f);
}

int __wrap_open64(const char *path, int flags, ...)
{
	if (no_device && strcmp(path, "/dev/userfaultfd") == 0) {
		errno = -no_device;
		return -1;
	}
	return __real_open64(path, flags, 0600);
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == UFFDIO_API && ((struct uffdio_api *)arg)->features & unknown_features) {
		memset(arg, 0, sizeof(struct uffdio_api));
		errno = EINVAL;
		return -1;
	}
	if (request == UFFDIO_REGISTER && register_fails) {
		errno = -register_fails;
		return -1;
	}
	return __real_ioctl(fd, request, arg);
}

static void need_userfaultfd(void)
{
	struct err e = { 0 };
	int fd = userfault_open(0, 0, &e);

	if (fd < 0)
		cr_skip_test("userfaultfd is needed, for root or by /dev/userfaultfd");
	(void)close(fd);
}

/* --- a handler --- */

struct handler {
	char path[64];
	int listener, conn, uffd;
	char text[1024];
	unsigned served;
	_Atomic bool stops;
	pthread_t thread;
};

static void listen_at(struct handler *h, int backlog)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	*h = (struct handler){ .conn = -1, .uffd = -1 };
	(void)snprintf(h->path, sizeof(h->path), "/tmp/mvm-test-%d.sock", (int)getpid());
	(void)unlink(h->path);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", h->path);
	h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	t_int(bind(h->listener, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	t_int(listen(h->listener, backlog), 0);
}

/* Takes the connection and what comes with it, in one message. */
static void take_over(struct handler *h)
{
	char control[CMSG_SPACE(sizeof(int) * 4)];
	struct iovec iov = { .iov_base = h->text, .iov_len = sizeof(h->text) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n;

	h->conn = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	t_true(h->conn >= 0);
	n = recvmsg(h->conn, &msg, MSG_CMSG_CLOEXEC);
	t_true(n > 0);
	h->text[n] = '\0';
	c = CMSG_FIRSTHDR(&msg);
	t_true(c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)));
	memcpy(&h->uffd, CMSG_DATA(c), sizeof(int));
}

/* Brings pages, each filled with its number in memory. */
static void *handler_main(void *arg)
{
	struct handler *h = arg;

	while (!atomic_load(&h->stops)) {
		struct pollfd p = { .fd = h->uffd, .events = POLLIN };
		uint64_t words[MEM_PAGE_SIZE / 8];
		struct uffd_msg msg;
		struct uffdio_copy copy;

		if (poll(&p, 1, 10) <= 0 || read(h->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
			words[i] = msg.arg.pagefault.address / MEM_PAGE_SIZE;
		copy = (struct uffdio_copy){ .dst = msg.arg.pagefault.address & ~0xfffULL,
			.src = (uintptr_t)words,
			.len = MEM_PAGE_SIZE };
		(void)ioctl(h->uffd, UFFDIO_COPY, &copy);
		h->served++;
	}
	return NULL;
}

static void leave(struct handler *h)
{
	if (h->conn >= 0)
		(void)close(h->conn);
	if (h->uffd >= 0)
		(void)close(h->uffd);
	if (h->listener >= 0)
		(void)close(h->listener);
	(void)unlink(h->path);
}

static uint64_t number(const json_t *region, const char *key)
{
	const json_t *v = json_object_get(region, key);

	t_true(json_is_integer(v));
	return (uint64_t)json_integer_value(v);
}

Test(uffd, pages_are_brought_to_the_process_and_to_the_kernel)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	uint64_t word = 0;
	int pipes[2];

	need_userfaultfd();
	listen_at(&h, 1);
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	cr_assert(eq(int, uffd_serve(&u, &m, h.path, &e), 0), "%s", e.text);
	t_int(fcntl(u.fd, F_GETFD), FD_CLOEXEC);
	t_true(fcntl(u.fd, F_GETFL) & O_NONBLOCK);
	take_over(&h);
	t_int(pthread_create(&h.thread, NULL, handler_main, &h), 0);
	word = READ_ONCE(((uint64_t *)m.map)[512 * 9 + 3]);
	t_hex(word, (uintptr_t)m.map / MEM_PAGE_SIZE + 9);
	/* The kernel's own read of guest memory, as KVM does it. */
	t_int(pipe(pipes), 0);
	t_int(write(pipes[1], (uint64_t *)m.map + 512 * 100, 8), 8);
	t_int(read(pipes[0], &word, 8), 8);
	t_hex(word, (uintptr_t)m.map / MEM_PAGE_SIZE + 100);
	atomic_store(&h.stops, true);
	(void)pthread_join(h.thread, NULL);
	t_uint(h.served, 2);
	uffd_close(&u);
	t_int(u.fd, -1);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, message_tells_of_every_region)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	json_t *all;

	need_userfaultfd();
	listen_at(&h, 1);
	t_true(t_ram_init(&m, 4ULL << 30, MEM_PAGES_4K));
	t_uint(m.n, 2);
	cr_assert(eq(int, uffd_serve(&u, &m, h.path, &e), 0), "%s", e.text);
	take_over(&h);
	all = json_loads(h.text, 0, NULL);
	t_true(json_is_array(all) && json_array_size(all) == 2);
	for (unsigned i = 0; i < 2; i++) {
		const json_t *r = json_array_get(all, i);

		t_uint(json_object_size(r), 5);
		t_hex(number(r, "base_host_virt_addr"), (uintptr_t)m.r[i].hva);
		t_hex(number(r, "size"), m.r[i].len);
		t_hex(number(r, "offset"), i == 0 ? 0 : m.r[0].len);
		t_uint(number(r, "page_size"), 4096);
		t_uint(number(r, "page_size_kib"), 4096);
	}
	json_decref(all);
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
	T_NO_LEAKS();
}

Test(uffd, handler_hears_of_removed_pages)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	struct uffdio_copy copy;
	static uint8_t page[MEM_PAGE_SIZE] = { 1 };
	struct uffd_msg msg = { 0 };
	pid_t child;

	need_userfaultfd();
	listen_at(&h, 1);
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	cr_assert(eq(int, uffd_serve(&u, &m, h.path, &e), 0), "%s", e.text);
	take_over(&h);
	copy = (struct uffdio_copy){
		.dst = (uintptr_t)m.map, .src = (uintptr_t)page, .len = MEM_PAGE_SIZE
	};
	t_int(ioctl(h.uffd, UFFDIO_COPY, &copy), 0);
	/* The thread that removes waits for the one who reads of it. */
	child = fork();
	t_true(child >= 0);
	if (child == 0) {
		struct pollfd p = { .fd = h.uffd, .events = POLLIN };

		_exit(poll(&p, 1, 5000) == 1 && read(h.uffd, &msg, sizeof(msg)) == sizeof(msg) &&
					msg.event == UFFD_EVENT_REMOVE
				? 0
				: 1);
	}
	t_int(madvise(m.map, MEM_PAGE_SIZE, MADV_DONTNEED), 0);
	{
		int status = -1;

		t_int(waitpid(child, &status, 0), child);
		t_int(status, 0);
	}
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, huge_pages_are_told_as_such)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	json_t *all;

	need_userfaultfd();
	if (!t_ram_reserve_huge(4) || !t_ram_init(&m, 4 * MEM_HUGE_PAGE_SIZE, MEM_PAGES_2M))
		cr_skip_test("4 free huge pages of 2 MiB are needed (vm.nr_hugepages), or root");
	listen_at(&h, 1);
	cr_assert(eq(int, uffd_serve(&u, &m, h.path, &e), 0), "%s", e.text);
	take_over(&h);
	all = json_loads(h.text, 0, NULL);
	t_uint(number(json_array_get(all, 0), "page_size"), MEM_HUGE_PAGE_SIZE);
	t_uint(number(json_array_get(all, 0), "page_size_kib"), MEM_HUGE_PAGE_SIZE);
	json_decref(all);
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
	t_ram_release_huge();
}

/* --- handlers that are not there --- */

Test(uffd, nobody_at_the_path_is_told_in_the_words_that_clients_know)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	unsigned fds = t_count_fds();

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	t_int(uffd_serve(&u, &m, "/tmp/mvm-test-not-there.sock", &e), -ENOENT);
	t_str(e.text,
		"Failed to connect to UDS Unix stream: No such file or directory (os error 2)");
	listen_at(&h, 1);
	(void)close(h.listener);
	t_int(uffd_serve(&u, &m, h.path, &e), -ECONNREFUSED);
	t_str(e.text, "Failed to connect to UDS Unix stream: Connection refused (os error 111)");
	(void)unlink(h.path);
	t_uint(t_count_fds(), fds);
	t_int(u.fd, -1);
	guest_mem_fini(&m);
}

Test(uffd, path_that_no_socket_can_have_is_refused)
{
	struct guest_mem m;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	char path[200];

	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	t_int(uffd_serve(&u, &m, path, &e), -ENAMETOOLONG);
	t_has(e.text, "at most 107 bytes");
	guest_mem_fini(&m);
}

Test(uffd, handler_that_never_accepts_is_not_waited_for_forever, .timeout = 30)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	listen_at(&h, 0);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", h.path);
	/* Fills its queue. */
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

		if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
			break;
	}
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	t_int(uffd_serve(&u, &m, h.path, &e), -ETIMEDOUT);
	t_has(e.text, h.path);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, handler_that_never_reads_keeps_nobody)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };

	need_userfaultfd();
	listen_at(&h, 1);
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	cr_assert(eq(int, uffd_serve(&u, &m, h.path, &e), 0), "%s", e.text);
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
}

/* --- the watcher --- */

static _Atomic unsigned gone_calls;

static void on_gone(void *ctx)
{
	sigset_t mask;

	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	*(bool *)ctx = sigismember(&mask, SIGTERM) == 1;
	atomic_fetch_add(&gone_calls, 1);
}

static bool wait_for_gone(void)
{
	for (unsigned i = 0; i < 2000 && atomic_load(&gone_calls) == 0; i++)
		(void)usleep(1000);
	return atomic_load(&gone_calls) > 0;
}

/* A machine that is watched, with a handler that has taken it over. */
static void watched(struct guest_mem *m, struct handler *h, struct uffd *u, bool *was_blocked)
{
	struct err e = { 0 };

	need_userfaultfd();
	*u = (struct uffd){ .fd = -1, .socket = -1 };
	listen_at(h, 1);
	t_true(t_ram_init(m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	cr_assert(eq(int, uffd_serve(u, m, h->path, &e), 0), "%s", e.text);
	take_over(h);
	cr_assert(eq(int, uffd_watch(u, on_gone, was_blocked, &e), 0), "%s", e.text);
}

Test(uffd, handler_that_closes_is_noticed)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u;
	bool was_blocked = false;

	watched(&m, &h, &u, &was_blocked);
	(void)usleep(20000);
	t_uint(atomic_load(&gone_calls), 0);
	(void)close(h.conn);
	h.conn = -1;
	t_true(wait_for_gone());
	t_true(was_blocked);
	uffd_close(&u);
	t_uint(atomic_load(&gone_calls), 1);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, handler_that_closes_at_once_is_noticed_though_nobody_watched_yet)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	bool was_blocked = false;

	need_userfaultfd();
	listen_at(&h, 1);
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	t_int(uffd_serve(&u, &m, h.path, &e), 0);
	/* Accepted, not read, closed: what is in the socket is lost. */
	(void)close(accept(h.listener, NULL, NULL));
	t_int(uffd_watch(&u, on_gone, &was_blocked, &e), 0);
	t_true(wait_for_gone());
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, handler_that_is_waited_for_too_long_is_as_good_as_gone)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u;
	bool was_blocked = false;

	watched(&m, &h, &u, &was_blocked);
	/* One that was in time. */
	uffd_set_deadline(&u, 50);
	uffd_set_deadline(&u, 0);
	(void)usleep(120000);
	t_uint(atomic_load(&gone_calls), 0);
	uffd_set_deadline(&u, 50);
	t_true(wait_for_gone());
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, handler_that_talks_is_not_listened_to)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u;
	bool was_blocked = false;
	static char words[100000];

	watched(&m, &h, &u, &was_blocked);
	t_int(send(h.conn, words, sizeof(words), 0), sizeof(words));
	(void)usleep(50000);
	t_uint(atomic_load(&gone_calls), 0);
	t_int(shutdown(h.conn, SHUT_WR), 0);
	t_true(wait_for_gone());
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, watcher_ends_with_the_machine)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u;
	bool was_blocked = false;
	unsigned threads = t_count_threads();

	watched(&m, &h, &u, &was_blocked);
	uffd_close(&u);
	t_uint(atomic_load(&gone_calls), 0);
	t_uint(t_settled_threads(threads), threads);
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, watched_and_closed_leaves_nothing_open)
{
	struct guest_mem m;
	struct handler h;
	struct uffd u;
	bool was_blocked = false;
	unsigned fds = t_count_fds();

	watched(&m, &h, &u, &was_blocked);
	uffd_close(&u);
	uffd_close(&u);
	leave(&h);
	guest_mem_fini(&m);
	t_uint(t_count_fds(), fds);
}

/* --- hosts that refuse --- */

Test(uffd, the_call_is_taken_where_the_device_is_not)
{
	struct err e = { 0 };
	int fd;

	need_userfaultfd();
	no_device = -ENOENT;
	fd = userfault_open(0, 0, &e);
	if (fd == -EPERM)
		cr_skip_test("only root, or vm.unprivileged_userfaultfd=1, has the call");
	cr_assert(ge(int, fd, 0), "%s", e.text);
	(void)close(fd);
}

Test(uffd, refusal_says_what_to_do)
{
	struct err e = { 0 };

	no_device = -EACCES;
	no_call = -EPERM;
	t_int(userfault_open(0, 0, &e), -EPERM);
	t_has(e.text, "/dev/userfaultfd");
	t_has(e.text, "vm.unprivileged_userfaultfd=1");
	no_call = -ENOSYS;
	t_int(userfault_open(0, 0, &e), -ENOSYS);
	t_has(e.text, "CONFIG_USERFAULTFD");
}

Test(uffd, feature_that_is_only_wished_for_may_be_missing)
{
	struct err e = { 0 };
	int fd;

	need_userfaultfd();
	unknown_features = UFFD_FEATURE_EVENT_REMOVE;
	fd = userfault_open(0, UFFD_FEATURE_EVENT_REMOVE, &e);
	cr_assert(ge(int, fd, 0), "%s", e.text);
	(void)close(fd);
	t_int(userfault_open(UFFD_FEATURE_EVENT_REMOVE, 0, &e), -EOPNOTSUPP);
}

Test(uffd, memory_that_cannot_be_registered_is_an_error_that_leaves_nothing)
{
	static const int codes[] = { -EINVAL, -EBUSY };
	struct guest_mem m;
	struct handler h;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };
	unsigned fds;

	need_userfaultfd();
	listen_at(&h, 2);
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	fds = t_count_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		register_fails = codes[i];
		t_int(uffd_serve(&u, &m, h.path, &e), i == 0 ? -EOPNOTSUPP : -EBUSY);
		t_uint(t_count_fds(), fds);
	}
	leave(&h);
	guest_mem_fini(&m);
}

Test(uffd, prefaulted_memory_is_refused)
{
	struct guest_mem m;
	struct uffd u = { .fd = -1, .socket = -1 };
	struct err e = { 0 };

	t_int(guest_mem_init(&m, PAGES * MEM_PAGE_SIZE, LAYOUT_HOLE_START, LAYOUT_HOLE_END,
		      MEM_PAGES_4K, true, &e),
		0);
	t_int(uffd_serve(&u, &m, "/tmp/x", &e), -EINVAL);
	t_has(e.text, "pre-faulted");
	guest_mem_fini(&m);
}
