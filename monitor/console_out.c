/* The console's output: backlog, sink, readers (console.h). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "console_private.h"

enum { CHUNK = 4096 };

/* --- the sink --- */

/* How many of len bytes may be written now; what may not is gone. */
static size_t allowance(struct console *c, size_t len)
{
	struct console_sink *s = &c->sink;

	if (s->paid == 0)
		s->paid = bucket_take_some(&s->limit, len, loop_now_ns(c->loop));
	if (s->paid == 0) {
		s->limited += len;
		s->at += len;
	}
	return (size_t)MIN((uint64_t)len, s->paid);
}

/* One chunk: bytes written or thrown away, 0 when there was nothing, -EAGAIN. */
static ssize_t write_chunk(struct console *c)
{
	struct console_sink *s = &c->sink;
	uint8_t buf[CHUNK];
	uint64_t at = s->at, missed;
	size_t len = backlog_read(&c->out, &at, buf, sizeof(buf), &missed), may;
	ssize_t n;

	s->lost += missed;
	s->at += missed;
	if (len == 0)
		return 0;
	if (s->is_gone) {
		s->lost += len;
		s->at += len;
		return (ssize_t)len;
	}
	may = allowance(c, len);
	if (may == 0)
		return (ssize_t)len;
	n = s->is_socket ? send(s->fd, buf, may, MSG_DONTWAIT | MSG_NOSIGNAL)
			 : write(s->fd, buf, may);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n < 0) {
		/* Closed pipe, terminal gone, disk full: the guest goes on, its words go nowhere.
		 */
		s->is_gone = true;
		return -EAGAIN;
	}
	s->at += (uint64_t)n;
	s->paid -= (uint64_t)n;
	return n;
}

static void write_more(struct console *c)
{
	struct console_sink *s = &c->sink;

	if (s->is_gone) {
		uint64_t end = backlog_end(&c->out);

		s->lost += end - s->at;
		s->at = end;
	} else if (!loop_op_is_pending(&s->op)) {
		loop_poll(c->loop, &s->op, s->fd, POLLOUT);
	}
}

static void sink_ready(struct loop_op *op, int res)
{
	struct console *c = container_of(op, struct console, sink.op);

	(void)res; /* an error shows when writing */
	/* One chunk a turn: POLLOUT promises a pipe room for no more. */
	if (write_chunk(c) != 0)
		write_more(c);
}

/*
 * A writer of our own that never blocks.  The descriptor we were given is often shared with a
 * shell, and O_NONBLOCK set on it would be set for the shell too; opening it anew gives another
 * description.  Where that cannot be, the one given serves: POLLOUT then promises room for a chunk
 * in a pipe.
 */
