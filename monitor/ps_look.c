/* Asks machines, all at the same time (ps_look.h). */
#include "ps_look.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

enum { CHUNK = 64 * 1024, RETRY_MS = 10 };

/* In the order in which they are asked for, on one connection. */
enum { INSTANCE, MACHINE, METRICS, ANSWERS };

static const char requests[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
			       "GET /machine-config HTTP/1.1\r\nHost: localhost\r\n\r\n"
			       "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char again[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/* One machine that is asked. */
struct asked {
	struct ps_look *look;
	struct response *response;
	int fd;         /* -1: not connected */
	unsigned stage; /* whose answer comes next */
	bool is_waiting, has_counters;
	char *body; /* of that answer, as far as it has come */
	size_t len, size;
	double counter[PS_COUNTERS];
	int64_t counted_ns;
};

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- answers --- */

static int take_body(void *ctx, int status, const char *buf, size_t len)
{
	struct asked *a = ctx;

	if (status != 200)
		return 0;
	if (len > PS_BODY_MAX - a->len)
		return -EFBIG;
	if (a->len + len > a->size) {
		size_t size = MAX(a->size * 2, a->len + len);
		char *larger = realloc(a->body, size);

		if (!larger)
			return -ENOMEM;
		a->body = larger;
		a->size = size;
	}
	memcpy(a->body + a->len, buf, len);
	a->len += len;
	return 0;
}

static bool read_counters(const struct asked *a, double counter[PS_COUNTERS])
{
	/* From the guest's side: a frame that it sends is written. */
	static const char *const labels[PS_COUNTERS] = {
		[PS_NET_RX] = "kind=\"net\",op=\"read\"",
		[PS_NET_TX] = "kind=\"net\",op=\"write\"",
		[PS_DISK_READ] = "kind=\"disk\",op=\"read\"",
		[PS_DISK_WRITE] = "kind=\"disk\",op=\"write\"",
	};
	static const char end[] = "# EOF\n";

	if (a->len < sizeof(end) - 1 ||
		memcmp(a->body + a->len - (sizeof(end) - 1), end, sizeof(end) - 1) != 0)
		return false;
	for (unsigned i = 0; i < PS_COUNTERS; i++) {
		counter[i] = 0; /* without such a device there is no sample */
		(void)ps_sum_metric(a->body, a->len, "mvm_device_transferred_bytes_total",
			labels[i], &counter[i]);
	}
	return true;
}

/* The second time the difference is what is wanted. */
static void take_metrics(struct asked *a)
{
	double counter[PS_COUNTERS];
	int64_t now = now_ns();

	if (response_status(a->response) != 200 || !read_counters(a, counter))
		return;
	for (unsigned i = 0; i < PS_COUNTERS && a->has_counters && now > a->counted_ns; i++) {
		double grown = counter[i] - a->counter[i];

		a->look->has_rates = true;
		a->look->rate[i] = MAX(grown, 0) * 1e9 / (double)(now - a->counted_ns);
	}
	memcpy(a->counter, counter, sizeof(counter));
	a->counted_ns = now;
	a->has_counters = true;
}

/* The answer of a's stage is complete. */
static void take_answer(struct asked *a)
{
	struct ps_look *l = a->look;

	if (a->stage == INSTANCE)
		l->has_answered = response_status(a->response) == 200 &&
				  ps_parse_instance(a->body, a->len, l->id, &l->state);
	else if (a->stage == MACHINE)
		l->has_machine = response_status(a->response) == 200 &&
				 ps_parse_machine(a->body, a->len, &l->cpus, &l->mem_mib);
	else
		take_metrics(a);
	a->len = 0;
	a->stage++;
	a->is_waiting = a->stage < ANSWERS;
}

/* --- connections --- */

static void hang_up(struct asked *a)
{
	if (a->fd >= 0)
		(void)close(a->fd);
	a->fd = -1;
	a->is_waiting = false;
}

static bool is_who_we_think(const struct asked *a)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	/* Root makes sockets for others (socket activation). */
	return getsockopt(a->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == a->look->uid || cred.uid == 0);
}

