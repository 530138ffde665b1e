/* The frame of state files: sections that are missing, repeated, damaged or of the future. */
#include "t.h"

#include <stdlib.h>

#include "base/err.h"
#include "snapshot/section.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "snapshot/visit.h"
#include "t_state.h"

TestSuite(section, .timeout = T_SECONDS);

/* A file taken apart, to be put together otherwise. */
struct parts {
	uint8_t *data;
	size_t len;
	struct file_header header;
	struct section_list list;
	uint8_t out[1 << 20];
	size_t out_len;
};

static struct parts parts;

static void take_apart(void)
{
	static const struct t_state_shape shape = {
		.cpus = 2, .drives = 1, .nics = 1, .runs = 2, .is_small = true, .seed = 11
	};
	struct snapshot *s = t_state_new(&shape);
	struct err e = { 0 };

	t_int(state_encode(s, &parts.data, &parts.len, &e), 0);
	t_int(section_read_header(parts.data, parts.len, &parts.header, &e), 0);
	t_int(section_list_all(parts.data, parts.len, &parts.header, &parts.list, &e), 0);
	snapshot_free(s);
}

static void put_together(void)
{
	struct section_writer f;

	section_begin_file(&f, parts.out, sizeof(parts.out));
	for (unsigned i = 0; i < parts.list.n; i++) {
		const struct section *s = &parts.list.section[i];

		section_begin(&f, s->type, s->version, s->flags, s->instance);
		wire_bytes(&f.w, (void *)s->payload, s->len);
		section_end(&f);
	}
	t_int(section_end_file(&f, &parts.out_len), 0);
}

static int decode(struct err *e)
{
	struct snapshot *s = NULL;
	int rc;

	*e = (struct err){ 0 };
	rc = state_decode(parts.out, parts.out_len, &s, e);
	t_int(s != NULL, rc == 0);
	snapshot_free(s);
	return rc;
}

static struct section *find(uint32_t type, uint32_t instance)
{
	for (unsigned i = 0; i < parts.list.n; i++) {
		struct section *s = &parts.list.section[i];

		if (s->type == type && s->instance == instance)
			return s;
	}
	cr_fatal("no such section");
	return NULL;
}

static void drop(unsigned i)
{
	parts.list.n--;
	memmove(&parts.list.section[i], &parts.list.section[i + 1],
		(parts.list.n - i) * sizeof(parts.list.section[0]));
}

Test(section, the_machine_of_these_tests_has_every_type)
{
	take_apart();
	for (unsigned i = 0; i < section_kinds_count; i++)
		(void)find(section_kinds[i].type, 0);
	free(parts.data);
}

Test(section, their_order_does_not_matter)
{
	struct err e;

	take_apart();
	for (unsigned i = 0; i < parts.list.n / 2; i++) {
		struct section s = parts.list.section[i];

		parts.list.section[i] = parts.list.section[parts.list.n - 1 - i];
		parts.list.section[parts.list.n - 1 - i] = s;
	}
	put_together();
	t_int(decode(&e), 0);
	free(parts.data);
	T_NO_LEAKS();
}

Test(section, each_that_is_missing_is_named_but_the_optional_one)
{
	unsigned n;

	take_apart();
	n = parts.list.n;
	for (unsigned i = 0; i < n; i++) {
		struct section_list all = parts.list;
		char label[SECTION_LABEL_MAX];
		struct err e;

		(void)section_label(all.section[i].type, all.section[i].instance, label);
		drop(i);
		put_together();
		if (all.section[i].type == FORMAT_HOST) {
			t_int(decode(&e), 0);
		} else {
			t_row_int(label, decode(&e), -EBADMSG);
			t_row_has(label, e.text, label);
			t_row_has(label, e.text, "missing");
		}
		parts.list = all;
	}
	free(parts.data);
	T_NO_LEAKS();
}

Test(section, each_that_is_there_twice_is_named)
{
	unsigned n;

	take_apart();
	n = parts.list.n;
	for (unsigned i = 0; i < n; i++) {
		char label[SECTION_LABEL_MAX];
		struct err e;

		(void)section_label(
			parts.list.section[i].type, parts.list.section[i].instance, label);
		parts.list.section[n] = parts.list.section[i];
		parts.list.n = n + 1;
		put_together();
		t_row_int(label, decode(&e), -EBADMSG);
		t_row_has(label, e.text, label);
		t_row_has(label, e.text, "twice");
		parts.list.n = n;
	}
	free(parts.data);
	T_NO_LEAKS();
}

