/* Block requests taken apart: any layout of segments, and every wrong one. */
#include "t.h"

#include "virtio/blk_request.h"

TestSuite(blk_request, .timeout = T_SECONDS);

enum { BUF_LEN = 64 << 10, SEGS = 64, SECTORS = 1000 };

/* A chain over plain memory: readable segments are laid one behind the other in `in`, writable ones
 * in `out`. */
struct chain {
	uint8_t in[BUF_LEN], out[BUF_LEN];
	size_t in_len, out_len;
	struct iovec iov[SEGS];
	struct virtq_chain c;
	struct blk_limits lim;
	struct blk_request req;
	struct blk_range ranges[BLK_RANGES_MAX];
};

static struct chain *new_chain(void)
{
	static struct chain chain;

	chain = (struct chain){ .lim = { .sectors = SECTORS, .has_flush = true } };
	memset(chain.out, 0xee, sizeof(chain.out));
	chain.c.iov = chain.iov;
	chain.c.iov_max = SEGS;
	return &chain;
}

/* A readable segment of the next len bytes. */
static void add_in(struct chain *ch, size_t len)
{
	ch->iov[ch->c.nread++] = (struct iovec){ ch->in + ch->in_len, len };
	ch->in_len += len;
	ch->c.read_len += len;
}

/* A writable one: all readable ones come before it. */
static void add_out(struct chain *ch, size_t len)
{
	ch->iov[ch->c.nread + ch->c.nwrite++] = (struct iovec){ ch->out + ch->out_len, len };
	ch->out_len += len;
	ch->c.write_len += len;
}

static void set_header(struct chain *ch, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };

	memcpy(ch->in, &h, sizeof(h));
}

static enum virtio_rule parse(struct chain *ch)
{
	return blk_request_parse(&ch->c, &ch->lim, &ch->req, ch->ranges);
}

static void set_range(struct chain *ch, unsigned i, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes r = {
		.sector = sector, .num_sectors = n, .flags = flags
	};

	memcpy(ch->in + sizeof(struct virtio_blk_outhdr) + i * sizeof(r), &r, sizeof(r));
}

Test(blk_request, a_read_is_its_header_its_data_and_a_status)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_IN, 7);
	add_in(ch, 16);
	add_out(ch, 1024);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.op, BLK_READ);
	t_int(ch->req.status, VIRTIO_BLK_S_OK);
	t_uint(ch->req.sector, 7);
	t_uint(ch->req.len, 1024);
	t_uint(ch->req.iov_count, 1);
	t_true(ch->req.iov[0].iov_base == ch->out && ch->req.iov[0].iov_len == 1024);
	t_true(ch->req.status_at == ch->out + 1024);
}

Test(blk_request, a_write_has_its_data_behind_the_header)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_OUT, 999);
	add_in(ch, 16);
	add_in(ch, 512);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.op, BLK_WRITE);
	t_int(ch->req.status, VIRTIO_BLK_S_OK);
	t_uint(ch->req.len, 512);
	t_uint(ch->req.iov_count, 1);
	t_true(ch->req.iov[0].iov_base == ch->in + 16);
	t_true(ch->req.status_at == ch->out);
}

Test(blk_request, header_and_data_in_one_segment)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_OUT, 1);
	add_in(ch, 16 + 512);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_uint(ch->req.len, 512);
	t_true(ch->req.iov[0].iov_base == ch->in + 16 && ch->req.iov[0].iov_len == 512);
}

Test(blk_request, a_header_split_over_five_descriptors)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_OUT, 0x123);
	add_in(ch, 1);
	add_in(ch, 2);
	add_in(ch, 4);
	add_in(ch, 8);
	add_in(ch, 1 + 100);
	add_in(ch, 412);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.op, BLK_WRITE);
	t_uint(ch->req.sector, 0x123);
	t_uint(ch->req.len, 512);
	t_uint(ch->req.iov_count, 2);
	t_true(ch->req.iov[0].iov_base == ch->in + 16 && ch->req.iov[0].iov_len == 100);
}

