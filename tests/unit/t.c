/* What every unit test uses (t.h). */
#include "t.h"

#include <unistd.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "x86/layout.h"

#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

/* Criterion's own: the record of each assertion lives until the process ends. */
const char *__lsan_default_suppressions(void)
{
	return "leak:cri_assert_node_add\nleak:cri_fmt_vbprintf\n";
}

/* Tests ask for themselves (T_NO_LEAKS).  What is looked at when a process ends is Criterion's own:
 * a worker that leaks does not fail its test, and the program that runs them all leaks now and
 * then. */
const char *__lsan_default_options(void)
{
	return "leak_check_at_exit=0";
}

bool t_has_leaks(void)
{
	return __lsan_do_recoverable_leak_check() != 0;
}
#else
bool t_has_leaks(void)
{
	return false;
}
#endif

static unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	cr_assert(ne(ptr, dir, NULL));
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n - 2; /* the directory and its parent */
}

unsigned t_count_fds(void)
{
	return count_entries("/proc/self/fd") - 1; /* that of the count itself */
}

unsigned t_count_threads(void)
{
	return count_entries("/proc/self/task");
}

unsigned t_settled_threads(unsigned expected)
{
	unsigned n = t_count_threads();

	for (unsigned i = 0; i < 1000 && n > expected; i++) {
		(void)usleep(1000);
		n = t_count_threads();
	}
	return n;
}

void t_quiet(void)
{
	log_init(LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
}

void t_mem_init(struct guest_mem *m, uint64_t size)
{
	struct err e = { 0 };

	cr_assert(eq(int,
			  guest_mem_init(m, size, LAYOUT_HOLE_START, LAYOUT_HOLE_END,
				  MEM_PAGES_HOST, false, &e),
			  0),
		"%s", e.text);
}

bool t_uring_is_refused(void)
{
	struct loop *l = NULL;
	enum loop_backend got;

	/* What AUTO falls back to is the host's own answer; that uring works where it does not is
	 * test_loop's. */
	cr_assert(eq(int, loop_new(LOOP_AUTO, &l, &got, NULL), 0));
	loop_free(l);
	return got == LOOP_EPOLL;
}

struct loop *t_loop_new(int turn)
{
	enum loop_backend want = turn == 0 ? LOOP_EPOLL : LOOP_URING, got = LOOP_AUTO;
	struct loop *l = NULL;
	struct err e = { 0 };

	if (want == LOOP_URING && t_uring_is_refused()) {
		cr_log_warn("skipped on io_uring: this host refuses it");
		return NULL;
	}
	cr_assert(eq(int, loop_new(want, &l, &got, &e), 0), "%s", e.text);
	cr_assert(eq(int, (int)got, (int)want));
	return l;
}

void t_loop_done(struct loop *l)
{
	loop_free(l);
}
