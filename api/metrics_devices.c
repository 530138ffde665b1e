/* OpenMetrics of disks, network cards and vCPUs (metrics_private.h). */
#include <inttypes.h>

#include "api/metrics_private.h"

/* A family of counters with one sample for each device that has it. */
struct device_family {
	const char *name, *help;
	size_t at; /* in struct virtio_counters */
};

#define AT(member) offsetof(struct virtio_counters, member)

static const struct device_family device_families[] = {
	{ "mvm_device_errors", "Requests that failed, frames that were refused.", AT(errors) },
	{ "mvm_device_unsupported", "Requests for what the device does not do.", AT(unsupported) },
	{ "mvm_device_dropped", "Frames that nobody had room for.", AT(dropped) },
	{ "mvm_device_interrupts", "Interrupts sent to the guest.", AT(interrupts) },
	{ "mvm_device_config_changes", "Changes that the driver was told of.", AT(config_changes) },
	{ "mvm_device_updates", "Changes by the host's user while the guest ran.", AT(updates) },
	{ "mvm_device_update_failures", "Such changes that failed.", AT(update_fails) },
	{ "mvm_device_malformed", "Frames that were not sent because of their header.",
		AT(malformed) },
	{ "mvm_device_spoofed", "Frames sent from another address than the card's.", AT(spoofed) },
	{ "mvm_device_rule_breaks", "Rules of virtio that the driver broke.", AT(rule_breaks) },
	{ "mvm_device_activate_failures", "Drivers that were refused.", AT(activate_fails) },
	{ "mvm_device_config_failures", "Accesses to what is no configuration.", AT(config_fails) },
};

#define WAY(member) offsetof(struct way_counters, member)

/* With one sample for each queue; at is in struct way_counters. */
static const struct device_family queue_families[] = {
	{ "mvm_queue_kicks", "Notifications of the driver.", WAY(kicks) },
	{ "mvm_queue_empty", "Looks at the queue that found nothing in it.", WAY(no_buffer) },
	{ "mvm_queue_left", "Times that a share of time ended before the queue did.", WAY(left) },
	{ "mvm_queue_throttled", "Times that a rate limiter held something back.", WAY(throttled) },
	{ "mvm_queue_limiter_events", "Times that a rate limiter let go.", WAY(limiter_events) },
	{ "mvm_queue_failures", "Requests and frames that came to nothing.", WAY(fails) },
	{ "mvm_queue_backend_events", "Times that the host's side said that it is ready.",
		WAY(backend_events) },
	{ "mvm_queue_backend_failures", "Calls on the host's side that failed.",
		WAY(backend_fails) },
};

static const char *const ops[COUNT_KINDS] = { "read", "write", "flush", "discard", "other" };

static uint64_t load(const void *from, size_t at)
{
	return __atomic_load_n(
		(const uint64_t *)(const void *)((const char *)from + at), __ATOMIC_RELAXED);
}

/* A disk has one queue, a network card one for each way (counters.h). */
static unsigned queues_of(const struct device_slot *slot)
{
	return slot->is_disk ? 1 : COUNT_WAYS;
}

static const char *queue_name(const struct device_slot *slot, unsigned way)
{
	if (slot->is_disk)
		return "requests";
	return way == COUNT_READ ? "rx" : "tx";
}

/* name, suffix and the labels of a device; more labels may follow, and then text_end(). */
static void begin(FILE *f, const char *name, const char *suffix, const struct device_slot *slot)
{
	(void)fprintf(f, "%s%s{device=", name, suffix);
	text_value(f, slot->id);
	(void)fprintf(f, ",kind=\"%s\"", slot->is_disk ? "disk" : "net");
}

static void put_counters(FILE *f, const struct devices *d)
{
	for (unsigned i = 0; i < ARRAY_SIZE(device_families); i++) {
		const struct device_family *family = &device_families[i];

		text_family(f, family->name, "counter", NULL, family->help);
		for (unsigned n = 0; n < d->n; n++) {
			begin(f, family->name, "_total", &d->slot[n]);
			text_end(f, load(&d->slot[n].dev->counters, family->at));
		}
	}
}

static void put_queues(FILE *f, const struct devices *d)
{
	for (unsigned i = 0; i < ARRAY_SIZE(queue_families); i++) {
		const struct device_family *family = &queue_families[i];

		text_family(f, family->name, "counter", NULL, family->help);
		for (unsigned n = 0; n < d->n; n++) {
			const struct device_slot *slot = &d->slot[n];

			for (unsigned way = 0; way < queues_of(slot); way++) {
				begin(f, family->name, "_total", slot);
				(void)fprintf(f, ",queue=\"%s\"", queue_name(slot, way));
				text_end(f, load(&slot->dev->counters.way[way], family->at));
			}
		}
	}
}

/* What is counted by kind of request: a network card has frames read and written only. */
static void put_kinds(FILE *f, const struct devices *d, const char *name, size_t at)
{
	for (unsigned n = 0; n < d->n; n++) {
		const struct device_slot *slot = &d->slot[n];
		unsigned kinds = slot->is_disk ? COUNT_KINDS : COUNT_WRITE + 1;

		for (unsigned kind = 0; kind < kinds; kind++) {
			begin(f, name, "_total", slot);
			(void)fprintf(f, ",op=\"%s\"", ops[kind]);
			text_end(f, load(&slot->dev->counters, at + kind * sizeof(uint64_t)));
		}
	}
}

/* --- how long it took --- */

