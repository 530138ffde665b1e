/* A chain of memory files becomes guest memory. */
#include "t_ram.h"

#include "snapshot/ram_load.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "snapshot/ram_save.h"
#include "snapshot/snapshot.h"

TestSuite(ram_load, .timeout = T_SECONDS);

enum { PAGES = 4096 }; /* 16 MiB */

static const enum mem_pages small_kinds[] = { MEM_PAGES_HOST, MEM_PAGES_4K, MEM_PAGES_THP };

/* --- the calls that a load makes --- */

static _Atomic unsigned nfstat, nmmap, nmadvise, npread;
static int mmap_fails;     /* of files, with this error ... */
static unsigned mmap_from; /* ... from this one on */
static int pread_fails;
static uint64_t pread_fails_at; /* bytes */

int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
void *__real_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off);

int __wrap_fstat64(int fd, struct stat *st)
{
	nfstat++;
	return __real_fstat64(fd, st);
}

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if (fd >= 0 && nmmap++ >= mmap_from && mmap_fails) {
		errno = -mmap_fails;
		return MAP_FAILED;
	}
	return __real_mmap64(at, len, prot, flags, fd, off);
}

int __wrap_madvise(void *at, size_t len, int advice)
{
	nmadvise++;
	return __real_madvise(at, len, advice);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off)
{
	npread++;
	if (pread_fails && (uint64_t)off <= pread_fails_at &&
		(uint64_t)off + len > pread_fails_at) {
		errno = -pread_fails;
		return -1;
	}
	return __real_pread64(fd, buf, len, off);
}

static void forget_calls(void)
{
	nfstat = nmmap = nmadvise = npread = 0;
}

static struct ram_layer base_of(int fd)
{
	return (struct ram_layer){ .fd = fd, .path = "memory" };
}

static int load_one(const struct guest_mem *m, int fd, struct err *e)
{
	const struct ram_layer l = base_of(fd);

	return ram_load(m, &l, 1, e);
}

/* --- one file --- */

Test(ram_load, every_kind_of_small_pages_has_what_the_file_has)
{
	for (unsigned i = 0; i < ARRAY_SIZE(small_kinds); i++) {
		struct guest_mem m;
		struct err e = { 0 };
		int fd = t_ram_file_of(PAGES, 1000, 1000, 1);

		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, small_kinds[i]));
		cr_assert(eq(int, load_one(&m, fd, &e), 0), "%s", e.text);
		(void)close(fd);
		for (uint64_t page = 0; page < PAGES; page++)
			t_true(page >= 1000 && page < 2000 ? t_ram_is_filled(&m, page, 1)
							   : t_ram_is_zero(&m, page));
		/* It is the machine's own from here on. */
		t_ram_fill(&m, 1500, 2);
		t_ram_fill(&m, 3000, 2);
		t_true(t_ram_is_filled(&m, 1500, 2));
		guest_mem_fini(&m);
	}
	T_NO_LEAKS();
}

Test(ram_load, default_costs_three_system_calls)
{
	struct guest_mem m;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	forget_calls();
	t_int(load_one(&m, fd, &e), 0);
	t_uint(nfstat, 1);
	t_uint(nmmap, 1);
	t_uint(nmadvise, 1);
	t_uint(npread, 0);
	(void)close(fd);
	guest_mem_fini(&m);
}

/* The line of smaps that says what kind of mapping is at p. */
static void flags_at(const void *p, char *text, size_t size)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool is_there = false;

	t_true(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		char *at;
		uint64_t start = strtoull(line, &at, 16);

		if (*at == '-')
			is_there =
				start <= (uintptr_t)p && strtoull(at + 1, NULL, 16) > (uintptr_t)p;
		if (is_there && strncmp(line, "VmFlags:", 8) == 0)
			(void)snprintf(text, size, "%.*s", (int)size - 1, line);
	}
	(void)fclose(f);
}

