/*
 * The kernel's command line: what the user gave, and what the devices add to it.
 */
#ifndef MVM_BOOTLINE_H
#define MVM_BOOTLINE_H

#include <stddef.h>

#include "base/check.h"
#include "config.h"
#include "devices.h"

struct err;

enum { BOOTLINE_MAX = 4096 };

/*
 * Adds to c->cmdline
 *     root=/dev/vda rw         for the first disk (ro where it is read-only), where c->root wants
 * it (config.h); root=PARTUUID=... for a partition of it virtio_mmio.device=...   one for each
 * device, where the configuration wants it (config.h) Of what comes behind "--", which is for init,
 * nothing is taken and everything stays at the end. 0, or -E2BIG with e filled.
 */
MUST_CHECK int bootline_compose(
	const struct vm_config *c, const struct devices *d, char buf[BOOTLINE_MAX], struct err *e);

/* Whether ACPI, and whether the command line, is to describe the devices. */
bool bootline_wants_acpi(const struct vm_config *c);
bool bootline_wants_cmdline(const struct vm_config *c);

#endif
