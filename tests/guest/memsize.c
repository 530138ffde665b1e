/*
 * Reads the memory map it was given, writes a different word into the first and the last page of
 * every range of RAM and checks that all of them hold, that nothing answers right behind the last
 * range, and prints the sum.
 */
#include "guest.h"

enum { PAGE = 4096, RANGES_MAX = 8, E820_RAM = 1 };

struct range {
	uint64_t at, len;
};

/* Xen's hvm_start_info and Linux's boot_params, as far as the memory map goes. */
static unsigned read_map(uint64_t protocol, const uint8_t *info, struct range *ret)
{
	const uint8_t *entry = info + 0x2d0;
	unsigned count = info[0x1e8], size = 20, n = 0;

	if (protocol == GUEST_PVH) {
		entry = (const uint8_t *)*(const uint64_t *)(info + 40);
		count = *(const uint32_t *)(info + 48);
		size = 24;
	}
	for (unsigned i = 0; i < count && n < RANGES_MAX; i++, entry += size) {
		if (*(const uint32_t *)(entry + 16) != E820_RAM)
			continue;
		ret[n].at = *(const uint64_t *)entry;
		ret[n++].len = *(const uint64_t *)(entry + 8);
	}
	return n;
}

static uint64_t place(const struct range *range, unsigned i)
{
	const struct range *r = &range[i / 2];

	return i % 2 == 0 ? r->at : r->at + r->len - PAGE;
}

static uint64_t load(uint64_t gpa)
{
	return *(volatile uint64_t *)window(gpa);
}

static void store(uint64_t gpa, uint64_t value)
{
	*(volatile uint64_t *)window(gpa) = value;
}

void guest_main(uint64_t protocol, const void *info)
{
	struct range range[RANGES_MAX];
	unsigned n = read_map(protocol, info, range);
	uint64_t saved[RANGES_MAX * 2], sum = 0, end = 0, size = 0;
	bool good = n > 0;

	for (unsigned i = 0; i < 2 * n; i++) {
		saved[i] = load(place(range, i));
		store(place(range, i), ~place(range, i));
	}
	for (unsigned i = 0; i < 2 * n; i++)
		good = good && load(place(range, i)) == ~place(range, i);
	/* Backwards, should two places be one. */
	for (unsigned i = 2 * n; i > 0; i--)
		store(place(range, i - 1), saved[i - 1]);
	for (unsigned i = 0; i < n; i++) {
		put_text("range 0x");
		put_number(range[i].at, 16);
		put_text(" 0x");
		put_number(range[i].len, 16);
		put_char('\n');
		sum += range[i].len;
		end = range[i].at + range[i].len > end ? range[i].at + range[i].len : end;
	}
	/* What lies between the ends of RAM below 1 MiB belongs to the tables; the size counts it.
	 */
	for (unsigned i = 0; i < n; i++)
		size += range[i].at == 0          ? 0
			: range[i].at == 0x100000 ? range[i].len + 0x100000
						  : range[i].len;
	good = good && load(end) == ~0ULL && load(end - 8 + PAGE) == ~0ULL;
	put_value("ram", sum);
	put_value("size_kib", size / 1024);
	put_text(good ? "memory is good\n" : "MEMORY IS BAD\n");
	power_off();
}
