/*
 * The frame of a state file (format.h): its header, and sections that are looked at without knowing
 * what is in them.
 *
 * Only what is read here is checked here: a section's payload is not touched before
 * section_is_intact() is asked.  Nothing is copied or allocated; payloads lie in the file's bytes.
 */
#ifndef MVM_SNAPSHOT_SECTION_H
#define MVM_SNAPSHOT_SECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/wire.h"
#include "snapshot/format.h"

struct err;

struct file_header {
	uint16_t major, minor, machine;
	uint32_t header_len, sections;
	uint64_t file_len;
};

struct section {
	uint32_t type;
	uint16_t version, flags;
	uint32_t instance;
	uint64_t len;
	uint32_t crc; /* what the payload's is to be */
	const uint8_t *payload;
};

struct section_list {
	unsigned n;
	struct section section[FORMAT_SECTIONS_MAX];
};

/*
 * The header of any version.  0, or -EBADMSG with e filled: no state file (too short, another
 * magic), or a damaged header.  The file's length is not looked at, so the first bytes of one are
 * enough.
 */
MUST_CHECK int section_read_header(
	const uint8_t *data, size_t len, struct file_header *ret, struct err *e);

/*
 * All sections of a file of any version.  0, or -EBADMSG with e naming the first one that is
 * damaged or does not fit; ret then has those before it.
 */
MUST_CHECK int section_list_all(const uint8_t *data, size_t len, const struct file_header *h,
	struct section_list *ret, struct err *e);

/* Whether the payload is what was written. */
bool section_is_intact(const struct section *s);

/* The type as text, for people: "VCPU"; "?" for each byte that is no letter or digit.  Returns buf.
 */
const char *section_name(uint32_t type, char buf[FORMAT_NAME_MAX]);

/* --- writing --- */

struct section_writer {
	struct wire w; /* the whole file; visitors write into it */
	size_t payload;
	struct section open;
	uint32_t n;
};

/* Leaves room for the header. */
void section_begin_file(struct section_writer *f, void *buf, size_t size);
void section_begin(struct section_writer *f, uint32_t type, uint16_t version, uint16_t flags,
	uint32_t instance);
void section_end(struct section_writer *f);

/* Writes the header.  0 and the file's length in *ret_len, or the error of the stream. */
MUST_CHECK int section_end_file(struct section_writer *f, size_t *ret_len);

/* --- for tests, and for tools that repair --- */

/* Puts the right checksums into every header of data that can be followed. */
void section_seal(uint8_t *data, size_t len);

#endif
