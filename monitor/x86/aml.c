/* A writer of AML (aml.h). */
#include "x86/aml.h"

#include <string.h>

enum {
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXT = 0x5b,
	OP_ARG0 = 0x68,
	OP_NOTIFY = 0x86,
	OP_EQUAL = 0x93,
	OP_IF = 0xa0,
	OP_EXT_DEVICE = 0x82,
	/* Lengths are written in the three-byte form (20.2.4), so that a scope can be closed
	   without moving it. */
	PKG_LENGTH_BYTES = 3,
	NAME_CHARS = 4,
};

static void put(struct aml *a, const void *data, size_t len)
{
	if (a->overflow || len > a->size - a->len) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, data, len);
	a->len += len;
}

static void put8(struct aml *a, unsigned value)
{
	uint8_t byte = (uint8_t)value;

	put(a, &byte, 1);
}

static void put16(struct aml *a, unsigned value)
{
	put8(a, value & 0xff);
	put8(a, value >> 8);
}

static void put32(struct aml *a, uint32_t value)
{
	put16(a, value & 0xffff);
	put16(a, value >> 16);
}

/* A name segment has exactly four characters; shorter names are filled up with underscores
 * (20.2.2). */
static void put_segment(struct aml *a, const char *name)
{
	for (unsigned i = 0; i < NAME_CHARS; i++)
		put8(a, *name ? (unsigned char)*name++ : '_');
}

/* An optional backslash, then one or two segments separated by a dot. */
static void put_path(struct aml *a, const char *path)
{
	enum { DUAL_NAME_PREFIX = 0x2e };

	if (*path == '\\') {
		put8(a, '\\');
		path++;
	}
	if (strlen(path) > NAME_CHARS) {
		put8(a, DUAL_NAME_PREFIX);
		put(a, path, NAME_CHARS);
		path += NAME_CHARS + 1;
	}
	put_segment(a, path);
}

/* Leaves room for a length; the mark is where it goes. */
static size_t begin(struct aml *a)
{
	size_t mark = a->len;

	put(a, "\0\0", PKG_LENGTH_BYTES);
	return mark;
}

void aml_end(struct aml *a, size_t mark)
{
	size_t len = a->len - mark; /* the length counts its own bytes */

	if (a->overflow)
		return;
	/* Two more bytes follow; the low four bits are here. */
	a->buf[mark] = (uint8_t)(2 << 6 | (len & 0xf));
	a->buf[mark + 1] = (uint8_t)(len >> 4);
	a->buf[mark + 2] = (uint8_t)(len >> 12);
}

size_t aml_begin_scope(struct aml *a, const char *path)
{
	size_t mark;

	put8(a, OP_SCOPE);
	mark = begin(a);
	put_path(a, path);
	return mark;
}

size_t aml_begin_device(struct aml *a, const char *name)
{
	size_t mark;

	put8(a, OP_EXT);
	put8(a, OP_EXT_DEVICE);
	mark = begin(a);
	put_segment(a, name);
	return mark;
}

size_t aml_begin_method(struct aml *a, const char *name, unsigned args)
{
	enum { SERIALIZED = 1 << 3 };
	size_t mark;

	put8(a, OP_METHOD);
	mark = begin(a);
	put_segment(a, name);
	put8(a, args | SERIALIZED);
	return mark;
}

static void put_integer(struct aml *a, uint32_t value)
{
	if (value <= 1) { /* ZeroOp and OneOp are their own values */
		put8(a, value);
	} else if (value <= 0xff) {
		put8(a, OP_BYTE);
		put8(a, value);
	} else if (value <= 0xffff) {
		put8(a, OP_WORD);
		put16(a, value);
	} else {
		put8(a, OP_DWORD);
		put32(a, value);
	}
}

static void put_string(struct aml *a, const char *value)
{
	put8(a, OP_STRING);
	put(a, value, strlen(value) + 1);
}

