/* Guest memory into a memory file. */
#include "t_ram.h"

#include "snapshot/ram_save.h"

#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "snapshot/page_bits.h"
#include "snapshot/snapshot.h"

TestSuite(ram_save, .timeout = T_SECONDS);

enum { PAGES = 4096 }; /* 16 MiB */

/* --- what the host does to a save; used by the wrapped calls --- */

static struct {
	int init_fails; /* of io_uring_queue_init */
	bool hits_ring; /* every completion from this one on is changed ... */
	unsigned seen, from, so_many;
	int to;       /* ... to this error */
	unsigned cut; /* ... writes of more than so many bytes are cut to that */
	struct ram_progress *cancels;
	unsigned submissions;
	unsigned pwrites;
} host;

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	return host.init_fails ? host.init_fails : __real_io_uring_queue_init(entries, ring, flags);
}

/* Shortens what is about to be handed over. */
static void cut_submissions(struct io_uring *ring)
{
	for (unsigned at = ring->sq.sqe_head; host.cut && at != ring->sq.sqe_tail; at++) {
		struct io_uring_sqe *sqe = &ring->sq.sqes[at & *ring->sq.kring_mask];

		sqe->len = MIN(sqe->len, host.cut);
	}
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
	struct io_uring_cqe *cqe;
	unsigned head;
	int rc;

	cut_submissions(ring);
	host.submissions++;
	rc = __real_io_uring_submit_and_wait(ring, n);
	io_uring_for_each_cqe(ring, head, cqe)
	{
		if (host.hits_ring && host.seen >= host.from &&
			host.seen < host.from + host.so_many)
			cqe->res = host.to;
		host.seen++;
	}
	if (host.cancels && host.submissions == 3)
		atomic_store(&host.cancels->is_cancelled, true);
	return rc;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	unsigned nth = host.pwrites++;

	if (host.hits_ring && nth >= host.from && nth < host.from + host.so_many) {
		errno = -host.to;
		return -1;
	}
	if (host.cut && len > host.cut)
		len = host.cut;
	return __real_pwrite64(fd, buf, len, off);
}

