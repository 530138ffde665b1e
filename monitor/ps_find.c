/* Finds machines by their sockets (ps_find.h). */
#include "ps_find.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/parse.h"
#include "ps_parse.h"

enum {
	SOCKETS_MAX = 1 << 20, /* of one network namespace */
	NAMESPACES_MAX = 16384,
	DESCRIPTORS_MAX = 65536, /* of one process that are looked at */
	TEXT_MAX = 8192,
};

struct listener {
	uint64_t inode;
	char *path;
};

/* The listening sockets of a network namespace, which has a table of its own. */
struct table {
	uint64_t netns;
	struct listener *listener;
	unsigned n, size;
};

struct search {
	const char *proc;
	struct table *table;
	unsigned ntables;
	struct ps_list *found;
};

static void closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static void fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

/* Room for one element more in an array that has size elements of each bytes. */
static int grow(void *array, unsigned *size, unsigned n, size_t each, unsigned max)
{
	void **at = array;
	unsigned larger = *size ? *size * 2 : 64;
	void *p;

	if (n < *size)
		return 0;
	if (n >= max)
		return -E2BIG;
	p = reallocarray(*at, larger, each);
	if (!p)
		return -ENOMEM;
	*at = p;
	*size = larger;
	return 0;
}

/* --- sockets of a namespace --- */

static int by_inode(const void *a, const void *b)
{
	const struct listener *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

/* A table that cannot be read, or not to its end, is one with fewer sockets. */
static void read_table(int pid_dir, struct table *t)
{
	CLEANUP(freep) char *line = NULL;
	CLEANUP(fclosep) FILE *in = NULL;
	size_t size = 0;
	ssize_t len;
	int fd = openat(pid_dir, "net/unix", O_RDONLY | O_CLOEXEC);

	in = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!in && fd >= 0)
		(void)close(fd);
	while (in && (len = getline(&line, &size, in)) > 0) {
		struct listener l;
		const char *path;

		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		if (!ps_parse_unix(line, &l.inode, &path))
			continue;
		if (grow(&t->listener, &t->size, t->n, sizeof(l), SOCKETS_MAX) < 0)
			break;
		l.path = strdup(path);
		if (!l.path)
			break;
		t->listener[t->n++] = l;
	}
	if (t->n > 0)
		qsort(t->listener, t->n, sizeof(t->listener[0]), by_inode);
}

static const struct table *table_of(struct search *s, int pid_dir)
{
	struct stat st = { 0 };
	struct table *larger;

	/* Without the right to look, take it for ours. */
	if (fstatat(pid_dir, "ns/net", &st, 0) < 0)
		st.st_ino = 0;
	for (unsigned i = 0; i < s->ntables; i++) {
		if (s->table[i].netns == st.st_ino)
			return &s->table[i];
	}
	if (s->ntables == NAMESPACES_MAX)
		return NULL;
	larger = reallocarray(s->table, s->ntables + 1, sizeof(*larger));
	if (!larger)
		return NULL;
	s->table = larger;
	s->table[s->ntables] = (struct table){ .netns = st.st_ino };
	read_table(pid_dir, &s->table[s->ntables]);
	return &s->table[s->ntables++];
}

static void free_tables(struct search *s)
{
	for (unsigned i = 0; i < s->ntables; i++) {
		for (unsigned k = 0; k < s->table[i].n; k++)
			free(s->table[i].listener[k].path);
		free(s->table[i].listener);
	}
	free(s->table);
}

/* --- one process --- */

static bool is_our_name(const char *name)
{
	return strcmp(name, "mvm") == 0 || strcmp(name, "firecracker") == 0;
}

