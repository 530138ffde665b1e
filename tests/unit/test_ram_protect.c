/* Copies of memory as it was, behind a machine that runs on. */
#include "t_ram.h"

#include "snapshot/ram_protect.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <liburing.h>

#include "base/err.h"
#include "snapshot/page_bits.h"
#include "snapshot/ram_save.h"
#include "snapshot/userfault.h"

TestSuite(ram_protect, .timeout = T_SECONDS);

enum { PAGES = 8192, SLOTS = 1024 }; /* 32 MiB; SLOTS is ram_protect.c's */

/* --- what the kernel refuses --- */

static uint64_t unknown_features;
static int protect_fails, let_go_fails;
static _Atomic bool unregister_fails;
static int pwrite_fails, pwrite_from;
static _Atomic int npwrite;
static size_t pwrite_cut;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	int fails = 0;

	if (request == UFFDIO_API && ((struct uffdio_api *)arg)->features & unknown_features)
		fails = EINVAL;
	if (request == UFFDIO_WRITEPROTECT)
		fails = ((struct uffdio_writeprotect *)arg)->mode ? -protect_fails : -let_go_fails;
	if (request == UFFDIO_UNREGISTER && atomic_load(&unregister_fails))
		fails = ENOMEM;
	if (fails) {
		errno = fails;
		return -1;
	}
	return __real_ioctl(fd, request, arg);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	int nth = atomic_fetch_add(&npwrite, 1);

	if (pwrite_fails && nth >= pwrite_from) {
		errno = -pwrite_fails;
		return -1;
	}
	if (pwrite_cut && len > pwrite_cut)
		len = pwrite_cut;
	return __real_pwrite64(fd, buf, len, off);
}

/* Begins, or says what the host lacks. */
static struct ram_protect *begin(const struct guest_mem *m, const uint64_t *bits)
{
	struct ram_protect *p = NULL;
	struct err e = { 0 };
	int rc = ram_protect_begin(m, bits, &p, &e);

	if (rc == -EPERM || rc == -EOPNOTSUPP || rc == -ENOSYS)
		cr_skip_test("userfaultfd with write protection is needed (Linux 5.19; root)");
	cr_assert(eq(int, rc, 0), "%s", e.text);
	return p;
}

static void fill(struct guest_mem *m, uint64_t size, enum mem_pages pages)
{
	t_true(t_ram_init(m, size, pages));
	for (uint64_t page = 0; page < size / MEM_PAGE_SIZE / 2; page++)
		t_ram_fill(m, page, 1);
}

/* The file has what fill() made and nothing that came later. */
static void check_file(int fd, uint64_t pages)
{
	struct stat st;

	t_int(fstat(fd, &st), 0);
	t_int(st.st_size, pages * MEM_PAGE_SIZE);
	for (uint64_t page = 0; page < pages; page++)
		t_true(page < pages / 2 ? t_file_is_filled(fd, page, 1) : t_file_is_zero(fd, page));
	t_true((uint64_t)st.st_blocks * 512 <= pages / 2 * MEM_PAGE_SIZE + 256 * 1024);
}

/* --- writers --- */

struct writer {
	const struct guest_mem *m;
	_Atomic bool stops;
	_Atomic uint64_t written;
	uint64_t until; /* pages; 0: until it is stopped */
	unsigned seed;
	pthread_t thread;
};

static uint64_t next_page(unsigned *seed, uint64_t pages)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 4) % pages;
}

static void *store_main(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stops)) {
		t_ram_fill(w->m, next_page(&w->seed, mem_pages(w->m)), 7);
		atomic_fetch_add(&w->written, 1);
	}
	return NULL;
}

/* Every page once, in order, without a function that could be elsewhere. */
static void *store_in_order(void *arg)
{
	struct writer *w = arg;

	for (uint64_t page = 0; page < w->until; page++) {
		WRITE_ONCE(((uint64_t *)w->m->map)[page * 512], 1);
		atomic_fetch_add(&w->written, 1);
	}
	return NULL;
}

/* The kernel's copies, as those of a device's reads. */
static void *pread_main(void *arg)
{
	struct writer *w = arg;
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	while (!atomic_load(&w->stops)) {
		uint64_t page = next_page(&w->seed, mem_pages(w->m) - 4);
		ssize_t n = read(fd, (uint8_t *)w->m->map + page * MEM_PAGE_SIZE + 100, 9000);

		t_true(n > 0);
		atomic_fetch_add(&w->written, 1);
	}
	(void)close(fd);
	return NULL;
}

