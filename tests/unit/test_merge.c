/* A full snapshot and its differences become one. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "snapshot/merge.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "t_state.h"

static void setup(void);

TestSuite(merge, .timeout = T_SECONDS, .init = setup);

enum { PAGES = 32 };

static char folder[] = "/tmp/mvm-test-XXXXXX";
static uint8_t memory[PAGES][MEM_PAGE_SIZE], other[PAGES][MEM_PAGE_SIZE];

static void setup(void)
{
	t_quiet();
	t_true(mkdtemp(folder) != NULL);
	t_int(chdir(folder), 0);
	t_int(mkdir("out", 0700), 0);
}

static void done(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	t_int(system(command), 0);
	T_NO_LEAKS();
}

static void put(const char *dir, const char *name, const void *data, size_t len)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	t_true(fd >= 0);
	t_int(write(fd, data, len), len);
	(void)close(fd);
}

static void put_state(const char *dir, const struct snapshot *s)
{
	uint8_t *data = NULL;
	size_t len = 0;
	struct err e = { 0 };

	cr_assert(eq(int, state_encode(s, &data, &len, &e), 0), "%s", e.text);
	put(dir, "state", data, len);
	free(data);
}

/* Snapshots of one machine, the id of each its number; base NULL: a full one. */
static struct snapshot *make(
	const char *dir, uint8_t id, const struct snapshot *base, unsigned ndrives)
{
	struct t_state_shape shape = {
		.cpus = 1, .drives = ndrives, .runs = base ? 1 : 0, .seed = 7
	};
	struct snapshot *s = t_state_new(&shape);

	t_int(mkdir(dir, 0700), 0);
	memset(s->id, id, sizeof(s->id));
	s->vm->mem_size = 16 << 20;
	if (base)
		memcpy(s->base_id, base->id, sizeof(s->base_id));
	for (unsigned i = 0; i < s->ndrives; i++)
		s->drive[i].is_captured = false;
	return s;
}

/* A memory file of 16 MiB whose first pages are these; a page of zeros is a hole. */
static void put_memory(const char *dir, uint8_t page[PAGES][MEM_PAGE_SIZE])
{
	static const uint8_t zeros[MEM_PAGE_SIZE];
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/memory", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	t_int(ftruncate(fd, 16 << 20), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		if (memcmp(page[i], zeros, MEM_PAGE_SIZE) != 0)
			t_int(pwrite(fd, page[i], MEM_PAGE_SIZE, (off_t)i * MEM_PAGE_SIZE),
				MEM_PAGE_SIZE);
	}
	(void)close(fd);
}

static void set_run(struct snapshot *s, uint64_t first, uint64_t count)
{
	s->nruns = 1;
	s->run[0] = (struct page_run){ first, count };
}

/* The base has pages of 1, the difference others in pages 4 to 7, of which 5 is zeros, and what it
 * does not say is its own in page 9. */
static void make_two(struct snapshot **base, struct snapshot **diff)
{
	*base = make("base", 1, NULL, 0);
	*diff = make("diff", 2, *base, 0);
	set_run(*diff, 4, 4);
	memset(memory, 1, sizeof(memory));
	memset(memory[20], 0, MEM_PAGE_SIZE);
	put_state("base", *base);
	put_memory("base", memory);
	memset(other, 0, sizeof(other));
	for (unsigned i = 4; i < 8; i++)
		memset(other[i], i == 5 ? 0 : 0x22, MEM_PAGE_SIZE);
	memset(other[9], 0x33, MEM_PAGE_SIZE);
	put_state("diff", *diff);
	put_memory("diff", other);
	memcpy(memory[4], other[4], (size_t)4 * MEM_PAGE_SIZE);
}

static void check_memory(const char *path, uint8_t want[PAGES][MEM_PAGE_SIZE])
{
	static uint8_t got[PAGES][MEM_PAGE_SIZE];
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	t_true(fd >= 0);
	t_int(fstat(fd, &st), 0);
	t_int(st.st_size, 16 << 20);
	t_int(st.st_mode & 0777, 0600);
	t_int(read(fd, got, sizeof(got)), sizeof(got));
	for (unsigned i = 0; i < PAGES; i++)
		cr_expect(eq(int, memcmp(got[i], want[i], MEM_PAGE_SIZE), 0), "page %u", i);
	/* Zeros are holes. */
	t_true(lseek(fd, 5 * MEM_PAGE_SIZE, SEEK_DATA) >= 6 * MEM_PAGE_SIZE);
	(void)close(fd);
}

Test(merge, a_difference_goes_over_its_base)
{
	const char *const dirs[] = { "base", "diff" };
	struct snapshot *base, *diff, *merged = NULL;
	struct err e = { 0 };

	make_two(&base, &diff);
	cr_assert(eq(int, snapshot_merge(dirs, 2, "out", &e), 0), "%s", e.text);
	check_memory("out/memory", memory);
	t_int(state_read("out", &merged, &e), 0);
	/* The same moment: what is a difference to it stays one. */
	t_int(memcmp(merged->id, diff->id, sizeof(merged->id)), 0);
	t_int(merged->kind, SNAPSHOT_FULL);
	t_uint(merged->nruns, 0);
	t_uint(merged->created_ns, diff->created_ns);
	t_int(access("out/memory.02020202020202020202020202020202", F_OK), -1);
	snapshot_free(merged);
	snapshot_free(base);
	snapshot_free(diff);
	done();
}

