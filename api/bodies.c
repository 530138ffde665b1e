/* The fields of every JSON body (bodies.h).  The order of a table is the one in which faults list
 * the names. */
#include "api/bodies.h"

#include "base/check.h"

/* The member of s is called as its field. */
#define FIELD(s, member, field_type, field_need, ...)                                              \
	{                                                                                          \
		.name = #member, .type = (field_type), .need = (field_need),                       \
		.offset = offsetof(struct s, member), __VA_ARGS__                                  \
	}

#define LIST(s, field_name, field_type, field_need, member, count, most, ...)                      \
	{                                                                                          \
		.name = (field_name), .type = (field_type), .need = (field_need),                  \
		.offset = offsetof(struct s, member), .count_offset = offsetof(struct s, count),   \
		.limit = (most), __VA_ARGS__                                                       \
	}

#define BODY(text, s, fields, ...)                                                                 \
	{                                                                                          \
		.name = (text), .nfields = ARRAY_SIZE(fields), .field = (fields),                  \
		.size = sizeof(struct s), __VA_ARGS__                                              \
	}

/* --- parts of others --- */

static const struct field bucket_fields[] = {
	[BUCKET_SIZE] = FIELD(bucket_body, size, FIELD_U64, FIELD_REQUIRED),
	[BUCKET_BURST] = FIELD(bucket_body, one_time_burst, FIELD_U64, FIELD_NULLABLE),
	[BUCKET_REFILL] = FIELD(bucket_body, refill_time, FIELD_U64, FIELD_REQUIRED),
};
static const struct body body_bucket = BODY("struct TokenBucketConfig", bucket_body, bucket_fields);

static const struct field limiter_fields[] = {
	[LIMITER_BANDWIDTH] =
		FIELD(limiter_body, bandwidth, FIELD_OBJECT, FIELD_NULLABLE, .body = &body_bucket),
	[LIMITER_OPS] =
		FIELD(limiter_body, ops, FIELD_OBJECT, FIELD_NULLABLE, .body = &body_bucket),
};
static const struct body body_limiter =
	BODY("struct RateLimiterConfig", limiter_body, limiter_fields);

#define LIMITER(s, member) FIELD(s, member, FIELD_OBJECT, FIELD_NULLABLE, .body = &body_limiter)

/* --- configuration --- */

static const char *const templates[] = { "C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None", NULL };
static const char *const huge_pages[] = { "None", "Transparent", "2M", NULL };

#define MACHINE_FIELDS(needed, optional)                                                           \
	{                                                                                          \
		[MACHINE_VCPUS] = FIELD(machine_body, vcpu_count, FIELD_U8, needed, .min = 1,      \
			.max = CONFIG_CPUS_MAX),                                                   \
		[MACHINE_MEM] = FIELD(machine_body, mem_size_mib, FIELD_USIZE, needed,             \
			.min = CONFIG_MEM_MIN / CONFIG_MEM_STEP,                                   \
			.max = CONFIG_MEM_MAX / CONFIG_MEM_STEP),                                  \
		[MACHINE_SMT] = FIELD(machine_body, smt, FIELD_BOOL, optional),                    \
		[MACHINE_TEMPLATE] = FIELD(machine_body, cpu_template, FIELD_ENUM, FIELD_NULLABLE, \
			.words = templates, .is_deprecated = true),                                \
		[MACHINE_DIRTY] = FIELD(machine_body, track_dirty_pages, FIELD_BOOL, optional),    \
		[MACHINE_HUGE] = FIELD(                                                            \
			machine_body, huge_pages, FIELD_ENUM, optional, .words = huge_pages),      \
	}

static const struct field machine_put_fields[] = MACHINE_FIELDS(FIELD_REQUIRED, FIELD_DEFAULT);
static const struct field machine_patch_fields[] = MACHINE_FIELDS(FIELD_NULLABLE, FIELD_NULLABLE);
const struct body body_machine_put = BODY("struct MachineConfig", machine_body, machine_put_fields);
const struct body body_machine_patch =
	BODY("struct MachineConfigUpdate", machine_body, machine_patch_fields);

