/* What is shown of state files: whole, damaged, and of the future. */
#include "t.h"

#include <stdlib.h>

#include "snapshot/inspect.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "t_state.h"

TestSuite(inspect, .timeout = 3 * T_SECONDS);

static const struct t_state_shape shape = {
	.cpus = 2, .drives = 2, .nics = 2, .runs = 3, .is_small = true, .seed = 21
};

static uint8_t *encode(const struct snapshot *s, size_t *ret_len)
{
	uint8_t *data = NULL;
	struct err e = { 0 };
	int rc = state_encode(s, &data, ret_len, &e);

	cr_assert(eq(int, rc, 0), "%s", e.text);
	return data;
}

static uint8_t *encode_sample(size_t *ret_len)
{
	struct snapshot *s = t_state_new(&shape);
	uint8_t *data = encode(s, ret_len);

	snapshot_free(s);
	return data;
}

static char *print(const struct inspection *v)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	t_int(inspect_print(v, out), 0);
	(void)fclose(out);
	return text;
}

static size_t section_at(const uint8_t *data, size_t len, uint32_t type)
{
	struct file_header h;
	struct section_list list;

	t_int(section_read_header(data, len, &h, NULL), 0);
	t_int(section_list_all(data, len, &h, &list, NULL), 0);
	for (unsigned i = 0; i < list.n; i++) {
		if (list.section[i].type == type)
			return (size_t)(list.section[i].payload - data);
	}
	cr_fatal("no such section");
	return 0;
}

Test(inspect, a_whole_file_is_shown_without_problems)
{
	static const char *const says[] = { "format      1.0, x86_64, 20 sections",
		"by mvm 0.2.0\n", "kind        difference to ", "which was /snapshots/base/state\n",
		"host        Linux 6.18.0, A CPU of 3 GHz, boot 5d3c-11\n",
		"machine     2 vCPUs, 128M, pages 4k, two threads to a core",
		"kernel      /boot/vmlinux\n", "cmdline     console=ttyS0 quiet\n",
		"drive 0     'disk_0': /disks/0.img, ", "PARTUUID=0fc63daf-01",
		"nic 1       'net-1': a descriptor", "device 2    net 'net-0': ", "status 0xf",
		"vcpu 1      rip 0x", "TSC 2400000 kHz, 2 MSRs", "clock       kvm-clock ",
		" pages changed, in 3 runs: ", "VCPU          1        1 " };
	size_t len;
	uint8_t *data = encode_sample(&len);
	struct inspection *v = inspection_new("x", data, len);
	char *text = print(v);

	t_uint(v->nproblems, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(says); i++)
		t_row_has(says[i], text, says[i]);
	t_true(strstr(text, "WRONG") == NULL);
	free(text);
	inspection_free(v);
	free(data);
	T_NO_LEAKS();
}

static const json_t *at(const json_t *all, const char *array, size_t i, const char *key)
{
	return json_object_get(json_array_get(json_object_get(all, array), i), key);
}

static const json_t *in(const json_t *all, const char *object, const char *key)
{
	return json_object_get(json_object_get(all, object), key);
}

