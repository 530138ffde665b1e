/* Log lines and their budget. */
#include "t.h"

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"

TestSuite(log, .timeout = T_SECONDS);

enum { TEXT_MAX = 1 << 20 };

#define TIME "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9} "

static void matches(const char *text, const char *pattern)
{
	regex_t re;

	t_int(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	cr_assert(
		eq(int, regexec(&re, text, 0, NULL, 0), 0), "\"%s\" is not like %s", text, pattern);
	regfree(&re);
}

/* A folder for files, and the name of one in it. */
static const char *path_of(const char *name)
{
	static char dir[] = "/tmp/mvm-test-log-XXXXXX", path[8][64];
	static unsigned n;

	if (n == 0)
		t_true(mkdtemp(dir));
	t_true(n < ARRAY_SIZE(path));
	(void)snprintf(path[n], sizeof(path[n]), "%s/%s", dir, name);
	return path[n++];
}

static void clean_up(const char *path)
{
	char dir[64];

	(void)unlink(path);
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	(void)rmdir(dir);
}

static const char *text_of(const char *path)
{
	static char text[TEXT_MAX];
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The log as a file; what was written so far is read back from its start. */
static int log_to_file(enum log_level threshold)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	log_init(threshold, fd);
	return fd;
}

static const char *logged(int fd)
{
	static char text[TEXT_MAX];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

Test(log, a_line_names_the_program_and_the_level)
{
	int fd = log_to_file(LOG_DEBUG);

	log_error("disk %d", 1);
	log_warning("slow");
	log_info("up");
	log_debug("detail");
	t_str(logged(fd), "mvm: error: disk 1\nmvm: warning: slow\nmvm: up\nmvm: debug: detail\n");
}

Test(log, lines_above_the_threshold_are_not_written)
{
	int fd = log_to_file(LOG_WARNING);

	log_info("no");
	log_debug("no");
	t_str(logged(fd), "");
	t_true(log_is_on(LOG_WARNING));
	t_false(log_is_on(LOG_INFO));
}

Test(log, a_line_that_is_too_long_is_cut_and_still_ends_with_a_newline)
{
	static char longer[2 * LOG_LINE_MAX];
	int fd = log_to_file(LOG_ERROR);
	const char *text;

	memset(longer, 'a', sizeof(longer) - 1);
	log_error("%s", longer);
	text = logged(fd);
	t_true(strlen(text) <= LOG_LINE_MAX && strlen(text) > LOG_LINE_MAX - 8);
	t_int(text[strlen(text) - 1], '\n');
	t_int(text[strlen(text) - 2], 'a');
}

Test(log, a_descriptor_that_cannot_be_written_is_ignored)
{
	log_init(LOG_ERROR, -1);
	log_error("lost");
	t_true(log_is_on(LOG_ERROR));
}

Test(log, a_budget_lets_a_burst_through_and_swallows_the_rest)
{
	struct log_budget b = { 0 };
	uint32_t swallowed = 99;

	for (unsigned i = 0; i < LOG_BURST; i++)
		cr_expect(eq(int, log_budget_take(&b, 1000, &swallowed), 1));
	t_uint(swallowed, 0);
	t_false(log_budget_take(&b, 1000, &swallowed));
	t_false(log_budget_take(&b, LOG_WINDOW_MS - 1, &swallowed));
}

Test(log, a_new_window_opens_the_budget_and_tells_how_many_were_swallowed)
{
	struct log_budget b = { 0 };
	uint32_t swallowed = 0;

	for (unsigned i = 0; i < LOG_BURST + 5; i++)
		(void)log_budget_take(&b, 0, &swallowed);
	t_true(log_budget_take(&b, LOG_WINDOW_MS, &swallowed));
	t_uint(swallowed, 5);
	t_true(log_budget_take(&b, LOG_WINDOW_MS, &swallowed));
	t_uint(swallowed, 0);
}

Test(log, a_fresh_budget_is_open_at_any_time)
{
	static const uint64_t times[] = { 0, 1, LOG_WINDOW_MS, UINT64_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
		struct log_budget b = { 0 };
		uint32_t swallowed = 99;

		cr_expect(eq(int, log_budget_take(&b, times[i], &swallowed), 1));
		cr_expect(eq(u32, swallowed, 0));
	}
}

Test(log, swallowed_lines_do_not_use_up_the_count)
{
	struct log_budget b = { 0 };
	uint32_t swallowed;

	for (unsigned i = 0; i < 1000; i++)
		(void)log_budget_take(&b, 0, &swallowed);
	t_uint(b.used, LOG_BURST);
}

struct flood {
	struct log_budget budget;
	_Atomic unsigned taken;
};

static void *flood(void *arg)
{
	struct flood *f = arg;
	uint32_t swallowed;

	for (unsigned i = 0; i < 10000; i++)
		f->taken += log_budget_take(&f->budget, 0, &swallowed);
	return NULL;
}

Test(log, threads_share_one_budget)
{
	static struct flood f;
	pthread_t thread[4];
	uint32_t swallowed = 0;

	t_true(log_budget_take(
		&f.budget, 0, &swallowed)); /* the window is set: no race about who opens it */
	for (unsigned i = 0; i < ARRAY_SIZE(thread); i++)
		t_int(pthread_create(&thread[i], NULL, flood, &f), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(thread); i++)
		t_int(pthread_join(thread[i], NULL), 0);
	t_uint(f.taken, LOG_BURST - 1);
	t_true(log_budget_take(&f.budget, LOG_WINDOW_MS, &swallowed));
	t_uint(swallowed, 40000 - (LOG_BURST - 1));
}

Test(log, a_guest_that_causes_the_same_line_again_and_again_is_written_a_few_times)
{
	int fd = log_to_file(LOG_DEBUG);
	unsigned lines = 0;

	for (unsigned i = 0; i < 1000; i++)
		log_guest(LOG_DEBUG, "port %u", i);
	for (const char *at = logged(fd); (at = strchr(at, '\n')); at++)
		lines++;
	/* Twice the burst where a window happened to end meanwhile, and its line about the
	 * swallowed ones. */
	t_true(lines >= LOG_BURST && lines <= 2 * LOG_BURST + 1);
}

Test(log, a_line_of_a_guest_below_the_threshold_costs_no_budget)
{
	int fd = log_to_file(LOG_ERROR);

	for (unsigned i = 0; i < 100; i++) {
		/* One call site, so one budget. */
		if (i == 99)
			log_init(LOG_DEBUG, fd);
		log_guest(LOG_DEBUG, "port %u", i);
	}
	t_str(logged(fd), "mvm: debug: port 99\n");
}

Test(log, the_clock_is_the_monotonic_one)
{
	uint64_t before = log_now_ms();

	(void)usleep(2000);
	t_true(log_now_ms() > before);
}

/* --- the stamped shape --- */

Test(log, a_stamped_line_has_time_id_and_thread)
{
	int fd = log_to_file(LOG_INFO);

	t_int(prctl(PR_SET_NAME, "fc_api"), 0);
	log_stamp("vm-1");
	log_info("up %d", 7);
	matches(logged(fd), TIME "\\[vm-1:fc_api\\] up 7\n$");
}

Test(log, level_and_origin_are_shown_where_they_are_asked_for)
{
	static const struct {
		bool level, origin;
		const char *pattern;
	} rows[] = {
		{ true, false, TIME "\\[a:t:WARN\\] x\n$" },
		{ false, true, TIME "\\[a:t:tests/unit/test_log\\.c:[0-9]+\\] x\n$" },
		{ true, true, TIME "\\[a:t:WARN:tests/unit/test_log\\.c:[0-9]+\\] x\n$" },
	};

	t_int(prctl(PR_SET_NAME, "t"), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		int fd CLEANUP(fd_closep) = log_to_file(LOG_WARNING);

		log_stamp("a");
		log_show(rows[i].level, rows[i].origin);
		log_warning("x");
		matches(logged(fd), rows[i].pattern);
	}
}

Test(log, levels_have_the_names_that_clients_know)
{
	static const char *const names[] = { "ERROR", "WARN", "INFO", "DEBUG", "TRACE" };

	for (int level = LOG_ERROR; level <= LOG_TRACE; level++) {
		int fd CLEANUP(fd_closep) = log_to_file(LOG_TRACE);
		char part[32];

		log_stamp("a");
		log_show(true, false);
		log_line((enum log_level)level, "f.c", 1, "x");
		(void)snprintf(part, sizeof(part), ":%s] x\n", names[level]);
		t_has(logged(fd), part);
	}
}

Test(log, off_is_off)
{
	int fd = log_to_file(LOG_DEBUG);

	log_set_level(LOG_OFF);
	log_error("no");
	t_false(log_is_on(LOG_ERROR));
	t_str(logged(fd), "");
}

Test(log, the_time_is_local)
{
	int fd = log_to_file(LOG_INFO);
	char hour[8];
	time_t now = time(NULL);
	struct tm utc;

	/* Far from everybody's clock, and on the full hour. */
	t_int(setenv("TZ", "TST-9", 1), 0);
	log_stamp("a");
	log_info("x");
	now += 9 * 3600;
	(void)gmtime_r(&now, &utc);
	(void)strftime(hour, sizeof(hour), "T%H", &utc);
	/* The hour may have ended between the two looks at the clock. */
	if (!strstr(logged(fd), hour)) {
		now++;
		(void)gmtime_r(&now, &utc);
		(void)strftime(hour, sizeof(hour), "T%H", &utc);
	}
	t_has(logged(fd), hour);
}

Test(log, an_id_that_is_too_long_is_cut)
{
	int fd = log_to_file(LOG_INFO);
	char id[2 * LOG_ID_MAX + 1] = "", want[LOG_ID_MAX + 8] = "";

	memset(id, 'i', sizeof(id) - 1);
	log_stamp(id);
	log_info("x");
	(void)snprintf(want, sizeof(want), "[%.*s:", LOG_ID_MAX, id);
	t_has(logged(fd), want);
}

Test(log, only_lines_of_the_module_are_written)
{
	char longer[2 * LOG_MODULE_MAX] = "";
	int fd = log_to_file(LOG_INFO);

	log_stamp("a");
	log_set_module("virtio/");
	log_info("other file");
	t_str(logged(fd), "");
	log_set_module("tests/unit/test_l");
	log_info("this file");
	t_has(logged(fd), "] this file\n");
	log_set_module(NULL);
	log_info("any file");
	t_has(logged(fd), "] any file\n");
	memset(longer, 't', sizeof(longer) - 1);
	log_set_module(longer);
	log_info("no file");
	t_false(strstr(logged(fd), "no file"));
}

/* --- nobody forges a line --- */

Test(log, what_could_end_a_line_or_move_a_cursor_is_escaped)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "a\nmvm: error: forged", "a\\nmvm: error: forged" },
		{ "\r\t", "\\r\\t" },
		{ "\x1b[2J\x7f\x01", "\\x1b[2J\\x7f\\x01" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7",
			"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7" },
		{ "\xc2\x9b"
		  "2J",
			"\\xc2\\x9b2J" }, /* CSI as one character */
		{ "\x9b"
		  "2J\xff",
			"\\x9b2J\\xff" },              /* and as one byte */
		{ "\xc0\x8a", "\\xc0\\x8a" },          /* overlong newline */
		{ "\xe0\x80\x8a", "\\xe0\\x80\\x8a" }, /* likewise */
		{ "\xe0\x83\xbc", "\\xe0\\x83\\xbc" }, /* an overlong letter */
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
		{ "\xe2\x82", "\\xe2\\x82" }, /* cut off */
		{ "back\\slash \"q\"", "back\\slash \"q\"" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		int fd CLEANUP(fd_closep) = log_to_file(LOG_INFO);
		char want[128];

		log_info("%s", rows[i].text);
		(void)snprintf(want, sizeof(want), "mvm: %s\n", rows[i].want);
		cr_expect(eq(int, strcmp(logged(fd), want), 0), "row %u: %s", i, logged(fd));
	}
}