static const struct field boot_fields[] = {
	[BOOT_KERNEL] = FIELD(boot_body, kernel_image_path, FIELD_STRING, FIELD_REQUIRED),
	[BOOT_INITRD] = FIELD(boot_body, initrd_path, FIELD_STRING, FIELD_NULLABLE),
	[BOOT_ARGS] = FIELD(boot_body, boot_args, FIELD_STRING, FIELD_NULLABLE),
};
const struct body body_boot = BODY("struct BootSourceConfig", boot_body, boot_fields);

static const char *const cache_types[] = { "Unsafe", "Writeback", NULL };
static const char *const engines[] = { "Sync", "Async", NULL };

static const struct field drive_fields[] = {
	[DRIVE_ID] = FIELD(drive_body, drive_id, FIELD_STRING, FIELD_REQUIRED),
	[DRIVE_PARTUUID] = FIELD(drive_body, partuuid, FIELD_STRING, FIELD_NULLABLE),
	[DRIVE_ROOT] = FIELD(drive_body, is_root_device, FIELD_BOOL, FIELD_REQUIRED),
	[DRIVE_CACHE] =
		FIELD(drive_body, cache_type, FIELD_ENUM, FIELD_DEFAULT, .words = cache_types),
	[DRIVE_READ_ONLY] = FIELD(drive_body, is_read_only, FIELD_BOOL, FIELD_NULLABLE),
	[DRIVE_PATH] = FIELD(drive_body, path_on_host, FIELD_STRING, FIELD_NULLABLE),
	[DRIVE_LIMITER] = LIMITER(drive_body, rate_limiter),
	[DRIVE_ENGINE] = FIELD(drive_body, io_engine, FIELD_ENUM, FIELD_NULLABLE, .words = engines),
	[DRIVE_SOCKET] = FIELD(drive_body, socket, FIELD_STRING, FIELD_NULLABLE),
};
const struct body body_drive = BODY("struct BlockDeviceConfig", drive_body, drive_fields);

static const struct field drive_patch_fields[] = {
	[DRIVE_PATCH_ID] = FIELD(drive_patch_body, drive_id, FIELD_STRING, FIELD_REQUIRED),
	[DRIVE_PATCH_PATH] = FIELD(drive_patch_body, path_on_host, FIELD_STRING, FIELD_NULLABLE),
	[DRIVE_PATCH_LIMITER] = LIMITER(drive_patch_body, rate_limiter),
};
const struct body body_drive_patch =
	BODY("struct BlockDeviceUpdateConfig", drive_patch_body, drive_patch_fields);

static const struct field net_fields[] = {
	[NET_ID] = FIELD(net_body, iface_id, FIELD_STRING, FIELD_REQUIRED),
	[NET_TAP] = FIELD(net_body, host_dev_name, FIELD_STRING, FIELD_REQUIRED),
	[NET_MAC] = FIELD(net_body, guest_mac, FIELD_STRING, FIELD_NULLABLE),
	[NET_MTU] = FIELD(
		net_body, mtu, FIELD_U16, FIELD_NULLABLE, .min = NET_MTU_MIN, .max = NET_MTU_MAX),
	[NET_RX] = LIMITER(net_body, rx_rate_limiter),
	[NET_TX] = LIMITER(net_body, tx_rate_limiter),
};
const struct body body_net = BODY("struct NetworkInterfaceConfig", net_body, net_fields);

static const struct field net_patch_fields[] = {
	[NET_PATCH_ID] = FIELD(net_patch_body, iface_id, FIELD_STRING, FIELD_REQUIRED),
	[NET_PATCH_RX] = LIMITER(net_patch_body, rx_rate_limiter),
	[NET_PATCH_TX] = LIMITER(net_patch_body, tx_rate_limiter),
};
const struct body body_net_patch =
	BODY("struct NetworkInterfaceUpdateConfig", net_patch_body, net_patch_fields);

static const struct field serial_fields[] = {
	[SERIAL_PATH] = FIELD(serial_body, serial_out_path, FIELD_STRING, FIELD_NULLABLE),
	[SERIAL_LIMITER] = FIELD(
		serial_body, rate_limiter, FIELD_OBJECT, FIELD_NULLABLE, .body = &body_bucket),
};
const struct body body_serial = BODY("struct SerialConfig", serial_body, serial_fields);

