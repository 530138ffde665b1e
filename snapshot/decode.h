/*
 * Steps of reading a state file, which state_decode() takes strictly and inspect.h as far as they
 * go. In this order; each fills e with a text that names the section.
 */
#ifndef MVM_SNAPSHOT_DECODE_H
#define MVM_SNAPSHOT_DECODE_H

#include <stdint.h>

#include "base/check.h"

struct err;
struct file_header;
struct section;
struct section_kind;
struct section_list;
struct snapshot;

/* Whether this mvm reads that format version and machine.  0 or -EPROTONOSUPPORT. */
MUST_CHECK int decode_check_header(const struct file_header *h, struct err *e);

/* Whether section number i is intact, there once, and known where it has to be.  0, -EBADMSG or
 * -EPROTONOSUPPORT. */
MUST_CHECK int decode_check_section(const struct section_list *l, unsigned i, struct err *e);

/* NULL: there is none. */
const struct section *decode_find(const struct section_list *l, uint32_t type, uint32_t instance);

/* An empty snapshot with room for the machine that section MACH speaks of.  0, -EBADMSG, -ENOMEM.
 */
MUST_CHECK int decode_make_room(const struct section_list *l, struct snapshot **ret, struct err *e);

/* One section into s: 1, 0 where it is not there and need not be, -EBADMSG, -EPROTONOSUPPORT,
 * -ENOMEM. instance is below kind->count(s).  At most once for each. */
MUST_CHECK int decode_section(const struct section_list *l, const struct section_kind *kind,
	uint32_t instance, struct snapshot *s, struct err *e);

/* After SNAP and MACH: whether section number i is one of those that s has.  0 or -EBADMSG. */
MUST_CHECK int decode_check_instance(
	const struct section_list *l, unsigned i, const struct snapshot *s, struct err *e);

#endif
