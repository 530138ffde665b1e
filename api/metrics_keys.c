/* The keys of a line of metrics (metrics_keys.h). */
#include "api/metrics_keys.h"

#include <stddef.h>

#define VIEW(kind, name, member)                                                                   \
	{                                                                                          \
		name, kind, offsetof(struct metrics_view, member)                                  \
	}
#define DEVICE(kind, name, member)                                                                 \
	{                                                                                          \
		name, kind, offsetof(struct virtio_counters, member)                               \
	}
#define NONE(name)                                                                                 \
	{                                                                                          \
		name, METRICS_NOTHING, 0                                                           \
	}
#define REQUEST(name, what)                                                                        \
	VIEW(METRICS_DELTA, name "_count", api.count[what]),                                       \
		VIEW(METRICS_DELTA, name "_fails", api.fails[what])
#define NO_REQUEST(name) NONE(name "_count"), NONE(name "_fails")

static const struct metrics_field api_server[] = {
	VIEW(METRICS_STORE, "process_startup_time_us", startup_us),
	VIEW(METRICS_STORE, "process_startup_time_cpu_us", startup_cpu_us),
};

static const struct metrics_field balloon[] = {
	NONE("activate_fails"),
	NONE("inflate_count"),
	NONE("stats_updates_count"),
	NONE("stats_update_fails"),
	NONE("deflate_count"),
	NONE("event_fails"),
	NONE("free_page_report_count"),
	NONE("free_page_report_freed"),
	NONE("free_page_report_fails"),
	NONE("free_page_hint_count"),
	NONE("free_page_hint_freed"),
	NONE("free_page_hint_fails"),
};

/* A disk's one queue counts as COUNT_READ (counters.h). */
static const struct metrics_field block[] = {
	DEVICE(METRICS_DELTA, "activate_fails", activate_fails),
	DEVICE(METRICS_DELTA, "cfg_fails", config_fails),
	DEVICE(METRICS_DELTA, "no_avail_buffer", way[COUNT_READ].no_buffer),
	DEVICE(METRICS_DELTA, "event_fails", rule_breaks),
	DEVICE(METRICS_DELTA, "execute_fails", errors),
	DEVICE(METRICS_DELTA, "invalid_reqs_count", unsupported),
	DEVICE(METRICS_DELTA, "flush_count", requests[COUNT_FLUSH]),
	DEVICE(METRICS_DELTA, "queue_event_count", way[COUNT_READ].kicks),
	DEVICE(METRICS_DELTA, "rate_limiter_event_count", way[COUNT_READ].limiter_events),
	DEVICE(METRICS_DELTA, "update_count", updates),
	DEVICE(METRICS_DELTA, "update_fails", update_fails),
	DEVICE(METRICS_DELTA, "read_bytes", bytes[COUNT_READ]),
	DEVICE(METRICS_DELTA, "write_bytes", bytes[COUNT_WRITE]),
	DEVICE(METRICS_DELTA, "read_count", requests[COUNT_READ]),
	DEVICE(METRICS_DELTA, "write_count", requests[COUNT_WRITE]),
	DEVICE(METRICS_AGG_NS, "read_agg", way[COUNT_READ].took),
	DEVICE(METRICS_AGG_NS, "write_agg", way[COUNT_WRITE].took),
	DEVICE(METRICS_DELTA, "rate_limiter_throttled_events", way[COUNT_READ].throttled),
	NONE("io_engine_throttled_events"),
	DEVICE(METRICS_DELTA, "remaining_reqs_count", way[COUNT_READ].left),
};