/* --- log and metrics --- */

static const char *const levels[] = { "Off", "Error", "Warn", "Warning", "Info", "Debug", "Trace",
	NULL };

static const struct field logger_fields[] = {
	[LOGGER_PATH] = FIELD(logger_body, log_path, FIELD_STRING, FIELD_NULLABLE),
	[LOGGER_LEVEL] = FIELD(logger_body, level, FIELD_ENUM, FIELD_NULLABLE, .words = levels,
		.is_case_free = true),
	[LOGGER_SHOW_LEVEL] = FIELD(logger_body, show_level, FIELD_BOOL, FIELD_NULLABLE),
	[LOGGER_SHOW_ORIGIN] = FIELD(logger_body, show_log_origin, FIELD_BOOL, FIELD_NULLABLE),
	[LOGGER_MODULE] = FIELD(logger_body, module, FIELD_STRING, FIELD_NULLABLE),
};
const struct body body_logger = BODY("struct LoggerConfig", logger_body, logger_fields);

static const struct field metrics_fields[] = {
	[METRICS_PATH] = FIELD(metrics_body, metrics_path, FIELD_STRING, FIELD_REQUIRED),
	[METRICS_EMIT_ID] = FIELD(metrics_body, emit_id, FIELD_BOOL, FIELD_DEFAULT),
	[METRICS_PROPERTIES] = LIST(metrics_body, "properties", FIELD_MAP, FIELD_NULLABLE, property,
		nproperties, METRICS_PROPERTIES_MAX),
};
const struct body body_metrics =
	BODY("struct MetricsConfig", metrics_body, metrics_fields, .is_tolerant = true);

/* --- CPU --- */

static const char *const registers[] = { "eax", "ebx", "ecx", "edx", NULL };

static const struct field register_fields[] = {
	[REGISTER_NAME] = { .name = "register",
		.type = FIELD_ENUM,
		.need = FIELD_REQUIRED,
		.offset = offsetof(struct register_body, name),
		.words = registers },
	[REGISTER_BITMAP] = FIELD(register_body, bitmap, FIELD_STRING, FIELD_REQUIRED),
};
static const struct body body_register =
	BODY("struct CpuidRegisterModifier", register_body, register_fields);

static const struct field leaf_fields[] = {
	FIELD(leaf_body, leaf, FIELD_STRING, FIELD_REQUIRED),
	FIELD(leaf_body, subleaf, FIELD_STRING, FIELD_REQUIRED),
	FIELD(leaf_body, flags, FIELD_U32, FIELD_REQUIRED),
	LIST(leaf_body, "modifiers", FIELD_ARRAY, FIELD_REQUIRED, modifier, nmodifiers,
		LEAF_REGISTERS_MAX, .body = &body_register),
};
static const struct body body_leaf = BODY("struct CpuidLeafModifier", leaf_body, leaf_fields);

static const struct field msr_fields[] = {
	FIELD(msr_body, addr, FIELD_STRING, FIELD_REQUIRED),
	FIELD(msr_body, bitmap, FIELD_STRING, FIELD_REQUIRED),
};
static const struct body body_msr = BODY("struct RegisterModifier", msr_body, msr_fields);

static const struct field cpu_fields[] = {
	LIST(cpu_body, "kvm_capabilities", FIELD_ARRAY, FIELD_DEFAULT, cap, ncaps,
		CPU_TEMPLATE_CAPS),
	LIST(cpu_body, "cpuid_modifiers", FIELD_ARRAY, FIELD_DEFAULT, leaf, nleaves,
		CPU_TEMPLATE_LEAVES, .body = &body_leaf),
	LIST(cpu_body, "msr_modifiers", FIELD_ARRAY, FIELD_DEFAULT, msr, nmsrs, CPU_TEMPLATE_MSRS,
		.body = &body_msr),
};
const struct body body_cpu = BODY("struct CustomCpuTemplate", cpu_body, cpu_fields);

