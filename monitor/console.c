/* stdin and stdout as the far end of the serial port (console.h). */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "ring.h"

enum { CHUNK = 4096, HELD_MAX = 65536, ESCAPE = 0x01 /* Ctrl-A */ };

struct console {
	struct loop *loop;
	struct console_host host;
	struct serial *serial;
	int in_fd, out_fd;
	bool owns_out, out_is_socket, out_gone, in_ended, has_keys, escaped;
	struct ring out;
	uint64_t lost; /* bytes thrown away because out_gone */
	/* Typed, and the UART has no room yet.  Keys are read all the same, because one of them may
	 * be a command: a guest that never reads cannot keep the person from leaving. */
	uint8_t held[HELD_MAX];
	size_t held_len;
	uint64_t keys_lost;
	struct loop_op in_op, out_op;
	struct loop_post out_post, room_post;
};

/* --- output --- */

/* Writes one chunk: bytes written, 0 when there was nothing, -errno. */
static ssize_t write_chunk(struct console *c)
{
	uint8_t buf[CHUNK];
	size_t len = ring_peek(&c->out, buf, sizeof(buf));
	ssize_t n;

	if (len == 0)
		return 0;
	if (c->out_gone) {
		c->lost += len;
		ring_pop(&c->out, len);
		return (ssize_t)len;
	}
	n = c->out_is_socket ? send(c->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL)
			     : write(c->out_fd, buf, len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n < 0) {
		/* Closed pipe, terminal gone, disk full: the guest goes on, its words go nowhere.
		 */
		c->out_gone = true;
		return -EAGAIN;
	}
	ring_pop(&c->out, (size_t)n);
	return n;
}

static void out_ready(struct loop_op *op, int res)
{
	struct console *c = container_of(op, struct console, out_op);

	(void)res; /* an error shows when writing */
	/* One chunk a turn: POLLOUT promises a pipe room for no more. */
	if (write_chunk(c) != 0)
		loop_poll(c->loop, &c->out_op, c->out_fd, POLLOUT);
}

static void out_posted(struct loop_post *post)
{
	struct console *c = container_of(post, struct console, out_post);

	if (!loop_op_is_pending(&c->out_op))
		loop_poll(c->loop, &c->out_op, c->out_fd, POLLOUT);
}

static void on_tx(void *ctx, uint8_t byte)
{
	struct console *c = ctx;

	if (ring_push(&c->out, byte))
		loop_post(c->loop, &c->out_post);
}

/* --- input --- */

/*
 * How many bytes to read now.  From a terminal always some, or a guest that does not read could
 * keep the person from leaving; from a pipe no more than the UART takes, so that nothing is lost.
 */
static size_t input_room(struct console *c)
{
	return c->has_keys ? SERIAL_FIFO : serial_room(c->serial);
}

static void watch_input(struct console *c)
{
	if (!c->in_ended && c->serial && !loop_op_is_pending(&c->in_op) && input_room(c) > 0)
		loop_poll(c->loop, &c->in_op, c->in_fd, POLLIN);
}

/* Passes on what waits, oldest first. */
static void deliver_held(struct console *c)
{
	size_t n = serial_receive(c->serial, c->held, c->held_len);

	c->held_len -= n;
	memmove(c->held, c->held + n, c->held_len);
}

/* One byte for the guest; lost when too many wait already. */
static void deliver(struct console *c, uint8_t byte)
{
	if (c->held_len < sizeof(c->held))
		c->held[c->held_len++] = byte;
	else
		c->keys_lost++;
	deliver_held(c);
}

static void command(struct console *c, uint8_t key)
{
	switch (key) {
	case 'x':
	case 'X': c->host.command(c->host.ctx, CONSOLE_QUIT); break;
	case 'c':
	case 'C': c->host.command(c->host.ctx, CONSOLE_SHUTDOWN); break;
	case 'b':
	case 'B': serial_break(c->serial); break;
	case 'a':
	case ESCAPE: deliver(c, ESCAPE); break;
	default:
		(void)fputs("\nmvm: Ctrl-A x ends the machine, c asks it to shut down, b sends a "
			    "break, a sends Ctrl-A\n",
			stderr);
	}
}