static const struct metrics_field net[] = {
	DEVICE(METRICS_DELTA, "activate_fails", activate_fails),
	DEVICE(METRICS_DELTA, "cfg_fails", config_fails),
	DEVICE(METRICS_DELTA, "no_rx_avail_buffer", way[COUNT_READ].no_buffer),
	DEVICE(METRICS_DELTA, "no_tx_avail_buffer", way[COUNT_WRITE].no_buffer),
	DEVICE(METRICS_DELTA, "event_fails", rule_breaks),
	DEVICE(METRICS_DELTA, "rx_queue_event_count", way[COUNT_READ].kicks),
	DEVICE(METRICS_DELTA, "rx_event_rate_limiter_count", way[COUNT_READ].limiter_events),
	DEVICE(METRICS_DELTA, "rx_rate_limiter_throttled", way[COUNT_READ].throttled),
	DEVICE(METRICS_DELTA, "rx_tap_event_count", way[COUNT_READ].backend_events),
	DEVICE(METRICS_DELTA, "rx_bytes_count", bytes[COUNT_READ]),
	DEVICE(METRICS_DELTA, "rx_packets_count", requests[COUNT_READ]),
	DEVICE(METRICS_DELTA, "rx_fails", way[COUNT_READ].fails),
	DEVICE(METRICS_DELTA, "rx_count", requests[COUNT_READ]),
	DEVICE(METRICS_DELTA, "tap_read_fails", way[COUNT_READ].backend_fails),
	DEVICE(METRICS_DELTA, "tap_write_fails", way[COUNT_WRITE].backend_fails),
	DEVICE(METRICS_AGG_TICKS, "tap_write_agg", way[COUNT_WRITE].took),
	DEVICE(METRICS_DELTA, "tx_bytes_count", bytes[COUNT_WRITE]),
	DEVICE(METRICS_DELTA, "tx_malformed_frames", malformed),
	DEVICE(METRICS_DELTA, "tx_fails", way[COUNT_WRITE].fails),
	DEVICE(METRICS_DELTA, "tx_count", requests[COUNT_WRITE]),
	DEVICE(METRICS_DELTA, "tx_packets_count", requests[COUNT_WRITE]),
	DEVICE(METRICS_DELTA, "tx_queue_event_count", way[COUNT_WRITE].kicks),
	DEVICE(METRICS_DELTA, "tx_rate_limiter_event_count", way[COUNT_WRITE].limiter_events),
	DEVICE(METRICS_DELTA, "tx_rate_limiter_throttled", way[COUNT_WRITE].throttled),
	DEVICE(METRICS_DELTA, "tx_spoofed_mac_count", spoofed),
	DEVICE(METRICS_DELTA, "tx_remaining_reqs_count", way[COUNT_WRITE].left),
};

static const struct metrics_field deprecated_api[] = {
	VIEW(METRICS_DELTA, "deprecated_http_api_calls", api.deprecated),
};

static const struct metrics_field get_api_requests[] = {
	VIEW(METRICS_DELTA, "instance_info_count", api.count[API_GET_INSTANCE_INFO]),
	VIEW(METRICS_DELTA, "machine_cfg_count", api.count[API_GET_MACHINE_CFG]),
	NONE("mmds_count"),
	VIEW(METRICS_DELTA, "vmm_version_count", api.count[API_GET_VERSION]),
	NONE("hotplug_memory_count"),
};

static const struct metrics_field i8042[] = {
	VIEW(METRICS_DELTA, "error_count", i8042.errors),
	VIEW(METRICS_DELTA, "missed_read_count", i8042.missed_reads),
	VIEW(METRICS_DELTA, "missed_write_count", i8042.missed_writes),
	VIEW(METRICS_DELTA, "read_count", i8042.reads),
	VIEW(METRICS_DELTA, "reset_count", i8042.resets),
	VIEW(METRICS_DELTA, "write_count", i8042.writes),
};

static const struct metrics_field latencies_us[] = {
	VIEW(METRICS_STORE, "full_create_snapshot", api.latency_us[API_SAVE_FULL]),
	VIEW(METRICS_STORE, "diff_create_snapshot", api.latency_us[API_SAVE_DIFF]),
	VIEW(METRICS_STORE, "load_snapshot", api.latency_us[API_LOAD]),
	VIEW(METRICS_STORE, "pause_vm", api.latency_us[API_PAUSE]),
	VIEW(METRICS_STORE, "resume_vm", api.latency_us[API_RESUME]),
	VIEW(METRICS_STORE, "vmm_full_create_snapshot", api.vmm_latency_us[API_SAVE_FULL]),
	VIEW(METRICS_STORE, "vmm_diff_create_snapshot", api.vmm_latency_us[API_SAVE_DIFF]),
	VIEW(METRICS_STORE, "vmm_load_snapshot", api.vmm_latency_us[API_LOAD]),
	VIEW(METRICS_STORE, "vmm_pause_vm", api.vmm_latency_us[API_PAUSE]),
	VIEW(METRICS_STORE, "vmm_resume_vm", api.vmm_latency_us[API_RESUME]),
};

