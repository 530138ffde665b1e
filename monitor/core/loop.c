/* The event loop: posts from other threads, and the choice of a backend (loop.h). */
#include "core/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "core/loop_backend.h"

struct loop {
	const struct loop_backend_ops *ops;
	void *backend;
	bool stopped;
	uint64_t served;               /* calls of done */
	unsigned transfers;            /* file requests that have not ended */
	uint64_t now_ns;               /* 0: not read in this round */
	struct loop_tail *tail, **end; /* deferred work, in order */
	struct loop_op wake;           /* poll of wake_fd, always submitted */
	int wake_fd;                   /* counts while posts wait */
	pthread_mutex_t lock;          /* guards the list below; held for a few instructions only */
	struct loop_post *first, **last;
};

static void posts_ready(struct loop_op *op, int res);

static int backend_init(
	struct loop *l, enum loop_backend want, enum loop_backend *ret, struct err *e)
{
	int rc;

	if (want != LOOP_EPOLL) {
		l->ops = &loop_uring_ops;
		rc = l->ops->init(l, &l->backend);
		*ret = LOOP_URING;
		if (rc == 0)
			return 0;
		if (want == LOOP_URING)
			return err_sys(e, rc, "see /proc/sys/kernel/io_uring_disabled",
				"cannot set up io_uring");
	}
	l->ops = &loop_epoll_ops;
	rc = l->ops->init(l, &l->backend);
	*ret = LOOP_EPOLL;
	return rc == 0 ? 0 : err_sys(e, rc, NULL, "cannot set up epoll");
}

int loop_new(
	enum loop_backend want, struct loop **ret, enum loop_backend *ret_backend, struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));
	enum loop_backend got = LOOP_AUTO;
	int rc;

	if (!l)
		return err_sys(e, -ENOMEM, NULL, "cannot make the event loop");
	l->last = &l->first;
	l->end = &l->tail;
	(void)pthread_mutex_init(&l->lock, NULL);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0)
		rc = err_sys(e, -errno, NULL, "cannot make the event loop's eventfd");
	else
		rc = backend_init(l, want, &got, e);
	if (rc < 0) {
		loop_free(l);
		return rc;
	}
	l->wake.done = posts_ready;
	loop_poll(l, &l->wake, l->wake_fd, POLLIN);
	if (ret_backend)
		*ret_backend = got;
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	if (l->backend)
		l->ops->fini(l->backend);
	if (l->wake_fd >= 0)
		(void)close(l->wake_fd);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

/* --- the end of a round --- */

void loop_defer(struct loop *l, struct loop_tail *tail)
{
	if (tail->queued)
		return;
	tail->queued = true;
	tail->next = NULL;
	*l->end = tail;
	l->end = &tail->next;
}

/* What a tail defers is for the next round, or two of them could hold the loop here. */
static void run_tails(struct loop *l)
{
	struct loop_tail *list = l->tail;

	l->tail = NULL;
	l->end = &l->tail;
	while (list) {
		struct loop_tail *tail = list;

		list = tail->next;
		tail->queued = false;
		tail->run(tail);
	}
}

uint64_t loop_now_ns(struct loop *l)
{
	struct timespec now;

	if (l->now_ns == 0) {
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		l->now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	}
	return l->now_ns;
}

uint64_t loop_served(const struct loop *l)
{
	return l->served;
}

unsigned loop_transfers(const struct loop *l)
{
	return l->transfers;
}

int loop_turn(struct loop *l)
{
	int rc;

	l->now_ns = 0;
	rc = l->ops->wait(l->backend, l->tail == NULL);
	if (rc == 0)
		run_tails(l);
	return rc;
}

