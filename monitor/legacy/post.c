/* Port 0x80: swallowed bytes and time marks (post.h). */
#include "legacy/post.h"

#include <string.h>

static void read_post(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	/* Nothing there to read; buf holds all ones already. */
	(void)dev;
	(void)off;
	(void)buf;
	(void)len;
}

static void write_post(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct post *post = dev;
	uint32_t guest_us;

	if (off != 0 || len != sizeof(guest_us))
		return;
	memcpy(&guest_us, buf, sizeof(guest_us));
	post->mark(post->ctx, guest_us);
}

const struct bus_ops post_bus_ops = { .read = read_post, .write = write_post };