static const struct metrics_field logger[] = {
	VIEW(METRICS_DELTA, "missed_metrics_count", lines_missed),
	VIEW(METRICS_DELTA, "metrics_fails", lines_failed),
	VIEW(METRICS_DELTA, "missed_log_count", log_missed),
	VIEW(METRICS_DELTA, "rate_limited_log_count", log_limited),
};

static const struct metrics_field mmds[] = {
	NONE("rx_accepted"),
	NONE("rx_accepted_err"),
	NONE("rx_accepted_unusual"),
	NONE("rx_bad_eth"),
	NONE("rx_invalid_token"),
	NONE("rx_no_token"),
	NONE("rx_count"),
	NONE("tx_bytes"),
	NONE("tx_count"),
	NONE("tx_errors"),
	NONE("tx_frames"),
	NONE("connections_created"),
	NONE("connections_destroyed"),
};

static const struct metrics_field patch_api_requests[] = {
	REQUEST("drive", API_PATCH_DRIVE),
	REQUEST("network", API_PATCH_NETWORK),
	REQUEST("machine_cfg", API_PATCH_MACHINE_CFG),
	NO_REQUEST("mmds"),
	NO_REQUEST("hotplug_memory"),
	NO_REQUEST("pmem"),
};

static const struct metrics_field put_api_requests[] = {
	REQUEST("actions", API_PUT_ACTIONS),
	REQUEST("boot_source", API_PUT_BOOT_SOURCE),
	REQUEST("drive", API_PUT_DRIVE),
	REQUEST("logger", API_PUT_LOGGER),
	REQUEST("machine_cfg", API_PUT_MACHINE_CFG),
	REQUEST("cpu_cfg", API_PUT_CPU_CFG),
	REQUEST("metrics", API_PUT_METRICS),
	REQUEST("network", API_PUT_NETWORK),
	NO_REQUEST("mmds"),
	NO_REQUEST("vsock"),
	NO_REQUEST("pmem"),
	REQUEST("serial", API_PUT_SERIAL),
	NO_REQUEST("hotplug_memory"),
};

static const struct metrics_field seccomp[] = { NONE("num_faults") };

static const struct metrics_field vcpu[] = {
	VIEW(METRICS_DELTA, "exit_io_in", vcpus.access[VCPU_IO_IN].count),
	VIEW(METRICS_DELTA, "exit_io_out", vcpus.access[VCPU_IO_OUT].count),
	VIEW(METRICS_DELTA, "exit_mmio_read", vcpus.access[VCPU_MMIO_READ].count),
	VIEW(METRICS_DELTA, "exit_mmio_write", vcpus.access[VCPU_MMIO_WRITE].count),
	VIEW(METRICS_DELTA, "failures", vcpus.failures),
	VIEW(METRICS_DELTA, "kvmclock_ctrl_fails", vcpus.kvmclock_ctrl_fails),
	VIEW(METRICS_AGG_US, "exit_io_in_agg", vcpus.access[VCPU_IO_IN]),
	VIEW(METRICS_AGG_US, "exit_io_out_agg", vcpus.access[VCPU_IO_OUT]),
	VIEW(METRICS_AGG_US, "exit_mmio_read_agg", vcpus.access[VCPU_MMIO_READ]),
	VIEW(METRICS_AGG_US, "exit_mmio_write_agg", vcpus.access[VCPU_MMIO_WRITE]),
};

static const struct metrics_field vmm[] = { NONE("panic_count") };

