/* "mvm api": one request to the API of a machine. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "client.h"
#include "commands.h"
#include "serve_options.h"

static const char help[] =
	"usage: mvm api [--api-sock PATH] METHOD PATH [JSON|@FILE|-]\n"
	"\n"
	"Sends one request to the API of a machine and prints the body of the answer, streams as "
	"they come.\n"
	"\n"
	"  --api-sock PATH       socket of the machine (default: " SERVE_DEFAULT_SOCKET ")\n"
	"  --help                this text\n"
	"\n"
	"The body of a request is JSON as it stands, the content of @FILE, or with - standard "
	"input.\n"
	"\n"
	"  mvm api --api-sock S GET /vm/config\n"
	"  mvm api --api-sock S PATCH /vm '{\"state\": \"Paused\"}'\n"
	"  mvm api --api-sock S GET /events\n"
	"\n"
	"Exit status: 0 the answer is 2xx, 1 it is not (its fault is on stderr) or there is none, "
	"2 bad usage.\n";

enum { FIRST_READ = 64 * 1024, FAULT_MAX = 64 * 1024, FAULT_TEXT_MAX = 2048 };

struct options {
	bool help;
	const char *sock;
	const char *method, *target, *data;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{ "api-sock", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int id;

	opterr = 0;
	o->sock = SERVE_DEFAULT_SOCKET;
	while ((id = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		if (id == '?' || id == ':') {
			log_error(id == ':' ? "option '%s' needs a value"
					    : "unknown option '%s'; 'mvm api --help' lists them",
				argv[optind - 1]);
			return -1;
		}
		if (id == 's')
			o->sock = optarg;
		o->help |= id == 'h';
	}
	if (o->help)
		return 0;
	if (argc - optind < 2 || argc - optind > 3) {
		log_error("METHOD and PATH are needed, and at most one body; 'mvm api --help' "
			  "shows how");
		return -1;
	}
	o->method = argv[optind];
	o->target = argv[optind + 1];
	o->data = argv[optind + 2];
	return 0;
}

/* --- the request's body --- */

/* *ret is malloc'ed, and the caller's also when it fails. */
static int read_all(int fd, char **ret, size_t *ret_len)
{
	size_t size = 0, len = 0;

	for (;;) {
		ssize_t n;

		if (len == size) {
			char *larger;

			if (len > CLIENT_BODY_MAX)
				return -EFBIG;
			size = size ? size * 2 : FIRST_READ;
			larger = realloc(*ret, size);
			if (!larger)
				return -ENOMEM;
			*ret = larger;
		}
		n = read(fd, *ret + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

/* *ret is malloc'ed, NULL where no body was given, and the caller's also when it fails. */
static int read_body(const char *data, char **ret, size_t *ret_len, struct err *e)
{
	CLEANUP(fd_closep) int file = -1;
	bool is_stdin = data && strcmp(data, "-") == 0;
	int rc;

	*ret = NULL;
	*ret_len = 0;
	if (!data)
		return 0;
	if (!is_stdin && data[0] != '@') {
		*ret = strdup(data);
		*ret_len = strlen(data);
		return *ret ? 0 : err_sys(e, -ENOMEM, NULL, "cannot read the body");
	}
	if (!is_stdin) {
		file = open(data + 1, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			return err_sys(e, -errno, NULL, "cannot open '%s'", data + 1);
	}
	rc = read_all(is_stdin ? STDIN_FILENO : file, ret, ret_len);
	return rc < 0 ? err_sys(e, rc, NULL, "cannot read the body from '%s'",
				is_stdin ? "stdin" : data + 1)
		      : 0;
}

/* --- the answer --- */

struct output {
	char fault[FAULT_MAX]; /* the body of an answer that is not 2xx, as far as it fits */
	size_t fault_len;
	bool ends_line;  /* the last byte that was written is a newline, or there is none */
	int write_error; /* 0 or -errno */
};

static int take_body(void *ctx, int status, const char *buf, size_t len)
{
	struct output *out = ctx;

	if (status >= 200 && status <= 299) {
		out->write_error = io_write_full(STDOUT_FILENO, buf, len);
		if (len > 0)
			out->ends_line = buf[len - 1] == '\n';
		return out->write_error;
	}
	len = MIN(len, sizeof(out->fault) - out->fault_len);
	memcpy(out->fault + out->fault_len, buf, len);
	out->fault_len += len;
	return 0;
}

static void print_fault(const struct options *o, int status, const struct output *out)
{
	char text[FAULT_TEXT_MAX];

	client_fault(out->fault, out->fault_len, text, sizeof(text));
	/* The log makes it fit for a terminal. */
	log_error("%s %s: %d: %s", o->method, o->target, status, text);
}

static int call(const struct options *o, const struct client_request *r, struct output *out)
{
	CLEANUP(fd_closep) int fd = -1;
	struct client_answer answer = { 0 };
	struct err e = { 0 };
	int rc;

	fd = client_connect(o->sock, CLIENT_CONNECT_MS, &e);
	rc = fd < 0 ? fd : client_call(fd, r, CLIENT_ANSWER_MS, take_body, out, &answer, &e);
	free(answer.rest);
	if (out->write_error) {
		log_error("cannot write the answer: %s", strerror(-out->write_error));
		return EXIT_HOST_FAILED;
	}
	if (!out->ends_line && isatty(STDOUT_FILENO))
		(void)!write(STDOUT_FILENO, "\n", 1);
	if (rc < 0) {
		log_error("%s", e.text);
		return EXIT_HOST_FAILED;
	}
	if (answer.status >= 200 && answer.status <= 299)
		return 0;
	print_fault(o, answer.status, out);
	return EXIT_HOST_FAILED;
}

int cmd_api(int argc, char **argv)
{
	struct output out = { .ends_line = true };
	struct options o = { 0 };
	struct err e = { 0 };
	struct client_request r;
	char *body = NULL;
	size_t len = 0;
	int status;

	if (parse(argc, argv, &o) < 0)
		return EXIT_USAGE;
	if (o.help) {
		(void)fputs(help, stdout);
		return 0;
	}
	r = (struct client_request){ .method = o.method, .target = o.target };
	if (client_check_request(&r, &e) < 0 || read_body(o.data, &body, &len, &e) < 0) {
		log_error("%s", e.text);
		free(body);
		return EXIT_USAGE;
	}
	r.body = body;
	r.body_len = len;
	status = call(&o, &r, &out);
	free(body);
	return status;
}
