/* One line of metrics for a file (metrics.h); its keys are in metrics_keys.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/metrics_keys.h"
#include "api/metrics_private.h"
#include "base/cleanup.h"
#include "base/log.h"

enum { KEY_MAX = 128 };

/* A line being made. */
struct maker {
	const struct metrics *m;
	struct metrics_values *now;
	json_t *line;
	bool is_broken; /* no memory somewhere */
};

/* --- reading --- */

static uint64_t load(const void *from, size_t at)
{
	/* A device's counters are written by other threads; for the rest it does no harm. */
	return __atomic_load_n(
		(const uint64_t *)(const void *)((const char *)from + at), __ATOMIC_RELAXED);
}

static unsigned slots_of(enum metrics_kind kind)
{
	return kind >= METRICS_AGG_NOTHING ? METRICS_AGG_SLOTS : 1;
}

static struct tally_us read_agg(
	const struct maker *k, const struct metrics_field *f, const void *from)
{
	const void *at = (const char *)from + f->at;
	const struct vm *vm = k->m->from.instance->vm;

	if (f->kind == METRICS_AGG_US)
		return *(const struct tally_us *)at;
	if (f->kind == METRICS_AGG_NS)
		return tally_read(at, NULL);
	if (f->kind == METRICS_AGG_TICKS && vm)
		return tally_read(at, &vm->clock);
	return (struct tally_us){ 0 };
}

/* All numbers of a group as they are. */
static void read_group(const struct maker *k, const struct metrics_group *g, const void *from,
	uint64_t now[METRICS_SLOTS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->nfields; i++) {
		const struct metrics_field *f = &g->field[i];

		INVARIANT(n + slots_of(f->kind) <= METRICS_SLOTS);
		if (f->kind == METRICS_DELTA || f->kind == METRICS_STORE) {
			now[n] = load(from, f->at);
		} else if (f->kind != METRICS_NOTHING) {
			struct tally_us t = read_agg(k, f, from);

			now[n] = t.min_us;
			now[n + 1] = t.max_us;
			now[n + 2] = t.sum_us;
		}
		n += slots_of(f->kind);
	}
}

/* A counter that went back is another machine's: nothing was added. */
static uint64_t delta(uint64_t now, uint64_t last)
{
	return now > last ? now - last : 0;
}

/* What the line says: deltas of what is one. */
static void subtract(const struct metrics_group *g, const uint64_t now[METRICS_SLOTS],
	const uint64_t last[METRICS_SLOTS], uint64_t value[METRICS_SLOTS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->nfields; i++) {
		enum metrics_kind kind = g->field[i].kind;
		unsigned sum = n + slots_of(kind) - 1;

		for (; n < sum; n++)
			value[n] = now[n];
		value[n] = kind == METRICS_STORE ? now[n] : delta(now[n], last[n]);
		n++;
	}
}

/* Adds what a device did to what all of its kind did; they have no common minimum or maximum. */
static void add_up(const struct metrics_group *g, const uint64_t value[METRICS_SLOTS],
	uint64_t all[METRICS_SLOTS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->nfields; i++) {
		n += slots_of(g->field[i].kind);
		all[n - 1] += value[n - 1];
	}
}

/* --- writing --- */

/* Takes value. */
static void put(struct maker *k, json_t *to, const char *name, json_t *value)
{
	if (json_object_set_new(to, name, value) < 0)
		k->is_broken = true;
}

static void put_number(struct maker *k, json_t *to, const char *name, uint64_t n)
{
	put(k, to, name, json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX)));
}

static void put_group(struct maker *k, const char *name, const struct metrics_group *g,
	const uint64_t value[METRICS_SLOTS])
{
	json_t *group = json_object(), *agg;

	for (unsigned i = 0, n = 0; i < g->nfields; i++) {
		const struct metrics_field *f = &g->field[i];

		if (slots_of(f->kind) == 1) {
			put_number(k, group, f->name, value[n]);
		} else {
			agg = json_object();
			put_number(k, agg, "min_us", value[n]);
			put_number(k, agg, "max_us", value[n + 1]);
			put_number(k, agg, "sum_us", value[n + 2]);
			put(k, group, f->name, agg);
		}
		n += slots_of(f->kind);
	}
	put(k, k->line, name, group);
}

