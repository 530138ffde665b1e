/* stdin and stdout as the far end of the serial port, on both backends of the loop. */
#include "t.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "base/err.h"
#include "console.h"
#include "legacy/serial.h"

TestSuite(console, .timeout = T_SECONDS);

#define MS 1000000ULL

enum { DATA, IER, FCR, MCR = 4, LSR, BIG = 400 * 1024 };

/* A machine's serial port with a console behind it; the test holds the far ends. */
struct rig {
	struct loop *l;
	struct console *c;
	struct serial uart;
	struct serial_host host;
	int in_fd, out_fd;   /* the console's */
	int keys_fd, see_fd; /* the person's */
	unsigned commands;
	enum console_command last;
	struct loop_op timer;
	bool expired;
};

static void on_command(void *ctx, enum console_command command)
{
	struct rig *r = ctx;

	r->commands++;
	r->last = command;
}

static void on_timer(struct loop_op *op, int res)
{
	struct rig *r = container_of(op, struct rig, timer);

	(void)res;
	r->expired = true;
	loop_stop(r->l);
}

static void make_console(struct rig *r, bool has_keys)
{
	struct console_host host = { .command = on_command, .ctx = r };
	struct irq_line nowhere = { .vm_fd = -1, .gsi = 4 };
	struct err e = { 0 };

	cr_assert(eq(int, console_new(r->l, r->in_fd, r->out_fd, has_keys, &host, &r->c, &e), 0),
		"%s", e.text);
	r->host = console_serial_host(r->c);
	serial_init(&r->uart, nowhere, &r->host);
	console_attach(r->c, &r->uart);
	r->timer.done = on_timer;
}

/* Pipes on both sides.  False when this backend is refused. */
static bool setup(struct rig *r, int turn, bool has_keys)
{
	int in[2], out[2];

	*r = (struct rig){ .l = t_loop_new(turn) };
	if (!r->l)
		return false;
	t_int(pipe2(in, O_CLOEXEC), 0);
	t_int(pipe2(out, O_CLOEXEC), 0);
	r->in_fd = in[0];
	r->keys_fd = in[1];
	r->see_fd = out[0];
	r->out_fd = out[1];
	make_console(r, has_keys);
	return true;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void teardown(struct rig *r)
{
	loop_free(r->l);
	console_free(r->c);
	serial_fini(&r->uart);
	close_one(&r->in_fd);
	if (r->out_fd != r->in_fd)
		close_one(&r->out_fd);
	close_one(&r->keys_fd);
	close_one(&r->see_fd);
}

#define EACH_RIG(r, keys)                                                                          \
	for (int turn_ = 0; turn_ < 2; turn_++)                                                    \
		for (bool ok_ = setup(r, turn_, keys); ok_; teardown(r), ok_ = false)

/* Lets the loop run for a while, and then for some rounds more: a host that is busy elsewhere eats
 * up the time. */
static void run_for(struct rig *r, uint64_t ns)
{
	enum { ROUNDS = 20 };

	for (unsigned i = 0; i <= ROUNDS; i++) {
		r->expired = false;
		loop_timeout(r->l, &r->timer, i == 0 ? ns : 0);
		while (!r->expired)
			t_int(loop_run(r->l), 0);
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

/* The guest's driver starts: FIFO on, receive interrupt on. */
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

static void type(struct rig *r, const char *text, size_t len)
{
	t_int(write(r->keys_fd, text, len), len);
}

/* What has arrived at the person's end. */
static const char *seen(struct rig *r)
{
	static char text[256];
	struct pollfd p = { .fd = r->see_fd, .events = POLLIN };
	ssize_t n = 0;

	if (poll(&p, 1, 0) == 1)
		n = read(r->see_fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* What the guest finds in its receiver. */
static const char *received(struct rig *r)
{
	static char text[64];
	unsigned n = 0;

	while (n < sizeof(text) - 1 && (in8(r, LSR) & 1))
		text[n++] = (char)in8(r, DATA);
	text[n] = '\0';
	return text;
}

/* --- output --- */

Test(console, what_the_guest_says_arrives)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_says(&r, "hello\n");
		run_for(&r, 3 * MS);
		t_str(seen(&r), "hello\n");
		t_uint(console_dropped(r.c), 0);
	}
}

Test(console, output_goes_on_after_a_pause)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_says(&r, "one ");
		run_for(&r, 2 * MS);
		t_str(seen(&r), "one ");
		guest_says(&r, "two");
		run_for(&r, 2 * MS);
		t_str(seen(&r), "two");
	}
}

/* Reads until nothing more comes; checks that byte i is the low byte of i up to "exact". */
static uint64_t drain(struct rig *r, uint64_t exact, uint64_t *ret_wrong)
{
	static uint8_t buf[65536];
	uint64_t got = 0, wrong = 0;

	for (;;) {
		struct pollfd p = { .fd = r->see_fd, .events = POLLIN };
		ssize_t n;

		run_for(r, MS);
		if (poll(&p, 1, 0) != 1)
			break;
		n = read(r->see_fd, buf, sizeof(buf));
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++, got++)
			wrong += got < exact && buf[i] != (uint8_t)got;
	}
	*ret_wrong = wrong;
	return got;
}