Test(section, each_with_an_instance_that_the_machine_has_not_is_named)
{
	unsigned n;

	take_apart();
	n = parts.list.n;
	for (unsigned i = 0; i < n; i++) {
		char label[SECTION_LABEL_MAX];
		struct err e;

		parts.list.section[n] = parts.list.section[i];
		parts.list.section[n].instance = 99;
		(void)section_label(parts.list.section[i].type, 99, label);
		parts.list.n = n + 1;
		put_together();
		t_row_int(label, decode(&e), -EBADMSG);
		t_row_has(label, e.text, label);
		parts.list.n = n;
	}
	free(parts.data);
	T_NO_LEAKS();
}

Test(section, each_that_is_too_short_or_too_long_is_named)
{
	static uint8_t longer[1 << 17];

	take_apart();
	for (unsigned i = 0; i < parts.list.n; i++) {
		struct section kept = parts.list.section[i], *s = &parts.list.section[i];
		char label[SECTION_LABEL_MAX];
		struct err e;

		(void)section_label(s->type, s->instance, label);
		for (unsigned turn = 0; turn < 3; turn++) {
			t_true(kept.len + 1 <= sizeof(longer));
			memset(longer, 0, sizeof(longer));
			memcpy(longer, kept.payload, kept.len);
			s->payload = longer;
			s->len = turn == 0 ? kept.len + 1 : turn == 1 ? kept.len - 1 : 0;
			put_together();
			t_row_int(label, decode(&e), -EBADMSG);
			t_row_has(label, e.text, label);
		}
		*s = kept;
	}
	free(parts.data);
	T_NO_LEAKS();
}

Test(section, each_whose_payload_is_damaged_is_named)
{
	take_apart();
	put_together();
	for (unsigned i = 0; i < parts.list.n; i++) {
		struct section *s = &parts.list.section[i];
		size_t at = (size_t)(s->payload - parts.data);
		char label[SECTION_LABEL_MAX];
		struct err e;

		(void)section_label(s->type, s->instance, label);
		parts.out[at] ^= 4;
		t_row_int(label, decode(&e), -EBADMSG);
		t_row_has(label, e.text, label);
		t_row_has(label, e.text, "wrong checksum");
		parts.out[at] ^= 4;
	}
	t_int(decode(&(struct err){ 0 }), 0);
	free(parts.data);
}

/* --- from the future --- */

Test(section, an_unknown_one_is_passed_over_unless_it_is_critical)
{
	static const uint8_t payload[] = { 1, 2, 3 };
	struct section *s;
	struct err e;

	take_apart();
	s = &parts.list.section[parts.list.n++];
	*s = (struct section){ .type = FORMAT_TYPE('N', 'E', 'W', '1'),
		.version = 3,
		.instance = 7,
		.len = sizeof(payload),
		.payload = payload };
	put_together();
	t_int(decode(&e), 0);

	/* What is passed over is checked all the same. */
	parts.out[parts.out_len - 1] ^= 1;
	t_int(decode(&e), -EBADMSG);
	t_has(e.text, "section NEW1 7: damaged");

	s->flags = FORMAT_CRITICAL;
	put_together();
	t_int(decode(&e), -EPROTONOSUPPORT);
	t_has(e.text, "section NEW1 7: this mvm does not know it");

	s->flags = 2;
	put_together();
	t_int(decode(&e), -EPROTONOSUPPORT);
	t_has(e.text, "section NEW1 7: flags 0x2");
	free(parts.data);
	T_NO_LEAKS();
}

Test(section, a_newer_version_is_refused_where_the_section_is_needed)
{
	struct err e;

	take_apart();
	find(FORMAT_VCPU, 1)->version = 2;
	put_together();
	t_int(decode(&e), -EPROTONOSUPPORT);
	t_has(e.text, "section VCPU 1: version 2; this mvm knows 1");
	find(FORMAT_VCPU, 1)->version = 0;
	put_together();
	t_int(decode(&e), -EBADMSG);
	t_has(e.text, "section VCPU 1: its version is 0");
	find(FORMAT_VCPU, 1)->version = 1;
	find(FORMAT_HOST, 0)->version = 2;
	put_together();
	t_int(decode(&e), 0);
	free(parts.data);
	T_NO_LEAKS();
}