Test(ram_load, mapped_memory_stays_out_of_core_files)
{
	struct guest_mem m;
	struct err e = { 0 };
	char flags[512] = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	t_int(load_one(&m, fd, &e), 0);
	flags_at(m.map, flags, sizeof(flags));
	t_has(flags, " dd");
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_load, the_file_is_not_written_to)
{
	for (unsigned i = 0; i < ARRAY_SIZE(small_kinds); i++) {
		struct guest_mem m;
		struct err e = { 0 };
		int fd = t_ram_file_of(PAGES, 0, 100, 1);

		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, small_kinds[i]));
		t_int(load_one(&m, fd, &e), 0);
		for (uint64_t page = 0; page < 200; page++)
			t_ram_fill(&m, page, 2);
		for (uint64_t page = 0; page < 200; page++)
			t_true(page < 100 ? t_file_is_filled(fd, page, 1)
					  : t_file_is_zero(fd, page));
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_load, prefaulted_memory_is_read_and_stays_there)
{
	struct guest_mem m;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 7, 100, 1);

	t_int(guest_mem_init(
		      &m, PAGES * MEM_PAGE_SIZE, 3ULL << 30, 4ULL << 30, MEM_PAGES_4K, true, &e),
		0);
	forget_calls();
	t_int(load_one(&m, fd, &e), 0);
	t_uint(nmmap, 0);
	t_true(t_ram_is_filled(&m, 7, 1) && t_ram_is_filled(&m, 106, 1));
	t_true(t_ram_is_zero(&m, 6) && t_ram_is_zero(&m, 107));
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_load, holes_are_not_touched_where_pages_are_read)
{
	struct guest_mem m;
	struct err e = { 0 };
	uint64_t bits[PAGES / 64] = { 0 };
	int fd = t_ram_file_of(PAGES, 2048, 10, 1);
	unsigned n = 0;

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_THP));
	t_int(load_one(&m, fd, &e), 0);
	t_int(ram_find_touched(&m, false, bits, &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		n += (unsigned)__builtin_popcountll(bits[i]);
	t_true(n >= 10 && n <= 512 + 64);
	t_true(t_ram_is_filled(&m, 2057, 1));
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_load, file_that_is_replaced_by_rename_stays_what_it_was)
{
	char path[] = "/tmp/mvm-test-XXXXXX", other[64];
	struct guest_mem m;
	struct err e = { 0 };
	int fd = mkostemp(path, O_CLOEXEC), fd2;
	uint8_t byte = 0x11;

	t_true(fd >= 0);
	t_int(ftruncate(fd, PAGES * MEM_PAGE_SIZE), 0);
	t_int(pwrite(fd, &byte, 1, 5000), 1);
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	t_int(load_one(&m, fd, &e), 0);
	(void)close(fd);
	(void)snprintf(other, sizeof(other), "%s.new", path);
	fd2 = open(other, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	t_true(fd2 >= 0);
	t_int(rename(other, path), 0);
	t_int(((uint8_t *)m.map)[5000], 0x11);
	t_int(unlink(path), 0);
	t_int(((uint8_t *)m.map)[PAGES * MEM_PAGE_SIZE - 1], 0);
	(void)close(fd2);
	guest_mem_fini(&m);
}

/* --- what does not fit --- */

Test(ram_load, file_of_another_size_is_refused_and_nothing_changes)
{
	static const struct {
		const char *name;
		int64_t size;
		int code;
		const char *says;
	} rows[] = {
		{ "empty", 0, -ENODATA, "has 0 bytes" },
		{ "a page less", (PAGES - 1) * MEM_PAGE_SIZE, -ENODATA, "cut short" },
		{ "a byte less", PAGES * MEM_PAGE_SIZE - 1, -ENODATA, "16777216" },
		{ "a byte more", PAGES * MEM_PAGE_SIZE + 1, -EFBIG, "another snapshot" },
		{ "twice", 2LL * PAGES * MEM_PAGE_SIZE, -EFBIG, "33554432" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct guest_mem m;
		struct err e = { 0 };
		int fd = t_ram_file_of(PAGES, 0, 10, 1);

		t_int(ftruncate(fd, rows[i].size), 0);
		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
		t_row_int(rows[i].name, load_one(&m, fd, &e), rows[i].code);
		t_row_has(rows[i].name, e.text, rows[i].says);
		t_row_has(rows[i].name, e.text, "'memory'");
		t_row_true(rows[i].name, t_ram_is_zero(&m, 0));
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_load, what_is_no_file_is_refused)
{
	struct guest_mem m;
	struct err e = { 0 };
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	t_int(load_one(&m, fd, &e), -EINVAL);
	t_has(e.text, "not a regular file");
	(void)close(fd);
	t_int(load_one(&m, fd, &e), -EBADF);
	guest_mem_fini(&m);
}

Test(ram_load, runs_that_do_not_fit_are_refused_before_anything_changes)
{
	static const struct {
		const char *name;
		struct page_run run[2];
		int code;
	} rows[] = {
		{ "behind memory", { { 0, 1 }, { PAGES, 1 } }, -EBADMSG },
		{ "over the end", { { 0, 1 }, { PAGES - 1, 2 } }, -EBADMSG },
		{ "wraps", { { 0, 1 }, { 8, UINT64_MAX } }, -EBADMSG },
		{ "out of order", { { 8, 2 }, { 0, 1 } }, -EBADMSG },
		{ "overlap", { { 0, 9 }, { 8, 1 } }, -EBADMSG },
		{ "file is shorter", { { 0, 1 }, { 2048, 2 } }, -ENODATA },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct guest_mem m;
		struct err e = { 0 };
		int base = t_ram_file_of(PAGES, 0, 10, 1);
		struct ram_layer l[2] = { base_of(base),
			{ .fd = t_ram_file_of(2049, 0, 10, 2), .path = "more", .nruns = 2 } };

		l[1].run = rows[i].run;
		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
		t_row_int(rows[i].name, ram_load(&m, l, 2, &e), rows[i].code);
		t_row_has(rows[i].name, e.text, "'more'");
		t_row_true(rows[i].name, t_ram_is_zero(&m, 0));
		(void)close(l[0].fd);
		(void)close(l[1].fd);
		guest_mem_fini(&m);
	}
}

Test(ram_load, difference_without_a_base_is_refused)
{
	static const struct page_run run = { 0, 10 };
	struct guest_mem m;
	struct err e = { 0 };
	struct ram_layer l = {
		.fd = t_ram_file_of(PAGES, 0, 10, 1), .path = "x", .run = &run, .nruns = 1
	};

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	t_int(ram_load(&m, &l, 1, &e), -EINVAL);
	t_has(e.text, "without its base");
	(void)close(l.fd);
	guest_mem_fini(&m);
}

/* --- chains --- */

enum { LAYERS = 10 };

/* A base of seed 0, and on top of it differences: layer i has pages 100 i to 100 i + 149, its last
 * ten as a hole. */
static void make_chain(struct ram_layer *l, struct page_run *run)
{
	l[0] = base_of(t_ram_file_of(PAGES, 0, PAGES, 0));
	for (unsigned i = 1; i < LAYERS; i++) {
		run[i] = (struct page_run){ .first = i * 100UL, .count = 150 };
		l[i] = (struct ram_layer){ .fd = t_ram_file_of(PAGES, i * 100UL, 140, i),
			.path = "more",
			.run = &run[i],
			.nruns = 1 };
	}
}

static void check_chain(const struct guest_mem *m)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t top = MIN(page / 100, LAYERS - 1);

		if (page - top * 100 >= 150)
			top = 0;
		if (top > 0 && page - top * 100 >= 140)
			t_true(t_ram_is_zero(m, page));
		else
			t_true(t_ram_is_filled(m, page, (unsigned)top));
	}
}

Test(ram_load, chain_of_ten_is_put_together_by_every_kind_of_pages)
{
	for (unsigned i = 0; i < ARRAY_SIZE(small_kinds); i++) {
		struct guest_mem m;
		struct err e = { 0 };
		struct ram_layer l[LAYERS];
		struct page_run run[LAYERS];

		make_chain(l, run);
		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, small_kinds[i]));
		cr_assert(eq(int, ram_load(&m, l, LAYERS, &e), 0), "%s", e.text);
		for (unsigned k = 0; k < LAYERS; k++)
			(void)close(l[k].fd);
		check_chain(&m);
		guest_mem_fini(&m);
	}
}

