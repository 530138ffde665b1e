/*
 * OpenMetrics text.  What a parser that is not ours makes of it is looked at by the program
 * openmetrics beside this file, for which MVM_OPENMETRICS_DIR names a folder to write texts to.
 */
#include "t_metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/api.h"
#include "api/metrics_private.h"
#include "api/server.h"
#include "base/log.h"
#include "t.h"

TestSuite(metrics_text, .timeout = T_SECONDS);

struct server_counters __wrap_server_counters(const struct server *s);
struct server_counters __wrap_server_counters(const struct server *s)
{
	(void)s;
	return (struct server_counters){ 11, 12, 13, 14, 15, 16 };
}

static char *text_of(struct t_metrics *t)
{
	size_t len = 0;
	char *text = metrics_text(t->m, &len);

	cr_assert(ne(ptr, text, NULL));
	t_uint(len, strlen(text));
	return text;
}

/* Whether the line is there, from its beginning to its end. */
static bool has_line(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *at = text; (at = strstr(at, line)); at++) {
		if ((at == text || at[-1] == '\n') && at[len] == '\n')
			return true;
	}
	return false;
}

#define t_line(text, line)                                                                         \
	cr_expect(eq(int, has_line(text, line), 1), "there is no line \"%s\"", line)
#define t_no_line(text, line)                                                                      \
	cr_expect(eq(int, has_line(text, line), 0), "there is a line \"%s\"", line)

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, part)); at++)
		n++;
	return n;
}

