/*
 * Answers without an end: events, and the console (handlers.h).
 *
 * Each reader has its own position in what it reads.  A client that is slow loses its own view;
 * neither the guest nor other clients wait for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/encode.h"
#include "api/handlers.h"
#include "base/parse.h"

enum { VALUE_MAX = 24 };

/* The value of name in a query, "" when it has none; false when it is not there or too long. */
static bool query_value(const char *query, const char *name, char ret[VALUE_MAX])
{
	size_t len = strlen(name);

	while (*query) {
		size_t part = strcspn(query, "&");

		if (part >= len && strncmp(query, name, len) == 0 &&
			(part == len || query[len] == '=')) {
			size_t from = part == len ? len : len + 1;

			if (part - from >= VALUE_MAX)
				return false;
			memcpy(ret, query + from, part - from);
			ret[part - from] = '\0';
			return true;
		}
		query += part + (query[part] == '&');
	}
	return false;
}

/* --- GET /events --- */

struct event_stream {
	struct events *events;
	struct event_listener listener;
	struct stream *stream;
	uint64_t next;
	char *line; /* being sent, with its newline */
	size_t len, at;
};

/* The next event as a line; false when there is none. */
static bool next_line(struct event_stream *s)
{
	const struct event *ev = event_get(s->events, &s->next);
	char *text, *line;
	size_t len;

	if (!ev)
		return false;
	free(s->line);
	s->line = NULL;
	s->len = s->at = 0;
	text = encode_event(ev);
	if (!text)
		return false;
	len = strlen(text);
	line = realloc(text, len + 1);
	if (!line) {
		free(text);
		return false;
	}
	/* In place of the NUL. */
	line[len] = '\n';
	s->line = line;
	s->len = len + 1;
	return true;
}

static size_t pull_events(void *ctx, char *buf, size_t len)
{
	struct event_stream *s = ctx;
	size_t n = 0;

	while (n < len && (s->at < s->len || next_line(s))) {
		size_t part = MIN(len - n, s->len - s->at);

		memcpy(buf + n, s->line + s->at, part);
		s->at += part;
		n += part;
	}
	return n;
}

static void events_closed(void *ctx)
{
	struct event_stream *s = ctx;

	event_unlisten(s->events, &s->listener);
	free(s->line);
	free(s);
}

static void event_ready(struct event_listener *l)
{
	struct event_stream *s = container_of(l, struct event_stream, listener);

	stream_wake(s->stream);
}

int get_events(struct request *r, struct fault *f)
{
	static const struct stream_ops ops = { .pull = pull_events, .closed = events_closed };
	struct event_stream *s;
	char value[VALUE_MAX];
	uint64_t since = 0;

	if (query_value(r->query, "since", value) &&
		parse_u64(value, 0, UINT64_MAX - 1, &since) < 0)
		return fault_set(f,
			"Invalid query: `since` is \"%s\", expected the number of an "
			"event.",
			value);
	s = calloc(1, sizeof(*s));
	if (!s)
		return fault_os(f, -ENOMEM, "Internal VMM error: ");
	r->answer.status = 200;
	s->events = &r->api->instance->events;
	s->next = since + 1;
	s->listener.ready = event_ready;
	s->stream = call_stream(r->call, HTTP_NDJSON, NULL, &ops, s);
	if (!s->stream) {
		free(s);
		return HANDLER_TAKEN;
	}
	event_listen(s->events, &s->listener);
	stream_wake(s->stream);
	return HANDLER_TAKEN;
}

/* --- GET /serial --- */

struct console_stream {
	struct instance *instance;
	struct console_reader reader;
	struct event_listener listener; /* tells the end of the machine */
	struct stream *stream;
};

static size_t pull_console(void *ctx, char *buf, size_t len)
{
	struct console_stream *s = ctx;
	size_t n = console_reader_read(s->instance->console, &s->reader, (uint8_t *)buf, len, NULL);

	/* All that the guest has written has been sent, and there will be no more. */
	if (n == 0 && s->instance->state == INSTANCE_ENDED)
		stream_end(s->stream);
	return n;
}

static size_t push_console(void *ctx, const char *buf, size_t len)
{
	struct console_stream *s = ctx;

	return console_type(s->instance->console, &s->reader, (const uint8_t *)buf, len);
}

static void console_closed(void *ctx)
{
	struct console_stream *s = ctx;

	event_unlisten(&s->instance->events, &s->listener);
	console_reader_remove(s->instance->console, &s->reader);
	free(s);
}

static void console_ready(struct console_reader *reader)
{
	stream_wake(container_of(reader, struct console_stream, reader)->stream);
}

static void console_room(struct console_reader *reader)
{
	stream_want(container_of(reader, struct console_stream, reader)->stream);
}

static void console_event(struct event_listener *l)
{
	stream_wake(container_of(l, struct console_stream, listener)->stream);
}

static int follow(struct request *r, const char *protocol, struct fault *f)
{
	static const struct stream_ops ops = {
		.pull = pull_console,
		.push = push_console,
		.closed = console_closed,
	};
	struct console_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return fault_os(f, -ENOMEM, "Internal VMM error: ");
	r->answer.status = protocol ? 101 : 200;
	s->instance = r->api->instance;
	s->reader.ready = console_ready;
	s->reader.room = console_room;
	s->listener.ready = console_event;
	s->stream = call_stream(r->call, HTTP_BYTES, protocol, &ops, s);
	if (!s->stream) {
		free(s);
		return HANDLER_TAKEN;
	}
	console_reader_add(s->instance->console, &s->reader, true);
	event_listen(&s->instance->events, &s->listener);
	stream_wake(s->stream);
	return HANDLER_TAKEN;
}

static void nobody_is_ready(struct console_reader *reader)
{
	(void)reader;
}

static int history(struct request *r, struct fault *f)
{
	struct console_reader reader = { .ready = nobody_is_ready };
	struct console *console = r->api->instance->console;
	uint8_t *buf = malloc(CONSOLE_HISTORY);

	if (!buf)
		return fault_os(f, -ENOMEM, "Internal VMM error: ");
	console_reader_add(console, &reader, true);
	r->answer.len = console_reader_read(console, &reader, buf, CONSOLE_HISTORY, NULL);
	console_reader_remove(console, &reader);
	r->answer.status = 200;
	r->answer.type = HTTP_BYTES;
	r->answer.body = (char *)buf;
	return 0;
}

int get_serial(struct request *r, struct fault *f)
{
	const char *protocol = r->call->request->upgrade;
	char value[VALUE_MAX] = "";

	if (strcmp(protocol, API_CONSOLE_PROTOCOL) == 0)
		return follow(r, API_CONSOLE_PROTOCOL, f);
	if (protocol[0])
		return fault_set(f, "Unknown protocol \"%s\"; the console's is %s.", protocol,
			API_CONSOLE_PROTOCOL);
	if (!query_value(r->query, "follow", value) || strcmp(value, "0") == 0 ||
		strcmp(value, "false") == 0)
		return history(r, f);
	if (strcmp(value, "") != 0 && strcmp(value, "1") != 0 && strcmp(value, "true") != 0)
		return fault_set(
			f, "Invalid query: `follow` is \"%s\", expected true or false.", value);
	return follow(r, NULL, f);
}
