/*
 * Strict readers of what people type: the whole string or nothing.
 */
#ifndef MVM_BASE_PARSE_H
#define MVM_BASE_PARSE_H

#include <stdint.h>

/*
 * Decimal digits only, no sign, no blanks.  0, -EINVAL when text is anything else, -ERANGE outside
 * [min, max]. *ret is untouched on failure.
 */
int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* Bytes: decimal digits and an optional K, M, G or T (powers of 1024, either case).  -EINVAL or
 * -ERANGE. */
int parse_size(const char *text, uint64_t *ret);

/* Writes bytes as people say them, "128M", "1536M", "3G", "20480 bytes" where no unit divides it.
 */
void format_size(uint64_t bytes, char *buf, uint64_t len);

#endif
