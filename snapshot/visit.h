/*
 * What the sections of a state file have in them: one visitor for each type, which lists the fields
 * once for both directions (wire.h).  Order and widths are the format; format.h says how something
 * is added.
 *
 * A visitor refuses what would not fit into the structures: counts and enumerations.  What has to
 * hold beyond that is state_check()'s.  Texts other than ids may be any bytes but NUL, because
 * paths are; who shows them makes them fit to be shown.
 */
#ifndef MVM_SNAPSHOT_VISIT_H
#define MVM_SNAPSHOT_VISIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/wire.h"

struct err;
struct snapshot;

struct section_kind {
	uint32_t type;
	uint16_t version; /* the newest that the visitor knows */
	uint16_t flags;
	bool is_numbered; /* there may be several: messages say which */
	/* How many of it s must have, by its SNAP and MACH, which come first. */
	unsigned (*count)(const struct snapshot *s);
	void (*visit)(struct wire *w, struct snapshot *s, unsigned i);
};

/* In the order in which they are written and decoded. */
extern const struct section_kind section_kinds[];
extern const unsigned section_kinds_count;

/* NULL: a type that is not known. */
const struct section_kind *section_kind_find(uint32_t type);

enum { SECTION_LABEL_MAX = 32 };

/* "section VCPU 2", for messages.  Returns buf. */
const char *section_label(uint32_t type, uint32_t instance, char buf[SECTION_LABEL_MAX]);

void visit_snapshot(struct wire *w, struct snapshot *s, unsigned i);
void visit_host(struct wire *w, struct snapshot *s, unsigned i);
/* cpus is the first number, and s has room for as many already: another number is -EBADMSG. */
void visit_machine(struct wire *w, struct snapshot *s, unsigned i);
void visit_boot(struct wire *w, struct snapshot *s, unsigned i);
void visit_drive(struct wire *w, struct snapshot *s, unsigned i);
void visit_nic(struct wire *w, struct snapshot *s, unsigned i);
/* Allocates; -ENOMEM. */
void visit_runs(struct wire *w, struct snapshot *s, unsigned i);

void visit_cpuid(struct wire *w, struct snapshot *s, unsigned i);
void visit_vcpu(struct wire *w, struct snapshot *s, unsigned i);
void visit_chips(struct wire *w, struct snapshot *s, unsigned i);
void visit_clock(struct wire *w, struct snapshot *s, unsigned i);
void visit_serial(struct wire *w, struct snapshot *s, unsigned i);
void visit_i8042(struct wire *w, struct snapshot *s, unsigned i);
void visit_virtio(struct wire *w, struct snapshot *s, unsigned i);

/* What has to hold in and between sections that were decoded.  0, or -EBADMSG with e naming the
 * section and what is wrong. */
MUST_CHECK int state_check(const struct snapshot *s, struct err *e);

#endif