static bool uring_works(void)
{
	struct io_uring ring;

	if (__real_io_uring_queue_init(2, &ring, 0) < 0)
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

/* Both ways to write. */
#define EACH_WAY(way) for (int way = uring_works() ? 0 : 1; way < 2 && set_way(way); way++)

static bool set_way(int way)
{
	memset(&host, 0, sizeof(host));
	host.init_fails = way == 0 ? 0 : -EPERM;
	return true;
}

/* --- saves --- */

static uint64_t blocks(int fd)
{
	struct stat st;

	t_int(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static off_t length(int fd)
{
	struct stat st;

	t_int(fstat(fd, &st), 0);
	return st.st_size;
}

Test(ram_save, full_save_has_every_page_at_its_place_and_holes_elsewhere)
{
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		int fd = t_ram_file();

		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
		for (uint64_t page = 100; page < 700; page++)
			t_ram_fill(&m, page, 1);
		t_ram_fill(&m, PAGES - 1, 1);
		((uint8_t *)m.map)[10 * MEM_PAGE_SIZE] = 0; /* touched, and zero */
		cr_assert(eq(int, ram_save(&m, NULL, fd, &p, &e), 0), "%s", e.text);
		t_int(length(fd), PAGES * MEM_PAGE_SIZE);
		for (uint64_t page = 0; page < PAGES; page++) {
			bool is_filled = (page >= 100 && page < 700) || page == PAGES - 1;

			t_true(is_filled ? t_file_is_filled(fd, page, 1)
					 : t_file_is_zero(fd, page));
		}
		t_true(blocks(fd) <= 601 * MEM_PAGE_SIZE + 64 * 1024);
		t_uint(atomic_load(&p.pages_all), 602);
		t_uint(atomic_load(&p.pages_done), 602);
		t_uint(atomic_load(&p.pages_written), 601);
		(void)close(fd);
		guest_mem_fini(&m);
	}
	T_NO_LEAKS();
}

Test(ram_save, only_the_pages_of_the_set_are_written)
{
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		uint64_t bits[PAGES / 64] = { 0 };
		int fd = t_ram_file();

		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
		for (uint64_t page = 0; page < PAGES; page++)
			t_ram_fill(&m, page, 1);
		for (uint64_t page = 0; page < PAGES; page += 3)
			page_bits_set_run(bits, page, 1);
		page_bits_set_run(bits, 1000, 600);
		cr_assert(eq(int, ram_save(&m, bits, fd, &p, &e), 0), "%s", e.text);
		for (uint64_t page = 0; page < PAGES; page++)
			t_true(page_bits_has(bits, page) ? t_file_is_filled(fd, page, 1)
							 : t_file_is_zero(fd, page));
		t_uint(atomic_load(&p.pages_written), page_bits_count(bits, PAGES));
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_save, saving_again_writes_zeroes_over_what_was_there)
{
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		uint64_t bits[PAGES / 64] = { 0 };
		int fd = t_ram_file();

		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
		for (uint64_t page = 0; page < 300; page++)
			t_ram_fill(&m, page, 1);
		t_int(ram_save(&m, NULL, fd, &p, &e), 0);
		memset(m.map, 0, 10 * MEM_PAGE_SIZE);
		t_ram_fill(&m, 20, 2);
		t_ram_fill(&m, 30, 2);
		page_bits_set_run(bits, 0, 10);
		page_bits_set_run(bits, 20, 1);
		cr_assert(eq(int, ram_save_again(&m, bits, fd, &p, &e), 0), "%s", e.text);
		for (uint64_t page = 0; page < 10; page++)
			t_true(t_file_is_zero(fd, page));
		t_true(t_file_is_filled(fd, 20, 2));
		t_true(t_file_is_filled(fd, 30, 1));
		t_int(length(fd), PAGES * MEM_PAGE_SIZE);
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

static long resident_kib(void)
{
	char text[128] = { 0 }, *resident;
	FILE *f = fopen("/proc/self/statm", "re");

	t_true(f && fgets(text, sizeof(text), f));
	(void)fclose(f);
	(void)strtol(text, &resident, 10);
	return strtol(resident, NULL, 10) * 4;
}

Test(ram_save, memory_that_was_not_touched_is_not_touched_by_the_save)
{
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		int fd = t_ram_file();
		long before;

		t_true(t_ram_init(&m, 4ULL << 30, MEM_PAGES_4K));
		for (uint64_t page = 5000; page < 5100; page++)
			t_ram_fill(&m, page, 1);
		before = resident_kib();
		cr_assert(eq(int, ram_save(&m, NULL, fd, &p, &e), 0), "%s", e.text);
		t_true(resident_kib() - before < 2048);
		t_uint(atomic_load(&p.pages_written), 100);
		t_true(blocks(fd) <= 1 * T_MIB);
		t_true(t_file_is_filled(fd, 5099, 1));
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

/* --- failures --- */

static int save_filled(struct guest_mem *m, int fd, struct ram_progress *p, struct err *e)
{
	t_true(t_ram_init(m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	for (uint64_t page = 0; page < PAGES; page++)
		t_ram_fill(m, page, 1);
	return ram_save(m, NULL, fd, p, e);
}

Test(ram_save, failure_in_the_middle_says_where_and_what_to_do)
{
	static const struct {
		const char *name;
		int code;
		const char *says;
	} rows[] = {
		{ "full", -ENOSPC, "make room" },
		{ "quota", -EDQUOT, "make room" },
		{ "broken", -EIO, "storage fails" },
		{ "limit", -EFBIG, "RLIMIT_FSIZE" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		EACH_WAY(way)
		{
			struct guest_mem m;
			struct ram_progress p = { 0 };
			struct err e = { 0 };
			int fd = t_ram_file();

			host.hits_ring = true;
			host.from = 5;
			host.so_many = 1;
			host.to = rows[i].code;
			t_row_int(rows[i].name, save_filled(&m, fd, &p, &e), rows[i].code);
			t_row_has(rows[i].name, e.text, rows[i].says);
			t_row_has(rows[i].name, e.text, "at byte ");
			t_row_true(rows[i].name, atomic_load(&p.pages_written) < PAGES);
			(void)close(fd);
			guest_mem_fini(&m);
		}
	}
	T_NO_LEAKS();
}

Test(ram_save, interrupted_writes_are_tried_again)
{
	static const int codes[] = { -EINTR, -EAGAIN };

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		EACH_WAY(way)
		{
			struct guest_mem m;
			struct ram_progress p = { 0 };
			struct err e = { 0 };
			int fd = t_ram_file();

			host.hits_ring = true;
			host.from = 2;
			host.so_many = 7;
			host.to = codes[i];
			cr_assert(eq(int, save_filled(&m, fd, &p, &e), 0), "%s", e.text);
			for (uint64_t page = 0; page < PAGES; page++)
				t_true(t_file_is_filled(fd, page, 1));
			t_uint(atomic_load(&p.pages_written), PAGES);
			(void)close(fd);
			guest_mem_fini(&m);
		}
	}
}

Test(ram_save, write_that_is_never_let_through_is_an_error)
{
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		int fd = t_ram_file();

		host.hits_ring = true;
		host.so_many = 1000000;
		host.to = -EAGAIN;
		t_int(save_filled(&m, fd, &p, &e), -EAGAIN);
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_save, short_writes_go_on_where_they_ended)
{
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		int fd = t_ram_file();

		host.cut = 100001; /* not even whole pages */
		cr_assert(eq(int, save_filled(&m, fd, &p, &e), 0), "%s", e.text);
		for (uint64_t page = 0; page < PAGES; page++)
			t_true(t_file_is_filled(fd, page, 1));
		t_uint(atomic_load(&p.pages_written), PAGES);
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_save, refused_ring_is_no_error)
{
	static const int codes[] = { -EPERM, -ENOSYS, -ENOMEM };

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		int fd = t_ram_file();

		host.init_fails = codes[i];
		host.pwrites = 0;
		cr_assert(eq(int, save_filled(&m, fd, &p, &e), 0), "%s", e.text);
		t_true(host.pwrites > 0);
		t_true(t_file_is_filled(fd, PAGES - 1, 1));
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_save, ring_writes_without_a_system_call_for_each_page)
{
	struct guest_mem m;
	struct ram_progress p = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();

	if (!uring_works())
		cr_skip_test("this host refuses io_uring");
	t_int(save_filled(&m, fd, &p, &e), 0);
	t_uint(host.pwrites, 0);
	t_true(host.submissions <= 2 * PAGES / 256 + 8);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_save, cancelled_save_ends_and_says_so)
{
	struct guest_mem m;
	struct ram_progress p = { .is_cancelled = true };
	struct err e = { 0 };

	EACH_WAY(way)
	{
		int fd = t_ram_file();

		t_int(save_filled(&m, fd, &p, &e), -ECANCELED);
		t_has(e.text, "cancelled");
		t_uint(atomic_load(&p.pages_written), 0);
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_save, save_that_is_under_way_can_be_cancelled)
{
	struct guest_mem m;
	struct ram_progress p = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();

	if (!uring_works())
		cr_skip_test("this host refuses io_uring");
	host.cancels = &p;
	t_int(save_filled(&m, fd, &p, &e), -ECANCELED);
	t_true(atomic_load(&p.pages_written) > 0);
	t_true(atomic_load(&p.pages_written) < PAGES);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_save, full_filesystem_is_enospc)
{
	char dir[64], path[96];

	if (!t_ram_small_tmpfs(dir, sizeof(dir), "4m"))
		cr_skip_test("only root may mount a small filesystem");
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		int fd;

		(void)snprintf(path, sizeof(path), "%s/memory", dir);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		t_true(fd >= 0);
		t_int(save_filled(&m, fd, &p, &e), -ENOSPC);
		t_has(e.text, "make room");
		(void)close(fd);
		(void)unlink(path);
		guest_mem_fini(&m);
	}
	t_ram_end_tmpfs(dir);
}

Test(ram_save, file_that_cannot_be_written_is_an_error)
{
	struct guest_mem m;
	struct ram_progress p = { 0 };
	struct err e = { 0 };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	t_int(save_filled(&m, fd, &p, &e), -EINVAL);
	t_has(e.text, "16777216 bytes long");
	(void)close(fd);
	guest_mem_fini(&m);
}

/* --- what was touched --- */

static void map_over(const struct guest_mem *m, int fd, uint64_t first, uint64_t count)
{
	t_true(mmap((uint8_t *)m->map + first * MEM_PAGE_SIZE, count * MEM_PAGE_SIZE,
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
		       (off_t)(first * MEM_PAGE_SIZE)) != MAP_FAILED);
}

Test(ram_save, touched_pages_are_those_that_were_touched)
{
	static const enum mem_pages kinds[] = { MEM_PAGES_4K, MEM_PAGES_THP };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct guest_mem m;
		struct err e = { 0 };
		uint64_t bits[PAGES / 64] = { 0 };

		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, kinds[i]));
		t_ram_fill(&m, 0, 1);
		t_ram_fill(&m, 65, 1);
		t_ram_fill(&m, PAGES - 1, 1);
		page_bits_set_run(bits, 3000, 1); /* stays: it is added to */
		cr_assert(eq(int, ram_find_touched(&m, false, bits, &e), 0), "%s", e.text);
		t_true(page_bits_has(bits, 0) && page_bits_has(bits, 65));
		t_true(page_bits_has(bits, PAGES - 1) && page_bits_has(bits, 3000));
		t_false(page_bits_has(bits, 1500));
		if (kinds[i] == MEM_PAGES_4K)
			t_uint(page_bits_count(bits, PAGES), 4);
		guest_mem_fini(&m);
	}
}

Test(ram_save, private_pages_of_a_mapped_file_are_those_that_were_written)
{
	struct guest_mem m;
	struct err e = { 0 };
	uint64_t written[PAGES / 64] = { 0 }, touched[PAGES / 64] = { 0 };
	int fd = t_ram_file_of(PAGES, 0, PAGES, 1);
	volatile uint8_t *map;

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	map_over(&m, fd, 0, PAGES);
	map = m.map;
	(void)map[1000 * MEM_PAGE_SIZE];
	t_ram_fill(&m, 2000, 2);
	t_int(ram_find_touched(&m, true, written, &e), 0);
	t_int(ram_find_touched(&m, false, touched, &e), 0);
	t_uint(page_bits_count(written, PAGES), 1);
	t_true(page_bits_has(written, 2000));
	t_true(page_bits_has(touched, 1000) && page_bits_has(touched, 2000));
	t_true(page_bits_count(touched, PAGES) < PAGES / 2);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_save, full_save_of_mapped_memory_has_the_pages_of_the_file)
{
	EACH_WAY(way)
	{
		struct guest_mem m;
		struct ram_progress p = { 0 };
		struct err e = { 0 };
		int from = t_ram_file_of(PAGES, 256, 1024, 1), to = t_ram_file();

		/* The middle half of it, as a kernel's image would be. */
		t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_HOST));
		map_over(&m, from, PAGES / 4, PAGES / 2);
		t_ram_fill(&m, 1100, 2);
		t_ram_fill(&m, 7, 3);
		cr_assert(eq(int, ram_save(&m, NULL, to, &p, &e), 0), "%s", e.text);
		for (uint64_t page = 0; page < PAGES; page++) {
			if (page == 7)
				t_true(t_file_is_filled(to, page, 3));
			else if (page == 1100)
				t_true(t_file_is_filled(to, page, 2));
			else if (page >= 1024 && page < 1280)
				t_true(t_file_is_filled(to, page, 1));
			else
				t_true(t_file_is_zero(to, page));
		}
		t_uint(atomic_load(&p.pages_written), 257);
		(void)close(from);
		(void)close(to);
		guest_mem_fini(&m);
	}
}

Test(ram_save, huge_pages_are_saved_and_the_untouched_ones_stay_so)
{
	struct guest_mem m;
	struct ram_progress p = { 0 };
	struct err e = { 0 };
	uint64_t bits[PAGES / 64] = { 0 };
	int fd = t_ram_file();

	if (!t_ram_reserve_huge(8) || !t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_2M))
		cr_skip_test("8 free huge pages of 2 MiB are needed (vm.nr_hugepages), or root");
	t_ram_fill(&m, 513, 1);
	t_ram_fill(&m, 4000, 1);
	t_int(ram_find_touched(&m, false, bits, &e), 0);
	t_uint(page_bits_count(bits, PAGES), 1024);
	cr_assert(eq(int, ram_save(&m, NULL, fd, &p, &e), 0), "%s", e.text);
	t_uint(atomic_load(&p.pages_all), 1024);
	t_uint(atomic_load(&p.pages_written), 2);
	t_true(t_file_is_filled(fd, 513, 1) && t_file_is_filled(fd, 4000, 1));
	(void)close(fd);
	guest_mem_fini(&m);
	t_ram_release_huge();
}

