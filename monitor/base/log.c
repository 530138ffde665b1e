/* Log lines on one descriptor (log.h). */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"

enum { THREAD_NAME_MAX = 16 }; /* with its NUL (prctl(2), PR_GET_NAME) */

/* What a line looks like. */
struct shape {
	bool is_stamped, shows_level, shows_origin;
	char id[LOG_ID_MAX + 1];
	char module[LOG_MODULE_MAX + 2]; /* one byte more, so that a longer one matches nothing */
};

enum { SHAPE_WORDS = (sizeof(struct shape) + 7) / 8 };

static struct {
	_Atomic int threshold;
	_Atomic int fd;
	_Atomic bool may_block; /* a write to fd may wait for a reader */
	int own_fd;             /* of log_open(), -1: none yet */
	/* Odd while somebody changes the words; a reader that sees it change looks again. */
	_Atomic uint32_t version;
	_Atomic uint64_t word[SHAPE_WORDS]; /* a struct shape */
	_Atomic bool is_torn; /* the last line was written in part, without its newline */
	_Atomic uint64_t missed, limited;
} sink = { .threshold = LOG_WARNING, .fd = STDERR_FILENO, .may_block = true, .own_fd = -1 };

/* --- settings --- */

static void shape_get(struct shape *ret)
{
	uint64_t word[SHAPE_WORDS];
	uint32_t before, after;

	do {
		before = atomic_load_explicit(&sink.version, memory_order_acquire);
		for (unsigned i = 0; i < SHAPE_WORDS; i++)
			word[i] = atomic_load_explicit(&sink.word[i], memory_order_relaxed);
		/* The words before the second look at the version; pairs with shape_set(). */
		atomic_thread_fence(memory_order_acquire);
		after = atomic_load_explicit(&sink.version, memory_order_relaxed);
	} while (before != after || before % 2 != 0);
	memcpy(ret, word, sizeof(*ret));
}

static void shape_set(const struct shape *s)
{
	uint64_t word[SHAPE_WORDS] = { 0 };
	uint32_t version = atomic_load_explicit(&sink.version, memory_order_relaxed);

	memcpy(word, s, sizeof(*s));
	atomic_store_explicit(&sink.version, version + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (unsigned i = 0; i < SHAPE_WORDS; i++)
		atomic_store_explicit(&sink.word[i], word[i], memory_order_relaxed);
	atomic_store_explicit(&sink.version, version + 2, memory_order_release);
}

void log_init(enum log_level threshold, int fd)
{
	struct shape plain = { 0 };
	struct stat st;

	shape_set(&plain);
	sink.threshold = threshold;
	sink.may_block = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode);
	sink.fd = fd;
}

void log_stamp(const char *id)
{
	struct shape s = { .is_stamped = true };

	(void)snprintf(s.id, sizeof(s.id), "%s", id);
	/* Reads the time zone's file now and not at the first line. */
	tzset();
	shape_set(&s);
}

void log_set_level(enum log_level threshold)
{
	sink.threshold = threshold;
}

void log_show(bool level, bool origin)
{
	struct shape s;

	shape_get(&s);
	s.shows_level = level;
	s.shows_origin = origin;
	shape_set(&s);
}

void log_set_module(const char *module)
{
	struct shape s;

	shape_get(&s);
	(void)snprintf(s.module, sizeof(s.module), "%s", module ? module : "");
	shape_set(&s);
}

int log_open(const char *path, struct err *e)
{
	int fd CLEANUP(fd_closep) = io_open_sink(path);

	if (fd < 0)
		return err_sys(e, fd, NULL, "cannot open the log file '%s'", path);
	if (sink.own_fd < 0) {
		sink.own_fd = fd_take(&fd);
	} else {
		/* Onto the same number: a thread that is about to write to it finds a file of ours
		 * there, before and after. */
		while (dup3(fd, sink.own_fd, O_CLOEXEC) < 0) {
			if (errno != EINTR && errno != EBUSY)
				return err_sys(
					e, -errno, NULL, "cannot open the log file '%s'", path);
		}
	}
	sink.is_torn = false;
	sink.may_block = false;
	sink.fd = sink.own_fd;
	return 0;
}

uint64_t log_missed(void)
{
	return atomic_load_explicit(&sink.missed, memory_order_relaxed);
}

uint64_t log_limited(void)
{
	return atomic_load_explicit(&sink.limited, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&sink.threshold, memory_order_relaxed);
}

/* --- the text of a line --- */

/* A line being put together: bounded, always with room for the newline. */
struct line {
	size_t len;
	char text[LOG_LINE_MAX];
};

PRINTF_LIKE(2, 3)
static void line_add(struct line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->text) - 1 - l->len;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(l->text + l->len, room, fmt, args);
	va_end(args);
	if (n > 0 && room > 0)
		l->len += MIN((size_t)n, room - 1);
}

/*
 * The length of the UTF-8 sequence at s, of which left bytes are there and the first is not 0; 0
 * when it is none, or stands for a control character.  (RFC 3629, section 4)
 */
static size_t printable_len(const unsigned char *s, size_t left)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t code;
	size_t len;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	if (len == 0 || s[0] > 0xf4 || len > left)
		return 0;
	code = s[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	/* Not overlong, no surrogate, and not one of the control characters from 0x80 on. */
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return code < 0xa0 ? 0 : len;
}

