/* Clients that hammer a server on this process's loop (hammer.h). */
#include "hammer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/server.h"
#include "base/err.h"

static void on_request(void *ctx, struct call *c)
{
	static const char body[] = "{\"id\":\"anonymous-instance\",\"state\":\"Running\","
				   "\"vmm_version\":\"1.17.0\",\"app_name\":\"Firecracker\"}";
	struct hammer *h = ctx;
	struct answer a = { .status = 200, .body = strdup(body), .len = sizeof(body) - 1 };

	h->answered++;
	call_answer(c, &a);
}

/* In a process of its own, until it is killed or the server has gone. */
_Noreturn static void ask_for_ever(const char *path)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[4096];

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
		_exit(1);
	while (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0 &&
		recv(fd, buf, sizeof(buf), 0) > 0) {
	}
	_exit(0);
}

void hammer_start(struct hammer *h, struct loop *l)
{
	char path[64];
	struct server_config c = { .path = path,
		.mode = 0600,
		.body_max = HTTP_BODY_DEFAULT,
		.request = on_request,
		.ctx = h };
	struct err e = { 0 };

	*h = (struct hammer){ 0 };
	(void)snprintf(path, sizeof(path), "/tmp/mvm-hammer-%d.sock", (int)getpid());
	if (server_new(l, &c, &h->server, &e) < 0) {
		(void)fprintf(stderr, "hammer: %s\n", e.text);
		exit(1);
	}
	for (unsigned i = 0; i < HAMMER_CLIENTS; i++) {
		h->client[i] = fork();
		if (h->client[i] == 0)
			ask_for_ever(path);
		if (h->client[i] < 0) {
			perror("fork");
			exit(1);
		}
	}
}

void hammer_end(struct hammer *h)
{
	for (unsigned i = 0; i < HAMMER_CLIENTS; i++) {
		(void)kill(h->client[i], SIGKILL);
		(void)waitpid(h->client[i], NULL, 0);
	}
	server_free(h->server);
}
