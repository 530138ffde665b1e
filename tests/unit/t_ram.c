/* What the tests of memory files share (t_ram.h). */
#include "t_ram.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>

#include "base/err.h"
#include "base/io.h"
#include "x86/layout.h"

bool t_ram_init(struct guest_mem *m, uint64_t size, enum mem_pages pages)
{
	struct err e = { 0 };
	int rc = guest_mem_init(m, size, LAYOUT_HOLE_START, LAYOUT_HOLE_END, pages, false, &e);

	if (rc < 0 && pages == MEM_PAGES_2M)
		return false;
	cr_assert(eq(int, rc, 0), "%s", e.text);
	return true;
}

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static int pool = -1; /* locked while a test has pages of it */
static unsigned long pool_before;

static unsigned long pool_number(const char *path)
{
	char text[32];

	return io_read_text(path, text, sizeof(text)) > 0 ? strtoul(text, NULL, 10) : 0;
}

bool t_ram_reserve_huge(unsigned pages)
{
	pool = open(POOL "nr_hugepages", O_RDWR | O_CLOEXEC);
	if (pool < 0)
		return pool_number(POOL "free_hugepages") >= pages;
	t_int(flock(pool, LOCK_EX), 0);
	pool_before = pool_number(POOL "nr_hugepages");
	(void)dprintf(pool, "%lu", pool_before + pages);
	if (pool_number(POOL "free_hugepages") >= pages)
		return true;
	t_ram_release_huge();
	return false;
}

void t_ram_release_huge(void)
{
	if (pool < 0)
		return;
	(void)dprintf(pool, "%lu", pool_before);
	(void)close(pool);
	pool = -1;
}

static void pattern(uint64_t *words, uint64_t page, unsigned seed)
{
	for (unsigned i = 0; i < MEM_PAGE_SIZE / sizeof(*words); i++)
		words[i] = (page << 32 | (uint64_t)seed << 16 | i) * 0x9e3779b97f4a7c15ULL + 1;
}

static const uint8_t zeroes[MEM_PAGE_SIZE];

static uint8_t *page_at(const struct guest_mem *m, uint64_t page)
{
	return (uint8_t *)m->map + page * MEM_PAGE_SIZE;
}

void t_ram_fill(const struct guest_mem *m, uint64_t page, unsigned seed)
{
	uint64_t words[MEM_PAGE_SIZE / 8];

	pattern(words, page, seed);
	memcpy(page_at(m, page), words, sizeof(words));
}

bool t_ram_is_filled(const struct guest_mem *m, uint64_t page, unsigned seed)
{
	uint64_t words[MEM_PAGE_SIZE / 8];

	pattern(words, page, seed);
	return memcmp(page_at(m, page), words, sizeof(words)) == 0;
}

bool t_ram_is_zero(const struct guest_mem *m, uint64_t page)
{
	return memcmp(page_at(m, page), zeroes, sizeof(zeroes)) == 0;
}

bool t_file_is_filled(int fd, uint64_t page, unsigned seed)
{
	uint64_t words[MEM_PAGE_SIZE / 8], got[MEM_PAGE_SIZE / 8];

	pattern(words, page, seed);
	t_int(pread(fd, got, sizeof(got), (off_t)(page * MEM_PAGE_SIZE)), sizeof(got));
	return memcmp(got, words, sizeof(words)) == 0;
}

bool t_file_is_zero(int fd, uint64_t page)
{
	uint8_t got[MEM_PAGE_SIZE];

	t_int(pread(fd, got, sizeof(got), (off_t)(page * MEM_PAGE_SIZE)), sizeof(got));
	return memcmp(got, zeroes, sizeof(zeroes)) == 0;
}

int t_ram_file(void)
{
	char path[] = "/tmp/mvm-test-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	t_true(fd >= 0);
	(void)unlink(path);
	return fd;
}

int t_ram_file_of(uint64_t pages, uint64_t first, uint64_t count, unsigned seed)
{
	uint64_t words[MEM_PAGE_SIZE / 8];
	int fd = t_ram_file();

	t_int(ftruncate(fd, (off_t)(pages * MEM_PAGE_SIZE)), 0);
	for (uint64_t page = first; page < first + count; page++) {
		pattern(words, page, seed);
		t_int(pwrite(fd, words, sizeof(words), (off_t)(page * MEM_PAGE_SIZE)),
			sizeof(words));
	}
	return fd;
}

bool t_ram_small_tmpfs(char *dir, size_t size, const char *bytes)
{
	char options[64];

	(void)snprintf(dir, size, "/tmp/mvm-test-XXXXXX");
	(void)snprintf(options, sizeof(options), "size=%s", bytes);
	t_true(mkdtemp(dir) != NULL);
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("mvm-test", dir, "tmpfs", 0, options) == 0)
		return true;
	(void)rmdir(dir);
	return false;
}

void t_ram_end_tmpfs(const char *dir)
{
	t_int(umount2(dir, MNT_DETACH), 0);
	t_int(rmdir(dir), 0);
}
