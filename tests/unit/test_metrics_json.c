/* Lines of metrics: their keys, and what the numbers are. */
#include "t_metrics.h"

#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "t.h"

TestSuite(metrics_json, .timeout = T_SECONDS);

#define AGG(name) name ".min_us " name ".max_us " name ".sum_us "

/* What clients check for, written down apart from the program's own tables. */
static const char *const block_keys =
	"activate_fails cfg_fails no_avail_buffer event_fails execute_fails invalid_reqs_count "
	"flush_count queue_event_count rate_limiter_event_count update_count update_fails "
	"read_bytes write_bytes read_count write_count rate_limiter_throttled_events "
	"io_engine_throttled_events remaining_reqs_count " AGG("read_agg") AGG("write_agg");

static const char *const net_keys =
	"activate_fails cfg_fails no_rx_avail_buffer no_tx_avail_buffer event_fails "
	"rx_queue_event_count rx_event_rate_limiter_count rx_rate_limiter_throttled "
	"rx_tap_event_count rx_bytes_count rx_packets_count rx_fails rx_count tap_read_fails "
	"tap_write_fails tx_bytes_count tx_malformed_frames tx_fails tx_count tx_packets_count "
	"tx_queue_event_count tx_rate_limiter_event_count tx_rate_limiter_throttled "
	"tx_spoofed_mac_count tx_remaining_reqs_count " AGG("tap_write_agg");

static const struct {
	const char *group, *keys;
} contract[] = {
	{ "api_server", "process_startup_time_us process_startup_time_cpu_us" },
	{ "balloon", "activate_fails inflate_count stats_updates_count stats_update_fails "
		     "deflate_count event_fails free_page_report_count free_page_report_freed "
		     "free_page_report_fails free_page_hint_count free_page_hint_freed "
		     "free_page_hint_fails" },
	{ "deprecated_api", "deprecated_http_api_calls" },
	{ "entropy", "activate_fails entropy_event_fails entropy_event_count entropy_bytes "
		     "host_rng_fails entropy_rate_limiter_throttled rate_limiter_event_count" },
	{ "get_api_requests", "instance_info_count machine_cfg_count mmds_count "
			      "vmm_version_count hotplug_memory_count" },
	{ "i8042", "error_count missed_read_count missed_write_count read_count reset_count "
		   "write_count" },
	{ "interrupts", "triggers config_updates" },
	{ "latencies_us",
		"full_create_snapshot diff_create_snapshot load_snapshot pause_vm resume_vm "
		"vmm_full_create_snapshot vmm_diff_create_snapshot vmm_load_snapshot vmm_pause_vm "
		"vmm_resume_vm" },
	{ "logger", "missed_metrics_count metrics_fails missed_log_count rate_limited_log_count" },
	{ "memory_hotplug",
		"activate_fails queue_event_fails queue_event_count plug_count plug_bytes "
		"plug_fails unplug_count unplug_bytes unplug_fails unplug_discard_fails "
		"state_count state_fails unplug_all_count unplug_all_fails " AGG("plug_agg")
			AGG("unplug_agg") AGG("state_agg") AGG("unplug_all_agg") },
	{ "mmds", "rx_accepted rx_accepted_err rx_accepted_unusual rx_bad_eth rx_invalid_token "
		  "rx_no_token rx_count tx_bytes tx_count tx_errors tx_frames "
		  "connections_created connections_destroyed" },
	{ "patch_api_requests",
		"drive_count drive_fails network_count network_fails machine_cfg_count "
		"machine_cfg_fails mmds_count mmds_fails hotplug_memory_count "
		"hotplug_memory_fails pmem_count pmem_fails" },
	{ "pmem", "activate_fails cfg_fails event_fails queue_event_count "
		  "rate_limiter_throttled_events rate_limiter_event_count" },
	{ "put_api_requests",
		"actions_count actions_fails boot_source_count boot_source_fails drive_count "
		"drive_fails logger_count logger_fails machine_cfg_count machine_cfg_fails "
		"cpu_cfg_count cpu_cfg_fails metrics_count metrics_fails network_count "
		"network_fails mmds_count mmds_fails vsock_count vsock_fails pmem_count "
		"pmem_fails serial_count serial_fails hotplug_memory_count hotplug_memory_fails" },
	{ "seccomp", "num_faults" },
	{ "signals", "sigbus sigsegv sigxfsz sigxcpu sigpipe sighup sigill" },
	{ "uart", "error_count flush_count missed_read_count missed_write_count read_count "
		  "write_count rate_limiter_dropped_bytes" },
	{ "vcpu", "exit_io_in exit_io_out exit_mmio_read exit_mmio_write failures "
		  "kvmclock_ctrl_fails " AGG("exit_io_in_agg") AGG("exit_io_out_agg")
			  AGG("exit_mmio_read_agg") AGG("exit_mmio_write_agg") },
	{ "vmm", "panic_count" },
	{ "vsock", "activate_fails cfg_fails rx_queue_event_fails tx_queue_event_fails "
		   "ev_queue_event_fails muxer_event_fails conn_event_fails rx_queue_event_count "
		   "tx_queue_event_count rx_bytes_count tx_bytes_count rx_packets_count "
		   "tx_packets_count conns_added conns_killed conns_removed killq_resync "
		   "tx_flush_fails tx_write_fails rx_read_fails" },
};

