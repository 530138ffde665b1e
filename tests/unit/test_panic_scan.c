/* The words of a panic in what a guest writes. */
#include "t.h"

#include "panic_scan.h"

TestSuite(panic_scan, .timeout = T_SECONDS);

struct rig {
	struct panic_scan p;
	unsigned found;
	char line[PANIC_LINE_MAX];
};

static void on_found(struct panic_scan *p, const char *line)
{
	struct rig *r = container_of(p, struct rig, p);

	r->found++;
	memcpy(r->line, line, strlen(line) + 1);
}

/* In pieces of so many bytes. */
static void feed(struct rig *r, const char *text, size_t len, size_t piece)
{
	for (size_t at = 0; at < len; at += piece)
		panic_scan_feed(&r->p, (const uint8_t *)text + at, MIN(piece, len - at));
}

#define PANIC                                                                                      \
	"[    1.234567] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"

Test(panic_scan, a_panic_is_found_wherever_the_pieces_end)
{
	static const char text[] = "hello\n" PANIC "\r\n[    1.3] CPU: 0 PID: 1 Comm: init\n";

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct rig r = { .p.found = on_found };

		feed(&r, text, sizeof(text) - 1, piece);
		cr_expect(eq(uint, r.found, 1), "pieces of %zu", piece);
		t_str(r.line, PANIC);
	}
}

Test(panic_scan, other_lines_are_none)
{
	static const char *const rows[] = {
		"",
		"\n\n\r\n\n",
		"Kernel panic\n- not syncing\n",
		"Kernel panic - not syncin\n",
		"[ 2.0] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\n",
		"Kernel panic - not syncing: and no end of the line",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig r = { .p.found = on_found };

		feed(&r, rows[i], strlen(rows[i]), 7);
		t_row_int(rows[i], r.found, 0);
	}
}

Test(panic_scan, a_line_without_end_takes_no_memory_and_hides_nothing_behind_it)
{
	static char text[100000];
	struct rig r = { .p.found = on_found };

	memset(text, 'x', sizeof(text));
	feed(&r, text, sizeof(text), 4096);
	feed(&r, "\n" PANIC "\n", sizeof("\n" PANIC "\n") - 1, 1000);
	t_uint(r.found, 1);
	t_str(r.line, PANIC);
	/* A long one is cut, and told if the words come early enough. */
	feed(&r, PANIC, sizeof(PANIC) - 1, 1000);
	feed(&r, text, sizeof(text), 4096);
	feed(&r, "\n", 1, 1);
	t_uint(r.found, 2);
	t_uint(strlen(r.line), PANIC_LINE_MAX - 1);
}

Test(panic_scan, any_byte_may_come)
{
	struct rig r = { .p.found = on_found };
	uint8_t all[512];

	for (unsigned i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	feed(&r, (char *)all, sizeof(all), 13);
	feed(&r, "\n\0\0Kernel panic - not syncing: \0\xff\n", 35, 5);
	t_uint(r.found, 1);
	t_str(r.line, "  Kernel panic - not syncing:  \xff");
}

Test(panic_scan, a_guest_that_says_it_all_the_time_is_not_told_all_the_time)
{
	struct rig r = { .p.found = on_found };

	for (unsigned i = 0; i < 10000; i++)
		feed(&r, PANIC "\n", sizeof(PANIC), 4096);
	t_true(r.found >= 1 && r.found <= 3 * LOG_BURST);
}