/* For the parser that is not ours. */
static void keep(const char *name, const char *text)
{
	const char *dir = getenv("MVM_OPENMETRICS_DIR");
	char path[256];
	FILE *f;

	if (!dir)
		return;
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	t_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

Test(metrics_text, a_machine_that_was_not_started_has_a_text_that_ends)
{
	struct t_metrics t;
	char *text;

	t_metrics_init(&t);
	t.in.vm = NULL;
	t.in.state = INSTANCE_NOT_STARTED;
	text = text_of(&t);
	t_true(strlen(text) > 6 && strcmp(text + strlen(text) - 6, "# EOF\n") == 0);
	t_uint(count(text, "# EOF"), 1);
	t_line(text, "mvm_state{mvm_state=\"Not started\"} 1");
	t_uint(count(text, "device="), 0);
	keep("not-started", text);
	free(text);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

Test(metrics_text, the_state_is_one_of_all)
{
	static const char *const names[] = { "Not started", "Running", "Paused", "Ended" };
	struct t_metrics t;

	t_metrics_init(&t);
	for (unsigned is = 0; is < ARRAY_SIZE(names); is++) {
		char *text;

		t.in.state = (enum instance_state)is;
		text = text_of(&t);
		for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
			char line[64];

			(void)snprintf(line, sizeof(line), "mvm_state{mvm_state=\"%s\"} %d",
				names[i], i == is);
			t_line(text, line);
		}
		free(text);
	}
	t_metrics_fini(&t);
}

Test(metrics_text, info_says_what_this_is)
{
	struct t_metrics t;
	char *text;

	t_metrics_init(&t);
	text = text_of(&t);
	t_line(text,
		"mvm_build_info{version=\"" MVM_VERSION "\",api_version=\"" API_VERSION "\"} 1");
	t_line(text, "mvm_instance_info{id=\"vm-1\"} 1");
	t_line(text, "mvm_vcpus 2");
	t_line(text, "mvm_guest_memory_bytes 134217728");
	t_no_line(text, "mvm_resident_memory_bytes 0");
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, values_of_labels_are_escaped)
{
	struct t_metrics t;
	char *text;

	t_metrics_init(&t);
	t.vm->devices.slot[T_ROOT].id = "a\"b\\c\nd} 1";
	text = text_of(&t);
	t_line(text, "mvm_device_errors_total{device=\"a\\\"b\\\\c\\nd} 1\",kind=\"disk\"} 0");
	keep("escaped", text);
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, counters_of_devices_have_labels)
{
	struct t_metrics t;
	struct virtio_counters *disk, *net;
	char *text;

	t_metrics_init(&t);
	disk = &t.dev[T_DATA].counters;
	net = &t.dev[T_NET].counters;
	disk->requests[COUNT_FLUSH] = 5;
	disk->bytes[COUNT_WRITE] = UINT64_MAX;
	disk->way[COUNT_READ].throttled = 7;
	net->requests[COUNT_WRITE] = 8;
	net->way[COUNT_WRITE].backend_fails = 9;
	net->way[COUNT_READ].kicks = 10;
	net->spoofed = 21;
	text = text_of(&t);
	t_line(text, "mvm_device_requests_total{device=\"data\",kind=\"disk\",op=\"flush\"} 5");
	t_line(text, "mvm_device_transferred_bytes_total{device=\"data\",kind=\"disk\",op="
		     "\"write\"} 18446744073709551615");
	t_line(text, "mvm_queue_throttled_total{device=\"data\",kind=\"disk\",queue=\"requests\"} "
		     "7");
	t_line(text, "mvm_device_requests_total{device=\"eth0\",kind=\"net\",op=\"write\"} 8");
	t_line(text, "mvm_queue_backend_failures_total{device=\"eth0\",kind=\"net\",queue=\"tx\"} "
		     "9");
	t_line(text, "mvm_queue_kicks_total{device=\"eth0\",kind=\"net\",queue=\"rx\"} 10");
	t_line(text, "mvm_device_spoofed_total{device=\"eth0\",kind=\"net\"} 21");
	t_line(text, "mvm_device_requests_total{device=\"root\",kind=\"disk\",op=\"flush\"} 0");
	/* A card has frames in and out and nothing else. */
	t_uint(count(text, "kind=\"net\",op=\"flush\""), 0);
	/* Absolute: a second look shows the same. */
	free(text);
	text = text_of(&t);
	t_line(text, "mvm_queue_kicks_total{device=\"eth0\",kind=\"net\",queue=\"rx\"} 10");
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, every_counter_of_a_device_is_there)
{
	struct t_metrics t;
	uint64_t *word;
	char *text;

	t_metrics_init(&t);
	/* All numbers different, and each of them somewhere in the text, but for those of the
	 * histogram and the times. */
	word = (uint64_t *)(void *)&t.dev[T_NET].counters;
	for (size_t i = 0; i < offsetof(struct virtio_counters, latency) / sizeof(*word); i++)
		word[i] = 770000 + i;
	text = text_of(&t);
	for (size_t i = 0; i < offsetof(struct virtio_counters, latency) / sizeof(*word); i++) {
		size_t at = i * sizeof(*word);
		char value[32];

		/* What only disks have; what is the same as a sum of others; times. */
		if ((at >= offsetof(struct virtio_counters, requests[COUNT_FLUSH]) &&
			    at < offsetof(struct virtio_counters, bytes)) ||
			(at >= offsetof(struct virtio_counters, bytes[COUNT_FLUSH]) &&
				at < offsetof(struct virtio_counters, errors)) ||
			at == offsetof(struct virtio_counters, throttled) ||
			at == offsetof(struct virtio_counters, kicks) ||
			(at >= offsetof(struct virtio_counters, way[0].took) &&
				at < offsetof(struct virtio_counters, way[1])) ||
			at >= offsetof(struct virtio_counters, way[1].took))
			continue;
		(void)snprintf(value, sizeof(value), "} %zu\n", 770000 + i);
		cr_expect(eq(u32, count(text, value), 1),
			"the counter at %zu of the structure is "
			"not in the text",
			at);
	}
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, histograms_add_up)
{
	struct t_metrics t;
	struct histogram *h;
	char *text;

	t_metrics_init(&t);
	h = &t.dev[T_ROOT].counters.latency;
	histogram_add(h, 500);         /* below a microsecond */
	histogram_add(h, 3000);        /* below 4 us */
	histogram_add(h, 3000);        /* once more */
	histogram_add(h, 1500000);     /* below 2.048 ms */
	histogram_add(h, 20000000000); /* longer than all */
	text = text_of(&t);
#define BUCKET(le, n)                                                                              \
	"mvm_disk_latency_seconds_bucket{device=\"root\",kind=\"disk\",le=\"" le "\"} " n
	t_line(text, BUCKET("1e-06", "1"));
	t_line(text, BUCKET("2e-06", "1"));
	t_line(text, BUCKET("4e-06", "3"));
	t_line(text, BUCKET("1.6e-05", "3"));
	t_line(text, BUCKET("0.001024", "3"));
	t_line(text, BUCKET("0.002048", "4"));
	t_line(text, BUCKET("4.194304", "4"));
	t_line(text, BUCKET("+Inf", "5"));
	t_line(text, "mvm_disk_latency_seconds_count{device=\"root\",kind=\"disk\"} 5");
	t_line(text, "mvm_disk_latency_seconds_sum{device=\"root\",kind=\"disk\"} 20.001506");
	t_uint(count(text, "mvm_disk_latency_seconds_bucket{device=\"root\""), HISTOGRAM_BUCKETS);
	t_uint(count(text, "mvm_disk_latency_seconds_bucket{device=\"eth0\""), 0);
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, times_have_a_count_and_a_sum)
{
	struct t_metrics t;
	char *text;

	t_metrics_init(&t);
	tally_add(&t.dev[T_ROOT].counters.way[COUNT_WRITE].took, 5000000);
	tally_add(&t.dev[T_ROOT].counters.way[COUNT_WRITE].took, 1000);
	tally_add(&t.vm->vcpu[1].count.access[VCPU_MMIO_WRITE], 0);
	t.vm->vcpu[1].count.exits = 4;
	text = text_of(&t);
	t_line(text, "mvm_disk_io_seconds_count{device=\"root\",kind=\"disk\",op=\"write\"} 2");
	t_line(text,
		"mvm_disk_io_seconds_sum{device=\"root\",kind=\"disk\",op=\"write\"} 0.005001");
	t_line(text, "mvm_disk_io_seconds_count{device=\"data\",kind=\"disk\",op=\"read\"} 0");
	t_line(text, "mvm_tap_write_seconds_count{device=\"eth0\",kind=\"net\",op=\"write\"} 0");
	t_line(text, "mvm_vcpu_access_seconds_count{vcpu=\"1\",access=\"mmio_write\"} 1");
	t_line(text, "mvm_vcpu_access_seconds_count{vcpu=\"0\",access=\"mmio_write\"} 0");
	t_line(text, "mvm_vcpu_exits_total{vcpu=\"1\"} 4");
	t_line(text, "mvm_vcpu_exits_total{vcpu=\"0\"} 0");
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, the_cold_start_is_points_and_spans)
{
	struct t_metrics t;
	char *text;

	t_metrics_init(&t);
	timeline_set_at(&t.in.timeline, TIMELINE_PROCESS, 1000000);
	timeline_set_at(&t.in.timeline, TIMELINE_MAIN, 1000300);
	timeline_set_at(&t.in.timeline, TIMELINE_ASKED, 1001000);
	timeline_set_at(&t.in.timeline, TIMELINE_BUILT, 1002000);
	timeline_set_at(&t.in.timeline, TIMELINE_ENTERED, 1002100);
	timeline_set_at(&t.in.timeline, TIMELINE_KERNEL, 1003100);
	timeline_set_at(&t.in.timeline, TIMELINE_MARK, 3000000);
	text = text_of(&t);
	t_line(text, "mvm_timeline_seconds{point=\"process\"} 0.000000");
	t_line(text, "mvm_timeline_seconds{point=\"kernel\"} 0.003100");
	t_line(text, "mvm_timeline_seconds{point=\"mark\"} 2.000000");
	t_line(text, "mvm_span_seconds{span=\"exec\"} 0.000300");
	t_line(text, "mvm_span_seconds{span=\"ask\"} 0.000700");
	t_line(text, "mvm_span_seconds{span=\"build\"} 0.001000");
	t_line(text, "mvm_span_seconds{span=\"start\"} 0.000100");
	t_line(text, "mvm_span_seconds{span=\"kernel\"} 1.996900");
	/* Not reached yet. */
	t_uint(count(text, "\"ended\""), 0);
	t_uint(count(text, "\"first_exit\""), 0);
	t_uint(count(text, "\"life\""), 0);
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, the_api_is_told_by_method_and_route)
{
	struct t_metrics t;
	char *text;

	t_metrics_init(&t);
	t.api.count[API_PATCH_DRIVE] = 31;
	t.api.fails[API_PATCH_DRIVE] = 32;
	t.api.count[API_GET_VERSION] = 33;
	t.api.latency_us[API_PAUSE] = 1500;
	t.api.vmm_latency_us[API_PAUSE] = 1200;
	t.api.deprecated = 34;
	text = text_of(&t);
	t_line(text, "mvm_api_requests_total{method=\"PATCH\",route=\"/drives/{id}\"} 31");
	t_line(text, "mvm_api_failures_total{method=\"PATCH\",route=\"/drives/{id}\"} 32");
	t_line(text, "mvm_api_requests_total{method=\"GET\",route=\"/version\"} 33");
	t_line(text, "mvm_api_deprecated_total 34");
	t_line(text, "mvm_api_latency_seconds{action=\"pause\"} 0.001500");
	t_line(text, "mvm_api_machine_latency_seconds{action=\"pause\"} 0.001200");
	/* Every request that is counted has its own line. */
	t_uint(count(text, "mvm_api_requests_total{"), API_COUNTS);
	t_uint(count(text, "(null)"), 0);
	t_uint(count(text, "mvm_server_"), 0);
	free(text);
	/* The server comes later, and may go. */
	metrics_set_server(t.m, (const struct server *)(const void *)&t);
	text = text_of(&t);
	t_line(text, "mvm_server_connections_total 11");
	t_line(text, "mvm_server_refused_total 12");
	t_line(text, "mvm_server_requests_total 13");
	t_line(text, "mvm_server_bad_requests_total 14");
	t_line(text, "mvm_server_timeouts_total 15");
	t_line(text, "mvm_server_deferred_total 16");
	keep("server", text);
	free(text);
	metrics_set_server(t.m, NULL);
	text = text_of(&t);
	t_uint(count(text, "mvm_server_"), 0);
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, log_metrics_and_board_are_there)
{
	struct t_metrics t;
	char *text;

	t_metrics_init(&t);
	log_init(LOG_ERROR, -1);
	log_error("lost");
	t.vm->machine.serial.counters.writes = 41;
	t.vm->machine.i8042.counters.resets = 42;
	t.in.events.next = 8;
	text = text_of(&t);
	t_line(text, "mvm_log_missed_total 1");
	t_line(text, "mvm_log_limited_total 0");
	t_line(text, "mvm_metrics_missed_total 0");
	t_line(text, "mvm_serial_written_bytes_total 41");
	t_line(text, "mvm_i8042_resets_total 42");
	t_line(text, "mvm_events_total 7");
	free(text);
	t_metrics_fini(&t);
}

Test(metrics_text, the_console_counts_too)
{
	struct t_metrics t;
	char *text;
	struct serial_host host;

	t_metrics_init(&t);
	t_int(console_new(t.loop, -1, -1, false, &(struct console_host){ 0 }, &t.in.console, NULL),
		0);
	host = console_serial_host(t.in.console);
	host.tx(host.ctx, 'x');
	host.tx(host.ctx, 'y');
	text = text_of(&t);
	t_line(text, "mvm_console_output_bytes_total 2");
	t_line(text, "mvm_console_limited_bytes_total 0");
	t_uint(count(text, "mvm_console_dropped_bytes_total "), 1);
	keep("console", text);
	free(text);
	console_free(t.in.console);
	t_metrics_fini(&t);
}

/* --- the text as a whole --- */

/* Each family is said once, with type, help and, where its name ends in one, unit; its samples
 * follow it and have its name. */
Test(metrics_text, samples_follow_their_family)
{
	char family[128] = "", *text, *at, *line, seen[128][128];
	struct t_metrics t;
	unsigned families = 0;

	t_metrics_init(&t);
	metrics_set_server(t.m, (const struct server *)(const void *)&t);
	text = text_of(&t);
	keep("whole", text);
	at = text;
	while ((line = strsep(&at, "\n")) && strcmp(line, "# EOF") != 0) {
		size_t len = strlen(family);

		if (strncmp(line, "# TYPE ", 7) == 0) {
			(void)snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "),
				line + 7);
			for (unsigned i = 0; i < families; i++)
				cr_assert(ne(int, strcmp(seen[i], family), 0), "%s comes twice",
					family);
			t_true(families < ARRAY_SIZE(seen));
			(void)snprintf(seen[families++], sizeof(seen[0]), "%s", family);
		} else {
			const char *name = line[0] == '#' ? line + 7 : line;

			cr_assert(eq(int, strncmp(name, family, len), 0), "\"%s\" in %s", line,
				family);
			t_true(name[len] == ' ' || name[len] == '{' || name[len] == '_');
		}
	}
	t_true(families > 50);
	free(text);
	t_metrics_fini(&t);
}
