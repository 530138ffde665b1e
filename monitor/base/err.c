/* struct err: one failure told once (err.h), and the end of the program on a broken invariant. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	if (e) {
		va_list args;

		e->code = code;
		va_start(args, fmt);
		(void)vsnprintf(e->text, sizeof(e->text), fmt, args);
		va_end(args);
	}
	return code;
}

int err_sys(struct err *e, int code, const char *hint, const char *fmt, ...)
{
	if (e) {
		char what[ERR_TEXT_MAX / 2];
		va_list args;

		e->code = code;
		va_start(args, fmt);
		(void)vsnprintf(what, sizeof(what), fmt, args);
		va_end(args);
		(void)snprintf(e->text, sizeof(e->text), "%s: %s%s%s%s", what, strerror(-code),
			hint ? " (" : "", hint ? hint : "", hint ? ")" : "");
	}
	return code;
}

void err_prefix(struct err *e, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX], prefix[ERR_TEXT_MAX / 4];
	va_list args;

	if (!e)
		return;
	va_start(args, fmt);
	(void)vsnprintf(prefix, sizeof(prefix), fmt, args);
	va_end(args);
	memcpy(text, e->text, sizeof(text));
	(void)snprintf(e->text, sizeof(e->text), "%s: %.*s", prefix,
		(int)(sizeof(e->text) - sizeof(prefix) - 3), text);
}

void invariant_failed(const char *cond, const char *file, int line)
{
	(void)fprintf(stderr,
		"mvm: internal error: '%s' does not hold at %s:%d; please report this\n", cond,
		file, line);
	abort();
}
