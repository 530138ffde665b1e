/*
 * The contract in its own words: requests with the whole answer, status and texts, in each state of
 * a machine.
 */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "t_api.h"

static void setup(void);

TestSuite(contract, .timeout = 2 * T_SECONDS, .init = setup);

static struct t_api t;
static char folder[] = "/tmp/mvm-test-XXXXXX";

static void make_file(const char *name, off_t bytes)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	t_true(fd >= 0);
	t_int(ftruncate(fd, bytes), 0);
	(void)close(fd);
}

/* Names in rows are those of this folder. */
static void setup(void)
{
	t_quiet();
	t_true(mkdtemp(folder) != NULL);
	t_int(chdir(folder), 0);
	make_file("disk", 4096);
	make_file("other", 8192);
	make_file("kernel", 0);
	t_int(mkfifo("fifo", 0600), 0);
}

static void done(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	t_int(system(command), 0);
}

/*
 * "METHOD target body": body is what follows the second blank, if there is one.  text is the fault,
 * or the body of another answer; NULL: whatever it is.
 */
struct row {
	const char *request;
	int status;
	const char *text;
	bool is_deprecated;
};

static int ask(const char *request)
{
	char method[16] = "", target[1024] = "";
	const char *blank = strchr(request, ' '), *body;

	t_true(blank != NULL);
	body = strchr(blank + 1, ' ');
	(void)snprintf(method, sizeof(method), "%.*s", (int)(blank - request), request);
	(void)snprintf(target, sizeof(target), "%.*s",
		(int)(body ? (size_t)(body - blank - 1) : strlen(blank + 1)), blank + 1);
	return t_api(&t, method, target, body ? body + 1 : NULL);
}

/* One after the other, on the same machine. */
static void run(const struct row *row, unsigned n)
{
	for (unsigned i = 0; i < n; i++, row++) {
		int status = ask(row->request);
		const char *text = status == 400 ? t_fault() : t_body();

		cr_expect(eq(int, status, row->status), "'%s': %s", row->request, text);
		if (row->text)
			cr_expect(eq(int, strcmp(text, row->text), 0),
				"'%s':\n got \"%s\"\nwant \"%s\"", row->request, text, row->text);
		t_row_int(row->request, t_is_deprecated(), row->is_deprecated);
	}
	(void)printf("# %u rows\n", n);
	(void)fflush(stdout);
}

#define RUN(rows) run(rows, ARRAY_SIZE(rows))
#define JSON      "An error occurred when deserializing the json body of a request: "
#define BEFORE    "The requested operation is not supported before starting the microVM."
#define AFTER     "The requested operation is not supported after starting the microVM."
#define BAD_ID    "API Resource IDs can only contain alphanumeric characters and underscores."
#define ID_64     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

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
	done();
}

#define DRIVE(id) "{\"drive_id\":\"" id "\",\"is_root_device\":false,\"path_on_host\":\"disk\"}"

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
	done();
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
	done();
}

/* --- before the start --- */

#define CPUS                                                                                       \
	"Machine config error: The number of vCPUs must be greater than 0, less than 32 and must " \
	"be 1 or an even number if SMT is enabled."
#define MEMORY                                                                                     \
	"Machine config error: The memory size (MiB) is either 0, or not a multiple of the "       \
	"configured page size."
#define MACHINE(cpus, mem, smt, dirty, pages)                                                      \
	"{\"vcpu_count\":" cpus ",\"mem_size_mib\":" mem ",\"smt\":" smt                           \
	",\"track_dirty_pages\":" dirty ",\"huge_pages\":\"" pages "\"}"

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
	done();
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
	done();
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
	done();
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
	done();
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
	done();
}

Test(contract, actions_before_the_start)
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
	done();
}

/* --- snapshots --- */

#define LOAD         "PUT /snapshot/load {\"snapshot_path\":\"s\""
#define FILE_BACKEND ",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"m\"}"

Test(contract, loading_a_snapshot)
{
	static const struct row rows[] = {
		{ LOAD "}", 400,
			"missing field: either `mem_backend` or `mem_file_path` is required" },
		{ LOAD FILE_BACKEND ",\"mem_file_path\":\"m\"}", 400,
			"too many fields: either `mem_backend` or `mem_file_path` exclusively is "
			"required",
			true },
		{ LOAD FILE_BACKEND "}", 400,
			"Load snapshot error: This version cannot load snapshots yet." },
		{ LOAD ",\"mem_file_path\":\"m\"}", 400,
			"Load snapshot error: This version cannot load snapshots yet.", true },
		{ LOAD FILE_BACKEND ",\"enable_diff_snapshots\":false}", 400,
			"Load snapshot error: This version cannot load snapshots yet.", true },
		{ LOAD FILE_BACKEND ",\"resume_vm\":true,\"track_dirty_pages\":true,"
				    "\"clock_realtime\":true,\"huge_pages\":\"Snapshot\","
				    "\"vsock_override\":null,\"network_overrides\":[{\"iface_id\":"
				    "\"e\",\"host_dev_name\":\"t\"}]}",
			400, "Load snapshot error: This version cannot load snapshots yet." },
		{ LOAD FILE_BACKEND ",\"vsock_override\":{\"uds_path\":\"v\"}}", 400,
			"Load snapshot error: This monitor has no vsock device (field "
			"`vsock_override`)." },
		{ "PUT /snapshot/load {}", 400,
			JSON "missing field `snapshot_path` at line 1 column 2." },
		{ "PUT /snapshot/create {\"snapshot_path\":\"s\",\"mem_file_path\":\"m\"}", 400,
			BEFORE },
		/* Even a request that fails describes something. */
		{ "PUT /boot-source {\"kernel_image_path\":\"missing\"}", 400 },
		{ LOAD FILE_BACKEND "}", 400,
			"Load snapshot error: Loading a microVM snapshot not allowed after "
			"configuring boot-specific resources." },
	};

	t_api_init(&t);
	RUN(rows);
	t_uint(t.api.counters.deprecated, 3);
	t_api_fini(&t);
	done();
}

/* --- while it runs --- */

#define PATCHED                                                                                    \
	"Drive config error: Unable to patch the block device: Failed perform action on device: "

Test(contract, machine_that_runs)
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
		{ "PUT /snapshot/create {\"snapshot_path\":\"s\",\"mem_file_path\":\"m\"}", 400,
			"Create snapshot error: Cannot save the microVM state: Operation not "
			"allowed: save/restore unavailable while running" },
		{ LOAD FILE_BACKEND "}", 400, AFTER },
		{ "PATCH /vm {\"state\":\"Resumed\"}", 204, "" },
		{ "PATCH /vm {\"state\":\"Paused\"}", 204, "" },
		{ "PATCH /vm {\"state\":\"Paused\"}", 204, "" },
		{ "GET /", 200,
			"{\"id\":\"test-1\",\"state\":\"Paused\",\"vmm_version\":\"1.17.0\","
			"\"app_name\":\"Firecracker\"}" },
		{ "PUT /snapshot/create {\"snapshot_path\":\"s\",\"mem_file_path\":\"m\"}", 400,
			"Create snapshot error: This version cannot write snapshots yet." },
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
	done();
}

Test(contract, whole_configuration)
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
	done();
}
