/*
 * Guest memory into a file (ram_save.h): pages that are wanted and not zero are gathered into
 * pieces, and each piece is one write straight from guest memory.
 */
#include "snapshot/ram_save.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/page_bits.h"

enum {
	PIECE_PAGES_MAX = 256, /* 1 MiB in one write */
	IN_FLIGHT_MAX = 32,
	TRIES_MAX = 1000, /* of a write, or a submission, that is to be tried again */
	WAIT_NS = 1000000,
};

struct piece {
	uint64_t off, len; /* what is left of it, in bytes; len 0: free */
	unsigned tries;
};

struct writer {
	const struct guest_mem *m;
	const uint64_t *bits;
	int fd;
	struct ram_progress *p;
	bool keeps_zeroes;
	uint64_t next; /* the first page that nobody has looked at */
	uint64_t failed_at;
	int rc; /* the first failure; nothing new is begun then */
	unsigned in_flight;
	struct io_uring ring;
	struct piece piece[IN_FLIGHT_MAX];
};

bool ram_page_is_zero(const void *page)
{
	enum { STEP = 8 };
	const uint64_t *word = page;

	/* A step at a time, because most pages that are not zero show it in their first bytes. */
	for (unsigned i = 0; i < MEM_PAGE_SIZE / sizeof(*word); i += STEP) {
		uint64_t any = 0;

		for (unsigned k = 0; k < STEP; k++)
			any |= word[i + k];
		if (any != 0)
			return false;
	}
	return true;
}

int ram_write_error(struct err *e, int rc, uint64_t off)
{
	const char *hint = NULL;

	if (rc == -ECANCELED)
		return err_set(e, rc, "the save was cancelled");
	if (rc == -ENOSPC || rc == -EDQUOT)
		hint = "make room there, or save to another filesystem";
	else if (rc == -EIO)
		hint = "the storage fails: see the kernel's log, and save to another one";
	else if (rc == -EFBIG)
		hint = "the filesystem or RLIMIT_FSIZE does not allow a file of this size";
	return err_sys(
		e, rc, hint, "cannot write the memory file at byte %llu", (unsigned long long)off);
}

/* --- what is to be written --- */

static const uint8_t *page_at(const struct writer *w, uint64_t page)
{
	return (const uint8_t *)w->m->map + page * MEM_PAGE_SIZE;
}

static bool is_cancelled(const struct writer *w)
{
	return atomic_load_explicit(&w->p->is_cancelled, memory_order_relaxed);
}

static void looked_at(const struct writer *w, uint64_t pages)
{
	atomic_fetch_add_explicit(&w->p->pages_done, pages, memory_order_relaxed);
}

/* The next pages that belong together; false: there are none, or w has failed. */
static bool gather(struct writer *w, struct piece *ret)
{
	uint64_t pages = mem_pages(w->m), end, first;

	for (first = w->next;; first++) {
		first = page_bits_next(w->bits, first, pages, true);
		if (is_cancelled(w))
			w->rc = -ECANCELED;
		if (first == pages || w->rc < 0)
			return false;
		if (w->keeps_zeroes || !ram_page_is_zero(page_at(w, first)))
			break;
		looked_at(w, 1);
	}
	for (end = first + 1; end < pages && end - first < PIECE_PAGES_MAX; end++) {
		if (!page_bits_has(w->bits, end))
			break;
		if (!w->keeps_zeroes && ram_page_is_zero(page_at(w, end)))
			break;
	}
	w->next = end;
	looked_at(w, end - first);
	*ret = (struct piece){ .off = first * MEM_PAGE_SIZE, .len = (end - first) * MEM_PAGE_SIZE };
	return true;
}

/* What a write of p came to: true when there is something left to write. */
static bool settle(struct writer *w, struct piece *p, int64_t res)
{
	if (res == -EINTR || res == -EAGAIN) {
		res = ++p->tries < TRIES_MAX ? 0 : -EAGAIN;
	} else if (res == 0) {
		res = -EIO; /* nothing written and no reason given */
	} else if (res > 0) {
		uint64_t before = p->off / MEM_PAGE_SIZE;

		p->off += (uint64_t)res;
		p->len -= (uint64_t)res;
		atomic_fetch_add_explicit(&w->p->pages_written, p->off / MEM_PAGE_SIZE - before,
			memory_order_relaxed);
	}
	if (res < 0 && w->rc == 0) {
		w->rc = (int)res;
		w->failed_at = p->off;
	}
	if (w->rc < 0)
		p->len = 0;
	return p->len > 0;
}

