/*
 * The floor of an API on a Unix socket.
 *
 *     api-floor PATH           binds, takes one client, answers its first bytes once, and ends
 *     api-floor PATH LENGTH    answers whatever comes with LENGTH bytes, for ever: epoll, recv,
 * send
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BUFFER = 16384, BACKLOG = 16 };

static const char answer[] = "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n";

static int check(int result, const char *call)
{
	if (result < 0) {
		perror(call);
		exit(1);
	}
	return result;
}

static int listen_at(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	check(bind(fd, (const struct sockaddr *)&at, sizeof(at)), path);
	check(listen(fd, BACKLOG), "listen");
	return fd;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void echo(int listener, size_t len)
{
	static char buf[BUFFER], out[BUFFER];
	int epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");

	memset(out, 'x', sizeof(out));
	watch(epoll, listener);
	for (;;) {
		struct epoll_event event;
		int fd;

		check(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
		fd = event.data.fd;
		if (fd == listener)
			watch(epoll, check(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4"));
		else if (recv(fd, buf, sizeof(buf), 0) <= 0 || send(fd, out, len, MSG_NOSIGNAL) < 0)
			(void)close(fd);
	}
}

int main(int argc, char **argv)
{
	size_t len = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	char buf[BUFFER];
	int listener, fd;

	if (argc < 2 || argc > 3 || len > BUFFER) {
		(void)fprintf(stderr, "usage: api-floor PATH [LENGTH]\n");
		return 2;
	}
	listener = listen_at(argv[1]);
	if (argc == 3)
		echo(listener, len);
	fd = check(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
	check((int)recv(fd, buf, sizeof(buf), 0), "recv");
	check((int)send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL), "send");
	return 0;
}