Test(merge, three_in_order)
{
	const char *const dirs[] = { "base", "diff", "third" };
	struct snapshot *base, *diff, *third;
	struct err e = { 0 };

	make_two(&base, &diff);
	third = make("third", 3, diff, 0);
	set_run(third, 6, 4);
	memset(other, 0x44, sizeof(other));
	put_state("third", third);
	put_memory("third", other);
	memcpy(memory[6], other[6], (size_t)4 * MEM_PAGE_SIZE);
	cr_assert(eq(int, snapshot_merge(dirs, 3, "out", &e), 0), "%s", e.text);
	check_memory("out/memory", memory);
	snapshot_free(base);
	snapshot_free(diff);
	snapshot_free(third);
	done();
}

Test(merge, what_does_not_belong_together_is_refused)
{
	static const struct {
		const char *name, *dir[3], *out, *text;
		int rc;
	} rows[] = {
		{ "alone", { "base" }, "out", "2 to", -EINVAL },
		{ "no base", { "diff", "third" }, "out", "is a difference: begin", -EINVAL },
		{ "two bases", { "base", "base" }, "out", "'base' is a full snapshot", -EINVAL },
		{ "a gap", { "base", "third" }, "out", "not a difference to 'base'", -ESTALE },
		{ "other memory", { "base", "diff", "third" }, "out", "different memory",
			-EBADMSG },
		{ "nothing", { "base", "none" }, "out", "none", -ENOENT },
		{ "into itself", { "base", "diff" }, "base", "itself one of", -EINVAL },
		{ "into nothing", { "base", "diff" }, "none", "'none'", -ENOENT },
		{ "into a file", { "base", "diff" }, "base/state", "no folder", -ENOTDIR },
	};
	struct snapshot *base, *diff, *third;

	make_two(&base, &diff);
	third = make("third", 3, diff, 0);
	third->vm->mem_size *= 2;
	set_run(third, 6, 4);
	put_state("third", third);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned n = 0;
		struct err e = { 0 };

		while (n < 3 && rows[i].dir[n])
			n++;
		t_row_int(
			rows[i].name, snapshot_merge(rows[i].dir, n, rows[i].out, &e), rows[i].rc);
		t_row_has(rows[i].name, e.text, rows[i].text);
		/* And nothing is left. */
		t_row_int(rows[i].name, rmdir("out"), 0);
		t_row_int(rows[i].name, mkdir("out", 0700), 0);
	}
	snapshot_free(base);
	snapshot_free(diff);
	snapshot_free(third);
	done();
}

Test(merge, memory_that_is_cut_off_is_refused)
{
	const char *const dirs[] = { "base", "diff" };
	struct snapshot *base, *diff;
	struct err e = { 0 };

	make_two(&base, &diff);
	t_int(truncate("diff/memory", 7 * MEM_PAGE_SIZE), 0);
	t_int(snapshot_merge(dirs, 2, "out", &e), -ENODATA);
	t_has(e.text, "'diff/memory' has been cut off");
	t_int(rmdir("out"), 0);
	snapshot_free(base);
	snapshot_free(diff);
	done();
}

Test(merge, twice_into_the_same_folder)
{
	const char *const dirs[] = { "base", "diff" };
	struct snapshot *base, *diff;
	struct err e = { 0 };

	make_two(&base, &diff);
	/* Another snapshot there is replaced; this one is there already. */
	put_state("out", base);
	put_memory("out", other);
	cr_assert(eq(int, snapshot_merge(dirs, 2, "out", &e), 0), "%s", e.text);
	check_memory("out/memory", memory);
	t_int(snapshot_merge(dirs, 2, "out", &e), -EEXIST);
	check_memory("out/memory", memory);
	snapshot_free(base);
	snapshot_free(diff);
	done();
}

Test(merge, captured_disks_are_those_of_the_last)
{
	const char *const dirs[] = { "base", "diff" };
	struct snapshot *base = make("base", 1, NULL, 1), *diff = make("diff", 2, base, 1);
	char name[CONFIG_ID_MAX + 8], path[CONFIG_ID_MAX + 16], got[8] = "";
	struct err e = { 0 };
	int fd;

	set_run(diff, 0, 1);
	base->drive[0].read_only = diff->drive[0].read_only = false;
	base->drive[0].is_captured = diff->drive[0].is_captured = true;
	(void)snprintf(name, sizeof(name), "disk-%s", diff->drive[0].id);
	put_state("base", base);
	put_state("diff", diff);
	put_memory("base", memory);
	put_memory("diff", memory);
	put("base", name, "old", 3);
	put("diff", name, "new", 3);
	cr_assert(eq(int, snapshot_merge(dirs, 2, "out", &e), 0), "%s", e.text);
	(void)snprintf(path, sizeof(path), "out/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	t_int(read(fd, got, sizeof(got)), 3);
	t_str(got, "new");
	(void)close(fd);
	snapshot_free(base);
	snapshot_free(diff);
	done();
}
