/* The way of requests: one after the other where they change something, logs, counters, streams. */
#include "t.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/routes.h"
#include "base/io.h"
#include "base/log.h"
#include "t_api.h"
#include "t_machine.h"

static void setup(void);

TestSuite(routes, .timeout = T_SECONDS, .init = setup);

static struct t_api t;

static void setup(void)
{
	t_quiet();
	t_api_init(&t);
}

static struct t_call *begin(const char *method, const char *target, const char *body)
{
	return t_call_begin(&t, method, target, body, body ? strlen(body) : 0);
}

#define PAUSE "{\"state\":\"Paused\"}"
#define GO    "{\"state\":\"Resumed\"}"
#define START "{\"action_type\":\"InstanceStart\"}"

/* --- the table --- */

Test(routes, longer_paths_come_first)
{
	for (unsigned i = 0; i < api_nroutes; i++) {
		const struct route *a = &api_routes[i];

		t_true(a->absent || a->handle);
		t_true(a->phases != 0);
		for (unsigned k = 0; k < i; k++) {
			const struct route *b = &api_routes[k];

			/* Otherwise a is never found. */
			t_false(a->method == b->method && strcmp(a->first, b->first) == 0 &&
				(!b->second || (a->second && strcmp(a->second, b->second) == 0)));
		}
	}
	t_api_fini(&t);
}

/* --- one after the other --- */

Test(routes, of_two_starts_one_wins)
{
	struct t_call *a, *b;

	t_api_boot(&t);
	a = begin("PUT", "/actions", START);
	b = begin("PUT", "/actions", START);
	t_call_wait(&t, a);
	t_call_wait(&t, b);
	t_int(a->answer.status, 204);
	t_int(b->answer.status, 400);
	t_has(b->answer.body, FAULT_AFTER_START);
	t_call_free(a);
	t_call_free(b);
	/* And while a pause is on its way. */
	a = begin("PATCH", "/vm", PAUSE);
	b = begin("PUT", "/actions", START);
	t_uint(b->answers, 0);
	t_call_wait(&t, b);
	t_uint(a->answers, 1);
	t_int(a->answer.status, 204);
	t_int(b->answer.status, 400);
	t_call_free(a);
	t_call_free(b);
	t_api_fini(&t);
}

Test(routes, what_changes_something_waits_and_what_reads_does_not)
{
	struct t_call *pause, *resume, *again, *read;

	t_api_start(&t);
	pause = begin("PATCH", "/vm", PAUSE);
	resume = begin("PATCH", "/vm", GO);
	again = begin("PATCH", "/vm", PAUSE);
	t_uint(pause->answers + resume->answers + again->answers, 0);
	read = begin("GET", "/", NULL);
	t_uint(read->answers, 1);
	t_int(read->answer.status, 200);
	t_has(read->answer.body, "\"Running\"");
	t_call_free(read);
	t_call_wait(&t, resume);
	t_uint(pause->answers, 1);
	t_call_wait(&t, again);
	t_int(resume->answer.status, 204);
	t_int(again->answer.status, 204);
	t_int(t.in->state, INSTANCE_PAUSED);
	t_true(!t.api.busy);
	t_call_free(pause);
	t_call_free(resume);
	t_call_free(again);
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(routes, crowd_that_waits_is_bounded)
{
	struct t_call *pause, *waiting[SERVER_CONNECTIONS], *one_more;

	t_api_start(&t);
	pause = begin("PATCH", "/vm", PAUSE);
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++) {
		waiting[i] = begin("PUT", "/actions", "{\"action_type\":\"FlushMetrics\"}");
		t_uint(waiting[i]->answers, 0);
	}
	one_more = begin("PUT", "/logger", "{}");
	t_uint(one_more->answers, 1);
	t_int(one_more->answer.status, 400);
	t_has(one_more->answer.body, "{\"fault_message\":\"Too many requests wait");
	t_call_free(one_more);
	t_call_wait(&t, waiting[SERVER_CONNECTIONS - 1]);
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++) {
		t_uint(waiting[i]->answers, 1);
		t_int(waiting[i]->answer.status, 204);
		t_call_free(waiting[i]);
	}
	t_call_free(pause);
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(routes, calls_that_wait_are_answered_at_the_end)
{
	struct t_call *pause, *waiting;

	t_api_start(&t);
	pause = begin("PATCH", "/vm", PAUSE);
	waiting = begin("PATCH", "/vm", GO);
	api_fini(&t.api);
	t_uint(pause->answers, 1);
	t_int(pause->answer.status, 400);
	t_uint(waiting->answers, 1);
	t_int(waiting->answer.status, 400);
	/* The machine tells its end to nobody. */
	for (unsigned i = 0; i < 100 && t.in->is_changing; i++)
		t_int(loop_turn(t.l), 0);
	t_false(t.in->is_changing);
	t_call_free(pause);
	t_call_free(waiting);
	t_api_fini(&t);
	T_NO_LEAKS();
}

