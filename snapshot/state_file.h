/*
 * The state file: a header that can be read without decoding anything, then sections (format.h has
 * every number).
 *
 * Reading is fail-closed.  In this order: size, header, each section's own checksum, its decoding,
 * and then what must hold between sections (counts, sizes, runs within memory).  An unknown section
 * that is marked critical, one that is there twice or is missing, and bytes left over are refused;
 * an unknown optional one is passed over.  The message names section and cause.
 */
#ifndef MVM_SNAPSHOT_STATE_FILE_H
#define MVM_SNAPSHOT_STATE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct err;
struct snapshot;

enum { STATE_FILE_MAX = 64 << 20 };

/* The file's bytes, from malloc().  0, -ENOMEM, -EFBIG, or -EINVAL where s is none that a reader
 * would take: better no snapshot than one of no use. */
MUST_CHECK int state_encode(
	const struct snapshot *s, uint8_t **ret, size_t *ret_len, struct err *e);

/* 0, or -errno with e filled: -EBADMSG what is no state file or is damaged, -EPROTONOSUPPORT
 * another version. */
MUST_CHECK int state_decode(const uint8_t *data, size_t len, struct snapshot **ret, struct err *e);

/* Reads and decodes a file; path may be a folder, and then "state" in it is meant. */
MUST_CHECK int state_read(const char *path, struct snapshot **ret, struct err *e);

/* Only its bytes, from malloc(): 0, or -errno with e filled.  Never waits: what is no regular file
 * is -EINVAL. */
MUST_CHECK int state_read_bytes(const char *path, uint8_t **ret, size_t *ret_len, struct err *e);

/* Only the header: format version as "MAJOR.MINOR".  Of any version, for "--describe-snapshot". */
MUST_CHECK int state_read_version(
	const char *path, unsigned *ret_major, unsigned *ret_minor, struct err *e);

#endif
