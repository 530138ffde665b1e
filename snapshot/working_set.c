/* The pages that a guest needs first (working_set.h): recorded, brought in, judged. */
#include "snapshot/working_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/page_bits.h"
#include "snapshot/pagemap.h"
#include "snapshot/ram_save.h"
#include "snapshot/working_set_file.h"

/* Pages that were not read, between two that were, and are taken all the same: a run costs a system
 * call, a page of the page cache next to nothing.  The kernel itself maps 16 around a fault. */
enum { GAP_PAGES = 16 };

/* Brought in by one call, which nobody can cancel: 16 MiB. */
enum { PIECE_PAGES = 4096 };

void working_set_fini(struct working_set *w)
{
	free(w->read);
	free(w->written);
	*w = (struct working_set){ 0 };
}

/* --- record --- */

struct recorder {
	uint64_t *read, *written; /* bits */
};

static void on_run(void *ctx, uint64_t first, uint64_t count, bool is_private)
{
	struct recorder *r = ctx;

	page_bits_set_run(is_private ? r->written : r->read, first, count);
}

/* Joins runs that are at most gap pages apart; the number of those that are left. */
static unsigned join(struct page_run *run, unsigned n, uint64_t gap)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		struct page_run *last = kept > 0 ? &run[kept - 1] : NULL;

		if (last && run[i].first - (last->first + last->count) <= gap)
			last->count = run[i].first + run[i].count - last->first;
		else
			run[kept++] = run[i];
	}
	return kept;
}

/* The bits as runs, joined over gap pages, or over more where the file would have too many. */
static int make_runs(
	const uint64_t *bits, uint64_t pages, uint64_t gap, struct page_run **ret, unsigned *ret_n)
{
	int rc = ram_runs(bits, pages, ret, ret_n);

	if (rc < 0)
		return rc;
	*ret_n = join(*ret, *ret_n, gap);
	while (*ret_n > WORKING_SET_RUNS_MAX) {
		gap = gap * 2 + 1;
		*ret_n = join(*ret, *ret_n, gap);
	}
	return 0;
}

int working_set_record(struct working_set *w, const struct guest_mem *m, struct err *e)
{
	uint64_t pages = mem_pages(m), words = page_bits_words(pages);
	uint64_t *bits CLEANUP(freep) = calloc(words * 2, sizeof(*bits));
	struct recorder r = { .read = bits, .written = bits + words };
	struct working_set made = { .window_ms = w->window_ms };
	int rc;

	if (!bits)
		return err_sys(e, -ENOMEM, NULL, "cannot note the working set");
	rc = pagemap_scan(m, on_run, &r, e);
	if (rc < 0)
		return rc;
	rc = make_runs(r.read, pages, GAP_PAGES, &made.read, &made.nread);
	if (rc == 0)
		rc = make_runs(r.written, pages, 0, &made.written, &made.nwritten);
	if (rc < 0) {
		working_set_fini(&made);
		return err_sys(e, rc, NULL, "cannot note the working set");
	}
	memcpy(made.id, w->id, sizeof(made.id));
	*w = made;
	return 0;
}

/* --- prefetch --- */

/* One byte of each page, for kernels before 5.14; nothing is changed, the guest may write there. */
static void touch(const uint8_t *at, uint64_t len)
{
	for (uint64_t off = 0; off < len; off += MEM_PAGE_SIZE)
		(void)READ_ONCE(at[off]);
}

