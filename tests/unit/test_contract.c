/*
 * The contract in its own words, before the start: requests with the whole answer, status and
 * texts.
 */
#include "t.h"

#include "t_contract.h"

static void setup(void);

TestSuite(contract, .timeout = 2 * T_SECONDS, .init = setup);

static void setup(void)
{
	t_quiet();
	t_folder();
}

/* --- paths and bodies --- */

Test(contract, paths)
{
	static const struct row rows[] = {
		{ "GET /", 200,
			"{\"id\":\"test-1\",\"state\":\"Not started\",\"vmm_version\":\"1.17.0\","
			"\"app_name\":\"Firecracker\"}" },
		{ "GET //", 200 },
		{ "GET /?x=1", 200 },
		{ "GET /version", 200, "{\"firecracker_version\":\"1.17.0\"}" },
		{ "GET ///version", 200 },
		{ "GET /version/x/y", 200 },
		{ "GET /version/", 200 },
		{ "GET /version?x", 200 },
		{ "GET /Version", 400, "Invalid request method and/or path: GET Version." },
		{ "GET /versio", 400, "Invalid request method and/or path: GET versio." },
		{ "GET /foo/bar", 400, "Invalid request method and/or path: GET foo." },
		{ "GET /vm", 400, "Invalid request method and/or path: GET vm." },
		{ "GET /vm/configs", 400, "Invalid request method and/or path: GET vm." },
		{ "GET /vm/config/x", 200 },
		{ "DELETE /machine-config", 400,
			"Invalid request method and/or path: DELETE machine-config." },
		{ "POST /actions {}", 400, "Invalid request method and/or path: POST actions." },
		{ "PUT /snapshot/other {}", 400,
			"Invalid request method and/or path: PUT snapshot." },
		{ "PUT / {}", 400, "Invalid request method and/or path: PUT ." },
		{ "GET /version {}", 400, "GET request cannot have a body." },
		{ "PUT /boot-source", 400, "Empty PUT request." },
		{ "PUT /nowhere", 400, "Empty PUT request." },
		{ "PATCH /vm", 400, "Empty PATCH request." },
		{ "DELETE /drives/a {}", 400, "Empty Delete request." },
	};

	t_api_init(&t);
	RUN(rows);
	t_api_fini(&t);
	t_folder_done();
}

Test(contract, ids)
{
	static const struct row rows[] = {
		{ "PUT /drives " DRIVE("a"), 400, "The ID cannot be empty." },
		{ "PUT /drives/ " DRIVE("a"), 400, "The ID cannot be empty." },
		{ "PUT /drives// " DRIVE("a"), 400, "The ID cannot be empty." },
		{ "PUT /drives/a.b " DRIVE("a.b"), 400, BAD_ID },
		{ "PUT /drives/.. " DRIVE(".."), 400, BAD_ID },
		{ "PUT /drives/a-b " DRIVE("a-b"), 400, BAD_ID },
		{ "PUT /drives/a%62 " DRIVE("ab"), 400, BAD_ID },
		{ "PUT /drives/\xc3\xa4 " DRIVE("\xc3\xa4"), 400, BAD_ID },
		{ "PUT /drives/\xff " DRIVE("a"), 400, BAD_ID },
		{ "PUT /drives/" ID_64 "a " DRIVE("a"), 400,
			"API Resource IDs can have at most 64 characters." },
		{ "PUT /drives/a " DRIVE("b"), 400,
			"The id from the path does not match the id from the body!" },
		{ "PUT /drives/a " DRIVE("a/b"), 400,
			"The id from the path does not match the id from the body!" },
		{ "PUT /drives/" ID_64 " " DRIVE(ID_64), 204, "" },
		{ "PUT /drives/" ID_64 "/more " DRIVE(ID_64), 204, "" },
		{ "PATCH /drives/a.b {}", 400, BAD_ID },
		{ "DELETE /drives/a.b", 400, BAD_ID },
		{ "DELETE /drives", 400, "The ID cannot be empty." },
		{ "PUT /network-interfaces {}", 400, "The ID cannot be empty." },
		{ "PUT /network-interfaces/a+b {}", 400, BAD_ID },
		{ "PUT /network-interfaces/a {\"iface_id\":\"b\",\"host_dev_name\":\"t\"}", 400,
			"The id from the path [a] does not match the id from the body [b]!" },
		{ "PATCH /network-interfaces/a {\"iface_id\":\"b\"}", 400,
			"The id from the path [a] does not match the id from the body [b]!" },
	};

	t_api_init(&t);
	RUN(rows);
	t_api_fini(&t);
	t_folder_done();
}

