/* A chain of memory files becomes guest memory (ram_load.h). */
#include "snapshot/ram_load.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "snapshot/ram_read.h"
#include "snapshot/snapshot.h"

/* Mappings that differences may cost in all: each takes kernel memory, slows every fault down a
 * little and counts against vm.max_map_count (65530 where nobody changed it). */
enum { MAPPED_RUNS_MAX = 1024 };

/* --- checks --- */

/* The pages of memory of which the last run tells, or all of them. */
static int check_runs(
	const struct guest_mem *m, const struct ram_layer *l, uint64_t *ret_pages, struct err *e)
{
	uint64_t pages = mem_pages(m), end = 0;

	if (!l->run) {
		*ret_pages = pages;
		return 0;
	}
	for (unsigned i = 0; i < l->nruns; i++) {
		const struct page_run *r = &l->run[i];

		if (r->first < end || r->first > pages || r->count > pages - r->first)
			return err_set(e, -EBADMSG,
				"memory file '%s': run %u is not within the machine's memory, or "
				"not "
				"behind the one before it",
				l->path, i);
		end = r->first + r->count;
	}
	*ret_pages = end;
	return 0;
}

static int check_layer(
	const struct guest_mem *m, const struct ram_layer *l, bool is_base, struct err *e)
{
	struct stat st;
	uint64_t pages = 0, need, size;
	int rc = check_runs(m, l, &pages, e);

	if (rc < 0)
		return rc;
	if (is_base && l->run)
		return err_set(
			e, -EINVAL, "memory file '%s' is a difference without its base", l->path);
	if (fstat(l->fd, &st) < 0)
		return err_sys(e, -errno, NULL, "cannot look at memory file '%s'", l->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "memory file '%s' is not a regular file", l->path);
	need = pages * MEM_PAGE_SIZE;
	size = (uint64_t)st.st_size;
	if (size < need)
		return err_set(e, -ENODATA,
			"memory file '%s' has %llu bytes, and the snapshot needs %llu: it is cut "
			"short "
			"or belongs to another one",
			l->path, (unsigned long long)size, (unsigned long long)need);
	if (!l->run && size > need)
		return err_set(e, -EFBIG,
			"memory file '%s' has %llu bytes, and the machine's memory %llu: it "
			"belongs to "
			"another snapshot",
			l->path, (unsigned long long)size, (unsigned long long)need);
	return 0;
}

/* --- mapping --- */

/* Small pages that nobody has asked to be there already: all others would be torn up, or would have
 * to be touched after all. */
static bool can_map(const struct guest_mem *m)
{
	return !m->prefault && (m->pages == MEM_PAGES_HOST || m->pages == MEM_PAGES_4K);
}

/* 0; 1 when the file or the host does not allow it, so that the run is to be read; or -errno. */
static int map_run(const struct guest_mem *m, const struct ram_layer *l, const struct page_run *r,
	struct err *e)
{
	uint64_t off = r->first * MEM_PAGE_SIZE, len = r->count * MEM_PAGE_SIZE;
	int rc;

	if (len == 0 ||
		mmap((uint8_t *)m->map + off, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, l->fd, (off_t)off) != MAP_FAILED)
		return 0;
	rc = -errno;
	/* ENOMEM: too many mappings. */
	if (rc == -ENODEV || rc == -EACCES || rc == -EINVAL || rc == -ENOMEM || rc == -EPERM)
		return 1;
	return err_sys(e, rc, NULL, "cannot map memory file '%s'", l->path);
}

/* Maps what it can of a layer and reads the rest.  *is_mapped is set when there is any mapping. */
static int map_layer(const struct guest_mem *m, const struct ram_layer *l, bool is_base,
	bool *is_mapped, struct err *e)
{
	const struct page_run all = { .count = mem_pages(m) };
	const struct page_run *run = l->run ? l->run : &all;
	unsigned n = l->run ? l->nruns : 1;

	for (unsigned i = 0; i < n; i++) {
		int rc = map_run(m, l, &run[i], e);

		if (rc < 0)
			return rc;
		if (rc > 0)
			return ram_read(m, l, &run[i], n - i, !is_base, e);
		*is_mapped = true;
	}
	return 0;
}

int ram_load(const struct guest_mem *m, const struct ram_layer *layer, unsigned n, struct err *e)
{
	const struct page_run all = { .count = mem_pages(m) };
	bool is_mapped = false;
	uint64_t runs = 0;
	int rc = 0;

	INVARIANT(n > 0 && n <= RAM_LAYERS_MAX);
	for (unsigned i = 0; i < n && rc == 0; i++) {
		rc = check_layer(m, &layer[i], i == 0, e);
		runs += layer[i].run ? layer[i].nruns : 0;
	}
	for (unsigned i = 0; i < n && rc == 0; i++) {
		const struct ram_layer *l = &layer[i];

		if (can_map(m) && (i == 0 || runs <= MAPPED_RUNS_MAX))
			rc = map_layer(m, l, i == 0, &is_mapped, e);
		else
			rc = ram_read(
				m, l, l->run ? l->run : &all, l->run ? l->nruns : 1, i > 0, e);
	}
	/* As guest_mem_init() does it: a core file must not hold the guest's secrets. */
	if (rc == 0 && is_mapped)
		(void)madvise(m->map, m->map_len, MADV_DONTDUMP);
	return rc;
}
