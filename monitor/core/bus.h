/*
 * An address space of emulated registers: port I/O or memory-mapped I/O.
 *
 * Built before the first vCPU runs and const afterwards, so that vCPU threads look up without a
 * lock.  A device is called on the vCPU's thread, possibly by several at once, and guards its own
 * state.
 */
#ifndef MVM_CORE_BUS_H
#define MVM_CORE_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

enum { BUS_RANGES_MAX = 64 };

/*
 * off is relative to the range's base and off + len lies within the range; len is 1, 2, 4 or 8.
 * read fills buf (which holds all ones) with len bytes, little-endian.
 */
struct bus_ops {
	void (*read)(void *dev, uint64_t off, uint8_t *buf, uint32_t len);
	void (*write)(void *dev, uint64_t off, const uint8_t *buf, uint32_t len);
};

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *dev;
};

struct bus {
	unsigned n;
	struct bus_range range[BUS_RANGES_MAX]; /* sorted by base, none overlap */
};

/* Before start, on the owner's thread.  0, -EINVAL (empty or wrapping), -EEXIST (overlaps), -ENOSPC
 * (table full). */
MUST_CHECK int bus_add(
	struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *dev);

/*
 * One access.  False when no range holds all of it: a read has then filled buf with ones, as a
 * floating bus does, and a write is lost.
 */
bool bus_read(const struct bus *b, uint64_t addr, uint8_t *buf, uint32_t len);
bool bus_write(const struct bus *b, uint64_t addr, const uint8_t *buf, uint32_t len);

#endif
