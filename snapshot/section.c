/* The frame of a state file: header and sections (section.h). */
#include "snapshot/section.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc.h"
#include "base/err.h"

const char *section_name(uint32_t type, char buf[FORMAT_NAME_MAX])
{
	unsigned len = 0;

	for (unsigned i = 0; i < FORMAT_NAME_MAX - 1; i++) {
		char c = (char)(type >> (8 * i));
		bool is_known = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ' ';

		buf[i] = is_known ? c : '?';
		if (c != ' ')
			len = i + 1;
	}
	buf[len] = '\0';
	return buf;
}

/* --- one list of fields for each of the two, both ways --- */

static void header_visit(struct wire *w, struct file_header *h)
{
	uint8_t magic[FORMAT_MAGIC_LEN];
	uint16_t none16 = 0;
	uint32_t none32 = 0;

	memcpy(magic, FORMAT_MAGIC, FORMAT_MAGIC_LEN);
	wire_bytes(w, magic, FORMAT_MAGIC_LEN);
	if (memcmp(magic, FORMAT_MAGIC, FORMAT_MAGIC_LEN) != 0)
		wire_fail(w, -EBADMSG);
	wire_u16(w, &h->major);
	wire_u16(w, &h->minor);
	wire_u16(w, &h->machine);
	wire_u16(w, &none16);
	wire_u32(w, &h->header_len);
	wire_u32(w, &h->sections);
	wire_u64(w, &h->file_len);
	wire_u32(w, &none32);
}

static void section_visit(struct wire *w, struct section *s)
{
	uint32_t none = 0;

	wire_u32(w, &s->type);
	wire_u16(w, &s->version);
	wire_u16(w, &s->flags);
	wire_u32(w, &s->instance);
	wire_u32(w, &none);
	wire_u64(w, &s->len);
	wire_u32(w, &s->crc);
}

/* The last four of len bytes against the checksum of those before. */
static bool is_sealed(const uint8_t *data, size_t len)
{
	struct wire w;
	uint32_t crc = 0;

	wire_init_reader(&w, data + len - FORMAT_CRC_LEN, FORMAT_CRC_LEN);
	wire_u32(&w, &crc);
	return wire_finish(&w) == 0 && crc32c(0, data, len - FORMAT_CRC_LEN) == crc;
}

static void seal(uint8_t *data, size_t len)
{
	struct wire w;
	uint32_t crc = crc32c(0, data, len - FORMAT_CRC_LEN);

	wire_init_writer(&w, data + len - FORMAT_CRC_LEN, FORMAT_CRC_LEN);
	wire_u32(&w, &crc);
}

/* --- reading --- */

int section_read_header(const uint8_t *data, size_t len, struct file_header *ret, struct err *e)
{
	struct file_header h = { 0 };
	struct wire w;

	if (len < FORMAT_MAGIC_LEN || memcmp(data, FORMAT_MAGIC, FORMAT_MAGIC_LEN) != 0)
		return err_set(e, -EBADMSG, "not a snapshot's state file");
	if (len < FORMAT_HEADER_LEN)
		return err_set(e, -EBADMSG, "header: the file ends in it, after %zu bytes", len);
	wire_init_reader(&w, data, FORMAT_HEADER_LEN - FORMAT_CRC_LEN);
	header_visit(&w, &h);
	if (wire_finish(&w) < 0)
		return err_set(e, -EBADMSG, "header: damaged");
	if (h.header_len < FORMAT_HEADER_LEN || h.header_len > FORMAT_HEADER_LEN_MAX)
		return err_set(
			e, -EBADMSG, "header: damaged: its length is %" PRIu32, h.header_len);
	if (h.header_len > len)
		return err_set(e, -EBADMSG, "header: the file ends in it, after %zu bytes", len);
	if (!is_sealed(data, h.header_len))
		return err_set(e, -EBADMSG, "header: damaged: wrong checksum");
	*ret = h;
	return 0;
}

/* The one at *at, which moves behind it. */
static int read_section(const uint8_t *data, size_t len, size_t *at, unsigned number,
	struct section *ret, struct err *e)
{
	struct section s = { 0 };
	char name[FORMAT_NAME_MAX];
	struct wire w;

	if (len - *at < FORMAT_SECTION_LEN)
		return err_set(
			e, -EBADMSG, "section number %u: the file ends in its header", number);
	wire_init_reader(&w, data + *at, FORMAT_SECTION_LEN - FORMAT_CRC_LEN);
	section_visit(&w, &s);
	if (wire_finish(&w) < 0 || !is_sealed(data + *at, FORMAT_SECTION_LEN))
		return err_set(e, -EBADMSG,
			"section number %u: its header is damaged: wrong checksum", number);
	*at += FORMAT_SECTION_LEN;
	if (s.len > len - *at)
		return err_set(e, -EBADMSG,
			"section %s %" PRIu32 ": the file ends in it: %zu of %" PRIu64 " bytes",
			section_name(s.type, name), s.instance, len - *at, s.len);
	s.payload = data + *at;
	*at += (size_t)s.len;
	*ret = s;
	return 0;
}