Test(inspect, json_has_every_part)
{
	static const char *const keys[] = { "path", "format", "snapshot", "host", "machine", "boot",
		"drives", "nics", "devices", "vcpus", "clock", "changed", "sections", "problems" };
	size_t len;
	uint8_t *data = encode_sample(&len);
	struct inspection *v = inspection_new("x", data, len);
	json_t *all = inspect_json(v);

	t_true(all != NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		t_row_true(keys[i], json_object_get(all, keys[i]) &&
					    !json_is_null(json_object_get(all, keys[i])));
	t_uint(json_object_size(all), ARRAY_SIZE(keys));
	t_str(json_string_value(in(all, "format", "version")), "1.0");
	t_str(json_string_value(in(all, "snapshot", "kind")), "diff");
	t_uint(json_integer_value(in(all, "machine", "mem_bytes")), 128 << 20);
	t_uint(json_integer_value(in(all, "changed", "runs")), 3);
	t_true(json_is_null(in(all, "boot", "initrd")));
	t_str(json_string_value(at(all, "drives", 1, "partuuid")), "0fc63daf-01");
	t_true(json_is_null(at(all, "nics", 1, "tap")));
	t_str(json_string_value(at(all, "devices", 3, "id")), "net-1");
	t_uint(json_array_size(at(all, "devices", 3, "queues")), 3);
	t_uint(json_array_size(json_object_get(all, "vcpus")), 2);
	t_uint(json_array_size(json_object_get(all, "problems")), 0);
	t_uint(json_array_size(json_object_get(all, "sections")), 20);
	json_decref(all);
	inspection_free(v);
	free(data);
	T_NO_LEAKS();
}

Test(inspect, a_damaged_section_is_named_and_the_others_are_shown)
{
	size_t len;
	uint8_t *data = encode_sample(&len);
	struct inspection *v;
	json_t *all;
	char *text;

	data[section_at(data, len, FORMAT_BOOT)] ^= 1;
	v = inspection_new("x", data, len);
	text = print(v);
	all = inspect_json(v);
	t_uint(v->nproblems, 1);
	t_int(v->problem[0].code, -EBADMSG);
	t_str(v->problem[0].text, "section BOOT: damaged: wrong checksum");
	t_has(text, "vcpu 1 ");
	t_true(strstr(text, "/boot/vmlinux") == NULL);
	t_has(text, "WRONG");
	t_true(json_is_null(json_object_get(all, "boot")));
	t_uint(json_array_size(json_object_get(all, "problems")), 1);
	json_decref(all);
	free(text);
	inspection_free(v);
	free(data);
	T_NO_LEAKS();
}

Test(inspect, without_the_machine_the_rest_that_can_be_read_is_shown)
{
	size_t len;
	uint8_t *data = encode_sample(&len);
	struct inspection *v;
	char *text;

	data[section_at(data, len, FORMAT_MACHINE)] ^= 1;
	v = inspection_new("x", data, len);
	text = print(v);
	t_uint(v->nproblems, 1);
	t_has(v->problem[0].text, "section MACH: damaged");
	t_has(text, "snapshot    ");
	t_has(text, "/boot/vmlinux");
	t_true(strstr(text, "\nvcpu") == NULL);
	free(text);
	inspection_free(v);
	free(data);
	T_NO_LEAKS();
}

Test(inspect, a_file_that_breaks_off_is_shown_up_to_there)
{
	size_t len, cut;
	uint8_t *data = encode_sample(&len);
	struct inspection *v;
	char *text;

	cut = section_at(data, len, FORMAT_VCPU) + 10;
	v = inspection_new("x", data, cut);
	text = print(v);
	t_uint(v->nproblems, 1);
	t_has(v->problem[0].text, "section VCPU 0: the file ends in it: 10 of ");
	t_has(text, "drive 1 ");
	free(text);
	inspection_free(v);
	free(data);
	T_NO_LEAKS();
}

Test(inspect, values_that_do_not_go_together_are_told)
{
	size_t len, at_mem;
	uint8_t *data = encode_sample(&len);
	struct inspection *v;

	at_mem = section_at(data, len, FORMAT_MACHINE) + 4;
	data[at_mem] = 1;
	section_seal(data, len);
	v = inspection_new("x", data, len);
	t_uint(v->nproblems, 1);
	t_has(v->problem[0].text, "section MACH: 134217729 bytes of memory");
	inspection_free(v);
	free(data);
}

Test(inspect, of_an_unknown_version_header_and_sections_are_shown)
{
	size_t len;
	uint8_t *data = encode_sample(&len);
	struct inspection *v;
	json_t *all;
	char *text;

	data[8] = 7;
	section_seal(data, len);
	data[section_at(data, len, FORMAT_CLOCK)] ^= 1;
	v = inspection_new("x", data, len);
	text = print(v);
	all = inspect_json(v);
	t_uint(v->nproblems, 1);
	t_int(v->problem[0].code, -EPROTONOSUPPORT);
	t_has(text, "format      7.0, x86_64, 20 sections");
	t_true(strstr(text, "\nsnapshot") == NULL);
	t_has(text, "VCPU ");
	t_has(text, "16  WRONG\n");
	t_true(json_is_false(in(all, "format", "is_known")));
	t_uint(json_array_size(json_object_get(all, "sections")), 20);
	json_decref(all);
	free(text);
	inspection_free(v);
	free(data);
	T_NO_LEAKS();
}

Test(inspect, what_is_no_state_file_has_one_problem)
{
	struct inspection *v = inspection_new("x", (const uint8_t *)"ELF", 3);
	char *text = print(v);
	json_t *all = inspect_json(v);

	t_uint(v->nproblems, 1);
	t_str(text, "");
	t_true(json_is_null(json_object_get(all, "format")));
	json_decref(all);
	free(text);
	inspection_free(v);
}

Test(inspect, texts_are_made_fit_to_be_shown)
{
	struct snapshot *s = t_state_new(&shape);
	struct inspection *v;
	uint8_t *data;
	json_t *all;
	char *text;
	size_t len;

	(void)snprintf(s->cmdline, sizeof(s->cmdline), "\033[2Ja\n\xff");
	data = encode(s, &len);
	v = inspection_new("x", data, len);
	text = print(v);
	all = inspect_json(v);
	t_has(text, "cmdline     \\x1b[2Ja\\x0a\\xff\n");
	t_str(json_string_value(in(all, "boot", "cmdline")), "\\x1b[2Ja\\x0a\\xff");
	json_decref(all);
	free(text);
	inspection_free(v);
	free(data);
	snapshot_free(s);
	T_NO_LEAKS();
}

/* A problem where the strict reader has one, and never a crash.  Not every byte: text and JSON take
 * long with sanitizers, and the fuzz target has them all. */
Test(inspect, flipped_bytes_are_shown_and_told)
{
	size_t len;
	uint8_t *data = encode_sample(&len), *copy = malloc(len);

	for (size_t i = 0; i < 2 * len; i += 11) {
		struct snapshot *s = NULL;
		struct inspection *v;
		json_t *all;
		char *text;

		memcpy(copy, data, len);
		copy[i / 2] ^= 0x41;
		if (i % 2 != 0)
			section_seal(copy, len);
		v = inspection_new("x", copy, len);
		text = print(v);
		all = inspect_json(v);
		t_int(v->nproblems == 0, state_decode(copy, len, &s, NULL) == 0);
		t_true(all != NULL);
		snapshot_free(s);
		json_decref(all);
		free(text);
		inspection_free(v);
	}
	free(copy);
	free(data);
	T_NO_LEAKS();
}

Test(inspect, names_of_modes_and_states)
{
	struct cpu_state *c = calloc(1, sizeof(*c));
	struct virtio_state d = { .type = 2 };

	t_str(inspect_cpu_mode(c), "real");
	c->sregs.cr0 = 1;
	t_str(inspect_cpu_mode(c), "protected");
	c->sregs.efer = 1 << 10;
	t_str(inspect_cpu_mode(c), "compatibility");
	c->sregs.cs.l = 1;
	t_str(inspect_cpu_mode(c), "64-bit");
	t_str(inspect_mp_state(c), "runnable");
	c->mp_state.mp_state = 3;
	t_str(inspect_mp_state(c), "halted");
	c->mp_state.mp_state = 77;
	t_str(inspect_mp_state(c), "?");
	t_str(inspect_device_state(&d), "no driver");
	d.status = 3;
	t_str(inspect_device_state(&d), "driver begins");
	d.status = 15;
	t_str(inspect_device_state(&d), "driver ready");
	d.status = 128;
	t_str(inspect_device_state(&d), "failed");
	d.needs_reset = true;
	t_str(inspect_device_state(&d), "needs reset");
	t_str(inspect_device_type(1), "net");
	t_str(inspect_device_type(9), "?");
	free(c);
}