static void *uring_main(void *arg)
{
	struct writer *w = arg;
	int fd = t_ram_file_of(16, 0, 16, 9);
	struct io_uring ring;

	if (io_uring_queue_init(8, &ring, 0) < 0)
		return NULL;
	while (!atomic_load(&w->stops)) {
		uint64_t page = next_page(&w->seed, mem_pages(w->m) - 4);
		struct io_uring_cqe *cqe;
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		io_uring_prep_read(sqe, fd, (uint8_t *)w->m->map + page * MEM_PAGE_SIZE, 16384, 0);
		/* On this thread, and by the kernel's workers. */
		io_uring_sqe_set_flags(sqe, page % 2 ? IOSQE_ASYNC : 0);
		t_true(io_uring_submit_and_wait(&ring, 1) >= 0);
		t_int(io_uring_wait_cqe(&ring, &cqe), 0);
		t_int(cqe->res, 16384);
		io_uring_cqe_seen(&ring, cqe);
		atomic_fetch_add(&w->written, 1);
	}
	io_uring_queue_exit(&ring);
	(void)close(fd);
	return NULL;
}

static void start(struct writer *w, const struct guest_mem *m, void *(*run)(void *), unsigned seed)
{
	*w = (struct writer){ .m = m, .seed = seed };
	t_int(pthread_create(&w->thread, NULL, run, w), 0);
}

static void stop(struct writer *w)
{
	atomic_store(&w->stops, true);
	(void)pthread_join(w->thread, NULL);
}

static bool wait_until(_Atomic uint64_t *count, uint64_t n)
{
	for (unsigned i = 0; i < 5000 && atomic_load(count) < n; i++)
		(void)usleep(1000);
	return atomic_load(count) >= n;
}

/* --- copies --- */

Test(ram_protect, copy_is_memory_as_it_was_whoever_writes_meanwhile)
{
	static void *(*const writers[])(
		void *) = { store_main, pread_main, uring_main, store_main };
	static const enum mem_pages kinds[] = { MEM_PAGES_HOST, MEM_PAGES_4K, MEM_PAGES_THP };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct guest_mem m;
		struct ram_progress progress = { 0 };
		struct err e = { 0 };
		struct writer w[ARRAY_SIZE(writers)];
		int fd = t_ram_file();
		struct ram_protect *p;

		fill(&m, PAGES * MEM_PAGE_SIZE, kinds[i]);
		p = begin(&m, NULL);
		for (unsigned k = 0; k < ARRAY_SIZE(writers); k++)
			start(&w[k], &m, writers[k], k * 77 + i);
		(void)usleep(5000);
		cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
		/* Nobody waits any more. */
		for (unsigned k = 0; k < ARRAY_SIZE(writers); k++)
			t_true(k == 2 ? true
				      : wait_until(&w[k].written, atomic_load(&w[k].written) + 10));
		for (unsigned k = 0; k < ARRAY_SIZE(writers); k++)
			stop(&w[k]);
		ram_protect_end(p);
		check_file(fd, PAGES);
		t_uint(atomic_load(&progress.pages_all), PAGES);
		t_uint(atomic_load(&progress.pages_done), PAGES);
		t_uint(atomic_load(&progress.pages_written), PAGES / 2);
		(void)close(fd);
		guest_mem_fini(&m);
	}
	T_NO_LEAKS();
}

