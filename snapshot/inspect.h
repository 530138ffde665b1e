/*
 * A state file for people and programs ("mvm inspect"): all of one that is whole, what can be
 * trusted of one that is damaged, and header and sections of one whose version is not known.
 *
 * A section can be trusted when its checksum is right and its values were decoded; that the values
 * also go together is said only when there is no problem.
 */
#ifndef MVM_SNAPSHOT_INSPECT_H
#define MVM_SNAPSHOT_INSPECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "snapshot/section.h"

struct snapshot;

enum { INSPECT_PROBLEMS_MAX = 16, INSPECT_KINDS_MAX = 32 };

struct inspection {
	const char *path; /* borrowed */
	size_t len;
	bool has_header;
	struct file_header header;
	struct section_list sections; /* up to the first that cannot be followed */
	bool breaks_off;              /* and there were to be more */
	bool is_intact[FORMAT_SECTIONS_MAX];
	struct snapshot *s;                /* owned; NULL: nothing of it is known */
	uint64_t known[INSPECT_KINDS_MAX]; /* of section_kinds[]: a bit for each instance decoded */
	unsigned nproblems;
	struct err problem[INSPECT_PROBLEMS_MAX]; /* the first ones */
};

/* data stays until inspection_free().  NULL: no memory. */
struct inspection *inspection_new(const char *path, const uint8_t *data, size_t len);
void inspection_free(struct inspection *v); /* accepts NULL */

/* Whether that section of v->s can be trusted. */
bool inspection_knows(const struct inspection *v, uint32_t type, uint32_t instance);

/* The report, without the problems.  0 or -EIO. */
MUST_CHECK int inspect_print(const struct inspection *v, FILE *out);

/* The same for programs, problems included, as mvm-inspect(1) documents it.  NULL: no memory. */
json_t *inspect_json(const struct inspection *v);

/* --- shared by both --- */

enum { INSPECT_TEXT_MAX = 4 * 4096, INSPECT_TIME_MAX = 40, INSPECT_ID_MAX = 33 };

/* Printable ASCII, everything else as \xNN.  Returns buf. */
const char *inspect_printable(const char *text, char buf[INSPECT_TEXT_MAX]);
/* "2026-11-28T18:31:02Z", in UTC.  Returns buf. */
const char *inspect_time(uint64_t seconds, char buf[INSPECT_TIME_MAX]);
/* A snapshot's id in hexadecimal.  Returns buf. */
const char *inspect_id(const uint8_t *id, char buf[INSPECT_ID_MAX]);

struct cpu_state;
struct virtio_state;
const char *inspect_pages(const struct snapshot *s);            /* "4k" */
const char *inspect_cpu_mode(const struct cpu_state *c);        /* "64-bit" */
const char *inspect_mp_state(const struct cpu_state *c);        /* "runnable" */
const char *inspect_device_type(uint32_t type);                 /* "block" */
const char *inspect_device_state(const struct virtio_state *v); /* "driver ready" */
/* The id under which device i was described; NULL where that is not known. */
const char *inspect_device_id(const struct inspection *v, unsigned i);
uint64_t inspect_run_pages(const struct snapshot *s);

#endif