Test(log, a_long_line_of_escapes_is_cut_and_still_one_line)
{
	char text[LOG_LINE_MAX];
	int fd = log_to_file(LOG_INFO);

	memset(text, 0x1b, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	t_true(strlen(logged(fd)) <= LOG_LINE_MAX);
	matches(logged(fd), "^mvm: (\\\\x1b)+\n$");
}

Test(log, the_name_of_the_program_forges_nothing)
{
	int fd = log_to_file(LOG_INFO);

	t_int(prctl(PR_SET_NAME, "a\nb"), 0);
	log_stamp("a");
	log_info("x");
	t_has(logged(fd), "[a:a\\nb] x\n");
}

/* --- where lines go --- */

Test(log, a_file_is_made_and_appended_to)
{
	const char *path = path_of("log");
	struct stat st;
	struct err e = { 0 };

	(void)log_to_file(LOG_INFO);
	t_int(log_open(path, &e), 0);
	log_info("one");
	t_int(log_open(path, &e), 0);
	log_info("two");
	t_str(text_of(path), "mvm: one\nmvm: two\n");
	t_int(stat(path, &st), 0);
	t_int(st.st_mode & 0777, 0600);
	clean_up(path);
}

Test(log, another_file_takes_the_place_of_the_first)
{
	const char *first = path_of("first"), *second = path_of("second");
	unsigned fds;

	(void)log_to_file(LOG_INFO);
	t_int(log_open(first, NULL), 0);
	fds = t_count_fds();
	t_int(log_open(second, NULL), 0);
	t_uint(t_count_fds(), fds);
	log_info("x");
	t_str(text_of(first), "");
	t_str(text_of(second), "mvm: x\n");
	(void)unlink(first);
	clean_up(second);
}

Test(log, what_cannot_be_opened_changes_nothing)
{
	static const struct {
		const char *path;
		int code;
	} rows[] = { { "/tmp", -EISDIR }, { "/nowhere/log", -ENOENT }, { "", -ENOENT },
		{ "/dev/null/log", -ENOTDIR } };
	const char *path = path_of("log");
	unsigned fds;

	(void)log_to_file(LOG_INFO);
	t_int(log_open(path, NULL), 0);
	fds = t_count_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err e = { 0 };

		t_row_int(rows[i].path, log_open(rows[i].path, &e), rows[i].code);
		t_row_has(rows[i].path, e.text, rows[i].path);
	}
	t_uint(t_count_fds(), fds);
	log_info("x");
	t_str(text_of(path), "mvm: x\n");
	clean_up(path);
}

