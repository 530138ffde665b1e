/* API and metrics of a machine (cmd_service.h). */
#include "cmd_service.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"

static void on_event(struct event_listener *l)
{
	struct service *s = container_of(l, struct service, listener);

	if (s->has_started || s->instance->state != INSTANCE_RUNNING)
		return;
	s->has_started = true;
	metrics_start(s->metrics);
	if (s->started)
		s->started(s->api.ctx);
}

static int open_metrics(
	struct service *s, struct loop *l, const struct service_config *c, struct err *e)
{
	struct metrics_sources sources = { .instance = s->instance,
		.api = &s->api.counters,
		.snapshots = c->snapshots,
		.start_time_us = c->start_time_us,
		.start_time_cpu_us = c->start_time_cpu_us,
		.parent_cpu_time_us = c->parent_cpu_time_us };
	struct metrics_config file = { .path = c->metrics_path };
	int rc = metrics_new(l, &sources, &s->metrics, e);

	return rc == 0 && file.path ? metrics_open(s->metrics, &file, e) : rc;
}

static int open_server(
	struct service *s, struct loop *l, const struct service_config *c, struct err *e)
{
	struct server_config server = { .path = c->socket,
		.fd = -1,
		.mode = c->mode,
		.body_max = c->body_max,
		.request = api_request,
		.ctx = &s->api };
	int rc;

	if (c->takes_activated) {
		server.fd = server_activated_fd(e);
		if (server.fd >= 0)
			server.path = NULL;
		else if (server.fd != -ENOENT)
			return server.fd;
	}
	rc = server_new(l, &server, &s->server, e);
	if (rc < 0) {
		fd_closep(&server.fd);
		return rc;
	}
	metrics_set_server(s->metrics, s->server);
	metrics_note_start(s->metrics);
	if (server.path)
		log_info("Listening on API socket (\"%s\").", server.path);
	else
		log_info("Listening on the API socket of the starter.");
	log_info("API server started.");
	return 0;
}

int service_open(struct service *s, struct loop *l, struct instance *in,
	const struct service_config *c, struct err *e)
{
	int rc;

	s->instance = in;
	s->started = c->started;
	s->listener.ready = on_event;
	event_listen(&in->events, &s->listener);
	rc = open_metrics(s, l, c, e);
	if (rc == 0)
		rc = api_init(&s->api, in, s->metrics, e);
	s->api.snapshots = c->snapshots;
	s->api.fatal = c->fatal;
	s->api.ctx = c->ctx;
	return rc == 0 && c->socket ? open_server(s, l, c, e) : rc;
}

void service_say_goodbye(struct service *s, int status, const char *why, unsigned timeout_ms,
	void (*done)(void *ctx), void *ctx)
{
	event_emit(&s->instance->events, EVENT_EXIT, NULL, (uint64_t)status, why);
	if (s->server)
		server_shut_down(s->server, timeout_ms, done, ctx);
	else
		done(ctx);
}

void service_flush(struct service *s)
{
	struct err e = { 0 };
	int rc = s->metrics ? metrics_flush(s->metrics, &e) : 0;

	if (rc < 0 && rc != -ENOENT)
		log_error("%s", e.text);
}

void service_free(struct service *s)
{
	server_free(s->server);
	api_fini(&s->api);
	metrics_free(s->metrics);
	if (s->instance)
		event_unlisten(&s->instance->events, &s->listener);
	*s = (struct service){ 0 };
}