static void say_numbers(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		r->host.tx(r->host.ctx, (uint8_t)i);
}

Test(console, much_output_arrives_whole_and_in_order_when_it_is_read)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		uint64_t wrong;

		say_numbers(&r, 200 * 1024);
		t_uint(drain(&r, UINT64_MAX, &wrong), 200 * 1024);
		t_uint(wrong, 0);
		t_uint(console_dropped(r.c), 0);
	}
}

Test(console, a_slow_reader_costs_bytes_that_are_counted_and_never_the_guests_time)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		uint64_t wrong, got;

		/* Nobody reads: 256 KiB stay in the ring, the rest is lost at once. */
		say_numbers(&r, BIG);
		t_uint(console_dropped(r.c), BIG - CONSOLE_BACKLOG);
		run_for(&r, 2 * MS);
		got = drain(&r, CONSOLE_BACKLOG, &wrong);
		t_uint(got + console_dropped(r.c), BIG);
		t_uint(wrong, 0);
	}
}

Test(console, a_reader_that_is_gone_costs_all_bytes_and_nothing_else)
{
	struct rig r;

	(void)signal(SIGPIPE, SIG_IGN); /* as mvm run does */
	EACH_RIG(&r, false)
	{
		close_one(&r.see_fd);
		say_numbers(&r, 10000);
		run_for(&r, 5 * MS);
		t_uint(console_dropped(r.c), 10000);
		guest_says(&r, "more");
		run_for(&r, 2 * MS);
		t_uint(console_dropped(r.c), 10004);
	}
}

/* A rig whose output is fd and whose input never says anything. */
static bool setup_output(struct rig *r, int turn, int fd)
{
	int in[2];

	*r = (struct rig){ .l = t_loop_new(turn), .see_fd = -1, .out_fd = fd };
	if (!r->l)
		return false;
	t_int(pipe2(in, O_CLOEXEC), 0);
	r->in_fd = in[0];
	r->keys_fd = in[1];
	make_console(r, false);
	return true;
}

Test(console, output_may_be_a_socket_and_its_end_is_no_signal)
{
	for (int turn = 0; turn < 2; turn++) {
		int pair[2];
		struct rig r;

		t_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		if (!setup_output(&r, turn, pair[0]))
			continue;
		r.see_fd = pair[1];
		guest_says(&r, "hello");
		run_for(&r, 3 * MS);
		t_str(seen(&r), "hello");
		close_one(&r.see_fd);
		guest_says(&r, "lost");
		run_for(&r, 3 * MS);
		t_uint(console_dropped(r.c), 4);
		teardown(&r);
	}
}

