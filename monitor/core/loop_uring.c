/*
 * The loop on io_uring: one ring, one batch of submissions for each wait.
 *
 * The ring is sealed before its first use: seccomp does not see what goes through a ring, so the
 * list of opcodes below is part of the sandbox.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#include "core/loop_backend.h"

enum { RING_ENTRIES = 256 };

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
	IORING_OP_ASYNC_CANCEL,
};

static int seal(struct io_uring *ring)
{
	struct io_uring_restriction rule[ARRAY_SIZE(allowed_opcodes)] = { 0 };
	int rc;

	for (unsigned i = 0; i < ARRAY_SIZE(rule); i++) {
		rule[i].opcode = IORING_RESTRICTION_SQE_OP;
		rule[i].sqe_op = allowed_opcodes[i];
	}
	rc = io_uring_register_restrictions(ring, rule, ARRAY_SIZE(rule));
	return rc < 0 ? rc : io_uring_enable_rings(ring);
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
		rc = io_uring_queue_init(RING_ENTRIES, &u->ring, flags[i]);
	if (rc < 0) {
		free(u);
		return rc;
	}
	rc = seal(&u->ring);
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
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe) {
		/* The queue is full of things the kernel has not seen yet; after this it is empty.
		 */
		(void)io_uring_submit(&u->ring);
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
	case LOOP_IDLE: INVARIANT(op->kind != LOOP_IDLE);
	}
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

static int uring_wait(void *state)
{
	struct uring *u = state;
	struct io_uring_cqe *cqe;
	int rc = io_uring_submit_and_wait(&u->ring, 1);

	/* EBUSY: completions overflowed the queue and must be taken first, which is what follows.
	 */
	if (rc < 0 && rc != -EBUSY)
		return rc;
	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct loop_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		if (!op)
			continue;
		/* Cancelled after it had ended: begun anew it would be behind the cancellation. */
		if (op->settled && op->kind == LOOP_POLL && res == -EINVAL)
			res = -ECANCELED;
		if (poll_again(u, op, res))
			continue;
		/* A timeout that ran to its end is what was asked for. */
		loop_complete(op, op->kind == LOOP_TIMEOUT && res == -ETIME ? 0 : res);
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