/* The number of bytes, with a NUL behind them, or -errno. */
static int read_at(int dir, const char *name, char *buf, size_t size)
{
	CLEANUP(fd_closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : -1;

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return (int)n;
}

static bool is_machine(int pid_dir)
{
	char text[PATH_MAX];
	const char *slash;
	ssize_t n;

	if (read_at(pid_dir, "comm", text, sizeof(text)) >= 0) {
		text[strcspn(text, "\n")] = '\0';
		if (is_our_name(text))
			return true;
	}
	n = readlinkat(pid_dir, "exe", text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* As the kernel says it of a program that was replaced meanwhile. */
	if (n > 10 && strcmp(text + n - 10, " (deleted)") == 0)
		text[n - 10] = '\0';
	slash = strrchr(text, '/');
	return is_our_name(slash ? slash + 1 : text);
}

/* The path of the listening socket among the descriptors, NULL when there is none. */
static const char *socket_of(struct search *s, int pid_dir)
{
	CLEANUP(closedirp) DIR *dir = NULL;
	const struct table *t = NULL;
	const struct dirent *entry;
	unsigned looked_at = 0;
	int fd = openat(pid_dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir && fd >= 0)
		(void)close(fd);
	while (dir && looked_at++ < DESCRIPTORS_MAX && (entry = readdir(dir))) {
		struct listener key = { 0 };
		const struct listener *found;
		char link[64];
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (!ps_parse_fd(link, &key.inode))
			continue;
		if (!t)
			t = table_of(s, pid_dir);
		if (!t || t->n == 0)
			return NULL;
		found = bsearch(&key, t->listener, t->n, sizeof(key), by_inode);
		if (found)
			return found->path;
	}
	return NULL;
}

/* A path that was too long for an address was bound by way of a descriptor that is closed by now;
 * the command line has it. */
static const char *full_path(int pid_dir, const char *path, char buf[TEXT_MAX])
{
	static const char by_fd[] = "/proc/self/fd/";
	const char *given = NULL;
	int n;

	if (strncmp(path, by_fd, sizeof(by_fd) - 1) != 0)
		return path;
	n = read_at(pid_dir, "cmdline", buf, TEXT_MAX);
	if (n > 0)
		given = ps_parse_cmdline(buf, (size_t)n);
	return given && given[0] ? given : path;
}

static int add(struct search *s, unsigned *size, const struct ps_found *m)
{
	struct ps_list *list = s->found;
	int rc = grow(&list->machine, size, list->n, sizeof(*m), PS_MACHINES_MAX);

	if (rc == 0)
		list->machine[list->n++] = *m;
	return rc;
}

/* 0, also when it is no machine; -ENOMEM. */
static int look_into(struct search *s, int proc_dir, const char *pid, bool all, unsigned *size)
{
	CLEANUP(fd_closep) int dir = -1;
	struct ps_found m = { 0 };
	char text[TEXT_MAX], words[TEXT_MAX];
	const char *path;
	struct stat st;
	uint64_t number;

	if (parse_u64(pid, 1, INT32_MAX, &number) < 0)
		return 0;
	dir = openat(proc_dir, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0 || (!all && st.st_uid != geteuid()) || !is_machine(dir))
		return 0;
	path = socket_of(s, dir);
	if (!path)
		return 0;
	path = full_path(dir, path, words);
	m.pid = (pid_t)number;
	m.uid = st.st_uid;
	if (read_at(dir, "stat", text, sizeof(text)) < 0 || !ps_parse_stat(text, &m.start_ticks))
		m.start_ticks = 0;
	m.socket = strdup(path);
	if (asprintf(&m.reach, "%s/%s/%s/%s", s->proc, pid, path[0] == '/' ? "root" : "cwd", path) <
		0)
		m.reach = NULL;
	if (!m.socket || !m.reach || add(s, size, &m) < 0) {
		free(m.socket);
		free(m.reach);
		return -ENOMEM;
	}
	return 0;
}

/* --- all of them --- */

static int by_pid(const void *a, const void *b)
{
	const struct ps_found *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

int ps_find(const char *proc, bool all, struct ps_list *ret, struct err *e)
{
	CLEANUP(closedirp) DIR *dir = opendir(proc);
	struct ps_list list = { 0 };
	struct search s = { .proc = proc, .found = &list };
	const struct dirent *entry;
	unsigned size = 0;
	int rc = 0;

	if (!dir)
		return err_sys(e, -errno, NULL, "cannot read '%s'", proc);
	while (rc == 0 && (entry = readdir(dir)))
		rc = look_into(&s, dirfd(dir), entry->d_name, all, &size);
	free_tables(&s);
	if (rc < 0) {
		ps_list_fini(&list);
		return err_sys(e, rc, NULL, "cannot list machines");
	}
	if (list.n > 0)
		qsort(list.machine, list.n, sizeof(list.machine[0]), by_pid);
	*ret = list;
	return 0;
}

void ps_list_fini(struct ps_list *list)
{
	for (unsigned i = 0; i < list->n; i++) {
		free(list->machine[i].socket);
		free(list->machine[i].reach);
	}
	free(list->machine);
	*list = (struct ps_list){ 0 };
}
