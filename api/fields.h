/*
 * What a JSON object may have, as a table, and one decoder for all tables: the object's fields go
 * into a plain structure, and what does not fit is a fault in the words that clients know (those of
 * Rust's serde), with line, column and the field's name.
 *
 * The tables are const and can be read at run time: tests compare them with api/openapi.yaml.
 */
#ifndef MVM_API_FIELDS_H
#define MVM_API_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/json.h"
#include "base/check.h"

struct err;

/* What is stored at the field's offset. */
enum field_type {
	FIELD_BOOL, /* bool */
	FIELD_U8,   /* uint64_t, as all numbers */
	FIELD_U16,
	FIELD_U32,
	FIELD_U64,
	FIELD_USIZE,  /* as FIELD_U64, under another name in faults */
	FIELD_STRING, /* const char *, the document's */
	FIELD_ENUM,   /* unsigned: index into words */
	FIELD_OBJECT, /* the structure of body */
	FIELD_ARRAY,  /* up to limit structures of body, or const char * where body is NULL */
	FIELD_MAP,    /* of strings: up to limit pairs of const char *, name and value */
	FIELD_ANY,    /* uint32_t: index of its node, for who knows what it may be */
	FIELD_TYPES,
};

enum field_need {
	FIELD_REQUIRED,
	FIELD_DEFAULT,  /* may be left out */
	FIELD_NULLABLE, /* may be left out or null, which is the same */
};

struct body;

struct field {
	const char *name;
	const struct body *body;  /* FIELD_OBJECT, and of FIELD_ARRAY's elements */
	const char *const *words; /* FIELD_ENUM: NULL at the end */
	/* FIELD_U8 to FIELD_USIZE: what the handler accepts; both 0: all that the type has.  For
	 * the document: faults of the range are the handler's. */
	uint64_t min, max;
	enum field_type type;
	enum field_need need;
	uint32_t offset;       /* in the structure */
	uint32_t count_offset; /* FIELD_ARRAY, FIELD_MAP: unsigned, how many there are */
	uint32_t limit;        /* likewise: how many there may be */
	bool is_case_free;     /* FIELD_ENUM: capital letters do not count */
	bool is_deprecated;
};

enum { BODY_FIELDS_MAX = 16 };

/* The structure begins with a uint64_t in which bit i says that field[i] was given, not null. */
struct body {
	const char *name; /* as faults call it: "struct MachineConfig" */
	unsigned nfields;
	const struct field *field;
	size_t size;
	bool is_tolerant; /* unknown fields are left alone */
};

static inline bool is_given(const void *decoded, unsigned field)
{
	return (*(const uint64_t *)decoded >> field & 1) != 0;
}

/*
 * Decodes d's node index into out, which has b->size zeroed bytes.  0, or -EBADMSG with e filled.
 * Strings are d's.
 */
MUST_CHECK int body_decode(
	const struct body *b, struct doc *d, uint32_t index, void *out, struct err *e);

/* Names for tests and documents: "u8", "required" and so on. */
const char *field_type_name(enum field_type type);
const char *field_need_name(enum field_need need);

#endif