static void put_histogram(FILE *f, const char *name, const struct device_slot *slot)
{
	const struct histogram *h = &slot->dev->counters.latency;
	uint64_t count = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		count += count_get(&h->bucket[i]);
		begin(f, name, "_bucket", slot);
		/* The last bucket has no upper end. */
		if (i == HISTOGRAM_BUCKETS - 1)
			(void)fputs(",le=\"+Inf\"", f);
		else
			(void)fprintf(f, ",le=\"%.9g\"", (double)(UINT64_C(1) << i) / 1e6);
		text_end(f, count);
	}
	begin(f, name, "_count", slot);
	text_end(f, count);
	begin(f, name, "_sum", slot);
	text_end_seconds(f, count_get(&h->sum_us));
}

static void put_latency(FILE *f, const struct devices *d)
{
	static const char name[] = "mvm_disk_latency_seconds";

	text_family(f, name, "histogram", "seconds",
		"Requests of all kinds, from the queue to the answer.");
	for (unsigned n = 0; n < d->n; n++) {
		if (d->slot[n].is_disk)
			put_histogram(f, name, &d->slot[n]);
	}
}

/* Of what are disks, or are not; of both ways, or of one. */
static void put_tallies(FILE *f, const struct devices *d, bool are_disks, unsigned from_way,
	const struct tick_clock *clock, const char *name)
{
	for (unsigned n = 0; n < d->n; n++) {
		const struct device_slot *slot = &d->slot[n];

		for (unsigned way = from_way; slot->is_disk == are_disks && way < COUNT_WAYS;
			way++) {
			struct tally_us t = tally_read(&slot->dev->counters.way[way].took, clock);

			begin(f, name, "_count", slot);
			(void)fprintf(f, ",op=\"%s\"", ops[way]);
			text_end(f, t.count);
			begin(f, name, "_sum", slot);
			(void)fprintf(f, ",op=\"%s\"", ops[way]);
			text_end_seconds(f, t.sum_us);
		}
	}
}

void text_devices(FILE *f, const struct vm *vm)
{
	const struct devices *d = &vm->devices;

	text_family(f, "mvm_device_requests", "counter", NULL,
		"Requests and frames that were served, from the guest's side.");
	put_kinds(f, d, "mvm_device_requests", AT(requests));
	text_family(f, "mvm_device_transferred_bytes", "counter", "bytes", "Their bytes.");
	put_kinds(f, d, "mvm_device_transferred_bytes", AT(bytes));
	put_counters(f, d);
	put_queues(f, d);
	put_latency(f, d);
	text_family(f, "mvm_disk_io_seconds", "summary", "seconds",
		"Reads and writes, from the queue to the answer.");
	put_tallies(f, d, true, COUNT_READ, NULL, "mvm_disk_io_seconds");
	text_family(
		f, "mvm_tap_write_seconds", "summary", "seconds", "Writes of frames to the tap.");
	put_tallies(f, d, false, COUNT_WRITE, &vm->clock, "mvm_tap_write_seconds");
}

/* --- vCPUs --- */

static void put_vcpu_counter(FILE *f, const char *name, const char *help,
	const struct vcpu_totals *all, unsigned n, size_t at)
{
	text_family(f, name, "counter", NULL, help);
	for (unsigned i = 0; i < n; i++) {
		(void)fprintf(f, "%s_total{vcpu=\"%u\"", name, i);
		text_end(f, load(&all[i], at));
	}
}

static void put_accesses(FILE *f, const struct vcpu_totals *all, unsigned n)
{
	static const char name[] = "mvm_vcpu_access_seconds";
	static const char *const names[VCPU_ACCESSES] = {
		[VCPU_IO_IN] = "io_in",
		[VCPU_IO_OUT] = "io_out",
		[VCPU_MMIO_READ] = "mmio_read",
		[VCPU_MMIO_WRITE] = "mmio_write",
	};

	text_family(f, name, "summary", "seconds",
		"Accesses to devices that left the guest, until the device was done.");
	for (unsigned i = 0; i < n; i++) {
		for (unsigned kind = 0; kind < VCPU_ACCESSES; kind++) {
			const struct tally_us *t = &all[i].access[kind];

			(void)fprintf(
				f, "%s_count{vcpu=\"%u\",access=\"%s\"", name, i, names[kind]);
			text_end(f, t->count);
			(void)fprintf(f, "%s_sum{vcpu=\"%u\",access=\"%s\"", name, i, names[kind]);
			text_end_seconds(f, t->sum_us);
		}
	}
}

void text_vcpus(FILE *f, const struct vm *vm)
{
	struct vcpu_totals all[CONFIG_CPUS_MAX] = { 0 };
	unsigned n = vm->cfg.cpus;

	for (unsigned i = 0; i < n; i++)
		vcpu_add_counters(&vm->vcpu[i], &vm->clock, &all[i]);
	put_vcpu_counter(f, "mvm_vcpu_exits", "Times that the vCPU left the guest.", all, n,
		offsetof(struct vcpu_totals, exits));
	put_vcpu_counter(f, "mvm_vcpu_failures", "Exits that ended the machine.", all, n,
		offsetof(struct vcpu_totals, failures));
	put_vcpu_counter(f, "mvm_vcpu_clock_failures",
		"Times that the guest's clock could not be told of a pause.", all, n,
		offsetof(struct vcpu_totals, kvmclock_ctrl_fails));
	put_accesses(f, all, n);
}
