/* Steps of reading a state file (decode.h). */
#include "snapshot/decode.h"

#include <errno.h>
#include <inttypes.h>

#include "base/err.h"
#include "snapshot/section.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

int decode_check_header(const struct file_header *h, struct err *e)
{
	if (h->major != FORMAT_MAJOR)
		return err_set(e, -EPROTONOSUPPORT,
			"header: format version %u.%u; this mvm reads %d.x", (unsigned)h->major,
			(unsigned)h->minor, FORMAT_MAJOR);
	if (h->machine != FORMAT_ELF_MACHINE)
		return err_set(e, -EPROTONOSUPPORT,
			"header: of a machine of another architecture (ELF machine %u, not %d)",
			(unsigned)h->machine, FORMAT_ELF_MACHINE);
	return 0;
}

static int check_known(const struct section *s, const char *label, struct err *e)
{
	const struct section_kind *kind = section_kind_find(s->type);
	bool is_needed;

	if ((s->flags & ~FORMAT_FLAGS) != 0)
		return err_set(e, -EPROTONOSUPPORT, "%s: flags 0x%x, which this mvm does not know",
			label, (unsigned)s->flags);
	is_needed = (s->flags & FORMAT_CRITICAL) != 0 || (kind && kind->flags & FORMAT_CRITICAL);
	if (!kind && is_needed)
		return err_set(e, -EPROTONOSUPPORT,
			"%s: this mvm does not know it, and the machine needs it", label);
	if (s->version == 0)
		return err_set(e, -EBADMSG, "%s: its version is 0", label);
	if (kind && is_needed && s->version > kind->version)
		return err_set(e, -EPROTONOSUPPORT, "%s: version %u; this mvm knows %u", label,
			(unsigned)s->version, (unsigned)kind->version);
	return 0;
}

int decode_check_section(const struct section_list *l, unsigned i, struct err *e)
{
	const struct section *s = &l->section[i];
	char label[SECTION_LABEL_MAX];

	(void)section_label(s->type, s->instance, label);
	if (!section_is_intact(s))
		return err_set(e, -EBADMSG, "%s: damaged: wrong checksum", label);
	for (unsigned k = 0; k < i; k++) {
		if (l->section[k].type == s->type && l->section[k].instance == s->instance)
			return err_set(e, -EBADMSG, "%s: it is there twice", label);
	}
	return check_known(s, label, e);
}

const struct section *decode_find(const struct section_list *l, uint32_t type, uint32_t instance)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (l->section[i].type == type && l->section[i].instance == instance)
			return &l->section[i];
	}
	return NULL;
}

int decode_make_room(const struct section_list *l, struct snapshot **ret, struct err *e)
{
	const struct section *s = decode_find(l, FORMAT_MACHINE, 0);
	struct snapshot *made;
	unsigned cpus = 0;
	struct wire w;

	if (!s)
		return err_set(e, -EBADMSG, "section MACH: it is missing");
	wire_init_reader(&w, s->payload, (size_t)s->len);
	wire_count(&w, &cpus, CONFIG_CPUS_MAX);
	if (w.error != 0 || cpus == 0)
		return err_set(e, -EBADMSG, "section MACH: the number of vCPUs is not 1 to %d",
			CONFIG_CPUS_MAX);
	made = snapshot_new(cpus);
	if (!made)
		return err_sys(e, -ENOMEM, NULL, "cannot read a snapshot of %u vCPUs", cpus);
	*ret = made;
	return 0;
}

/* The story of a visitor that failed. */
static int explain(const struct wire *w, int rc, const char *label, struct err *e)
{
	switch (rc) {
	case -ENOMEM: return err_sys(e, rc, NULL, "%s", label);
	case -ENODATA:
		return err_set(
			e, -EBADMSG, "%s: it ends too early, after %zu bytes", label, w->size);
	default:
		if (w->error == 0)
			return err_set(
				e, -EBADMSG, "%s: %zu bytes are left over", label, w->size - w->at);
		return err_set(
			e, -EBADMSG, "%s: a value that cannot be, before byte %zu", label, w->at);
	}
}

int decode_section(const struct section_list *l, const struct section_kind *kind, uint32_t instance,
	struct snapshot *s, struct err *e)
{
	const struct section *at = decode_find(l, kind->type, instance);
	char label[SECTION_LABEL_MAX];
	struct wire w;
	int rc;

	(void)section_label(kind->type, instance, label);
	if (!at && (kind->flags & FORMAT_CRITICAL) != 0)
		return err_set(e, -EBADMSG, "%s: it is missing", label);
	if (!at || at->version > kind->version)
		return 0;
	wire_init_reader(&w, at->payload, (size_t)at->len);
	kind->visit(&w, s, instance);
	rc = wire_finish(&w);
	return rc < 0 ? explain(&w, rc, label, e) : 1;
}

int decode_check_instance(
	const struct section_list *l, unsigned i, const struct snapshot *s, struct err *e)
{
	const struct section *at = &l->section[i];
	const struct section_kind *kind = section_kind_find(at->type);
	char label[SECTION_LABEL_MAX];

	if (!kind || at->instance < kind->count(s))
		return 0;
	return err_set(e, -EBADMSG, "%s: the machine has %u of these",
		section_label(at->type, at->instance, label), kind->count(s));
}