/* Numbers in an object and those in it. */
static unsigned count_numbers(json_t *object)
{
	const char *key;
	json_t *value;
	unsigned n = 0;

	json_object_foreach(object, key, value) n +=
		json_is_object(value) ? count_numbers(value) : 1;
	return n;
}

/* The group has these keys, all of them numbers, and no others. */
static void has_exactly(json_t *line, const char *group, const char *keys)
{
	char copy[2048], *at = copy;
	const char *key;
	unsigned n = 0;

	(void)snprintf(copy, sizeof(copy), "%s", keys);
	while ((key = strsep(&at, " "))) {
		char where[128];

		if (*key == '\0')
			continue;
		(void)snprintf(where, sizeof(where), "%s.%s", group, key);
		(void)t_metrics_number(line, where);
		n++;
	}
	cr_assert(eq(u32, count_numbers(json_object_get(line, group)), n), "surplus keys in %s",
		group);
}

static void has_contract(json_t *line, unsigned more)
{
	for (unsigned i = 0; i < ARRAY_SIZE(contract); i++)
		has_exactly(line, contract[i].group, contract[i].keys);
	has_exactly(line, "block", block_keys);
	has_exactly(line, "net", net_keys);
	(void)t_metrics_number(line, "utc_timestamp_ms");
	t_uint(json_object_size(line), ARRAY_SIZE(contract) + 3 + more);
}

/* --- keys --- */

Test(metrics_json, the_keys_are_exactly_those_that_clients_know)
{
	struct t_metrics t;
	json_t *line;

	t_metrics_init(&t);
	line = t_metrics_line(&t);
	has_contract(line, 3);
	has_exactly(line, "block_root", block_keys);
	has_exactly(line, "block_data", block_keys);
	has_exactly(line, "net_eth0", net_keys);
	json_decref(line);
	t_metrics_fini(&t);
	T_NO_LEAKS();
}

Test(metrics_json, a_machine_that_was_not_started_has_all_groups_too)
{
	struct t_metrics t;
	json_t *line;

	t_metrics_init(&t);
	t.in.vm = NULL;
	t.in.state = INSTANCE_NOT_STARTED;
	line = t_metrics_line(&t);
	has_contract(line, 0);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, id_and_properties_are_there_when_asked_for)
{
	static const char *const property[] = { "zone", "a\"1", "team", "" };
	struct metrics_config c = { .emit_id = true, .nproperties = 2, .property = property };
	struct t_metrics t;
	json_t *line, *properties;

	t_metrics_init(&t);
	c.path = t.path;
	t_int(metrics_open(t.m, &c, NULL), 0);
	line = t_metrics_line(&t);
	has_contract(line, 3 + 2);
	t_str(json_string_value(json_object_get(line, "id")), "vm-1");
	properties = json_object_get(line, "properties");
	t_uint(json_object_size(properties), 2);
	t_str(json_string_value(json_object_get(properties, "zone")), "a\"1");
	t_str(json_string_value(json_object_get(properties, "team")), "");
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, the_time_is_now)
{
	struct t_metrics t;
	json_t *line;
	int64_t ms;

	t_metrics_init(&t);
	line = t_metrics_line(&t);
	ms = (int64_t)time(NULL) * 1000;
	t_true(llabs(t_metrics_number(line, "utc_timestamp_ms") - ms) <= 1000);
	json_decref(line);
	t_metrics_fini(&t);
}