Test(ram_protect, copy_without_writers_is_a_full_save)
{
	struct guest_mem m;
	struct ram_progress progress = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();
	unsigned fds = t_count_fds(), threads = t_count_threads();
	struct ram_protect *p;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	p = begin(&m, NULL);
	cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
	ram_protect_end(p);
	check_file(fd, PAGES);
	t_uint(t_count_fds(), fds);
	t_uint(t_settled_threads(threads), threads);
	/* Again, with what has changed. */
	t_ram_fill(&m, 5, 3);
	t_int(ftruncate(fd, 0), 0);
	p = begin(&m, NULL);
	t_int(ram_protect_save(p, fd, &progress, &e), 0);
	ram_protect_end(p);
	t_true(t_file_is_filled(fd, 5, 3));
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_protect, memory_that_is_no_whole_group_is_copied_to_its_end)
{
	enum { ODD = 512 * 3 + 77 };
	struct guest_mem m;
	struct ram_progress progress = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();
	struct ram_protect *p;

	t_true(t_ram_init(&m, ODD * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	for (uint64_t page = 0; page < ODD; page++)
		t_ram_fill(&m, page, 1);
	p = begin(&m, NULL);
	t_ram_fill(&m, ODD - 1, 2);
	cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
	ram_protect_end(p);
	for (uint64_t page = 0; page < ODD; page++)
		t_true(t_file_is_filled(fd, page, 1));
	t_true(t_ram_is_filled(&m, ODD - 1, 2));
	t_uint(atomic_load(&progress.pages_done), ODD);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_protect, only_the_pages_of_the_set_are_copied)
{
	struct guest_mem m;
	struct ram_progress progress = { 0 };
	struct err e = { 0 };
	uint64_t bits[PAGES / 64] = { 0 };
	int fd = t_ram_file();
	struct ram_protect *p;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	page_bits_set_run(bits, 100, 5);
	page_bits_set_run(bits, 4000, 200); /* the last of them were never touched */
	p = begin(&m, bits);
	for (uint64_t page = 0; page < PAGES; page += 3) {
		/* More than there are slots, but of the set only. */
		t_ram_fill(&m, page, 9);
	}
	cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
	ram_protect_end(p);
	for (uint64_t page = 0; page < PAGES; page++) {
		bool is_there = page_bits_has(bits, page) && page < PAGES / 2;

		t_true(is_there ? t_file_is_filled(fd, page, 1) : t_file_is_zero(fd, page));
	}
	t_uint(atomic_load(&progress.pages_all), 205);
	t_uint(atomic_load(&progress.pages_written), 5 + 96);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_protect, page_that_was_only_read_is_zero_in_the_copy)
{
	struct guest_mem m;
	struct ram_progress progress = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();
	struct ram_protect *p;

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	t_true(t_ram_is_zero(&m, 7)); /* the kernel's one zero page is there now */
	p = begin(&m, NULL);
	t_ram_fill(&m, 7, 1);
	t_ram_fill(&m, 8, 1);
	cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
	ram_protect_end(p);
	t_true(t_file_is_zero(fd, 7) && t_file_is_zero(fd, 8));
	t_true(t_ram_is_filled(&m, 7, 1) && t_ram_is_filled(&m, 8, 1));
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_protect, short_writes_go_on_where_they_ended)
{
	struct guest_mem m;
	struct ram_progress progress = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();
	struct ram_protect *p;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	p = begin(&m, NULL);
	pwrite_cut = 3001;
	cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
	ram_protect_end(p);
	check_file(fd, PAGES);
	(void)close(fd);
	guest_mem_fini(&m);
}

/* --- writers that are faster than the save --- */

Test(ram_protect, writer_waits_for_room_and_goes_on_with_the_save)
{
	struct guest_mem m;
	struct ram_progress progress = { 0 };
	struct err e = { 0 };
	struct writer w;
	int fd = t_ram_file();
	struct ram_protect *p;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	p = begin(&m, NULL);
	w = (struct writer){ .m = &m, .until = PAGES };
	t_int(pthread_create(&w.thread, NULL, store_in_order, &w), 0);
	t_true(wait_until(&w.written, SLOTS));
	(void)usleep(50000);
	t_uint(atomic_load(&w.written), SLOTS);
	cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
	(void)pthread_join(w.thread, NULL);
	ram_protect_end(p);
	check_file(fd, PAGES);
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_protect, writer_that_waits_is_let_go_when_there_is_no_save)
{
	struct guest_mem m;
	struct writer w;
	struct ram_protect *p;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	p = begin(&m, NULL);
	w = (struct writer){ .m = &m, .until = PAGES };
	t_int(pthread_create(&w.thread, NULL, store_in_order, &w), 0);
	t_true(wait_until(&w.written, SLOTS));
	ram_protect_end(p);
	(void)pthread_join(w.thread, NULL);
	t_uint(atomic_load(&w.written), PAGES);
	guest_mem_fini(&m);
}

/* --- failures: the copy is lost, the machine is not --- */

/* Saves with writers at work, to the given end; and they go on. */
static int save_under_writers(struct ram_progress *progress, struct err *e)
{
	struct guest_mem m;
	struct writer w[3];
	int fd = t_ram_file(), rc;
	unsigned fds = t_count_fds(), threads = t_count_threads();
	struct ram_protect *p;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	p = begin(&m, NULL);
	atomic_store(&npwrite, 0);
	start(&w[0], &m, store_main, 1);
	start(&w[1], &m, store_main, 2);
	start(&w[2], &m, pread_main, 3);
	(void)usleep(20000);
	rc = ram_protect_save(p, fd, progress, e);
	for (unsigned k = 0; k < ARRAY_SIZE(w); k++)
		t_true(wait_until(&w[k].written, atomic_load(&w[k].written) + 10));
	for (unsigned k = 0; k < ARRAY_SIZE(w); k++)
		stop(&w[k]);
	ram_protect_end(p);
	t_uint(t_count_fds(), fds);
	t_uint(t_settled_threads(threads), threads);
	/* All of it can be written. */
	for (uint64_t page = 0; page < PAGES; page++)
		t_ram_fill(&m, page, 4);
	(void)close(fd);
	guest_mem_fini(&m);
	return rc;
}

Test(ram_protect, full_or_broken_storage_ends_the_copy_and_nothing_else)
{
	static const int codes[] = { -ENOSPC, -EIO };

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		struct ram_progress progress = { 0 };
		struct err e = { 0 };

		pwrite_fails = codes[i];
		pwrite_from = (int)i * 20;
		t_int(save_under_writers(&progress, &e), codes[i]);
		t_has(e.text, "at byte");
	}
}

Test(ram_protect, cancelled_copy_ends)
{
	struct ram_progress progress = { .is_cancelled = true };
	struct err e = { 0 };

	t_int(save_under_writers(&progress, &e), -ECANCELED);
	t_has(e.text, "cancelled");
}

Test(ram_protect, kernel_that_does_not_let_go_of_a_page_lets_go_of_all)
{
	struct ram_progress progress = { 0 };
	struct err e = { 0 };

	let_go_fails = -ENOMEM;
	t_true(save_under_writers(&progress, &e) < 0);
	t_has(e.text, "not whole");
}

Test(ram_protect, when_nothing_else_helps_the_descriptor_goes)
{
	struct ram_progress progress = { 0 };
	struct err e = { 0 };

	let_go_fails = -ENOMEM;
	atomic_store(&unregister_fails, true);
	t_true(save_under_writers(&progress, &e) < 0);
	t_has(e.text, "not whole");
}

Test(ram_protect, beginning_that_fails_leaves_nothing)
{
	struct guest_mem m;
	struct ram_protect *p = NULL;
	struct err e = { 0 };
	unsigned fds = t_count_fds(), threads = t_count_threads();

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	ram_protect_end(begin(&m, NULL));
	protect_fails = -ENOMEM;
	t_int(ram_protect_begin(&m, NULL, &p, &e), -ENOMEM);
	protect_fails = -ENOENT;
	t_int(ram_protect_begin(&m, NULL, &p, &e), -EOPNOTSUPP);
	t_true(p == NULL);
	t_uint(t_count_fds(), fds);
	t_uint(t_settled_threads(threads), threads);
	t_ram_fill(&m, 0, 2);
	guest_mem_fini(&m);
	T_NO_LEAKS();
}

/* --- memory that cannot be protected --- */

static int begin_code(const struct guest_mem *m, struct err *e)
{
	struct ram_protect *p = NULL;
	int rc = ram_protect_begin(m, NULL, &p, e);

	ram_protect_end(p);
	return rc;
}

static void map_over(const struct guest_mem *m, int fd, uint64_t first, uint64_t count)
{
	t_true(mmap((uint8_t *)m->map + first * MEM_PAGE_SIZE, count * MEM_PAGE_SIZE,
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
		       (off_t)(first * MEM_PAGE_SIZE)) != MAP_FAILED);
}

Test(ram_protect, restored_machine_is_not_supported)
{
	enum { LARGE = 20000 };
	struct guest_mem m;
	struct err e = { 0 };
	int fd = t_ram_file_of(LARGE, 0, 10, 1);

	t_true(t_ram_init(&m, LARGE * MEM_PAGE_SIZE, MEM_PAGES_HOST));
	map_over(&m, fd, 0, LARGE);
	t_int(begin_code(&m, &e), -EOPNOTSUPP);
	t_has(e.text, "maps a file");
	t_ram_fill(&m, 3, 3);
	(void)close(fd);
	guest_mem_fini(&m);
}

/* Mappings of this process that are in m. */
static unsigned mappings(const struct guest_mem *m)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	t_true(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		uint64_t start = strtoull(line, NULL, 16);

		n += start >= (uintptr_t)m->map && start < (uintptr_t)m->map + m->map_len;
	}
	(void)fclose(f);
	return n;
}

