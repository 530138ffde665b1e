/* GET /events and GET /serial: answers without an end. */
#include "t.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/routes.h"
#include "t_api.h"
#include "t_machine.h"

static void setup(void);

TestSuite(api_streams, .timeout = T_SECONDS, .init = setup);

static struct t_api t;

static void setup(void)
{
	t_quiet();
	t_api_init(&t);
}

static char pulled[1 << 20];

/* All that a stream has, in pieces of so many bytes. */
static const char *pull_all(struct t_call *c, size_t piece)
{
	size_t at = 0, n;

	while ((n = c->ops->pull(c->ctx, pulled + at, piece)) > 0) {
		t_true(n <= piece);
		at += n;
		t_true(at + piece < sizeof(pulled));
	}
	pulled[at] = '\0';
	return pulled;
}

static struct t_call *begin(const char *target)
{
	struct t_call *c = t_call_begin(&t, "GET", target, NULL, 0);

	t_uint(c->answers, 1);
	return c;
}

/* --- events --- */

Test(api_streams, events_come_as_lines_of_json)
{
	struct t_call *c;
	const char *text;
	json_t *line;
	json_error_t error;

	event_emit(&t.in->events, EVENT_PANIC, NULL, 0, "bad \xff\x01 \"words\"\x1b");
	event_emit(&t.in->events, EVENT_DISK, "d", 4096, "/a");
	c = begin("/events");
	t_true(c->ops != NULL);
	t_int(c->type, HTTP_NDJSON);
	t_true(c->wakes > 0);
	/* A byte at a time, too. */
	text = pull_all(c, 1);
	line = json_loads(text, JSON_DISABLE_EOF_CHECK, &error);
	t_true(line != NULL);
	t_int(json_integer_value(json_object_get(line, "seq")), 1);
	t_str(json_string_value(json_object_get(line, "event")), "panic");
	t_str(json_string_value(json_object_get(line, "text")),
		"bad \xef\xbf\xbd\xef\xbf\xbd \"words\"\xef\xbf\xbd");
	t_true(!json_object_get(line, "number"));
	json_decref(line);
	line = json_loads(strchr(text, '\n') + 1, 0, &error);
	t_true(line != NULL);
	t_int(json_integer_value(json_object_get(line, "number")), 4096);
	t_str(json_string_value(json_object_get(line, "subject")), "d");
	json_decref(line);
	t_call_free(c);
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(api_streams, event_wakes_its_readers)
{
	struct t_call *c = begin("/events");
	unsigned before;

	t_str(pull_all(c, 100), "");
	before = c->wakes;
	event_emit(&t.in->events, EVENT_STATE, NULL, 0, "Running");
	t_true(c->wakes > before);
	t_has(pull_all(c, 1000), "\"Running\"}\n");
	t_call_free(c);
	/* Nobody is woken any more. */
	event_emit(&t.in->events, EVENT_STATE, NULL, 0, "Running");
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(api_streams, reader_goes_on_where_it_was)
{
	static const struct {
		const char *target;
		unsigned first; /* 0: none */
	} rows[] = { { "/events", 45 }, { "/events?since=0", 45 }, { "/events?since=298", 299 },
		{ "/events?x&since=299&y=1", 300 }, { "/events?since=300", 0 },
		{ "/events?since=18446744073709551614", 0 } };

	for (unsigned i = 0; i < 300; i++)
		event_emit(&t.in->events, EVENT_EXIT, NULL, i, "x");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct t_call *c = begin(rows[i].target);
		char want[32] = "";

		(void)pull_all(c, 100);
		if (rows[i].first > 0)
			(void)snprintf(want, sizeof(want), "{\"seq\":%u,", rows[i].first);
		cr_expect(eq(int, strncmp(pulled, want, strlen(want)), 0), "%s: %.40s",
			rows[i].target, pulled);
		t_row_int(rows[i].target, pulled[0] != '\0', rows[i].first > 0);
		t_call_free(c);
	}
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(api_streams, wrong_queries_are_refused)
{
	static const char *const targets[] = { "/events?since=", "/events?since", "/events?since=x",
		"/events?since=-1", "/events?since=18446744073709551615", "/serial?follow=2",
		"/serial?follow=yes" };

	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
		t_row_int(targets[i], t_api(&t, "GET", targets[i], NULL), 400);
		t_row_has(targets[i], t_fault(), "Invalid query: `");
	}
	t_api_fini(&t);
}

Test(api_streams, client_that_has_gone_leaves_nothing)
{
	static const char *const targets[] = { "/events", "/serial?follow=1" };

	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
		struct t_call *c = calloc(1, sizeof(*c));

		c->has_gone = true;
		c->call.request = &c->request;
		(void)snprintf(c->request.target, sizeof(c->request.target), "%s", targets[i]);
		api_request(&t.api, &c->call);
		t_uint(c->answers, 1);
		event_emit(&t.in->events, EVENT_STATE, NULL, 0, "x");
		t_call_free(c);
	}
	t_api_fini(&t);
	T_NO_LEAKS();
}

