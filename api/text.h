/*
 * Text from outside, made fit to be shown: valid UTF-8 for JSON, and without what could end a line
 * or a quotation.
 */
#ifndef MVM_API_TEXT_H
#define MVM_API_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copies what is valid UTF-8 of text; each other byte, and each control character but newline and
 * tab, becomes U+FFFD.  At most size - 1 bytes and a NUL, cut between characters.  Returns the
 * length.
 */
size_t text_clean(const char *text, size_t len, char *buf, size_t size);

/*
 * The same between quotation marks, with \" \\ \n \r \t and \u{XX} for what would not be seen. What
 * does not fit is left out, and "..." says so.  size is at least TEXT_QUOTED_MIN.
 */
enum { TEXT_QUOTED_MIN = 16 };
size_t text_quote(const char *text, size_t len, char *buf, size_t size);

/* The length of the UTF-8 sequence that begins at text, 1 to 4; 0 when it is none (RFC 3629). */
size_t text_utf8_len(const char *text, size_t left);

#endif
