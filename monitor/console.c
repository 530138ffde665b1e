/* The far end of the serial port: life and input (console.h). */
#include "console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "console_private.h"

enum { ESCAPE = 0x01 /* Ctrl-A */ };

/* --- input --- */

/*
 * How many bytes to read now.  From a terminal always some, or a guest that does not read could
 * keep the person from leaving; from a pipe no more than the UART takes, so that nothing is lost.
 */
static size_t input_room(struct console *c)
{
	if (c->has_keys)
		return SERIAL_FIFO;
	return c->is_paused || !c->serial ? 0 : serial_room(c->serial);
}

static void watch_input(struct console *c)
{
	if (!c->in_ended && c->serial && !loop_op_is_pending(&c->in_op) && input_room(c) > 0)
		loop_poll(c->loop, &c->in_op, c->in_fd, POLLIN);
}

/* Passes on what waits, oldest first. */
static void deliver_held(struct console *c)
{
	size_t n = 0;

	if (c->serial && !c->is_paused)
		n = serial_receive(c->serial, c->held, c->held_len);
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
	case 'B':
		if (c->serial && !c->is_paused)
			serial_break(c->serial);
		break;
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

/* The UART has room, or may have. */
static void go_on(struct console *c)
{
	if (!c->serial || c->is_paused)
		return;
	deliver_held(c);
	watch_input(c);
	if (c->held_len == 0)
		console_offer_room(c);
}

static void room_posted(struct loop_post *post)
{
	go_on(container_of(post, struct console, room_post));
}

static void on_room(void *ctx)
{
	struct console *c = ctx;

	loop_post(c->loop, &c->room_post);
}

size_t console_type(struct console *c, struct console_reader *r, const uint8_t *buf, size_t len)
{
	size_t n = 0;

	if (c->serial && !c->is_paused && c->held_len == 0)
		n = serial_receive(c->serial, buf, len);
	r->waits_for_room = n < len;
	return n;
}

void console_set_paused(struct console *c, bool is_paused)
{
	c->is_paused = is_paused;
	go_on(c);
}

uint64_t console_keys_dropped(const struct console *c)
{
	return c->keys_lost;
}

/* --- life --- */

static void on_tx(void *ctx, uint8_t byte)
{
	struct console *c = ctx;

	if (backlog_push(&c->out, byte))
		loop_post(c->loop, &c->out_post);
}

static void unmap(struct console *c)
{
	if (c)
		(void)munmap(c, sizeof(*c));
}

int console_new(struct loop *l, int in_fd, int out_fd, bool has_keys,
	const struct console_host *host, struct console **ret, struct err *e)
{
	/* Not from the heap, which would touch all of it: few machines have keys that wait. */
	void *map = mmap(NULL, sizeof(struct console), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct console *c = map == MAP_FAILED ? NULL : map;

	if (c)
		c->out_fd = out_fd;
	if (!c || console_out_init(c) < 0) {
		unmap(c);
		return err_sys(e, -ENOMEM, NULL, "cannot make the console");
	}
	c->loop = l;
	c->host = *host;
	c->in_fd = in_fd;
	c->in_ended = in_fd < 0;
	c->has_keys = has_keys;
	c->in_op.done = in_ready;
	c->room_post.run = room_posted;
	*ret = c;
	return 0;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	console_out_fini(c);
	unmap(c);
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
