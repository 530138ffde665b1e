/*
 * The fields of every JSON body that clients send, as tables (fields.h), and the structures that
 * they are decoded into.  Defaults are zero; where the contract has another one the handler knows
 * it.
 *
 * In each structure "given" has a bit for each field, in the order of the enumeration before it.
 */
#ifndef MVM_API_BODIES_H
#define MVM_API_BODIES_H

#include <stdbool.h>
#include <stdint.h>

#include "api/fields.h"
#include "config.h"
#include "x86/cpu_template.h"

/* --- parts of others --- */

enum { BUCKET_SIZE, BUCKET_BURST, BUCKET_REFILL };
struct bucket_body {
	uint64_t given, size, one_time_burst, refill_time;
};

enum { LIMITER_BANDWIDTH, LIMITER_OPS };
struct limiter_body {
	uint64_t given;
	struct bucket_body bandwidth, ops;
};

/* --- configuration --- */

enum word_cpu_template { CPU_C3, CPU_T2, CPU_T2S, CPU_T2CL, CPU_T2A, CPU_V1N1, CPU_NONE };
enum word_huge_pages { HUGE_NONE, HUGE_TRANSPARENT, HUGE_2M };

enum { MACHINE_VCPUS, MACHINE_MEM, MACHINE_SMT, MACHINE_TEMPLATE, MACHINE_DIRTY, MACHINE_HUGE };
struct machine_body {
	uint64_t given, vcpu_count, mem_size_mib;
	unsigned cpu_template, huge_pages;
	bool smt, track_dirty_pages;
};

enum { BOOT_KERNEL, BOOT_INITRD, BOOT_ARGS };
struct boot_body {
	uint64_t given;
	const char *kernel_image_path, *initrd_path, *boot_args;
};

enum word_cache { CACHE_UNSAFE, CACHE_WRITEBACK };
enum word_engine { ENGINE_SYNC, ENGINE_ASYNC };

enum {
	DRIVE_ID,
	DRIVE_PARTUUID,
	DRIVE_ROOT,
	DRIVE_CACHE,
	DRIVE_READ_ONLY,
	DRIVE_PATH,
	DRIVE_LIMITER,
	DRIVE_ENGINE,
	DRIVE_SOCKET,
};
struct drive_body {
	uint64_t given;
	const char *drive_id, *partuuid, *path_on_host, *socket;
	struct limiter_body rate_limiter;
	unsigned cache_type, io_engine;
	bool is_root_device, is_read_only;
};

enum { DRIVE_PATCH_ID, DRIVE_PATCH_PATH, DRIVE_PATCH_LIMITER };
struct drive_patch_body {
	uint64_t given;
	const char *drive_id, *path_on_host;
	struct limiter_body rate_limiter;
};

enum { NET_ID, NET_TAP, NET_MAC, NET_MTU, NET_RX, NET_TX };
struct net_body {
	uint64_t given, mtu;
	const char *iface_id, *host_dev_name, *guest_mac;
	struct limiter_body rx_rate_limiter, tx_rate_limiter;
};

enum { NET_PATCH_ID, NET_PATCH_RX, NET_PATCH_TX };
struct net_patch_body {
	uint64_t given;
	const char *iface_id;
	struct limiter_body rx_rate_limiter, tx_rate_limiter;
};

enum { SERIAL_PATH, SERIAL_LIMITER };
struct serial_body {
	uint64_t given;
	const char *serial_out_path;
	struct bucket_body rate_limiter;
};

enum word_level {
	LEVEL_OFF,
	LEVEL_ERROR,
	LEVEL_WARN,
	LEVEL_WARNING,
	LEVEL_INFO,
	LEVEL_DEBUG,
	LEVEL_TRACE,
};

enum { LOGGER_PATH, LOGGER_LEVEL, LOGGER_SHOW_LEVEL, LOGGER_SHOW_ORIGIN, LOGGER_MODULE };
struct logger_body {
	uint64_t given;
	const char *log_path, *module;
	unsigned level;
	bool show_level, show_log_origin;
};

enum { METRICS_PROPERTIES_MAX = 32 };
enum { METRICS_PATH, METRICS_EMIT_ID, METRICS_PROPERTIES };
struct metrics_body {
	uint64_t given;
	const char *metrics_path;
	bool emit_id;
	unsigned nproperties;
	const char *property[2 * METRICS_PROPERTIES_MAX];
};

/* --- CPU --- */

