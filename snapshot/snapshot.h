/*
 * Snapshots: a machine that stands still becomes files, and files become a machine.
 *
 *     instance --vm_save--> struct snapshot --state_file.h--> "state"       instance <--vm_new--
 * struct snapshot <-- "state" guest memory ----------------------ram_save.h---------> "memory"
 * guest memory <--------ram_load.h------- "memory"
 *
 * A snapshot is two files: "state", which has everything but memory and is the commit, and
 * "memory", which is the guest's RAM page by page, so that it can be mapped.  A snapshot of
 * differences has only the pages that changed since its base, at the same places.  "working-set"
 * beside them says which pages a guest needs first (working_set.h).
 *
 * struct snapshot is the state file as plain values, checked: a reader never hands out a
 * half-checked one.
 */
#ifndef MVM_SNAPSHOT_SNAPSHOT_H
#define MVM_SNAPSHOT_SNAPSHOT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "instance.h"
#include "vm_state.h"

struct err;

enum {
	SNAPSHOT_ID_LEN = 16,
	SNAPSHOT_TEXT_MAX = 4096, /* paths and the command line, NUL included */
	SNAPSHOT_VERSION_TEXT_MAX = 32,
	SNAPSHOT_HOST_TEXT_MAX = 128,
	SNAPSHOT_RUNS_MAX = 4000000, /* as many as a state file has room for */
};

enum snapshot_kind { SNAPSHOT_FULL, SNAPSHOT_DIFF };

/* A run of pages that the memory file of a difference holds; first + count is at most the machine's
 * pages. */
struct page_run {
	uint64_t first, count;
};

/* What a disk's file was when the machine was saved, to tell whether it still is that. */
struct disk_identity {
	bool is_device;
	uint64_t size;              /* bytes */
	uint64_t dev, ino;          /* of the file; rdev and 0 of a block device */
	uint64_t mtime_s, mtime_ns; /* its generation: the last write, after all of ours; 0 of a
				       block device */
};

struct snapshot_drive {
	char id[CONFIG_ID_MAX + 1];
	char path[PATH_MAX];
	char partuuid[CONFIG_ID_MAX + 1];
	bool has_partuuid, is_root;
	bool read_only, direct, sync_engine, unsafe_cache;
	struct limit_shape shape;
	struct limiter_config limit;
	struct disk_identity identity;
	bool is_captured; /* "disk-ID" beside the state file is what it held */
};

struct snapshot_nic {
	char id[CONFIG_ID_MAX + 1];
	char tap[CONFIG_ID_MAX + 1]; /* empty: it was handed over as a descriptor */
	bool has_mac;
	uint8_t mac[NET_MAC_LEN];
	uint32_t mtu;
	bool no_csum, no_tso, no_ufo, no_uso, no_mrg;
	struct limit_shape rx_shape, tx_shape;
	struct limiter_config rx, tx;
};

/* The host that saved: what says that this one runs the machine just as well. */
struct snapshot_host {
	char boot_id[64];                    /* of that host's kernel since its start */
	char kernel[SNAPSHOT_HOST_TEXT_MAX]; /* for people: uname -r */
	char cpu[SNAPSHOT_HOST_TEXT_MAX];    /* for people: the CPU's brand */
	uint32_t cpu_words[8];               /* CPUID 1.eax, ecx, edx, 7.0.ebx, ecx, edx, 0xd.1.eax,
						0x80000001.ecx */
};

struct snapshot {
	uint8_t id[SNAPSHOT_ID_LEN];
	char version[SNAPSHOT_VERSION_TEXT_MAX]; /* of the mvm that wrote it; for people */
	uint64_t created_ns;                     /* CLOCK_REALTIME */
	enum snapshot_kind kind;
	/* DIFF: what it is a difference to, and where its state file and its memory were.  "": its
	 * memory is unknown, and looked for as "memory". */
	uint8_t base_id[SNAPSHOT_ID_LEN];
	char base_path[PATH_MAX], base_memory_path[PATH_MAX];
	unsigned nruns;       /* DIFF: the pages that the memory file has; FULL: none, it has all */
	struct page_run *run; /* owned; sorted, apart from each other */
	struct snapshot_host host;
	char kernel[SNAPSHOT_TEXT_MAX], initrd[SNAPSHOT_TEXT_MAX], cmdline[SNAPSHOT_TEXT_MAX];
	bool has_kernel, has_initrd, has_cmdline;
	unsigned ndrives, nnics;
	struct snapshot_drive drive[CONFIG_DEVICES_MAX];
	struct snapshot_nic nic[CONFIG_DEVICES_MAX];
	struct vm_state *vm; /* owned */
};

/* A zeroed one for a machine of so many vCPUs; NULL: no memory. */
struct snapshot *snapshot_new(unsigned cpus);
void snapshot_free(struct snapshot *s); /* accepts NULL */

#endif
