/*
 * The loop on epoll, for hosts that refuse io_uring.  Descriptors are polled by epoll, timeouts are
 * one timerfd over a sorted list, and file I/O, which has no readiness, blocks on a small thread
 * pool that is started by its first use.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "core/loop_backend.h"

enum { POOL_THREADS = 4, EVENTS_PER_WAIT = 64 };

struct epoll {
	struct loop *loop;
	int epoll_fd, timer_fd;
	struct loop_op *timeouts; /* sorted by deadline, doubly linked */
	struct loop_op *ready,
		**ready_last; /* ops that have their result, singly linked, oldest first */
	/* the pool: lock guards jobs, quit and idle */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct loop_op *jobs, **jobs_last;
	bool quit;
	unsigned threads;
	pthread_t thread[POOL_THREADS];
};

static void epoll_fini(void *state)
{
	struct epoll *ep = state;

	(void)pthread_mutex_lock(&ep->lock);
	ep->quit = true;
	(void)pthread_cond_broadcast(&ep->work);
	(void)pthread_mutex_unlock(&ep->lock);
	for (unsigned i = 0; i < ep->threads; i++)
		(void)pthread_join(ep->thread[i], NULL);
	(void)pthread_cond_destroy(&ep->work);
	(void)pthread_mutex_destroy(&ep->lock);
	if (ep->timer_fd >= 0)
		(void)close(ep->timer_fd);
	if (ep->epoll_fd >= 0)
		(void)close(ep->epoll_fd);
	free(ep);
}

static int epoll_init(struct loop *l, void **ret_state)
{
	struct epoll *ep = calloc(1, sizeof(*ep));
	struct epoll_event ev = { .events = EPOLLIN };

	if (!ep)
		return -ENOMEM;
	ep->loop = l;
	ep->ready_last = &ep->ready;
	ep->jobs_last = &ep->jobs;
	(void)pthread_mutex_init(&ep->lock, NULL);
	(void)pthread_cond_init(&ep->work, NULL);
	ep->timer_fd = -1;
	ep->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (ep->epoll_fd >= 0)
		ep->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	/* The timer is the one registration without an op behind it. */
	if (ep->timer_fd < 0 || epoll_ctl(ep->epoll_fd, EPOLL_CTL_ADD, ep->timer_fd, &ev) < 0) {
		int rc = -errno;

		epoll_fini(ep);
		return rc;
	}
	*ret_state = ep;
	return 0;
}

static void make_ready(struct epoll *ep, struct loop_op *op, int res)
{
	op->res = res;
	op->settled = true;
	op->next = NULL;
	*ep->ready_last = op;
	ep->ready_last = &op->next;
}

/* --- timeouts --- */

static bool is_earlier(const struct loop_op *a, const struct loop_op *b)
{
	return a->deadline[0] != b->deadline[0] ? a->deadline[0] < b->deadline[0]
						: a->deadline[1] < b->deadline[1];
}

