/*
 * The console's readers, its sink and its typists, on both backends of the loop (test_console.c has
 * stdin and stdout).
 */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "console.h"

TestSuite(console_out, .timeout = T_SECONDS);

#define MS 1000000ULL

enum { DATA, IER, FCR, LSR = 5 };

struct rig {
	struct loop *l;
	struct console *c;
	struct serial uart;
	struct serial_host host;
	int out_fd, keys[2];
	unsigned panics, quits;
	char line[256];
	struct loop_op timer;
	bool expired;
	char dir[32], path[64];
};

static void on_command(void *ctx, enum console_command command)
{
	struct rig *r = ctx;

	r->quits += command == CONSOLE_QUIT;
}

static void on_panic(void *ctx, const char *line)
{
	struct rig *r = ctx;

	r->panics++;
	(void)snprintf(r->line, sizeof(r->line), "%s", line);
}

static void on_timer(struct loop_op *op, int res)
{
	(void)res;
	container_of(op, struct rig, timer)->expired = true;
}

static bool setup(struct rig *r, int turn, bool has_keys)
{
	struct console_host host = { .command = on_command, .panicked = on_panic, .ctx = r };
	struct irq_line nowhere = { .vm_fd = -1, .gsi = 4 };
	struct err e = { 0 };

	*r = (struct rig){ .l = t_loop_new(turn), .timer.done = on_timer };
	if (!r->l)
		return false;
	(void)snprintf(r->dir, sizeof(r->dir), "/tmp/mvm-console-XXXXXX");
	t_true(mkdtemp(r->dir) != NULL);
	(void)snprintf(r->path, sizeof(r->path), "%s/out", r->dir);
	t_int(pipe2(r->keys, O_CLOEXEC), 0);
	r->out_fd = memfd_create("out", MFD_CLOEXEC);
	cr_assert(eq(int, console_new(r->l, r->keys[0], r->out_fd, has_keys, &host, &r->c, &e), 0),
		"%s", e.text);
	r->host = console_serial_host(r->c);
	serial_init(&r->uart, nowhere, &r->host);
	console_attach(r->c, &r->uart);
	return true;
}

static void teardown(struct rig *r)
{
	loop_free(r->l);
	console_free(r->c);
	serial_fini(&r->uart);
	(void)close(r->out_fd);
	(void)close(r->keys[0]);
	(void)close(r->keys[1]);
	(void)unlink(r->path);
	(void)rmdir(r->dir);
}

#define EACH_RIG(r, keys)                                                                          \
	for (int turn_ = 0; turn_ < 2; turn_++)                                                    \
		for (bool ok_ = setup(r, turn_, keys); ok_; teardown(r), ok_ = false)

static void run_for(struct rig *r, uint64_t ns)
{
	enum { ROUNDS = 10 };

	for (unsigned i = 0; i <= ROUNDS; i++) {
		r->expired = false;
		loop_timeout(r->l, &r->timer, i == 0 ? ns : 0);
		while (!r->expired) {
			int rc = loop_turn(r->l);

			t_true(rc == 0 || rc == -EINTR);
		}
	}
}

static void out8(struct rig *r, unsigned reg, unsigned value)
{
	uint8_t byte = (uint8_t)value;

	serial_bus_ops.write(&r->uart, reg, &byte, 1);
}

static uint8_t in8(struct rig *r, unsigned reg)
{
	uint8_t byte = 0xff;

	serial_bus_ops.read(&r->uart, reg, &byte, 1);
	return byte;
}

static void guest_listens(struct rig *r)
{
	out8(r, FCR, 1);
	out8(r, IER, 1);
}

static void guest_says(struct rig *r, const char *text)
{
	while (*text)
		out8(r, DATA, (unsigned char)*text++);
}

static void say_numbers(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		r->host.tx(r->host.ctx, (uint8_t)i);
}

static const char *received(struct rig *r)
{
	static char text[128];
	unsigned n = 0;

	while (n < sizeof(text) - 1 && (in8(r, LSR) & 1))
		text[n++] = (char)in8(r, DATA);
	text[n] = '\0';
	return text;
}