/* Passes typed bytes on, but for Ctrl-A and the key behind it. */
static void typed(struct console *c, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (c->escaped) {
			c->escaped = false;
			command(c, buf[i]);
		} else if (c->has_keys && buf[i] == ESCAPE) {
			c->escaped = true;
		} else {
			deliver(c, buf[i]);
		}
	}
}

static void in_ready(struct loop_op *op, int res)
{
	struct console *c = container_of(op, struct console, in_op);
	uint8_t buf[SERIAL_FIFO];
	size_t room = MIN(input_room(c), sizeof(buf));
	ssize_t n = -1;

	if (res >= 0 && room > 0)
		n = read(c->in_fd, buf, room);
	if (res < 0 || n == 0 || (n < 0 && room > 0 && errno != EAGAIN && errno != EINTR))
		c->in_ended = true; /* end of file, or a terminal that went away */
	if (n > 0)
		typed(c, buf, (size_t)n);
	watch_input(c);
}

static void room_posted(struct loop_post *post)
{
	struct console *c = container_of(post, struct console, room_post);

	deliver_held(c);
	watch_input(c);
}

static void on_room(void *ctx)
{
	struct console *c = ctx;

	loop_post(c->loop, &c->room_post);
}

/* --- life --- */

/*
 * A writer of our own that never blocks.  The descriptor we were given is often shared with a
 * shell, and O_NONBLOCK set on it would be set for the shell too; opening it anew gives another
 * description.  Where that cannot be, the one given serves: POLLOUT then promises room for a chunk
 * in a pipe.
 */
static void open_output(struct console *c, int fd)
{
	struct stat st;
	char path[32];
	int own = -1;

	c->out_fd = fd;
	if (fstat(fd, &st) < 0)
		return;
	c->out_is_socket = S_ISSOCK(st.st_mode);
	if (S_ISFIFO(st.st_mode) || isatty(fd)) {
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	c->owns_out = own >= 0;
	if (own >= 0)
		c->out_fd = own;
}

int console_new(struct loop *l, int in_fd, int out_fd, bool has_keys,
	const struct console_host *host, struct console **ret, struct err *e)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c || ring_init(&c->out, CONSOLE_RING_SIZE) < 0) {
		free(c);
		return err_sys(e, -ENOMEM, NULL, "cannot make the console");
	}
	c->loop = l;
	c->host = *host;
	c->in_fd = in_fd;
	c->has_keys = has_keys;
	c->in_op.done = in_ready;
	c->out_op.done = out_ready;
	c->out_post.run = out_posted;
	c->room_post.run = room_posted;
	open_output(c, out_fd);
	*ret = c;
	return 0;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	if (c->owns_out)
		(void)close(c->out_fd);
	ring_fini(&c->out);
	free(c);
}

struct serial_host console_serial_host(struct console *c)
{
	return (struct serial_host){ .tx = on_tx, .room = on_room, .ctx = c };
}

void console_attach(struct console *c, struct serial *s)
{
	c->serial = s;
	/* A command may come at any time; anything else waits for the UART's word. */
	if (c->has_keys)
		watch_input(c);
}

void console_resume(struct console *c)
{
	if (c->in_ended && isatty(c->in_fd)) {
		c->in_ended = false;
		watch_input(c);
	}
}

void console_drain(struct console *c, int timeout_ms, int stop_fd)
{
	for (;;) {
		struct pollfd pfd[] = {
			{ .fd = stop_fd, .events = POLLIN }, /* poll leaves out a negative one */
			{ .fd = c->out_fd, .events = POLLOUT },
		};
		ssize_t n = write_chunk(c);
		int ready;

		if (n == 0)
			return;
		if (c->out_gone)
			continue;
		ready = poll(pfd, ARRAY_SIZE(pfd), n < 0 ? timeout_ms : 0);
		if (pfd[0].revents || (n < 0 && ready <= 0))
			return;
	}
}

uint64_t console_keys_dropped(const struct console *c)
{
	return c->keys_lost;
}

uint64_t console_dropped(struct console *c)
{
	return ring_dropped(&c->out) + c->lost;
}
