/*
 * Ownership in the declaration: a local that owns something says so with CLEANUP and gives it away
 * with _take. File descriptors start at -1, pointers at NULL; every early return is then safe.
 */
#ifndef MVM_BASE_CLEANUP_H
#define MVM_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void fd_closep(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

/* For any pointer made by malloc and its kind; p is the address of the pointer. */
static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define ptr_take(p)                                                                                \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#endif