static void ask(struct asked *a, const char *what, size_t len)
{
	/* So little that it fits, or the other side does not read at all. */
	if (send(a->fd, what, len, MSG_NOSIGNAL) != (ssize_t)len)
		hang_up(a);
}

/* A queue that is full is tried again in the next round. */
static void try_connect(struct asked *a)
{
	a->fd = client_connect(a->look->reach, 0, NULL);
	if (a->fd == -EAGAIN)
		return;
	if (a->fd < 0 || !is_who_we_think(a) || response_new(take_body, a, &a->response) < 0)
		hang_up(a);
	else
		ask(a, requests, sizeof(requests) - 1);
}

static void take_bytes(struct asked *a, char *buf)
{
	ssize_t n = recv(a->fd, buf, CHUNK, 0);
	size_t used = 0, step;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		/* The body of an answer without a length ends with the connection. */
		if (n == 0 && response_end(a->response) == RESPONSE_COMPLETE)
			take_answer(a);
		hang_up(a);
		return;
	}
	while (used < (size_t)n && a->is_waiting) {
		enum response_result result =
			response_feed(a->response, buf + used, (size_t)n - used, &step);

		used += step;
		if (result == RESPONSE_COMPLETE)
			take_answer(a);
		else if (result != RESPONSE_MORE)
			hang_up(a);
	}
}

/* Serves all until none waits or the time is over. */
static void serve(struct asked *asked, unsigned n, char *buf)
{
	int64_t end = now_ns() + (int64_t)PS_ANSWER_MS * 1000000;
	struct pollfd pfd[PS_BATCH];

	for (;;) {
		int64_t left_ms = (end - now_ns() + 999999) / 1000000;
		bool has_waiting = false, has_full = false;

		for (unsigned i = 0; i < n; i++) {
			if (asked[i].is_waiting && asked[i].fd < 0)
				try_connect(&asked[i]);
			pfd[i] = (struct pollfd){ .fd = asked[i].is_waiting ? asked[i].fd : -1,
				.events = POLLIN };
			has_waiting |= asked[i].is_waiting;
			has_full |= asked[i].is_waiting && asked[i].fd < 0;
		}
		if (!has_waiting || left_ms <= 0)
			return;
		(void)poll(pfd, n, (int)(has_full ? MIN(left_ms, RETRY_MS) : left_ms));
		for (unsigned i = 0; i < n; i++) {
			if (pfd[i].fd >= 0 && pfd[i].revents)
				take_bytes(&asked[i], buf);
		}
	}
}

/* --- all of them --- */

static void look_batch(struct ps_look *looks, unsigned n, unsigned interval_ms, char *buf)
{
	struct asked asked[PS_BATCH] = { 0 };

	for (unsigned i = 0; i < n; i++)
		asked[i] = (struct asked){ .look = &looks[i], .fd = -1, .is_waiting = true };
	serve(asked, n, buf);
	if (interval_ms > 0)
		(void)poll(NULL, 0, (int)interval_ms);
	for (unsigned i = 0; i < n; i++) {
		if (!asked[i].has_counters || asked[i].fd < 0 || interval_ms == 0) {
			hang_up(&asked[i]);
			continue;
		}
		asked[i].stage = METRICS;
		asked[i].is_waiting = true;
		ask(&asked[i], again, sizeof(again) - 1);
	}
	serve(asked, n, buf);
	for (unsigned i = 0; i < n; i++) {
		hang_up(&asked[i]);
		response_free(asked[i].response);
		free(asked[i].body);
	}
}

void ps_look(struct ps_look *looks, unsigned n, unsigned interval_ms)
{
	char *buf = malloc(CHUNK);

	for (unsigned i = 0; buf && i < n; i += PS_BATCH)
		look_batch(looks + i, MIN(n - i, PS_BATCH), interval_ms, buf);
	free(buf);
}
