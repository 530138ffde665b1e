/* Locks on disk images and who holds them (disk_lock.h). */
#include "virtio/disk_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/parse.h"

enum {
	PATH_LEN = 64,
	FDINFO_LEN = 4096,
	COMM_LEN = 32,
	/* A host has a few thousand descriptors that we may look at; the search ends here, because
	 * it may run while a guest waits. */
	LOOKS_MAX = 20000,
};

int disk_lock(int fd, bool is_exclusive)
{
	struct flock all = { .l_type = is_exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &all) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

/* --- who --- */

struct search {
	struct stat file;
	unsigned looks;
	uint64_t pid; /* 0: not found */
};

/* The next entry of a directory of /proc that is a number; others are passed over. */
static bool next_number(DIR *dir, uint64_t *ret)
{
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		if (parse_u64(entry->d_name, 0, INT32_MAX, ret) == 0)
			return true;
	}
	return false;
}

/*
 * True for a descriptor of the file that holds a lock.  Its fdinfo lists the locks of its open
 * (proc(5)); the file is compared by what stat says of it, because the numbers in that list are not
 * those of stat on every file system.
 */
static bool holds_lock(const struct search *s, uint64_t pid, uint64_t fd)
{
	char path[PATH_LEN], text[FDINFO_LEN];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%llu/fdinfo/%llu", (unsigned long long)pid,
		(unsigned long long)fd);
	if (io_read_text(path, text, sizeof(text)) < 0 || !strstr(text, "\nlock:"))
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%llu/fd/%llu", (unsigned long long)pid,
		(unsigned long long)fd);
	return stat(path, &st) == 0 && st.st_dev == s->file.st_dev && st.st_ino == s->file.st_ino;
}

static void search_process(struct search *s, uint64_t pid)
{
	char path[PATH_LEN];
	uint64_t fd;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%llu/fdinfo", (unsigned long long)pid);
	dir = opendir(path);
	if (!dir)
		return;
	while (s->pid == 0 && s->looks < LOOKS_MAX && next_number(dir, &fd)) {
		s->looks++;
		if (holds_lock(s, pid, fd))
			s->pid = pid;
	}
	(void)closedir(dir);
}

/* The name that a process gave itself, fit for a message: it may have put anything there. */
static void read_comm(uint64_t pid, char *buf, size_t len)
{
	char path[PATH_LEN];

	(void)snprintf(path, sizeof(path), "/proc/%llu/comm", (unsigned long long)pid);
	if (io_read_text(path, buf, len) < 0)
		(void)snprintf(buf, len, "?");
	buf[strcspn(buf, "\n")] = '\0';
	for (char *c = buf; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
}

void disk_lock_holder(int fd, char *buf, size_t len)
{
	struct search s = { 0 };
	char comm[COMM_LEN];
	uint64_t pid;
	DIR *proc;

	(void)snprintf(buf, len, "another process");
	if (fstat(fd, &s.file) < 0)
		return;
	proc = opendir("/proc");
	if (!proc)
		return;
	while (s.pid == 0 && s.looks < LOOKS_MAX && next_number(proc, &pid))
		search_process(&s, pid);
	(void)closedir(proc);
	if (s.pid == 0)
		return;
	if (s.pid == (uint64_t)getpid()) {
		(void)snprintf(buf, len, "another disk of this process");
		return;
	}
	read_comm(s.pid, comm, sizeof(comm));
	(void)snprintf(buf, len, "process %llu (%s)", (unsigned long long)s.pid, comm);
}
