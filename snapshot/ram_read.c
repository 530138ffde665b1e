/* Runs of a memory file are read into guest memory (ram_read.h). */
#include "snapshot/ram_read.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "snapshot/helper_thread.h"
#include "snapshot/snapshot.h"

enum { THREADS_MAX = 4 }; /* the caller's among them; more do not make memory faster */

#define PIECE_BYTES    (UINT64_C(4) << 20)  /* what a thread takes at a time; whole huge pages */
#define PARALLEL_BYTES (UINT64_C(64) << 20) /* from so much on threads pay for their start */

struct reader {
	const struct guest_mem *m;
	const struct ram_layer *l;
	const struct page_run *run;
	unsigned n;
	bool needs_zeroes;
	pthread_mutex_t lock; /* of what follows */
	unsigned at;          /* the run that is handed out */
	uint64_t done;        /* bytes of it that were */
	int rc;               /* the first failure: nothing is handed out any more */
};

/* The next piece for whoever asks; false: there is none. */
static bool take_piece(struct reader *r, uint64_t *ret_off, uint64_t *ret_len)
{
	bool is_taken = false;

	(void)pthread_mutex_lock(&r->lock);
	while (!is_taken && r->rc == 0 && r->at < r->n) {
		uint64_t start = r->run[r->at].first * MEM_PAGE_SIZE + r->done;
		uint64_t left = r->run[r->at].count * MEM_PAGE_SIZE - r->done;
		/* Up to a place where no huge page belongs to two threads. */
		uint64_t len = MIN(left, align_down(start, PIECE_BYTES) + PIECE_BYTES - start);

		if (left == 0) {
			r->at++;
			r->done = 0;
			continue;
		}
		*ret_off = start;
		*ret_len = len;
		r->done += len;
		is_taken = true;
	}
	(void)pthread_mutex_unlock(&r->lock);
	return is_taken;
}

static int read_piece(const struct reader *r, uint64_t off, uint64_t end)
{
	while (off < end) {
		off_t data = (off_t)off, hole = (off_t)end;
		int rc;

		if (!r->needs_zeroes) {
			data = lseek(r->l->fd, (off_t)off, SEEK_DATA);
			/* Nothing but a hole up to the file's end. */
			if (data < 0 && errno == ENXIO)
				return 0;
			/* A filesystem without holes to tell of. */
			if (data < 0)
				data = (off_t)off;
			if ((uint64_t)data >= end)
				return 0;
			hole = lseek(r->l->fd, data, SEEK_HOLE);
			if (hole <= data || (uint64_t)hole > end)
				hole = (off_t)end;
		}
		rc = io_pread_full(r->l->fd, (uint8_t *)r->m->map + data, (size_t)(hole - data),
			(uint64_t)data);
		if (rc < 0)
			return rc;
		off = (uint64_t)hole;
	}
	return 0;
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	uint64_t off, len;

	while (take_piece(r, &off, &len)) {
		int rc = read_piece(r, off, off + len);

		if (rc < 0) {
			(void)pthread_mutex_lock(&r->lock);
			r->rc = rc;
			(void)pthread_mutex_unlock(&r->lock);
		}
	}
	return NULL;
}

static unsigned count_threads(const struct reader *r)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t bytes = 0;

	for (unsigned i = 0; i < r->n; i++)
		bytes += r->run[i].count * MEM_PAGE_SIZE;
	if (bytes <= PARALLEL_BYTES || cpus < 2)
		return 1;
	return (unsigned)MIN(cpus, THREADS_MAX);
}

int ram_read(const struct guest_mem *m, const struct ram_layer *l, const struct page_run *run,
	unsigned n, bool needs_zeroes, struct err *e)
{
	struct reader r = { .m = m, .l = l, .run = run, .n = n, .needs_zeroes = needs_zeroes };
	unsigned helpers = count_threads(&r) - 1, started = 0;
	pthread_t thread[THREADS_MAX];

	(void)pthread_mutex_init(&r.lock, NULL);
	/* Without helpers it takes longer, no more. */
	while (started < helpers &&
		helper_thread_start(&thread[started], "ram-read", reader_main, &r, NULL) == 0)
		started++;
	(void)reader_main(&r);
	for (unsigned i = 0; i < started; i++)
		(void)pthread_join(thread[i], NULL);
	(void)pthread_mutex_destroy(&r.lock);
	return r.rc < 0 ? err_sys(e, r.rc, NULL, "cannot read memory file '%s'", l->path) : 0;
}