Test(contract, bodies)
{
	static const struct row rows[] = {
		{ "PUT /actions {}", 400, JSON "missing field `action_type` at line 1 column 2." },
		{ "PUT /actions {\"a\":1}", 400,
			JSON "unknown field `a`, expected `action_type` at line 1 column 4." },
		{ "PUT /vm {\"state\":\"Paused\"}", 400,
			"Invalid request method and/or path: PUT vm." },
		{ "PATCH /vm {\"state\":\"Halted\"}", 400,
			JSON "unknown variant `Halted`, expected `Paused` or `Resumed` at line 1 "
			     "column 17. Field: `state`." },
		{ "PUT /machine-config {\"vcpu_count\":300,\"mem_size_mib\":128}", 400,
			JSON
			"invalid value: integer `300`, expected u8 at line 1 column 17. Field: "
			"`vcpu_count`." },
		{ "PUT /machine-config {\"vcpu_count\":1}", 400,
			JSON "missing field `mem_size_mib` at line 1 column 16." },
		{ "PUT /drives/a "
		  "{\"drive_id\":\"a\",\"is_root_device\":false,\"rate_limiter\":{\"ops\":{"
		  "\"size\":1}}"
		  "}",
			400,
			JSON "missing field `refill_time` at line 1 column 71. Field: "
			     "`rate_limiter.ops.refill_time`." },
		{ "PUT /machine-config {", 400,
			JSON "EOF while parsing an object at line 1 column 1." },
	};

	t_api_init(&t);
	RUN(rows);
	t_false(t.in->is_boot_path);
	t_api_fini(&t);
	t_folder_done();
}

/* --- before the start --- */

#define CPUS                                                                                       \
	"Machine config error: The number of vCPUs must be greater than 0, less than 32 and must " \
	"be 1 or an even number if SMT is enabled."
#define MEMORY                                                                                     \
	"Machine config error: The memory size (MiB) is either 0, or not a multiple of the "       \
	"configured page size."
Test(contract, machine)
{
	static const struct row rows[] = {
		{ "GET /machine-config", 200, MACHINE("1", "128", "false", "false", "None") },
		{ "PUT /machine-config {\"vcpu_count\":0,\"mem_size_mib\":128}", 400, CPUS },
		{ "PUT /machine-config {\"vcpu_count\":33,\"mem_size_mib\":128}", 400, CPUS },
		{ "PUT /machine-config {\"vcpu_count\":255,\"mem_size_mib\":128}", 400, CPUS },
		{ "PUT /machine-config {\"vcpu_count\":3,\"mem_size_mib\":128,\"smt\":true}", 400,
			CPUS },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":0}", 400, MEMORY },
		{ "PUT /machine-config "
		  "{\"vcpu_count\":1,\"mem_size_mib\":65,\"huge_pages\":\"2M\"}",
			400, MEMORY },
		{ "PUT /machine-config {\"vcpu_count\":1,\"mem_size_mib\":18446744073709551615}",
			400 },
		{ "GET /machine-config", 200, MACHINE("1", "128", "false", "false", "None") },
		{ "PUT /machine-config {\"vcpu_count\":32,\"mem_size_mib\":66,\"smt\":true,"
		  "\"track_dirty_pages\":true,\"huge_pages\":\"2M\"}",
			204, "" },
		{ "GET /machine-config", 200, MACHINE("32", "66", "true", "true", "2M") },
		{ "PATCH /machine-config {}", 400, "Empty PATCH request." },
		{ "PATCH /machine-config {\"smt\":null}", 400, "Empty PATCH request." },
		{ "PATCH /machine-config {\"vcpu_count\":5}", 400, CPUS },
		{ "PATCH /machine-config {\"mem_size_mib\":67}", 400, MEMORY },
		{ "PATCH /machine-config {\"vcpu_count\":5,\"smt\":false}", 204, "" },
		{ "PATCH /machine-config {\"huge_pages\":\"Transparent\"}", 204, "" },
		{ "GET /machine-config", 200, MACHINE("5", "66", "false", "true", "Transparent") },
		{ "PUT /machine-config {\"vcpu_count\":2,\"mem_size_mib\":64}", 204, "" },
		{ "GET /machine-config", 200, MACHINE("2", "64", "false", "false", "None") },
		{ "PUT /machine-config "
		  "{\"vcpu_count\":2,\"mem_size_mib\":64,\"cpu_template\":\"None\"}",
			204, "", true },
		{ "PATCH /machine-config {\"cpu_template\":\"None\"}", 204, "", true },
		{ "PATCH /machine-config {\"cpu_template\":\"T2\"}", 400,
			"Machine config error: There are no static CPU templates (field "
			"`cpu_template`); use /cpu-config.",
			true },
		{ "PATCH /machine-config {\"cpu_template\":\"T9\"}", 400,
			JSON "unknown variant `T9`, expected one of `C3`, `T2`, `T2S`, `T2CL`, "
			     "`T2A`, `V1N1`, `None` at line 1 column 20. Field: `cpu_template`." },
	};

	t_api_init(&t);
	RUN(rows);
	t_uint(t.api.counters.deprecated, 3);
	t_api_fini(&t);
	t_folder_done();
}