/* Small enough to be made its own, a restored machine's memory is no more the file's, and what the
 * guest has zeroed must not be taken for what the file has. */
Test(ram_protect, zeroed_page_of_a_mapped_file_stays_a_difference_to_it)
{
	uint64_t bits[PAGES / 64] = { 0 };
	int file = t_ram_file_of(PAGES, 0, PAGES, 1);
	struct guest_mem m;
	struct err e = { 0 };

	t_true(t_ram_init(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K));
	map_over(&m, file, 0, PAGES);
	memset((uint8_t *)m.map + 77 * MEM_PAGE_SIZE, 0, MEM_PAGE_SIZE);
	ram_protect_end(begin(&m, NULL));
	/* Before anybody looks at it, which would map the kernel's zero page. */
	t_int(ram_find_touched(&m, true, bits, &e), 0);
	t_true(page_bits_has(bits, 77) && page_bits_has(bits, 78));
	t_true(t_ram_is_zero(&m, 77) && t_ram_is_filled(&m, 78, 1));
	(void)close(file);
	guest_mem_fini(&m);
}

Test(ram_protect, mapped_kernel_becomes_memory_like_all_other)
{
	static const enum mem_pages kinds[] = { MEM_PAGES_HOST, MEM_PAGES_4K, MEM_PAGES_THP };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct guest_mem m;
		struct ram_progress progress = { 0 };
		struct err e = { 0 };
		int image = t_ram_file_of(PAGES, 5000, 300, 1), fd = t_ram_file();
		struct ram_protect *p;

		fill(&m, PAGES * MEM_PAGE_SIZE, kinds[i]);
		map_over(&m, image, 5000, 400);
		map_over(&m, image, 6000, 10);
		t_ram_fill(&m, 5001, 3);
		p = begin(&m, NULL);
		t_true(mappings(&m) <= 1); /* 0: joined with its neighbour */
		for (uint64_t page = 0; page < PAGES; page += 7)
			t_ram_fill(&m, page, 9);
		cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
		ram_protect_end(p);
		for (uint64_t page = 0; page < PAGES; page++) {
			bool is_image = page >= 5000 && page < 5300;

			if (page == 5001)
				t_true(t_file_is_filled(fd, page, 3));
			else if (page < PAGES / 2 || is_image)
				t_true(t_file_is_filled(fd, page, 1));
			else
				t_true(t_file_is_zero(fd, page));
			if (page % 7 == 0)
				t_true(t_ram_is_filled(&m, page, 9));
			else if (is_image && page != 5001)
				t_true(t_ram_is_filled(&m, page, 1));
		}
		(void)close(image);
		(void)close(fd);
		guest_mem_fini(&m);
	}
}

