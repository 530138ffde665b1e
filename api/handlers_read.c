/* What may be asked at any time (handlers.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/encode.h"
#include "api/handlers.h"
#include "api/metrics.h"
#include "base/log.h"

/* The answer 200 with text, which is taken over; NULL: there was no memory for it. */
static int answer_text(
	struct request *r, char *text, size_t len, enum http_type type, struct fault *f)
{
	if (!text)
		return fault_os(f, -ENOMEM, "Internal VMM error: ");
	r->answer.status = 200;
	r->answer.type = type;
	r->answer.body = text;
	r->answer.len = len;
	return 0;
}

static int answer_json(struct request *r, char *text, struct fault *f)
{
	return answer_text(r, text, text ? strlen(text) : 0, HTTP_JSON, f);
}

int get_instance(struct request *r, struct fault *f)
{
	return answer_json(r, encode_instance(r->api->instance), f);
}

int get_version(struct request *r, struct fault *f)
{
	return answer_json(r, encode_version(), f);
}

int get_machine(struct request *r, struct fault *f)
{
	return answer_json(r, encode_machine(r->api->instance), f);
}

int get_config(struct request *r, struct fault *f)
{
	return answer_json(r, encode_config(r->api->instance), f);
}

int get_metrics(struct request *r, struct fault *f)
{
	size_t len = 0;
	char *text = metrics_text(r->api->metrics, &len);

	return answer_text(r, text, len, HTTP_OPENMETRICS, f);
}

int get_document(struct request *r, struct fault *f)
{
	size_t len = (size_t)(api_openapi_end - api_openapi);
	char *text = malloc(len);

	if (text)
		memcpy(text, api_openapi, len);
	return answer_text(r, text, len, HTTP_YAML, f);
}
