/* Large structures that are mostly empty (sparse.h). */
#include "base/sparse.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Malloc would take them from the heap's top, and zero them, page by page.  Under AddressSanitizer
 * it does all the same, because that knows where they end. */
#ifdef __SANITIZE_ADDRESS__
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#ifdef HAS_SANITIZER

void *sparse_new(size_t size)
{
	return calloc(1, size);
}

void sparse_free(void *p)
{
	free(p);
}

#else

/* In front of what was asked for; as large as the strictest alignment that anything here needs. */
struct head {
	_Alignas(64) size_t size; /* of the mapping */
};

void *sparse_new(size_t size)
{
	size_t all = size + sizeof(struct head);
	struct head *h;

	if (all < size)
		return NULL;
	h = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (h == MAP_FAILED)
		return NULL;
	h->size = all;
	return h + 1;
}

void sparse_free(void *p)
{
	struct head *h = p;

	if (h)
		(void)munmap(h - 1, h[-1].size);
}

#endif
