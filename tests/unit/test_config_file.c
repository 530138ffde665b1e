/* The config file: sections, their faults with section and field, and what is not there. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/io.h"
#include "t_api.h"

static void setup(void);

TestSuite(config_file, .timeout = T_SECONDS, .init = setup);

static struct t_api t;
static struct err e;
static char folder[] = "/tmp/mvm-test-XXXXXX";

static void make_file(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	t_true(fd >= 0);
	t_int(io_write_full(fd, text, strlen(text)), 0);
	(void)close(fd);
}

static void setup(void)
{
	t_quiet();
	t_true(mkdtemp(folder) != NULL);
	t_int(chdir(folder), 0);
	make_file("kernel", "");
	make_file("disk", "");
	t_int(truncate("disk", 4096), 0);
	make_file("cpu.json", "{\"kvm_capabilities\":[\"!7\"]}");
	make_file("bad.json", "{\"kvm_capabilities\":[7]}");
	t_api_init(&t);
}

static void done(void)
{
	char command[64];

	t_api_fini(&t);
	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	t_int(system(command), 0);
	T_NO_LEAKS();
}

static int apply(const char *text)
{
	return api_apply_config(&t.api, text, strlen(text), &e);
}

#define BOOT    "\"boot-source\":{\"kernel_image_path\":\"kernel\"}"
#define MINIMAL BOOT ",\"drives\":[]"

Test(config_file, least_that_is_needed)
{
	t_int(apply("{" MINIMAL "}"), 0);
	t_str(t.in->boot.kernel, "kernel");
	t_true(t.in->is_boot_path);
	done();
}

Test(config_file, every_section)
{
	static const char text[] =
		"{\"boot-source\":{\"kernel_image_path\":\"kernel\",\"boot_args\":\"quiet\"},"
		"\"drives\":[{\"drive_id\":\"rootfs\",\"is_root_device\":true,\"path_on_host\":"
		"\"disk\",\"rate_limiter\":{}}],"
		"\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":256},"
		"\"cpu-config\":{\"kvm_capabilities\":[\"7\"]},"
		"\"network-interfaces\":[],"
		"\"logger\":{\"log_path\":\"log\",\"level\":\"Error\"},"
		"\"metrics\":{\"metrics_path\":\"metrics\",\"anything\":1},"
		"\"vsock\":null,\"balloon\":null,\"entropy\":null,\"mmds-config\":null,"
		"\"pmem\":null,\"memory-hotplug\":null,\"something-new\":{\"a\":[1]}}";

	t_int(apply(text), 0);
	t_uint(t.in->machine.cpus, 2);
	t_uint(t.in->machine.mem_mib, 256);
	t_uint(t.in->ndrives, 1);
	t_true(t.in->drive[0].spec.is_root);
	t_true(t.in->drive[0].spec.shape.is_given);
	t_str(t.in->boot.cmdline, "quiet");
	t_true(t.in->has_cpu_config);
	t_uint(t.in->cpu.cap[0].cap, 7);
	t_int(access("log", F_OK), 0);
	t_int(access("metrics", F_OK), 0);
	done();
}

Test(config_file, cpu_config_may_be_a_path)
{
	t_int(apply("{" MINIMAL ",\"cpu-config\":\"cpu.json\"}"), 0);
	t_true(t.in->has_cpu_config);
	t_true(t.in->cpu.cap[0].drop);
	done();
}

Test(config_file, faults_name_section_and_field)
{
	static const struct {
		const char *text, *part[3];
	} rows[] = {
		{ "", { "EOF while parsing a value at line 1 column 0" } },
		{ "[]", { "invalid type: sequence, expected struct VmmConfig" } },
		{ "{}", { "missing field `boot-source`" } },
		{ "{" BOOT "}", { "missing field `drives`" } },
		{ "{\"drives\":[]}", { "missing field `boot-source`" } },
		{ "{" MINIMAL "," BOOT "}", { "duplicate field `boot-source`" } },
		{ "{" MINIMAL ",\"x\":{\"y\":1,\"y\":2}}", { "duplicate field" } },
		{ "{\"boot-source\":{},\"drives\":[]}",
			{ "missing field `kernel_image_path` at line 1 column 17",
				"Field: `boot-source.kernel_image_path`" } },
		{ "{\"boot-source\":{\"kernel_image_path\":\"kernel\",\"x\":1},\"drives\":[]}",
			{ "unknown field `x`", "Field: `boot-source.x`" } },
		{ "{\"boot-source\":{\"kernel_image_path\":\"no\"},\"drives\":[]}",
			{ "section `boot-source`: Boot source error: The kernel file cannot be "
			  "opened: No such file or directory (os error 2)" } },
		{ "{" BOOT ",\"drives\":[{\"drive_id\":\"a\",\"is_root_device\":true,"
		  "\"path_on_host\":\"no\"}]}",
			{ "section `drives`, drive `a`: Drive config error: " } },
		{ "{" BOOT ",\"drives\":[{\"drive_id\":\"a/b\",\"is_root_device\":true,"
		  "\"path_on_host\":\"disk\"}]}",
			{ "section `drives`, drive `a/b`: API Resource IDs" } },
		{ "{" BOOT ",\"drives\":[{\"drive_id\":\"a\"}]}",
			{ "missing field `is_root_device`", "Field: `drives[0].is_root_device`" } },
		{ "{" BOOT ",\"drives\":{}}", { "invalid type: map, expected a sequence" } },
		{ "{" MINIMAL ",\"network-interfaces\":null}", { "Field: `network-interfaces`" } },
		{ "{" MINIMAL ",\"network-interfaces\":[{\"iface_id\":\"e\",\"host_dev_name\":"
		  "\"a_name_too_long_for_a_tap\"}]}",
			{ "section `network-interfaces`, interface `e`: Network config error: " } },
		{ "{" MINIMAL ",\"machine-config\":{\"vcpu_count\":33,\"mem_size_mib\":128}}",
			{ "section `machine-config`: Machine config error: The number of vCPUs" } },
		{ "{" MINIMAL ",\"machine-config\":{\"vcpu_count\":1}}",
			{ "missing field `mem_size_mib`",
				"Field: `machine-config.mem_size_mib`" } },
		{ "{" MINIMAL ",\"logger\":{\"log_path\":\".\"}}",
			{ "section `logger`: Logger error: Failed to open target file: Is a "
			  "directory (os error 21)" } },
		{ "{" MINIMAL ",\"metrics\":{\"metrics_path\":\"no/m\"}}",
			{ "section `metrics`: Metrics error: " } },
		{ "{" MINIMAL ",\"cpu-config\":\"missing\"}",
			{ "section `cpu-config`: cannot read 'missing': No such file or "
			  "directory" } },
		{ "{" MINIMAL ",\"cpu-config\":\".\"}",
			{ "section `cpu-config`: '.' is not a file" } },
		{ "{" MINIMAL ",\"cpu-config\":\"bad.json\"}",
			{ "section `cpu-config`: invalid type: integer `7`",
				"Field: `kvm_capabilities[0]`" } },
		{ "{" MINIMAL ",\"cpu-config\":7}", { "section `cpu-config`: invalid type" } },
		{ "{" MINIMAL ",\"cpu-config\":{\"kvm_capabilities\":[\"x\"]}}",
			{ "section `cpu-config`: Configure CPU error: kvm_capabilities[0]" } },
		{ "{" MINIMAL ",\"vsock\":{}}",
			{ "section `vsock`: this monitor has no such device" } },
		{ "{" MINIMAL ",\"pmem\":[]}", { "section `pmem`" } },
		{ "{" MINIMAL ",\"balloon\":1}", { "section `balloon`" } },
		{ "{" MINIMAL ",\"entropy\":{}}", { "section `entropy`" } },
		{ "{" MINIMAL ",\"mmds-config\":{}}", { "section `mmds-config`" } },
		{ "{" MINIMAL ",\"memory-hotplug\":{}}", { "section `memory-hotplug`" } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		t_row_true(rows[i].text, apply(rows[i].text) < 0);
		for (unsigned k = 0; k < ARRAY_SIZE(rows[i].part) && rows[i].part[k]; k++)
			t_row_has(rows[i].text, e.text, rows[i].part[k]);
	}
	done();
}

Test(config_file, file_is_named_in_its_faults)
{
	make_file("good", "{" MINIMAL "}");
	make_file("bad", "{\n");
	t_int(api_apply_config_file(&t.api, "good", &e), 0);
	t_true(api_apply_config_file(&t.api, "bad", &e) < 0);
	t_str(e.text, "config file 'bad': EOF while parsing an object at line 2 column 0");
	t_int(api_apply_config_file(&t.api, "missing", &e), -ENOENT);
	t_has(e.text, "'missing'");
	t_true(api_apply_config_file(&t.api, ".", &e) < 0);
	t_int(mkfifo("fifo", 0600), 0);
	t_true(api_apply_config_file(&t.api, "fifo", &e) < 0);
	t_int(truncate("bad", (2 << 20)), 0);
	t_int(api_apply_config_file(&t.api, "bad", &e), -EFBIG);
	done();
}

Test(config_file, more_devices_than_there_is_room_for)
{
	char text[8192];
	size_t len = (size_t)snprintf(text, sizeof(text), "{" BOOT ",\"drives\":[");

	for (unsigned i = 0; i <= CONFIG_DEVICES_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
			"%s{\"drive_id\":\"d%u\",\"is_root_device\":false,\"path_on_host\":"
			"\"disk\","
			"\"is_read_only\":true}",
			i > 0 ? "," : "", i);
	(void)snprintf(text + len, sizeof(text) - len, "]}");
	t_int(apply(text), -EBADMSG);
	t_has(e.text, "Field: `drives`");
	done();
}
