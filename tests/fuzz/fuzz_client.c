/*
 * What a client of the API reads of somebody at the other end of a socket, and of /proc.  The first
 * byte chooses: an answer, in pieces of the second byte's size, which must be the same as in one
 * piece; metrics; JSON; lines of /proc.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "client_response.h"
#include "fuzz.h"
#include "ps_parse.h"

enum { ANSWER, METRICS, JSON, LINES, KINDS };
enum { BODY_MAX = 4096, RESULTS_MAX = 64 };

/* What came of an input; the order of bodies and results is part of it. */
struct outcome {
	unsigned n;
	int status[RESULTS_MAX];
	enum response_result result[RESULTS_MAX];
	size_t len;
	unsigned hash;
};

static int take_body(void *ctx, int status, const char *buf, size_t len)
{
	struct outcome *o = ctx;

	FUZZ_CHECK(status >= 200 && status <= 999);
	if (len > BODY_MAX - o->len)
		return -EFBIG;
	for (size_t i = 0; i < len; i++)
		o->hash = o->hash * 31 + (unsigned char)buf[i];
	o->len += len;
	return 0;
}

static void note(struct outcome *o, struct response *r, enum response_result result)
{
	int status = response_status(r);

	FUZZ_CHECK(result != RESPONSE_COMPLETE || (status >= 200 && status <= 999));
	FUZZ_CHECK(result != RESPONSE_UPGRADED || status == 101);
	FUZZ_CHECK(result != RESPONSE_BAD || response_error(r)[0]);
	o->result[o->n] = result;
	/* After an error it is whatever it was. */
	o->status[o->n] = result == RESPONSE_BAD ? 0 : status;
	o->n++;
}

static void feed(struct outcome *o, const char *buf, size_t len, size_t piece)
{
	struct response *r;
	size_t at = 0;

	if (response_new(take_body, o, &r) < 0)
		return;
	while (at < len && o->n < RESULTS_MAX - 1) {
		size_t end = MIN(len, at + piece), used = 0;
		enum response_result result = RESPONSE_MORE;

		while (at < end && result == RESPONSE_MORE) {
			result = response_feed(r, buf + at, end - at, &used);
			FUZZ_CHECK(used <= end - at);
			FUZZ_CHECK(result != RESPONSE_MORE || used == end - at);
			FUZZ_CHECK(result != RESPONSE_COMPLETE || response_is_between(r));
			at += used;
		}
		if (result == RESPONSE_MORE)
			continue;
		note(o, r, result);
		if (result != RESPONSE_COMPLETE) {
			response_free(r);
			return;
		}
	}
	if (o->n < RESULTS_MAX - 1)
		note(o, r, response_end(r));
	response_free(r);
}

static void answers(const char *buf, size_t len)
{
	static struct outcome whole, pieces;
	size_t piece;

	if (len < 2)
		return;
	piece = (size_t)(unsigned char)buf[0] + 1;
	memset(&whole, 0, sizeof(whole));
	memset(&pieces, 0, sizeof(pieces));
	feed(&whole, buf + 1, len - 1, len);
	feed(&pieces, buf + 1, len - 1, piece);
	FUZZ_CHECK(whole.n == pieces.n);
	FUZZ_CHECK(memcmp(whole.result, pieces.result, sizeof(whole.result)) == 0);
	FUZZ_CHECK(memcmp(whole.status, pieces.status, sizeof(whole.status)) == 0);
	/* A body that was cut off by an error may have had more of itself taken. */
	if (whole.n > 0 && whole.result[whole.n - 1] != RESPONSE_BAD)
		FUZZ_CHECK(whole.len == pieces.len && whole.hash == pieces.hash);
}

static void metrics(const char *buf, size_t len)
{
	double sum;

	if (ps_sum_metric(buf, len, "a_total", "k=\"v\",w=\"x\"", &sum))
		FUZZ_CHECK(sum >= 0 && sum < 1e30);
	if (ps_sum_metric(buf, len, "a_total", "", &sum)) {
		char text[16];

		FUZZ_CHECK(strlen(ps_amount(sum, text)) < sizeof(text));
	}
}

static void json(const char *buf, size_t len)
{
	char id[PS_ID_MAX + 1], shown[4 * PS_ID_MAX + 1];
	enum ps_state state;
	unsigned cpus;
	uint64_t mib;

	if (ps_parse_instance(buf, len, id, &state)) {
		/* It goes to the terminal as it is. */
		FUZZ_CHECK(strcmp(ps_printable(id, shown, sizeof(shown)), id) == 0);
		FUZZ_CHECK(ps_state_word(state)[0]);
	}
	if (ps_parse_machine(buf, len, &cpus, &mib))
		FUZZ_CHECK(cpus >= 1 && cpus <= PS_CPUS_MAX && mib << 20 >> 20 == mib);
}

static void lines(const char *buf, size_t len)
{
	static char text[BODY_MAX + 1], shown[64];
	const char *path;
	uint64_t value;

	len = MIN(len, BODY_MAX);
	memcpy(text, buf, len);
	text[len] = '\0';
	if (ps_parse_unix(text, &value, &path))
		FUZZ_CHECK(path > text && path < text + len && *path);
	(void)ps_parse_fd(text, &value);
	(void)ps_parse_stat(text, &value);
	(void)ps_parse_statm(text, &value);
	path = ps_parse_cmdline(text, len);
	FUZZ_CHECK(!path || (path > text && path <= text + len));
	(void)ps_printable(text, shown, sizeof(shown));
	for (const char *c = shown; *c; c++)
		FUZZ_CHECK(*c >= ' ' && *c <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *buf = (const char *)data + 1;

	if (size == 0)
		return 0;
	switch (data[0] % KINDS) {
	case ANSWER: answers(buf, size - 1); break;
	case METRICS: metrics(buf, size - 1); break;
	case JSON: json(buf, size - 1); break;
	default: lines(buf, size - 1); break;
	}
	return 0;
}
