/* OpenMetrics 1.0 text (metrics.h): the process, its API, and the machine as a whole. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/api.h"
#include "api/metrics_private.h"
#include "api/server.h"
#include "base/io.h"
#include "base/log.h"

/* --- the format --- */

void text_family(FILE *f, const char *name, const char *type, const char *unit, const char *help)
{
	(void)fprintf(f, "# TYPE %s %s\n", name, type);
	if (unit)
		(void)fprintf(f, "# UNIT %s %s\n", name, unit);
	(void)fprintf(f, "# HELP %s %s\n", name, help);
}

void text_value(FILE *f, const char *value)
{
	(void)fputc('"', f);
	for (; *value; value++) {
		if (*value == '\n')
			(void)fputs("\\n", f);
		else if (*value == '"' || *value == '\\')
			(void)fprintf(f, "\\%c", *value);
		else
			(void)fputc(*value, f);
	}
	(void)fputc('"', f);
}

static void put_seconds(FILE *f, uint64_t us)
{
	(void)fprintf(f, " %" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
}

void text_end(FILE *f, uint64_t value)
{
	(void)fprintf(f, "} %" PRIu64 "\n", value);
}

void text_end_seconds(FILE *f, uint64_t us)
{
	(void)fputc('}', f);
	put_seconds(f, us);
}

void text_gauge(FILE *f, const char *name, const char *unit, const char *help, uint64_t value)
{
	text_family(f, name, "gauge", unit, help);
	(void)fprintf(f, "%s %" PRIu64 "\n", name, value);
}

void text_gauge_seconds(FILE *f, const char *name, const char *help, uint64_t us)
{
	text_family(f, name, "gauge", "seconds", help);
	(void)fputs(name, f);
	put_seconds(f, us);
}

void text_counter(FILE *f, const char *name, const char *unit, const char *help, uint64_t value)
{
	text_family(f, name, "counter", unit, help);
	(void)fprintf(f, "%s_total %" PRIu64 "\n", name, value);
}

/* --- the process --- */

static void put_info(FILE *f, const struct instance *in)
{
	text_family(f, "mvm_build", "info", NULL, "This program, and the API that it speaks.");
	(void)fprintf(f, "mvm_build_info{version=\"%s\",api_version=\"%s\"} 1\n", MVM_VERSION,
		API_VERSION);
	text_family(f, "mvm_instance", "info", NULL, "This machine.");
	(void)fputs("mvm_instance_info{id=", f);
	text_value(f, in->cfg.id);
	(void)fputs("} 1\n", f);
}

/* Resident memory of the process in bytes (proc(5), /proc/self/statm); 0 when nobody says it. */
static uint64_t resident_bytes(void)
{
	char text[128], *at;
	uint64_t pages;

	if (io_read_text("/proc/self/statm", text, sizeof(text)) < 0)
		return 0;
	at = strchr(text, ' ');
	if (!at)
		return 0;
	pages = strtoull(at, NULL, 10);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t us_of(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec;
}

static void put_process(FILE *f)
{
	struct rusage use = { 0 };

	(void)getrusage(RUSAGE_SELF, &use);
	text_gauge(f, "mvm_resident_memory_bytes", "bytes",
		"Memory of this process, the guest's included, that is in RAM.", resident_bytes());
	text_family(f, "mvm_cpu_seconds", "counter", "seconds",
		"CPU time of this process, the guest's included.");
	(void)fputs("mvm_cpu_seconds_total{mode=\"user\"", f);
	text_end_seconds(f, us_of(&use.ru_utime));
	(void)fputs("mvm_cpu_seconds_total{mode=\"system\"", f);
	text_end_seconds(f, us_of(&use.ru_stime));
}

static void put_log(FILE *f, const struct metrics *m)
{
	text_counter(
		f, "mvm_log_missed", NULL, "Log lines that could not be written.", log_missed());
	text_counter(f, "mvm_log_limited", NULL,
		"Log lines that were kept back because a guest caused too many.", log_limited());
	text_counter(f, "mvm_metrics_lines", NULL, "Lines of metrics that were written.", m->lines);
	text_counter(f, "mvm_metrics_missed", NULL, "Lines of metrics that could not be written.",
		m->missed);
}

/* --- the API --- */

static void put_server(FILE *f, const struct server *s)
{
	struct server_counters c = server_counters(s);

	text_counter(f, "mvm_server_connections", NULL, "Connections that were accepted.",
		c.connections);
	text_counter(
		f, "mvm_server_refused", NULL, "Connections that were one too many.", c.refused);
	text_counter(f, "mvm_server_requests", NULL, "Requests that were read.", c.requests);
	text_counter(
		f, "mvm_server_bad_requests", NULL, "Requests that are no HTTP.", c.bad_requests);
	text_counter(f, "mvm_server_timeouts", NULL, "Clients that were too slow.", c.timeouts);
	text_counter(f, "mvm_server_deferred", NULL,
		"Times that requests waited for the guest's devices.", c.deferred);
}

static const struct {
	const char *method, *route;
} api_routes[API_COUNTS] = {
	[API_GET_INSTANCE_INFO] = { "GET", "/" },
	[API_GET_MACHINE_CFG] = { "GET", "/machine-config" },
	[API_GET_VERSION] = { "GET", "/version" },
	[API_PUT_ACTIONS] = { "PUT", "/actions" },
	[API_PUT_BOOT_SOURCE] = { "PUT", "/boot-source" },
	[API_PUT_DRIVE] = { "PUT", "/drives/{id}" },
	[API_PUT_LOGGER] = { "PUT", "/logger" },
	[API_PUT_MACHINE_CFG] = { "PUT", "/machine-config" },
	[API_PUT_CPU_CFG] = { "PUT", "/cpu-config" },
	[API_PUT_METRICS] = { "PUT", "/metrics" },
	[API_PUT_NETWORK] = { "PUT", "/network-interfaces/{id}" },
	[API_PUT_SERIAL] = { "PUT", "/serial" },
	[API_PATCH_DRIVE] = { "PATCH", "/drives/{id}" },
	[API_PATCH_NETWORK] = { "PATCH", "/network-interfaces/{id}" },
	[API_PATCH_MACHINE_CFG] = { "PATCH", "/machine-config" },
};

static void put_routes(
	FILE *f, const char *name, const char *help, const uint64_t count[API_COUNTS])
{
	text_family(f, name, "counter", NULL, help);
	for (unsigned i = 0; i < API_COUNTS; i++) {
		(void)fprintf(f, "%s_total{method=\"%s\",route=\"%s\"", name, api_routes[i].method,
			api_routes[i].route);
		text_end(f, count[i]);
	}
}

static void put_latencies(
	FILE *f, const char *name, const char *help, const uint64_t us[API_LATENCIES])
{
	static const char *const actions[API_LATENCIES] = {
		[API_PAUSE] = "pause",
		[API_RESUME] = "resume",
		[API_SAVE_FULL] = "save_full",
		[API_SAVE_DIFF] = "save_diff",
		[API_LOAD] = "load",
	};

	text_family(f, name, "gauge", "seconds", help);
	for (unsigned i = 0; i < API_LATENCIES; i++) {
		(void)fprintf(f, "%s{action=\"%s\"", name, actions[i]);
		text_end_seconds(f, us[i]);
	}
}

static void put_api(FILE *f, const struct api_counters *c)
{
	put_routes(f, "mvm_api_requests", "Requests, those that failed included.", c->count);
	put_routes(f, "mvm_api_failures", "Requests that were answered with a fault.", c->fails);
	text_counter(f, "mvm_api_deprecated", NULL, "Requests that used something deprecated.",
		c->deprecated);
	put_latencies(f, "mvm_api_latency_seconds", "The last one, from the request to the answer.",
		c->latency_us);
	put_latencies(f, "mvm_api_machine_latency_seconds",
		"The last one, its part in the machine.", c->vmm_latency_us);
}

/* --- the machine --- */

static void put_state(FILE *f, const struct instance *in)
{
	static const enum instance_state states[] = { INSTANCE_NOT_STARTED, INSTANCE_RUNNING,
		INSTANCE_PAUSED, INSTANCE_ENDED };

	text_family(f, "mvm_state", "stateset", NULL, "Where the machine is in its life.");
	for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
		(void)fputs("mvm_state{mvm_state=", f);
		text_value(f, instance_state_name(states[i]));
		text_end(f, in->state == states[i]);
	}
}

static uint64_t reached_us(const struct timeline *t, enum timeline_point point)
{
	return atomic_load_explicit(&t->us[point], memory_order_relaxed);
}

/* Points of the cold start, from the first one on, and the spans between them; what was not reached
 * is not there. */
static void put_timeline(FILE *f, const struct timeline *t)
{
	static const struct {
		enum timeline_point from, to;
		const char *name;
	} spans[] = {
		{ TIMELINE_PROCESS, TIMELINE_MAIN, "exec" },
		{ TIMELINE_MAIN, TIMELINE_ASKED, "ask" },
		{ TIMELINE_ASKED, TIMELINE_BUILT, "build" },
		{ TIMELINE_BUILT, TIMELINE_ENTERED, "start" },
		{ TIMELINE_ENTERED, TIMELINE_EXITED, "first_exit" },
		{ TIMELINE_ENTERED, TIMELINE_KERNEL, "loader" },
		{ TIMELINE_KERNEL, TIMELINE_MARK, "kernel" },
		{ TIMELINE_ENTERED, TIMELINE_ENDED, "life" },
	};
	static const char *const points[TIMELINE_POINTS] = {
		[TIMELINE_PROCESS] = "process",
		[TIMELINE_MAIN] = "main",
		[TIMELINE_ASKED] = "asked",
		[TIMELINE_BUILT] = "built",
		[TIMELINE_ENTERED] = "entered",
		[TIMELINE_EXITED] = "exited",
		[TIMELINE_KERNEL] = "kernel",
		[TIMELINE_MARK] = "mark",
		[TIMELINE_ENDED] = "ended",
	};
	uint64_t first = reached_us(t, TIMELINE_PROCESS);

	text_family(f, "mvm_timeline_seconds", "gauge", "seconds",
		"Points of the cold start, since the start of the process.");
	for (unsigned i = 0; i < TIMELINE_POINTS; i++) {
		uint64_t us = reached_us(t, (enum timeline_point)i);

		if (first == 0 || us < first)
			continue;
		(void)fprintf(f, "mvm_timeline_seconds{point=\"%s\"", points[i]);
		text_end_seconds(f, us - first);
	}
	text_family(f, "mvm_span_seconds", "gauge", "seconds", "Spans of the cold start.");
	for (unsigned i = 0; i < ARRAY_SIZE(spans); i++) {
		uint64_t from = reached_us(t, spans[i].from), to = reached_us(t, spans[i].to);

		if (from == 0 || to < from)
			continue;
		(void)fprintf(f, "mvm_span_seconds{span=\"%s\"", spans[i].name);
		text_end_seconds(f, to - from);
	}
}

static void put_console(FILE *f, struct console *c)
{
	text_counter(f, "mvm_console_output_bytes", "bytes", "Written by the guest.",
		console_output_bytes(c));
	text_counter(f, "mvm_console_dropped_bytes", "bytes",
		"Lost because the reader was too slow or gone.", console_dropped(c));
	text_counter(f, "mvm_console_limited_bytes", "bytes", "Lost because of the limit.",
		console_limited(c));
	text_counter(f, "mvm_console_dropped_keys", NULL,
		"Typed bytes that were lost because the guest does not read.",
		console_keys_dropped(c));
}

static void put_board(FILE *f, struct machine *m)
{
	struct serial_counters serial = { 0 };
	struct i8042_counters i8042 = { 0 };

	serial_get_counters(&m->serial, &serial);
	i8042_get_counters(&m->i8042, &i8042);
	text_counter(f, "mvm_serial_read_bytes", "bytes", "Taken by the guest.", serial.reads);
	text_counter(f, "mvm_serial_written_bytes", "bytes", "Sent by the guest.", serial.writes);
	text_counter(f, "mvm_serial_missed_reads", NULL,
		"Looks at the receiver while it was empty.", serial.missed_reads);
	text_counter(f, "mvm_serial_missed_writes", NULL, "Writes that went nowhere.",
		serial.missed_writes);
	text_counter(f, "mvm_serial_errors", NULL, "Bytes that came while the receiver was full.",
		serial.errors);
	text_counter(f, "mvm_i8042_reads", NULL, "Reads of its registers.", i8042.reads);
	text_counter(f, "mvm_i8042_writes", NULL, "Writes to its registers.", i8042.writes);
	text_counter(f, "mvm_i8042_resets", NULL, "Resets that the guest asked for there.",
		i8042.resets);
	text_counter(f, "mvm_i8042_missed_reads", NULL, "Reads of data that was not there.",
		i8042.missed_reads);
	text_counter(f, "mvm_i8042_missed_writes", NULL, "Bytes for the guest that had no room.",
		i8042.missed_writes);
	text_counter(f, "mvm_i8042_errors", NULL, "Commands that do not exist.", i8042.errors);
}

static void put_machine(FILE *f, const struct instance *in)
{
	put_state(f, in);
	put_timeline(f, &in->timeline);
	text_counter(f, "mvm_events", NULL, "Events so far; the number of the last one.",
		in->events.next > 0 ? in->events.next - 1 : 0);
	if (in->console)
		put_console(f, in->console);
	if (!in->vm)
		return;
	text_gauge(f, "mvm_vcpus", NULL, "vCPUs of the machine.", in->vm->cfg.cpus);
	text_gauge(f, "mvm_guest_memory_bytes", "bytes", "Memory of the machine.",
		in->vm->cfg.mem_size);
	put_board(f, &in->vm->machine);
	text_vcpus(f, in->vm);
	text_devices(f, in->vm);
}

char *metrics_text(struct metrics *m, size_t *ret_len)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool is_whole;

	if (!f)
		return NULL;
	put_info(f, m->from.instance);
	put_process(f);
	put_log(f, m);
	if (m->from.server)
		put_server(f, m->from.server);
	put_api(f, m->from.api);
	put_machine(f, m->from.instance);
	if (m->from.snapshots)
		text_snapshots(f, m->from.snapshots, &m->from.api->saves);
	(void)fputs("# EOF\n", f);
	is_whole = !ferror(f);
	if (fclose(f) != 0 || !is_whole) {
		free(text);
		return NULL;
	}
	*ret_len = len;
	return text;
}