Test(ram_protect, huge_pages_of_the_pool_are_not_supported)
{
	struct guest_mem m = { .pages = MEM_PAGES_2M };
	struct err e = { 0 };

	t_int(begin_code(&m, &e), -EOPNOTSUPP);
	t_has(e.text, "huge pages");
}

Test(ram_protect, memory_that_a_handler_brings_is_not_supported)
{
	struct guest_mem m;
	struct err e = { 0 };
	int fd;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	ram_protect_end(begin(&m, NULL));
	fd = userfault_open(0, 0, &e);
	t_true(fd >= 0);
	t_int(userfault_register(fd, &m, UFFDIO_REGISTER_MODE_MISSING, _UFFDIO_COPY, &e), 0);
	t_int(begin_code(&m, &e), -EOPNOTSUPP);
	t_has(e.text, "handler");
	(void)close(fd);
	guest_mem_fini(&m);
}

Test(ram_protect, kernel_without_write_protection_is_not_supported)
{
	static const uint64_t features[] = { UFFD_FEATURE_PAGEFAULT_FLAG_WP,
		UFFD_FEATURE_WP_HUGETLBFS_SHMEM };

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		struct guest_mem m;
		struct err e = { 0 };
		int fd;

		fd = userfault_open(0, 0, &e);
		if (fd < 0)
			cr_skip_test("userfaultfd is needed, for root or by /dev/userfaultfd");
		(void)close(fd);
		fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
		unknown_features = features[i];
		t_int(begin_code(&m, &e), -EOPNOTSUPP);
		t_ram_fill(&m, 3, 3);
		guest_mem_fini(&m);
	}
}

