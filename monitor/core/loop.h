/*
 * The event loop: one thread that waits in one place.  Devices, the console, timers and the API
 * live on it.
 *
 * It speaks in completions.  A caller embeds a struct loop_op, fills in done and submits it;
 * done(op, res) is called once on the loop's thread, never from inside the submitting call.  The op
 * belongs to the loop from submit until done begins; inside done it may be submitted again.  done
 * never blocks.
 *
 * Two backends, one behaviour: io_uring, and epoll with blocking file I/O on a small thread pool
 * for hosts that refuse io_uring (kernel.io_uring_disabled, a container's seccomp filter).
 *
 * All calls are for the loop's own thread (the one that made it), but loop_post(), which is for
 * any.
 */
#ifndef MVM_CORE_LOOP_H
#define MVM_CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/check.h"

struct err;
struct loop;
struct loop_op;
struct loop_post;

typedef void loop_done_fn(struct loop_op *op, int res);
typedef void loop_post_fn(struct loop_post *post);

enum loop_backend { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };

/* A message to the loop's thread; posting it again before it ran changes nothing.  Zeroed but for
 * run. */
struct loop_post {
	loop_post_fn *run;
	/* private */
	struct loop_post *next;
	bool queued;
};

/* Work for the end of a round: see loop_defer().  Zeroed but for run. */
struct loop_tail {
	void (*run)(struct loop_tail *tail);
	/* private */
	struct loop_tail *next;
	bool queued;
};

enum loop_kind {
	LOOP_IDLE,
	LOOP_POLL,
	LOOP_WATCH,
	LOOP_TIMEOUT,
	LOOP_READV,
	LOOP_WRITEV,
	LOOP_SYNC,
	LOOP_ALLOCATE,
};

/* One request.  Zeroed but for done and is_long; everything else is filled by the submitting call.
 */
struct loop_op {
	loop_done_fn *done;
	bool is_long; /* a transfer that may take long even from memory: not on this thread */
	/* private to the loop */
	enum loop_kind kind; /* LOOP_IDLE: not submitted */
	int fd;
	uint32_t events;
	const struct iovec *iov;
	unsigned iov_count; /* LOOP_ALLOCATE: the mode */
	int64_t offset;
	int64_t len;         /* LOOP_ALLOCATE */
	int64_t deadline[2]; /* seconds and nanoseconds: the layout of struct __kernel_timespec */
	int res;
	bool settled; /* epoll: has its result, done has yet to be called; io_uring: is cancelled */
	struct loop *loop;
	struct loop_op *next, *prev;
	struct loop_post finished;
};

/*
 * LOOP_AUTO takes io_uring and falls back to epoll; *ret_backend, if not NULL, says which it
 * became. 0, or -errno with e filled.
 */
MUST_CHECK int loop_new(
	enum loop_backend want, struct loop **ret, enum loop_backend *ret_backend, struct err *e);

/* No op may be submitted any more.  Accepts NULL. */
void loop_free(struct loop *l);

/* Serves completions until loop_stop().  0 or the -errno of the wait itself. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* One round: waits for something to serve, and serves what there is.  0 or -errno, -EINTR among
 * them.  For a caller that waits for ops of its own; not from inside done. */
MUST_CHECK int loop_turn(struct loop *l);

/* Runs post->run on the loop's thread, soon.  Any thread; never blocks on the loop's work. */
void loop_post(struct loop *l, struct loop_post *post);

/*
 * Once, when fd has one of events (POLLIN, POLLOUT, ...): res is what it has, or -errno.  A regular
 * file is always ready.  At most one poll for each descriptor at a time.
 */
void loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events);

/*
 * Every time that the eventfd is signalled: done is called with res 0 and the op stays with the
 * loop, until loop_cancel().  Signals that come close together may be seen as one.  The counter is
 * not read: nobody else may do that, nor write so much that it fills up.
 *
 * A stream socket may be watched as well: done is called when more has come, the end and errors
 * included, and when there is something at the beginning.  It is told once; the owner reads until
 * -EAGAIN.
 */
void loop_watch(struct loop *l, struct loop_op *op, int eventfd);

/*
 * Runs tail->run once, when all that has completed in this round has been served and before the
 * loop waits again: for what is cheaper done once for many.  Deferred again before it ran, it
 * still runs once; deferred by a tail, it runs in the next round, for which the loop does not
 * sleep.
 */
void loop_defer(struct loop *l, struct loop_tail *tail);

/* CLOCK_MONOTONIC in ns, read at most once in a round of completions. */
uint64_t loop_now_ns(struct loop *l);

/* How often done was called so far, by the loop's own wake-ups for posts as well: for work that
 * makes way for others, to see whether there are any. */
uint64_t loop_served(const struct loop *l);

/* Requests of files that have not ended. */
unsigned loop_transfers(const struct loop *l);

/* After ns nanoseconds of CLOCK_MONOTONIC: res 0. */
void loop_timeout(struct loop *l, struct loop_op *op, uint64_t ns);

/*
 * preadv and pwritev of a file: res is the bytes moved or -errno; short transfers are the caller's
 * business. iov and what it names stay valid until done.  offset is at most INT64_MAX.
 */
void loop_readv(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned count,
	int64_t offset);
void loop_writev(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov,
	unsigned count, int64_t offset);

/* fdatasync: res 0 or -errno. */
void loop_sync(struct loop *l, struct loop_op *op, int fd);

/* fallocate with mode (FALLOC_FL_...): res 0 or -errno.  off and len are at most INT64_MAX. */
void loop_allocate(struct loop *l, struct loop_op *op, int fd, int mode, int64_t off, int64_t len);

/*
 * Asks for an early end.  done is still called once, with -ECANCELED when the op had not begun to
 * happen and with its own result when it had.  An idle op is left alone.
 */
void loop_cancel(struct loop *l, struct loop_op *op);

static inline bool loop_op_is_pending(const struct loop_op *op)
{
	return op->kind != LOOP_IDLE;
}

#endif
