/*
 * The loop on io_uring: one ring, one batch of submissions for each wait.
 *
 * The ring is sealed before its first use: seccomp does not see what goes through a ring, so the
 * list of opcodes below is part of the sandbox.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>

#include "core/loop_backend.h"

/* More completions than submissions: a poll that stays, or a long request, needs room at any time.
 */
enum { RING_ENTRIES = 256, CQ_ENTRIES = 1024, SUBMIT_TRIES = 1000, SUBMIT_WAIT_NS = 1000000 };

struct uring {
	struct io_uring ring;
};

/* What the loop asks for, and nothing else; each line is a kind of struct loop_op, the last is
 * loop_cancel(). */
static const uint8_t allowed_opcodes[] = {
	IORING_OP_POLL_ADD,
	IORING_OP_TIMEOUT,
	IORING_OP_READV,
	IORING_OP_WRITEV,
	IORING_OP_FSYNC,
	IORING_OP_FALLOCATE,
	IORING_OP_ASYNC_CANCEL,
};

static int seal(struct io_uring *ring)
{
	struct io_uring_restriction rule[ARRAY_SIZE(allowed_opcodes) + 1] = { 0 };
	int rc;

	for (unsigned i = 0; i < ARRAY_SIZE(allowed_opcodes); i++) {
		rule[i].opcode = IORING_RESTRICTION_SQE_OP;
		rule[i].sqe_op = allowed_opcodes[i];
	}
	/* What is long goes to the kernel's workers. */
	rule[ARRAY_SIZE(allowed_opcodes)].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rule[ARRAY_SIZE(allowed_opcodes)].sqe_flags = IOSQE_ASYNC;
	rc = io_uring_register_restrictions(ring, rule, ARRAY_SIZE(rule));
	return rc < 0 ? rc : io_uring_enable_rings(ring);
}

static int init_ring(struct io_uring *ring, unsigned flags)
{
	struct io_uring_params p = { .flags = flags | IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES };

	return io_uring_queue_init_params(RING_ENTRIES, ring, &p);
}

static int uring_init(struct loop *l, void **ret_state)
{
	/* Newest first: single issuer and deferred task work (6.1) save inter-processor
	 * interrupts; 5.10 has neither. */
	static const unsigned flags[] = {
		IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_R_DISABLED,
	};
	struct uring *u = calloc(1, sizeof(*u));
	int rc = -EINVAL;

	(void)l;
	if (!u)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(flags) && rc == -EINVAL; i++)
		rc = init_ring(&u->ring, flags[i]);
	if (rc < 0) {
		free(u);
		return rc;
	}
	/* Polls that stay came with Linux 5.13, as did this feature. */
	rc = u->ring.features & IORING_FEAT_RSRC_TAGS ? seal(&u->ring) : -ENOSYS;
	if (rc < 0) {
		io_uring_queue_exit(&u->ring);
		free(u);
		return rc;
	}
	*ret_state = u;
	return 0;
}

static void uring_fini(void *state)
{
	struct uring *u = state;

	io_uring_queue_exit(&u->ring);
	free(u);
}

static struct io_uring_sqe *get_sqe(struct uring *u)
{
	const struct timespec wait = { .tv_nsec = SUBMIT_WAIT_NS };
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	/* The queue is full of things the kernel has not seen yet; after this it is empty, unless
	 * the kernel is short of memory for a moment. */
	for (unsigned i = 0; !sqe && i < SUBMIT_TRIES; i++) {
		if (io_uring_submit(&u->ring) < 0)
			(void)nanosleep(&wait, NULL);
		sqe = io_uring_get_sqe(&u->ring);
	}
	INVARIANT(sqe);
	return sqe;
}

