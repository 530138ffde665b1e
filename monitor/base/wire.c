/* A bounded little-endian stream of numbers and bytes (wire.h). */
#include "base/wire.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

void wire_init_writer(struct wire *w, void *buf, size_t size)
{
	*w = (struct wire){ .buf = buf, .size = size };
}

void wire_init_reader(struct wire *w, const void *buf, size_t size)
{
	/* Nothing is written through it: take() only gives it to those who ask is_reading. */
	*w = (struct wire){ .buf = (uint8_t *)buf, .size = size, .is_reading = true };
}

void wire_fail(struct wire *w, int error)
{
	INVARIANT(error < 0);
	if (w->error == 0)
		w->error = error;
}

/* The next len bytes, or NULL: the stream is broken, or they are not there. */
static uint8_t *take(struct wire *w, size_t len)
{
	uint8_t *at;

	if (w->error != 0)
		return NULL;
	if (len > w->size - w->at) {
		w->error = w->is_reading ? -ENODATA : -ENOBUFS;
		return NULL;
	}
	at = w->buf + w->at;
	w->at += len;
	return at;
}

/* A number of len bytes.  False: nothing was read or written. */
static bool number(struct wire *w, uint64_t *v, unsigned len)
{
	uint8_t *at = take(w, len);

	if (!at)
		return false;
	if (w->is_reading)
		*v = 0;
	for (unsigned i = 0; i < len; i++) {
		if (w->is_reading)
			*v |= (uint64_t)at[i] << (8 * i);
		else
			at[i] = (uint8_t)(*v >> (8 * i));
	}
	return true;
}

void wire_u8(struct wire *w, uint8_t *v)
{
	uint64_t n = *v;

	if (number(w, &n, 1))
		*v = (uint8_t)n;
}

void wire_u16(struct wire *w, uint16_t *v)
{
	uint64_t n = *v;

	if (number(w, &n, 2))
		*v = (uint16_t)n;
}

void wire_u32(struct wire *w, uint32_t *v)
{
	uint64_t n = *v;

	if (number(w, &n, 4))
		*v = (uint32_t)n;
}

void wire_u64(struct wire *w, uint64_t *v)
{
	uint64_t n = *v;

	if (number(w, &n, 8))
		*v = n;
}

void wire_bool(struct wire *w, bool *v)
{
	uint64_t n = *v;

	if (!number(w, &n, 1))
		return;
	if (n > 1)
		wire_fail(w, -EBADMSG);
	else
		*v = n == 1;
}

void wire_count(struct wire *w, unsigned *v, unsigned max)
{
	uint64_t n = *v;

	if (!w->is_reading && *v > max)
		wire_fail(w, -EBADMSG);
	if (!number(w, &n, 4))
		return;
	if (n > max)
		wire_fail(w, -EBADMSG);
	else
		*v = (unsigned)n;
}

void wire_bytes(struct wire *w, void *data, size_t len)
{
	uint8_t *at = take(w, len);

	if (!at || len == 0)
		return;
	if (w->is_reading)
		memcpy(data, at, len);
	else
		memcpy(at, data, len);
}

void wire_text(struct wire *w, char *text, size_t size)
{
	size_t max;
	unsigned len = 0;
	uint8_t *at;

	INVARIANT(size >= 1 && size <= UINT32_MAX);
	max = size - 1;
	/* Without a NUL it is one byte too long. */
	if (!w->is_reading)
		len = (unsigned)strnlen(text, size);
	wire_count(w, &len, (unsigned)max);
	if (w->error != 0)
		return;
	at = take(w, len);
	if (!at)
		return;
	if (!w->is_reading) {
		memcpy(at, text, len);
		return;
	}
	if (memchr(at, '\0', len)) {
		wire_fail(w, -EBADMSG);
		return;
	}
	memcpy(text, at, len);
	text[len] = '\0';
}

void wire_text_or_none(struct wire *w, char *text, size_t size, bool *has)
{
	bool is_there = *has;

	wire_bool(w, &is_there);
	if (w->error != 0)
		return;
	if (is_there)
		wire_text(w, text, size);
	if (w->error == 0)
		*has = is_there;
}

int wire_finish(const struct wire *w)
{
	if (w->error != 0)
		return w->error;
	return w->is_reading && w->at < w->size ? -EBADMSG : 0;
}
