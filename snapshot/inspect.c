/* What of a state file can be trusted, and how its values are called (inspect.h). */
#include "snapshot/inspect.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot/decode.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

#define NS_PER_S UINT64_C(1000000000)

/* --- looking --- */

static void add_problem(struct inspection *v, const struct err *e)
{
	if (v->nproblems < INSPECT_PROBLEMS_MAX)
		v->problem[v->nproblems++] = *e;
}

static void look_at_sections(struct inspection *v)
{
	struct err e;

	for (unsigned i = 0; i < v->sections.n; i++) {
		v->is_intact[i] = section_is_intact(&v->sections.section[i]);
		if (decode_check_section(&v->sections, i, &e) < 0)
			add_problem(v, &e);
	}
}

/* Only sections that are whole, and of a version that is known; of two with the same name, none. */
static void forget_the_bad(const struct inspection *v, struct section_list *ret)
{
	struct err e;

	ret->n = 0;
	for (unsigned i = 0; i < v->sections.n; i++) {
		const struct section *s = &v->sections.section[i];
		struct section *before = (struct section *)decode_find(ret, s->type, s->instance);

		if (decode_check_section(&v->sections, i, &e) == 0)
			ret->section[ret->n++] = *s;
		else if (before)
			before->type = 0;
	}
}

static void decode_one(
	struct inspection *v, const struct section_list *good, unsigned kind, uint32_t instance)
{
	const struct section_kind *k = &section_kinds[kind];
	struct err e;
	int rc;

	if (k->type == FORMAT_MACHINE && v->s->vm->cpus == 0)
		return; /* there is no room for it, and why was said */
	rc = decode_section(good, k, instance, v->s, &e);
	if (rc > 0)
		v->known[kind] |= 1ULL << instance;
	/* What is there and bad was said already, and so was that the file breaks off. */
	else if (rc < 0 &&
		 (decode_find(good, k->type, instance) ||
			 (!v->breaks_off && !decode_find(&v->sections, k->type, instance))))
		add_problem(v, &e);
}

static void look_inside(struct inspection *v)
{
	struct section_list good UNINITIALIZED;
	struct err e;

	forget_the_bad(v, &good);
	if (decode_make_room(&good, &v->s, &e) < 0) {
		if ((!v->breaks_off && !decode_find(&v->sections, FORMAT_MACHINE, 0)) ||
			decode_find(&good, FORMAT_MACHINE, 0))
			add_problem(v, &e);
		/* The rest of it can be read all the same. */
		v->s = snapshot_new(1);
		if (!v->s)
			return;
		v->s->vm->cpus = 0;
	}
	for (unsigned k = 0; k < section_kinds_count; k++) {
		unsigned n = section_kinds[k].count(v->s);

		for (unsigned i = 0; i < n; i++)
			decode_one(v, &good, k, i);
	}
	for (unsigned i = 0; i < good.n; i++) {
		if (v->s->vm->cpus > 0 && decode_check_instance(&good, i, v->s, &e) < 0)
			add_problem(v, &e);
	}
	if (v->nproblems == 0 && state_check(v->s, &e) < 0)
		add_problem(v, &e);
}

struct inspection *inspection_new(const char *path, const uint8_t *data, size_t len)
{
	struct inspection *v = calloc(1, sizeof(*v));
	struct err e;

	INVARIANT(section_kinds_count <= INSPECT_KINDS_MAX);
	if (!v)
		return NULL;
	v->path = path;
	v->len = len;
	if (section_read_header(data, len, &v->header, &e) < 0) {
		add_problem(v, &e);
		return v;
	}
	v->has_header = true;
	if (section_list_all(data, len, &v->header, &v->sections, &e) < 0)
		add_problem(v, &e);
	v->breaks_off = v->sections.n < v->header.sections;
	if (decode_check_header(&v->header, &e) < 0) {
		/* What another version says of its sections is for those who know it. */
		add_problem(v, &e);
		for (unsigned i = 0; i < v->sections.n; i++)
			v->is_intact[i] = section_is_intact(&v->sections.section[i]);
		return v;
	}
	look_at_sections(v);
	look_inside(v);
	return v;
}