static void uring_submit(void *state, struct loop_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(state);

	op->settled = false;
	_Static_assert(sizeof(op->deadline) == sizeof(struct __kernel_timespec),
		"deadline is passed to the kernel");
	switch (op->kind) {
	case LOOP_POLL: io_uring_prep_poll_add(sqe, op->fd, op->events); break;
	case LOOP_WATCH: io_uring_prep_poll_multishot(sqe, op->fd, op->events); break;
	case LOOP_TIMEOUT:
		io_uring_prep_timeout(sqe, (struct __kernel_timespec *)op->deadline, 0, 0);
		break;
	case LOOP_READV:
		io_uring_prep_readv(sqe, op->fd, op->iov, op->iov_count, (uint64_t)op->offset);
		break;
	case LOOP_WRITEV:
		io_uring_prep_writev(sqe, op->fd, op->iov, op->iov_count, (uint64_t)op->offset);
		break;
	case LOOP_SYNC: io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC); break;
	case LOOP_ALLOCATE:
		io_uring_prep_fallocate(
			sqe, op->fd, (int)op->iov_count, (uint64_t)op->offset, (uint64_t)op->len);
		break;
	case LOOP_IDLE: INVARIANT(op->kind != LOOP_IDLE);
	}
	if (op->is_long)
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	io_uring_sqe_set_data(sqe, op);
}

static void uring_cancel(void *state, struct loop_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(state);

	op->settled = true;
	io_uring_prep_cancel(sqe, op, 0);
	/* Nobody asks how the cancellation went; the cancelled op itself reports. */
	io_uring_sqe_set_data(sqe, NULL);
}

/*
 * A poll of a terminal that is woken without an event, as by another's tcsetattr, ends with EINVAL:
 * a file with two wait queues cannot be armed a second time by the kernel (6.18).  Such a poll
 * begins anew; true then.
 */
static bool poll_again(struct uring *u, struct loop_op *op, int res)
{
	/* Bounded, in case of a file that can never be armed: its owner must hear of it. */
	enum { AGAIN_MAX = 1024 };

	if (op->kind != LOOP_POLL || res != -EINVAL || op->offset++ >= AGAIN_MAX)
		return false;
	uring_submit(u, op);
	return true;
}

/*
 * A watch is a poll that reports every signal and stays.  The kernel ends it on its own only when
 * its completion queue overflows; it is then begun anew and reports at once, because the eventfd's
 * counter is never read.
 */
static void watch_reports(struct uring *u, struct loop_op *op, int res, bool more)
{
	if (op->settled || res < 0) {
		/* What was signalled before the cancellation is not told any more. */
		if (!more)
			loop_complete(op, res < 0 ? res : -ECANCELED);
		return;
	}
	if (!more)
		uring_submit(u, op);
	loop_signal(op);
}

static void report(struct uring *u, struct loop_op *op, int res, bool more)
{
	if (op->kind == LOOP_WATCH) {
		watch_reports(u, op, res, more);
		return;
	}
	/* Cancelled after it had ended: begun anew it would be behind the cancellation. */
	if (op->settled && op->kind == LOOP_POLL && res == -EINVAL)
		res = -ECANCELED;
	if (poll_again(u, op, res))
		return;
	/* A timeout that ran to its end is what was asked for. */
	loop_complete(op, op->kind == LOOP_TIMEOUT && res == -ETIME ? 0 : res);
}

static int uring_wait(void *state, bool block)
{
	struct uring *u = state;
	struct io_uring_cqe *cqe;
	int rc = block ? io_uring_submit_and_wait(&u->ring, 1)
		       : io_uring_submit_and_get_events(&u->ring);

	/* EBUSY: completions overflowed the queue and must be taken first, which is what follows.
	 * EAGAIN: the kernel is short of memory for a moment, and what it has done frees some. */
	if (rc < 0 && rc != -EBUSY && rc != -EAGAIN)
		return rc;
	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct loop_op *op = io_uring_cqe_get_data(cqe);
		bool more = cqe->flags & IORING_CQE_F_MORE;
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		if (op)
			report(u, op, res, more);
	}
	return 0;
}

const struct loop_backend_ops loop_uring_ops = {
	.init = uring_init,
	.fini = uring_fini,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.wait = uring_wait,
};
