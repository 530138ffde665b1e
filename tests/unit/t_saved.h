/*
 * A machine on the KVM of t_kvm.h that is saved and loaded: its instance, its saver and loader, and
 * files in a folder of their own.
 *
 * What its guest writes is written by the test (t_saved_write()), and told by KVM's log.
 */
#ifndef MVM_TESTS_T_SAVED_H
#define MVM_TESTS_T_SAVED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "instance.h"
#include "snapshot/load.h"
#include "snapshot/save.h"
#include "snapshot/snapshot.h"

#define T_SAVED_MIB 16

enum { T_SAVED_PAGES = T_SAVED_MIB * 256 };

struct t_saved {
	struct loop *l;
	struct instance *in;
	struct saver *s;
	struct loader *loader;
	unsigned ended;
	/* the last change of the machine */
	unsigned paused;
	/* the last save */
	unsigned done;
	int rc;
	struct save_result result;
	struct err e;
	/* private */
	struct loop_op timer;
	bool expired;
};

/* Once for each test: a kernel, and a folder, which is removed with all in it at the end. */
void t_saved_setup(void);
void t_saved_teardown(void);

/* Names in that folder; eight may be in use at a time. */
const char *t_saved_path(const char *name);
unsigned t_saved_files(void);
/* A file of so many bytes of value there. */
const char *t_saved_file(const char *name, size_t len, int value);

/* One that has not been started; l is its loop, freed by the owner after t_saved_end(). */
void t_saved_make(struct t_saved *t, struct loop *l);
void t_saved_put(struct t_saved *t, bool tracked);
void t_saved_put_disk(struct t_saved *t, const char *id, const char *path, bool read_only);
void t_saved_start(struct t_saved *t);
/* As whoever owns a machine does it. */
void t_saved_end(struct t_saved *t);

/* Lets the loop work: for about so long, or until something holds. */
void t_saved_run(struct t_saved *t, unsigned us);
#define T_SAVED_UNTIL(t, cond)                                                                     \
	do {                                                                                       \
		while (!(cond))                                                                    \
			t_saved_run((t), 500);                                                     \
	} while (0)

void t_saved_pause(struct t_saved *t);
void t_saved_resume(struct t_saved *t);

/* A vCPU writes a page, filled with value. */
void t_saved_write(struct t_saved *t, uint64_t page, int value);

/* To the files name and "name.memory"; begin: what saver_begin() says, with its words in t->e. */
int t_saved_begin(struct t_saved *t, const char *name, enum snapshot_kind kind, bool is_live,
	const char *disks_dir);
/* And waits until it is done: its result. */
int t_saved_save(struct t_saved *t, const char *name, enum snapshot_kind kind);

/* Fails the test unless a load of that snapshot would give the machine's memory as it is now. */
void t_saved_expect(const struct t_saved *t, const char *name);
/* Its state; freed by the caller. */
struct snapshot *t_saved_state(const char *name);

/* loader_load() of it, with what o says beside the paths (NULL: nothing); words in t->e. */
int t_saved_load(struct t_saved *t, const char *name, const struct load_options *o);

#endif
