/* The boot timer. */
#include "t.h"

#include "legacy/boot_timer.h"
#include "legacy/post.h"

TestSuite(boot_timer, .timeout = T_SECONDS);

static unsigned marks;

static void mark(void *ctx, uint32_t guest_us)
{
	(void)ctx;
	t_uint(guest_us, 0);
	marks++;
}

static void write_at(uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct post post = { .mark = mark };

	boot_timer_bus_ops.write(&post, off, buf, len);
}

Test(boot_timer, magic_byte_marks)
{
	write_at(0, (const uint8_t[]){ BOOT_TIMER_MAGIC }, 1);
	t_uint(marks, 1);
}

Test(boot_timer, anything_else_is_swallowed)
{
	static const uint8_t word[8] = { BOOT_TIMER_MAGIC };

	write_at(0, (const uint8_t[]){ 122 }, 1);
	write_at(0, (const uint8_t[]){ 0 }, 1);
	write_at(1, word, 1);
	write_at(0, word, 2);
	write_at(0, word, 8);
	write_at(BOOT_TIMER_LEN - 1, word, 1);
	t_uint(marks, 0);
}

Test(boot_timer, reads_as_nothing)
{
	uint8_t buf[8];

	memset(buf, 0xff, sizeof(buf));
	boot_timer_bus_ops.read(NULL, 0, buf, sizeof(buf));
	for (unsigned i = 0; i < sizeof(buf); i++)
		t_hex(buf[i], 0xff);
	t_uint(marks, 0);
}
