/*
 * A bounded little-endian stream of numbers and bytes, and one visitor for both directions: the
 * same list of calls writes a struct and reads it back, so the two cannot drift apart.
 *
 *     static void clock_visit(struct wire *w, struct clock *c)
 *     {
 *             wire_u64(w, &c->ns);
 *             wire_bool(w, &c->is_stable);
 *     }
 *
 * An error is sticky: from then on nothing is read or written, and what would have been read stays
 * as it was (so read into zeroed structs).  The caller looks once, at the end.  Nothing is
 * allocated; no pointer arithmetic outside.
 */
#ifndef MVM_BASE_WIRE_H
#define MVM_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct wire {
	uint8_t *buf; /* when reading it is not changed */
	size_t size, at;
	bool is_reading;
	int error; /* 0; -ENODATA: the bytes ended; -ENOBUFS: no room; -EBADMSG: a value that cannot
		      be */
};

void wire_init_writer(struct wire *w, void *buf, size_t size);
void wire_init_reader(struct wire *w, const void *buf, size_t size);

void wire_u8(struct wire *w, uint8_t *v);
void wire_u16(struct wire *w, uint16_t *v);
void wire_u32(struct wire *w, uint32_t *v);
void wire_u64(struct wire *w, uint64_t *v);

/* One byte, 0 or 1; anything else is -EBADMSG. */
void wire_bool(struct wire *w, bool *v);

/* A number of four bytes that is at most max, or -EBADMSG: counts, enumerations, lengths. */
void wire_count(struct wire *w, unsigned *v, unsigned max);

/* Exactly len bytes. */
void wire_bytes(struct wire *w, void *data, size_t len);

/*
 * A text with its length in front: at most size - 1 bytes, none of them NUL, or -EBADMSG.  Reading
 * puts a NUL behind it. The second form is for texts that may be absent: *has says so.
 */
void wire_text(struct wire *w, char *text, size_t size);
void wire_text_or_none(struct wire *w, char *text, size_t size, bool *has);

/* Marks the stream as broken, for a visitor that finds values which do not go together. */
void wire_fail(struct wire *w, int error);

/* 0 when all went well, and a reader has read everything; -EBADMSG when bytes are left over. */
MUST_CHECK int wire_finish(const struct wire *w);

#endif