Test(ram_load, what_cannot_be_mapped_is_read)
{
	static const int codes[] = { -ENODEV, -EACCES, -EINVAL, -ENOMEM, -EPERM };

	/* The base, or the chain from its third file on. */
	for (unsigned from = 0; from < 3; from += 2) {
		for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
			struct guest_mem m;
			struct err e = { 0 };
			struct ram_layer l[LAYERS];
			struct page_run run[LAYERS];

			make_chain(l, run);
			t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
			forget_calls();
			mmap_fails = codes[i];
			mmap_from = from;
			cr_assert(eq(int, ram_load(&m, l, LAYERS, &e), 0), "%s", e.text);
			mmap_fails = 0;
			t_true(npread > 0);
			check_chain(&m);
			for (unsigned k = 0; k < LAYERS; k++)
				(void)close(l[k].fd);
			guest_mem_fini(&m);
		}
	}
}

Test(ram_load, mapping_that_fails_for_another_reason_is_an_error)
{
	struct guest_mem m;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, 1, 1);

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	forget_calls();
	mmap_fails = -ENFILE;
	t_int(load_one(&m, fd, &e), -ENFILE);
	t_has(e.text, "cannot map memory file 'memory'");
	(void)close(fd);
	guest_mem_fini(&m);
}

static void load_many_runs(unsigned nruns, enum mem_pages pages)
{
	struct guest_mem m;
	struct err e = { 0 };
	struct page_run *run = calloc(nruns, sizeof(*run));
	struct ram_layer l[2] = { base_of(t_ram_file_of(PAGES, 0, PAGES, 1)),
		{ .fd = t_ram_file_of(PAGES, 0, PAGES, 2),
			.path = "more",
			.run = run,
			.nruns = nruns } };

	for (unsigned i = 0; i < nruns; i++)
		run[i] = (struct page_run){ .first = i * 2UL, .count = 1 };
	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, pages));
	forget_calls();
	cr_assert(eq(int, ram_load(&m, l, 2, &e), 0), "%s", e.text);
	if (pages != MEM_PAGES_THP)
		t_uint(nmmap, nruns <= 1024 ? nruns + 1 : 1);
	for (uint64_t page = 0; page < PAGES; page++)
		t_true(t_ram_is_filled(&m, page, page % 2 == 0 && page / 2 < nruns ? 2 : 1));
	(void)close(l[0].fd);
	(void)close(l[1].fd);
	free(run);
	guest_mem_fini(&m);
}

