/*
 * "mvm snapshot": saves a machine through its API.
 *
 *     GET / --> PATCH Paused --> PUT /snapshot/create --> PATCH Resumed
 *
 * Whatever fails, a machine that ran is let go again; until then signals wait.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "client.h"
#include "commands.h"
#include "ps_parse.h"
#include "snapshot/merge.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "snapshot_options.h"

enum { QUIET_MS = 1000, PROGRESS_MS = 250, FAULT_TEXT_MAX = 1024 };

struct save {
	struct snapshot_options options;
	char dir[PATH_MAX]; /* absolute: the machine's process may be elsewhere */
	bool is_new_dir, was_running, is_paused_by_us;
	uint64_t paused_us; /* when we asked for the pause */
	uint64_t stood_us;  /* how long it stood still */
	uint64_t took_us;
};

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* --- requests --- */

struct body {
	char *data; /* malloc'ed */
	size_t len, size;
};

static void body_fini(struct body *b)
{
	free(b->data);
}

static int take_body(void *ctx, int status, const char *buf, size_t len)
{
	struct body *b = ctx;

	(void)status;
	if (len > CLIENT_BODY_MAX - b->len)
		return -EFBIG;
	if (b->len + len > b->size) {
		size_t size = MAX(b->size * 2, b->len + len);
		char *larger = realloc(b->data, size);

		if (!larger)
			return -ENOMEM;
		b->data = larger;
		b->size = size;
	}
	memcpy(b->data + b->len, buf, len);
	b->len += len;
	return 0;
}

/* One request on a connection of its own.  0: its answer is 2xx and in ret; or -errno with e
 * filled.  timeout_ms 0: it may take as long as it wants. */
static int ask(const char *sock, const char *method, const char *target, const char *json,
	unsigned timeout_ms, struct body *ret, struct err *e)
{
	struct client_request r = { .method = method,
		.target = target,
		.body = json,
		.body_len = json ? strlen(json) : 0 };
	int fd CLEANUP(fd_closep) = client_connect(sock, CLIENT_CONNECT_MS, e);
	struct client_answer answer = { 0 };
	char text[FAULT_TEXT_MAX];
	int rc;

	if (fd < 0)
		return fd;
	rc = client_call(fd, &r, timeout_ms, take_body, ret, &answer, e);
	free(answer.rest);
	if (rc < 0)
		return rc;
	if (answer.status >= 200 && answer.status <= 299)
		return 0;
	client_fault(ret->data, ret->len, text, sizeof(text));
	return err_set(e, -EREMOTEIO, "%s", text);
}

static int change_state(const struct save *s, const char *json, struct err *e)
{
	struct body body CLEANUP(body_fini) = { 0 };

	return ask(s->options.sock, "PATCH", "/vm", json, CLIENT_ANSWER_MS, &body, e);
}

static int look(struct save *s, struct err *e)
{
	struct body body CLEANUP(body_fini) = { 0 };
	char id[PS_ID_MAX + 1];
	enum ps_state state = PS_UNKNOWN;
	int rc = ask(s->options.sock, "GET", "/", NULL, CLIENT_ANSWER_MS, &body, e);

	if (rc < 0)
		return rc;
	if (!ps_parse_instance(body.data, body.len, id, &state))
		return err_set(e, -EBADMSG, "what answers at '%s' is no machine", s->options.sock);
	if (state != PS_RUNNING && state != PS_PAUSED)
		return err_set(
			e, -EPERM, "the machine cannot be saved: it is %s", ps_state_word(state));
	s->was_running = state == PS_RUNNING;
	return 0;
}

/* --- progress, for people --- */

struct progress {
	const char *sock;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool is_over, has_thread, is_shown;
};

static void show(struct progress *p)
{
	struct body body CLEANUP(body_fini) = { 0 };
	double done = 0, all = 0;
	struct err e = { 0 };

	if (ask(p->sock, "GET", "/metrics", NULL, CLIENT_ANSWER_MS, &body, &e) < 0 ||
		!ps_sum_metric(body.data, body.len, "mvm_snapshot_progress_pages", "", &done) ||
		!ps_sum_metric(body.data, body.len, "mvm_snapshot_progress_all_pages", "", &all) ||
		all <= 0)
		return;
	(void)fprintf(stderr, "\rsaving: %3.0f %%", 100 * MIN(done, all) / all);
	p->is_shown = true;
}

