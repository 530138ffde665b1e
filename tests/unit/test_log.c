/* Log lines and their budget. */
#include "t.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/log.h"

TestSuite(log, .timeout = T_SECONDS);

enum { TEXT_MAX = 8192 };

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
