/* The process's pages as /proc tells them (pagemap.h). */
#include "snapshot/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"

/* Documentation/admin-guide/mm/pagemap.rst: 64 bits for each page. */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_FILE    (UINT64_C(1) << 61)

enum { ENTRIES_AT_ONCE = 4096 }; /* of one read: 16 MiB of memory in 32 KiB of stack */

enum kind { KIND_NONE, KIND_FILE, KIND_PRIVATE };

static enum kind kind_of(uint64_t entry)
{
	if (!(entry & (ENTRY_PRESENT | ENTRY_SWAPPED)))
		return KIND_NONE;
	return entry & ENTRY_FILE ? KIND_FILE : KIND_PRIVATE;
}

/* The run that is still growing. */
struct run {
	pagemap_fn *fn;
	void *ctx;
	enum kind kind;
	uint64_t first;
};

static void change_kind(struct run *r, enum kind kind, uint64_t page)
{
	if (r->kind != KIND_NONE)
		r->fn(r->ctx, r->first, page - r->first, r->kind == KIND_PRIVATE);
	r->kind = kind;
	r->first = page;
}

int pagemap_scan(const struct guest_mem *m, pagemap_fn *fn, void *ctx, struct err *e)
{
	static const char path[] = "/proc/self/pagemap";
	uint64_t entry[ENTRIES_AT_ONCE] UNINITIALIZED;
	uint64_t pages = mem_pages(m), base = (uintptr_t)m->map / MEM_PAGE_SIZE;
	struct run r = { .fn = fn, .ctx = ctx };
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, -errno, "/proc has to be mounted, for this user",
			"cannot open '%s'", path);
	for (uint64_t page = 0; page < pages; page += ENTRIES_AT_ONCE) {
		uint64_t n = MIN(pages - page, ENTRIES_AT_ONCE);
		int rc = io_pread_full(
			fd, entry, n * sizeof(entry[0]), (base + page) * sizeof(entry[0]));

		if (rc < 0)
			return err_sys(e, rc, NULL, "cannot read '%s'", path);
		for (uint64_t i = 0; i < n; i++) {
			enum kind kind = kind_of(entry[i]);

			if (kind != r.kind)
				change_kind(&r, kind, page + i);
		}
	}
	change_kind(&r, KIND_NONE, pages);
	return 0;
}

/* --- parts that map a file --- */

/* "start-end perms offset major:minor inode path", numbers but the inode in hexadecimal: the bounds
 * of a mapping of a file.  false: of none. */
static bool parse_mapping(const char *line, uint64_t *ret_start, uint64_t *ret_end)
{
	char *at;
	uint64_t start = strtoull(line, &at, 16), end;

	if (*at != '-')
		return false;
	end = strtoull(at + 1, &at, 16);
	for (unsigned field = 0; field < 3; field++) {
		at = strchr(at + (*at == ' '), ' ');
		if (!at)
			return false;
	}
	/* Now at the blank before the inode... */
	if (strtoull(at, NULL, 10) == 0)
		return false;
	*ret_start = start;
	*ret_end = end;
	return true;
}

int pagemap_find_mapped(const struct guest_mem *m, pagemap_fn *fn, void *ctx, struct err *e)
{
	static const char path[] = "/proc/self/maps";
	uint64_t base = (uintptr_t)m->map, limit = base + m->map_len, start, end;
	char *line CLEANUP(freep) = NULL;
	size_t room = 0;
	FILE *f;

	/* The kernel shows their pool as if it were a file. */
	if (m->pages == MEM_PAGES_2M)
		return 0;
	f = fopen(path, "re");
	if (!f)
		return err_sys(e, -errno, "/proc has to be mounted, for this user",
			"cannot open '%s'", path);
	while (getline(&line, &room, f) > 0) {
		if (!parse_mapping(line, &start, &end) || end <= base || start >= limit)
			continue;
		start = MAX(start, base);
		end = MIN(end, limit);
		fn(ctx, (start - base) / MEM_PAGE_SIZE, (end - start) / MEM_PAGE_SIZE, false);
	}
	if (ferror(f)) {
		(void)fclose(f);
		return err_sys(e, -EIO, NULL, "cannot read '%s'", path);
	}
	(void)fclose(f);
	return 0;
}