Test(blk_request, the_status_byte_at_the_end_of_a_data_segment)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_IN, 0);
	add_in(ch, 16);
	add_out(ch, 512);
	add_out(ch, 513);
	t_int(parse(ch), RULE_NONE);
	t_uint(ch->req.len, 1024);
	t_uint(ch->req.iov_count, 2);
	t_uint(ch->req.iov[1].iov_len, 512);
	t_true(ch->req.status_at == ch->out + 1024);
}

Test(blk_request, the_status_byte_in_a_segment_of_its_own_is_no_data)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_IN, 0);
	add_in(ch, 16);
	add_out(ch, 512);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_uint(ch->req.iov_count, 1);
}

Test(blk_request, a_short_header_is_no_request)
{
	struct chain *ch = new_chain();

	add_in(ch, 15);
	add_out(ch, 512);
	t_int(parse(ch), RULE_BLK_HEADER);
	ch = new_chain();
	add_out(ch, 512);
	t_int(parse(ch), RULE_BLK_HEADER);
}

Test(blk_request, a_missing_status_byte_is_no_request)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_OUT, 0);
	add_in(ch, 16);
	add_in(ch, 512);
	t_int(parse(ch), RULE_BLK_STATUS);
}

Test(blk_request, places_and_lengths)
{
	static const struct {
		const char *name;
		uint64_t sector;
		size_t len;
		uint8_t status;
	} rows[] = {
		{ "the first sector", 0, 512, VIRTIO_BLK_S_OK },
		{ "the last sector", SECTORS - 1, 512, VIRTIO_BLK_S_OK },
		{ "all that is left", SECTORS - 8, 8 * 512, VIRTIO_BLK_S_OK },
		{ "one sector too many", SECTORS - 8, 9 * 512, VIRTIO_BLK_S_IOERR },
		{ "behind the end", SECTORS, 512, VIRTIO_BLK_S_IOERR },
		{ "far behind the end", 1ULL << 40, 512, VIRTIO_BLK_S_IOERR },
		{ "the sum wraps", UINT64_MAX, 512, VIRTIO_BLK_S_IOERR },
		{ "the sum wraps to something inside", UINT64_MAX - 7, 16 * 512,
			VIRTIO_BLK_S_IOERR },
		{ "the byte offset wraps to zero", 1ULL << 55, 512, VIRTIO_BLK_S_IOERR },
		{ "no multiple of 512", 0, 511, VIRTIO_BLK_S_IOERR },
		{ "no multiple of 512 either", 0, 1025, VIRTIO_BLK_S_IOERR },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct chain *ch = new_chain();

		set_header(ch, VIRTIO_BLK_T_IN, rows[i].sector);
		add_in(ch, 16);
		add_out(ch, rows[i].len);
		add_out(ch, 1);
		t_row_int(rows[i].name, parse(ch), RULE_NONE);
		t_row_int(rows[i].name, ch->req.status, rows[i].status);
		ch = new_chain();
		set_header(ch, VIRTIO_BLK_T_OUT, rows[i].sector);
		add_in(ch, 16);
		add_in(ch, rows[i].len);
		add_out(ch, 1);
		t_row_int(rows[i].name, parse(ch), RULE_NONE);
		t_row_int(rows[i].name, ch->req.status, rows[i].status);
	}
}

Test(blk_request, a_huge_length_is_an_error_and_no_more)
{
	struct chain *ch = new_chain();

	/* Nothing of it is touched, so it need not be there. */
	set_header(ch, VIRTIO_BLK_T_IN, 0);
	add_in(ch, 16);
	ch->iov[1] = (struct iovec){ ch->out, UINT32_MAX };
	ch->c.nwrite = 1;
	ch->c.write_len = UINT32_MAX;
	ch->lim.sectors = UINT64_MAX;
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_IOERR); /* no multiple of 512 */
	t_uint(ch->req.len, UINT32_MAX - 1);
	t_uint(blk_request_written(&ch->req, UINT32_MAX - 1), UINT32_MAX);
}

Test(blk_request, no_data_is_nothing_to_do)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_IN, SECTORS);
	add_in(ch, 16);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_OK);
	t_uint(ch->req.len, 0);
	t_uint(ch->req.iov_count, 0);
	t_uint(blk_request_written(&ch->req, 0), 1);
}