Test(section, versions_and_machines_of_the_header)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t value;
		int want;
		const char *says;
	} rows[] = {
		{ "newer minor", 10, 9, 0, "" },
		{ "newer major", 8, 2, -EPROTONOSUPPORT, "format version 2.0" },
		{ "no major", 8, 0, -EPROTONOSUPPORT, "format version 0.0" },
		{ "aarch64", 12, 183, -EPROTONOSUPPORT, "ELF machine 183" },
		{ "short header", 16, 39, -EBADMSG, "header" },
		{ "no sections", 20, 0, -EBADMSG, "behind" },
		{ "length", 24, 1, -EBADMSG, "header: the file has" },
		{ "magic", 0, 'M', -EBADMSG, "not a snapshot's state file" },
	};

	take_apart();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err e;

		put_together();
		parts.out[rows[i].at] = rows[i].value;
		section_seal(parts.out, parts.out_len);
		t_row_int(rows[i].name, decode(&e), rows[i].want);
		t_row_has(rows[i].name, e.text, rows[i].says);
	}
	free(parts.data);
}

Test(section, a_longer_header_of_a_later_version_is_read)
{
	enum { MORE = 8 };
	uint64_t len;
	uint32_t header_len = FORMAT_HEADER_LEN + MORE;
	struct err e;
	struct wire w;

	take_apart();
	put_together();
	memmove(parts.out + FORMAT_HEADER_LEN + MORE, parts.out + FORMAT_HEADER_LEN,
		parts.out_len - FORMAT_HEADER_LEN);
	parts.out_len += MORE;
	len = parts.out_len;
	wire_init_writer(&w, parts.out + 16, 4);
	wire_u32(&w, &header_len);
	wire_init_writer(&w, parts.out + 24, 8);
	wire_u64(&w, &len);
	section_seal(parts.out, parts.out_len);
	t_int(decode(&e), 0);
	free(parts.data);
}

Test(section, more_sections_than_can_be_are_refused)
{
	struct err e;

	take_apart();
	for (unsigned i = 0; parts.list.n < FORMAT_SECTIONS_MAX; i++)
		parts.list.section[parts.list.n++] = (struct section){
			.type = FORMAT_TYPE('X', ' ', ' ', ' '), .version = 1, .instance = i
		};
	put_together();
	t_int(decode(&e), 0);
	parts.out[20] = 1; /* of 0x101 */
	memset(parts.out + parts.out_len, 0, FORMAT_SECTION_LEN);
	parts.out_len += FORMAT_SECTION_LEN;
	section_seal(parts.out, parts.out_len);
	t_int(decode(&e), -EBADMSG);
	t_has(e.text, "257 sections, at most 256");
	free(parts.data);
}

/* --- writing and names --- */

Test(section, a_writer_without_room_says_so)
{
	struct section_writer f;
	uint8_t buf[FORMAT_HEADER_LEN + FORMAT_SECTION_LEN];
	size_t len;

	section_begin_file(&f, buf, FORMAT_HEADER_LEN - 1);
	t_int(section_end_file(&f, &len), -ENOBUFS);
	section_begin_file(&f, buf, sizeof(buf) - 1);
	section_begin(&f, FORMAT_HOST, 1, 0, 0);
	section_end(&f);
	t_int(section_end_file(&f, &len), -ENOBUFS);
	section_begin_file(&f, buf, sizeof(buf));
	section_begin(&f, FORMAT_HOST, 1, 0, 0);
	section_end(&f);
	t_int(section_end_file(&f, &len), 0);
	t_uint(len, sizeof(buf));
}

Test(section, names_can_be_shown)
{
	static const struct {
		uint32_t type;
		const char *want;
	} rows[] = {
		{ FORMAT_VCPU, "VCPU" },
		{ FORMAT_NIC, "NIC" },
		{ 0x1b41ff0a, "??A?" },
		{ 0, "????" },
	};
	char name[FORMAT_NAME_MAX], label[SECTION_LABEL_MAX];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		t_str(section_name(rows[i].type, name), rows[i].want);
	t_str(section_label(FORMAT_VCPU, 0, label), "section VCPU 0");
	t_str(section_label(FORMAT_CLOCK, 0, label), "section CLOK");
	t_str(section_label(FORMAT_CLOCK, 3, label), "section CLOK 3");
	t_str(section_label(FORMAT_TYPE('N', 'E', 'W', '1'), 0, label), "section NEW1 0");
}
