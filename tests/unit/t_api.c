/* The API without a server (t_api.h). */
#include "t_api.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "t.h"
#include "t_image.h"
#include "t_machine.h"
#include "t_snapshots.h"

void __wrap_call_answer(struct call *c, const struct answer *a);
struct stream *__wrap_call_stream(struct call *c, enum http_type type, const char *protocol,
	const struct stream_ops *ops, void *ctx);
void __wrap_stream_wake(struct stream *s);
void __wrap_stream_want(struct stream *s);
void __wrap_stream_end(struct stream *s);

static struct t_call *call_of(struct call *c)
{
	return container_of(c, struct t_call, call);
}

void __wrap_call_answer(struct call *c, const struct answer *a)
{
	struct t_call *own = call_of(c);

	own->answers++;
	own->answer = *a;
}

struct stream *__wrap_call_stream(struct call *c, enum http_type type, const char *protocol,
	const struct stream_ops *ops, void *ctx)
{
	struct t_call *own = call_of(c);

	own->answers++;
	if (own->has_gone)
		return NULL;
	own->ops = ops;
	own->ctx = ctx;
	own->type = type;
	own->protocol = protocol;
	return (struct stream *)own;
}

void __wrap_stream_wake(struct stream *s)
{
	((struct t_call *)s)->wakes++;
}

void __wrap_stream_want(struct stream *s)
{
	((struct t_call *)s)->wants++;
}

void __wrap_stream_end(struct stream *s)
{
	((struct t_call *)s)->is_ending = true;
}

/* --- a machine --- */

static void on_ended(void *ctx)
{
	(void)ctx;
}

static void on_fatal(void *ctx, int status)
{
	((struct t_api *)ctx)->fatal = status;
}

void t_api_init(struct t_api *t)
{
	struct instance_config c = {
		.id = "test-1",
		.kvm_path = T_KVM_PATH,
		.console_in = -1,
		.console_out = -1,
		.host = { .ended = on_ended },
	};
	struct metrics_sources from = { .api = &t->api.counters, .snapshots = &t->snapshots };
	struct err e = { 0 };

	*t = (struct t_api){ .fatal = -1 };
	t_snapshots = (struct t_snapshots){ .load_rc = -ENOENT };
	t_kvm_init();
	t_int(instance_new(&c, &t->in, &e), 0);
	t_int(loop_new(LOOP_EPOLL, &t->l, NULL, &e), 0);
	t_int(instance_use_loop(t->in, t->l, &e), 0);
	from.instance = t->in;
	t_int(metrics_new(t->l, &from, &t->metrics, &e), 0);
	t_int(api_init(&t->api, t->in, t->metrics, &e), 0);
	t_int(snapshots_open(&t->snapshots, t->in, &e), 0);
	t->api.snapshots = &t->snapshots;
	t->api.fatal = on_fatal;
	t->api.ctx = t;
}

void t_api_fini(struct t_api *t)
{
	api_fini(&t->api);
	instance_quiet(t->in);
	snapshots_close(&t->snapshots);
	instance_close(t->in);
	loop_free(t->l);
	metrics_free(t->metrics);
	instance_free(t->in);
}

void t_api_boot(struct t_api *t)
{
	static struct t_file file;
	static char kernel[64];
	char body[128];

	if (!t_kvm.on_run)
		t_kvm.on_run = t_machine_wait;
	t_elf_kernel(&file);
	t_true(t_file_open(&file, kernel) >= 0);
	(void)snprintf(body, sizeof(body), "{\"kernel_image_path\":\"%s\"}", kernel);
	t_int(t_api(t, "PUT", "/boot-source", body), 204);
}

void t_api_start(struct t_api *t)
{
	t_api_boot(t);
	t_int(t_api(t, "PUT", "/actions", "{\"action_type\":\"InstanceStart\"}"), 204);
	t_int(t->in->state, INSTANCE_RUNNING);
}

void t_api_end(struct t_api *t)
{
	instance_stop(t->in, "test");
	while (t->in->state != INSTANCE_ENDED)
		t_int(loop_turn(t->l), 0);
}

/* --- calls --- */

static enum http_method method_of(const char *name)
{
	for (int m = 0; m < HTTP_OTHER; m++) {
		if (strcmp(http_method_name((enum http_method)m), name) == 0)
			return (enum http_method)m;
	}
	return HTTP_OTHER;
}

struct t_call *t_call_begin(
	struct t_api *t, const char *method, const char *target, const char *body, size_t len)
{
	struct t_call *c = calloc(1, sizeof(*c));

	c->request.method = method_of(method);
	(void)snprintf(c->request.method_text, sizeof(c->request.method_text), "%s", method);
	(void)snprintf(c->request.target, sizeof(c->request.target), "%s", target);
	if (body) {
		/* Exactly as long as it says, so that a sanitizer sees a read behind its end. */
		c->request.body = malloc(len + 1);
		memcpy(c->request.body, body, len);
		c->request.body[len] = '\0';
		c->request.body_len = len;
	}
	c->call.request = &c->request;
	api_request(&t->api, &c->call);
	return c;
}

void t_call_wait(struct t_api *t, struct t_call *c)
{
	while (c->answers == 0)
		t_int(loop_turn(t->l), 0);
	t_uint(c->answers, 1);
}

void t_call_free(struct t_call *c)
{
	if (c->ops)
		c->ops->closed(c->ctx);
	free(c->answer.body);
	free(c->request.body);
	free(c);
}

static struct {
	char *body;
	char fault[4096];
	bool is_deprecated;
} last;

/* A fault is an object with one string; anything else is none. */
static void keep_fault(void)
{
	json_t *object = json_loads(last.body, 0, NULL);
	const char *text = json_string_value(json_object_get(object, "fault_message"));

	last.fault[0] = '\0';
	if (text && json_object_size(object) == 1)
		(void)snprintf(last.fault, sizeof(last.fault), "%s", text);
	json_decref(object);
}

int t_api_bytes(
	struct t_api *t, const char *method, const char *target, const char *body, size_t len)
{
	struct t_call *c = t_call_begin(t, method, target, body, len);
	int status;

	t_call_wait(t, c);
	t_true(!c->ops);
	status = c->answer.status;
	last.is_deprecated = c->answer.is_deprecated;
	free(last.body);
	last.body = calloc(1, c->answer.len + 1);
	if (c->answer.len > 0)
		memcpy(last.body, c->answer.body, c->answer.len);
	keep_fault();
	t_call_free(c);
	return status;
}

int t_api(struct t_api *t, const char *method, const char *target, const char *body)
{
	return t_api_bytes(t, method, target, body, body ? strlen(body) : 0);
}

const char *t_body(void)
{
	return last.body ? last.body : "";
}

const char *t_fault(void)
{
	return last.fault;
}

bool t_is_deprecated(void)
{
	return last.is_deprecated;
}