Test(contract, boot_source)
{
	static char long_args[4096];
	static const char *const begin = "PUT /boot-source {\"kernel_image_path\":\"kernel\","
					 "\"boot_args\":\"";
	static const struct row rows[] = {
		{ "PUT /boot-source {\"kernel_image_path\":\"missing\"}", 400,
			"Boot source error: The kernel file cannot be opened: No such file or "
			"directory (os error 2)" },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel/x\"}", 400,
			"Boot source error: The kernel file cannot be opened: Not a directory (os "
			"error 20)" },
		{ "PUT /boot-source {\"kernel_image_path\":\".\"}", 400,
			"Boot source error: The kernel file cannot be opened: Is a directory (os "
			"error 21)" },
		{ "PUT /boot-source {\"kernel_image_path\":\"\"}", 400,
			"Boot source error: The kernel file cannot be opened: No such file or "
			"directory (os error 2)" },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"initrd_path\":\"no\"}", 400,
			"Boot source error: The initrd file cannot be opened due to invalid path "
			"or invalid permissions. No such file or directory (os error 2)" },
		{ "PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"a\\nb\"}",
			400,
			"Boot source error: The kernel command line is invalid: `boot_args` "
			"contains a non-printable ASCII character." },
		{ long_args, 400,
			"Boot source error: The kernel command line is invalid: `boot_args` has "
			"2048 bytes, the limit is 2047." },
		{ "PUT /boot-source {\"kernel_image_path\":\"fifo\"}", 204, "" },
		{ "PUT /boot-source "
		  "{\"kernel_image_path\":\"kernel\",\"initrd_path\":null,\"boot_args\":null}",
			204, "" },
	};
	size_t len = strlen(begin);

	memcpy(long_args, begin, len);
	memset(long_args + len, 'a', 2048);
	memcpy(long_args + len + 2048, "\"}", 3);
	t_api_init(&t);
	RUN(rows);
	t_true(!t.in->boot.cmdline);
	t_int(ask("PUT /boot-source {\"kernel_image_path\":\"kernel\",\"boot_args\":\"\"}"), 204);
	t_str(t.in->boot.cmdline, "");
	t_api_fini(&t);
	t_folder_done();
}

#define NO_BACKEND                                                                                 \
	"Drive config error: Unable to create the virtio block device: Invalid block config. "     \
	"Field: "

Test(contract, drives)
{
	static const struct row rows[] = {
		{ "PUT /drives/a "
		  "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"missing\"}",
			400,
			"Drive config error: Unable to create the virtio block device: Virtio "
			"backend error: Error manipulating the backing file: No such file or "
			"directory (os error 2) missing" },
		{ "PUT /drives/a {\"drive_id\":\"a\",\"is_root_device\":true}", 400,
			NO_BACKEND "`path_on_host`." },
		{ "PUT /drives/a "
		  "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"disk\","
		  "\"socket\":\"s\"}",
			400, NO_BACKEND "`socket`." },
		{ "PUT /drives/a {\"drive_id\":\"a\",\"is_root_device\":true,\"socket\":\"s\"}",
			400,
			"Drive config error: Unable to create the virtio block device: This "
			"monitor has no vhost-user devices (field `socket`)." },
		{ "PUT /drives/a "
		  "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"fifo\"}",
			400 },
		{ "PUT /drives/a "
		  "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"disk\"}",
			204, "" },
		{ "PUT /drives/b "
		  "{\"drive_id\":\"b\",\"is_root_device\":true,\"path_on_host\":\"other\"}",
			400, "Drive config error: A root block device already exists!" },
		{ "PUT /drives/a "
		  "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"disk\","
		  "\"rate_limiter\":{}}",
			204, "" },
		{ "PATCH /drives/a {\"drive_id\":\"a\"}", 400, BEFORE },
		{ "DELETE /drives/a", 400, BEFORE },
	};

	t_api_init(&t);
	RUN(rows);
	/* A second process, or a second name, finds it locked. */
	t_int(ask("PUT /drives/c "
		  "{\"drive_id\":\"c\",\"is_root_device\":false,\"path_on_host\":\"disk\"}"),
		400);
	t_has(t_fault(), "Drive config error: Unable to create the virtio block device: ");
	t_api_fini(&t);
	t_folder_done();
}

