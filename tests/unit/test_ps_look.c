/* Machines that are asked side by side, played by threads. */
#include "t.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "ps_look.h"

TestSuite(ps_look, .timeout = T_SECONDS);

enum { PLAYERS_MAX = 32, TEXT_MAX = 4096, BODY_MAX = 2 * PS_BODY_MAX };

static char dir[] = "/tmp/test-ps-look-XXXXXX";

struct player {
	char path[64];
	int fd;
	pthread_t thread;
	/* what it does */
	const char *instance, *machine, *metrics[2];
	bool is_silent;   /* takes what comes and says nothing */
	bool is_deaf;     /* does not even accept */
	const char *raw;  /* this, instead of answers, and then it goes */
	unsigned answers; /* so many, then silence; 0: all */
	unsigned late_ms; /* accepts only then, and the second one that came */
	size_t long_body; /* of the first answer */
	/* what it has seen */
	unsigned requests;
};

static void say(int fd, const char *status, const char *body, size_t len)
{
	char head[128];

	(void)snprintf(
		head, sizeof(head), "HTTP/1.1 %s \r\nContent-Length: %zu\r\n\r\n", status, len);
	(void)!send(fd, head, strlen(head), MSG_NOSIGNAL);
	(void)!send(fd, body, len, MSG_NOSIGNAL);
}

static void answer(struct player *p, int fd, const char *request)
{
	static const char fault[] = "{\"fault_message\": \"no\"}";
	const char *body = NULL;

	if (p->answers && p->requests >= p->answers)
		return;
	if (strncmp(request, "GET / ", 6) == 0)
		body = p->instance;
	else if (strncmp(request, "GET /machine-config ", 20) == 0)
		body = p->machine;
	else if (strncmp(request, "GET /metrics ", 13) == 0)
		body = p->metrics[p->requests > 2];
	p->requests++;
	if (p->long_body && p->requests == 1) {
		char *text = malloc(p->long_body);

		memset(text, ' ', p->long_body);
		memcpy(text, body, strlen(body));
		say(fd, "200", text, p->long_body);
		free(text);
	} else {
		say(fd, body ? "200" : "400", body ? body : fault, strlen(body ? body : fault));
	}
}

static void *play(void *arg)
{
	struct player *p = arg;
	char text[TEXT_MAX] = "", *end;
	size_t len = 0;
	ssize_t n;
	int fd;

	if (p->late_ms) {
		(void)poll(NULL, 0, (int)p->late_ms);
		(void)close(accept4(p->fd, NULL, NULL, SOCK_CLOEXEC));
	}
	fd = p->is_deaf ? -1 : accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);

	if (p->raw) {
		(void)!send(fd, p->raw, strlen(p->raw), MSG_NOSIGNAL);
		(void)close(fd);
		return NULL;
	}
	while (fd >= 0 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
		len += (size_t)n;
		text[len] = '\0';
		while (!p->is_silent && (end = strstr(text, "\r\n\r\n"))) {
			answer(p, fd, text);
			len -= (size_t)(end + 4 - text);
			memmove(text, end + 4, len + 1);
		}
	}
	if (fd >= 0)
		(void)close(fd);
	return NULL;
}

static void begin(struct player *p, unsigned n, struct ps_look *looks)
{
	t_true(mkdtemp(dir) != NULL);
	for (unsigned i = 0; i < n; i++) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };

		(void)snprintf(p[i].path, sizeof(p[i].path), "%s/%u", dir, i);
		(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", p[i].path);
		p[i].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		t_int(bind(p[i].fd, (struct sockaddr *)&a, sizeof(a)), 0);
		t_int(listen(p[i].fd, p[i].is_deaf || p[i].late_ms ? 0 : 8), 0);
		t_int(pthread_create(&p[i].thread, NULL, play, &p[i]), 0);
		looks[i] = (struct ps_look){ .reach = p[i].path, .uid = geteuid() };
	}
}

static void end(struct player *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		(void)shutdown(p[i].fd, SHUT_RDWR); /* one that waits in accept() */
		(void)pthread_join(p[i].thread, NULL);
		(void)close(p[i].fd);
		(void)unlink(p[i].path);
	}
	(void)rmdir(dir);
}

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define INSTANCE "{\"id\": \"vm-1\", \"state\": \"Running\"}"
#define MACHINE  "{\"vcpu_count\": 2, \"mem_size_mib\": 256}"
#define COUNTED(disk, net)                                                                         \
	"mvm_device_transferred_bytes_total{device=\"root\",kind=\"disk\",op=\"read\"} " #disk     \
	"\nmvm_device_transferred_bytes_total{device=\"eth0\",kind=\"net\",op=\"write\"} " #net    \
	"\n# EOF\n"
#define GOOD                                                                                       \
	.instance = INSTANCE, .machine = MACHINE,                                                  \
	.metrics = { COUNTED(1000, 5), COUNTED(101000, 5) }

Test(ps_look, a_machine_tells_what_it_is_and_does)
{
	struct player p[] = { { GOOD } };
	struct ps_look look[1];
	double took;

	begin(p, 1, look);
	took = now();
	ps_look(look, 1, 100);
	took = now() - took;
	end(p, 1);
	t_true(look->has_answered && look->has_machine && look->has_rates);
	t_str(look->id, "vm-1");
	t_int(look->state, PS_RUNNING);
	t_int(look->cpus, 2);
	t_uint(look->mem_mib, 256);
	/* 100000 bytes in a tenth of a second and what the scheduler adds. */
	t_true(look->rate[PS_DISK_READ] <= 1e6 * 1.01 && look->rate[PS_DISK_READ] > 1e5 / took / 2);
	t_true(look->rate[PS_NET_TX] == 0 && look->rate[PS_NET_RX] == 0);
	t_int(p[0].requests, 4);
	T_NO_LEAKS();
}

