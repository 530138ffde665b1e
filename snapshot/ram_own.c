/* Mapped parts of guest memory are made its own (ram_own.h). */
#include "snapshot/ram_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/pagemap.h"

enum {
	PARTS_MAX = 16,       /* a kernel's segments and an initrd are fewer */
	OWN_PAGES_MAX = 16384 /* 64 MiB: some ten milliseconds */
};

struct parts {
	struct {
		uint64_t first, count;
	} part[PARTS_MAX];
	unsigned n;
	uint64_t pages;
	bool is_too_much;
};

static void on_part(void *ctx, uint64_t first, uint64_t count, bool is_private)
{
	struct parts *p = ctx;

	(void)is_private;
	p->pages += count;
	if (p->n == ARRAY_SIZE(p->part) || p->pages > OWN_PAGES_MAX) {
		p->is_too_much = true;
		return;
	}
	p->part[p->n].first = first;
	p->part[p->n++].count = count;
}

/* Memory that is like what is around it, so that all of it is one mapping again. */
static int own_part(const struct guest_mem *m, uint64_t first, uint64_t count)
{
	uint64_t len = count * MEM_PAGE_SIZE;
	uint8_t *at = (uint8_t *)m->map + first * MEM_PAGE_SIZE;
	uint8_t *copy = malloc(len);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, at, len);
	if (mmap(at, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
		int rc = -errno;

		free(copy);
		return rc;
	}
	/* As guest_mem_init() has it. */
	if (m->pages == MEM_PAGES_THP)
		(void)madvise(at, len, MADV_HUGEPAGE);
	else if (m->pages == MEM_PAGES_4K)
		(void)madvise(at, len, MADV_NOHUGEPAGE);
	(void)madvise(at, len, MADV_DONTDUMP);
	/* Zero pages as well: one that is not there would be taken for one that the guest has not
	 * changed, and the next difference would leave it to the file. */
	memcpy(at, copy, len);
	free(copy);
	return 0;
}

int ram_own(const struct guest_mem *m, struct err *e)
{
	struct parts p = { 0 };
	int rc = pagemap_find_mapped(m, on_part, &p, e);

	if (rc < 0)
		return rc;
	if (p.is_too_much)
		return err_set(e, -EOPNOTSUPP,
			"guest memory maps a file, and cannot be protected against writes");
	for (unsigned i = 0; i < p.n && rc == 0; i++)
		rc = own_part(m, p.part[i].first, p.part[i].count);
	return rc < 0 ? err_sys(e, rc, NULL, "cannot copy the mapped parts of guest memory") : 0;
}