Test(console, a_socket_whose_reader_is_slow_does_not_hold_up_the_loop)
{
	for (int turn = 0; turn < 2; turn++) {
		int pair[2];
		struct rig r;
		uint64_t wrong;

		t_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		if (!setup_output(&r, turn, pair[0]))
			continue;
		r.see_fd = pair[1];
		say_numbers(&r, CONSOLE_BACKLOG);
		run_for(&r, 5 * MS);
		t_uint(drain(&r, UINT64_MAX, &wrong), CONSOLE_BACKLOG);
		t_uint(wrong, 0);
		teardown(&r);
	}
}

Test(console, output_may_be_a_regular_file)
{
	for (int turn = 0; turn < 2; turn++) {
		struct rig r;
		char text[8] = "";

		if (!setup_output(&r, turn, memfd_create("out", MFD_CLOEXEC)))
			continue;
		guest_says(&r, "hello");
		run_for(&r, 3 * MS);
		t_int(pread(r.out_fd, text, 7, 0), 5);
		t_str(text, "hello");
		teardown(&r);
	}
}

Test(console, a_full_disk_costs_all_bytes_and_nothing_else)
{
	for (int turn = 0; turn < 2; turn++) {
		struct rig r;

		if (!setup_output(&r, turn, open("/dev/full", O_WRONLY | O_CLOEXEC)))
			continue;
		guest_says(&r, "hello");
		run_for(&r, 3 * MS);
		t_uint(console_dropped(r.c), 5);
		teardown(&r);
	}
}

Test(console, a_closed_stdout_costs_all_bytes_and_nothing_else)
{
	for (int turn = 0; turn < 2; turn++) {
		struct rig r;

		if (!setup_output(&r, turn, -1))
			continue;
		guest_says(&r, "hello");
		run_for(&r, 3 * MS);
		t_uint(console_dropped(r.c), 5);
		teardown(&r);
	}
}

Test(console, the_descriptors_that_were_given_keep_their_flags)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_says(&r, "hello");
		run_for(&r, 2 * MS);
		t_int(fcntl(r.out_fd, F_GETFL) & O_NONBLOCK, 0);
		t_int(fcntl(r.in_fd, F_GETFL) & O_NONBLOCK, 0);
	}
}

/* --- input --- */

Test(console, what_is_typed_reaches_a_guest_that_listens)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_listens(&r);
		type(&r, "ls\n", 3);
		run_for(&r, 3 * MS);
		t_str(received(&r), "ls\n");
	}
}

static int unread(const struct rig *r)
{
	int n = -1;

	t_int(ioctl(r->in_fd, FIONREAD, &n), 0);
	return n;
}

Test(console, input_is_left_alone_until_the_guest_listens)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		type(&r, "early", 5);
		run_for(&r, 3 * MS);
		t_int(unread(&r), 5);
		guest_listens(&r);
		run_for(&r, 3 * MS);
		t_str(received(&r), "early");
	}
}

Test(console, no_more_is_read_than_the_uart_takes)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_listens(&r);
		type(&r, "0123456789abcdefghijklmnopqrstuvwxyz", 36);
		run_for(&r, 3 * MS);
		t_int(unread(&r), 20);
		t_str(received(&r), "0123456789abcdef");
		run_for(&r, 3 * MS);
		t_str(received(&r), "ghijklmnopqrstuv");
		run_for(&r, 3 * MS);
		t_str(received(&r), "wxyz");
	}
}

Test(console, without_a_fifo_input_comes_byte_by_byte)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		out8(&r, IER, 1);
		type(&r, "abc", 3);
		run_for(&r, 2 * MS);
		t_int(unread(&r), 2);
		for (const char *want = "abc"; *want; want++) {
			cr_expect(eq(chr, (char)in8(&r, DATA), *want));
			run_for(&r, 2 * MS);
		}
	}
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

Test(console, the_end_of_input_is_quiet_and_output_goes_on)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		uint64_t cpu;

		guest_listens(&r);
		type(&r, "last", 4);
		close_one(&r.keys_fd);
		run_for(&r, 3 * MS);
		t_str(received(&r), "last");
		cpu = cpu_ns();
		run_for(&r, 30 * MS);
		t_true(cpu_ns() - cpu < 15 * MS);
		guest_says(&r, "bye");
		run_for(&r, 3 * MS);
		t_str(seen(&r), "bye");
	}
}