Test(contract, network_interfaces)
{
	static const struct row rows[] = {
		{ "PUT /network-interfaces/a "
		  "{\"iface_id\":\"a\",\"host_dev_name\":\"a_name_too_long_for_a_tap\"}",
			400,
			"Network config error: Could not create the network device: Open tap "
			"device failed: Error while creating ifreq structure: File name too long "
			"(os error 36). Invalid TUN/TAP Backend provided by "
			"a_name_too_long_for_a_tap. Check our documentation on setting up the "
			"network devices." },
		{ "PUT /network-interfaces/a "
		  "{\"iface_id\":\"a\",\"host_dev_name\":\"t\",\"mtu\":67}",
			400, "Network config error: MTU 67 is out of range [68, 65535]" },
		{ "PUT /network-interfaces/a "
		  "{\"iface_id\":\"a\",\"host_dev_name\":\"t\",\"mtu\":65536}",
			400,
			JSON "invalid value: integer `65536`, expected u16 at line 1 column 47. "
			     "Field: `mtu`." },
		{ "PUT /network-interfaces/a "
		  "{\"iface_id\":\"a\",\"host_dev_name\":\"t\",\"guest_mac\":\"02:00:00:00:00\"}",
			400,
			"Network config error: `guest_mac` \"02:00:00:00:00\" is not a MAC "
			"address: "
			"six bytes in hexadecimal with colons between them" },
		{ "PUT /network-interfaces/a "
		  "{\"iface_id\":\"a\",\"host_dev_name\":\"t\",\"guest_mac\":"
		  "\"01:00:00:00:00:01\"}",
			400 },
		{ "PATCH /network-interfaces/a {\"iface_id\":\"a\"}", 400, BEFORE },
		{ "PATCH /network-interfaces/a {\"iface_id\":\"a\",\"mtu\":1500}", 400,
			JSON "unknown field `mtu`, expected one of `iface_id`, `rx_rate_limiter`, "
			     "`tx_rate_limiter` at line 1 column 21." },
	};

	t_api_init(&t);
	RUN(rows);
	t_true(t.in->is_boot_path);
	t_api_fini(&t);
	t_folder_done();
}

Test(contract, logger_metrics_serial_and_cpu)
{
	static const struct row rows[] = {
		{ "PUT /logger {\"log_path\":\"no/log\"}", 400,
			"Logger error: Failed to open target file: No such file or directory (os "
			"error 2)" },
		{ "PUT /logger {\"log_path\":\".\"}", 400,
			"Logger error: Failed to open target file: Is a directory (os error 21)" },
		{ "PUT /logger {\"level\":\"loud\"}", 400,
			JSON "unknown variant `loud`, expected one of `Off`, `Error`, `Warn`, "
			     "`Warning`, `Info`, `Debug`, `Trace` at line 1 column 15. Field: "
			     "`level`." },
		{ "PUT /logger {\"log_path\":\"log\",\"level\":\"wArNiNg\",\"show_level\":true}",
			204, "" },
		{ "PUT /logger {}", 204, "" },
		{ "PUT /metrics {\"metrics_path\":\"no/metrics\"}", 400,
			"Metrics error: Cannot initialize the metrics system due to bad user "
			"input: No such file or directory (os error 2)" },
		{ "PUT /metrics {\"metrics_path\":\".\"}", 400 },
		{ "PUT /metrics {\"metrics_path\":\"metrics\",\"unknown\":[1]}", 204, "" },
		{ "PUT /metrics {\"metrics_path\":\"metrics\"}", 400,
			"Metrics error: Cannot initialize the metrics system due to bad user "
			"input: Reinitialization of metrics not allowed." },
		{ "PUT /serial {\"serial_out_path\":\"no/serial\"}", 400 },
		{ "PUT /serial {\"serial_out_path\":\"serial\",\"rate_limiter\":"
		  "{\"size\":1,\"refill_time\":1}}",
			204, "" },
		{ "PUT /serial {}", 204, "" },
		{ "PUT /cpu-config {\"kvm_capabilities\":[\"121\",\"!56\"]}", 204, "" },
		{ "PUT /cpu-config {\"kvm_capabilities\":[\"!\"]}", 400,
			"Configure CPU error: kvm_capabilities[0]: \"!\" is not the number of a "
			"capability, with ! in front or without" },
		{ "PUT /cpu-config "
		  "{\"msr_modifiers\":[{\"addr\":\"0x10a\",\"bitmap\":\"1\"}]}",
			400,
			"Configure CPU error: msr_modifiers[0]: bitmap: \"1\" is not a bitmap: 0b "
			"and up to 64 of 0, 1 and x, the highest bit first" },
	};

	t_api_init(&t);
	RUN(rows);
	/* None of these is in the way of a snapshot. */
	t_false(t.in->is_boot_path);
	t_api_fini(&t);
	t_folder_done();
}