static void use_given(struct console_sink *s, int fd)
{
	struct stat st;
	char path[32];
	int own = -1;

	s->fd = fd;
	s->is_owned = s->is_socket = false;
	s->is_gone = fd < 0;
	if (fstat(fd, &st) < 0)
		return;
	s->is_socket = S_ISSOCK(st.st_mode);
	if (S_ISFIFO(st.st_mode) || isatty(fd)) {
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	s->is_owned = own >= 0;
	if (own >= 0)
		s->fd = own;
}

int console_set_output(
	struct console *c, const char *path, const struct bucket_config *limit, struct err *e)
{
	static const struct bucket_config none;
	struct console_sink *s = &c->sink;
	int fd = path ? io_open_sink(path) : -1;

	INVARIANT(!loop_op_is_pending(&s->op));
	if (path && fd < 0)
		return err_sys(e, fd, NULL, "cannot open '%s' for the console's output", path);
	if (s->is_owned)
		(void)close(s->fd);
	use_given(s, path ? -1 : c->out_fd);
	if (path) {
		s->fd = fd;
		s->is_owned = true;
		s->is_gone = false;
	}
	s->paid = 0;
	bucket_init(&s->limit, limit ? limit : &none, loop_now_ns(c->loop));
	return 0;
}

uint64_t console_dropped(struct console *c)
{
	uint64_t at = c->sink.at, missed;

	/* Those too that it will find gone. */
	(void)backlog_read(&c->out, &at, NULL, 0, &missed);
	return c->sink.lost + missed;
}

uint64_t console_limited(const struct console *c)
{
	return c->sink.limited;
}

uint64_t console_output_bytes(struct console *c)
{
	return backlog_end(&c->out);
}

void console_drain(struct console *c, int timeout_ms, int stop_fd)
{
	for (;;) {
		struct pollfd pfd[] = {
			{ .fd = stop_fd, .events = POLLIN }, /* poll leaves out a negative one */
			{ .fd = c->sink.fd, .events = POLLOUT },
		};
		ssize_t n = write_chunk(c);
		int ready;

		if (n == 0)
			return;
		if (c->sink.is_gone)
			continue;
		ready = poll(pfd, ARRAY_SIZE(pfd), n < 0 ? timeout_ms : 0);
		if (pfd[0].revents || (n < 0 && ready <= 0))
			return;
	}
}

/* --- the look for a panic --- */

static void on_panic(struct panic_scan *p, const char *line)
{
	struct console *c = container_of(p, struct console, scan);

	c->host.panicked(c->host.ctx, line);
}

/* Always to the end, so that the next byte wakes us again. */
static void scan(struct console *c)
{
	uint8_t buf[CHUNK];
	size_t n;

	while ((n = backlog_read(&c->out, &c->scan_at, buf, sizeof(buf), NULL)) > 0) {
		if (c->host.panicked)
			panic_scan_feed(&c->scan, buf, n);
	}
}

/* --- readers --- */

static void append(struct console *c, struct console_reader *r)
{
	r->next = NULL;
	r->prev = c->last_reader;
	if (r->prev)
		r->prev->next = r;
	else
		c->readers = r;
	c->last_reader = r;
}

void console_reader_add(struct console *c, struct console_reader *r, bool from_history)
{
	uint64_t end = backlog_end(&c->out);
	uint64_t back = from_history ? MIN(end, (uint64_t)CONSOLE_HISTORY) : 0;

	r->at = end - back;
	r->waits_for_room = false;
	append(c, r);
}

void console_reader_remove(struct console *c, struct console_reader *r)
{
	if (r->next)
		r->next->prev = r->prev;
	else
		c->last_reader = r->prev;
	if (r->prev)
		r->prev->next = r->next;
	else
		c->readers = r->next;
}

size_t console_reader_read(
	struct console *c, struct console_reader *r, uint8_t *buf, size_t len, uint64_t *ret_missed)
{
	return backlog_read(&c->out, &r->at, buf, len, ret_missed);
}

void console_offer_room(struct console *c)
{
	struct console_reader *r, *next;

	for (r = c->readers; r && serial_room(c->serial) > 0; r = next) {
		next = r->next;
		if (!r->waits_for_room)
			continue;
		r->waits_for_room = false;
		/* To the end: two that type without pause share the room. */
		console_reader_remove(c, r);
		append(c, r);
		if (r->room)
			r->room(r);
	}
}

/* --- from the UART --- */

static void out_posted(struct loop_post *post)
{
	struct console *c = container_of(post, struct console, out_post);

	scan(c);
	for (struct console_reader *r = c->readers; r; r = r->next)
		r->ready(r);
	write_more(c);
}

int console_out_init(struct console *c)
{
	int rc = backlog_init(&c->out, CONSOLE_BACKLOG);

	if (rc < 0)
		return rc;
	c->scan.found = on_panic;
	c->sink.op.done = sink_ready;
	c->out_post.run = out_posted;
	use_given(&c->sink, c->out_fd);
	return 0;
}

void console_out_fini(struct console *c)
{
	INVARIANT(!c->readers);
	if (c->sink.is_owned)
		(void)close(c->sink.fd);
	backlog_fini(&c->out);
}