/* --- one write after the other --- */

static void write_in_order(struct writer *w)
{
	struct piece p = { 0 };

	while (gather(w, &p)) {
		ssize_t n;

		do {
			n = pwrite(w->fd, (const uint8_t *)w->m->map + p.off, p.len, (off_t)p.off);
		} while (settle(w, &p, n < 0 ? -errno : n));
	}
}

/* --- many at a time --- */

static void queue(struct writer *w, struct piece *p)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	/* There are as many entries as pieces, and each piece is in the queue at most once. */
	INVARIANT(sqe);
	io_uring_prep_write(
		sqe, w->fd, (const uint8_t *)w->m->map + p->off, (unsigned)p->len, p->off);
	io_uring_sqe_set_data(sqe, p);
	w->in_flight++;
}

static struct piece *free_piece(struct writer *w)
{
	for (unsigned i = 0; i < ARRAY_SIZE(w->piece); i++)
		if (w->piece[i].len == 0)
			return &w->piece[i];
	return NULL;
}

/* Hands over what is queued and waits for so many completions.  0, or -errno of a ring that does
 * not work any more. */
static int enter(struct writer *w, unsigned wait)
{
	const struct timespec pause = { .tv_nsec = WAIT_NS };
	int rc = 0;

	for (unsigned i = 0; i < TRIES_MAX; i++) {
		rc = io_uring_submit_and_wait(&w->ring, wait);
		if (rc >= 0)
			return 0;
		if (rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
			break;
		/* Completions may have to be taken first. */
		if (io_uring_cq_ready(&w->ring) > 0)
			return 0;
		(void)nanosleep(&pause, NULL);
	}
	return rc;
}

static void reap(struct writer *w)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&w->ring, &cqe) == 0) {
		struct piece *p = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&w->ring, cqe);
		w->in_flight--;
		if (settle(w, p, res))
			queue(w, p);
	}
}

static void write_by_ring(struct writer *w)
{
	bool has_more = true;

	for (;;) {
		struct piece *p = has_more && w->rc == 0 ? free_piece(w) : NULL;
		int rc;

		if (p && gather(w, p))
			queue(w, p);
		else if (p)
			has_more = false;
		if (w->in_flight == 0)
			return;
		/* At once, so that the kernel writes while the next piece is looked for. */
		rc = enter(w, free_piece(w) && has_more && w->rc == 0 ? 0 : 1);
		if (rc < 0) {
			/* What is under way is the kernel's until the ring is gone; guest memory
			 * stays. */
			w->rc = rc;
			return;
		}
		reap(w);
	}
}

static int save(struct writer *w, struct err *e)
{
	/* Added, because there may be another round. */
	atomic_fetch_add_explicit(
		&w->p->pages_all, page_bits_count(w->bits, mem_pages(w->m)), memory_order_relaxed);
	/* Whatever the reason for a refusal: there is the other way. */
	if (io_uring_queue_init(IN_FLIGHT_MAX, &w->ring, 0) == 0) {
		write_by_ring(w);
		io_uring_queue_exit(&w->ring);
	} else {
		write_in_order(w);
	}
	return w->rc < 0 ? ram_write_error(e, w->rc, w->failed_at) : 0;
}

int ram_save(const struct guest_mem *m, const uint64_t *bits, int fd, struct ram_progress *p,
	struct err *e)
{
	struct writer w = { .m = m, .bits = bits, .fd = fd, .p = p };
	uint64_t *needed CLEANUP(freep) = NULL;
	int rc;

	if (!bits) {
		needed = calloc(page_bits_words(mem_pages(m)), sizeof(*needed));
		if (!needed)
			return err_sys(e, -ENOMEM, NULL, "cannot note the pages to save");
		rc = ram_find_needed(m, needed, e);
		if (rc < 0)
			return rc;
		w.bits = needed;
	}
	if (ftruncate(fd, (off_t)m->map_len) < 0) {
		rc = -errno;
		return err_sys(e, rc, rc == -EFBIG ? "see RLIMIT_FSIZE" : NULL,
			"cannot make the memory file %llu bytes long",
			(unsigned long long)m->map_len);
	}
	return save(&w, e);
}

int ram_save_again(const struct guest_mem *m, const uint64_t *bits, int fd, struct ram_progress *p,
	struct err *e)
{
	struct writer w = { .m = m, .bits = bits, .fd = fd, .p = p, .keeps_zeroes = true };

	return save(&w, e);
}