Test(log, a_fifo_without_a_reader_is_fine_and_one_that_is_full_loses_lines)
{
	enum { LINES = 10000 };
	const char *path = path_of("fifo");
	char line[64] = "";
	int fd;

	(void)log_to_file(LOG_INFO);
	t_int(mkfifo(path, 0600), 0);
	t_int(log_open(path, NULL), 0);
	log_stamp("a");
	log_info("first");
	t_uint(log_missed(), 0);
	for (unsigned i = 0; i < LINES; i++)
		log_info("%04000u", i);
	t_true(log_missed() > 0 && log_missed() < LINES);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	t_true(read(fd, line, sizeof(line) - 1) > 0);
	matches(line, TIME "\\[a:[^]]*\\] first\n");
	clean_up(path);
}

Test(log, a_full_disk_loses_lines_and_counts_them)
{
	t_int(log_open("/dev/full", NULL), 0);
	log_init(LOG_INFO, open("/dev/full", O_WRONLY | O_CLOEXEC));
	log_info("plain");
	t_uint(log_missed(), 1);
	t_int(log_open("/dev/full", NULL), 0);
	log_stamp("a");
	log_info("stamped");
	t_uint(log_missed(), 2);
}

Test(log, a_pipe_that_nobody_empties_is_not_waited_for)
{
	int fd[2];

	/* A blocking one, as a standard output often is. */
	t_int(pipe2(fd, O_CLOEXEC), 0);
	log_init(LOG_INFO, fd[1]);
	log_stamp("a");
	for (unsigned i = 0; i < 100; i++)
		log_info("%04000u", i);
	t_true(log_missed() > 0);
}

