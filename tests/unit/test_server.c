/* The server: requests, answers, and who may connect (server.h), on both backends of the loop. */
#include "t_server.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/err.h"

TestSuite(server, .timeout = 2 * T_SECONDS);

Test(server, a_request_is_answered_and_the_connection_stays)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		const char *got = t_ask(&t, fd, "GET", "/machine-config", NULL);

		t_has(got,
			"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n");
		t_has(got, "\r\n\r\nGET /machine-config -");
		got = t_ask(&t, fd, "PUT", "/x", "{\"a\": 1}");
		t_has(got, "PUT /x {\"a\": 1}");
		t_uint(server_counters(t.s).connections, 1);
		t_uint(server_counters(t.s).requests, 2);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, pipelined_requests_are_answered_in_their_order)
{
	enum { N = 100 };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		const char *got;
		char text[64];

		for (unsigned i = 0; i < N; i++) {
			(void)snprintf(text, sizeof(text), "GET /%u HTTP/1.1\r\n\r\n", i);
			t_send(fd, text);
		}
		got = t_receive(&t, fd, "GET /99 -");
		for (unsigned i = 0; i < N; i++) {
			(void)snprintf(text, sizeof(text), "GET /%u -", i);
			got = strstr(got, text);
			t_true(got);
		}
		(void)close(fd);
	}
	T_NO_LEAKS();
}