static void arm_timer(struct epoll *ep)
{
	struct itimerspec when = { 0 };

	if (ep->timeouts) {
		when.it_value.tv_sec = ep->timeouts->deadline[0];
		when.it_value.tv_nsec = ep->timeouts->deadline[1];
	}
	INVARIANT(timerfd_settime(ep->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

static void add_timeout(struct epoll *ep, struct loop_op *op)
{
	struct loop_op **at = &ep->timeouts, *before = NULL;
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	op->deadline[0] += now.tv_sec;
	op->deadline[1] += now.tv_nsec;
	if (op->deadline[1] >= 1000000000) {
		op->deadline[1] -= 1000000000;
		op->deadline[0]++;
	}
	while (*at && !is_earlier(op, *at)) {
		before = *at;
		at = &(*at)->next;
	}
	op->next = *at;
	op->prev = before;
	if (op->next)
		op->next->prev = op;
	*at = op;
	if (!before)
		arm_timer(ep);
}

static void remove_timeout(struct epoll *ep, struct loop_op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		ep->timeouts = op->next;
	if (op->next)
		op->next->prev = op->prev;
}

static void expire_timeouts(struct epoll *ep)
{
	struct loop_op now = { 0 };
	struct timespec ts;
	uint64_t count;

	(void)!read(ep->timer_fd, &count, sizeof(count));
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	now.deadline[0] = ts.tv_sec;
	now.deadline[1] = ts.tv_nsec;
	while (ep->timeouts && !is_earlier(&now, ep->timeouts)) {
		struct loop_op *op = ep->timeouts;

		remove_timeout(ep, op);
		make_ready(ep, op, 0);
	}
	arm_timer(ep);
}

/* --- file I/O on the pool --- */

static int do_job(const struct loop_op *op)
{
	ssize_t n = -1;

	do {
		if (op->kind == LOOP_READV)
			n = preadv(op->fd, op->iov, (int)op->iov_count, op->offset);
		else if (op->kind == LOOP_WRITEV)
			n = pwritev(op->fd, op->iov, (int)op->iov_count, op->offset);
		else if (op->kind == LOOP_ALLOCATE)
			n = fallocate(op->fd, (int)op->iov_count, op->offset, op->len);
		else
			n = fdatasync(op->fd);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static void job_finished(struct loop_post *post)
{
	struct loop_op *op = container_of(post, struct loop_op, finished);

	loop_complete(op, op->res);
}

static void *pool_main(void *arg)
{
	struct epoll *ep = arg;

	(void)pthread_mutex_lock(&ep->lock);
	for (;;) {
		struct loop_op *op = ep->jobs;

		if (!op && ep->quit)
			break;
		if (!op) {
			(void)pthread_cond_wait(&ep->work, &ep->lock);
			continue;
		}
		ep->jobs = op->next;
		if (!ep->jobs)
			ep->jobs_last = &ep->jobs;
		(void)pthread_mutex_unlock(&ep->lock);
		op->res = do_job(op);
		loop_post(ep->loop, &op->finished);
		(void)pthread_mutex_lock(&ep->lock);
	}
	(void)pthread_mutex_unlock(&ep->lock);
	return NULL;
}

static void add_job(struct epoll *ep, struct loop_op *op)
{
	op->finished = (struct loop_post){ .run = job_finished };
	op->next = NULL;
	/* All at once on first use.  As long as one thread runs, jobs are done, only later. */
	while (ep->threads < POOL_THREADS &&
		pthread_create(&ep->thread[ep->threads], NULL, pool_main, ep) == 0)
		ep->threads++;
	if (ep->threads == 0) {
		make_ready(ep, op, -EAGAIN);
		return;
	}
	(void)pthread_mutex_lock(&ep->lock);
	*ep->jobs_last = op;
	ep->jobs_last = &op->next;
	(void)pthread_cond_signal(&ep->work);
	(void)pthread_mutex_unlock(&ep->lock);
}

/* True when op was still waiting for a thread and is now out of the queue. */
static bool remove_job(struct epoll *ep, struct loop_op *op)
{
	bool found = false;

	(void)pthread_mutex_lock(&ep->lock);
	for (struct loop_op **at = &ep->jobs; *at && !found; at = &(*at)->next) {
		if (*at != op)
			continue;
		found = true;
		*at = op->next;
		if (!*at)
			ep->jobs_last = at;
		break;
	}
	(void)pthread_mutex_unlock(&ep->lock);
	return found;
}

/* --- the backend's calls --- */

static void add_poll(struct epoll *ep, struct loop_op *op, uint32_t how)
{
	/* EPOLLIN and its kind have the values of POLLIN and its kind. */
	struct epoll_event ev = { .events = op->events | how, .data.ptr = op };

	if (epoll_ctl(ep->epoll_fd, EPOLL_CTL_ADD, op->fd, &ev) == 0)
		return;
	/* A regular file cannot be polled, because it is always ready. */
	make_ready(ep, op, errno == EPERM ? (int)op->events : -errno);
}

static void epoll_submit(void *state, struct loop_op *op)
{
	struct epoll *ep = state;

	op->settled = false;
	switch (op->kind) {
	case LOOP_POLL: add_poll(ep, op, EPOLLONESHOT); break;
	/* Edge-triggered: every signal of the eventfd is an edge, its counter is never read. */
	case LOOP_WATCH: add_poll(ep, op, EPOLLET); break;
	case LOOP_TIMEOUT: add_timeout(ep, op); break;
	case LOOP_READV:
	case LOOP_WRITEV:
	case LOOP_SYNC:
	case LOOP_ALLOCATE: add_job(ep, op); break;
	case LOOP_IDLE: INVARIANT(op->kind != LOOP_IDLE);
	}
}

static void epoll_cancel(void *state, struct loop_op *op)
{
	struct epoll *ep = state;
	bool taken;

	/* A watch that is about to report goes on after that, so it is ended here. */
	if (op->settled && op->kind == LOOP_WATCH && op->res >= 0) {
		(void)epoll_ctl(ep->epoll_fd, EPOLL_CTL_DEL, op->fd, NULL);
		op->res = -ECANCELED;
	}
	if (op->settled)
		return;
	if (op->kind == LOOP_POLL || op->kind == LOOP_WATCH) {
		taken = epoll_ctl(ep->epoll_fd, EPOLL_CTL_DEL, op->fd, NULL) == 0;
	} else if (op->kind == LOOP_TIMEOUT) {
		remove_timeout(ep, op);
		arm_timer(ep);
		taken = true;
	} else {
		taken = remove_job(ep, op);
	}
	if (taken)
		make_ready(ep, op, -ECANCELED);
}

static void complete_ready(struct epoll *ep)
{
	struct loop_op *list = ep->ready;

	/* What done adds waits for the next round, or a file that is always ready would hold the
	 * loop here. */
	ep->ready = NULL;
	ep->ready_last = &ep->ready;
	while (list) {
		struct loop_op *op = list;

		list = op->next;
		op->next = NULL;
		if (op->kind == LOOP_WATCH && op->res >= 0) {
			op->settled = false;
			loop_signal(op);
		} else {
			loop_complete(op, op->res);
		}
	}
}

static int epoll_wait_all(void *state, bool block)
{
	struct epoll *ep = state;
	struct epoll_event ev[EVENTS_PER_WAIT];
	int n = epoll_wait(ep->epoll_fd, ev, EVENTS_PER_WAIT, block && !ep->ready ? -1 : 0);

	if (n < 0)
		return -errno;
	/*
	 * First everything becomes "ready with a result", then everything is completed: a callback
	 * that cancels another op of this batch then finds it done, not half-done.
	 */
	for (int i = 0; i < n; i++) {
		struct loop_op *op = ev[i].data.ptr;

		if (!op) {
			expire_timeouts(ep);
			continue;
		}
		if (op->kind == LOOP_POLL)
			(void)epoll_ctl(ep->epoll_fd, EPOLL_CTL_DEL, op->fd, NULL);
		make_ready(ep, op, (int)ev[i].events);
	}
	complete_ready(ep);
	return 0;
}

const struct loop_backend_ops loop_epoll_ops = {
	.init = epoll_init,
	.fini = epoll_fini,
	.submit = epoll_submit,
	.cancel = epoll_cancel,
	.wait = epoll_wait_all,
};