/* Adds text with all escaped that could end the line or move a terminal's cursor. */
static void line_add_escaped(struct line *l, const char *text, size_t len)
{
	enum { ESCAPE_LEN = 4 };

	for (size_t at = 0; at < len;) {
		const unsigned char *s = (const unsigned char *)text + at;
		size_t n = printable_len(s, len - at);

		if (l->len + MAX(n, ESCAPE_LEN) >= sizeof(l->text))
			return;
		if (n > 0) {
			memcpy(l->text + l->len, s, n);
			l->len += n;
		} else if (*s == '\n' || *s == '\r' || *s == '\t') {
			line_add(l, "\\%c", *s == '\n' ? 'n' : *s == '\r' ? 'r' : 't');
		} else {
			line_add(l, "\\x%02x", *s);
		}
		at += MAX(n, 1);
	}
}

/* From the top of the sources: this file's own name tells what stands before that. */
static const char *path_in_tree(const char *file)
{
	static const char own[] = __FILE__, in_tree[] = "monitor/base/log.c";
	size_t before = sizeof(own) - sizeof(in_tree);

	return strncmp(file, own, before) == 0 ? file + before : file;
}

static void add_stamp(
	struct line *l, const struct shape *s, enum log_level level, const char *file, int number)
{
	static const char *const words[] = {
		[LOG_ERROR] = "ERROR",
		[LOG_WARNING] = "WARN",
		[LOG_INFO] = "INFO",
		[LOG_DEBUG] = "DEBUG",
		[LOG_TRACE] = "TRACE",
	};
	/* A thread has its name before it logs, and keeps it. */
	static _Thread_local char thread[THREAD_NAME_MAX];
	struct timespec now;
	struct tm t;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!localtime_r(&now.tv_sec, &t))
		memset(&t, 0, sizeof(t));
	if (thread[0] == '\0')
		(void)prctl(PR_GET_NAME, thread);
	line_add(l, "%04d-%02d-%02dT%02d:%02d:%02d.%09ld [%s:", t.tm_year + 1900, t.tm_mon + 1,
		t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, now.tv_nsec, s->id);
	/* The first thread has the name of the program's file: anybody's choice. */
	line_add_escaped(l, thread, strlen(thread));
	if (s->shows_level)
		line_add(l, ":%s", words[level]);
	if (s->shows_origin)
		line_add(l, ":%s:%d", file, number);
	line_add(l, "] ");
}

static void add_plain(struct line *l, enum log_level level)
{
	static const char *const words[] = {
		[LOG_ERROR] = "error: ",
		[LOG_WARNING] = "warning: ",
		[LOG_INFO] = "",
		[LOG_DEBUG] = "debug: ",
		[LOG_TRACE] = "trace: ",
	};

	line_add(l, "mvm: %s", words[level]);
}

/* --- writing --- */

/* Whether a line can be written to somebody else's descriptor, which may be a blocking one, without
 * waiting: a pipe that has room at all takes LOG_LINE_MAX bytes. */
static bool has_room(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

static void line_write(struct line *l, bool may_wait)
{
	int fd = sink.fd;
	ssize_t n = -1;

	l->text[l->len++] = '\n';
	if (may_wait || !sink.may_block || has_room(fd))
		n = write(fd, l->text, l->len);
	if (n == (ssize_t)l->len)
		return;
	/* A log that cannot be written has nobody left to tell. */
	atomic_fetch_add_explicit(&sink.missed, 1, memory_order_relaxed);
	/* The next line is not to look like a part of this one, or of the one before. */
	if (n > 0 || l->text[0] == '\n')
		sink.is_torn = true;
}

void log_from_signal(const char *line, size_t len)
{
	(void)!write(sink.fd, line, len);
}

void log_line(enum log_level level, const char *file, int line, const char *fmt, ...)
{
	UNINITIALIZED char text[LOG_LINE_MAX];
	UNINITIALIZED struct line l;
	struct shape s;
	va_list args;
	int n;

	if (!log_is_on(level))
		return;
	shape_get(&s);
	file = path_in_tree(file);
	if (s.is_stamped && strncmp(file, s.module, strlen(s.module)) != 0)
		return;
	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n < 0)
		return;
	l.len = 0;
	if (atomic_load_explicit(&sink.is_torn, memory_order_relaxed) &&
		atomic_exchange(&sink.is_torn, false))
		l.text[l.len++] = '\n';
	if (s.is_stamped)
		add_stamp(&l, &s, level, file, line);
	else
		add_plain(&l, level);
	line_add_escaped(&l, text, MIN((size_t)n, sizeof(text) - 1));
	line_write(&l, !s.is_stamped);
}

/* --- the budget of lines that a guest can cause --- */

uint64_t log_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool log_budget_take(struct log_budget *b, uint64_t now_ms, uint32_t *ret_swallowed)
{
	/* Plus one, so that the zero of a fresh budget is never the current window. */
	uint64_t window = now_ms / LOG_WINDOW_MS + 1;
	uint64_t seen = atomic_load_explicit(&b->window, memory_order_relaxed);

	/* Relaxed everywhere: a line more or less in a race between two threads harms nobody. */
	if (seen != window && atomic_compare_exchange_strong_explicit(&b->window, &seen, window,
				      memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&b->used, 0, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&b->used, 1, memory_order_relaxed) >= LOG_BURST) {
		/* Back again, or a flood of 2^32 lines would wrap the count around and open the
		 * gate. */
		atomic_fetch_sub_explicit(&b->used, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&b->swallowed, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&sink.limited, 1, memory_order_relaxed);
		return false;
	}
	*ret_swallowed = atomic_exchange_explicit(&b->swallowed, 0, memory_order_relaxed);
	return true;
}
