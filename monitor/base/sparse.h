/*
 * Large structures that have room for all that there could be, and are mostly empty: pages that
 * nobody touches are neither made nor zeroed, and all go back to the host at once.
 */
#ifndef MVM_BASE_SPARSE_H
#define MVM_BASE_SPARSE_H

#include <stddef.h>

/* So many bytes of zeroes, or NULL when there is no memory.  Any thread. */
void *sparse_new(size_t size);

/* p may be NULL.  How large it is, it knows itself: a count in what it holds may have changed. */
void sparse_free(void *p);

#endif