void inspection_free(struct inspection *v)
{
	if (!v)
		return;
	snapshot_free(v->s);
	free(v);
}

bool inspection_knows(const struct inspection *v, uint32_t type, uint32_t instance)
{
	for (unsigned k = 0; k < section_kinds_count; k++) {
		if (section_kinds[k].type == type)
			return instance < 64 && (v->known[k] >> instance & 1) != 0;
	}
	return false;
}

/* --- how values are called --- */

const char *inspect_printable(const char *text, char buf[INSPECT_TEXT_MAX])
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	for (; *text && at + 5 <= INSPECT_TEXT_MAX; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= ' ' && c <= '~') {
			buf[at++] = (char)c;
			continue;
		}
		buf[at++] = '\\';
		buf[at++] = 'x';
		buf[at++] = digits[c >> 4];
		buf[at++] = digits[c & 15];
	}
	buf[at] = '\0';
	return buf;
}

const char *inspect_time(uint64_t seconds, char buf[INSPECT_TIME_MAX])
{
	time_t t = (time_t)MIN(seconds, UINT64_MAX / NS_PER_S);
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(buf, INSPECT_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(buf, INSPECT_TIME_MAX, "?");
	return buf;
}

const char *inspect_id(const uint8_t *id, char buf[INSPECT_ID_MAX])
{
	for (unsigned i = 0; i < SNAPSHOT_ID_LEN; i++)
		(void)snprintf(buf + 2 * (size_t)i, 3, "%02x", id[i]);
	return buf;
}

const char *inspect_pages(const struct snapshot *s)
{
	static const char *const names[] = { "host", "4k", "thp", "2m" };

	return (unsigned)s->vm->pages < ARRAY_SIZE(names) ? names[s->vm->pages] : "?";
}

const char *inspect_cpu_mode(const struct cpu_state *c)
{
	enum { CR0_PE = 1, EFER_LMA = 1 << 10 };

	if ((c->sregs.cr0 & CR0_PE) == 0)
		return "real";
	if ((c->sregs.efer & EFER_LMA) == 0)
		return "protected";
	return c->sregs.cs.l ? "64-bit" : "compatibility";
}

const char *inspect_mp_state(const struct cpu_state *c)
{
	static const char *const names[] = { "runnable", "uninitialized", "init-received", "halted",
		"sipi-received" };

	return c->mp_state.mp_state < ARRAY_SIZE(names) ? names[c->mp_state.mp_state] : "?";
}

const char *inspect_device_type(uint32_t type)
{
	switch (type) {
	case 1: return "net";
	case 2: return "block";
	default: return "?";
	}
}

const char *inspect_device_state(const struct virtio_state *v)
{
	enum { DRIVER_OK = 4, FAILED = 128 };

	if (v->needs_reset)
		return "needs reset";
	if ((v->status & FAILED) != 0)
		return "failed";
	if ((v->status & DRIVER_OK) != 0)
		return "driver ready";
	return v->status == 0 ? "no driver" : "driver begins";
}

const char *inspect_device_id(const struct inspection *v, unsigned i)
{
	const struct snapshot *s = v->s;

	if (i < s->ndrives)
		return inspection_knows(v, FORMAT_DRIVE, i) ? s->drive[i].id : NULL;
	i -= s->ndrives;
	return i < s->nnics && inspection_knows(v, FORMAT_NIC, i) ? s->nic[i].id : NULL;
}

uint64_t inspect_run_pages(const struct snapshot *s)
{
	uint64_t sum = 0;

	/* In a damaged file they may be anything; wrapping does no harm. */
	for (unsigned i = 0; i < s->nruns; i++)
		sum += s->run[i].count;
	return sum;
}
