/*
 * A snapshot and the bases below it are found where they were, or where they moved to together; and
 * what is another snapshot, or too much, is refused by name.
 */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/err.h"
#include "snapshot/chain.h"
#include "snapshot/commit.h"
#include "snapshot/state_file.h"
#include "t_saved.h"
#include "t_state.h"

TestSuite(chain, .timeout = 2 * T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

static struct err e;
static struct chain *c;

/* --- what happens between a state file and its memory --- */

static void (*before_memory)(void);

int __real_commit_open(const char *path, const uint8_t id[SNAPSHOT_ID_LEN], struct err *err);
int __wrap_commit_open(const char *path, const uint8_t id[SNAPSHOT_ID_LEN], struct err *err);

int __wrap_commit_open(const char *path, const uint8_t id[SNAPSHOT_ID_LEN], struct err *err)
{
	if (before_memory)
		before_memory();
	return __real_commit_open(path, id, err);
}

/* A snapshot of this number; below is its base's number and where that is, 0: a full one. */
struct kind {
	unsigned number, below;
	const char *state, *memory;             /* in the test's folder */
	const char *below_state, *below_memory; /* likewise; below_memory NULL: unknown */
	uint64_t mem_size;
};

static void put(const struct kind *k)
{
	const struct t_state_shape shape = {
		.cpus = 1, .is_small = true, .runs = k->below ? 2 : 0, .seed = k->number
	};
	struct snapshot *s = t_state_new(&shape);
	static struct commit commit;
	uint8_t *data = NULL;
	size_t len = 0;
	int fd = -1;

	memset(s->id, (int)k->number, sizeof(s->id));
	if (k->mem_size)
		s->vm->mem_size = k->mem_size;
	if (k->below) {
		memset(s->base_id, (int)k->below, sizeof(s->base_id));
		(void)snprintf(
			s->base_path, sizeof(s->base_path), "%s", t_saved_path(k->below_state));
		(void)snprintf(s->base_memory_path, sizeof(s->base_memory_path), "%s",
			k->below_memory ? t_saved_path(k->below_memory) : "");
	}
	t_int(state_encode(s, &data, &len, &e), 0);
	t_int(commit_init(&commit, s->id, t_saved_path(k->state), &e), 0);
	cr_assert(
		eq(int, commit_create(&commit, t_saved_path(k->memory), &fd, &e), 0), "%s", e.text);
	t_int(write(fd, &k->number, 1), 1);
	cr_assert(eq(int, commit_do(&commit, data, len, &e), 0), "%s", e.text);
	commit_fini(&commit);
	free(data);
	snapshot_free(s);
}

static int open_chain(const char *state, const char *memory)
{
	c = NULL;
	e.text[0] = '\0';
	return chain_open(&c, t_saved_path(state), memory ? t_saved_path(memory) : NULL, true, &e);
}

/* The number that its memory file has. */
static unsigned memory_of(unsigned link)
{
	uint8_t number = 0;

	t_int(pread(c->link[link].memory_fd, &number, 1, 0), 1);
	return number;
}

static void folder(const char *name)
{
	t_int(mkdir(t_saved_path(name), 0700), 0);
}

static void moved(const char *from, const char *to)
{
	t_int(rename(t_saved_path(from), t_saved_path(to)), 0);
}

/* 3 on 2 on 1, each in a folder of its own. */
static void put_three(void)
{
	folder("set");
	folder("set/a");
	folder("set/b");
	folder("set/c");
	put(&(struct kind){ 1, 0, "set/a/state", "set/a/memory" });
	put(&(struct kind){ 2, 1, "set/b/state", "set/b/memory", "set/a/state", "set/a/memory" });
	put(&(struct kind){ 3, 2, "set/c/state", "set/c/memory", "set/b/state", "set/b/memory" });
}

static void expect_three(void)
{
	struct ram_layer layer[RAM_LAYERS_MAX];

	cr_assert(ne(ptr, c, NULL), "%s", e.text);
	t_uint(c->n, 3);
	for (unsigned i = 0; i < 3; i++) {
		t_uint(c->link[i].snapshot->id[0], 3 - i);
		t_uint(memory_of(i), 3 - i);
	}
	t_uint(chain_layers(c, layer), 3);
	t_true(layer[0].run == NULL);
	t_int(layer[0].fd, c->link[2].memory_fd);
	t_str(layer[0].path, c->link[2].memory_path);
	t_uint(layer[1].nruns, 2);
	t_true(layer[2].run == c->link[0].snapshot->run);
	chain_free(c);
}

Test(chain, a_full_snapshot_is_its_own_chain)
{
	unsigned fds = t_count_fds();
	struct ram_layer layer[RAM_LAYERS_MAX];

	put(&(struct kind){ 1, 0, "state", "memory" });
	t_int(open_chain("state", NULL), 0);
	t_uint(c->n, 1);
	t_str(c->link[0].memory_path, t_saved_path("memory"));
	t_uint(chain_layers(c, layer), 1);
	t_true(layer[0].run == NULL);
	chain_free(c);
	/* The folder means the same. */
	t_int(open_chain("", NULL), 0);
	t_uint(memory_of(0), 1);
	chain_free(c);
	chain_free(NULL);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(chain, without_memory_nothing_is_opened_and_no_path_is_left_to_chance)
{
	unsigned fds = t_count_fds();

	put_three();
	t_int(chain_open(&c, t_saved_path("set/c"), NULL, false, &e), 0);
	t_uint(c->n, 3);
	for (unsigned i = 0; i < 3; i++) {
		t_int(c->link[i].memory_fd, -1);
		t_str(c->link[i].memory_path, "");
	}
	t_uint(t_count_fds(), fds);
	chain_free(c);
}

Test(chain, bases_are_found_where_they_were)
{
	put_three();
	t_int(open_chain("set/c/state", NULL), 0);
	expect_three();
	/* Only the difference was moved. */
	folder("far");
	moved("set/c", "far/away");
	t_int(open_chain("far/away", NULL), 0);
	expect_three();
	T_NO_LEAKS();
}

Test(chain, bases_are_found_where_they_moved_together)
{
	put_three();
	moved("set", "moved");
	t_int(open_chain("moved/c", NULL), 0);
	expect_three();
	t_int(chdir(t_saved_path("moved/c")), 0);
	t_int(chain_open(&c, "state", NULL, true, &e), 0);
	expect_three();
	t_int(chain_open(&c, ".", "memory", true, &e), 0);
	expect_three();
	t_int(chdir("/"), 0);
}

/* As other monitors' clients name them. */
Test(chain, names_may_be_any_and_all_may_be_in_one_folder)
{
	folder("flat");
	put(&(struct kind){ 1, 0, "flat/one.s", "flat/one.m" });
	put(&(struct kind){ 2, 1, "flat/two.s", "flat/two.m", "flat/one.s", "flat/one.m" });
	put(&(struct kind){ 3, 2, "flat/three.s", "flat/three.m", "flat/two.s", "flat/two.m" });
	t_int(open_chain("flat/three.s", "flat/three.m"), 0);
	expect_three();
	moved("flat", "other");
	t_int(open_chain("other/three.s", "other/three.m"), 0);
	expect_three();
	/* The memory elsewhere than the state. */
	folder("memories");
	put(&(struct kind){ 1, 0, "other/one.s", "memories/m" });
	put(&(struct kind){ 2, 1, "other/two.s", "other/two.m", "other/one.s", "memories/m" });
	t_int(open_chain("other/two.s", "other/two.m"), 0);
	t_uint(c->n, 2);
	t_uint(memory_of(1), 1);
	chain_free(c);
}

Test(chain, a_difference_without_pages_has_a_list_of_none)
{
	struct ram_layer layer[RAM_LAYERS_MAX];

	put(&(struct kind){ 1, 0, "state", "memory" });
	put(&(struct kind){ 2, 1, "s", "m", "state", NULL });
	t_int(open_chain("s", "m"), 0);
	free(c->link[0].snapshot->run);
	c->link[0].snapshot->run = NULL;
	c->link[0].snapshot->nruns = 0;
	t_uint(chain_layers(c, layer), 2);
	t_true(layer[1].run != NULL);
	t_uint(layer[1].nruns, 0);
	chain_free(c);
}

/* --- refusals --- */

static void expect_refused(const char *state, const char *memory, int rc, const char *text)
{
	unsigned fds = t_count_fds();

	t_int(open_chain(state, memory), rc);
	t_has(e.text, text);
	t_true(c == NULL);
	t_uint(t_count_fds(), fds);
}

Test(chain, what_is_not_there_is_named)
{
	put_three();
	expect_refused("none", NULL, -ENOENT, "none");
	expect_refused("set", NULL, -ENOENT, "set/state");
	expect_refused("set/c/state", "set/nothing", -ENOENT, "set/nothing");
	expect_refused("set/c/memory", NULL, -EBADMSG, "set/c/memory");
	t_int(unlink(t_saved_path("set/b/memory")), 0);
	expect_refused("set/c", NULL, -ENOENT, "set/b/memory");
	t_int(unlink(t_saved_path("set/b/state")), 0);
	expect_refused("set/c", NULL, -ENOENT, "the base of '");
	t_has(e.text, "set/b/state");
	T_NO_LEAKS();
}

Test(chain, a_base_that_was_replaced_is_refused)
{
	put_three();
	put(&(struct kind){ 9, 0, "set/a/state", "set/a/memory" });
	expect_refused("set/b", NULL, -ESTALE, "it has been replaced");
	t_has(e.text, "set/a/state' is not the snapshot that '");
	expect_refused("set/c", NULL, -ESTALE, "it has been replaced");
	/* One of that name elsewhere counts only if it is the right one. */
	moved("set/b", "set/b2");
	folder("set/b");
	put(&(struct kind){ 8, 0, "set/b/state", "set/b/memory" });
	expect_refused("set/c", NULL, -ESTALE, "it has been replaced");
	T_NO_LEAKS();
}

Test(chain, snapshots_of_different_machines_do_not_fit)
{
	put(&(struct kind){ 1, 0, "state", "memory", .mem_size = 64ULL << 20 });
	put(&(struct kind){ 2, 1, "s", "m", "state", "memory" });
	expect_refused("s", "m", -EBADMSG, "of machines with different memory");
}

Test(chain, memory_of_another_snapshot_is_refused)
{
	put(&(struct kind){ 1, 0, "s1", "m1" });
	put(&(struct kind){ 2, 0, "s2", "m2" });
	t_int(open_chain("s1", "m1"), 0);
	chain_free(c);
	t_int(open_chain("s1", "m2"), -ESTALE);
	t_has(e.text, "belongs to another snapshot");
}

/* Each other's base, or simply too many. */
/* By a file system that does not tell whose a file is. */
static void replace(void)
{
	put(&(struct kind){ 2, 0, "state", "memory" });
	(void)removexattr(t_saved_path("memory"), "user.mvm.snapshot");
}

Test(chain, that_is_replaced_between_its_state_and_its_memory_is_refused)
{
	put(&(struct kind){ 1, 0, "state", "memory" });
	before_memory = replace;
	expect_refused("state", NULL, -ESTALE, "was replaced while it was read");
	before_memory = NULL;
	t_int(open_chain("state", NULL), 0);
	t_uint(memory_of(0), 2);
	chain_free(c);
	T_NO_LEAKS();
}

Test(chain, as_many_as_a_load_takes_and_no_more)
{
	char name[2][2][16];
	struct kind k = { .number = 1 };

	for (unsigned i = 0; i <= RAM_LAYERS_MAX; i++) {
		char *state = name[i % 2][0], *memory = name[i % 2][1];

		(void)snprintf(state, 16, "s%u", i);
		(void)snprintf(memory, 16, "m%u", i);
		k.number = 1 + i;
		k.state = state;
		k.memory = memory;
		put(&k);
		k.below = k.number;
		k.below_state = state;
		k.below_memory = memory;
	}
	t_int(open_chain("s63", "m63"), 0);
	t_uint(c->n, RAM_LAYERS_MAX);
	chain_free(c);
	expect_refused("s64", "m64", -E2BIG, "merge some");
	put(&(struct kind){ 1, 2, "s0", "m0", "s1", "m1" });
	expect_refused("s1", "m1", -E2BIG, "merge some");
	T_NO_LEAKS();
}

Test(chain, paths_that_are_too_long_are_refused)
{
	char path[PATH_MAX + 10];

	memset(path, '/', sizeof(path));
	path[PATH_MAX + 1] = '\0';
	t_int(chain_open(&c, path, NULL, true, &e), -ENAMETOOLONG);
	put(&(struct kind){ 1, 0, "state", "memory" });
	t_int(chain_open(&c, t_saved_path("state"), path, true, &e), -ENAMETOOLONG);
	t_has(e.text, "the path of the memory file is too long");
	T_NO_LEAKS();
}
