/* CRC-32C: the vectors of RFC 3720 (B.4), and both ways to compute it. */
#include "t.h"

#include "base/crc.h"
#include "base/crc_private.h"

TestSuite(crc, .timeout = T_SECONDS);

enum { LEN = 32 };

static void fill(uint8_t data[LEN], unsigned first, int step)
{
	for (unsigned i = 0; i < LEN; i++)
		data[i] = (uint8_t)((int)first + step * (int)i);
}

Test(crc, vectors_of_rfc_3720)
{
	static const struct {
		const char *name;
		unsigned first;
		int step;
		uint32_t want;
	} rows[] = {
		{ "zeroes", 0, 0, 0x8a9136aa },
		{ "ones", 0xff, 0, 0x62a8ab43 },
		{ "rising", 0, 1, 0x46dd794e },
		{ "falling", 0x1f, -1, 0x113fdb5c },
	};
	uint8_t data[LEN];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		fill(data, rows[i].first, rows[i].step);
		t_row_hex(rows[i].name, crc32c(0, data, LEN), rows[i].want);
		t_row_hex(rows[i].name, crc32c_by_table(0, data, LEN), rows[i].want);
	}
}

Test(crc, vector_of_a_scsi_read_command)
{
	static const uint8_t pdu[48] = {
		0x01,
		0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02
	};

	t_hex(crc32c(0, pdu, 48), 0xd9963a56);
	t_hex(crc32c_by_table(0, pdu, 48), 0xd9963a56);
}

Test(crc, of_digits_and_of_nothing)
{
	t_hex(crc32c(0, "123456789", 9), 0xe3069283);
	t_hex(crc32c(0, "", 0), 0);
	t_hex(crc32c(0x1234, "", 0), 0x1234);
}

Test(crc, both_ways_agree_at_every_length_and_alignment)
{
	uint8_t data[128];

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		data[i] = (uint8_t)(i * 73 + 11);
	for (size_t from = 0; from < 9; from++) {
		for (size_t len = 0; len < 100; len++)
			t_hex(crc32c((uint32_t)len, data + from, len),
				crc32c_by_table((uint32_t)len, data + from, len));
	}
}

Test(crc, parts_give_what_the_whole_gives)
{
	uint8_t data[LEN];
	uint32_t whole;

	fill(data, 7, 5);
	whole = crc32c(0, data, LEN);
	for (size_t cut = 0; cut <= LEN; cut++)
		t_hex(crc32c(crc32c(0, data, cut), data + cut, LEN - cut), whole);
}