/* --- life --- */

static const char *const actions[] = { "InstanceStart", "FlushMetrics", "SendCtrlAltDel", NULL };
static const struct field action_fields[] = {
	FIELD(action_body, action_type, FIELD_ENUM, FIELD_REQUIRED, .words = actions),
};
const struct body body_action = BODY("struct ActionBody", action_body, action_fields);

static const char *const vm_states[] = { "Paused", "Resumed", NULL };
static const struct field vm_fields[] = {
	FIELD(vm_body, state, FIELD_ENUM, FIELD_REQUIRED, .words = vm_states),
};
const struct body body_vm = BODY("struct Vm", vm_body, vm_fields);

/* --- snapshots --- */

static const char *const snapshot_types[] = { "Full", "Diff", NULL };
static const struct field create_fields[] = {
	[CREATE_PATH] = FIELD(create_body, snapshot_path, FIELD_STRING, FIELD_REQUIRED),
	[CREATE_MEM_FILE] = FIELD(create_body, mem_file_path, FIELD_STRING, FIELD_REQUIRED),
	[CREATE_TYPE] = FIELD(
		create_body, snapshot_type, FIELD_ENUM, FIELD_DEFAULT, .words = snapshot_types),
	[CREATE_LIVE] = FIELD(create_body, live, FIELD_BOOL, FIELD_DEFAULT),
	[CREATE_DISKS] = FIELD(create_body, disks_dir, FIELD_STRING, FIELD_NULLABLE),
	[CREATE_STOP] = FIELD(create_body, stop, FIELD_BOOL, FIELD_DEFAULT),
};
const struct body body_snapshot_create =
	BODY("struct CreateSnapshotParams", create_body, create_fields);

static const char *const backends[] = { "File", "Uffd", NULL };
static const struct field backend_fields[] = {
	FIELD(backend_body, backend_type, FIELD_ENUM, FIELD_REQUIRED, .words = backends),
	FIELD(backend_body, backend_path, FIELD_STRING, FIELD_REQUIRED),
};
static const struct body body_backend =
	BODY("struct MemBackendConfig", backend_body, backend_fields);

static const struct field override_fields[] = {
	FIELD(override_body, iface_id, FIELD_STRING, FIELD_REQUIRED),
	FIELD(override_body, host_dev_name, FIELD_STRING, FIELD_REQUIRED),
	FIELD(override_body, guest_mac, FIELD_STRING, FIELD_NULLABLE),
};
static const struct body body_override =
	BODY("struct NetworkOverride", override_body, override_fields);

static const struct field drive_override_fields[] = {
	FIELD(drive_override_body, drive_id, FIELD_STRING, FIELD_REQUIRED),
	FIELD(drive_override_body, path_on_host, FIELD_STRING, FIELD_REQUIRED),
};
static const struct body body_drive_override =
	BODY("struct DriveOverride", drive_override_body, drive_override_fields);