Test(blk_request, a_type_that_nobody_knows_is_unsupported)
{
	static const uint32_t types[] = { 2, 3, 5, 10, 12, 14, 16, 0x80000000, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		struct chain *ch = new_chain();

		set_header(ch, types[i], 0);
		add_in(ch, 16);
		add_out(ch, 513);
		t_int(parse(ch), RULE_NONE);
		t_int(ch->req.op, BLK_UNKNOWN);
		t_int(ch->req.status, VIRTIO_BLK_S_UNSUPP);
		t_true(ch->req.status_at == ch->out + 512);
		t_uint(ch->req.iov_count, 0);
	}
}

Test(blk_request, nothing_is_written_to_a_disk_that_is_only_read)
{
	struct chain *ch = new_chain();

	ch->lim.is_read_only = true;
	set_header(ch, VIRTIO_BLK_T_OUT, 0);
	add_in(ch, 16 + 512);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_IOERR);
	for (unsigned type = VIRTIO_BLK_T_DISCARD; type <= VIRTIO_BLK_T_WRITE_ZEROES; type += 2) {
		ch = new_chain();
		ch->lim.is_read_only = true;
		set_header(ch, type, 0);
		set_range(ch, 0, 0, 8, 0);
		add_in(ch, 32);
		add_out(ch, 1);
		t_int(parse(ch), RULE_NONE);
		t_int(ch->req.status, VIRTIO_BLK_S_UNSUPP);
		t_uint(ch->req.range_count, 0);
	}
}

Test(blk_request, a_flush_needs_its_feature)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_FLUSH, 0);
	add_in(ch, 16);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_OK);
	ch = new_chain();
	ch->lim.has_flush = false;
	set_header(ch, VIRTIO_BLK_T_FLUSH, 0);
	add_in(ch, 16);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_UNSUPP);
}

Test(blk_request, an_id_needs_twenty_bytes_in_any_pieces)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_GET_ID, 0);
	add_in(ch, 16);
	add_out(ch, 7);
	add_out(ch, 14);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_OK);
	t_uint(ch->req.len, 20);
	t_uint(blk_request_fill(&ch->req, "abcdefghijklmnopqrst", 20), 20);
	t_int(memcmp(ch->out, "abcdefghijklmnopqrst\xee", 21), 0);
	ch = new_chain();
	set_header(ch, VIRTIO_BLK_T_GET_ID, 0);
	add_in(ch, 16);
	add_out(ch, 20);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_IOERR);
	t_uint(blk_request_fill(&ch->req, "abcdefghijklmnopqrst", 20), 19);
}

/* --- discard and write-zeroes --- */

Test(blk_request, ranges_are_copied_whatever_their_segments)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_WRITE_ZEROES, 0);
	set_range(ch, 0, 8, 16, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	set_range(ch, 1, 900, 100, 0);
	set_range(ch, 2, SECTORS, 0, 0);
	add_in(ch, 17);
	add_in(ch, 30);
	add_in(ch, 17);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.op, BLK_WRITE_ZEROES);
	t_int(ch->req.status, VIRTIO_BLK_S_OK);
	t_uint(ch->req.range_count, 3);
	t_uint(ch->ranges[0].sector, 8);
	t_uint(ch->ranges[0].sectors, 16);
	t_true(ch->ranges[0].unmap);
	t_uint(ch->ranges[1].sector, 900);
	t_false(ch->ranges[1].unmap);
	t_uint(ch->ranges[2].sectors, 0);
}

