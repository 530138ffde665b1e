/* A snapshot and its bases (chain.h). */
#include "snapshot/chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/commit.h"
#include "snapshot/state_file.h"

/* The folder of a file, without the slash. */
static int folder_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (int)(slash - path) : -1;
}

/* "folder/name", the folder being that of the file at path.  False when it does not fit. */
static bool beside(const char *path, const char *name, char ret[PATH_MAX])
{
	int len = folder_length(path);
	int n = len < 0 ? snprintf(ret, PATH_MAX, "%s", name)
			: snprintf(ret, PATH_MAX, "%.*s/%s", len, path, name);

	return n >= 0 && n < PATH_MAX;
}

static int find_state(const char *path, char ret[PATH_MAX], struct err *e)
{
	struct stat st;
	bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
	int n = snprintf(ret, PATH_MAX, is_folder ? "%s/state" : "%s", path);

	return n < PATH_MAX ? 0
			    : err_set(e, -ENAMETOOLONG, "the path '%.64s...' is too long", path);
}

/* Reads the state file at path into l; its memory is opened later. */
static int read_link(struct chain_link *l, const char *path, struct snapshot **ret, struct err *e)
{
	/* Where it is not there, that is said when it is read. */
	if (stat(path, &l->before) < 0)
		l->before = (struct stat){ 0 };
	return state_read(path, ret, e);
}

/*
 * A save to the same paths gives the state file its name first, and then the memory: as long as the
 * one is what was read, the other belongs to it.  Not all file systems keep the mark by which
 * commit_open() tells.
 */
static bool is_still_the_same(const struct chain_link *l)
{
	const struct stat *was = &l->before;
	struct stat now;

	return stat(l->state_path, &now) == 0 && now.st_dev == was->st_dev &&
	       now.st_ino == was->st_ino && now.st_size == was->st_size &&
	       now.st_mtim.tv_sec == was->st_mtim.tv_sec &&
	       now.st_mtim.tv_nsec == was->st_mtim.tv_nsec;
}

static int open_memory(struct chain_link *l, const char *memory_path, struct err *e)
{
	bool fits = memory_path ? snprintf(l->memory_path, PATH_MAX, "%s", memory_path) < PATH_MAX
				: beside(l->state_path, "memory", l->memory_path);

	if (!fits)
		return err_set(e, -ENAMETOOLONG, "the path of the memory file is too long");
	l->memory_fd = commit_open(l->memory_path, l->snapshot->id, e);
	if (l->memory_fd < 0 || is_still_the_same(l))
		return MIN(l->memory_fd, 0);
	(void)close(fd_take(&l->memory_fd));
	return err_set(e, -ESTALE, "'%s' was replaced while it was read: try again", l->state_path);
}

static const char *last_part(const char *path)
{
	return path + folder_length(path) + 1;
}

/* The folder of the base may have moved together with that of the difference. */
static bool moved_path(const struct chain_link *above, char ret[PATH_MAX])
{
	const char *base = above->snapshot->base_path;
	char name[PATH_MAX];
	int folder = folder_length(base), from = folder;

	if (folder <= 0)
		return beside(above->state_path, base, ret);
	while (from > 0 && base[from - 1] != '/')
		from--;
	if (snprintf(name, sizeof(name), "../%s", base + from) >= PATH_MAX)
		return false;
	return beside(above->state_path, name, ret);
}

/* The base where it is said to be: 0, or -errno with e filled, -ESTALE for another snapshot. */
static int read_base(
	const struct chain_link *above, const char *path, struct chain_link *ret, struct err *e)
{
	struct snapshot *s = NULL;
	int rc = read_link(ret, path, &s, e);

	if (rc == 0 && memcmp(s->id, above->snapshot->base_id, SNAPSHOT_ID_LEN) != 0)
		rc = err_set(e, -ESTALE,
			"'%s' is not the snapshot that '%s' is a difference to: it has been "
			"replaced",
			path, above->state_path);
	if (rc < 0) {
		snapshot_free(s);
		return rc;
	}
	ret->snapshot = s;
	(void)snprintf(ret->state_path, PATH_MAX, "%s", path);
	return 0;
}

