/*
 * Guest physical memory: where a guest physical address (GPA) may become a pointer, and nowhere
 * else.
 *
 * A GPA is an integer until mem_ptr() has said yes to the whole range.  The bytes behind the
 * pointer are shared with vCPUs that may change them at any time: read once into a local, check the
 * copy, use the copy.
 *
 * Owner: struct vm.  The table is const once the first vCPU runs; any thread may then translate.
 */
#ifndef MVM_CORE_MEM_H
#define MVM_CORE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct err;

typedef uint64_t gpa_t;

enum { MEM_REGIONS_MAX = 2, MEM_PAGE_SIZE = 4096, MEM_MAPPED_MAX = 8 };

#define MEM_HUGE_PAGE_SIZE (2ULL << 20)

/* What backs the guest's memory. */
enum mem_pages {
	MEM_PAGES_HOST, /* anonymous, transparent huge pages as the host's policy has it */
	MEM_PAGES_4K,   /* anonymous, never huge: smallest footprint, the file's pages can be mapped
			 */
	MEM_PAGES_THP,  /* anonymous, transparent huge pages asked for */
	MEM_PAGES_2M,   /* hugetlbfs: 2 MiB pages from the host's pool, or an error */
};

struct mem_region {
	gpa_t gpa;
	uint64_t len;
	uint8_t *hva;
};

/* A part of the reservation that maps a file: pages that nobody has touched are not zero there. */
struct mem_mapped {
	uint64_t off, len; /* in map; whole pages */
};

struct guest_mem {
	unsigned n;
	struct mem_region r[MEM_REGIONS_MAX];
	enum mem_pages pages;
	bool prefault;
	void *map; /* the whole reservation, r[] point into it */
	size_t map_len;
	unsigned nmapped; /* MEM_MAPPED_MAX + 1: more than there is room for */
	struct mem_mapped mapped[MEM_MAPPED_MAX];
	/* One bit for each page of map that the monitor, or the kernel for it, has written to: what
	 * KVM's own log does not see.  NULL: nobody asks.  Made before the first vCPU runs. */
	_Atomic uint64_t *dirty;
};

/* The number of 4 KiB pages; a page's number is its place in map, and in the memory file of a
 * snapshot. */
static inline uint64_t mem_pages(const struct guest_mem *m)
{
	return m->map_len / MEM_PAGE_SIZE;
}

/*
 * Reserves size bytes (a multiple of 4 KiB, of 2 MiB with MEM_PAGES_2M) and lays them out from GPA
 * 0, leaving out [hole_start, hole_end).  Nothing is touched unless prefault is set.  0, or -errno
 * with e filled: -ENOMEM when the host, or its pool of huge pages, has too little.
 */
MUST_CHECK int guest_mem_init(struct guest_mem *m, uint64_t size, gpa_t hole_start, gpa_t hole_end,
	enum mem_pages pages, bool prefault, struct err *e);

/* Accepts a zeroed or half-built m.  No vCPU and no device may run any more. */
void guest_mem_fini(struct guest_mem *m);

/* The host's pointer to [gpa, gpa + len), or NULL unless all of it is RAM of one region.  len 0
 * gives NULL.  Inline, because devices ask for every descriptor. */
static inline void *mem_ptr(const struct guest_mem *m, gpa_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->r[i];

		/* In this form nothing can wrap: the offset is inside the region before len is
		 * looked at. */
		if (gpa >= r->gpa && gpa - r->gpa < r->len && len > 0 &&
			len <= r->len - (gpa - r->gpa))
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

/* Begins to note what mem_mark_dirty() is told, and mem_write() does.  0 or -ENOMEM.  Before the
 * first vCPU runs. */
MUST_CHECK int mem_track_dirty(struct guest_mem *m);

void mem_mark_dirty_slowly(const struct guest_mem *m, const void *hva, uint64_t len);

/* Says that guest memory from hva on, which mem_ptr() gave, was written to.  Any thread; after the
 * write, and while a pause cannot be complete: a device at rest has marked all that it wrote. */
static inline void mem_mark_dirty(const struct guest_mem *m, const void *hva, uint64_t len)
{
	if (__builtin_expect(m->dirty != NULL, 0))
		mem_mark_dirty_slowly(m, hva, len);
}

/* Adds the pages noted so far to bits (mem_pages() of them, 64 to a word) and forgets them.  Any
 * thread. */
void mem_take_dirty(const struct guest_mem *m, uint64_t *bits);

/* Copies out of and into guest RAM: 0 or -EFAULT, and then nothing was copied. */
MUST_CHECK int mem_read(const struct guest_mem *m, void *dst, gpa_t gpa, size_t len);
MUST_CHECK int mem_write(const struct guest_mem *m, gpa_t gpa, const void *src, size_t len);

/*
 * Puts len bytes of fd from off at gpa.  Where the backing allows it whole pages are mapped
 * private, so that guests share the host's page cache and nothing is copied; the rest is read.
 * Before the first KVM_RUN only. 0, -EFAULT (not RAM), -ENODATA (the file is shorter), or what mmap
 * and pread say.
 */
MUST_CHECK int mem_load_file(struct guest_mem *m, gpa_t gpa, int fd, uint64_t off, uint64_t len);

#endif
