/* Which pages there are to save (ram_save.h). */
#include "snapshot/page_bits.h"
#include "snapshot/pagemap.h"
#include "snapshot/ram_save.h"

struct finder {
	uint64_t *bits;
	bool is_private_only;
};

static void on_run(void *ctx, uint64_t first, uint64_t count, bool is_private)
{
	const struct finder *f = ctx;

	if (is_private || !f->is_private_only)
		page_bits_set_run(f->bits, first, count);
}

int ram_find_touched(const struct guest_mem *m, bool is_private_only, uint64_t *bits, struct err *e)
{
	struct finder f = { .bits = bits, .is_private_only = is_private_only };

	return pagemap_scan(m, on_run, &f, e);
}

int ram_find_needed(const struct guest_mem *m, uint64_t *bits, struct err *e)
{
	struct finder f = { .bits = bits };
	int rc = pagemap_find_mapped(m, on_run, &f, e);

	return rc < 0 ? rc : pagemap_scan(m, on_run, &f, e);
}