/* 0; 1 where the kernel does not know the advice; or -errno. */
static int populate_piece(uint8_t *at, uint64_t len, int advice)
{
	while (madvise(at, len, advice) < 0) {
		if (errno == EINVAL)
			return 1;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

static int populate(const struct guest_mem *m, const struct page_run *run, unsigned n, int advice,
	const atomic_bool *is_cancelled)
{
	bool has_populate = true;

	for (unsigned i = 0; i < n; i++) {
		uint64_t end = run[i].first + run[i].count;

		for (uint64_t page = run[i].first; page < end; page += PIECE_PAGES) {
			uint8_t *at = (uint8_t *)m->map + page * MEM_PAGE_SIZE;
			uint64_t len = MIN(end - page, (uint64_t)PIECE_PAGES) * MEM_PAGE_SIZE;
			int rc;

			if (atomic_load(is_cancelled))
				return -ECANCELED;
			rc = has_populate ? populate_piece(at, len, advice) : 1;
			if (rc < 0)
				return rc;
			if (rc > 0) {
				has_populate = false;
				touch(at, len);
			}
		}
	}
	return 0;
}

/* Asks for the runs, those that are near each other at once; costs little where they are cached. */
static void read_ahead(int fd, const struct page_run *run, unsigned n)
{
	struct page_run all = { 0 };

	for (unsigned i = 0; i <= n; i++) {
		if (i < n && all.count > 0 && run[i].first - (all.first + all.count) <= GAP_PAGES) {
			all.count = run[i].first + run[i].count - all.first;
			continue;
		}
		/* Advice: without it each page is read when it is mapped. */
		if (all.count > 0)
			(void)posix_fadvise(fd, (off_t)(all.first * MEM_PAGE_SIZE),
				(off_t)(all.count * MEM_PAGE_SIZE), POSIX_FADV_WILLNEED);
		if (i < n)
			all = run[i];
	}
}

static int check_fits(const struct guest_mem *m, const struct page_run *run, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (run[i].first > mem_pages(m) || run[i].count > mem_pages(m) - run[i].first)
			return -EBADMSG;
	return 0;
}

static int check_set(const struct working_set *w, const struct guest_mem *m, struct err *e)
{
	int rc = check_fits(m, w->read, w->nread);

	if (rc == 0)
		rc = check_fits(m, w->written, w->nwritten);
	return rc < 0 ? err_set(e, rc, "the working set is not within the machine's memory") : 0;
}

int working_set_prefetch(const struct working_set *w, const struct guest_mem *m, int memory_fd,
	const atomic_bool *is_cancelled, struct err *e)
{
	int rc = check_set(w, m, e);

	if (rc < 0)
		return rc;
	read_ahead(memory_fd, w->read, w->nread);
	read_ahead(memory_fd, w->written, w->nwritten);
	/* Copies first: a page that is read beside them would be mapped, and KVM's view of it
	 * thrown away for its copy. */
	rc = populate(m, w->written, w->nwritten, MADV_POPULATE_WRITE, is_cancelled);
	if (rc == 0)
		rc = populate(m, w->read, w->nread, MADV_POPULATE_READ, is_cancelled);
	return rc < 0 ? err_sys(e, rc, NULL, "cannot bring in the pages of the working set") : 0;
}

/* --- score --- */

static int score(const struct working_set *w, const struct guest_mem *m, uint64_t *bits,
	struct working_set_score *ret, struct err *e)
{
	uint64_t pages = mem_pages(m), brought, all;
	int rc;

	for (unsigned i = 0; i < w->nread; i++)
		page_bits_set_run(bits, w->read[i].first, w->read[i].count);
	for (unsigned i = 0; i < w->nwritten; i++)
		page_bits_set_run(bits, w->written[i].first, w->written[i].count);
	brought = page_bits_count(bits, pages);
	rc = ram_find_touched(m, false, bits, e);
	if (rc < 0)
		return rc;
	all = page_bits_count(bits, pages);
	*ret = (struct working_set_score){ .brought = brought, .missed = all - brought };
	return 0;
}

int working_set_score(const struct working_set *w, const struct guest_mem *m,
	struct working_set_score *ret, struct err *e)
{
	int rc = check_set(w, m, e);
	uint64_t *bits;

	if (rc < 0)
		return rc;
	bits = calloc(page_bits_words(mem_pages(m)), sizeof(*bits));
	rc = bits ? score(w, m, bits, ret, e)
		  : err_sys(e, -ENOMEM, NULL, "cannot judge the working set");
	free(bits);
	return rc;
}