static const char *const clocks[] = { "Realtime", "Frozen", NULL };
static const char *const load_pages[] = { "Snapshot", "None", "Transparent", "2M", NULL };
static const struct field load_fields[] = {
	[LOAD_PATH] = FIELD(load_body, snapshot_path, FIELD_STRING, FIELD_REQUIRED),
	[LOAD_BACKEND] =
		FIELD(load_body, mem_backend, FIELD_OBJECT, FIELD_NULLABLE, .body = &body_backend),
	[LOAD_MEM_FILE] = FIELD(
		load_body, mem_file_path, FIELD_STRING, FIELD_NULLABLE, .is_deprecated = true),
	[LOAD_DIFF] = FIELD(
		load_body, enable_diff_snapshots, FIELD_BOOL, FIELD_DEFAULT, .is_deprecated = true),
	[LOAD_DIRTY] = FIELD(load_body, track_dirty_pages, FIELD_BOOL, FIELD_DEFAULT),
	[LOAD_RESUME] = FIELD(load_body, resume_vm, FIELD_BOOL, FIELD_DEFAULT),
	[LOAD_NETS] = LIST(load_body, "network_overrides", FIELD_ARRAY, FIELD_DEFAULT, override,
		noverrides, CONFIG_DEVICES_MAX, .body = &body_override),
	[LOAD_VSOCK] = FIELD(load_body, vsock_override, FIELD_ANY, FIELD_NULLABLE),
	[LOAD_CLOCK] = FIELD(load_body, clock_realtime, FIELD_BOOL, FIELD_DEFAULT),
	[LOAD_HUGE] = FIELD(load_body, huge_pages, FIELD_ENUM, FIELD_DEFAULT, .words = load_pages),
	[LOAD_DRIVES] = LIST(load_body, "drive_overrides", FIELD_ARRAY, FIELD_DEFAULT, drive,
		ndrives, CONFIG_DEVICES_MAX, .body = &body_drive_override),
	[LOAD_ACCEPTED] = LIST(load_body, "accept_changed_disks", FIELD_ARRAY, FIELD_DEFAULT,
		accepted, naccepted, CONFIG_DEVICES_MAX),
	[LOAD_CLOCK_WORD] = FIELD(load_body, clock, FIELD_ENUM, FIELD_DEFAULT, .words = clocks),
	[LOAD_RECORD] = FIELD(load_body, record_working_set_ms, FIELD_U32, FIELD_DEFAULT),
	[LOAD_ANY_CPU] = FIELD(load_body, accept_any_cpu, FIELD_BOOL, FIELD_DEFAULT),
};
const struct body body_snapshot_load = BODY("struct LoadSnapshotConfig", load_body, load_fields);

/* --- the config file --- */

#define SECTION(section, text, field_need, member, section_body)                                   \
	[section] = { .name = (text),                                                              \
		.type = FIELD_OBJECT,                                                              \
		.need = (field_need),                                                              \
		.offset = offsetof(struct config_body, member),                                    \
		.body = (section_body) }

#define ABSENT(section, text)                                                                      \
	[section] = { .name = (text),                                                              \
		.type = FIELD_ANY,                                                                 \
		.need = FIELD_NULLABLE,                                                            \
		.offset = offsetof(struct config_body, absent[(section)-CONFIG_BALLOON]) }

static const struct field config_fields[] = {
	SECTION(CONFIG_LOGGER, "logger", FIELD_NULLABLE, logger, &body_logger),
	SECTION(CONFIG_METRICS, "metrics", FIELD_NULLABLE, metrics, &body_metrics),
	SECTION(CONFIG_MACHINE, "machine-config", FIELD_NULLABLE, machine, &body_machine_put),
	[CONFIG_CPU] = { .name = "cpu-config",
		.type = FIELD_ANY,
		.need = FIELD_NULLABLE,
		.offset = offsetof(struct config_body, cpu) },
	SECTION(CONFIG_BOOT, "boot-source", FIELD_REQUIRED, boot, &body_boot),
	[CONFIG_DRIVES] = LIST(config_body, "drives", FIELD_ARRAY, FIELD_REQUIRED, drive, ndrives,
		CONFIG_DEVICES_MAX, .body = &body_drive),
	[CONFIG_NETS] = LIST(config_body, "network-interfaces", FIELD_ARRAY, FIELD_DEFAULT, net,
		nnets, CONFIG_DEVICES_MAX, .body = &body_net),
	ABSENT(CONFIG_BALLOON, "balloon"),
	ABSENT(CONFIG_ENTROPY, "entropy"),
	ABSENT(CONFIG_HOTPLUG, "memory-hotplug"),
	ABSENT(CONFIG_MMDS, "mmds-config"),
	ABSENT(CONFIG_PMEM, "pmem"),
	ABSENT(CONFIG_VSOCK, "vsock"),
};
const struct body body_config =
	BODY("struct VmmConfig", config_body, config_fields, .is_tolerant = true);

const struct body *const all_bodies[] = { &body_machine_put, &body_machine_patch, &body_boot,
	&body_cpu, &body_drive, &body_drive_patch, &body_net, &body_net_patch, &body_serial,
	&body_logger, &body_metrics, &body_action, &body_vm, &body_snapshot_create,
	&body_snapshot_load, &body_config, NULL };
