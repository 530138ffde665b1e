/* Which pages a save writes, and what a difference is one to (save.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshot/chain.h"
#include "snapshot/save_private.h"

bool save_is_tracked(const struct saver *s)
{
	return s->in->vm->cfg.track_dirty;
}

/*
 * What vCPUs have written to since the last time, and devices if they are at rest, added to bits
 * and, where differences are kept, to theirs: those a failed save does not lose.  Devices mark a
 * page when a transfer to it begins: a mark that is taken before its end is missing afterwards.
 */
int save_take_dirty(struct saver *s, uint64_t *bits, bool are_devices_at_rest, struct err *e)
{
	struct vm *vm = s->in->vm;
	uint64_t words = save_words(s);
	uint64_t *fresh CLEANUP(freep) = calloc(words, sizeof(*fresh));
	int rc;

	if (!fresh)
		return err_sys(e, -ENOMEM, NULL, "cannot read the log of dirty pages");
	rc = kvm_take_dirty(&vm->group.kvm, &vm->mem, fresh, e);
	if (are_devices_at_rest)
		mem_take_dirty(&vm->mem, fresh);
	for (uint64_t i = 0; i < words; i++) {
		if (bits)
			bits[i] |= fresh[i];
		if (s->dirty)
			s->dirty[i] |= fresh[i];
	}
	return rc;
}

static void set_bits(uint64_t *bits, uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		bits[page / 64] |= UINT64_C(1) << (page % 64);
}

/* All pages that may be other than zero. */
static int find_used(struct saver *s, uint64_t *bits, struct err *e)
{
	const struct guest_mem *m = &s->in->vm->mem;

	/* A file lies under all of it, or under more places than are known. */
	if (s->origin.is_known || m->nmapped > MEM_MAPPED_MAX) {
		set_bits(bits, 0, mem_pages(m));
		return 0;
	}
	for (unsigned i = 0; i < m->nmapped; i++)
		set_bits(bits, m->mapped[i].off / MEM_PAGE_SIZE,
			align_up(m->mapped[i].len, MEM_PAGE_SIZE) / MEM_PAGE_SIZE);
	return ram_find_touched(m, false, bits, e);
}

static void use_base(struct save_work *w, const struct save_base *b)
{
	w->base = b;
	w->snapshot->kind = SNAPSHOT_DIFF;
	memcpy(w->snapshot->base_id, b->id, sizeof(w->snapshot->base_id));
	memcpy(w->snapshot->base_path, b->state_path, sizeof(w->snapshot->base_path));
	memcpy(w->snapshot->base_memory_path, b->memory_path,
		sizeof(w->snapshot->base_memory_path));
}

/*
 * What the memory file is to have.  A difference is one to the last snapshot where writes are
 * tracked; without that, to the one that memory is mapped from; and where there is neither, all
 * that was touched, which is a full one.
 */
void save_choose_base(struct saver *s)
{
	const struct save_base *b = save_is_tracked(s) ? &s->last : &s->origin;

	s->work->snapshot->kind = SNAPSHOT_FULL;
	if (s->work->kind == SNAPSHOT_DIFF && b->is_known)
		use_base(s->work, b);
}

/* Into w->bits; the machine stands still. */
int save_choose(struct saver *s, struct err *e)
{
	struct save_work *w = s->work;

	if (w->snapshot->kind == SNAPSHOT_FULL)
		return find_used(s, w->bits, e);
	if (!save_is_tracked(s))
		return ram_find_touched(&s->in->vm->mem, true, w->bits, e);
	memcpy(w->bits, s->dirty, save_words(s) * sizeof(*w->bits));
	return 0;
}

/* --- is the base still there --- */

static void chain_freep(struct chain **c)
{
	chain_free(*c);
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A difference that takes the place of a file below it would leave nobody with the rest. */
static bool is_replaced(const struct save_work *w, const struct chain_link *l)
{
	const char *const mine[] = { w->state_path, w->memory_path };

	for (unsigned i = 0; i < ARRAY_SIZE(mine); i++) {
		if (is_same_file(mine[i], l->state_path) || is_same_file(mine[i], l->memory_path))
			return true;
	}
	return false;
}

/* 0 where whoever loads the difference will find all that is below it; or -errno with e filled. */
static int check_chain(const struct save_work *w, struct err *e)
{
	struct chain *chain CLEANUP(chain_freep) = NULL;
	const struct save_base *b = w->base;
	/* Where a handler brought the memory its file is not known: it has to be where a load
	 * looks. */
	const char *memory = b->memory_path[0] ? b->memory_path : NULL;
	int rc = chain_open(&chain, b->state_path, memory, true, e);

	if (rc < 0)
		return rc;
	if (memcmp(chain->link[0].snapshot->id, b->id, sizeof(b->id)) != 0)
		return err_set(e, -ESTALE, "'%s' is another snapshot now", b->state_path);
	if (chain->n == RAM_LAYERS_MAX)
		return err_set(e, -E2BIG, "%u snapshots are on top of each other", chain->n);
	for (unsigned i = 0; i < chain->n; i++) {
		if (is_replaced(w, &chain->link[i]))
			return err_set(e, -EEXIST, "it takes the place of '%s'",
				chain->link[i].state_path);
	}
	return 0;
}

/* On the job's thread, because files are read. */
void save_check_base(struct save_work *w)
{
	struct err why = { 0 };

	if (w->snapshot->kind != SNAPSHOT_DIFF || check_chain(w, &why) == 0)
		return;
	log_warning("the snapshot is a full one, because a difference could not be loaded: %s",
		why.text);
	w->snapshot->kind = SNAPSHOT_FULL;
	memset(w->snapshot->base_id, 0, sizeof(w->snapshot->base_id));
	w->snapshot->base_path[0] = w->snapshot->base_memory_path[0] = '\0';
}

/* A page of a difference that is zero now was not, perhaps: it is written, so that programs that
 * put the data of one file over another, as clients of the API have, do it right. */
int save_first_copy(struct save_work *w)
{
	if (w->snapshot->kind == SNAPSHOT_FULL)
		return ram_save(w->mem, w->bits, w->memory_fd, &w->progress, &w->e);
	if (ftruncate(w->memory_fd, (off_t)(w->pages * MEM_PAGE_SIZE)) < 0)
		return err_sys(&w->e, -errno, NULL, "cannot set the size of '%s'", w->memory_path);
	return ram_save_again(w->mem, w->bits, w->memory_fd, &w->progress, &w->e);
}
