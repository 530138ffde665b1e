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

void *sparse_new(size_t size)
{
#ifdef HAS_SANITIZER
	return calloc(1, size);
#else
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
#endif
}

void sparse_free(void *p, size_t size)
{
#ifdef HAS_SANITIZER
	(void)size;
	free(p);
#else
	if (p)
		(void)munmap(p, size);
#endif
}
