/* The counters of a run, as a file of JSON. */
#include "cmd_run_counters.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/io.h"
#include "t.h"
#include "t_metrics.h"

TestSuite(cmd_run_counters, .timeout = T_SECONDS);

enum { TEXT_MAX = 64 * 1024 };

/* What was written to t->path, which is one line. */
static json_t *written(const struct t_metrics *t)
{
	static char text[TEXT_MAX];
	json_error_t error;
	json_t *all;

	t_true(io_read_text(t->path, text, sizeof(text)) > 0);
	t_true(strchr(text, '\n') == text + strlen(text) - 1);
	all = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	cr_assert(ne(ptr, all, NULL), "%s", error.text);
	return all;
}

Test(cmd_run_counters, each_device_has_all_its_counters)
{
	static struct t_metrics t;
	struct virtio_counters *c = &t.dev[T_DATA].counters;
	const struct {
		_Atomic uint64_t *counter;
		const char *where;
	} rows[] = {
		{ &c->requests[COUNT_READ], "data.read.requests" },
		{ &c->bytes[COUNT_READ], "data.read.bytes" },
		{ &c->requests[COUNT_WRITE], "data.write.requests" },
		{ &c->bytes[COUNT_WRITE], "data.write.bytes" },
		{ &c->requests[COUNT_FLUSH], "data.flush.requests" },
		{ &c->bytes[COUNT_FLUSH], "data.flush.bytes" },
		{ &c->requests[COUNT_DISCARD], "data.discard.requests" },
		{ &c->bytes[COUNT_DISCARD], "data.discard.bytes" },
		{ &c->requests[COUNT_OTHER], "data.other.requests" },
		{ &c->bytes[COUNT_OTHER], "data.other.bytes" },
		{ &c->errors, "data.errors" },
		{ &c->dropped, "data.dropped" },
		{ &c->throttled, "data.throttled" },
		{ &c->kicks, "data.kicks" },
		{ &c->interrupts, "data.interrupts" },
		{ &c->rule_breaks, "data.rule_breaks" },
		{ &t.dev[T_NET].counters.dropped, "eth0.dropped" },
	};
	json_t *all;

	t_metrics_init(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		*rows[i].counter = 1000 + i;
	t_int(cmd_run_write_counters(&t.vm->devices, t.path), 0);
	all = written(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		t_row_int(rows[i].where, t_metrics_number(all, rows[i].where), 1000 + i);
	t_uint(json_object_size(all), T_METRICS_DEVICES);
	t_int(t_metrics_number(all, "root.read.requests"), 0);
	json_decref(all);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

Test(cmd_run_counters, disks_and_only_they_have_latencies)
{
	static struct t_metrics t;
	struct histogram *h = &t.dev[T_ROOT].counters.latency;
	json_t *all, *buckets;

	t_metrics_init(&t);
	for (unsigned i = 0; i < 99; i++)
		histogram_add(h, 3000);
	histogram_add(h, 1000000);
	t_int(cmd_run_write_counters(&t.vm->devices, t.path), 0);
	all = written(&t);
	t_int(t_metrics_number(all, "root.latency_us.p50"), 4);
	t_int(t_metrics_number(all, "root.latency_us.p90"), 4);
	t_int(t_metrics_number(all, "root.latency_us.p99"), 4);
	t_int(t_metrics_number(all, "root.latency_us.max"), 1024);
	t_int(t_metrics_number(all, "root.latency_us.sum"), 99 * 3 + 1000);
	buckets = json_object_get(
		json_object_get(json_object_get(all, "root"), "latency_us"), "buckets");
	t_uint(json_array_size(buckets), HISTOGRAM_BUCKETS);
	t_int(json_integer_value(json_array_get(buckets, 2)), 99);
	t_int(json_integer_value(json_array_get(buckets, 10)), 1);
	t_true(!json_object_get(json_object_get(all, "eth0"), "latency_us"));
	json_decref(all);
	t_metrics_fini(&t);
}

Test(cmd_run_counters, a_machine_without_devices_has_an_empty_object)
{
	static struct t_metrics t;
	json_t *all;

	t_metrics_init(&t);
	t.vm->devices.n = 0;
	t_int(cmd_run_write_counters(&t.vm->devices, t.path), 0);
	all = written(&t);
	t_uint(json_object_size(all), 0);
	json_decref(all);
	t_metrics_fini(&t);
}

Test(cmd_run_counters, the_file_is_written_anew)
{
	static struct t_metrics t;
	int fd;

	t_metrics_init(&t);
	fd = open(t.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (unsigned i = 0; i < 1000; i++)
		t_int(write(fd, "old line\n", 9), 9);
	(void)close(fd);
	t_int(cmd_run_write_counters(&t.vm->devices, t.path), 0);
	json_decref(written(&t));
	t_metrics_fini(&t);
}

Test(cmd_run_counters, what_cannot_be_written_is_an_error)
{
	static struct t_metrics t;
	unsigned fds;

	t_metrics_init(&t);
	fds = t_count_fds();
	t_int(cmd_run_write_counters(&t.vm->devices, "/tmp"), -EISDIR);
	t_int(cmd_run_write_counters(&t.vm->devices, "/nowhere/counters"), -ENOENT);
	t_true(cmd_run_write_counters(&t.vm->devices, "/dev/full") < 0);
	t_uint(t_count_fds(), fds);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}