static const char *file_text(const char *path)
{
	static char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	(void)close(fd);
	return text;
}

/* --- readers --- */

struct reader {
	struct console_reader r;
	struct rig *rig;
	unsigned told;
	const char *types; /* offered again when there is room */
	size_t typed;
};

static void on_ready(struct console_reader *r)
{
	container_of(r, struct reader, r)->told++;
}

static void type_rest(struct reader *r)
{
	r->typed += console_type(r->rig->c, &r->r, (const uint8_t *)r->types + r->typed,
		strlen(r->types) - r->typed);
}

static void on_room(struct console_reader *r)
{
	type_rest(container_of(r, struct reader, r));
}

static struct reader new_reader(struct rig *r)
{
	return (struct reader){ .r = { .ready = on_ready, .room = on_room }, .rig = r };
}

static const char *read_text(struct reader *r, uint64_t *ret_missed)
{
	static char text[1024];
	size_t n = console_reader_read(
		r->rig->c, &r->r, (uint8_t *)text, sizeof(text) - 1, ret_missed);

	text[n] = '\0';
	return text;
}

Test(console_out, readers_see_what_is_written_beside_the_sink_and_each_other)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct reader a = new_reader(&r), b = new_reader(&r);
		char text[16] = "";

		console_reader_add(r.c, &a.r, true);
		guest_says(&r, "one ");
		run_for(&r, MS);
		t_uint(a.told, 1);
		console_reader_add(r.c, &b.r, false);
		guest_says(&r, "two");
		run_for(&r, MS);
		t_uint(a.told, 2);
		t_uint(b.told, 1);
		t_str(read_text(&a, NULL), "one two");
		t_str(read_text(&b, NULL), "two");
		t_str(read_text(&b, NULL), "");
		console_reader_remove(r.c, &a.r);
		guest_says(&r, "!");
		run_for(&r, MS);
		t_uint(a.told, 2);
		t_str(read_text(&b, NULL), "!");
		console_reader_remove(r.c, &b.r);
		t_int(pread(r.out_fd, text, sizeof(text) - 1, 0), 8);
		t_str(text, "one two!");
		t_uint(console_output_bytes(r.c), 8);
		t_uint(console_dropped(r.c), 0);
	}
}

Test(console_out, a_late_reader_gets_the_last_64_kib)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct reader late = new_reader(&r), now = late;
		static uint8_t buf[2 * CONSOLE_HISTORY];
		uint64_t missed;

		say_numbers(&r, 3 * CONSOLE_HISTORY + 5);
		run_for(&r, MS);
		console_reader_add(r.c, &late.r, true);
		console_reader_add(r.c, &now.r, false);
		t_uint(console_reader_read(r.c, &now.r, buf, sizeof(buf), &missed), 0);
		t_uint(console_reader_read(r.c, &late.r, buf, sizeof(buf), &missed),
			CONSOLE_HISTORY);
		t_uint(missed, 0);
		t_uint(buf[0], (uint8_t)(2 * CONSOLE_HISTORY + 5));
		console_reader_remove(r.c, &late.r);
		console_reader_remove(r.c, &now.r);
	}
}

Test(console_out, a_reader_that_does_not_read_loses_its_own_view_only)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct reader slow = new_reader(&r), quick = slow;
		static uint8_t buf[65536];
		uint64_t missed, got = 0;

		console_reader_add(r.c, &slow.r, true);
		console_reader_add(r.c, &quick.r, true);
		for (unsigned i = 0; i < 12; i++) {
			say_numbers(&r, 50000);
			run_for(&r, MS);
			got += console_reader_read(r.c, &quick.r, buf, sizeof(buf), &missed);
			t_uint(missed, 0);
			while (console_output_bytes(r.c) - (uint64_t)lseek(r.out_fd, 0, SEEK_END) >
				0)
				run_for(&r, MS);
		}
		t_uint(got, 600000);
		t_uint(console_dropped(r.c), 0);
		t_uint(console_reader_read(r.c, &slow.r, buf, sizeof(buf), &missed), sizeof(buf));
		t_uint(missed, 600000 - CONSOLE_BACKLOG);
		console_reader_remove(r.c, &quick.r);
		console_reader_remove(r.c, &slow.r);
	}
}

