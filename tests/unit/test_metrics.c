/* Where metrics go, and when; the disk and the reader are not always there. */
#include "t_metrics.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "t.h"

TestSuite(metrics, .timeout = T_SECONDS);

enum { TEXT_MAX = 1 << 20 };

/* --- what the test stands in for --- */

static struct {
	struct loop_op *op;
	uint64_t ns;
	unsigned n;
	bool is_real;
} timer;

void __wrap_loop_timeout(struct loop *l, struct loop_op *op, uint64_t ns);
void __real_loop_timeout(struct loop *l, struct loop_op *op, uint64_t ns);
void __wrap_loop_timeout(struct loop *l, struct loop_op *op, uint64_t ns)
{
	if (timer.is_real)
		__real_loop_timeout(l, op, ns);
	timer.op = op;
	timer.ns = ns;
	timer.n++;
}

static bool has_no_memory;

size_t __wrap_json_dumpb(const json_t *json, char *buf, size_t size, size_t flags);
size_t __real_json_dumpb(const json_t *json, char *buf, size_t size, size_t flags);
size_t __wrap_json_dumpb(const json_t *json, char *buf, size_t size, size_t flags)
{
	return has_no_memory ? 0 : __real_json_dumpb(json, buf, size, flags);
}

/* --- reading back --- */

