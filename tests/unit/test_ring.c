/* A bounded ring of bytes. */
#include "t.h"

#include <pthread.h>

#include "ring.h"

TestSuite(ring, .timeout = T_SECONDS);

enum { SIZE = 4096 };

static void fill(struct ring *r, unsigned n, uint8_t from)
{
	for (unsigned i = 0; i < n; i++)
		(void)ring_push(r, (uint8_t)(from + i));
}

Test(ring, bytes_come_out_in_the_order_they_went_in)
{
	struct ring r;
	uint8_t buf[3];

	t_int(ring_init(&r, SIZE), 0);
	fill(&r, 3, 10);
	t_uint(ring_peek(&r, buf, 3), 3);
	t_uint(buf[0], 10);
	t_uint(buf[2], 12);
	ring_fini(&r);
}

Test(ring, peeking_takes_nothing)
{
	struct ring r;
	uint8_t buf[8];

	t_int(ring_init(&r, SIZE), 0);
	fill(&r, 5, 0);
	t_uint(ring_peek(&r, buf, sizeof(buf)), 5);
	t_uint(ring_peek(&r, buf, sizeof(buf)), 5);
	ring_fini(&r);
}

Test(ring, the_first_byte_into_an_empty_ring_says_so)
{
	struct ring r;

	t_int(ring_init(&r, SIZE), 0);
	t_true(ring_push(&r, 1));
	t_false(ring_push(&r, 2));
	ring_pop(&r, 2);
	t_true(ring_push(&r, 3));
	ring_fini(&r);
}

Test(ring, what_does_not_fit_is_dropped_and_counted)
{
	struct ring r;
	uint8_t first;

	t_int(ring_init(&r, SIZE), 0);
	fill(&r, SIZE + 7, 0);
	t_uint(ring_dropped(&r), 7);
	t_uint(ring_peek(&r, &first, 1), 1);
	t_uint(first, 0);
	ring_fini(&r);
}

Test(ring, bytes_that_wrap_around_its_end_stay_in_order)
{
	struct ring r;
	uint8_t buf[SIZE];

	t_int(ring_init(&r, SIZE), 0);
	fill(&r, SIZE, 0);
	ring_pop(&r, SIZE - 1);
	fill(&r, 20, 100);
	t_uint(ring_peek(&r, buf, sizeof(buf)), 21);
	for (unsigned i = 0; i < 20; i++)
		cr_expect(eq(u8, buf[1 + i], (uint8_t)(100 + i)));
	ring_fini(&r);
}

Test(ring, an_empty_ring_rewinds_so_that_the_same_page_is_used_again)
{
	struct ring r;

	t_int(ring_init(&r, SIZE), 0);
	fill(&r, 10, 0);
	ring_pop(&r, 10);
	t_uint(r.first, 0);
	ring_fini(&r);
}

Test(ring, popping_more_than_there_is_aborts, .signal = SIGABRT)
{
	struct ring r;

	if (ring_init(&r, SIZE) == 0) {
		fill(&r, 3, 0);
		ring_pop(&r, 4);
	}
}

Test(ring, a_zeroed_ring_may_be_finished)
{
	struct ring r = { 0 };

	ring_fini(&r);
	t_false(r.buf);
}

Test(ring, a_size_that_cannot_be_had_is_an_error)
{
	struct ring r;

	t_true(ring_init(&r, SIZE_MAX / 2) < 0);
	ring_fini(&r);
}

static void *push_many(void *arg)
{
	for (unsigned i = 0; i < 100000; i++)
		(void)ring_push(arg, (uint8_t)i);
	return NULL;
}

Test(ring, a_producer_and_a_consumer_on_two_threads_lose_only_what_is_counted)
{
	struct ring r;
	pthread_t producer;
	uint64_t taken = 0;
	uint8_t buf[512];
	bool done = false;

	t_int(ring_init(&r, SIZE), 0);
	t_int(pthread_create(&producer, NULL, push_many, &r), 0);
	for (;;) {
		size_t n = ring_peek(&r, buf, sizeof(buf));

		ring_pop(&r, n);
		taken += n;
		if (done && n == 0)
			break;
		if (!done && taken + ring_dropped(&r) >= 100000 - SIZE) {
			t_int(pthread_join(producer, NULL), 0);
			done = true;
		}
	}
	t_uint(taken + ring_dropped(&r), 100000);
	ring_fini(&r);
	T_NO_LEAKS();
}