/* Where it was; in a folder beside that of the difference; in the same folder. */
static int find_base(const struct chain_link *above, struct chain_link *ret, struct err *e)
{
	const char *base = above->snapshot->base_path;
	char path[PATH_MAX];
	int rc = read_base(above, base, ret, e);

	if (rc < 0 && moved_path(above, path) && read_base(above, path, ret, NULL) == 0)
		rc = 0;
	if (rc < 0 && beside(above->state_path, last_part(base), path) &&
		read_base(above, path, ret, NULL) == 0)
		rc = 0;
	if (rc < 0)
		err_prefix(e, "the base of '%s'", above->state_path);
	return rc;
}

/* A base's memory: beside its state under the name that it had, or, where the two had different
 * folders, where it was. */
static int open_base_memory(const struct chain_link *above, struct chain_link *l, struct err *e)
{
	const char *was = above->snapshot->base_memory_path;
	bool is_moved = strcmp(l->state_path, above->snapshot->base_path) != 0;
	char path[PATH_MAX];
	int rc;

	if (was[0] == '\0')
		return open_memory(l, NULL, e);
	if (!beside(l->state_path, last_part(was), path))
		return err_set(e, -ENAMETOOLONG, "the path of the memory file is too long");
	rc = open_memory(l, is_moved ? path : was, e);
	if (rc < 0 && open_memory(l, is_moved ? was : path, NULL) == 0)
		rc = 0;
	return rc;
}

static int check_base(const struct chain_link *above, const struct chain_link *base, struct err *e)
{
	if (above->snapshot->vm->mem_size == base->snapshot->vm->mem_size)
		return 0;
	return err_set(e, -EBADMSG, "'%s' and its base '%s' are of machines with different memory",
		above->state_path, base->state_path);
}

/* Links are made as they are needed: each is large, and most chains have one. */
static struct chain_link *add_link(struct chain *c)
{
	struct chain_link *l = &c->link[c->n++];

	l->snapshot = NULL;
	l->memory_fd = -1;
	l->state_path[0] = l->memory_path[0] = '\0';
	return l;
}

static int read_all(struct chain *c, const char *state_path, const char *memory_path,
	bool opens_memory, struct err *e)
{
	struct chain_link *l = add_link(c);
	int rc = find_state(state_path, l->state_path, e);

	if (rc == 0)
		rc = read_link(l, l->state_path, &l->snapshot, e);
	if (rc < 0)
		return rc;
	if (opens_memory)
		rc = open_memory(l, memory_path, e);
	while (rc == 0 && l->snapshot->kind == SNAPSHOT_DIFF) {
		if (c->n == RAM_LAYERS_MAX)
			return err_set(e, -E2BIG,
				"more than %d snapshots on top of each other: merge some (mvm "
				"snapshot --merge)",
				RAM_LAYERS_MAX);
		rc = find_base(l, add_link(c), e);
		if (rc == 0)
			rc = check_base(l, l + 1, e);
		if (rc == 0 && opens_memory)
			rc = open_base_memory(l, l + 1, e);
		l++;
	}
	return rc;
}

int chain_open(struct chain **ret, const char *state_path, const char *memory_path,
	bool opens_memory, struct err *e)
{
	struct chain *c = malloc(sizeof(*c));
	int rc;

	if (!c)
		return err_sys(e, -ENOMEM, NULL, "cannot read the snapshot");
	c->n = 0;
	rc = read_all(c, state_path, memory_path, opens_memory, e);
	if (rc < 0) {
		chain_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void chain_free(struct chain *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->n; i++) {
		snapshot_free(c->link[i].snapshot);
		fd_closep(&c->link[i].memory_fd);
	}
	free(c);
}

unsigned chain_layers(const struct chain *c, struct ram_layer ret[RAM_LAYERS_MAX])
{
	/* A difference without a page has no list of them, and is none that has every page. */
	static const struct page_run none[1];

	for (unsigned i = 0; i < c->n; i++) {
		const struct chain_link *l = &c->link[c->n - 1 - i];

		ret[i] = (struct ram_layer){ .fd = l->memory_fd, .path = l->memory_path };
		if (l->snapshot->kind == SNAPSHOT_DIFF) {
			ret[i].run = l->snapshot->nruns > 0 ? l->snapshot->run : none;
			ret[i].nruns = l->snapshot->nruns;
		}
	}
	return c->n;
}