Test(console, a_closed_stdin_is_quiet)
{
	for (int turn = 0; turn < 2; turn++) {
		int out[2];
		struct rig r = { .l = t_loop_new(turn), .in_fd = -1, .keys_fd = -1 };

		if (!r.l)
			continue;
		t_int(pipe2(out, O_CLOEXEC), 0);
		r.see_fd = out[0];
		r.out_fd = out[1];
		make_console(&r, false);
		guest_listens(&r);
		guest_says(&r, "hello");
		run_for(&r, 3 * MS);
		t_str(seen(&r), "hello");
		teardown(&r);
	}
}

Test(console, input_may_be_a_regular_file_and_is_read_to_its_end)
{
	for (int turn = 0; turn < 2; turn++) {
		int out[2];
		struct rig r = { .l = t_loop_new(turn), .keys_fd = -1 };

		if (!r.l)
			continue;
		t_int(pipe2(out, O_CLOEXEC), 0);
		r.see_fd = out[0];
		r.out_fd = out[1];
		r.in_fd = memfd_create("in", MFD_CLOEXEC);
		t_int(pwrite(r.in_fd, "script", 6, 0), 6);
		make_console(&r, false);
		guest_listens(&r);
		run_for(&r, 3 * MS);
		t_str(received(&r), "script");
		teardown(&r);
	}
}

/* --- keys --- */

Test(console, ctrl_a_and_a_letter_are_commands_on_a_terminal)
{
	static const struct {
		const char *name, *keys;
		size_t len;
		unsigned commands;
		enum console_command command;
		const char *guest;
	} rows[] = {
		{ "x ends", "\001x", 2, 1, CONSOLE_QUIT, "" },
		{ "X ends", "\001X", 2, 1, CONSOLE_QUIT, "" },
		{ "c shuts down", "\001c", 2, 1, CONSOLE_SHUTDOWN, "" },
		{ "a sends Ctrl-A", "\001a", 2, 0, CONSOLE_QUIT, "\001" },
		{ "twice sends Ctrl-A", "\001\001", 2, 0, CONSOLE_QUIT, "\001" },
		{ "between others", "ab\001cde", 6, 1, CONSOLE_SHUTDOWN, "abde" },
		{ "plain letters", "xc", 2, 0, CONSOLE_QUIT, "xc" },
		{ "alone", "\001", 1, 0, CONSOLE_QUIT, "" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig r;

		EACH_RIG(&r, true)
		{
			guest_listens(&r);
			type(&r, rows[i].keys, rows[i].len);
			run_for(&r, MS);
			t_row_int(rows[i].name, r.commands, rows[i].commands);
			if (rows[i].commands > 0)
				t_row_int(rows[i].name, r.last, rows[i].command);
			t_row_int(rows[i].name, strcmp(received(&r), rows[i].guest), 0);
		}
	}
}

Test(console, the_letter_may_come_later_than_ctrl_a)
{
	struct rig r;

	EACH_RIG(&r, true)
	{
		guest_listens(&r);
		type(&r, "\001", 1);
		run_for(&r, 2 * MS);
		t_uint(r.commands, 0);
		type(&r, "x", 1);
		run_for(&r, 2 * MS);
		t_uint(r.commands, 1);
	}
}

Test(console, ctrl_a_b_is_a_break)
{
	struct rig r;

	EACH_RIG(&r, true)
	{
		guest_listens(&r);
		type(&r, "\001b", 2);
		run_for(&r, 2 * MS);
		t_int(in8(&r, LSR) & 0x11, 0x11);
		t_int(in8(&r, DATA), 0);
	}
}

Test(console, another_letter_behind_ctrl_a_is_no_command_and_not_the_guests)
{
	struct rig r;

	(void)!freopen("/dev/null", "w", stderr); /* where the help goes */
	EACH_RIG(&r, true)
	{
		guest_listens(&r);
		type(&r, "\001?y", 3);
		run_for(&r, 2 * MS);
		t_uint(r.commands, 0);
		t_str(received(&r), "y");
	}
}

Test(console, without_a_terminal_ctrl_a_is_the_guests)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_listens(&r);
		type(&r, "\001x", 2);
		run_for(&r, 2 * MS);
		t_uint(r.commands, 0);
		t_str(received(&r), "\001x");
	}
}