size_t aml_begin_if_arg0(struct aml *a, uint32_t value)
{
	size_t mark;

	put8(a, OP_IF);
	mark = begin(a);
	put8(a, OP_EQUAL);
	put8(a, OP_ARG0);
	put_integer(a, value);
	return mark;
}

static void begin_name(struct aml *a, const char *name)
{
	put8(a, OP_NAME);
	put_path(a, name);
}

void aml_name_string(struct aml *a, const char *name, const char *value)
{
	begin_name(a, name);
	put_string(a, value);
}

void aml_name_integer(struct aml *a, const char *name, uint32_t value)
{
	begin_name(a, name);
	put_integer(a, value);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	/* Three letters of five bits and four hex digits, most significant byte first. */
	unsigned letters = (unsigned)(id[0] - '@') << 10 | (unsigned)(id[1] - '@') << 5 |
			   (unsigned)(id[2] - '@');

	begin_name(a, name);
	put8(a, OP_DWORD);
	put8(a, letters >> 8);
	put8(a, letters & 0xff);
	put8(a, hex_digit(id[3]) << 4 | hex_digit(id[4]));
	put8(a, hex_digit(id[5]) << 4 | hex_digit(id[6]));
}

static size_t begin_package(struct aml *a, const char *name, unsigned elements)
{
	size_t mark;

	begin_name(a, name);
	put8(a, OP_PACKAGE);
	mark = begin(a);
	put8(a, elements);
	return mark;
}

void aml_name_integers(struct aml *a, const char *name, uint32_t first, uint32_t second)
{
	size_t mark = begin_package(a, name, 2);

	put_integer(a, first);
	put_integer(a, second);
	aml_end(a, mark);
}

void aml_name_strings(struct aml *a, const char *name, const char *first, const char *second)
{
	size_t mark = begin_package(a, name, 2);

	put_string(a, first);
	put_string(a, second);
	aml_end(a, mark);
}

void aml_name_package4(struct aml *a, const char *name, const uint8_t value[4])
{
	size_t mark = begin_package(a, name, 4);

	for (unsigned i = 0; i < 4; i++)
		put_integer(a, value[i]);
	aml_end(a, mark);
}

void aml_notify(struct aml *a, const char *path, uint8_t value)
{
	put8(a, OP_NOTIFY);
	put_path(a, path);
	put_integer(a, value);
}

/* A buffer whose size is not known yet: written as a word, filled in at the end. */
size_t aml_begin_resources(struct aml *a)
{
	size_t mark;

	begin_name(a, "_CRS");
	put8(a, OP_BUFFER);
	mark = begin(a);
	put8(a, OP_WORD);
	put16(a, 0);
	return mark;
}

void aml_end_resources(struct aml *a, size_t mark)
{
	enum { END_TAG = 0x79 };
	size_t size_at = mark + PKG_LENGTH_BYTES + 1, size;

	put8(a, END_TAG);
	put8(a, 0); /* a zero checksum means "not used" (6.4.2.9) */
	if (a->overflow)
		return;
	size = a->len - (size_at + 2);
	a->buf[size_at] = (uint8_t)size;
	a->buf[size_at + 1] = (uint8_t)(size >> 8);
	aml_end(a, mark);
}

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
	put8(a, 0x47); /* I/O port descriptor, seven bytes (6.4.2.5) */
	put8(a, 1);    /* decodes 16 bits */
	put16(a, port);
	put16(a, port);
	put8(a, 1);
	put8(a, len);
}

void aml_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	put8(a, 0x86); /* 32-bit fixed memory (6.4.3.4) */
	put16(a, 9);
	put8(a, 1); /* read-write */
	put32(a, base);
	put32(a, len);
}

void aml_interrupt(struct aml *a, uint32_t gsi)
{
	put8(a, 0x89); /* extended interrupt (6.4.3.6) */
	put16(a, 6);
	put8(a, 0x03); /* consumer, edge, active high, exclusive */
	put8(a, 1);
	put32(a, gsi);
}
