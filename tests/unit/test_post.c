/* Port 0x80: swallowed bytes and time marks. */
#include "t.h"

#include "legacy/post.h"

TestSuite(post, .timeout = T_SECONDS);

struct marks {
	unsigned n;
	uint32_t last;
};

static void on_mark(void *ctx, uint32_t guest_us)
{
	struct marks *m = ctx;

	m->n++;
	m->last = guest_us;
}

Test(post, four_bytes_are_a_time_mark_little_endian)
{
	struct marks m = { 0 };
	struct post p = { on_mark, &m };
	uint8_t buf[4] = { 0x78, 0x56, 0x34, 0x12 };

	post_bus_ops.write(&p, 0, buf, 4);
	t_uint(m.n, 1);
	t_hex(m.last, 0x12345678);
}

Test(post, narrower_writes_and_other_offsets_are_swallowed)
{
	struct marks m = { 0 };
	struct post p = { on_mark, &m };
	uint8_t buf[4] = { 1, 2, 3, 4 };

	post_bus_ops.write(&p, 0, buf, 1);
	post_bus_ops.write(&p, 0, buf, 2);
	post_bus_ops.write(&p, 2, buf, 2);
	post_bus_ops.write(&p, 3, buf, 1);
	t_uint(m.n, 0);
}

Test(post, a_read_leaves_the_bus_floating)
{
	struct marks m = { 0 };
	struct post p = { on_mark, &m };
	uint8_t buf[1] = { 0xff };

	post_bus_ops.read(&p, 0, buf, 1);
	t_uint(buf[0], 0xff);
}