/* --- typing --- */

Test(console_out, a_typist_types_as_much_as_the_uart_takes_and_goes_on_when_it_has_room)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct reader a = new_reader(&r);
		char all[64] = "";

		a.types = "0123456789abcdefghijklmnopqrstuvwxyz";
		console_reader_add(r.c, &a.r, true);
		type_rest(&a);
		t_uint(a.typed, 0); /* nobody listens */
		guest_listens(&r);
		run_for(&r, MS);
		t_uint(a.typed, SERIAL_FIFO);
		while (strlen(all) < 36) {
			strcat(all, received(&r));
			run_for(&r, MS);
		}
		t_str(all, a.types);
		/* Control characters are the guest's: the typist's terminal is not ours. */
		a.types = "\001x";
		a.typed = 0;
		type_rest(&a);
		t_str(received(&r), "\001x");
		t_uint(r.quits, 0);
		console_reader_remove(r.c, &a.r);
	}
}

Test(console_out, two_typists_share_the_room)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		static char as[2001], bs[2001];
		struct reader a = new_reader(&r), b = new_reader(&r);

		memset(as, 'a', 2000);
		memset(bs, 'b', 2000);
		a.types = as;
		b.types = bs;
		console_reader_add(r.c, &a.r, true);
		console_reader_add(r.c, &b.r, true);
		guest_listens(&r);
		run_for(&r, MS);
		type_rest(&a);
		type_rest(&b);
		for (unsigned i = 0; i < 20; i++) {
			(void)received(&r);
			run_for(&r, 100000);
		}
		t_true(a.typed > 5 * SERIAL_FIFO && b.typed > 5 * SERIAL_FIFO);
		console_reader_remove(r.c, &a.r);
		console_reader_remove(r.c, &b.r);
	}
}

Test(console_out, while_paused_no_input_is_taken)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct reader a = new_reader(&r);

		a.types = "typed ";
		console_reader_add(r.c, &a.r, true);
		guest_listens(&r);
		run_for(&r, MS);
		console_set_paused(r.c, true);
		type_rest(&a);
		t_int(write(r.keys[1], "stdin", 5), 5);
		run_for(&r, 3 * MS);
		t_uint(a.typed, 0);
		t_str(received(&r), "");
		console_set_paused(r.c, false);
		run_for(&r, 3 * MS);
		t_uint(strlen(received(&r)), 11);
		console_reader_remove(r.c, &a.r);
	}
}

Test(console_out, while_paused_keys_wait_and_commands_work)
{
	struct rig r;

	EACH_RIG(&r, true)
	{
		guest_listens(&r);
		console_set_paused(r.c, true);
		t_int(write(r.keys[1], "key\001x", 5), 5);
		run_for(&r, 3 * MS);
		t_uint(r.quits, 1);
		t_str(received(&r), "");
		console_set_paused(r.c, false);
		run_for(&r, 3 * MS);
		t_str(received(&r), "key");
	}
}

Test(console_out, without_a_uart_nothing_is_typed_and_nothing_breaks)
{
	struct rig r;

	EACH_RIG(&r, true)
	{
		struct reader a = new_reader(&r);

		a.types = "x";
		console_reader_add(r.c, &a.r, true);
		console_attach(r.c, NULL);
		type_rest(&a);
		t_uint(a.typed, 0);
		t_int(write(r.keys[1], "k\001b\001x", 5), 5);
		console_set_paused(r.c, true);
		console_set_paused(r.c, false);
		run_for(&r, 3 * MS);
		t_uint(r.quits, 1);
		console_attach(r.c, &r.uart);
		guest_listens(&r);
		run_for(&r, 3 * MS);
		t_str(received(&r), "kx");
		console_reader_remove(r.c, &a.r);
	}
}

/* --- the sink --- */