Test(ps_look, without_an_interval_it_looks_once)
{
	struct player p[] = { { GOOD } };
	struct ps_look look[1];

	begin(p, 1, look);
	ps_look(look, 1, 0);
	end(p, 1);
	t_true(look->has_answered && look->has_machine && !look->has_rates);
	t_int(p[0].requests, 3);
}

Test(ps_look, a_peer_without_metrics_still_has_a_state)
{
	struct player p[] = { { .instance = INSTANCE, .machine = MACHINE } };
	struct ps_look look[1];

	begin(p, 1, look);
	ps_look(look, 1, 1);
	end(p, 1);
	t_true(look->has_answered && look->has_machine && !look->has_rates);
}

Test(ps_look, counters_that_went_back_are_no_rate_below_zero)
{
	struct player p[] = { { .instance = INSTANCE,
		.machine = MACHINE,
		.metrics = { COUNTED(1000, 1000), COUNTED(1, 2000) } } };
	struct ps_look look[1];

	begin(p, 1, look);
	ps_look(look, 1, 10);
	end(p, 1);
	t_true(look->has_rates);
	t_true(look->rate[PS_DISK_READ] == 0 && look->rate[PS_NET_TX] > 0);
}

Test(ps_look, hostile_answers_are_no_answer)
{
	struct player p[] = {
		{ .raw = "SSH-2.0-OpenSSH_9\r\n" },
		{ .raw = "" },
		{ .raw = "HTTP/1.1 101 \r\n\r\n" },
		{ .raw = "HTTP/1.1 200 \r\nContent-Length: 99999999999\r\n\r\n{" },
		{ .raw = "HTTP/1.1 503 \r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" },
		{ .instance = "{\"id\": \"\\u001b[2J\", \"state\": \"Running\"}" },
		{ .instance = "[[[[[[" },
		{ .instance = INSTANCE, .long_body = PS_BODY_MAX + 1 },
	};
	enum { N = ARRAY_SIZE(p) };
	struct ps_look look[N];

	begin(p, N, look);
	ps_look(look, N, 1);
	end(p, N);
	for (unsigned i = 0; i < N; i++)
		cr_expect(eq(int, look[i].has_answered, 0), "player %u", i);
	T_NO_LEAKS();
}

static int connect_to(const struct player *p)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", p->path);
	(void)!connect(fd, (struct sockaddr *)&a, sizeof(a));
	return fd;
}

Test(ps_look, a_queue_that_is_full_is_tried_again)
{
	struct player p[] = { { GOOD, .late_ms = 100 } };
	struct ps_look look[1];
	int first;

	begin(p, 1, look);
	first = connect_to(&p[0]);
	ps_look(look, 1, 0);
	(void)close(first);
	end(p, 1);
	t_true(look->has_answered);
}

Test(ps_look, those_that_hang_cost_half_a_second_together)
{
	static struct player p[PLAYERS_MAX];
	struct ps_look look[PLAYERS_MAX];
	unsigned fds = t_count_fds();
	int held[8];
	double took;

	for (unsigned i = 0; i < PLAYERS_MAX; i++)
		p[i].is_silent = true;
	p[7] = (struct player){ GOOD };
	p[8] = (struct player){ GOOD, .answers = 1 };
	p[9] = (struct player){ GOOD, .answers = 3 };
	p[10] = (struct player){ .is_deaf = true };
	begin(p, PLAYERS_MAX, look);
	/* Its queue is full. */
	for (unsigned i = 0; i < ARRAY_SIZE(held); i++)
		held[i] = connect_to(&p[10]);
	took = now();
	ps_look(look, PLAYERS_MAX, 10);
	took = now() - took;
	t_true(took > 0.5 && took < 2.0);
	for (unsigned i = 0; i < ARRAY_SIZE(held); i++)
		(void)close(held[i]);
	end(p, PLAYERS_MAX);
	for (unsigned i = 0; i < PLAYERS_MAX; i++)
		cr_expect(eq(int, look[i].has_answered, i >= 7 && i <= 9), "player %u", i);
	t_true(look[7].has_rates);
	t_false(look[8].has_machine || look[9].has_rates);
	t_true(look[9].has_machine);
	t_uint(t_count_fds(), fds);
}

Test(ps_look, a_socket_of_somebody_else_is_not_asked)
{
	struct player p[] = { { GOOD } };
	struct ps_look look[1];

	begin(p, 1, look);
	look->uid = 12345;
	/* Root's sockets are taken for those of a starter, and who listens is who it was then. */
	if (geteuid() == 0) {
		t_int(seteuid(12344), 0);
		t_int(listen(p[0].fd, 8), 0);
		t_int(seteuid(0), 0);
	}
	ps_look(look, 1, 0);
	end(p, 1);
	t_false(look->has_answered);
	t_int(p[0].requests, 0);
}

Test(ps_look, one_that_has_gone_is_no_trouble)
{
	struct ps_look look[] = { { .reach = "/nonexistent/socket", .uid = geteuid() } };

	ps_look(look, 1, 1);
	t_false(look->has_answered);
	ps_look(look, 0, 1);
}
