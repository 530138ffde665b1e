/* Text from outside, made fit to be shown (text.h). */
#include "api/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

size_t text_utf8_len(const char *text, size_t left)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *s = (const unsigned char *)text;
	uint32_t code;
	size_t len;

	if (left == 0)
		return 0;
	if (s[0] < 0x80)
		return 1;
	len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	if (len == 0 || s[0] > 0xf4 || len > left)
		return 0;
	code = s[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return len;
}

static bool is_control(const char *text, size_t len)
{
	unsigned char c = (unsigned char)text[0];

	/* From U+0080 to U+009F they are two bytes, the first of them 0xc2. */
	return len == 1 ? c < 0x20 || c == 0x7f : c == 0xc2 && (unsigned char)text[1] < 0xa0;
}

size_t text_clean(const char *text, size_t len, char *buf, size_t size)
{
	static const char other[] = "\xef\xbf\xbd";
	size_t at = 0, out = 0;

	while (at < len) {
		size_t n = text_utf8_len(text + at, len - at);
		bool is_kept = n > 0 &&
			       (!is_control(text + at, n) || text[at] == '\n' || text[at] == '\t');
		const char *from = is_kept ? text + at : other;
		size_t add = is_kept ? n : sizeof(other) - 1;

		if (out + add >= size)
			break;
		memcpy(buf + out, from, add);
		out += add;
		at += MAX(n, 1);
	}
	buf[out] = '\0';
	return out;
}

/* How one character is quoted: its length in buf. */
static size_t quote_one(const char *text, size_t n, char buf[8])
{
	static const char special[] = "\"\\\n\r\t", letter[] = "\"\\nrt";
	const char *found = text[0] ? strchr(special, text[0]) : NULL;
	unsigned code = (unsigned char)text[n > 1 ? 1 : 0];

	if (found) {
		buf[0] = '\\';
		buf[1] = letter[found - special];
		return 2;
	}
	if (n > 0 && !is_control(text, n)) {
		memcpy(buf, text, n);
		return n;
	}
	if (n == 0)
		return (size_t)snprintf(buf, 8, "\\x%02x", (unsigned char)text[0]);
	return (size_t)snprintf(buf, 8, "\\u{%x}", code);
}

size_t text_quote(const char *text, size_t len, char *buf, size_t size)
{
	enum { TAIL = 5 }; /* ..." and the NUL */
	size_t at = 0, out = 0;

	buf[out++] = '"';
	while (at < len) {
		size_t n = text_utf8_len(text + at, len - at);
		char one[8];
		size_t add = quote_one(text + at, n, one);

		if (out + add + TAIL > size) {
			memcpy(buf + out, "...", 3);
			out += 3;
			break;
		}
		memcpy(buf + out, one, add);
		out += add;
		at += MAX(n, 1);
	}
	buf[out++] = '"';
	buf[out] = '\0';
	return out;
}