Test(console_out, output_goes_to_a_file_that_is_made_and_appended_to)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct err e = { 0 };
		struct stat st;

		cr_assert(eq(int, console_set_output(r.c, r.path, NULL, &e), 0), "%s", e.text);
		guest_says(&r, "one");
		run_for(&r, MS);
		t_str(file_text(r.path), "one");
		t_int(stat(r.path, &st), 0);
		t_int(st.st_mode & 0777, 0600);
		t_int(lseek(r.out_fd, 0, SEEK_END), 0);
		cr_assert(eq(int, console_set_output(r.c, r.path, NULL, &e), 0), "%s", e.text);
		guest_says(&r, "two");
		run_for(&r, MS);
		t_str(file_text(r.path), "onetwo");
		/* And back. */
		t_int(console_set_output(r.c, NULL, NULL, &e), 0);
		guest_says(&r, "three");
		run_for(&r, MS);
		t_str(file_text(r.path), "onetwo");
		t_int(lseek(r.out_fd, 0, SEEK_END), 5);
	}
}

Test(console_out, a_fifo_without_a_reader_is_not_waited_for)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct err e = { 0 };
		char text[8] = "";
		int fd;

		t_int(mkfifo(r.path, 0600), 0);
		cr_assert(eq(int, console_set_output(r.c, r.path, NULL, &e), 0), "%s", e.text);
		guest_says(&r, "hello");
		run_for(&r, MS);
		fd = open(r.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		t_int(read(fd, text, sizeof(text)), 5);
		t_str(text, "hello");
		/* Nobody reads: bytes are lost, the guest is not held up. */
		say_numbers(&r, 1 << 20);
		run_for(&r, 5 * MS);
		t_true(console_dropped(r.c) > (1 << 20) - CONSOLE_BACKLOG - (1 << 17));
		(void)close(fd);
	}
}

Test(console_out, an_output_that_cannot_be_had_is_an_error_and_changes_nothing)
{
	unsigned fds = t_count_fds();
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct err e = { 0 };

		t_int(console_set_output(r.c, "/nonexistent/out", NULL, &e), -ENOENT);
		t_has(e.text, "/nonexistent/out");
		t_int(console_set_output(r.c, r.dir, NULL, &e), -EISDIR);
		guest_says(&r, "x");
		run_for(&r, MS);
		t_int(lseek(r.out_fd, 0, SEEK_END), 1);
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(console_out, what_is_over_the_limit_is_dropped_and_counted)
{
	const struct bucket_config hour = { .size = 1000, .refill_ms = 3600 * 1000, .burst = 24 };
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct reader a = new_reader(&r);
		static uint8_t buf[65536];
		struct stat st;

		console_reader_add(r.c, &a.r, true);
		t_int(console_set_output(r.c, r.path, &hour, NULL), 0);
		for (unsigned i = 0; i < 10; i++) {
			say_numbers(&r, 700);
			run_for(&r, MS);
		}
		t_int(stat(r.path, &st), 0);
		t_true(st.st_size >= 1024 && st.st_size < 1034);
		t_uint(console_limited(r.c), 7000 - (uint64_t)st.st_size);
		t_uint(console_dropped(r.c), 0);
		/* The limit is the sink's. */
		t_uint(console_reader_read(r.c, &a.r, buf, sizeof(buf), NULL), 7000);
		console_reader_remove(r.c, &a.r);
	}
}

Test(console_out, a_limit_refills)
{
	const struct bucket_config limit = { .size = 100, .refill_ms = 20 };
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct stat st;

		t_int(console_set_output(r.c, r.path, &limit, NULL), 0);
		say_numbers(&r, 100);
		run_for(&r, 40 * MS);
		say_numbers(&r, 100);
		run_for(&r, MS);
		t_int(stat(r.path, &st), 0);
		t_int(st.st_size, 200);
		t_uint(console_limited(r.c), 0);
	}
}

/* --- panic --- */

Test(console_out, a_panic_is_told_with_its_line)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_says(&r, "[ 1.0] Kernel panic - not syncing: VFS\n");
		run_for(&r, MS);
		t_uint(r.panics, 1);
		t_str(r.line, "[ 1.0] Kernel panic - not syncing: VFS");
	}
}