Test(log, a_line_after_one_that_was_cut_by_a_full_disk_begins_anew)
{
	const char *path = path_of("log");
	struct rlimit limit;

	(void)log_to_file(LOG_INFO);
	(void)signal(SIGXFSZ, SIG_IGN);
	t_int(getrlimit(RLIMIT_FSIZE, &limit), 0);
	t_int(log_open(path, NULL), 0);
	limit.rlim_cur = 8;
	t_int(setrlimit(RLIMIT_FSIZE, &limit), 0);
	log_info("abcdef");
	log_info("lost");
	t_uint(log_missed(), 2);
	limit.rlim_cur = limit.rlim_max;
	t_int(setrlimit(RLIMIT_FSIZE, &limit), 0);
	log_info("whole");
	log_info("and next");
	t_str(text_of(path), "mvm: abc\nmvm: whole\nmvm: and next\n");
	clean_up(path);
}

Test(log, lines_that_a_budget_kept_back_are_counted)
{
	struct log_budget b = { 0 };
	uint32_t swallowed;

	for (unsigned i = 0; i < LOG_BURST + 3; i++)
		(void)log_budget_take(&b, 0, &swallowed);
	t_uint(log_limited(), 3);
}

/* --- settings that change while threads log --- */

enum { TALKERS = 3, TALKER_LINES = 3000 };