Test(routes, pause_is_answered_when_the_machine_ends_meanwhile)
{
	struct t_call *pause;

	t_api_start(&t);
	pause = begin("PATCH", "/vm", PAUSE);
	instance_stop(t.in, "test");
	t_call_wait(&t, pause);
	while (t.in->state != INSTANCE_ENDED)
		t_int(loop_turn(t.l), 0);
	t_call_free(pause);
	t_int(t_api(&t, "PATCH", "/vm", PAUSE), 400);
	t_str(t_fault(), FAULT_AFTER_END);
	t_api_fini(&t);
}

/* --- counters --- */

Test(routes, requests_and_faults_are_counted)
{
	const struct api_counters *c = &t.api.counters;

	t_int(t_api(&t, "GET", "/", NULL), 200);
	t_int(t_api(&t, "GET", "/version", NULL), 200);
	t_int(t_api(&t, "GET", "/nowhere", NULL), 400);
	t_int(t_api(&t, "PUT", "/boot-source", "{}"), 400);
	t_int(t_api(&t, "PUT", "/boot-source", "{\"kernel_image_path\":\"/none\"}"), 400);
	t_int(t_api(&t, "PUT", "/boot-source", "{\"kernel_image_path\":\"/dev/null\"}"), 204);
	t_int(t_api(&t, "PATCH", "/drives/a", "{}"), 400);
	t_uint(c->count[API_GET_INSTANCE_INFO], 1);
	t_uint(c->count[API_GET_VERSION], 1);
	t_uint(c->count[API_PUT_BOOT_SOURCE], 3);
	t_uint(c->fails[API_PUT_BOOT_SOURCE], 2);
	t_uint(c->count[API_PATCH_DRIVE], 1);
	t_uint(c->fails[API_PATCH_DRIVE], 1);
	t_api_start(&t);
	t_int(t_api(&t, "PATCH", "/vm", PAUSE), 204);
	t_true(c->latency_us[API_PAUSE] > 0);
	t_api_fini(&t);
}

/* --- log --- */

static char log_path[] = "/tmp/mvm-test-XXXXXX";
static char log_text[65536];

static void log_begin(enum log_level level)
{
	int fd = mkstemp(log_path);

	t_true(fd >= 0);
	log_init(level, fd);
}

static const char *log_end(void)
{
	t_true(io_read_text(log_path, log_text, sizeof(log_text)) >= 0);
	(void)unlink(log_path);
	t_quiet();
	return log_text;
}

