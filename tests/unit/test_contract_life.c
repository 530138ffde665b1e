/*
 * The contract in its own words: start, life, and all that was configured.
 */
#include "t.h"

#include "t_contract.h"

static void setup(void);

TestSuite(contract_life, .timeout = 2 * T_SECONDS, .init = setup);

static void setup(void)
{
	t_quiet();
	t_folder();
}

Test(contract_life, actions_before_the_start)
{
	static const struct row rows[] = {
		{ "PUT /actions {\"action_type\":\"InstanceStart\"}", 400,
			"Start microvm error: Cannot start microvm without kernel "
			"configuration." },
		{ "PUT /actions {\"action_type\":\"FlushMetrics\"}", 400, BEFORE },
		{ "PUT /actions {\"action_type\":\"SendCtrlAltDel\"}", 400, BEFORE },
		{ "PUT /actions {\"action_type\":\"Explode\"}", 400,
			JSON "unknown variant `Explode`, expected one of `InstanceStart`, "
			     "`FlushMetrics`, `SendCtrlAltDel` at line 1 column 24. Field: "
			     "`action_type`." },
		{ "PATCH /vm {\"state\":\"Paused\"}", 400, BEFORE },
		/* A start that fails can be mended. */
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\"}", 204, "" },
		{ "PUT /actions {\"action_type\":\"InstanceStart\"}", 400 },
	};

	t_api_init(&t);
	RUN(rows);
	t_has(t_fault(), "Start microvm error: ");
	t_api_start(&t);
	t_api_fini(&t);
	t_folder_done();
}

/* --- while it runs --- */

#define PATCHED                                                                                    \
	"Drive config error: Unable to patch the block device: Failed perform action on device: "

Test(contract_life, machine_that_runs)
{
	static const struct row rows[] = {
		{ "PUT /actions {\"action_type\":\"InstanceStart\"}", 400, AFTER },
		{ "PUT /actions {\"action_type\":\"FlushMetrics\"}", 204, "" },
		{ "PUT /actions {\"action_type\":\"SendCtrlAltDel\"}", 204, "" },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":128}", 400, AFTER },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\"}", 400, AFTER },
		/* The phase is looked at when the body is known to be right. */
		{ "PUT /boot-source {}", 400,
			JSON "missing field `kernel_image_path` at line 1 column 2." },
		{ "PUT /logger {}", 400, AFTER },
		{ "PUT /metrics {\"metrics_path\":\"m\"}", 400, AFTER },
		{ "PUT /drives/n " DRIVE("n"), 400,
			"PCI manager error: PCI is not enabled. " AFTER },
		{ "DELETE /drives/d", 400, "PCI manager error: PCI is not enabled." },
		{ "DELETE /network-interfaces/d", 400, "PCI manager error: PCI is not enabled." },
		{ "PATCH /drives/x {\"drive_id\":\"x\",\"path_on_host\":\"disk\"}", 400,
			PATCHED "Device not found Please verify the request arguments." },
		{ "PATCH /drives/d {\"drive_id\":\"d\"}", 400,
			PATCHED "Running method expected different backend. Please verify the "
				"request arguments." },
		{ "PATCH /drives/d {\"drive_id\":\"d\",\"path_on_host\":\"missing\"}", 400,
			PATCHED
			"Virtio backend error: Error manipulating the backing file: No such "
			"file or directory (os error 2) missing Please verify the request "
			"arguments." },
		{ "PATCH /drives/d {\"drive_id\":\"d\",\"path_on_host\":\"other\"}", 204, "" },
		{ "PATCH /drives/d {\"drive_id\":\"d\",\"path_on_host\":\"other\"}", 204, "" },
		{ "PATCH /drives/d {\"drive_id\":\"d\",\"rate_limiter\":{\"ops\":{\"size\":5,"
		  "\"refill_time\":6,\"one_time_burst\":7}}}",
			204, "" },
		{ "PATCH /network-interfaces/x {\"iface_id\":\"x\"}", 400,
			"Network config error: Failed perform action on device: Device not "
			"found" },
		{ "PATCH /vm {\"state\":\"Resumed\"}", 204, "" },
		{ "PATCH /vm {\"state\":\"Paused\"}", 204, "" },
		{ "PATCH /vm {\"state\":\"Paused\"}", 204, "" },
		{ "GET /", 200,
			"{\"id\":\"test-1\",\"state\":\"Paused\",\"vmm_version\":\"1.17.0\","
			"\"app_name\":\"Firecracker\"}" },
		{ "PATCH /drives/d {\"drive_id\":\"d\",\"path_on_host\":\"disk\"}", 204, "" },
		{ "PATCH /vm {\"state\":\"Resumed\"}", 204, "" },
	};

	t_api_init(&t);
	t_int(ask("PUT /drives/d " DRIVE("d")), 204);
	t_api_start(&t);
	RUN(rows);
	t_int(ask("GET /vm/config"), 200);
	t_has(t_body(), "\"path_on_host\":\"disk\",\"rate_limiter\":{\"bandwidth\":null,\"ops\":"
			"{\"size\":5,\"one_time_burst\":7,\"refill_time\":6}}");
	t_api_end(&t);
	t_int(ask("PUT /actions {\"action_type\":\"InstanceStart\"}"), 400);
	t_str(t_fault(), "The requested operation is not supported after the end of the microVM.");
	t_api_fini(&t);
	t_folder_done();
}

Test(contract_life, whole_configuration)
{
	static const char before[] =
		"{\"balloon\":null,\"boot-source\":null,\"cpu-config\":null,\"drives\":[],"
		"\"entropy\":null,\"logger\":null,\"machine-config\":" MACHINE("1", "128", "false",
			"false", "None") ",\"memory-hotplug\":null,\"metrics\":"
					 "null,\"mmds-config\":null,"
					 "\"network-interfaces\":[],\"pmem\":[],"
					 "\"vsock\":null}";
	static const char after[] =
		"\"boot-source\":{\"kernel_image_path\":\"kernel\",\"initrd_path\":null,"
		"\"boot_args\":null},\"cpu-config\":null,\"drives\":[{\"drive_id\":\"d\","
		"\"partuuid\":null,\"is_root_device\":false,\"cache_type\":\"Unsafe\","
		"\"is_read_only\":false,\"path_on_host\":\"disk\",\"rate_limiter\":null,"
		"\"io_engine\":\"Sync\",\"socket\":null},{\"drive_id\":\"e\",\"partuuid\":\"p\","
		"\"is_root_device\":true,\"cache_type\":\"Writeback\",\"is_read_only\":true,"
		"\"path_on_host\":\"other\",\"rate_limiter\":{\"bandwidth\":null,\"ops\":null},"
		"\"io_engine\":\"Async\",\"socket\":null}]";

	t_api_init(&t);
	t_int(ask("GET /vm/config"), 200);
	t_str(t_body(), before);
	t_int(ask("PUT /boot-source {\"kernel_image_path\":\"kernel\"}"), 204);
	t_int(ask("PUT /drives/d " DRIVE("d")), 204);
	t_int(ask("PUT /drives/e {\"drive_id\":\"e\",\"is_root_device\":true,\"path_on_host\":"
		  "\"other\",\"partuuid\":\"p\",\"is_read_only\":true,\"cache_type\":\"Writeback\","
		  "\"io_engine\":\"Async\",\"rate_limiter\":{}}"),
		204);
	t_int(ask("GET /vm/config"), 200);
	t_has(t_body(), after);
	t_api_fini(&t);
	t_folder_done();
}
