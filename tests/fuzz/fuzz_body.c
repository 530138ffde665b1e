/*
 * A JSON body as a client sends it.  The first byte chooses the body, the rest is its text.
 *
 * What is decoded fits its table; what is refused has a fault that is valid JSON; and our own look
 * at the grammar refuses nothing that jansson takes, but for its limits.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "api/bodies.h"
#include "api/faults.h"
#include "api/handlers.h"
#include "api/text.h"
#include "base/err.h"
#include "fuzz.h"

static bool is_utf8(const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		size_t n = text_utf8_len(text, left);

		if (n == 0)
			return false;
		text += n;
		left -= n;
	}
	return true;
}

/* A fault goes out as JSON, whole, and comes back as it was. */
static void check_fault(const struct err *e)
{
	struct fault f;
	struct answer answer;
	json_t *object;
	const char *text;

	(void)fault_json(&f, e->text);
	fault_answer(&f, &answer);
	FUZZ_CHECK(answer.status == 400 && answer.body && strlen(answer.body) == answer.len);
	object = json_loads(answer.body, JSON_REJECT_DUPLICATES, NULL);
	text = json_string_value(json_object_get(object, "fault_message"));
	FUZZ_CHECK(text && strstr(text, " at line ") && text[strlen(text) - 1] == '.');
	json_decref(object);
	free(answer.body);
}

static void check_string(const char *text)
{
	FUZZ_CHECK(text && is_utf8(text));
}

static void check_object(const struct body *b, const void *decoded);

static void check_list(const struct field *f, const uint8_t *out)
{
	unsigned n;

	memcpy(&n, out + f->count_offset, sizeof(n));
	FUZZ_CHECK(n <= f->limit);
	for (unsigned i = 0; i < n; i++) {
		const char *const *string = (const char *const *)(const void *)(out + f->offset);

		if (f->type == FIELD_MAP) {
			check_string(string[2 * i]);
			check_string(string[2 * i + 1]);
		} else if (f->body) {
			check_object(f->body, out + f->offset + i * f->body->size);
		} else {
			check_string(string[i]);
		}
	}
}

static void check_field(const struct field *f, const uint8_t *out)
{
	static const uint64_t most[FIELD_TYPES] = {
		[FIELD_U8] = UINT8_MAX, [FIELD_U16] = UINT16_MAX, [FIELD_U32] = UINT32_MAX
	};
	unsigned word, words = 0;
	const char *string;
	uint64_t number;

	switch (f->type) {
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
		memcpy(&number, out + f->offset, sizeof(number));
		FUZZ_CHECK(number <= most[f->type]);
		break;
	case FIELD_STRING:
		memcpy(&string, out + f->offset, sizeof(string));
		check_string(string);
		break;
	case FIELD_ENUM:
		memcpy(&word, out + f->offset, sizeof(word));
		while (f->words[words])
			words++;
		FUZZ_CHECK(word < words);
		break;
	case FIELD_OBJECT: check_object(f->body, out + f->offset); break;
	case FIELD_ARRAY:
	case FIELD_MAP: check_list(f, out); break;
	case FIELD_BOOL:
	case FIELD_U64:
	case FIELD_USIZE:
	case FIELD_ANY:
	case FIELD_TYPES: break;
	}
}

/* Tables are a few levels deep. */
static void check_object(const struct body *b, const void *decoded)
{
	for (unsigned i = 0; i < b->nfields; i++) {
		if (is_given(decoded, i))
			check_field(&b->field[i], decoded);
		else
			FUZZ_CHECK(b->field[i].need != FIELD_REQUIRED);
	}
}

/* What jansson takes and we do not is too deep or too much, or has a NUL behind it. */
static void check_refused(const char *text, size_t len, const struct err *e)
{
	json_t *whole = json_loadb(text, len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);

	FUZZ_CHECK(!whole || memchr(text, '\0', len) || strstr(e->text, "recursion limit") ||
		   strstr(e->text, "too many values"));
	json_decref(whole);
}

static void check_decoded(const struct body *b, const void *decoded, const char *text, size_t len)
{
	struct cpu_template t;
	struct err e = { 0 };
	json_t *whole = json_loadb(text, len, JSON_DECODE_INT_AS_REAL, NULL);

	FUZZ_CHECK(whole != NULL);
	check_object(b, decoded);
	for (unsigned i = 0; i < b->nfields; i++) {
		const json_t *value = json_object_get(whole, b->field[i].name);

		FUZZ_CHECK(is_given(decoded, i) ==
			   (value && (b->field[i].need != FIELD_NULLABLE || !json_is_null(value))));
	}
	if (b == &body_cpu && cpu_config_read(decoded, &t, &e) < 0)
		FUZZ_CHECK(e.text[0] != '\0');
	json_decref(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned n = 0;
	const struct body *b;
	const char *text = (const char *)data + 1;
	struct doc d;
	struct err e = { 0 };
	void *decoded;
	int rc;

	if (size == 0)
		return 0;
	while (all_bodies[n])
		n++;
	b = all_bodies[data[0] % n];
	rc = doc_read(&d, text, size - 1, &e);
	if (rc < 0) {
		FUZZ_CHECK(rc == -EBADMSG);
		check_refused(text, size - 1, &e);
		check_fault(&e);
		return 0;
	}
	decoded = calloc(1, b->size);
	FUZZ_CHECK(decoded != NULL);
	rc = body_decode(b, &d, 0, decoded, &e);
	if (rc < 0) {
		FUZZ_CHECK(rc == -EBADMSG);
		check_fault(&e);
	} else {
		check_decoded(b, decoded, text, size - 1);
	}
	FUZZ_CHECK(d.pool_used <= d.len);
	free(decoded);
	doc_fini(&d);
	return 0;
}