enum { REGISTER_NAME, REGISTER_BITMAP };
struct register_body {
	uint64_t given;
	unsigned name; /* enum cpuid_register */
	const char *bitmap;
};

enum { LEAF_REGISTERS_MAX = 8 };
struct leaf_body {
	uint64_t given, flags;
	const char *leaf, *subleaf;
	unsigned nmodifiers;
	struct register_body modifier[LEAF_REGISTERS_MAX];
};

struct msr_body {
	uint64_t given;
	const char *addr, *bitmap;
};

struct cpu_body {
	uint64_t given;
	unsigned ncaps, nleaves, nmsrs;
	const char *cap[CPU_TEMPLATE_CAPS];
	struct leaf_body leaf[CPU_TEMPLATE_LEAVES];
	struct msr_body msr[CPU_TEMPLATE_MSRS];
};

/* --- life --- */

enum word_action { ACTION_START, ACTION_FLUSH, ACTION_CTRL_ALT_DEL };
struct action_body {
	uint64_t given;
	unsigned action_type;
};

enum word_vm_state { VM_STATE_PAUSED, VM_STATE_RESUMED };
struct vm_body {
	uint64_t given;
	unsigned state;
};

/* --- snapshots --- */

enum { CREATE_PATH, CREATE_MEM_FILE, CREATE_TYPE, CREATE_LIVE, CREATE_DISKS, CREATE_STOP };
struct create_body {
	uint64_t given;
	const char *snapshot_path, *mem_file_path, *disks_dir;
	unsigned snapshot_type; /* enum snapshot_kind */
	bool live, stop;
};

enum word_backend { BACKEND_FILE, BACKEND_UFFD };
struct backend_body {
	uint64_t given;
	unsigned backend_type;
	const char *backend_path;
};

struct override_body {
	uint64_t given;
	const char *iface_id, *host_dev_name, *guest_mac;
};

struct drive_override_body {
	uint64_t given;
	const char *drive_id, *path_on_host;
};

enum {
	LOAD_PATH,
	LOAD_BACKEND,
	LOAD_MEM_FILE,
	LOAD_DIFF,
	LOAD_DIRTY,
	LOAD_RESUME,
	LOAD_NETS,
	LOAD_VSOCK,
	LOAD_CLOCK,
	LOAD_HUGE,
	LOAD_DRIVES,
	LOAD_ACCEPTED,
	LOAD_CLOCK_WORD,
	LOAD_RECORD,
	LOAD_ANY_CPU,
};
enum word_clock { CLOCK_WORD_REALTIME, CLOCK_WORD_FROZEN };
struct load_body {
	uint64_t given;
	const char *snapshot_path, *mem_file_path;
	struct backend_body mem_backend;
	bool enable_diff_snapshots, track_dirty_pages, resume_vm, clock_realtime, accept_any_cpu;
	unsigned huge_pages; /* enum load_pages */
	unsigned clock;
	uint64_t record_working_set_ms;
	uint32_t vsock_override;
	unsigned noverrides, ndrives, naccepted;
	struct override_body override[CONFIG_DEVICES_MAX];
	struct drive_override_body drive[CONFIG_DEVICES_MAX];
	const char *accepted[CONFIG_DEVICES_MAX];
};

/* --- the config file: all of these --- */

enum {
	CONFIG_LOGGER,
	CONFIG_METRICS,
	CONFIG_MACHINE,
	CONFIG_CPU,
	CONFIG_BOOT,
	CONFIG_DRIVES,
	CONFIG_NETS,
	CONFIG_BALLOON,
	CONFIG_ENTROPY,
	CONFIG_HOTPLUG,
	CONFIG_MMDS,
	CONFIG_PMEM,
	CONFIG_VSOCK,
	CONFIG_SECTIONS,
};
struct config_body {
	uint64_t given;
	struct logger_body logger;
	struct metrics_body metrics;
	struct machine_body machine;
	struct boot_body boot;
	uint32_t cpu; /* an object, or a string with a path */
	uint32_t absent[CONFIG_SECTIONS - CONFIG_BALLOON];
	unsigned ndrives, nnets;
	struct drive_body drive[CONFIG_DEVICES_MAX];
	struct net_body net[CONFIG_DEVICES_MAX];
};

extern const struct body body_machine_put, body_machine_patch, body_boot, body_cpu, body_drive,
	body_drive_patch, body_net, body_net_patch, body_serial, body_logger, body_metrics,
	body_action, body_vm, body_snapshot_create, body_snapshot_load, body_config;

/* All of them, NULL at the end. */
extern const struct body *const all_bodies[];

#endif
