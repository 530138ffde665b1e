/* Dispatch of register accesses to devices (bus.h). */
#include "core/bus.h"

#include <errno.h>
#include <string.h>

/* Index of the first range whose end lies behind addr; b->n when there is none. */
static unsigned lower_bound(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (b->range[mid].base + (b->range[mid].len - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *dev)
{
	uint64_t last;
	unsigned at;

	if (len == 0 || __builtin_add_overflow(base, len - 1, &last))
		return -EINVAL;
	if (b->n == BUS_RANGES_MAX)
		return -ENOSPC;
	at = lower_bound(b, base);
	if (at < b->n && b->range[at].base <= last)
		return -EEXIST;
	memmove(&b->range[at + 1], &b->range[at], (b->n - at) * sizeof(b->range[0]));
	b->range[at] = (struct bus_range){ .base = base, .len = len, .ops = ops, .dev = dev };
	b->n++;
	return 0;
}

static const struct bus_range *find(const struct bus *b, uint64_t addr, uint32_t len)
{
	unsigned at = lower_bound(b, addr);
	const struct bus_range *r;

	if (at == b->n)
		return NULL;
	r = &b->range[at];
	return addr >= r->base && len <= r->len - (addr - r->base) ? r : NULL;
}

bool bus_read(const struct bus *b, uint64_t addr, uint8_t *buf, uint32_t len)
{
	const struct bus_range *r = find(b, addr, len);

	memset(buf, 0xff, len);
	if (!r)
		return false;
	r->ops->read(r->dev, addr - r->base, buf, len);
	return true;
}

bool bus_write(const struct bus *b, uint64_t addr, const uint8_t *buf, uint32_t len)
{
	const struct bus_range *r = find(b, addr, len);

	if (!r)
		return false;
	r->ops->write(r->dev, addr - r->base, buf, len);
	return true;
}
