/* A client of the API (client.h). */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

enum { CHUNK = 64 * 1024, RETRY_MS = 10 };

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- connecting --- */

static int explain(const char *path, int code, struct err *e)
{
	struct stat st;

	switch (-code) {
	case ENOENT:
	case ENOTDIR:
		return err_sys(e, code, "is the machine running, and is this its --api-sock?",
			"cannot connect to '%s'", path);
	case ECONNREFUSED:
		if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			return err_set(e, code, "cannot connect to '%s': it is not a socket", path);
		return err_sys(e, code,
			"nobody listens: its process has ended, and the file may be removed",
			"cannot connect to '%s'", path);
	case EACCES:
	case EPERM:
		return err_sys(e, code, "it is for the user who started the machine (--api-mode)",
			"cannot connect to '%s'", path);
	case EPROTOTYPE:
		return err_set(e, code, "cannot connect to '%s': it is not a stream socket", path);
	case EAGAIN:
		return err_set(
			e, code, "cannot connect to '%s': it takes no more connections now", path);
	default: return err_sys(e, code, NULL, "cannot connect to '%s'", path);
	}
}

/* The address of path; *ret_fd, which may stay -1, is kept open while the address is used. */
static int address_of(const char *path, struct sockaddr_un *ret, int *ret_fd)
{
	size_t len = strlen(path);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len == 0)
		return -ENOENT; /* an empty one would be an abstract address */
	if (len < sizeof(ret->sun_path)) {
		memcpy(ret->sun_path, path, len + 1);
		return 0;
	}
	*ret_fd = open(path, O_PATH | O_CLOEXEC);
	if (*ret_fd < 0)
		return -errno;
	(void)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d", *ret_fd);
	return 0;
}

/* A socket whose queue is full is not something that poll() can wait for. */
static int connect_until(int fd, const struct sockaddr_un *address, unsigned timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;

	while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		int code = -errno;

		if (code == -EINTR)
			continue;
		if (code != -EAGAIN || now_ms() >= end)
			return code;
		(void)poll(NULL, 0, RETRY_MS);
	}
	return 0;
}

int client_connect(const char *path, unsigned timeout_ms, struct err *e)
{
	CLEANUP(fd_closep)
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CLEANUP(fd_closep) int path_fd = -1;
	struct sockaddr_un address;
	int rc;

	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot make a socket");
	rc = address_of(path, &address, &path_fd);
	if (rc == 0)
		rc = connect_until(fd, &address, timeout_ms);
	return rc < 0 ? explain(path, rc, e) : fd_take(&fd);
}

/* --- the request --- */

int client_check_request(const struct client_request *r, struct err *e)
{
	size_t letters = strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

	if (letters == 0 || r->method[letters] != '\0')
		return err_set(e, -EINVAL,
			"'%.40s' is not a method: GET, PUT, PATCH or DELETE, in capitals",
			r->method);
	if (r->target[0] != '/')
		return err_set(
			e, -EINVAL, "'%.80s' is not a path: it must begin with '/'", r->target);
	for (const char *at = r->target; *at; at++) {
		if (*at <= ' ' || *at > '~')
			return err_set(e, -EINVAL,
				"the path holds a blank or another character that must be written "
				"as %%XX");
	}
	return 0;
}

char *client_format(const struct client_request *r, size_t *ret_len)
{
	char *head = NULL, *all;
	int len;

	if (r->upgrade)
		len = asprintf(&head,
			"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: "
			"%s\r\n\r\n",
			r->method, r->target, r->upgrade);
	else if (r->body)
		len = asprintf(&head,
			"%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: "
			"application/json\r\nContent-Length: %zu\r\n\r\n",
			r->method, r->target, r->body_len);
	else
		len = asprintf(&head, "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
			r->method, r->target);
	if (len < 0)
		return NULL;
	*ret_len = (size_t)len;
	if (!r->body || r->upgrade)
		return head;
	all = realloc(head, (size_t)len + r->body_len);
	if (!all) {
		free(head);
		return NULL;
	}
	memcpy(all + len, r->body, r->body_len);
	*ret_len += r->body_len;
	return all;
}

