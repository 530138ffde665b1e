/* Sets of pages (page_bits.h), and as runs. */
#include "snapshot/page_bits.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "snapshot/ram_save.h"
#include "snapshot/snapshot.h"

uint64_t page_bits_next(const uint64_t *bits, uint64_t page, uint64_t pages, bool wanted)
{
	while (page < pages) {
		uint64_t word = wanted ? bits[page / 64] : ~bits[page / 64];

		word >>= page % 64;
		if (word != 0) {
			page += (uint64_t)__builtin_ctzll(word);
			return page < pages ? page : pages;
		}
		page = (page / 64 + 1) * 64;
	}
	return pages;
}

void page_bits_set_run(uint64_t *bits, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	while (first < end) {
		uint64_t in_word = 64 - first % 64,
			 n = in_word < end - first ? in_word : end - first;
		uint64_t ones = n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;

		bits[first / 64] |= ones << (first % 64);
		first += n;
	}
}

uint64_t page_bits_count(const uint64_t *bits, uint64_t pages)
{
	uint64_t n = 0;

	for (uint64_t w = 0; w < pages / 64; w++)
		n += (uint64_t)__builtin_popcountll(bits[w]);
	if (pages % 64 != 0)
		n += (uint64_t)__builtin_popcountll(
			bits[pages / 64] & ((UINT64_C(1) << (pages % 64)) - 1));
	return n;
}

/* The run that begins at or behind page; false: there is none. */
static bool next_run(const uint64_t *bits, uint64_t page, uint64_t pages, struct page_run *ret)
{
	uint64_t first = page_bits_next(bits, page, pages, true);

	if (first == pages)
		return false;
	*ret = (struct page_run){ .first = first,
		.count = page_bits_next(bits, first, pages, false) - first };
	return true;
}

int ram_runs(const uint64_t *bits, uint64_t pages, struct page_run **ret, unsigned *ret_n)
{
	struct page_run r = { 0 }, *run;
	uint64_t n = 0;

	while (next_run(bits, r.first + r.count, pages, &r))
		n++;
	if (n > UINT_MAX)
		return -ENOMEM;
	/* One more than none, so that NULL always means that there was no memory. */
	run = calloc(n + 1, sizeof(*run));
	if (!run)
		return -ENOMEM;
	r = (struct page_run){ 0 };
	for (uint64_t i = 0; i < n && next_run(bits, r.first + r.count, pages, &r); i++)
		run[i] = r;
	*ret = run;
	*ret_n = (unsigned)n;
	return 0;
}
