/* The table of section types (visit.h). */
#include "snapshot/visit.h"

#include <inttypes.h>
#include <stdio.h>

#include "snapshot/format.h"
#include "snapshot/section.h"
#include "snapshot/snapshot.h"

static unsigned one(const struct snapshot *s)
{
	(void)s;
	return 1;
}

static unsigned cpus(const struct snapshot *s)
{
	return s->vm->cpus;
}

static unsigned drives(const struct snapshot *s)
{
	return s->ndrives;
}

static unsigned nics(const struct snapshot *s)
{
	return s->nnics;
}

static unsigned devices(const struct snapshot *s)
{
	return s->vm->ndevices;
}

static unsigned diffs(const struct snapshot *s)
{
	return s->kind == SNAPSHOT_DIFF ? 1 : 0;
}

const struct section_kind section_kinds[] = {
	{ FORMAT_SNAPSHOT, 1, FORMAT_CRITICAL, false, one, visit_snapshot },
	{ FORMAT_MACHINE, 1, FORMAT_CRITICAL, false, one, visit_machine },
	{ FORMAT_HOST, 1, 0, false, one, visit_host },
	{ FORMAT_BOOT, 1, FORMAT_CRITICAL, false, one, visit_boot },
	{ FORMAT_DRIVE, 1, FORMAT_CRITICAL, true, drives, visit_drive },
	{ FORMAT_NIC, 1, FORMAT_CRITICAL, true, nics, visit_nic },
	{ FORMAT_CPUID, 1, FORMAT_CRITICAL, false, one, visit_cpuid },
	{ FORMAT_VCPU, 1, FORMAT_CRITICAL, true, cpus, visit_vcpu },
	{ FORMAT_CHIPS, 1, FORMAT_CRITICAL, false, one, visit_chips },
	{ FORMAT_CLOCK, 1, FORMAT_CRITICAL, false, one, visit_clock },
	{ FORMAT_SERIAL, 1, FORMAT_CRITICAL, false, one, visit_serial },
	{ FORMAT_I8042, 1, FORMAT_CRITICAL, false, one, visit_i8042 },
	{ FORMAT_VIRTIO, 1, FORMAT_CRITICAL, true, devices, visit_virtio },
	{ FORMAT_RUNS, 1, FORMAT_CRITICAL, false, diffs, visit_runs },
};

const unsigned section_kinds_count = ARRAY_SIZE(section_kinds);

const struct section_kind *section_kind_find(uint32_t type)
{
	for (unsigned i = 0; i < ARRAY_SIZE(section_kinds); i++) {
		if (section_kinds[i].type == type)
			return &section_kinds[i];
	}
	return NULL;
}

const char *section_label(uint32_t type, uint32_t instance, char buf[SECTION_LABEL_MAX])
{
	const struct section_kind *kind = section_kind_find(type);
	char name[FORMAT_NAME_MAX];

	(void)section_name(type, name);
	if (kind && !kind->is_numbered && instance == 0)
		(void)snprintf(buf, SECTION_LABEL_MAX, "section %s", name);
	else
		(void)snprintf(buf, SECTION_LABEL_MAX, "section %s %" PRIu32, name, instance);
	return buf;
}