static const struct metrics_field uart[] = {
	VIEW(METRICS_DELTA, "error_count", serial.errors),
	NONE("flush_count"),
	VIEW(METRICS_DELTA, "missed_read_count", serial.missed_reads),
	VIEW(METRICS_DELTA, "missed_write_count", serial.missed_writes),
	VIEW(METRICS_DELTA, "read_count", serial.reads),
	VIEW(METRICS_DELTA, "write_count", serial.writes),
	VIEW(METRICS_DELTA, "rate_limiter_dropped_bytes", console_limited),
};

static const struct metrics_field signals[] = {
	NONE("sigbus"),
	NONE("sigsegv"),
	NONE("sigxfsz"),
	VIEW(METRICS_DELTA, "sigxcpu", sigxcpu),
	NONE("sigpipe"),
	VIEW(METRICS_DELTA, "sighup", sighup),
	NONE("sigill"),
};

static const struct metrics_field vsock[] = {
	NONE("activate_fails"),
	NONE("cfg_fails"),
	NONE("rx_queue_event_fails"),
	NONE("tx_queue_event_fails"),
	NONE("ev_queue_event_fails"),
	NONE("muxer_event_fails"),
	NONE("conn_event_fails"),
	NONE("rx_queue_event_count"),
	NONE("tx_queue_event_count"),
	NONE("rx_bytes_count"),
	NONE("tx_bytes_count"),
	NONE("rx_packets_count"),
	NONE("tx_packets_count"),
	NONE("conns_added"),
	NONE("conns_killed"),
	NONE("conns_removed"),
	NONE("killq_resync"),
	NONE("tx_flush_fails"),
	NONE("tx_write_fails"),
	NONE("rx_read_fails"),
};

static const struct metrics_field entropy[] = {
	NONE("activate_fails"),
	NONE("entropy_event_fails"),
	NONE("entropy_event_count"),
	NONE("entropy_bytes"),
	NONE("host_rng_fails"),
	NONE("entropy_rate_limiter_throttled"),
	NONE("rate_limiter_event_count"),
};

static const struct metrics_field interrupts[] = {
	VIEW(METRICS_DELTA, "triggers", interrupts),
	VIEW(METRICS_DELTA, "config_updates", config_changes),
};

static const struct metrics_field pmem[] = {
	NONE("activate_fails"),
	NONE("cfg_fails"),
	NONE("event_fails"),
	NONE("queue_event_count"),
	NONE("rate_limiter_throttled_events"),
	NONE("rate_limiter_event_count"),
};

static const struct metrics_field memory_hotplug[] = {
	NONE("activate_fails"),
	NONE("queue_event_fails"),
	NONE("queue_event_count"),
	NONE("plug_count"),
	NONE("plug_bytes"),
	NONE("plug_fails"),
	{ "plug_agg", METRICS_AGG_NOTHING, 0 },
	NONE("unplug_count"),
	NONE("unplug_bytes"),
	NONE("unplug_fails"),
	NONE("unplug_discard_fails"),
	{ "unplug_agg", METRICS_AGG_NOTHING, 0 },
	NONE("state_count"),
	NONE("state_fails"),
	{ "state_agg", METRICS_AGG_NOTHING, 0 },
	NONE("unplug_all_count"),
	NONE("unplug_all_fails"),
	{ "unplug_all_agg", METRICS_AGG_NOTHING, 0 },
};

#define GROUP(name)                                                                                \
	{                                                                                          \
#name, name, ARRAY_SIZE(name)                                                      \
	}

const struct metrics_group metrics_groups[] = {
	GROUP(api_server),
	GROUP(balloon),
	GROUP(deprecated_api),
	GROUP(entropy),
	GROUP(get_api_requests),
	GROUP(i8042),
	GROUP(interrupts),
	GROUP(latencies_us),
	GROUP(logger),
	GROUP(memory_hotplug),
	GROUP(mmds),
	GROUP(patch_api_requests),
	GROUP(pmem),
	GROUP(put_api_requests),
	GROUP(seccomp),
	GROUP(signals),
	GROUP(uart),
	GROUP(vcpu),
	GROUP(vmm),
	GROUP(vsock),
	{ NULL, NULL, 0 },
};
const struct metrics_group metrics_block = GROUP(block), metrics_net = GROUP(net);
