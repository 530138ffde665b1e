/* Where metrics go, and when (metrics.h). */
#include "api/metrics.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/metrics_private.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"

#define SECOND_NS UINT64_C(1000000000)

static void on_timer(struct loop_op *op, int res);

int metrics_new(
	struct loop *l, const struct metrics_sources *from, struct metrics **ret, struct err *e)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return err_sys(e, -ENOMEM, NULL, "cannot make the metrics");
	m->loop = l;
	m->from = *from;
	m->fd = -1;
	m->timer.done = on_timer;
	*ret = m;
	return 0;
}

void metrics_free(struct metrics *m)
{
	int rc = 0;

	if (!m)
		return;
	m->is_over = true;
	loop_cancel(m->loop, &m->timer);
	while (loop_op_is_pending(&m->timer) && (rc == 0 || rc == -EINTR))
		rc = loop_turn(m->loop);
	fd_closep(&m->fd);
	json_decref(m->properties);
	free(m->rest);
	free(m);
}

void metrics_set_server(struct metrics *m, const struct server *server)
{
	m->from.server = server;
}

/* --- the file --- */

static int read_properties(const struct metrics_config *c, json_t **ret, struct err *e)
{
	json_t *all = c->nproperties > 0 ? json_object() : NULL;

	if (c->nproperties > 0 && !all)
		return err_sys(e, -ENOMEM, NULL, "cannot keep the properties of metrics");
	for (size_t i = 0; i < c->nproperties; i++) {
		/* Refused only where one of both is not UTF-8, or there is no memory. */
		if (json_object_set_new(
			    all, c->property[2 * i], json_string(c->property[2 * i + 1])) < 0) {
			json_decref(all);
			return err_set(e, -EINVAL, "the properties of metrics are not UTF-8");
		}
	}
	*ret = all;
	return 0;
}

int metrics_open(struct metrics *m, const struct metrics_config *c, struct err *e)
{
	json_t *properties = NULL;
	int rc, fd;

	if (m->fd >= 0)
		return err_set(e, -EALREADY, "metrics go to a file already");
	rc = read_properties(c, &properties, e);
	if (rc < 0)
		return rc;
	fd = io_open_sink(c->path);
	if (fd < 0) {
		json_decref(properties);
		return err_sys(e, fd, NULL, "cannot open the metrics file '%s'", c->path);
	}
	m->fd = fd;
	m->emit_id = c->emit_id;
	m->properties = properties;
	return 0;
}

/* One write(2), which never waits: how much was taken, or -errno. */
static ssize_t write_now(int fd, const char *buf, size_t len)
{
	ssize_t n = write(fd, buf, len);

	return n < 0 ? -errno : n;
}

/* A reader sees whole lines only: what is left of one goes before the next.  0 or -errno. */
static int write_rest(struct metrics *m)
{
	ssize_t n;

	if (!m->rest)
		return 0;
	n = write_now(m->fd, m->rest + m->rest_at, m->rest_len - m->rest_at);
	if (n < 0)
		return (int)n;
	m->rest_at += (size_t)n;
	if (m->rest_at < m->rest_len)
		return -EAGAIN;
	free(ptr_take(m->rest));
	return 0;
}

/* A line of which only a part was taken is not lost: the rest waits for the next one. */
static int write_line(struct metrics *m, char **line, size_t len)
{
	int rc = write_rest(m);
	ssize_t n;

	if (rc < 0)
		return rc;
	n = write_now(m->fd, *line, len);
	if (n < 0)
		return (int)n;
	if ((size_t)n < len) {
		m->rest = ptr_take(*line);
		m->rest_len = len;
		m->rest_at = (size_t)n;
	}
	return 0;
}

int metrics_flush(struct metrics *m, struct err *e)
{
	struct metrics_values *now CLEANUP(freep) = NULL;
	char *line CLEANUP(freep) = NULL;
	size_t len = 0;
	int rc;

	if (m->fd < 0)
		return -ENOENT;
	now = calloc(1, sizeof(*now));
	if (now)
		line = metrics_make_line(m, now, &len);
	if (!line) {
		m->fails++;
		m->missed++;
		return err_sys(e, -ENOMEM, NULL, "cannot write metrics");
	}
	rc = write_line(m, &line, len);
	if (rc < 0) {
		/* What it would have told is in the next one. */
		m->missed++;
		return err_sys(e, rc, NULL, "cannot write metrics");
	}
	m->last = *now;
	m->lines++;
	return 0;
}

char *metrics_json(struct metrics *m, size_t *ret_len)
{
	struct metrics_values *now CLEANUP(freep) = calloc(1, sizeof(*now));
	char *line = now ? metrics_make_line(m, now, ret_len) : NULL;

	if (!line)
		return NULL;
	m->last = *now;
	line[--*ret_len] = '\0';
	return line;
}

/* --- when --- */

static void write_unasked(struct metrics *m)
{
	struct err e = { 0 };
	int rc = metrics_flush(m, &e);

	if (rc < 0 && rc != -ENOENT)
		log_guest(LOG_WARNING, "%s", e.text);
}

static void on_timer(struct loop_op *op, int res)
{
	struct metrics *m = container_of(op, struct metrics, timer);

	if (res < 0 || m->is_over || m->from.instance->state == INSTANCE_ENDED)
		return;
	if (m->from.instance->state == INSTANCE_RUNNING)
		write_unasked(m);
	loop_timeout(m->loop, &m->timer, METRICS_PERIOD_S * SECOND_NS);
}

void metrics_start(struct metrics *m)
{
	if (m->is_started)
		return;
	m->is_started = true;
	write_unasked(m);
	loop_timeout(m->loop, &m->timer, METRICS_PERIOD_S * SECOND_NS);
}

static uint64_t now_us(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* From a moment that somebody else wrote down: never negative. */
static uint64_t since(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

void metrics_note_start(struct metrics *m)
{
	const struct metrics_sources *s = &m->from;
	uint64_t cpu_us;

	if (s->start_time_us > 0)
		m->startup_us = since(now_us(CLOCK_MONOTONIC), s->start_time_us);
	if (s->start_time_cpu_us > 0 || s->parent_cpu_time_us > 0) {
		cpu_us = since(now_us(CLOCK_PROCESS_CPUTIME_ID), s->start_time_cpu_us);
		if (__builtin_add_overflow(cpu_us, s->parent_cpu_time_us, &m->startup_cpu_us))
			m->startup_cpu_us = UINT64_MAX;
	}
}

void metrics_note_signal(struct metrics *m, int signo)
{
	if (signo == SIGHUP)
		m->sighup++;
	else if (signo == SIGXCPU)
		m->sigxcpu++;
}