/* A guest that never listens cannot keep the person from leaving. */
Test(console, commands_work_before_the_guest_listens)
{
	struct rig r;

	EACH_RIG(&r, true)
	{
		type(&r, "\001x", 2);
		run_for(&r, 3 * MS);
		t_uint(r.commands, 1);
		t_int(r.last, CONSOLE_QUIT);
	}
}

Test(console, commands_work_while_the_guest_does_not_read)
{
	struct rig r;

	EACH_RIG(&r, true)
	{
		guest_listens(&r);
		type(&r, "0123456789abcdefghijk", 21);
		run_for(&r, 3 * MS);
		type(&r, "\001x", 2);
		run_for(&r, 3 * MS);
		t_uint(r.commands, 1);
	}
}

Test(console, what_is_typed_before_the_guest_reads_waits_in_order_and_none_is_lost)
{
	enum { TYPED = 6000 };
	struct rig r;

	EACH_RIG(&r, true)
	{
		static char text[TYPED];
		unsigned got = 0, wrong = 0;

		for (unsigned i = 0; i < TYPED; i++)
			text[i] = (char)('a' + i % 23);
		type(&r, text, TYPED);
		run_for(&r, 20 * MS);
		t_uint(console_keys_dropped(r.c), 0);
		guest_listens(&r);
		for (unsigned round = 0; round < TYPED && got < TYPED; round++) {
			const char *some;

			run_for(&r, 50000);
			for (some = received(&r); *some; some++, got++)
				wrong += *some != text[got];
		}
		t_uint(got, TYPED);
		t_uint(wrong, 0);
	}
}

Test(console, commands_work_behind_more_keys_than_can_wait)
{
	enum { TYPED = 70000, PIECE = 1000 };
	static char text[PIECE];
	struct rig r;

	memset(text, 'k', sizeof(text));
	EACH_RIG(&r, true)
	{
		for (unsigned i = 0; i < TYPED / PIECE; i++) {
			type(&r, text, PIECE);
			run_for(&r, 5 * MS);
		}
		type(&r, "\001x", 2);
		run_for(&r, 5 * MS);
		t_uint(r.commands, 1);
		t_uint(console_keys_dropped(r.c), TYPED - 65536);
	}
}

/* --- the end --- */

Test(console, what_is_left_is_written_when_the_loop_has_stopped)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		guest_says(&r, "last words");
		console_drain(r.c, 100, -1);
		t_str(seen(&r), "last words");
	}
}

Test(console, a_reader_that_does_not_read_is_not_waited_for_without_end)
{
	struct rig r;

	EACH_RIG(&r, false)
	{
		struct timespec a, b;

		say_numbers(&r, CONSOLE_BACKLOG);
		(void)clock_gettime(CLOCK_MONOTONIC, &a);
		console_drain(r.c, 10, -1);
		(void)clock_gettime(CLOCK_MONOTONIC, &b);
		t_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 1000);
	}
}

Test(console, draining_for_a_reader_that_is_gone_ends_and_counts)
{
	struct rig r;

	(void)signal(SIGPIPE, SIG_IGN);
	EACH_RIG(&r, false)
	{
		say_numbers(&r, 50000);
		close_one(&r.see_fd);
		console_drain(r.c, 10, -1);
		t_uint(console_dropped(r.c), 50000);
	}
}

Test(console, freeing_no_console_is_allowed)
{
	console_free(NULL);
	t_true(true);
}

Test(console, nothing_is_left_behind)
{
	unsigned fds = t_count_fds();
	struct rig r;

	EACH_RIG(&r, true)
	{
		guest_listens(&r);
		guest_says(&r, "hello");
		type(&r, "x", 1);
		run_for(&r, 2 * MS);
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}