/* --- the console --- */

/* Once a line, and then it waits. */
static int talk(struct t_vcpu *v)
{
	static const char text[] = "hello\n";
	static unsigned at; /* there is one vCPU */

	if (at >= sizeof(text) - 1)
		return t_machine_wait(v);
	return t_machine_out(v, 0x3f8, (uint8_t)text[at++]);
}

static void start_talking(void)
{
	t_kvm.on_run = talk;
	t_api_start(&t);
	while (console_output_bytes(t.in->console) < 6)
		t_int(loop_turn(t.l), 0);
}

Test(api_streams, console_of_a_machine_that_has_said_nothing)
{
	struct t_call *c;

	t_int(t_api(&t, "GET", "/serial", NULL), 200);
	t_str(t_body(), "");
	c = begin("/serial?follow=true");
	t_true(c->ops != NULL);
	t_int(c->type, HTTP_BYTES);
	t_true(!c->protocol);
	t_str(pull_all(c, 10), "");
	t_false(c->is_ending);
	t_call_free(c);
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(api_streams, history_is_for_those_who_come_late)
{
	struct t_call *c;

	start_talking();
	t_int(t_api(&t, "GET", "/serial", NULL), 200);
	t_str(t_body(), "hello\n");
	t_int(t_api(&t, "GET", "/serial?follow=0", NULL), 200);
	t_str(t_body(), "hello\n");
	c = begin("/serial?follow");
	t_str(pull_all(c, 1), "hello\n");
	t_false(c->is_ending);
	t_call_free(c);
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(api_streams, console_is_followed_to_its_end)
{
	struct t_call *early, *late;
	unsigned before;

	early = begin("/serial?follow=1");
	before = early->wakes;
	start_talking();
	while (early->wakes == before)
		t_int(loop_turn(t.l), 0);
	t_api_end(&t);
	late = begin("/serial?follow=1");
	t_str(pull_all(early, 100), "hello\n");
	t_true(early->is_ending);
	t_str(pull_all(late, 2), "hello\n");
	t_true(late->is_ending);
	t_call_free(early);
	t_call_free(late);
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(api_streams, console_has_a_protocol_of_its_own)
{
	struct t_call *c = calloc(1, sizeof(*c));

	c->call.request = &c->request;
	(void)snprintf(c->request.target, sizeof(c->request.target), "/serial");
	(void)snprintf(c->request.upgrade, sizeof(c->request.upgrade), "websocket");
	api_request(&t.api, &c->call);
	t_int(c->answer.status, 400);
	t_has(c->answer.body, "mvm-console");
	t_call_free(c);
	c = calloc(1, sizeof(*c));
	c->call.request = &c->request;
	(void)snprintf(c->request.target, sizeof(c->request.target), "/serial");
	(void)snprintf(c->request.upgrade, sizeof(c->request.upgrade), "mvm-console");
	api_request(&t.api, &c->call);
	t_str(c->protocol, "mvm-console");
	/* There is no UART yet to type to. */
	t_uint(c->ops->push(c->ctx, "x", 1), 0);
	t_call_free(c);
	t_api_fini(&t);
	T_NO_LEAKS();
}