int section_list_all(const uint8_t *data, size_t len, const struct file_header *h,
	struct section_list *ret, struct err *e)
{
	size_t at = h->header_len;

	ret->n = 0;
	if (at > len)
		return err_set(e, -EBADMSG, "header: the file ends in it, after %zu bytes", len);
	for (uint32_t i = 0; i < h->sections; i++) {
		int rc;

		if (ret->n == FORMAT_SECTIONS_MAX)
			return err_set(e, -EBADMSG,
				"header: %" PRIu32 " sections, at most %d can be", h->sections,
				FORMAT_SECTIONS_MAX);
		rc = read_section(data, len, &at, i, &ret->section[ret->n], e);
		if (rc < 0)
			return rc;
		ret->n++;
	}
	if (at < len)
		return err_set(e, -EBADMSG, "%zu bytes behind the last section", len - at);
	if (h->file_len != len)
		return err_set(e, -EBADMSG,
			"header: the file has %zu bytes, and was written with %" PRIu64, len,
			h->file_len);
	return 0;
}

bool section_is_intact(const struct section *s)
{
	return crc32c(0, s->payload, (size_t)s->len) == s->crc;
}

/* --- writing --- */

void section_begin_file(struct section_writer *f, void *buf, size_t size)
{
	*f = (struct section_writer){ 0 };
	wire_init_writer(&f->w, buf, size);
	if (size < FORMAT_HEADER_LEN)
		wire_fail(&f->w, -ENOBUFS);
	else
		f->w.at = FORMAT_HEADER_LEN;
}

void section_begin(struct section_writer *f, uint32_t type, uint16_t version, uint16_t flags,
	uint32_t instance)
{
	if (f->w.error != 0)
		return;
	if (f->w.size - f->w.at < FORMAT_SECTION_LEN) {
		wire_fail(&f->w, -ENOBUFS);
		return;
	}
	f->open = (struct section){
		.type = type, .version = version, .flags = flags, .instance = instance
	};
	f->w.at += FORMAT_SECTION_LEN;
	f->payload = f->w.at;
}

void section_end(struct section_writer *f)
{
	uint8_t *header;
	struct wire w;

	if (f->w.error != 0)
		return;
	header = f->w.buf + f->payload - FORMAT_SECTION_LEN;
	f->open.len = f->w.at - f->payload;
	f->open.crc = crc32c(0, f->w.buf + f->payload, f->w.at - f->payload);
	wire_init_writer(&w, header, FORMAT_SECTION_LEN - FORMAT_CRC_LEN);
	section_visit(&w, &f->open);
	seal(header, FORMAT_SECTION_LEN);
	f->n++;
}

int section_end_file(struct section_writer *f, size_t *ret_len)
{
	struct file_header h = { .major = FORMAT_MAJOR,
		.minor = FORMAT_MINOR,
		.machine = FORMAT_ELF_MACHINE,
		.header_len = FORMAT_HEADER_LEN,
		.sections = f->n,
		.file_len = f->w.at };
	struct wire w;
	int rc = wire_finish(&f->w);

	if (rc < 0)
		return rc;
	wire_init_writer(&w, f->w.buf, FORMAT_HEADER_LEN - FORMAT_CRC_LEN);
	header_visit(&w, &h);
	seal(f->w.buf, FORMAT_HEADER_LEN);
	*ret_len = f->w.at;
	return 0;
}

/* --- checksums made right --- */

/* The section at data, of left bytes: how many it takes, 0 when it does not fit. */
static size_t seal_section(uint8_t *data, size_t left)
{
	struct section s = { 0 };
	struct wire w;

	if (left < FORMAT_SECTION_LEN)
		return 0;
	wire_init_reader(&w, data, FORMAT_SECTION_LEN - FORMAT_CRC_LEN);
	section_visit(&w, &s);
	if (s.len <= left - FORMAT_SECTION_LEN) {
		s.crc = crc32c(0, data + FORMAT_SECTION_LEN, (size_t)s.len);
		wire_init_writer(&w, data, FORMAT_SECTION_LEN - FORMAT_CRC_LEN);
		section_visit(&w, &s);
		seal(data, FORMAT_SECTION_LEN);
		return FORMAT_SECTION_LEN + (size_t)s.len;
	}
	seal(data, FORMAT_SECTION_LEN);
	return 0;
}

void section_seal(uint8_t *data, size_t len)
{
	struct file_header h = { 0 };
	struct wire w;
	size_t at, took;

	if (len < FORMAT_HEADER_LEN)
		return;
	wire_init_reader(&w, data, FORMAT_HEADER_LEN - FORMAT_CRC_LEN);
	header_visit(&w, &h);
	if (w.error != 0 || h.header_len < FORMAT_HEADER_LEN || h.header_len > len)
		return;
	for (at = h.header_len; (took = seal_section(data + at, len - at)) > 0;)
		at += took;
	seal(data, h.header_len);
}
