/* The stream that writes and reads by one visitor. */
#include "t.h"

#include "base/wire.h"

TestSuite(wire, .timeout = T_SECONDS);

struct sample {
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	bool e;
	unsigned f;
	uint8_t g[3];
	char h[8];
	bool has_i;
	char i[8];
};

static void visit(struct wire *w, struct sample *s)
{
	wire_u8(w, &s->a);
	wire_u16(w, &s->b);
	wire_u32(w, &s->c);
	wire_u64(w, &s->d);
	wire_bool(w, &s->e);
	wire_count(w, &s->f, 9);
	wire_bytes(w, s->g, ARRAY_SIZE(s->g));
	wire_text(w, s->h, sizeof(s->h));
	wire_text_or_none(w, s->i, sizeof(s->i), &s->has_i);
}

static const struct sample full = { 0x11, 0x2233, 0x44556677, 0x8899aabbccddeeff, true, 9,
	{ 1, 2, 3 }, "seven77", true, "x" };

static size_t write_sample(const struct sample *from, uint8_t *buf, size_t size)
{
	struct sample s = *from;
	struct wire w;

	wire_init_writer(&w, buf, size);
	visit(&w, &s);
	t_int(wire_finish(&w), 0);
	return w.at;
}

static int read_sample(struct sample *ret, const uint8_t *buf, size_t len)
{
	struct wire w;

	*ret = (struct sample){ 0 };
	wire_init_reader(&w, buf, len);
	visit(&w, ret);
	return wire_finish(&w);
}

Test(wire, what_is_written_is_read)
{
	uint8_t buf[128];
	struct sample got;
	size_t len = write_sample(&full, buf, sizeof(buf));

	t_int(read_sample(&got, buf, len), 0);
	t_hex(got.d, full.d);
	t_uint(got.f, 9);
	t_str(got.h, "seven77");
	t_str(got.i, "x");
	t_int(memcmp(&got, &full, sizeof(got)), 0);
}

Test(wire, numbers_are_little_endian)
{
	static const uint8_t want[] = { 0x11, 0x33, 0x22, 0x77, 0x66, 0x55, 0x44, 0xff, 0xee, 0xdd,
		0xcc, 0xbb, 0xaa, 0x99, 0x88, 1, 9, 0, 0, 0, 1, 2, 3, 7, 0, 0, 0 };
	uint8_t buf[128];

	(void)write_sample(&full, buf, sizeof(buf));
	t_int(memcmp(buf, want, ARRAY_SIZE(want)), 0);
}

Test(wire, a_text_may_be_absent)
{
	uint8_t buf[128];
	struct sample s = full, got;
	size_t len;

	s.has_i = false;
	len = write_sample(&s, buf, sizeof(buf));
	t_int(read_sample(&got, buf, len), 0);
	t_false(got.has_i);
	t_str(got.i, "");
}

Test(wire, every_truncation_is_enodata)
{
	uint8_t buf[128];
	size_t len = write_sample(&full, buf, sizeof(buf));
	struct sample got;

	for (size_t cut = 0; cut < len; cut++)
		t_int(read_sample(&got, buf, cut), -ENODATA);
}

Test(wire, bytes_left_over_are_ebadmsg)
{
	uint8_t buf[128] = { 0 };
	size_t len = write_sample(&full, buf, sizeof(buf));
	struct sample got;

	t_int(read_sample(&got, buf, len + 1), -EBADMSG);
}

Test(wire, a_writer_without_room_is_enobufs_and_writes_no_byte_too_many)
{
	uint8_t buf[128];
	size_t len = write_sample(&full, buf, sizeof(buf));

	for (size_t room = 0; room < len; room++) {
		struct sample s = full;
		struct wire w;

		memset(buf, 0xa5, sizeof(buf));
		wire_init_writer(&w, buf, room);
		visit(&w, &s);
		t_int(wire_finish(&w), -ENOBUFS);
		t_hex(buf[room], 0xa5);
	}
}

Test(wire, the_first_error_stays_and_nothing_is_read_after_it)
{
	static const uint8_t buf[] = { 2, 5, 5, 5, 5, 5, 5, 5, 5 };
	bool b = false;
	uint64_t v = 77;
	struct wire w;

	wire_init_reader(&w, buf, sizeof(buf));
	wire_bool(&w, &b);
	t_int(w.error, -EBADMSG);
	wire_u64(&w, &v);
	wire_u64(&w, &v);
	wire_fail(&w, -ENODATA);
	t_uint(v, 77);
	t_false(b);
	t_int(wire_finish(&w), -EBADMSG);
}

Test(wire, counts_beyond_their_limit_are_refused_both_ways)
{
	static const uint8_t buf[] = { 10, 0, 0, 0 };
	uint8_t out[8];
	unsigned n = 3;
	struct wire w;

	wire_init_reader(&w, buf, sizeof(buf));
	wire_count(&w, &n, 9);
	t_int(wire_finish(&w), -EBADMSG);
	t_uint(n, 3);
	n = 10;
	wire_init_writer(&w, out, sizeof(out));
	wire_count(&w, &n, 9);
	t_int(wire_finish(&w), -EBADMSG);
	t_uint(w.at, 0);
}

Test(wire, texts_that_cannot_be_are_refused)
{
	static const struct {
		const char *name;
		uint8_t bytes[12];
		size_t len;
		int want;
	} rows[] = {
		{ "fits", { 7, 0, 0, 0, 'a', 'b', 'c', 'd', 'e', 'f', 'g' }, 11, 0 },
		{ "empty", { 0, 0, 0, 0 }, 4, 0 },
		{ "too long", { 8, 0, 0, 0, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h' }, 12,
			-EBADMSG },
		{ "huge", { 0xff, 0xff, 0xff, 0xff, 'a' }, 5, -EBADMSG },
		{ "NUL inside", { 3, 0, 0, 0, 'a', 0, 'b' }, 7, -EBADMSG },
		{ "ends early", { 3, 0, 0, 0, 'a', 'b' }, 6, -ENODATA },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[8] = { 0 };
		struct wire w;

		wire_init_reader(&w, rows[i].bytes, rows[i].len);
		wire_text(&w, text, sizeof(text));
		t_row_int(rows[i].name, wire_finish(&w), rows[i].want);
		if (rows[i].want < 0)
			t_row_int(rows[i].name, text[0], 0);
	}
}

Test(wire, a_text_without_an_end_is_not_written)
{
	char text[4] = { 'a', 'b', 'c', 'd' };
	uint8_t out[16];
	struct wire w;

	wire_init_writer(&w, out, sizeof(out));
	wire_text(&w, text, sizeof(text));
	t_int(wire_finish(&w), -EBADMSG);
}
