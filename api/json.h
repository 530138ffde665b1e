/*
 * JSON documents from clients: strict, bounded, and with the places of everything in the text.
 *
 *     text --jansson: is it JSON?--> places of all values --fields.h--> structures
 *
 * jansson decides what is JSON (RFC 8259) and reads strings; it keeps no places, so a second look
 * over the text notes where each value begins and ends.  Faults are in the words, and at the line
 * and column, that clients know.
 *
 * Nothing here recurses, and the number and depth of values are bounded.
 */
#ifndef MVM_API_JSON_H
#define MVM_API_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct err;

enum { DOC_DEPTH_MAX = 127, DOC_NODES_MAX = 16384, DOC_LEN_MAX = 16 << 20 };

enum doc_kind {
	DOC_NULL,
	DOC_FALSE,
	DOC_TRUE,
	DOC_NUMBER,
	DOC_STRING,
	DOC_ARRAY,
	DOC_OBJECT,
};

/* A value.  Offsets into the text; the children of a container follow it, up to next. */
struct doc_node {
	enum doc_kind kind;
	uint32_t key, key_end; /* in an object: the key with its quotation marks */
	uint32_t start, end;
	uint32_t next; /* index of the first node that is not inside this one */
};

struct doc {
	const char *text; /* borrowed */
	uint32_t len;
	bool has_duplicates; /* an object anywhere in it has a key twice */
	unsigned nnodes;     /* node[0] is the whole */
	struct doc_node *node;
	char *pool; /* of decoded strings */
	uint32_t pool_used;
};

/*
 * Reads text, which stays the caller's and outlives d.  0; -EBADMSG with e saying what is wrong,
 * with " at line L column C"; -ENOMEM.  Duplicate keys are left to who reads the values; see
 * has_duplicates.
 */
MUST_CHECK int doc_read(struct doc *d, const char *text, size_t len, struct err *e);
void doc_fini(struct doc *d); /* accepts a zeroed one */

/*
 * The string whose quotation marks are at start and end - 1: UTF-8 without NUL, d's own.  Each
 * place may be asked for once, or the pool runs out and the answer is NULL.
 */
const char *doc_string(struct doc *d, uint32_t start, uint32_t end);

/* What a number is. */
enum doc_number { DOC_UNSIGNED, DOC_SIGNED, DOC_FLOAT };

/* Unsigned: *ret_value.  Negative integers and all others: *ret_float. */
enum doc_number doc_number(
	const struct doc *d, const struct doc_node *n, uint64_t *ret_value, double *ret_float);

/* The line, from 1 on, and how many bytes of it are before at. */
void doc_where(const struct doc *d, uint32_t at, unsigned *ret_line, unsigned *ret_column);

/* The first byte from at on that is no blank. */
uint32_t doc_skip_blanks(const struct doc *d, uint32_t at);

#endif