Test(ram_load, few_runs_are_mapped_and_many_are_read)
{
	load_many_runs(1024, MEM_PAGES_HOST);
	load_many_runs(1025, MEM_PAGES_HOST);
	load_many_runs(2048, MEM_PAGES_4K);
	load_many_runs(2048, MEM_PAGES_THP);
}

Test(ram_load, difference_without_pages_changes_nothing)
{
	static const struct page_run none;
	struct guest_mem m;
	struct err e = { 0 };
	struct ram_layer l[2] = { base_of(t_ram_file_of(PAGES, 0, 10, 1)),
		{ .fd = t_ram_file(), .path = "more", .run = &none } };

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	cr_assert(eq(int, ram_load(&m, l, 2, &e), 0), "%s", e.text);
	t_true(t_ram_is_filled(&m, 9, 1));
	(void)close(l[0].fd);
	(void)close(l[1].fd);
	guest_mem_fini(&m);
}

/* --- reading --- */

Test(ram_load, much_is_read_by_threads_that_end)
{
	enum { MANY = 100 * 256 }; /* 100 MiB */
	struct guest_mem m;
	struct err e = { 0 };
	unsigned threads = t_count_threads(), fds;
	int fd = t_ram_file_of(MANY, 1, MANY - 1, 1);

	t_true(t_ram_init(&m, MANY * MEM_PAGE_SIZE, MEM_PAGES_THP));
	fds = t_count_fds();
	cr_assert(eq(int, load_one(&m, fd, &e), 0), "%s", e.text);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	t_true(t_ram_is_zero(&m, 0));
	for (uint64_t page = 1; page < MANY; page++)
		t_true(t_ram_is_filled(&m, page, 1));
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_load, read_that_fails_is_an_error_whichever_thread_has_it)
{
	enum { MANY = 100 * 256 };
	struct guest_mem m;
	struct err e = { 0 };
	unsigned threads = t_count_threads();
	int fd = t_ram_file_of(MANY, 0, MANY, 1);

	t_true(t_ram_init(&m, MANY * MEM_PAGE_SIZE, MEM_PAGES_THP));
	pread_fails = -EIO;
	pread_fails_at = 50 * T_MIB;
	t_int(load_one(&m, fd, &e), -EIO);
	t_has(e.text, "cannot read memory file 'memory'");
	t_uint(t_settled_threads(threads), threads);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_load, huge_pages_are_read_and_holes_take_none)
{
	enum { MANY = 80 * 256 }; /* 80 MiB: with threads */
	struct guest_mem m;
	struct err e = { 0 };
	uint64_t bits[MANY / 64] = { 0 };
	struct page_run run = { .first = 512 * 30 + 5, .count = 20 };
	struct ram_layer l[2] = { base_of(t_ram_file_of(MANY, 100, 5000, 1)),
		{ .fd = t_ram_file_of(MANY, 512 * 30 + 5, 10, 2),
			.path = "more",
			.run = &run,
			.nruns = 1 } };

	if (!t_ram_reserve_huge(40) || !t_ram_init(&m, MANY * MEM_PAGE_SIZE, MEM_PAGES_2M))
		cr_skip_test("40 free huge pages of 2 MiB are needed (vm.nr_hugepages), or root");
	cr_assert(eq(int, ram_load(&m, l, 2, &e), 0), "%s", e.text);
	for (uint64_t page = 100; page < 5100; page++)
		t_true(t_ram_is_filled(&m, page, 1));
	for (uint64_t page = run.first; page < run.first + 20; page++)
		t_true(page < run.first + 10 ? t_ram_is_filled(&m, page, 2)
					     : t_ram_is_zero(&m, page));
	t_true(t_ram_is_zero(&m, 99) && t_ram_is_zero(&m, 5100));
	memset(bits, 0, sizeof(bits));
	t_int(ram_find_touched(&m, false, bits, &e), 0);
	/* Pages 0 to 5119 and those of the difference: eleven huge pages. */
	for (uint64_t page = 512 * 10; page < MANY; page += 512)
		t_true(page == 512 * 30 || !(bits[page / 64] & 1));
	(void)close(l[0].fd);
	(void)close(l[1].fd);
	guest_mem_fini(&m);
	t_ram_release_huge();
}

Test(ram_load, what_was_saved_is_what_is_loaded)
{
	struct guest_mem m, again;
	struct ram_progress p = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	for (uint64_t page = 0; page < PAGES; page += 5)
		t_ram_fill(&m, page, 1);
	t_int(ram_save(&m, NULL, fd, &p, &e), 0);
	t_true(t_ram_init(&again, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	t_int(load_one(&again, fd, &e), 0);
	t_int(memcmp(m.map, again.map, PAGES * MEM_PAGE_SIZE), 0);
	(void)close(fd);
	guest_mem_fini(&m);
	guest_mem_fini(&again);
}
