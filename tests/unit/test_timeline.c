/* The cold start as points in time. */
#include "t.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "timeline.h"

TestSuite(timeline, .timeout = T_SECONDS);

/* What print wrote; the caller frees it. */
static char *printed(const struct timeline *t, void (*print)(const struct timeline *, FILE *))
{
	static char *text;
	static size_t len;
	FILE *out = open_memstream(&text, &len);

	print(t, out);
	(void)fclose(out);
	return text;
}

Test(timeline, a_point_is_set_once)
{
	struct timeline t = { 0 };

	timeline_set_at(&t, TIMELINE_BUILT, 5);
	timeline_set_at(&t, TIMELINE_BUILT, 9);
	timeline_set(&t, TIMELINE_BUILT);
	t_uint(t.us[TIMELINE_BUILT], 5);
}

Test(timeline, set_takes_the_time_of_now)
{
	struct timeline t = { 0 };
	uint64_t before = timeline_now_us();

	timeline_set(&t, TIMELINE_MAIN);
	t_true(t.us[TIMELINE_MAIN] >= before && t.us[TIMELINE_MAIN] <= timeline_now_us());
}

Test(timeline, a_mark_tells_when_the_guest_kernel_began)
{
	struct timeline t = { 0 };

	timeline_set_at(&t, TIMELINE_ENTERED, timeline_now_us() - 5000);
	timeline_mark(&t, 1000);
	t_uint(t.us[TIMELINE_MARK] - t.us[TIMELINE_KERNEL], 1000);
}

Test(timeline, a_mark_that_cannot_be_true_is_not_believed)
{
	struct timeline t = { 0 };

	timeline_set_at(&t, TIMELINE_ENTERED, timeline_now_us() - 5000);
	timeline_mark(&t, 500000000);
	t_true(t.us[TIMELINE_MARK] != 0);
	t_uint(t.us[TIMELINE_KERNEL], 0);
}

Test(timeline, a_mark_without_a_clock_is_a_mark_only)
{
	struct timeline t = { 0 };

	timeline_mark(&t, 0);
	t_true(t.us[TIMELINE_MARK] != 0);
	t_uint(t.us[TIMELINE_KERNEL], 0);
}

Test(timeline, only_the_first_mark_counts)
{
	struct timeline t = { 0 };
	uint64_t mark, kernel;

	timeline_mark(&t, 10);
	mark = t.us[TIMELINE_MARK];
	kernel = t.us[TIMELINE_KERNEL];
	(void)usleep(1000);
	timeline_mark(&t, 20);
	t_uint(t.us[TIMELINE_MARK], mark);
	t_uint(t.us[TIMELINE_KERNEL], kernel);
}

Test(timeline, the_table_shows_the_points_that_were_reached_in_milliseconds)
{
	struct timeline t = { 0 };
	char *text;

	timeline_set_at(&t, TIMELINE_PROCESS, 1000000);
	timeline_set_at(&t, TIMELINE_MAIN, 1000500);
	timeline_set_at(&t, TIMELINE_BUILT, 1002750);
	text = printed(&t, timeline_print);
	t_has(text, "process start                           0.000      0.000\n");
	t_has(text, "main()                                  0.500      0.500\n");
	t_has(text, "VM built                                2.750      2.250\n");
	t_false(strstr(text, "init"));
	free(text);
}

Test(timeline, the_table_is_sorted_by_time)
{
	struct timeline t = { 0 };
	char *text;

	timeline_set_at(&t, TIMELINE_PROCESS, 1000);
	timeline_set_at(&t, TIMELINE_EXITED, 9000);
	timeline_set_at(&t, TIMELINE_KERNEL, 5000);
	timeline_set_at(&t, TIMELINE_MARK, 9000);
	text = printed(&t, timeline_print);
	t_true(strstr(text, "kernel entry") < strstr(text, "first exit"));
	t_true(strstr(text, "first exit") < strstr(text, "init"));
	free(text);
}

Test(timeline, a_point_before_the_start_is_shown_as_before_it)
{
	struct timeline t = { 0 };
	char *text;

	/* The start is what the starter told us, and it may tell us nonsense. */
	timeline_set_at(&t, TIMELINE_PROCESS, 2000000);
	timeline_set_at(&t, TIMELINE_MAIN, 1999500);
	text = printed(&t, timeline_print);
	t_has(text, " -0.500 ");
	free(text);
}

Test(timeline, an_empty_timeline_prints_a_heading_only)
{
	struct timeline t = { 0 };
	char *text = printed(&t, timeline_print);

	t_true(strchr(text, '\n') == text + strlen(text) - 1);
	free(text);
}

Test(timeline, json_is_one_object_with_the_absolute_times)
{
	struct timeline t = { 0 };
	char *text;
	json_t *json;

	timeline_set_at(&t, TIMELINE_PROCESS, 1000000);
	timeline_set_at(&t, TIMELINE_ENTERED, 1234567);
	text = printed(&t, timeline_print_json);
	t_true(strchr(text, '\n') == text + strlen(text) - 1);
	json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	t_true(json);
	t_uint(json_object_size(json), 2);
	t_int(json_integer_value(json_object_get(json, "process_us")), 1000000);
	t_int(json_integer_value(json_object_get(json, "entered_us")), 1234567);
	json_decref(json);
	free(text);
	T_NO_LEAKS();
}

Test(timeline, json_of_nothing_is_an_empty_object)
{
	struct timeline t = { 0 };
	char *text = printed(&t, timeline_print_json);

	t_str(text, "{}\n");
	free(text);
}