/* --- one call --- */

struct exchange {
	int fd;
	int64_t end; /* of the time for the head; 0: none */
	struct response *response;
};

/* 0 when one of the events is there; -ETIMEDOUT. */
static int wait_for(const struct exchange *x, short events, short *ret_revents)
{
	struct pollfd pfd = { .fd = x->fd, .events = events };

	for (;;) {
		bool is_limited = x->end != 0 && response_status(x->response) == 0;
		int64_t left = is_limited ? x->end - now_ms() : -1;
		int n;

		if (is_limited && left <= 0)
			return -ETIMEDOUT;
		n = poll(&pfd, 1, (int)MIN(left, INT32_MAX));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			*ret_revents = pfd.revents;
			return 0;
		}
	}
}

/* Sends until all is gone or an answer comes, or the other side takes no more: it may have
 * answered before that. */
static int send_all(struct exchange *x, const char *buf, size_t len)
{
	while (len > 0) {
		short revents = 0;
		ssize_t n;
		int rc = wait_for(x, POLLOUT | POLLIN, &revents);

		if (rc < 0)
			return rc;
		if (revents & POLLIN)
			return 0;
		n = send(x->fd, buf, len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int keep_rest(const char *buf, size_t len, struct client_answer *ret)
{
	if (len == 0)
		return 0;
	ret->rest = malloc(len);
	if (!ret->rest)
		return -ENOMEM;
	memcpy(ret->rest, buf, len);
	ret->rest_len = len;
	return 0;
}

static int receive(struct exchange *x, char *buf, struct client_answer *ret, struct err *e)
{
	for (;;) {
		enum response_result result;
		size_t used = 0;
		short revents = 0;
		ssize_t n;
		int rc = wait_for(x, POLLIN, &revents);

		if (rc < 0)
			return rc;
		n = recv(x->fd, buf, CHUNK, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0 && errno != ECONNRESET)
			return -errno;
		result = n <= 0 ? response_end(x->response)
				: response_feed(x->response, buf, (size_t)n, &used);
		if (result == RESPONSE_BAD)
			return err_set(e, -EPROTO, "%s", response_error(x->response));
		ret->status = response_status(x->response);
		if (result == RESPONSE_UPGRADED)
			return keep_rest(buf + used, (size_t)n - used, ret);
		if (result == RESPONSE_COMPLETE)
			return 0;
	}
}

int client_call(int fd, const struct client_request *r, unsigned timeout_ms, response_body_fn *body,
	void *ctx, struct client_answer *ret, struct err *e)
{
	struct exchange x = { .fd = fd, .end = timeout_ms ? now_ms() + timeout_ms : 0 };
	struct client_answer answer = { 0 };
	char *request, *buf = malloc(CHUNK);
	size_t len = 0;
	int rc = response_new(body, ctx, &x.response);

	request = client_format(r, &len);
	if (rc < 0 || !request || !buf)
		rc = -ENOMEM;
	if (rc == 0)
		rc = send_all(&x, request, len);
	if (rc == 0)
		rc = receive(&x, buf, &answer, e);
	response_free(x.response);
	free(request);
	free(buf);
	if (rc == 0)
		*ret = answer;
	else if (rc == -ETIMEDOUT)
		(void)err_set(e, rc, "no answer within %u ms", timeout_ms);
	else if (rc != -EPROTO)
		(void)err_sys(e, rc, NULL, "the connection failed");
	if (rc < 0)
		err_prefix(e, "%s %s", r->method, r->target);
	return rc;
}

/* --- faults --- */

void client_fault(const char *body, size_t len, char *buf, size_t size)
{
	json_t *root = json_loadb(body, len, 0, NULL);
	const char *text = json_string_value(json_object_get(root, "fault_message"));

	if (!text)
		text = json_string_value(json_object_get(root, "error"));
	if (text)
		(void)snprintf(buf, size, "%s", text);
	else
		(void)snprintf(buf, size, "%.*s", (int)MIN(len, size), body);
	json_decref(root);
}
