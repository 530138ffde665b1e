/* Why a request is refused (faults.h). */
#include "api/faults.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/server.h"
#include "api/text.h"

int fault_set(struct fault *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, args);
	va_end(args);
	return -EINVAL;
}

void fault_os_text(int code, char *buf, size_t size)
{
	const char *words = strerrordesc_np(-code);

	(void)snprintf(buf, size, "%s (os error %d)", words ? words : "Unknown error", -code);
}

int fault_os(struct fault *f, int code, const char *fmt, ...)
{
	va_list args;
	size_t len;

	va_start(args, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, args);
	va_end(args);
	len = strlen(f->text);
	fault_os_text(code, f->text + len, sizeof(f->text) - len);
	return -EINVAL;
}

int fault_json(struct fault *f, const char *detail)
{
	return fault_set(
		f, "An error occurred when deserializing the json body of a request: %s.", detail);
}

void fault_answer(const struct fault *f, struct answer *ret)
{
	char text[FAULT_TEXT_MAX * 3];
	size_t len = text_clean(f->text, strlen(f->text), text, sizeof(text));
	json_t *object = json_pack("{s:s%}", "fault_message", text, len);

	*ret = (struct answer){ .status = 400, .type = HTTP_JSON };
	if (object)
		ret->body = json_dumps(object, JSON_COMPACT);
	if (ret->body)
		ret->len = strlen(ret->body);
	json_decref(object);
}
