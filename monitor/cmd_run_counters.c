/* The devices' counters as JSON (cmd_run_counters.h). */
#include "cmd_run_counters.h"

#include <errno.h>
#include <jansson.h>

#include "devices.h"

static json_t *integer(const _Atomic uint64_t *counter)
{
	return json_integer((json_int_t)count_get(counter));
}

static json_t *latency(const struct histogram *h)
{
	static const struct {
		const char *name;
		unsigned per_mille;
	} quantiles[] = { { "p50", 500 }, { "p90", 900 }, { "p99", 990 }, { "max", 1000 } };
	json_t *object = json_object(), *buckets = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(quantiles); i++)
		json_object_set_new(object, quantiles[i].name,
			json_integer((json_int_t)histogram_quantile_us(h, quantiles[i].per_mille)));
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		json_array_append_new(buckets, integer(&h->bucket[i]));
	json_object_set_new(object, "sum", integer(&h->sum_us));
	json_object_set_new(object, "buckets", buckets);
	return object;
}

static json_t *device(const struct virtio_counters *c, bool is_disk)
{
	static const char *const kinds[COUNT_KINDS] = { "read", "write", "flush", "discard",
		"other" };
	json_t *object = json_object();

	for (unsigned i = 0; i < COUNT_KINDS; i++) {
		json_t *kind = json_object();

		json_object_set_new(kind, "requests", integer(&c->requests[i]));
		json_object_set_new(kind, "bytes", integer(&c->bytes[i]));
		json_object_set_new(object, kinds[i], kind);
	}
	json_object_set_new(object, "errors", integer(&c->errors));
	json_object_set_new(object, "dropped", integer(&c->dropped));
	json_object_set_new(object, "throttled", integer(&c->throttled));
	json_object_set_new(object, "kicks", integer(&c->kicks));
	json_object_set_new(object, "interrupts", integer(&c->interrupts));
	json_object_set_new(object, "rule_breaks", integer(&c->rule_breaks));
	if (is_disk)
		json_object_set_new(object, "latency_us", latency(&c->latency));
	return object;
}

int cmd_run_write_counters(const struct devices *d, const char *path)
{
	json_t *all = json_object();
	FILE *out = fopen(path, "we");
	int rc = out ? 0 : -errno;

	for (unsigned i = 0; i < d->n; i++)
		json_object_set_new(
			all, d->slot[i].id, device(&d->slot[i].dev->counters, d->slot[i].is_disk));
	/* Each step only if the one before it went well, and the file is closed in any case. */
	if (out && (json_dumpf(all, out, JSON_COMPACT) < 0 || fputc('\n', out) == EOF))
		rc = -EIO;
	if (out && fclose(out) != 0 && rc == 0)
		rc = -errno;
	json_decref(all);
	return rc;
}