static const char *text_of(const char *path)
{
	static char text[TEXT_MAX];
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

/* The lines of text: each must be whole.  Adds up what they say of PUT /drives. */
static unsigned count_lines(const char *text, int64_t *ret_drives)
{
	unsigned lines = 0;

	*ret_drives = 0;
	while (*text) {
		const char *end = strchr(text, '\n');
		json_error_t error;
		json_t *line;

		cr_assert(ne(ptr, end, NULL), "the last line has no end");
		line = json_loadb(text, (size_t)(end - text), JSON_REJECT_DUPLICATES, &error);
		cr_assert(ne(ptr, line, NULL), "line %u: %s", lines, error.text);
		*ret_drives += t_metrics_number(line, "put_api_requests.drive_count");
		json_decref(line);
		text = end + 1;
		lines++;
	}
	return lines;
}

static void open_at(struct t_metrics *t, const char *path)
{
	struct metrics_config c = { .path = path };
	struct err e = { 0 };

	cr_assert(eq(int, metrics_open(t->m, &c, &e), 0), "%s", e.text);
}

/* --- files --- */

Test(metrics, lines_are_added_to_a_file)
{
	struct t_metrics t;
	struct stat st;
	int64_t drives;

	t_metrics_init(&t);
	open_at(&t, t.path);
	t.api.count[API_PUT_DRIVE] = 2;
	t_int(metrics_flush(t.m, NULL), 0);
	t.api.count[API_PUT_DRIVE] = 3;
	t_int(metrics_flush(t.m, NULL), 0);
	t_uint(count_lines(text_of(t.path), &drives), 2);
	t_int(drives, 3);
	t_int(stat(t.path, &st), 0);
	t_int(st.st_mode & 0777, 0600);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

Test(metrics, what_is_in_the_file_stays)
{
	struct t_metrics t;
	int fd;

	t_metrics_init(&t);
	fd = open(t.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	t_int(write(fd, "old\n", 4), 4);
	(void)close(fd);
	open_at(&t, t.path);
	t_int(metrics_flush(t.m, NULL), 0);
	t_int(strncmp(text_of(t.path), "old\n{\"", 6), 0);
	t_metrics_fini(&t);
}

Test(metrics, without_a_file_nothing_is_written)
{
	struct t_metrics t;
	struct err e = { 0 };

	t_metrics_init(&t);
	t_int(metrics_flush(t.m, &e), -ENOENT);
	t_str(e.text, "");
	metrics_start(t.m);
	t_metrics_fini(&t);
}

Test(metrics, a_second_file_is_refused)
{
	struct metrics_config c = { .path = "/dev/null" };
	struct t_metrics t;
	unsigned fds;

	t_metrics_init(&t);
	open_at(&t, t.path);
	fds = t_count_fds();
	t_int(metrics_open(t.m, &c, NULL), -EALREADY);
	t_uint(t_count_fds(), fds);
	t_int(metrics_flush(t.m, NULL), 0);
	t_true(text_of(t.path)[0] == '{');
	t_metrics_fini(&t);
}

Test(metrics, what_cannot_be_opened_is_named_and_another_try_is_fine)
{
	static const struct {
		const char *path;
		int code;
	} rows[] = { { "/tmp", -EISDIR }, { "/nowhere/metrics", -ENOENT }, { "", -ENOENT },
		{ "/dev/null/metrics", -ENOTDIR } };
	struct t_metrics t;
	unsigned fds;

	t_metrics_init(&t);
	fds = t_count_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct metrics_config c = { .path = rows[i].path };
		struct err e = { 0 };

		t_row_int(rows[i].path, metrics_open(t.m, &c, &e), rows[i].code);
		t_row_has(rows[i].path, e.text, rows[i].path);
	}
	t_uint(t_count_fds(), fds);
	open_at(&t, t.path);
	t_int(metrics_flush(t.m, NULL), 0);
	t_metrics_fini(&t);
}

Test(metrics, properties_that_are_not_utf8_are_refused)
{
	static const char *const bad[][2] = { { "a", "\xff" }, { "\xc0\x80", "b" } };
	struct t_metrics t;
	unsigned fds;

	t_metrics_init(&t);
	fds = t_count_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct metrics_config c = { .path = t.path, .nproperties = 1, .property = bad[i] };

		t_int(metrics_open(t.m, &c, NULL), -EINVAL);
	}
	t_uint(t_count_fds(), fds);
	t_int(access(t.path, F_OK), -1);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

/* --- readers and disks that are not there --- */

Test(metrics, a_fifo_without_a_reader_takes_lines_until_it_is_full_and_no_line_is_torn)
{
	struct t_metrics t;
	unsigned written = 0, lines;
	int64_t drives;
	int fd, rc;

	t_metrics_init(&t);
	t_int(mkfifo(t.path, 0600), 0);
	open_at(&t, t.path);
	for (;;) {
		t.api.count[API_PUT_DRIVE]++;
		rc = metrics_flush(t.m, NULL);
		if (rc < 0)
			break;
		written++;
		t_true(written < 1000);
	}
	t_int(rc, -EAGAIN);
	t_true(written > 0);
	t_int(metrics_flush(t.m, NULL), -EAGAIN);
	/* Now somebody reads; the last line that fits ends in the middle. */
	fd = open(t.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	static char text[TEXT_MAX];
	ssize_t n, len = 0;

	while ((n = read(fd, text + len, sizeof(text) - 1 - (size_t)len)) > 0)
		len += n;
	t_int(metrics_flush(t.m, NULL), 0);
	while ((n = read(fd, text + len, sizeof(text) - 1 - (size_t)len)) > 0)
		len += n;
	text[len] = '\0';
	lines = count_lines(text, &drives);
	t_uint(lines, written + 1);
	/* The lines that were lost are in the one after them. */
	t_int(drives, (int64_t)t.api.count[API_PUT_DRIVE]);
	t_has(text, "\"missed_metrics_count\":2");
	(void)close(fd);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

Test(metrics, a_full_disk_costs_lines_and_they_are_counted)
{
	struct t_metrics t;
	struct err e = { 0 };
	json_t *line;

	t_metrics_init(&t);
	open_at(&t, "/dev/full");
	t.api.count[API_PUT_DRIVE] = 2;
	t_int(metrics_flush(t.m, &e), -ENOSPC);
	t_has(e.text, "No space left");
	t_int(metrics_flush(t.m, &e), -ENOSPC);
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "logger.missed_metrics_count"), 2);
	t_int(t_metrics_number(line, "logger.metrics_fails"), 0);
	t_int(t_metrics_number(line, "put_api_requests.drive_count"), 2);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics, a_disk_that_fills_up_in_the_middle_of_a_line_gets_the_rest_when_it_can)
{
	struct rlimit limit;
	struct t_metrics t;
	int64_t drives;

	t_metrics_init(&t);
	open_at(&t, t.path);
	(void)signal(SIGXFSZ, SIG_IGN);
	t_int(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = 100;
	t_int(setrlimit(RLIMIT_FSIZE, &limit), 0);
	t.api.count[API_PUT_DRIVE] = 1;
	t_int(metrics_flush(t.m, NULL), 0);
	t_uint(strlen(text_of(t.path)), 100);
	t.api.count[API_PUT_DRIVE] = 2;
	t_int(metrics_flush(t.m, NULL), -EFBIG);
	/* A little more: only a part of the rest. */
	limit.rlim_cur = 200;
	t_int(setrlimit(RLIMIT_FSIZE, &limit), 0);
	t_int(metrics_flush(t.m, NULL), -EAGAIN);
	t_uint(strlen(text_of(t.path)), 200);
	limit.rlim_cur = limit.rlim_max;
	t_int(setrlimit(RLIMIT_FSIZE, &limit), 0);
	t_int(metrics_flush(t.m, NULL), 0);
	t_uint(count_lines(text_of(t.path), &drives), 2);
	t_int(drives, 2);
	t_has(text_of(t.path), "\"missed_metrics_count\":2");
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

Test(metrics, no_memory_for_a_line_is_counted)
{
	struct t_metrics t;
	json_t *line;

	t_metrics_init(&t);
	open_at(&t, t.path);
	has_no_memory = true;
	t_int(metrics_flush(t.m, NULL), -ENOMEM);
	has_no_memory = false;
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "logger.metrics_fails"), 1);
	t_int(t_metrics_number(line, "logger.missed_metrics_count"), 1);
	json_decref(line);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

/* --- when --- */

static void timer_fires(void)
{
	struct loop_op *op = timer.op;

	timer.op = NULL;
	op->done(op, 0);
}

static unsigned lines_in(const struct t_metrics *t)
{
	int64_t drives;

	return count_lines(text_of(t->path), &drives);
}

Test(metrics, a_line_at_the_start_and_every_minute)
{
	struct t_metrics t;

	t_metrics_init(&t);
	open_at(&t, t.path);
	t_uint(timer.n, 0);
	metrics_start(t.m);
	t_uint(lines_in(&t), 1);
	t_uint(timer.ns, 60000000000);
	for (unsigned i = 2; i < 5; i++) {
		timer_fires();
		t_uint(lines_in(&t), i);
		t_uint(timer.n, i);
		t_uint(timer.ns, 60000000000);
	}
	metrics_start(t.m);
	t_uint(timer.n, 4);
	t_uint(lines_in(&t), 4);
	t_metrics_fini(&t);
}

Test(metrics, none_while_the_machine_is_paused)
{
	struct t_metrics t;

	t_metrics_init(&t);
	open_at(&t, t.path);
	metrics_start(t.m);
	t.in.state = INSTANCE_PAUSED;
	timer_fires();
	timer_fires();
	t_uint(lines_in(&t), 1);
	/* But one that is asked for. */
	t_int(metrics_flush(t.m, NULL), 0);
	t_uint(lines_in(&t), 2);
	t.in.state = INSTANCE_RUNNING;
	timer_fires();
	t_uint(lines_in(&t), 3);
	t_metrics_fini(&t);
}

Test(metrics, none_once_the_machine_has_ended)
{
	struct t_metrics t;

	t_metrics_init(&t);
	open_at(&t, t.path);
	metrics_start(t.m);
	t.in.state = INSTANCE_ENDED;
	timer_fires();
	t_uint(lines_in(&t), 1);
	t_true(!timer.op);
	t_metrics_fini(&t);
}

static void count_down(struct loop_op *op, int res)
{
	(void)op;
	(void)res;
	timer.n = 0;
}

Test(metrics, the_end_takes_the_timer_back_from_a_loop_that_goes_on)
{
	T_EACH_BACKEND(l)
	{
		static struct t_metrics t;
		struct metrics_sources from = { .instance = &t.in, .api = &t.api };
		struct loop_op other = { .done = count_down };
		struct metrics *m;

		t_metrics_init(&t);
		timer.is_real = true;
		t_int(metrics_new(l, &from, &m, NULL), 0);
		metrics_start(m);
		t_true(loop_op_is_pending(timer.op));
		metrics_free(m);
		/* A timeout that would stand beside it. */
		loop_timeout(l, &other, 1000);
		while (loop_op_is_pending(&other))
			t_int(loop_turn(l), 0);
		t_uint(timer.n, 0);
		timer.is_real = false;
		t_metrics_fini(&t);
	}
	T_NO_LEAKS();
}

Test(metrics, a_loop_that_ends_takes_the_timer_along)
{
	struct t_metrics t;

	t_metrics_init(&t);
	open_at(&t, t.path);
	metrics_start(t.m);
	timer.op->done(timer.op, -ECANCELED);
	t_uint(timer.n, 1);
	t_uint(lines_in(&t), 1);
	t_metrics_fini(&t);
}

Test(metrics, a_line_that_nobody_asked_for_and_is_lost_is_said_in_the_log)
{
	char text[256] = "";
	struct t_metrics t;
	int fd[2];

	t_metrics_init(&t);
	t_int(pipe2(fd, O_CLOEXEC), 0);
	log_init(LOG_WARNING, fd[1]);
	open_at(&t, "/dev/full");
	metrics_start(t.m);
	timer_fires();
	t_true(timer.op);
	t_true(read(fd[0], text, sizeof(text) - 1) > 0);
	t_has(text, "cannot write metrics: No space left on device");
	t_metrics_fini(&t);
}

/* --- the process's own start --- */

static uint64_t us(clockid_t clock)
{
	struct timespec ts;

	t_int(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

Test(metrics, the_start_takes_as_long_as_it_took_since_the_starter_began)
{
	static struct t_metrics t;
	struct metrics_sources from = { .instance = &t.in, .api = &t.api };
	json_t *line;

	t_metrics_init(&t);
	metrics_free(t.m);
	from.start_time_us = us(CLOCK_MONOTONIC) - 5000;
	from.start_time_cpu_us = us(CLOCK_PROCESS_CPUTIME_ID);
	from.parent_cpu_time_us = 700;
	t_int(metrics_new(t.loop, &from, &t.m, NULL), 0);
	metrics_note_start(t.m);
	line = t_metrics_line(&t);
	t_true(t_metrics_number(line, "api_server.process_startup_time_us") >= 5000);
	t_true(t_metrics_number(line, "api_server.process_startup_time_us") < 5000000);
	t_true(t_metrics_number(line, "api_server.process_startup_time_cpu_us") >= 700);
	t_true(t_metrics_number(line, "api_server.process_startup_time_cpu_us") < 5000000);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics, a_starter_that_says_nothing_or_nonsense_gives_no_nonsense)
{
	static struct t_metrics t;
	struct metrics_sources from = { .instance = &t.in, .api = &t.api };
	json_t *line;

	t_metrics_init(&t);
	metrics_note_start(t.m);
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "api_server.process_startup_time_us"), 0);
	t_int(t_metrics_number(line, "api_server.process_startup_time_cpu_us"), 0);
	json_decref(line);
	metrics_free(t.m);
	from.start_time_us = UINT64_MAX;
	from.start_time_cpu_us = UINT64_MAX;
	from.parent_cpu_time_us = UINT64_MAX;
	t_int(metrics_new(t.loop, &from, &t.m, NULL), 0);
	metrics_note_start(t.m);
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "api_server.process_startup_time_us"), 0);
	t_int(t_metrics_number(line, "api_server.process_startup_time_cpu_us"), INT64_MAX);
	json_decref(line);
	t_metrics_fini(&t);
}