/* --- a vCPU --- */

/* Real mode: writes 0xaa to the first byte of each page from 0x2000 to 0xf000, and halts. */
static const uint8_t code[] = {
	0xbb, 0x00, 0x20,       /* mov bx, 0x2000 */
	0xc6, 0x07, 0xaa,       /* again: mov byte [bx], 0xaa */
	0x81, 0xc3, 0x00, 0x10, /* add bx, 0x1000 */
	0x81, 0xfb, 0x00, 0x00, /* cmp bx, 0 */
	0x75, 0xf3,             /* jne again */
	0xf4,                   /* hlt */
};

struct machine {
	int vm, vcpu;
	struct kvm_run *run;
	_Atomic uint64_t halted;
};

static void *vcpu_main(void *arg)
{
	struct machine *k = arg;

	while (ioctl(k->vcpu, KVM_RUN, 0) == 0 && k->run->exit_reason == KVM_EXIT_INTR)
		continue;
	atomic_store(&k->halted, k->run->exit_reason == KVM_EXIT_HLT ? 1 : 2);
	return NULL;
}

static void make_machine(struct machine *k, const struct guest_mem *m)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct kvm_userspace_memory_region r = { .memory_size = m->map_len,
		.userspace_addr = (uintptr_t)m->map };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };

	if (kvm < 0)
		cr_skip_test("no /dev/kvm");
	k->vm = ioctl(kvm, KVM_CREATE_VM, NULL);
	t_true(k->vm >= 0);
	t_int(ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
	k->vcpu = ioctl(k->vm, KVM_CREATE_VCPU, NULL);
	t_true(k->vcpu >= 0);
	k->run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, k->vcpu, 0);
	t_true(k->run != MAP_FAILED);
	t_int(ioctl(k->vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	t_int(ioctl(k->vcpu, KVM_SET_SREGS, &sregs), 0);
	t_int(ioctl(k->vcpu, KVM_SET_REGS, &regs), 0);
	(void)close(kvm);
}

Test(ram_protect, guest_is_held_up_and_its_writes_are_not_in_the_copy)
{
	struct guest_mem m;
	struct machine k = { 0 };
	struct ram_progress progress = { 0 };
	struct err e = { 0 };
	int fd = t_ram_file();
	struct ram_protect *p;
	pthread_t thread;

	fill(&m, PAGES * MEM_PAGE_SIZE, MEM_PAGES_4K);
	memcpy((uint8_t *)m.map + 0x1000, code, sizeof(code));
	make_machine(&k, &m);
	/* Once before, so that KVM has the pages mapped for writing. */
	t_int(pthread_create(&thread, NULL, vcpu_main, &k), 0);
	(void)pthread_join(thread, NULL);
	t_uint(atomic_load(&k.halted), 1);
	for (uint64_t page = 2; page < 16; page++) {
		t_int(((uint8_t *)m.map)[page * MEM_PAGE_SIZE], 0xaa);
		t_ram_fill(&m, page, 1);
	}
	{
		struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };

		t_int(ioctl(k.vcpu, KVM_SET_REGS, &regs), 0);
	}
	p = begin(&m, NULL);
	atomic_store(&k.halted, 0);
	t_int(pthread_create(&thread, NULL, vcpu_main, &k), 0);
	t_true(wait_until(&k.halted, 1));
	(void)pthread_join(thread, NULL);
	t_uint(atomic_load(&k.halted), 1);
	cr_assert(eq(int, ram_protect_save(p, fd, &progress, &e), 0), "%s", e.text);
	ram_protect_end(p);
	for (uint64_t page = 2; page < 16; page++) {
		t_true(t_file_is_filled(fd, page, 1));
		t_int(((uint8_t *)m.map)[page * MEM_PAGE_SIZE], 0xaa);
	}
	(void)close(fd);
	guest_mem_fini(&m);
}