Test(blk_request, wrong_ranges)
{
	enum { UNMAP = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP };
	static const struct {
		const char *name;
		uint32_t type;
		size_t len;
		uint64_t sector;
		uint32_t sectors, flags;
		uint8_t status;
	} rows[] = {
		{ "no range", VIRTIO_BLK_T_DISCARD, 0, 0, 0, 0, VIRTIO_BLK_S_IOERR },
		{ "part of one", VIRTIO_BLK_T_DISCARD, 15, 0, 8, 0, VIRTIO_BLK_S_IOERR },
		{ "one and a part", VIRTIO_BLK_T_WRITE_ZEROES, 24, 0, 8, 0, VIRTIO_BLK_S_IOERR },
		{ "too many", VIRTIO_BLK_T_DISCARD, 16 * (BLK_RANGES_MAX + 1), 0, 8, 0,
			VIRTIO_BLK_S_UNSUPP },
		{ "as many as may be", VIRTIO_BLK_T_DISCARD, 16 * BLK_RANGES_MAX, 0, 8, 0,
			VIRTIO_BLK_S_OK },
		{ "a discard that unmaps", VIRTIO_BLK_T_DISCARD, 16, 0, 8, UNMAP,
			VIRTIO_BLK_S_UNSUPP },
		{ "reserved flag, discard", VIRTIO_BLK_T_DISCARD, 16, 0, 8, 1U << 31,
			VIRTIO_BLK_S_UNSUPP },
		{ "reserved flag, zeroes", VIRTIO_BLK_T_WRITE_ZEROES, 16, 0, 8, 2,
			VIRTIO_BLK_S_UNSUPP },
		{ "longer than offered", VIRTIO_BLK_T_DISCARD, 16, 0, BLK_RANGE_SECTORS_MAX + 1, 0,
			VIRTIO_BLK_S_UNSUPP },
		{ "behind the end", VIRTIO_BLK_T_DISCARD, 16, SECTORS, 1, 0, VIRTIO_BLK_S_IOERR },
		{ "over the end", VIRTIO_BLK_T_WRITE_ZEROES, 16, SECTORS - 1, 2, 0,
			VIRTIO_BLK_S_IOERR },
		{ "the sum wraps", VIRTIO_BLK_T_DISCARD, 16, UINT64_MAX, 2, 0, VIRTIO_BLK_S_IOERR },
		{ "to the end", VIRTIO_BLK_T_DISCARD, 16, SECTORS - 2, 2, 0, VIRTIO_BLK_S_OK },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct chain *ch = new_chain();

		set_header(ch, rows[i].type, 0);
		for (unsigned n = 0; n <= BLK_RANGES_MAX; n++)
			set_range(ch, n, rows[i].sector, rows[i].sectors, rows[i].flags);
		add_in(ch, 16);
		if (rows[i].len > 0)
			add_in(ch, rows[i].len);
		add_out(ch, 1);
		t_row_int(rows[i].name, parse(ch), RULE_NONE);
		t_row_int(rows[i].name, ch->req.status, rows[i].status);
		t_row_true(rows[i].name, ch->req.range_count <= BLK_RANGES_MAX);
	}
}

Test(blk_request, one_wrong_range_among_good_ones_refuses_all)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_DISCARD, 0);
	set_range(ch, 0, 0, 8, 0);
	set_range(ch, 1, 0, 8, 4);
	set_range(ch, 2, 0, 8, 0);
	add_in(ch, 16 + 48);
	add_out(ch, 1);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_UNSUPP);
}

/* --- later --- */

Test(blk_request, a_disk_that_shrank_is_checked_again_and_a_wrong_request_stays_wrong)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_IN, 500);
	add_in(ch, 16);
	add_out(ch, 513);
	t_int(parse(ch), RULE_NONE);
	t_int(ch->req.status, VIRTIO_BLK_S_OK);
	ch->lim.sectors = 500;
	blk_request_check(&ch->req, &ch->lim, ch->ranges);
	t_int(ch->req.status, VIRTIO_BLK_S_IOERR);
	ch->lim.sectors = SECTORS;
	blk_request_check(&ch->req, &ch->lim, ch->ranges);
	t_int(ch->req.status, VIRTIO_BLK_S_IOERR);
}

Test(blk_request, written_bytes_are_counted_up_to_the_first_gap)
{
	struct chain *ch = new_chain();

	set_header(ch, VIRTIO_BLK_T_IN, 0);
	add_in(ch, 16);
	add_out(ch, 1025);
	t_int(parse(ch), RULE_NONE);
	t_uint(blk_request_written(&ch->req, 1024), 1025);
	t_uint(blk_request_written(&ch->req, 512), 512);
	t_uint(blk_request_written(&ch->req, 0), 0);
	/* A write with more room than for the status: what lies before the status stays as it was.
	 */
	ch = new_chain();
	set_header(ch, VIRTIO_BLK_T_OUT, 0);
	add_in(ch, 16 + 512);
	add_out(ch, 4);
	t_int(parse(ch), RULE_NONE);
	t_true(ch->req.status_at == ch->out + 3);
	t_uint(blk_request_written(&ch->req, 512), 0);
}
