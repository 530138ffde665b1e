/* The pages that a guest needs first. */
#include "t_ram.h"

#include "snapshot/working_set.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/crc.h"
#include "base/err.h"
#include "snapshot/ram_load.h"
#include "snapshot/working_set_file.h"

TestSuite(working_set, .timeout = T_SECONDS);

enum { PAGES = 4096 };

static int populate_fails;
static unsigned nmadvise;
static atomic_bool is_cancelled;

int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);

int __wrap_madvise(void *at, size_t len, int advice)
{
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) {
		nmadvise++;
		if (populate_fails) {
			errno = -populate_fails;
			return -1;
		}
	}
	return __real_madvise(at, len, advice);
}

/* A machine that was restored from fd. */
static void restore(struct guest_mem *m, int fd)
{
	const struct ram_layer l = { .fd = fd, .path = "memory" };
	struct err e = { 0 };

	t_true(t_ram_init(m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	cr_assert(eq(int, ram_load(m, &l, 1, &e), 0), "%s", e.text);
}

static void read_page(const struct guest_mem *m, uint64_t page)
{
	(void)READ_ONCE(((const uint8_t *)m->map)[page * MEM_PAGE_SIZE]);
}

static bool has(const struct page_run *run, unsigned n, uint64_t page)
{
	for (unsigned i = 0; i < n; i++)
		if (page >= run[i].first && page - run[i].first < run[i].count)
			return true;
	return false;
}

/* What such a guest has touched: it read pages 100 and 3000, and wrote to 200 to 219 and 240. */
static void live(const struct guest_mem *m)
{
	read_page(m, 100);
	read_page(m, 3000);
	for (uint64_t page = 200; page < 220; page++)
		t_ram_fill(m, page, 2);
	t_ram_fill(m, 240, 2);
}

static void record(struct working_set *w, const struct guest_mem *m)
{
	struct err e = { 0 };

	*w = (struct working_set){ .window_ms = 77, .id = { 1, 2, 3, 16 } };
	cr_assert(eq(int, working_set_record(w, m, &e), 0), "%s", e.text);
}

Test(working_set, has_what_was_read_and_what_was_written)
{
	struct guest_mem m;
	struct working_set w;
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	restore(&m, fd);
	live(&m);
	record(&w, &m);
	t_uint(w.window_ms, 77);
	t_uint(w.id[2], 3);
	t_true(has(w.read, w.nread, 100) && has(w.read, w.nread, 3000));
	t_false(has(w.read, w.nread, 1000) || has(w.read, w.nread, 2000));
	t_uint(w.nwritten, 2);
	t_uint(w.written[0].first, 200);
	t_uint(w.written[0].count, 20);
	t_uint(w.written[1].first, 240);
	t_uint(w.written[1].count, 1);
	working_set_fini(&w);
	t_true(w.read == NULL);
	(void)close(fd);
	guest_mem_fini(&m);
	T_NO_LEAKS();
}

Test(working_set, of_a_machine_that_has_touched_nothing_is_empty)
{
	struct guest_mem m;
	struct working_set w;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	restore(&m, fd);
	record(&w, &m);
	t_uint(w.nread + w.nwritten, 0);
	t_int(working_set_prefetch(&w, &m, fd, &is_cancelled, &e), 0);
	working_set_fini(&w);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(working_set, small_gaps_of_read_pages_are_filled_and_those_of_written_ones_are_not)
{
	struct guest_mem m;
	struct working_set w;
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	restore(&m, fd);
	/* The kernel maps around each: 16 pages, aligned. */
	read_page(&m, 1600);
	read_page(&m, 1632);
	for (uint64_t page = 0; page < 64; page += 2)
		t_ram_fill(&m, page, 2);
	record(&w, &m);
	t_true(has(w.read, w.nread, 1600) && has(w.read, w.nread, 1632));
	t_uint(w.nread, 1);
	t_uint(w.nwritten, 32);
	working_set_fini(&w);
	(void)close(fd);
	guest_mem_fini(&m);
}

/* Pages that this process has for page of m: 0, 1 a file's, 2 its own. */
static int owner(const struct guest_mem *m, uint64_t page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	t_int(pread(fd, &entry, 8, (off_t)(((uintptr_t)m->map / MEM_PAGE_SIZE + page) * 8)), 8);
	(void)close(fd);
	if (!(entry >> 63))
		return 0;
	return entry >> 61 & 1 ? 1 : 2;
}

Test(working_set, prefetch_maps_what_is_read_and_copies_what_is_written)
{
	struct guest_mem m, again;
	struct working_set w;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	restore(&m, fd);
	live(&m);
	record(&w, &m);
	restore(&again, fd);
	t_int(owner(&again, 100), 0);
	nmadvise = 0;
	cr_assert(
		eq(int, working_set_prefetch(&w, &again, fd, &is_cancelled, &e), 0), "%s", e.text);
	t_uint(nmadvise, w.nread + w.nwritten);
	t_int(owner(&again, 100), 1);
	t_int(owner(&again, 3000), 1);
	t_int(owner(&again, 210), 2);
	t_int(owner(&again, 240), 2);
	t_int(owner(&again, 2000), 0);
	/* Nothing but where they are has changed. */
	for (uint64_t page = 0; page < PAGES; page++)
		t_true(t_ram_is_filled(&again, page, 1));
	working_set_fini(&w);
	(void)close(fd);
	guest_mem_fini(&m);
	guest_mem_fini(&again);
}

Test(working_set, kernel_without_populate_reads_a_byte_of_each_page)
{
	struct guest_mem m, again;
	struct working_set w;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	restore(&m, fd);
	live(&m);
	record(&w, &m);
	restore(&again, fd);
	populate_fails = -EINVAL;
	cr_assert(
		eq(int, working_set_prefetch(&w, &again, fd, &is_cancelled, &e), 0), "%s", e.text);
	t_true(owner(&again, 100) && owner(&again, 3000) && owner(&again, 210));
	populate_fails = -ENOMEM;
	t_int(working_set_prefetch(&w, &again, fd, &is_cancelled, &e), -ENOMEM);
	working_set_fini(&w);
	(void)close(fd);
	guest_mem_fini(&m);
	guest_mem_fini(&again);
}

Test(working_set, score_counts_what_the_guest_touched_beside_it)
{
	struct guest_mem m, again;
	struct working_set w;
	struct working_set_score s = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);
	uint64_t brought = 0;

	restore(&m, fd);
	live(&m);
	record(&w, &m);
	for (uint64_t page = 0; page < PAGES; page++)
		brought += has(w.read, w.nread, page) || has(w.written, w.nwritten, page);
	restore(&again, fd);
	t_int(working_set_prefetch(&w, &again, fd, &is_cancelled, &e), 0);
	t_int(working_set_score(&w, &again, &s, &e), 0);
	t_uint(s.brought, brought);
	t_uint(s.missed, 0);
	live(&again);
	for (uint64_t page = 2000; page < 2032; page++)
		t_ram_fill(&again, page, 5);
	t_int(working_set_score(&w, &again, &s, &e), 0);
	t_uint(s.brought, brought);
	t_true(s.missed >= 32 && s.missed < 32 + 3 * 16);
	working_set_fini(&w);
	(void)close(fd);
	guest_mem_fini(&m);
	guest_mem_fini(&again);
}

Test(working_set, prefetch_ends_when_the_machine_does)
{
	struct page_run run[] = { { 0, 100 }, { 200, 100 } };
	struct working_set w = { .nread = 1, .read = &run[0], .nwritten = 1, .written = &run[1] };
	struct guest_mem m;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);

	restore(&m, fd);
	atomic_store(&is_cancelled, true);
	nmadvise = 0;
	t_int(working_set_prefetch(&w, &m, fd, &is_cancelled, &e), -ECANCELED);
	t_uint(nmadvise, 0);
	atomic_store(&is_cancelled, false);
	t_int(working_set_prefetch(&w, &m, fd, &is_cancelled, &e), 0);
	t_uint(nmadvise, 2);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(working_set, that_does_not_fit_is_not_used)
{
	struct guest_mem m;
	struct page_run run = { PAGES - 1, 2 };
	struct working_set w = { .nread = 1, .read = &run };
	struct working_set_score s;
	struct err e = { 0 };
	int fd = t_ram_file_of(PAGES, 0, 1, 1);

	restore(&m, fd);
	t_int(working_set_prefetch(&w, &m, fd, &is_cancelled, &e), -EBADMSG);
	t_int(working_set_score(&w, &m, &s, &e), -EBADMSG);
	run = (struct page_run){ 1, UINT64_MAX };
	t_int(working_set_prefetch(&w, &m, fd, &is_cancelled, &e), -EBADMSG);
	(void)close(fd);
	guest_mem_fini(&m);
}

/* --- the file --- */

static char dir[] = "/tmp/mvm-test-XXXXXX", path[64];

static void make_dir(void)
{
	t_true(mkdtemp(dir) != NULL);
	(void)snprintf(path, sizeof(path), "%s/working-set", dir);
}

static void remove_dir(void)
{
	(void)unlink(path);
	/* Fails when anything else was left there. */
	t_int(rmdir(dir), 0);
}

static struct page_run some_read[] = { { 0, 10 }, { 20, 1 }, { 4000, 96 } };
static struct page_run some_written[] = { { 12, 3 } };
static const struct working_set some = { .id = { 9, 8, 7 },
	.window_ms = 500,
	.nread = 3,
	.nwritten = 1,
	.read = some_read,
	.written = some_written };

Test(working_set, comes_back_from_its_file)
{
	struct working_set w = { 0 };
	struct err e = { 0 };
	struct stat st;

	make_dir();
	cr_assert(eq(int, working_set_write(&some, path, &e), 0), "%s", e.text);
	/* Over one that is there. */
	t_int(working_set_write(&some, path, &e), 0);
	t_int(stat(path, &st), 0);
	t_int(st.st_mode & 0777, 0600);
	cr_assert(eq(int, working_set_read(&w, path, PAGES, &e), 0), "%s", e.text);
	t_int(memcmp(w.id, some.id, sizeof(w.id)), 0);
	t_uint(w.window_ms, 500);
	t_uint(w.nread, 3);
	t_uint(w.nwritten, 1);
	t_int(memcmp(w.read, some_read, sizeof(some_read)), 0);
	t_int(memcmp(w.written, some_written, sizeof(some_written)), 0);
	working_set_fini(&w);
	remove_dir();
	T_NO_LEAKS();
}

Test(working_set, empty_one_comes_back)
{
	const struct working_set none = { .window_ms = 1 };
	struct working_set w = { 0 };
	struct err e = { 0 };

	make_dir();
	t_int(working_set_write(&none, path, &e), 0);
	t_int(working_set_read(&w, path, PAGES, &e), 0);
	t_uint(w.nread + w.nwritten, 0);
	working_set_fini(&w);
	remove_dir();
}

Test(working_set, file_that_cannot_be_written_leaves_nothing)
{
	struct err e = { 0 };

	make_dir();
	t_int(mkdir(path, 0700), 0);
	t_true(working_set_write(&some, path, &e) < 0);
	t_has(e.text, path);
	t_int(rmdir(path), 0);
	remove_dir();
	t_int(working_set_write(&some, path, &e), -ENOENT);
}

static void put(const uint8_t *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	t_int(write(fd, data, len), (ssize_t)len);
	(void)close(fd);
}

static size_t get(uint8_t *data, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, data, size);

	t_true(n > 0);
	(void)close(fd);
	return (size_t)n;
}

Test(working_set, every_cut_and_every_flipped_bit_is_noticed)
{
	uint8_t data[512] = { 0 };
	struct err e = { 0 };
	size_t len;

	make_dir();
	t_int(working_set_write(&some, path, &e), 0);
	len = get(data, sizeof(data));
	for (size_t cut = 0; cut < len; cut++) {
		struct working_set w = { 0 };

		put(data, cut);
		t_int(working_set_read(&w, path, PAGES, &e), -EBADMSG);
		t_true(w.read == NULL);
	}
	put(data, len + 1);
	{
		struct working_set w = { 0 };

		t_int(working_set_read(&w, path, PAGES, &e), -EBADMSG);
	}
	for (size_t bit = 0; bit < len * 8; bit++) {
		struct working_set w = { 0 };

		data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		put(data, len);
		t_int(working_set_read(&w, path, PAGES, &e), -EBADMSG);
		data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	remove_dir();
	T_NO_LEAKS();
}

Test(working_set, wrong_numbers_under_a_right_checksum_are_noticed)
{
	uint8_t data[512] = { 0 };
	struct err e = { 0 };
	size_t len;
	unsigned refused = 0;

	make_dir();
	t_int(working_set_write(&some, path, &e), 0);
	len = get(data, sizeof(data));
	for (size_t at = 0; at + 4 < len; at++) {
		for (unsigned k = 0; k < 2; k++) {
			struct working_set w = { 0 };
			uint8_t old = data[at];
			uint32_t crc;
			int rc;

			data[at] = k == 0 ? 0xff : (uint8_t)(old + 1);
			crc = crc32c(0, data, len - 4);
			memcpy(data + len - 4, &crc, 4);
			put(data, len);
			rc = working_set_read(&w, path, PAGES, &e);
			t_true(rc == 0 || rc == -EBADMSG);
			refused += rc < 0;
			/* What is let through is within memory. */
			for (unsigned i = 0; rc == 0 && i < w.nread; i++)
				t_true(w.read[i].first + w.read[i].count <= PAGES);
			for (unsigned i = 0; rc == 0 && i < w.nwritten; i++)
				t_true(w.written[i].first + w.written[i].count <= PAGES);
			working_set_fini(&w);
			data[at] = old;
		}
	}
	/* Magic, version, counts and most of each run; not id and window. */
	t_true(refused > 2 * (len - 4 - 24) / 2);
	remove_dir();
	T_NO_LEAKS();
}

Test(working_set, of_a_larger_machine_is_refused)
{
	struct working_set w = { 0 };
	struct err e = { 0 };

	make_dir();
	t_int(working_set_write(&some, path, &e), 0);
	t_int(working_set_read(&w, path, PAGES - 1, &e), -EBADMSG);
	t_has(e.text, path);
	remove_dir();
}

Test(working_set, what_is_no_file_is_refused)
{
	struct working_set w = { 0 };
	struct err e = { 0 };

	make_dir();
	t_int(working_set_read(&w, path, PAGES, &e), -ENOENT);
	t_int(mkfifo(path, 0600), 0);
	t_int(working_set_read(&w, path, PAGES, &e), -EBADMSG);
	(void)unlink(path);
	t_int(working_set_read(&w, dir, PAGES, &e), -EBADMSG);
	remove_dir();
}

Test(working_set, file_that_is_too_long_is_refused_unread)
{
	struct working_set w = { 0 };
	struct err e = { 0 };
	int fd;

	make_dir();
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	t_int(ftruncate(fd, 1LL << 40), 0);
	(void)close(fd);
	t_int(working_set_read(&w, path, PAGES, &e), -EBADMSG);
	remove_dir();
}

Test(working_set, too_many_runs_are_joined)
{
	/* Every other page of so much memory was written. */
	enum { MANY = 2 * (WORKING_SET_RUNS_MAX + 10) };
	struct guest_mem m;
	struct working_set w, back = { 0 };
	struct err e = { 0 };

	t_true(t_ram_init(&m, (uint64_t)MANY * MEM_PAGE_SIZE, MEM_PAGES_4K));
	for (uint64_t page = 0; page < MANY; page += 2)
		((uint8_t *)m.map)[page * MEM_PAGE_SIZE] = 1;
	record(&w, &m);
	t_uint(w.nwritten, 1);
	t_uint(w.written[0].count, MANY - 1);
	make_dir();
	t_int(working_set_write(&w, path, &e), 0);
	t_int(working_set_read(&back, path, MANY, &e), 0);
	working_set_fini(&w);
	working_set_fini(&back);
	remove_dir();
	guest_mem_fini(&m);
}
