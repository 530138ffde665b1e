/*
 * A server on a loop, and clients of it in the same thread: a client writes, the loop runs for some
 * rounds, the client reads.
 */
#ifndef MVM_TESTS_T_SERVER_H
#define MVM_TESTS_T_SERVER_H

#include "api/server.h"
#include "t.h"

enum { T_ANSWER = 512 * 1024 };

struct t_server {
	struct loop *l;
	struct server *s;
	struct loop_op timer;
	bool is_expired;
	char folder[64], path[100];
	unsigned requests;
	/* What the next requests are answered; NULL: an echo of method, target and body. */
	void (*handler)(struct t_server *t, struct call *c);
	struct call *held; /* by t_hold() */
};

/* cfg may be NULL; its path, mode, handler and body_max are filled in where they are 0.  False when
 * this backend is refused. */
bool t_server_init(struct t_server *t, int turn, const struct server_config *cfg);
void t_server_fini(struct t_server *t);

#define T_EACH_SERVER(t, cfg)                                                                      \
	for (int turn_ = 0; turn_ < 2; turn_++)                                                    \
		for (bool ok_ = t_server_init(t, turn_, cfg); ok_; t_server_fini(t), ok_ = false)

/* Handlers: answer with an echo; keep the call in held. */
void t_echo(struct t_server *t, struct call *c);
void t_hold(struct t_server *t, struct call *c);
void t_answer(struct call *c, int status, const char *body);

/* Lets the loop run for ms, at least some rounds. */
void t_serve(struct t_server *t, unsigned ms);

/* A client's descriptor, non-blocking. */
int t_connect(struct t_server *t);

void t_send(int fd, const char *text);
void t_send_bytes(int fd, const char *buf, size_t len);

/*
 * What the server has sent, NUL-terminated, valid until the next call: until part is in it (NULL:
 * until the server closes), for T_SECONDS / 2 at most.
 */
const char *t_receive(struct t_server *t, int fd, const char *part);

/* Whether the server has closed it: nothing more comes. */
bool t_is_closed(struct t_server *t, int fd);

/* t_send() of "METHOD TARGET HTTP/1.1" with a body or none (NULL), and the answer. */
const char *t_ask(
	struct t_server *t, int fd, const char *method, const char *target, const char *body);

/* Runs the loop until cond holds; after some seconds without it the test has failed. */
#define t_wait(t, cond)                                                                            \
	do {                                                                                       \
		for (unsigned wait_ = 0; wait_ < 4000 && !(cond); wait_++)                         \
			t_serve(t, 1);                                                             \
		t_true(cond);                                                                      \
	} while (0)

unsigned t_count(const char *text, const char *part);

#endif
