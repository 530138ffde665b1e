/* HTTP/1.1 responses out of a stream of bytes (client_response.h). */
#include "client_response.h"

#include <errno.h>
#include <llhttp.h>
#include <stdlib.h>

struct response {
	llhttp_t parser;
	llhttp_settings_t settings;
	response_body_fn *body;
	void *ctx;
	size_t head_len; /* bytes fed while no head was complete */
	int status;
	bool has_begun, has_head, is_complete, was_stopped;
	const char *error;
};

static struct response *of(llhttp_t *parser)
{
	return container_of(parser, struct response, parser);
}

static int on_begin(llhttp_t *parser)
{
	of(parser)->has_begun = true;
	return 0;
}

/* llhttp's words: 0 go on, 1 there is no body, 2 another protocol begins here, -1 an error. */
static int on_head(llhttp_t *parser)
{
	struct response *r = of(parser);

	if (parser->status_code == HTTP_STATUS_SWITCHING_PROTOCOLS) {
		r->status = parser->status_code;
		return 2;
	}
	/* An "Upgrade:" beside any other status is an offer; what follows is HTTP. */
	parser->upgrade = 0;
	if (parser->status_code < 100)
		return -1;
	if (parser->status_code < 200)
		return 1;
	r->status = parser->status_code;
	r->has_head = true;
	return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct response *r = of(parser);

	if (r->body && r->body(r->ctx, r->status, at, len) != 0) {
		r->was_stopped = true;
		return HPE_USER;
	}
	return 0;
}

static int on_complete(llhttp_t *parser)
{
	struct response *r = of(parser);

	if (parser->status_code == HTTP_STATUS_SWITCHING_PROTOCOLS || !r->has_head)
		return 0; /* an interim one: its successor is what was asked for */
	r->is_complete = true;
	return HPE_PAUSED;
}

int response_new(response_body_fn *body, void *ctx, struct response **ret)
{
	struct response *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	llhttp_settings_init(&r->settings);
	r->settings.on_message_begin = on_begin;
	r->settings.on_headers_complete = on_head;
	r->settings.on_body = on_body;
	r->settings.on_message_complete = on_complete;
	llhttp_init(&r->parser, HTTP_RESPONSE, &r->settings);
	r->body = body;
	r->ctx = ctx;
	*ret = r;
	return 0;
}

void response_free(struct response *r)
{
	free(r);
}

static enum response_result bad(struct response *r, const char *why)
{
	r->error = why;
	return RESPONSE_BAD;
}

/* Ready for the next one on the same connection; its status is kept until then. */
static void start_over(struct response *r)
{
	r->head_len = 0;
	r->has_begun = r->has_head = r->is_complete = false;
	/* Not llhttp_resume(): after "Connection: close" that would take nothing more, and whether
	 * something comes is for the stream to say. */
	llhttp_init(&r->parser, HTTP_RESPONSE, &r->settings);
}

/* Feeds at most what the head's limit allows; a head that goes beyond it is an error. */
static enum response_result feed_some(
	struct response *r, const char *buf, size_t len, size_t *ret_used)
{
	size_t room = RESPONSE_HEAD_MAX - r->head_len;
	size_t take = r->has_head ? len : MIN(len, room);
	enum llhttp_errno rc = llhttp_execute(&r->parser, buf, take);

	*ret_used = take;
	if (rc != HPE_OK)
		*ret_used = (size_t)(llhttp_get_error_pos(&r->parser) - buf);
	if (rc == HPE_PAUSED_UPGRADE)
		return RESPONSE_UPGRADED;
	if (rc == HPE_PAUSED && r->is_complete) {
		start_over(r);
		return RESPONSE_COMPLETE;
	}
	if (r->was_stopped)
		return bad(r, "the answer is longer than what is taken of it");
	if (rc != HPE_OK)
		return bad(r, "the answer is not HTTP");
	if (!r->has_head) {
		r->head_len += take;
		if (r->head_len == RESPONSE_HEAD_MAX)
			return bad(r, "the answer has too many headers");
	}
	return RESPONSE_MORE;
}

enum response_result response_feed(
	struct response *r, const char *buf, size_t len, size_t *ret_used)
{
	size_t used = 0;
	enum response_result result = RESPONSE_MORE;

	if (len > 0 && !r->has_begun)
		r->status = 0;
	while (used < len && result == RESPONSE_MORE) {
		size_t n = 0;

		result = feed_some(r, buf + used, len - used, &n);
		used += n;
	}
	*ret_used = used;
	return result;
}

enum response_result response_end(struct response *r)
{
	if (r->has_begun && llhttp_finish(&r->parser) == HPE_PAUSED && r->is_complete) {
		start_over(r);
		return RESPONSE_COMPLETE;
	}
	return bad(r, r->has_begun ? "the connection ended in the middle of the answer"
				   : "the connection ended without an answer");
}

int response_status(const struct response *r)
{
	return r->status;
}

bool response_is_between(const struct response *r)
{
	return !r->has_begun;
}

const char *response_error(const struct response *r)
{
	return r->error ? r->error : "";
}