/* --- sets --- */

Test(ram_save, runs_are_the_bits)
{
	uint64_t bits[4] = { 0 };
	struct page_run *run;
	unsigned n;

	page_bits_set_run(bits, 0, 1);
	page_bits_set_run(bits, 63, 2);
	page_bits_set_run(bits, 128, 72);
	t_int(ram_runs(bits, 200, &run, &n), 0);
	t_uint(n, 3);
	t_uint(run[0].first, 0);
	t_uint(run[0].count, 1);
	t_uint(run[1].first, 63);
	t_uint(run[1].count, 2);
	t_uint(run[2].first, 128);
	t_uint(run[2].count, 72);
	free(run);
}

Test(ram_save, runs_end_with_the_pages)
{
	uint64_t bits[2] = { UINT64_MAX, UINT64_MAX };
	struct page_run *run;
	unsigned n;

	t_int(ram_runs(bits, 70, &run, &n), 0);
	t_uint(n, 1);
	t_uint(run[0].count, 70);
	t_uint(page_bits_count(bits, 70), 70);
	free(run);
	memset(bits, 0, sizeof(bits));
	t_int(ram_runs(bits, 70, &run, &n), 0);
	t_uint(n, 0);
	t_true(run != NULL);
	free(run);
}

Test(ram_save, one_byte_makes_a_page_that_is_not_zero)
{
	_Alignas(4096) static uint8_t page[MEM_PAGE_SIZE];

	t_true(ram_page_is_zero(page));
	for (unsigned i = 0; i < sizeof(page); i++) {
		page[i] = 1;
		t_false(ram_page_is_zero(page));
		page[i] = 0;
	}
}