static void *talk(void *arg)
{
	(void)prctl(PR_SET_NAME, "talker");
	for (unsigned i = 0; i < TALKER_LINES; i++)
		log_line(LOG_INFO, "a/b.c", 1, "line %s", (const char *)arg);
	return NULL;
}

static unsigned count_whole_lines(const char *path)
{
	/* One of the settings, never some of one and some of another. */
	static const char pattern[] =
		TIME "\\[(a{64}:talker|b{64}:talker(:INFO:a/b\\.c:1)?)\\] line x\n$";
	FILE *f = fopen(path, "re");
	char line[256];
	unsigned n = 0;
	regex_t re;

	t_int(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	while (fgets(line, sizeof(line), f)) {
		cr_assert(eq(int, regexec(&re, line, 0, NULL, 0), 0), "\"%s\"", line);
		n++;
	}
	(void)fclose(f);
	regfree(&re);
	return n;
}

Test(log, threads_log_while_the_settings_change)
{
	const char *path[] = { path_of("0"), path_of("1") };
	char id[2][LOG_ID_MAX + 1] = { "", "" };
	pthread_t thread[TALKERS];

	(void)log_to_file(LOG_INFO);
	t_int(log_open(path[0], NULL), 0);
	memset(id[0], 'a', LOG_ID_MAX);
	memset(id[1], 'b', LOG_ID_MAX);
	log_stamp(id[0]);
	for (unsigned i = 0; i < TALKERS; i++)
		t_int(pthread_create(&thread[i], NULL, talk, "x"), 0);
	for (unsigned i = 0; i < 2000; i++) {
		t_int(log_open(path[i % 2], NULL), 0);
		log_stamp(id[i % 2]);
		if (i % 2 == 1)
			log_show(true, true);
	}
	for (unsigned i = 0; i < TALKERS; i++)
		t_int(pthread_join(thread[i], NULL), 0);
	t_uint(count_whole_lines(path[0]) + count_whole_lines(path[1]), TALKERS * TALKER_LINES);
	t_uint(log_missed(), 0);
	(void)unlink(path[0]);
	clean_up(path[1]);
}