static void *follow(void *ctx)
{
	struct progress *p = ctx;
	uint64_t wait_ms = QUIET_MS;

	(void)pthread_mutex_lock(&p->lock);
	while (!p->is_over) {
		struct timespec until;
		int rc;

		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
		until.tv_sec += (time_t)(wait_ms / 1000) + until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		rc = pthread_cond_timedwait(&p->over, &p->lock, &until);
		if (rc != ETIMEDOUT)
			continue;
		(void)pthread_mutex_unlock(&p->lock);
		show(p);
		(void)pthread_mutex_lock(&p->lock);
		wait_ms = PROGRESS_MS;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void progress_begin(struct progress *p, const char *sock)
{
	*p = (struct progress){
		.sock = sock, .lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER
	};
	p->has_thread = isatty(STDERR_FILENO) && pthread_create(&p->thread, NULL, follow, p) == 0;
}

static void progress_end(struct progress *p)
{
	if (!p->has_thread)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->is_over = true;
	(void)pthread_cond_signal(&p->over);
	(void)pthread_mutex_unlock(&p->lock);
	(void)pthread_join(p->thread, NULL);
	if (p->is_shown)
		(void)fputs("\r\033[K", stderr);
}

/* --- the folder --- */

static int make_dir(const char *dir, bool *ret_is_new, struct err *e)
{
	*ret_is_new = mkdir(dir, 0700) == 0;
	if (!*ret_is_new && errno != EEXIST)
		return err_sys(e, -errno, NULL, "cannot make the folder '%s'", dir);
	return 0;
}

static int open_dir(struct save *s, struct err *e)
{
	struct stat st;
	int rc = make_dir(s->options.dir, &s->is_new_dir, e);

	if (rc < 0)
		return rc;
	if (!realpath(s->options.dir, s->dir) || stat(s->dir, &st) < 0)
		return err_sys(e, -errno, NULL, "cannot use '%s'", s->options.dir);
	return S_ISDIR(st.st_mode) ? 0 : err_set(e, -ENOTDIR, "'%s' is no folder", s->options.dir);
}

/* --- the save --- */

static char *request_text(const struct save *s)
{
	const struct snapshot_options *o = &s->options;
	char state[PATH_MAX + 8], memory[PATH_MAX + 8];
	json_t *json;
	char *text;

	(void)snprintf(state, sizeof(state), "%s/state", s->dir);
	(void)snprintf(memory, sizeof(memory), "%s/memory", s->dir);
	json = json_pack("{s:s, s:s, s:s}", "snapshot_path", state, "mem_file_path", memory,
		"snapshot_type", o->diff ? "Diff" : "Full");
	/* What is not asked for is not sent: other servers of this API do not know it. */
	if (o->live)
		(void)json_object_set_new(json, "live", json_true());
	if (o->stop)
		(void)json_object_set_new(json, "stop", json_true());
	if (o->with_disks)
		(void)json_object_set_new(json, "disks_dir", json_string(s->dir));
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

static int create(struct save *s, struct err *e)
{
	char *json CLEANUP(freep) = request_text(s);
	struct body body CLEANUP(body_fini) = { 0 };
	struct progress progress;
	uint64_t began = now_us();
	int rc;

	if (!json)
		return err_set(e, -EINVAL, "'%s' cannot be written as JSON", s->dir);
	progress_begin(&progress, s->options.sock);
	rc = ask(s->options.sock, "PUT", "/snapshot/create", json, 0, &body, e);
	progress_end(&progress);
	s->took_us = now_us() - began;
	return rc;
}

/* The machine's own word: only it knows how long a live save stopped it. */
static void ask_stood(struct save *s)
{
	struct body body CLEANUP(body_fini) = { 0 };
	double seconds = 0;

	if (ask(s->options.sock, "GET", "/metrics", NULL, CLIENT_ANSWER_MS, &body, NULL) == 0 &&
		ps_sum_metric(body.data, body.len, "mvm_snapshot_last_pause_seconds", "", &seconds))
		s->stood_us = (uint64_t)(seconds * 1e6);
}

static int pause_it(struct save *s, struct err *e)
{
	int rc;

	s->paused_us = now_us();
	rc = change_state(s, "{\"state\":\"Paused\"}", e);
	/* Without an answer nobody knows; letting go what runs does no harm. */
	s->is_paused_by_us = rc != -EREMOTEIO;
	return rc;
}

/* rc and e: what came of the save.  A machine that could not be let go is the worse news. */
static int let_go(struct save *s, int rc, struct err *e)
{
	struct err worse = { 0 };
	int again;

	if (!s->is_paused_by_us || (rc == 0 && s->options.stop))
		return rc;
	again = change_state(s, "{\"state\":\"Resumed\"}", &worse);
	s->stood_us = now_us() - s->paused_us;
	if (again < 0 && rc < 0)
		log_error("%s", e->text);
	if (again < 0)
		return err_set(e, again, "the machine is still paused: %s", worse.text);
	return rc;
}

static int save(struct save *s, struct err *e)
{
	sigset_t set, old;
	int rc = 0;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	if (s->was_running && !s->options.live)
		rc = pause_it(s, e);
	if (rc == 0)
		rc = create(s, e);
	rc = let_go(s, rc, e);
	if (rc == 0 && s->options.live)
		ask_stood(s);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return rc;
}

/* --- what people read --- */

static void tell_state(const struct save *s, char *buf, size_t size)
{
	if (s->options.stop)
		(void)snprintf(buf, size, "the machine has ended");
	else if (s->was_running)
		(void)snprintf(
			buf, size, "the guest stood still for %.1f ms", (double)s->stood_us / 1000);
	else
		(void)snprintf(buf, size, "the machine is paused, as it was");
}

/* Where nobody knew what was written since the last one, a difference is a full snapshot. */
static bool is_diff(const struct save *s)
{
	struct snapshot *written = NULL;
	bool is_diff = s->options.diff;

	if (state_read(s->dir, &written, NULL) == 0)
		is_diff = written->kind == SNAPSHOT_DIFF;
	snapshot_free(written);
	return is_diff;
}

static void tell(const struct save *s)
{
	char path[PATH_MAX + 8], amount[16] = "?", state[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/memory", s->dir);
	if (stat(path, &st) == 0)
		(void)ps_amount((double)st.st_blocks * 512, amount);
	tell_state(s, state, sizeof(state));
	(void)printf("%s: a %s snapshot, %s of memory, written in %.2f s; %s\n", s->options.dir,
		is_diff(s) ? "diff" : "full", amount, (double)s->took_us / 1e6, state);
}

static int run_save(const struct snapshot_options *o)
{
	struct save s = { .options = *o };
	struct err e = { 0 };
	int rc = look(&s, &e);

	if (rc == 0)
		rc = open_dir(&s, &e);
	if (rc == 0)
		rc = save(&s, &e);
	if (rc == 0) {
		tell(&s);
		return fflush(stdout) == 0 ? 0 : EXIT_HOST_FAILED;
	}
	/* Only while nothing is in it. */
	if (s.is_new_dir)
		(void)rmdir(o->dir);
	log_error("%s", e.text);
	return EXIT_HOST_FAILED;
}

static int run_merge(const struct snapshot_options *o)
{
	struct err e = { 0 };
	bool is_new = false;
	int rc = make_dir(o->dir, &is_new, &e);

	if (rc == 0)
		rc = snapshot_merge((const char *const *)o->part, o->nparts, o->dir, &e);
	if (rc == 0)
		return 0;
	if (is_new)
		(void)rmdir(o->dir);
	log_error("%s", e.text);
	return EXIT_HOST_FAILED;
}

int cmd_snapshot(int argc, char **argv)
{
	struct snapshot_options o = { 0 };
	struct err e = { 0 };

	if (snapshot_options_parse(argc, argv, &o, &e) < 0) {
		log_error("%s", e.text);
		return EXIT_USAGE;
	}
	if (o.help) {
		(void)fputs(snapshot_options_help, stdout);
		return 0;
	}
	return o.merges ? run_merge(&o) : run_save(&o);
}
