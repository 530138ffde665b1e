/* Between the parts of save.h: save.c (a machine that stands still), save_live.c (one that runs on)
 * and save_pages.c (which pages). */
#ifndef MVM_SNAPSHOT_SAVE_PRIVATE_H
#define MVM_SNAPSHOT_SAVE_PRIVATE_H

#include "base/err.h"
#include "core/job.h"
#include "snapshot/commit.h"
#include "snapshot/ram_save.h"
#include "snapshot/save.h"

struct ram_protect;

struct save_base {
	bool is_known;
	uint8_t id[SNAPSHOT_ID_LEN];
	char state_path[PATH_MAX], memory_path[PATH_MAX];
};

struct save_disk {
	const char *id; /* the machine's */
	int from;       /* borrowed from the device's disk */
	int to;         /* the transaction's; -1: not captured */
	bool is_read_only;
};

/* A save under way.  The loop's thread and the job's take turns; progress belongs to both. */
struct save_work {
	struct saver *saver;
	struct job job;
	struct ram_progress progress;
	const struct guest_mem *mem;
	uint64_t pages;
	enum snapshot_kind kind;      /* as asked for */
	const struct save_base *base; /* of a difference */
	char *state_path, *memory_path, *disks_dir;
	struct snapshot *snapshot;
	struct commit commit;
	int memory_fd;  /* the transaction's */
	uint64_t *bits; /* the pages that the memory file has */
	unsigned ndisks;
	struct save_disk disk[CONFIG_DEVICES_MAX];
	bool is_over; /* the instance has been told that the change ended */
	int rc;
	struct err e;
	uint64_t began_us;
	struct save_result result;
	saver_done_fn *done;
	void *ctx;
	/* live only */
	struct ram_protect *protect; /* NULL: the log's way */
	uint64_t *round;             /* pages to be copied again */
	unsigned rounds;
	uint64_t stopped_us; /* when the guest was stopped */
};

struct saver {
	struct instance *in;
	struct save_base origin; /* the snapshot that this machine came from, and its memory is
				    mapped from */
	struct save_base last;   /* the last one that was loaded or saved */
	uint64_t *dirty;         /* tracked machines: pages written to since last */
	struct save_work *work;  /* NULL: none is under way */
};

uint64_t save_now_us(void);
uint64_t save_words(const struct saver *s);
bool save_is_tracked(const struct saver *s);

MUST_CHECK int save_take_dirty(
	struct saver *s, uint64_t *bits, bool are_devices_at_rest, struct err *e);
/* In this order: whether it is a difference; whether a load would find what is below it, or it is a
 * full one after all; its pages. */
void save_choose_base(struct saver *s);
void save_check_base(struct save_work *w);
MUST_CHECK int save_choose(struct saver *s, struct err *e);
MUST_CHECK int save_collect(struct saver *s, struct err *e);
MUST_CHECK int save_start_job(
	struct saver *s, void (*work)(struct job *), void (*done)(struct job *), struct err *e);

/* On the job's thread. */
MUST_CHECK int save_first_copy(struct save_work *w);
MUST_CHECK int save_create_files(struct save_work *w, struct err *e);
MUST_CHECK int save_copy_disks(struct save_work *w, struct err *e);
MUST_CHECK int save_commit(struct save_work *w, struct err *e);

/* Ends the save: the work is freed and its owner told.  e may be NULL when rc is 0. */
void save_finish(struct saver *s, int rc, const struct err *e);

/* For a machine that runs: begins, and save_finish() follows. */
MUST_CHECK int save_begin_live(struct saver *s, struct err *e);

#endif
