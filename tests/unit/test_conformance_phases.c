/*
 * Bodies that are none, and every request in every phase of a machine.
 */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/bodies.h"
#include "api/routes.h"
#include "t_contract.h"

static void setup(void);

TestSuite(conformance_phases, .timeout = 2 * T_SECONDS, .init = setup);

static unsigned rows;

static void setup(void)
{
	t_quiet();
	t_folder();
}

static const char json_fault[] =
	"An error occurred when deserializing the json body of a request: ";

/* --- bodies that are none --- */

Test(conformance_phases, bodies_that_are_no_objects)
{
	enum { DEEP = 10000 };
	static char deep[DEEP + 1];
	static const struct {
		const char *body, *fault;
		size_t len;
	} bodies[] = {
		{ "{", "EOF while parsing an object at line 1 column 1", 1 },
		{ "{}x", "trailing characters at line 1 column 3", 3 },
		{ " ", "EOF while parsing a value at line 1 column 1", 1 },
		{ "\xff", "expected value at line 1 column 1", 1 },
		{ "{\"\xff\":1}", "invalid unicode code point at line 1 column 2", 7 },
		{ "\0", "expected value at line 1 column 1", 1 },
		{ deep, "recursion limit exceeded at line 1 column 128", DEEP },
	};

	memset(deep, '[', DEEP);
	for (unsigned i = 0; i < api_nroutes; i++) {
		const struct route *r = &api_routes[i];
		char target[64], want[512];

		if (!r->body)
			continue;
		t_target(r, target, sizeof(target));
		t_api_init(&t);
		for (unsigned k = 0; k < ARRAY_SIZE(bodies); k++) {
			t_row_int(target,
				t_api_bytes(&t, http_method_name(r->method), target, bodies[k].body,
					bodies[k].len),
				400);
			(void)snprintf(want, sizeof(want), "%s%s.", json_fault, bodies[k].fault);
			cr_expect(eq(int, strcmp(t_fault(), want), 0), "%s: \"%s\", not \"%s\"",
				target, t_fault(), want);
			rows++;
		}
		/* And of 0 bytes. */
		t_row_int(target, t_api(&t, http_method_name(r->method), target, ""), 400);
		t_row_has(target, t_fault(),
			r->method == HTTP_PUT ? "Empty PUT request." : "Empty PATCH request.");
		rows++;
		t_api_fini(&t);
		t_say_rows(r, rows);
		rows = 0;
	}
	t_folder_done();
}

/* --- every request in every phase --- */

static const char *const good_bodies[] = {
	"PUT machine-config {\"vcpu_count\":1,\"mem_size_mib\":128}",
	"PATCH machine-config {\"mem_size_mib\":128}",
	"PUT boot-source {\"kernel_image_path\":\"/dev/null\"}",
	"PUT cpu-config {}",
	"PUT drives {\"drive_id\":\"x\",\"is_root_device\":false,\"path_on_host\":\"disk\"}",
	"PATCH drives {\"drive_id\":\"x\",\"rate_limiter\":{}}",
	"PUT network-interfaces {\"iface_id\":\"x\",\"host_dev_name\":\"no_tap_has_this_name\"}",
	"PATCH network-interfaces {\"iface_id\":\"x\"}",
	"PUT serial {}",
	"PUT logger {}",
	"PUT metrics {\"metrics_path\":\"metrics\"}",
	"PUT actions {\"action_type\":\"FlushMetrics\"}",
	"PUT snapshot {\"snapshot_path\":\"s\",\"mem_file_path\":\"m\"}",
};

/* In the state that it is in already. */
static const char *body_for(const struct route *r)
{
	char key[64];

	if (r->body == &body_vm)
		return t.in->state == INSTANCE_RUNNING ? "{\"state\":\"Resumed\"}"
						       : "{\"state\":\"Paused\"}";
	if (!r->body)
		return r->method == HTTP_PUT || r->method == HTTP_PATCH ? "{}" : NULL;
	(void)snprintf(key, sizeof(key), "%s %s ", http_method_name(r->method), r->first);
	for (unsigned i = 0; i < ARRAY_SIZE(good_bodies); i++) {
		if (strncmp(good_bodies[i], key, strlen(key)) == 0)
			return good_bodies[i] + strlen(key);
	}
	t_row_true(key, false);
	return NULL;
}

static const char *phase_fault(enum instance_state state)
{
	return state == INSTANCE_NOT_STARTED ? FAULT_BEFORE_START
	       : state == INSTANCE_ENDED     ? FAULT_AFTER_END
					     : FAULT_AFTER_START;
}

/* A stream is the answer of these. */
static bool is_stream(const struct route *r)
{
	return strcmp(r->first, "events") == 0;
}

static void ask_in_phase(const struct route *r)
{
	enum instance_state state = t.in->state;
	char target[64];
	const char *body = body_for(r);
	struct t_call *c;
	int status;

	t_target(r, target, sizeof(target));
	rows++;
	if (is_stream(r)) {
		c = t_call_begin(&t, "GET", target, NULL, 0);
		t_true(c->ops != NULL);
		t_call_free(c);
		return;
	}
	status = t_api(&t, http_method_name(r->method), target, body);
	t_row_int(target, t.in->state, state);
	if (r->absent) {
		t_row_int(target, status, 400);
		t_row_has(target, t_fault(), "This monitor has no ");
		t_row_has(target, t_fault(), r->absent);
	} else if (r->body == &body_action) {
		t_row_int(target, status,
			state == INSTANCE_RUNNING || state == INSTANCE_PAUSED ? 204 : 400);
	} else if (!(r->phases >> state & 1)) {
		t_row_int(target, status, 400);
		t_row_has(target, t_fault(), phase_fault(state));
		if (!r->is_plugged)
			t_row_int(target, strcmp(t_fault(), phase_fault(state)), 0);
	} else if (r->method == HTTP_GET) {
		t_row_int(target, status, 200);
	} else {
		cr_expect(eq(int, strcmp(t_fault(), phase_fault(state)) == 0, 0), "%s", target);
	}
}

static void all_requests(const char *phase)
{
	for (unsigned i = 0; i < api_nroutes; i++)
		ask_in_phase(&api_routes[i]);
	(void)printf("# %-12s %4u requests\n", phase, rows);
	rows = 0;
}

Test(conformance_phases, every_request_in_every_phase)
{
	t_api_init(&t);
	all_requests("before");
	t_api_start(&t);
	all_requests("running");
	t_int(t_api(&t, "PATCH", "/vm", "{\"state\":\"Paused\"}"), 204);
	t_int(t.in->state, INSTANCE_PAUSED);
	all_requests("paused");
	t_int(t_api(&t, "PATCH", "/vm", "{\"state\":\"Resumed\"}"), 204);
	t_api_end(&t);
	all_requests("ended");
	t_api_fini(&t);
	t_folder_done();
}
