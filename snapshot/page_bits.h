/*
 * Sets of pages: one bit for each page of guest memory, 64 to a word, the lowest first, as
 * mem_take_dirty() has them.
 */
#ifndef MVM_SNAPSHOT_PAGE_BITS_H
#define MVM_SNAPSHOT_PAGE_BITS_H

#include <stdbool.h>
#include <stdint.h>

/* The words that pages bits take. */
static inline uint64_t page_bits_words(uint64_t pages)
{
	return (pages + 63) / 64;
}

static inline bool page_bits_has(const uint64_t *bits, uint64_t page)
{
	return bits[page / 64] >> (page % 64) & 1;
}

static inline void page_bits_clear(uint64_t *bits, uint64_t page)
{
	bits[page / 64] &= ~(UINT64_C(1) << (page % 64));
}

/* The first page from page on that is in bits (that is not, with wanted false); pages when there is
 * none. */
uint64_t page_bits_next(const uint64_t *bits, uint64_t page, uint64_t pages, bool wanted);

void page_bits_set_run(uint64_t *bits, uint64_t first, uint64_t count);

/* How many of the first pages are in bits. */
uint64_t page_bits_count(const uint64_t *bits, uint64_t pages);

#endif
