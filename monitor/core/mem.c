/* Guest physical memory (mem.h). */
#include "core/mem.h"

#include <errno.h>
#include <linux/mman.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/io.h"

static const char *const HUGE_HINT =
	"reserve huge pages: echo N > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/* A reservation aligned to 2 MiB, so that host and guest agree on where huge pages begin. */
static int reserve(struct guest_mem *m, uint64_t size)
{
	size_t len = size + MEM_HUGE_PAGE_SIZE;
	char *start, *aligned;

	start = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (start == MAP_FAILED)
		return -errno;
	aligned = start + (align_up((uintptr_t)start, MEM_HUGE_PAGE_SIZE) - (uintptr_t)start);
	/* Trim what stands over on both sides; a failure would only leave address space reserved.
	 */
	if (aligned > start)
		(void)munmap(start, (size_t)(aligned - start));
	(void)munmap(aligned + size, len - size - (size_t)(aligned - start));
	m->map = aligned;
	m->map_len = size;
	return 0;
}

static int reserve_huge(struct guest_mem *m, uint64_t size)
{
	/* Without MAP_NORESERVE: the pool is charged now, so a guest never dies of SIGBUS later. */
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);

	if (start == MAP_FAILED)
		return -errno;
	m->map = start;
	m->map_len = size;
	return 0;
}

static void advise(const struct guest_mem *m)
{
	/* Advice: where the host does not know it, memory works all the same. */
	if (m->pages == MEM_PAGES_THP)
		(void)madvise(m->map, m->map_len, MADV_HUGEPAGE);
	else if (m->pages == MEM_PAGES_4K)
		(void)madvise(m->map, m->map_len, MADV_NOHUGEPAGE);
	/* A core file of the monitor must not hold the guest's secrets, nor gigabytes. */
	(void)madvise(m->map, m->map_len, MADV_DONTDUMP);
}

int guest_mem_init(struct guest_mem *m, uint64_t size, gpa_t hole_start, gpa_t hole_end,
	enum mem_pages pages, bool prefault, struct err *e)
{
	uint64_t low = MIN(size, hole_start);
	char text[32];
	int rc;

	*m = (struct guest_mem){ .pages = pages, .prefault = prefault };
	rc = pages == MEM_PAGES_2M ? reserve_huge(m, size) : reserve(m, size);
	if (rc < 0)
		return err_sys(e, rc, pages == MEM_PAGES_2M ? HUGE_HINT : NULL,
			"cannot reserve %llu bytes of guest memory", (unsigned long long)size);
	advise(m);
	if (prefault && madvise(m->map, m->map_len, MADV_POPULATE_WRITE) < 0) {
		rc = -errno;
		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
		guest_mem_fini(m);
		return err_sys(e, rc, rc == -EINVAL ? "Linux 5.14 is needed for this" : NULL,
			"cannot pre-fault %s bytes of guest memory", text);
	}
	m->r[m->n++] = (struct mem_region){ .gpa = 0, .len = low, .hva = m->map };
	if (size > low)
		m->r[m->n++] = (struct mem_region){
			.gpa = hole_end, .len = size - low, .hva = (uint8_t *)m->map + low
		};
	return 0;
}

void guest_mem_fini(struct guest_mem *m)
{
	free(m->dirty);
	if (m->map)
		(void)munmap(m->map, m->map_len);
	*m = (struct guest_mem){ 0 };
}

int mem_read(const struct guest_mem *m, void *dst, gpa_t gpa, size_t len)
{
	const void *src = mem_ptr(m, gpa, len);

	if (!src)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

int mem_write(const struct guest_mem *m, gpa_t gpa, const void *src, size_t len)
{
	void *dst = mem_ptr(m, gpa, len);

	if (!dst)
		return -EFAULT;
	memcpy(dst, src, len);
	mem_mark_dirty(m, dst, len);
	return 0;
}

/* --- which pages we have written to --- */

int mem_track_dirty(struct guest_mem *m)
{
	INVARIANT(!m->dirty);
	m->dirty = calloc(align_up(mem_pages(m), 64) / 64, sizeof(*m->dirty));
	return m->dirty ? 0 : -ENOMEM;
}

void mem_mark_dirty_slowly(const struct guest_mem *m, const void *hva, uint64_t len)
{
	uint64_t off = (uint64_t)((const uint8_t *)hva - (const uint8_t *)m->map);

	if (len == 0)
		return;
	INVARIANT(off < m->map_len && len <= m->map_len - off);
	for (uint64_t page = off / MEM_PAGE_SIZE; page <= (off + len - 1) / MEM_PAGE_SIZE; page++) {
		uint64_t bit = UINT64_C(1) << (page % 64);

		/* Most are dirty already, and a look costs less than a locked write. */
		if (!(atomic_load_explicit(&m->dirty[page / 64], memory_order_relaxed) & bit))
			atomic_fetch_or_explicit(&m->dirty[page / 64], bit, memory_order_relaxed);
	}
}

void mem_take_dirty(const struct guest_mem *m, uint64_t *bits)
{
	if (!m->dirty)
		return;
	for (uint64_t w = 0; w < align_up(mem_pages(m), 64) / 64; w++)
		bits[w] |= atomic_exchange_explicit(&m->dirty[w], 0, memory_order_relaxed);
}

/* Mapping pays where pages are small; among huge pages it would tear them up, and in pre-faulted
 * memory it would put pages that have yet to be touched. */
static bool can_map(const struct guest_mem *m, gpa_t gpa, uint64_t off, uint64_t len)
{
	return !m->prefault && (m->pages == MEM_PAGES_HOST || m->pages == MEM_PAGES_4K) &&
	       gpa % MEM_PAGE_SIZE == 0 && off % MEM_PAGE_SIZE == 0 && len >= MEM_PAGE_SIZE;
}

static void note_mapped(struct guest_mem *m, const uint8_t *at, uint64_t len)
{
	if (m->nmapped < MEM_MAPPED_MAX)
		m->mapped[m->nmapped] =
			(struct mem_mapped){ .off = (uint64_t)(at - (const uint8_t *)m->map),
				.len = len };
	m->nmapped = MIN(m->nmapped + 1, (unsigned)MEM_MAPPED_MAX + 1);
}

int mem_load_file(struct guest_mem *m, gpa_t gpa, int fd, uint64_t off, uint64_t len)
{
	uint8_t *at = mem_ptr(m, gpa, len);
	uint64_t mapped = 0;

	if (!at)
		return -EFAULT;
	if (can_map(m, gpa, off, len)) {
		mapped = align_down(len, MEM_PAGE_SIZE);
		if (mmap(at, mapped, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, (off_t)off) != MAP_FAILED)
			(void)madvise(at, mapped, MADV_DONTDUMP);
		else if (errno == ENODEV || errno == EACCES || errno == EINVAL)
			mapped = 0; /* a filesystem that cannot map: read all of it */
		else
			return -errno;
		if (mapped > 0)
			note_mapped(m, at, mapped);
	}
	/* The last page is never mapped: behind the file's bytes the guest must find zeroes, not
	 * the file. */
	return io_pread_full(fd, at + mapped, len - mapped, off + mapped);
}
