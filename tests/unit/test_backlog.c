/* The last bytes of a stream, for any number of readers. */
#include "t.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "backlog.h"

TestSuite(backlog, .timeout = T_SECONDS);

enum { SIZE = 4096 };

/* Byte i of the stream is the low byte of i. */
static void push(struct backlog *b, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		(void)backlog_push(b, (uint8_t)b->end);
}

/* Reads in pieces until nothing comes; the bytes that were wrong. */
static uint64_t read_all(struct backlog *b, uint64_t *at, size_t piece, uint64_t *ret_missed)
{
	uint8_t buf[SIZE];
	uint64_t wrong = 0, missed, n;

	*ret_missed = 0;
	do {
		uint64_t from;

		n = backlog_read(b, at, buf, piece, &missed);
		from = *at - n;
		*ret_missed += missed;
		for (uint64_t i = 0; i < n; i++)
			wrong += buf[i] != (uint8_t)(from + i);
	} while (n > 0);
	return wrong;
}

Test(backlog, what_was_written_is_read_in_order_by_every_reader)
{
	struct backlog b;
	uint64_t at[3] = { 0 }, missed;

	t_int(backlog_init(&b, SIZE), 0);
	for (unsigned round = 0; round < 50; round++) {
		push(&b, 1 + round * 37 % 1000);
		for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
			t_uint(read_all(&b, &at[i], 1 + i * 100, &missed), 0);
			t_uint(missed, 0);
			t_uint(at[i], backlog_end(&b));
		}
	}
	backlog_fini(&b);
}

Test(backlog, who_is_too_slow_goes_on_with_the_oldest_and_learns_how_many_it_missed)
{
	static const uint64_t rows[] = { 0, 1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE, 5 * SIZE + 77 };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct backlog b;
		uint64_t at = 0, missed;

		t_int(backlog_init(&b, SIZE), 0);
		push(&b, rows[i]);
		t_uint(read_all(&b, &at, 100, &missed), 0);
		t_uint(missed, rows[i] > SIZE ? rows[i] - SIZE : 0);
		t_uint(at, rows[i]);
		backlog_fini(&b);
	}
}

Test(backlog, a_slow_reader_does_not_touch_another)
{
	struct backlog b;
	uint64_t slow = 0, quick = 0, missed;

	t_int(backlog_init(&b, SIZE), 0);
	for (unsigned i = 0; i < 10; i++) {
		push(&b, SIZE);
		t_uint(read_all(&b, &quick, 512, &missed), 0);
		t_uint(missed, 0);
	}
	t_uint(read_all(&b, &slow, 512, &missed), 0);
	t_uint(missed, 9 * SIZE);
	backlog_fini(&b);
}

Test(backlog, somebody_is_woken_for_the_first_byte_behind_what_was_seen)
{
	struct backlog b;
	uint64_t at = 0;
	uint8_t buf[8];

	t_int(backlog_init(&b, SIZE), 0);
	t_true(backlog_push(&b, 1));
	t_false(backlog_push(&b, 2));
	t_uint(backlog_read(&b, &at, buf, 1, NULL), 1);
	/* There is more, and the reader knows: it goes on by itself. */
	t_false(backlog_push(&b, 3));
	t_uint(backlog_read(&b, &at, buf, sizeof(buf), NULL), 2);
	t_true(backlog_push(&b, 4));
	t_false(backlog_push(&b, 5));
	backlog_fini(&b);
}

static void *writer(void *arg)
{
	struct backlog *b = arg;

	push(b, 200000);
	return NULL;
}

Test(backlog, a_reader_beside_a_writer_sees_the_stream_with_gaps_that_it_knows_of)
{
	struct backlog b;
	uint64_t at = 0, missed, total = 0;
	pthread_t thread;

	t_int(backlog_init(&b, SIZE), 0);
	t_int(pthread_create(&thread, NULL, writer, &b), 0);
	while (at < 200000) {
		uint64_t before = at, gap;

		t_uint(read_all(&b, &at, 333, &gap), 0);
		t_true(at >= before);
		total += gap;
	}
	t_int(pthread_join(thread, NULL), 0);
	t_true(total <= 200000);
	t_uint(read_all(&b, &at, 333, &missed), 0);
	t_uint(missed, 0);
	backlog_fini(&b);
}

Test(backlog, a_size_that_cannot_be_had_is_an_error)
{
	struct backlog b;

	t_int(backlog_init(&b, 1ULL << 62), -ENOMEM);
	backlog_fini(&b);
}

Test(backlog, memory_is_touched_where_bytes_have_been)
{
	struct backlog b;
	unsigned char seen[64] = { 0 };
	unsigned touched = 0;

	t_int(backlog_init(&b, 64 * SIZE), 0);
	push(&b, SIZE + 1);
	t_int(mincore(b.buf, 64 * SIZE, seen), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(seen); i++)
		touched += seen[i] & 1;
	t_true(touched >= 2 && touched <= 4);
	backlog_fini(&b);
}
