/*
 * Loading a machine: everything is checked before anything is built.
 *
 *     state file, chain of bases --> host, memory files, disks, taps --> instance described -->
 * machine built, paused or already going on
 *
 * A failure before the last step leaves an instance that was not started and holds nothing of it.
 *
 * The loop's thread, for an instance that was not started and not described.
 */
#ifndef MVM_SNAPSHOT_LOAD_H
#define MVM_SNAPSHOT_LOAD_H

#include "instance.h"
#include "snapshot/save.h"
#include "snapshot/snapshot.h"

enum load_backend { LOAD_BACKEND_FILE, LOAD_BACKEND_UFFD };

/* Which pages back the memory: those the snapshot had, or others. */
enum load_pages { LOAD_PAGES_SNAPSHOT, LOAD_PAGES_HOST, LOAD_PAGES_THP, LOAD_PAGES_2M };

struct load_drive {
	const char *id, *path;
};

struct load_nic {
	const char *id;
	const char *tap; /* NULL: as saved */
	bool has_tap_fd;
	int tap_fd; /* instead of a name; taken over by a load that succeeds */
	bool has_mac;
	uint8_t mac[NET_MAC_LEN];
};

struct load_options {
	const char *state_path;  /* a state file, or a folder that has one named "state" */
	const char *memory_path; /* NULL: "memory" beside the state file */
	enum load_backend backend;
	const char *uffd_path; /* the handler's socket */
	enum load_pages pages;
	bool track_dirty;
	bool goes_on;         /* at once, rather than being paused when it is there */
	bool holds_clock;     /* --clock=frozen */
	bool accepts_any_cpu; /* a CPU that lacks what the guest was told it has: a warning, not an
				 error */
	unsigned ndrives, nnics, naccepted;
	struct load_drive drive[CONFIG_DEVICES_MAX];
	struct load_nic nic[CONFIG_DEVICES_MAX];
	const char *accepted[CONFIG_DEVICES_MAX]; /* disks that may have changed */
	uint64_t record_ms;     /* after so long the working set is written; 0: not */
	bool skips_working_set; /* one that is there is not used */
};

struct loader;

/*
 * The same in two steps, for who has other things to do while the vCPUs' threads set themselves up:
 * everything is checked and opened, and the machine is being made, without a loop yet; then it is
 * there.  o is borrowed until the second has returned. A second step that fails leaves l to
 * loader_free(), and then the instance to instance_forget().
 */
MUST_CHECK int loader_build(struct instance *in, const struct load_options *o, struct saver *s,
	struct loader **ret, struct err *e);
MUST_CHECK int loader_start(struct loader *l, struct err *e);

/*
 * 0: the instance is paused, or runs, with the machine in it, and *ret has what must live as long
 * as the machine (mapped files, the handler, the working set); or -errno with e naming section and
 * cause. s, which may be NULL and outlives the machine's activity, is told what the machine came
 * from. -EPERM, with nothing changed, for an instance that was started or described.
 */
MUST_CHECK int loader_load(struct instance *in, const struct load_options *o, struct saver *s,
	struct loader **ret, struct err *e);

/* After instance_quiet() and before instance_close(), while there is still a loop.  Accepts NULL.
 */
void loader_free(struct loader *l);

struct loader_counters {
	uint64_t prefetched_pages, missed_pages; /* working set; missed once the window is over */
	uint64_t prefetch_us;
};

void loader_get_counters(const struct loader *l, struct loader_counters *ret);

#endif