/* --- the parts of a line --- */

static void fill_view(const struct metrics *m, struct metrics_view *v)
{
	const struct instance *in = m->from.instance;

	memset(v, 0, sizeof(*v));
	v->api = *m->from.api;
	v->startup_us = m->startup_us;
	v->startup_cpu_us = m->startup_cpu_us;
	v->sighup = m->sighup;
	v->sigxcpu = m->sigxcpu;
	v->lines_missed = m->missed;
	v->lines_failed = m->fails;
	v->log_missed = log_missed();
	v->log_limited = log_limited();
	if (in->console)
		v->console_limited = console_limited(in->console);
	if (!in->vm)
		return;
	vm_vcpu_counters(in->vm, &v->vcpus);
	serial_get_counters(&in->vm->machine.serial, &v->serial);
	i8042_get_counters(&in->vm->machine.i8042, &v->i8042);
	for (unsigned i = 0; i < in->vm->devices.n; i++) {
		const struct virtio_counters *c = &in->vm->devices.slot[i].dev->counters;

		v->interrupts += count_get(&c->interrupts);
		v->config_changes += count_get(&c->config_changes);
	}
}

static void put_groups(struct maker *k)
{
	struct metrics_view view;
	uint64_t value[METRICS_SLOTS] = { 0 };

	fill_view(k->m, &view);
	for (unsigned i = 0; metrics_groups[i].name; i++) {
		const struct metrics_group *g = &metrics_groups[i];

		INVARIANT(i < METRICS_GROUPS_MAX);
		read_group(k, g, &view, k->now->group[i]);
		subtract(g, k->now->group[i], k->m->last.group[i], value);
		put_group(k, g->name, g, value);
	}
}

static void put_devices(struct maker *k, const struct metrics_group *g, bool are_disks)
{
	const struct vm *vm = k->m->from.instance->vm;
	uint64_t all[METRICS_SLOTS] = { 0 }, value[METRICS_SLOTS] = { 0 };
	char name[KEY_MAX];

	for (unsigned i = 0; vm && i < vm->devices.n; i++) {
		const struct device_slot *slot = &vm->devices.slot[i];

		if (slot->is_disk != are_disks)
			continue;
		read_group(k, g, &slot->dev->counters, k->now->device[i]);
		subtract(g, k->now->device[i], k->m->last.device[i], value);
		add_up(g, value, all);
		(void)snprintf(name, sizeof(name), "%s_%s", g->name, slot->id);
		put_group(k, name, g, value);
	}
	put_group(k, g->name, g, all);
}

static void put_head(struct maker *k)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	put_number(k, k->line, "utc_timestamp_ms",
		(uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
	if (k->m->emit_id)
		put(k, k->line, "id", json_string(k->m->from.instance->cfg.id));
	if (k->m->properties)
		put(k, k->line, "properties", json_incref(k->m->properties));
}

char *metrics_make_line(struct metrics *m, struct metrics_values *ret_now, size_t *ret_len)
{
	struct maker k = { .m = m, .now = ret_now, .line = json_object() };
	size_t len;
	char *text = NULL;

	put_head(&k);
	put_groups(&k);
	put_devices(&k, &metrics_block, true);
	put_devices(&k, &metrics_net, false);
	len = k.is_broken ? 0 : json_dumpb(k.line, NULL, 0, JSON_COMPACT);
	if (len > 0)
		text = malloc(len + 2);
	/* As long as it was a moment ago, because nothing has changed; or there is no memory. */
	if (text && json_dumpb(k.line, text, len, JSON_COMPACT) == len) {
		text[len] = '\n';
		text[len + 1] = '\0';
		*ret_len = len + 1;
	} else {
		free(ptr_take(text));
	}
	json_decref(k.line);
	return text;
}