/* --- numbers --- */

Test(metrics_json, each_counter_of_a_device_has_its_key)
{
	static struct t_metrics t;
	struct virtio_counters *disk = &t.dev[T_ROOT].counters, *net = &t.dev[T_NET].counters;
	const struct {
		_Atomic uint64_t *counter;
		const char *where[2];
	} rows[] = {
		{ &disk->activate_fails, { "block_root.activate_fails" } },
		{ &disk->config_fails, { "block_root.cfg_fails" } },
		{ &disk->way[COUNT_READ].no_buffer, { "block_root.no_avail_buffer" } },
		{ &disk->rule_breaks, { "block_root.event_fails" } },
		{ &disk->errors, { "block_root.execute_fails" } },
		{ &disk->unsupported, { "block_root.invalid_reqs_count" } },
		{ &disk->requests[COUNT_FLUSH], { "block_root.flush_count" } },
		{ &disk->way[COUNT_READ].kicks, { "block_root.queue_event_count" } },
		{ &disk->way[COUNT_READ].limiter_events,
			{ "block_root.rate_limiter_event_count" } },
		{ &disk->updates, { "block_root.update_count" } },
		{ &disk->update_fails, { "block_root.update_fails" } },
		{ &disk->bytes[COUNT_READ], { "block_root.read_bytes" } },
		{ &disk->bytes[COUNT_WRITE], { "block_root.write_bytes" } },
		{ &disk->requests[COUNT_READ], { "block_root.read_count" } },
		{ &disk->requests[COUNT_WRITE], { "block_root.write_count" } },
		{ &disk->way[COUNT_READ].throttled,
			{ "block_root.rate_limiter_throttled_events" } },
		{ &disk->way[COUNT_READ].left, { "block_root.remaining_reqs_count" } },
		{ &disk->interrupts, { "interrupts.triggers" } },
		{ &net->config_changes, { "interrupts.config_updates" } },
		{ &net->activate_fails, { "net_eth0.activate_fails" } },
		{ &net->config_fails, { "net_eth0.cfg_fails" } },
		{ &net->way[COUNT_READ].no_buffer, { "net_eth0.no_rx_avail_buffer" } },
		{ &net->way[COUNT_WRITE].no_buffer, { "net_eth0.no_tx_avail_buffer" } },
		{ &net->rule_breaks, { "net_eth0.event_fails" } },
		{ &net->way[COUNT_READ].kicks, { "net_eth0.rx_queue_event_count" } },
		{ &net->way[COUNT_READ].limiter_events,
			{ "net_eth0.rx_event_rate_limiter_count" } },
		{ &net->way[COUNT_READ].throttled, { "net_eth0.rx_rate_limiter_throttled" } },
		{ &net->way[COUNT_READ].backend_events, { "net_eth0.rx_tap_event_count" } },
		{ &net->bytes[COUNT_READ], { "net_eth0.rx_bytes_count" } },
		{ &net->requests[COUNT_READ],
			{ "net_eth0.rx_packets_count", "net_eth0.rx_count" } },
		{ &net->way[COUNT_READ].fails, { "net_eth0.rx_fails" } },
		{ &net->way[COUNT_READ].backend_fails, { "net_eth0.tap_read_fails" } },
		{ &net->way[COUNT_WRITE].backend_fails, { "net_eth0.tap_write_fails" } },
		{ &net->bytes[COUNT_WRITE], { "net_eth0.tx_bytes_count" } },
		{ &net->malformed, { "net_eth0.tx_malformed_frames" } },
		{ &net->way[COUNT_WRITE].fails, { "net_eth0.tx_fails" } },
		{ &net->requests[COUNT_WRITE],
			{ "net_eth0.tx_packets_count", "net_eth0.tx_count" } },
		{ &net->way[COUNT_WRITE].kicks, { "net_eth0.tx_queue_event_count" } },
		{ &net->way[COUNT_WRITE].limiter_events,
			{ "net_eth0.tx_rate_limiter_event_count" } },
		{ &net->way[COUNT_WRITE].throttled, { "net_eth0.tx_rate_limiter_throttled" } },
		{ &net->spoofed, { "net_eth0.tx_spoofed_mac_count" } },
		{ &net->way[COUNT_WRITE].left, { "net_eth0.tx_remaining_reqs_count" } },
	};
	json_t *line;

	t_metrics_init(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		*rows[i].counter = 1000 + i;
	line = t_metrics_line(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned k = 0; k < 2 && rows[i].where[k]; k++)
			t_row_int(rows[i].where[k], t_metrics_number(line, rows[i].where[k]),
				1000 + i);
	}
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, each_counter_of_machine_and_api_has_its_key)
{
	static struct t_metrics t;
	struct vcpu_counters *vcpu;
	struct serial_counters *serial;
	struct i8042_counters *i8042;
	json_t *line;

	t_metrics_init(&t);
	vcpu = &t.vm->vcpu[1].count;
	serial = &t.vm->machine.serial.counters;
	i8042 = &t.vm->machine.i8042.counters;
	const struct {
		void *counter;
		const char *where;
	} rows[] = {
		{ &vcpu->failures, "vcpu.failures" },
		{ &vcpu->kvmclock_ctrl_fails, "vcpu.kvmclock_ctrl_fails" },
		{ &vcpu->access[VCPU_IO_IN].count, "vcpu.exit_io_in" },
		{ &vcpu->access[VCPU_IO_OUT].count, "vcpu.exit_io_out" },
		{ &vcpu->access[VCPU_MMIO_READ].count, "vcpu.exit_mmio_read" },
		{ &vcpu->access[VCPU_MMIO_WRITE].count, "vcpu.exit_mmio_write" },
		{ &serial->reads, "uart.read_count" },
		{ &serial->writes, "uart.write_count" },
		{ &serial->missed_reads, "uart.missed_read_count" },
		{ &serial->missed_writes, "uart.missed_write_count" },
		{ &serial->errors, "uart.error_count" },
		{ &i8042->reads, "i8042.read_count" },
		{ &i8042->writes, "i8042.write_count" },
		{ &i8042->resets, "i8042.reset_count" },
		{ &i8042->missed_reads, "i8042.missed_read_count" },
		{ &i8042->missed_writes, "i8042.missed_write_count" },
		{ &i8042->errors, "i8042.error_count" },
		{ &t.api.deprecated, "deprecated_api.deprecated_http_api_calls" },
		{ &t.api.count[API_GET_INSTANCE_INFO], "get_api_requests.instance_info_count" },
		{ &t.api.count[API_GET_MACHINE_CFG], "get_api_requests.machine_cfg_count" },
		{ &t.api.count[API_GET_VERSION], "get_api_requests.vmm_version_count" },
		{ &t.api.count[API_PUT_ACTIONS], "put_api_requests.actions_count" },
		{ &t.api.fails[API_PUT_ACTIONS], "put_api_requests.actions_fails" },
		{ &t.api.count[API_PUT_BOOT_SOURCE], "put_api_requests.boot_source_count" },
		{ &t.api.fails[API_PUT_BOOT_SOURCE], "put_api_requests.boot_source_fails" },
		{ &t.api.count[API_PUT_DRIVE], "put_api_requests.drive_count" },
		{ &t.api.fails[API_PUT_DRIVE], "put_api_requests.drive_fails" },
		{ &t.api.count[API_PUT_LOGGER], "put_api_requests.logger_count" },
		{ &t.api.fails[API_PUT_LOGGER], "put_api_requests.logger_fails" },
		{ &t.api.count[API_PUT_MACHINE_CFG], "put_api_requests.machine_cfg_count" },
		{ &t.api.fails[API_PUT_MACHINE_CFG], "put_api_requests.machine_cfg_fails" },
		{ &t.api.count[API_PUT_CPU_CFG], "put_api_requests.cpu_cfg_count" },
		{ &t.api.fails[API_PUT_CPU_CFG], "put_api_requests.cpu_cfg_fails" },
		{ &t.api.count[API_PUT_METRICS], "put_api_requests.metrics_count" },
		{ &t.api.fails[API_PUT_METRICS], "put_api_requests.metrics_fails" },
		{ &t.api.count[API_PUT_NETWORK], "put_api_requests.network_count" },
		{ &t.api.fails[API_PUT_NETWORK], "put_api_requests.network_fails" },
		{ &t.api.count[API_PUT_SERIAL], "put_api_requests.serial_count" },
		{ &t.api.fails[API_PUT_SERIAL], "put_api_requests.serial_fails" },
		{ &t.api.count[API_PATCH_DRIVE], "patch_api_requests.drive_count" },
		{ &t.api.fails[API_PATCH_DRIVE], "patch_api_requests.drive_fails" },
		{ &t.api.count[API_PATCH_NETWORK], "patch_api_requests.network_count" },
		{ &t.api.fails[API_PATCH_NETWORK], "patch_api_requests.network_fails" },
		{ &t.api.count[API_PATCH_MACHINE_CFG], "patch_api_requests.machine_cfg_count" },
		{ &t.api.fails[API_PATCH_MACHINE_CFG], "patch_api_requests.machine_cfg_fails" },
		{ &t.api.latency_us[API_PAUSE], "latencies_us.pause_vm" },
		{ &t.api.latency_us[API_RESUME], "latencies_us.resume_vm" },
		{ &t.api.latency_us[API_SAVE_FULL], "latencies_us.full_create_snapshot" },
		{ &t.api.latency_us[API_SAVE_DIFF], "latencies_us.diff_create_snapshot" },
		{ &t.api.latency_us[API_LOAD], "latencies_us.load_snapshot" },
		{ &t.api.vmm_latency_us[API_PAUSE], "latencies_us.vmm_pause_vm" },
		{ &t.api.vmm_latency_us[API_RESUME], "latencies_us.vmm_resume_vm" },
		{ &t.api.vmm_latency_us[API_SAVE_FULL], "latencies_us.vmm_full_create_snapshot" },
		{ &t.api.vmm_latency_us[API_SAVE_DIFF], "latencies_us.vmm_diff_create_snapshot" },
		{ &t.api.vmm_latency_us[API_LOAD], "latencies_us.vmm_load_snapshot" },
	};

	for (uint64_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t value = 1000 + i;

		memcpy(rows[i].counter, &value, sizeof(value));
	}
	line = t_metrics_line(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		t_row_int(rows[i].where, t_metrics_number(line, rows[i].where), 1000 + i);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, counters_are_what_was_added_and_stores_are_as_they_are)
{
	struct t_metrics t;
	json_t *line;

	t_metrics_init(&t);
	count_add(&t.dev[T_ROOT].counters.bytes[COUNT_READ], 100);
	t.api.count[API_PUT_DRIVE] = 3;
	t.api.latency_us[API_PAUSE] = 77;
	json_decref(t_metrics_line(&t));
	count_add(&t.dev[T_ROOT].counters.bytes[COUNT_READ], 11);
	t.api.count[API_PUT_DRIVE]++;
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "block_root.read_bytes"), 11);
	t_int(t_metrics_number(line, "block.read_bytes"), 11);
	t_int(t_metrics_number(line, "put_api_requests.drive_count"), 1);
	t_int(t_metrics_number(line, "latencies_us.pause_vm"), 77);
	json_decref(line);
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "block_root.read_bytes"), 0);
	t_int(t_metrics_number(line, "put_api_requests.drive_count"), 0);
	t_int(t_metrics_number(line, "latencies_us.pause_vm"), 77);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, devices_of_a_kind_are_added_up)
{
	struct t_metrics t;
	json_t *line;

	t_metrics_init(&t);
	count_add(&t.dev[T_ROOT].counters.requests[COUNT_WRITE], 5);
	count_add(&t.dev[T_DATA].counters.requests[COUNT_WRITE], 7);
	count_add(&t.dev[T_NET].counters.requests[COUNT_WRITE], 100);
	count_add(&t.dev[T_ROOT].counters.interrupts, 1);
	count_add(&t.dev[T_NET].counters.interrupts, 2);
	t.vm->vcpu[0].count.failures = 1;
	t.vm->vcpu[1].count.failures = 1;
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "block.write_count"), 12);
	t_int(t_metrics_number(line, "net.tx_count"), 100);
	t_int(t_metrics_number(line, "interrupts.triggers"), 3);
	t_int(t_metrics_number(line, "vcpu.failures"), 2);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, times_have_a_shortest_a_longest_and_a_sum)
{
	struct t_metrics t;
	struct way_counters *way;
	json_t *line;

	t_metrics_init(&t);
	way = t.dev[T_ROOT].counters.way;
	tally_add(&way[COUNT_READ].took, 5000);
	tally_add(&way[COUNT_READ].took, 90000);
	tally_add(&t.dev[T_DATA].counters.way[COUNT_READ].took, 1000);
	json_decref(t_metrics_line(&t));
	tally_add(&way[COUNT_READ].took, 20000);
	line = t_metrics_line(&t);
	/* Since the start; only the sum is what was added. */
	t_int(t_metrics_number(line, "block_root.read_agg.min_us"), 5);
	t_int(t_metrics_number(line, "block_root.read_agg.max_us"), 90);
	t_int(t_metrics_number(line, "block_root.read_agg.sum_us"), 20);
	t_int(t_metrics_number(line, "block_root.write_agg.sum_us"), 0);
	/* Clients add up all devices themselves and compare: sums only. */
	t_int(t_metrics_number(line, "block.read_agg.min_us"), 0);
	t_int(t_metrics_number(line, "block.read_agg.max_us"), 0);
	t_int(t_metrics_number(line, "block.read_agg.sum_us"), 20);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, ticks_are_microseconds)
{
	struct t_metrics t;
	uint64_t from, took;
	json_t *line;

	t_metrics_init(&t);
	from = tick_now();
	(void)usleep(20000);
	took = tick_now() - from;
	tally_add(&t.dev[T_NET].counters.way[COUNT_WRITE].took, took);
	tally_add(&t.vm->vcpu[0].count.access[VCPU_IO_IN], took);
	line = t_metrics_line(&t);
	t_true(t_metrics_number(line, "net_eth0.tap_write_agg.max_us") >= 19000);
	t_true(t_metrics_number(line, "net_eth0.tap_write_agg.max_us") < 10000000);
	t_true(t_metrics_number(line, "vcpu.exit_io_in_agg.sum_us") >= 19000);
	t_int(t_metrics_number(line, "vcpu.exit_io_in"), 1);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, a_counter_that_went_back_or_is_huge_is_no_nonsense)
{
	struct t_metrics t;
	json_t *line;

	t_metrics_init(&t);
	t.dev[T_ROOT].counters.bytes[COUNT_READ] = UINT64_MAX;
	t.api.latency_us[API_LOAD] = UINT64_MAX;
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "block_root.read_bytes"), INT64_MAX);
	t_int(t_metrics_number(line, "latencies_us.load_snapshot"), INT64_MAX);
	json_decref(line);
	t.dev[T_ROOT].counters.bytes[COUNT_READ] = 5;
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "block_root.read_bytes"), 0);
	json_decref(line);
	t_metrics_fini(&t);
}

Test(metrics_json, what_the_log_lost_is_counted)
{
	struct log_budget b = { 0 };
	struct t_metrics t;
	uint32_t swallowed;
	json_t *line;

	t_metrics_init(&t);
	log_init(LOG_ERROR, -1);
	log_error("lost");
	for (unsigned i = 0; i < LOG_BURST + 2; i++)
		(void)log_budget_take(&b, 0, &swallowed);
	line = t_metrics_line(&t);
	t_int(t_metrics_number(line, "logger.missed_log_count"), 1);
	t_int(t_metrics_number(line, "logger.rate_limited_log_count"), 2);
	json_decref(line);
	t_metrics_fini(&t);
}