Test(routes, requests_are_logged)
{
	const char *text;

	log_begin(LOG_DEBUG);
	t_int(t_api(&t, "GET", "/", NULL), 200);
	t_int(t_api(&t, "PUT", "/logger", "{\"module\":null}"), 204);
	t_int(t_api(&t, "PUT", "/boot-source", "{}"), 400);
	text = log_end();
	t_has(text, "The API server received a Get request on \"/\".\n");
	t_has(text, "The API server received a Put request on \"/logger\" with body "
		    "\"{\\\"module\\\":null}\".\n");
	t_has(text, "The request was executed successfully. Status code: 200 OK.\n");
	t_has(text, "The request was executed successfully. Status code: 204 No Content.\n");
	t_has(text, "Received Error. Status code: 400 Bad Request. Message: An error occurred");
	t_has(text, "Total previous API call duration: ");
	t_api_fini(&t);
}

Test(routes, pause_and_resume_tell_how_long_they_took)
{
	const char *text;

	t_api_start(&t);
	log_begin(LOG_INFO);
	t_int(t_api(&t, "PATCH", "/vm", PAUSE), 204);
	t_int(t_api(&t, "PATCH", "/vm", GO), 204);
	text = log_end();
	t_has(text, "'pause vm' API request took ");
	t_has(text, "'resume vm' API request took ");
	t_true(!strstr(text, "duration"));
	t_api_fini(&t);
}

Test(routes, no_line_of_the_log_can_be_forged)
{
	static const char body[] = "{}\nmvm: error: forged\r\x1b[2J\x00\xff";
	const char *text;
	unsigned lines = 0;

	log_begin(LOG_INFO);
	(void)t_api_bytes(&t, "PUT", "/a\nmvm: error: forged\x1b[2J", body, sizeof(body) - 1);
	(void)t_api(&t, "PUT", "/boot-source", "{\"kernel_image_path\":\"a\",\"a\\nb\":1}");
	text = log_end();
	for (const char *at = text; *at; at++) {
		lines += *at == '\n';
		t_true(*at == '\n' || (unsigned char)*at >= 0x20);
	}
	/* What came and what became of it, twice. */
	t_uint(lines, 4);
	t_true(!strstr(text, "\nmvm: error: forged"));
	t_api_fini(&t);
}

Test(routes, cpu_templates_are_logged_at_debug_only)
{
	const char *text;

	log_begin(LOG_INFO);
	t_int(t_api(&t, "PUT", "/cpu-config", "{\"msr_modifiers\":[]}"), 204);
	text = log_end();
	t_has(text, "\"/cpu-config\".");
	t_true(!strstr(text, "msr_modifiers"));
	t_api_fini(&t);
}

/* --- faults --- */

Test(routes, faults_are_valid_json_whatever_the_client_sends)
{
	static const char *const targets[] = { "/\xff\xfe", "/\"\\\x01", "/\xed\xa0\x80",
		"/drives/\xf0\x28", "/a\x7f" };

	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
		t_row_int(targets[i], t_api(&t, "PUT", targets[i], "{}"), 400);
		t_row_true(targets[i], t_fault()[0] != '\0');
	}
	t_api_fini(&t);
}

Test(routes, fault_that_is_cut_is_cut_between_characters)
{
	char body[1024] = "{\"host_dev_name\":\"t\",\"iface_id\":\"a";
	size_t len = strlen(body);

	for (unsigned i = 0; i < 200; i++, len += 2)
		memcpy(body + len, "\xc3\xa4", 2);
	memcpy(body + len, "\"}", 3);
	t_int(t_api(&t, "PUT", "/network-interfaces/a", body), 400);
	t_has(t_fault(), "The id from the path [a] does not match the id from the body [a\xc3\xa4");
	t_api_fini(&t);
}

/* --- GET /openapi.yaml, GET /metrics --- */

Test(routes, document_and_metrics_are_served)
{
	t_int(t_api(&t, "GET", "/openapi.yaml", NULL), 200);
	t_has(t_body(), "openapi: 3.1.0");
	t_int(t_api(&t, "GET", "/metrics", NULL), 200);
	t_has(t_body(), "# EOF\n");
	t_api_fini(&t);
	T_NO_LEAKS();
}