int loop_run(struct loop *l)
{
	l->stopped = false;
	while (!l->stopped) {
		int rc = loop_turn(l);

		if (rc < 0 && rc != -EINTR)
			return rc;
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

void loop_post(struct loop *l, struct loop_post *post)
{
	bool wake = false;

	(void)pthread_mutex_lock(&l->lock);
	if (!post->queued) {
		wake = l->first == NULL;
		post->queued = true;
		post->next = NULL;
		*l->last = post;
		l->last = &post->next;
	}
	(void)pthread_mutex_unlock(&l->lock);
	if (wake) {
		uint64_t one = 1;

		/* Cannot block before 2^64 - 1 unread wake-ups, and cannot fail otherwise. */
		INVARIANT(write(l->wake_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
	}
}

static struct loop_post *take_post(struct loop *l)
{
	struct loop_post *post;

	(void)pthread_mutex_lock(&l->lock);
	post = l->first;
	if (post) {
		l->first = post->next;
		if (!l->first)
			l->last = &l->first;
		post->queued = false;
	}
	(void)pthread_mutex_unlock(&l->lock);
	return post;
}

/*
 * Serves as many posts as there were when it began.  A thread that posts without end cannot hold
 * the loop: what comes later waits for the next round, for which the eventfd is raised again.
 */
static void posts_ready(struct loop_op *op, int res)
{
	enum { POSTS_PER_ROUND = 64 };
	struct loop *l = container_of(op, struct loop, wake);
	struct loop_post *post;
	uint64_t count;
	unsigned served = 0;

	(void)res;
	(void)!read(l->wake_fd, &count, sizeof(count));
	while (served < POSTS_PER_ROUND && (post = take_post(l))) {
		post->run(post);
		served++;
	}
	if (served == POSTS_PER_ROUND) {
		count = 1;
		(void)!write(l->wake_fd, &count, sizeof(count));
	}
	loop_poll(l, &l->wake, l->wake_fd, POLLIN);
}

static void submit(struct loop *l, struct loop_op *op, enum loop_kind kind)
{
	INVARIANT(op->kind == LOOP_IDLE && op->done);
	op->kind = kind;
	op->loop = l;
	l->ops->submit(l->backend, op);
}

void loop_complete(struct loop_op *op, int res)
{
	op->loop->transfers -= op->kind >= LOOP_READV;
	op->loop->served++;
	op->kind = LOOP_IDLE;
	op->done(op, res);
}

void loop_signal(struct loop_op *op)
{
	op->loop->served++;
	op->done(op, 0);
}

void loop_poll(struct loop *l, struct loop_op *op, int fd, uint32_t events)
{
	op->fd = fd;
	op->events = events;
	op->offset = 0;
	submit(l, op, LOOP_POLL);
}

void loop_watch(struct loop *l, struct loop_op *op, int eventfd)
{
	op->fd = eventfd;
	op->events = POLLIN;
	submit(l, op, LOOP_WATCH);
}

void loop_timeout(struct loop *l, struct loop_op *op, uint64_t ns)
{
	op->deadline[0] = (int64_t)(ns / 1000000000);
	op->deadline[1] = (int64_t)(ns % 1000000000);
	submit(l, op, LOOP_TIMEOUT);
}

static void transfer(struct loop *l, struct loop_op *op, enum loop_kind kind, int fd,
	const struct iovec *iov, unsigned count, int64_t offset)
{
	op->fd = fd;
	op->iov = iov;
	op->iov_count = count;
	op->offset = offset;
	l->transfers++;
	submit(l, op, kind);
}

void loop_readv(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned count,
	int64_t offset)
{
	transfer(l, op, LOOP_READV, fd, iov, count, offset);
}

void loop_writev(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov,
	unsigned count, int64_t offset)
{
	transfer(l, op, LOOP_WRITEV, fd, iov, count, offset);
}

void loop_sync(struct loop *l, struct loop_op *op, int fd)
{
	transfer(l, op, LOOP_SYNC, fd, NULL, 0, 0);
}

void loop_allocate(struct loop *l, struct loop_op *op, int fd, int mode, int64_t off, int64_t len)
{
	op->len = len;
	transfer(l, op, LOOP_ALLOCATE, fd, NULL, (unsigned)mode, off);
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	if (loop_op_is_pending(op))
		l->ops->cancel(l->backend, op);
}
