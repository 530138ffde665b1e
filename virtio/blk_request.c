/* The form of block requests (blk_request.h). */
#include "virtio/blk_request.h"

#include <string.h>

enum { SECTOR_SHIFT = 9, SECTOR = 1 << SECTOR_SHIFT };

/* --- segments --- */

/* A list of segments that is eaten from the front. */
struct cursor {
	struct iovec *iov;
	unsigned count;
};

static void skip(struct cursor *at, size_t n)
{
	at->iov->iov_base = (char *)at->iov->iov_base + n;
	at->iov->iov_len -= n;
	if (at->iov->iov_len == 0) {
		at->iov++;
		at->count--;
	}
}

/*
 * Copies len bytes, which are there, out of guest memory and past them.  Each byte is read once:
 * the barrier keeps the compiler from going back to the guest's copy later.
 */
static void take(struct cursor *from, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len > 0) {
		size_t n = MIN(len, from->iov->iov_len);

		memcpy(to, from->iov->iov_base, n);
		skip(from, n);
		to += n;
		len -= n;
	}
	__asm__ volatile("" ::: "memory");
}

/* Cuts the last byte off the writable segments: the place of the status. */
static uint8_t *cut_status(struct iovec *iov, unsigned *count)
{
	struct iovec *last = &iov[*count - 1];

	last->iov_len--;
	if (last->iov_len == 0)
		(*count)--;
	return (uint8_t *)last->iov_base + last->iov_len;
}

uint32_t blk_request_fill(const struct blk_request *r, const void *src, uint32_t len)
{
	const uint8_t *from = src;
	uint32_t left = len;

	for (unsigned i = 0; i < r->iov_count && left > 0; i++) {
		uint32_t n = (uint32_t)MIN((size_t)left, r->iov[i].iov_len);

		memcpy(r->iov[i].iov_base, from, n);
		from += n;
		left -= n;
	}
	return len - left;
}

/* --- checks --- */

static bool is_inside(const struct blk_limits *lim, uint64_t sector, uint64_t sectors)
{
	return sector <= lim->sectors && sectors <= lim->sectors - sector;
}

static uint8_t check_transfer(const struct blk_request *r, const struct blk_limits *lim)
{
	if (r->op == BLK_WRITE && lim->is_read_only)
		return VIRTIO_BLK_S_IOERR;
	if (r->len % SECTOR != 0 || !is_inside(lim, r->sector, r->len >> SECTOR_SHIFT))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

/* Only places: flags and sizes do not change with the disk. */
static uint8_t check_ranges(
	const struct blk_request *r, const struct blk_limits *lim, const struct blk_range *ranges)
{
	for (unsigned i = 0; i < r->range_count; i++) {
		if (!is_inside(lim, ranges[i].sector, ranges[i].sectors))
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

static uint8_t check(
	const struct blk_request *r, const struct blk_limits *lim, const struct blk_range *ranges)
{
	switch (r->op) {
	case BLK_READ:
	case BLK_WRITE: return check_transfer(r, lim);
	case BLK_FLUSH: return lim->has_flush ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_UNSUPP;
	case BLK_GET_ID: return r->len < VIRTIO_BLK_ID_BYTES ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES: return check_ranges(r, lim, ranges);
	case BLK_UNKNOWN: break;
	}
	return VIRTIO_BLK_S_UNSUPP;
}

void blk_request_check(
	struct blk_request *r, const struct blk_limits *lim, const struct blk_range *ranges)
{
	/* What was wrong in itself stays wrong. */
	if (r->status == VIRTIO_BLK_S_OK)
		r->status = check(r, lim, ranges);
}

/* --- parsing --- */

static enum blk_op op_of(uint32_t type)
{
	switch (type) {
	case VIRTIO_BLK_T_IN: return BLK_READ;
	case VIRTIO_BLK_T_OUT: return BLK_WRITE;
	case VIRTIO_BLK_T_FLUSH: return BLK_FLUSH;
	case VIRTIO_BLK_T_GET_ID: return BLK_GET_ID;
	case VIRTIO_BLK_T_DISCARD: return BLK_DISCARD;
	case VIRTIO_BLK_T_WRITE_ZEROES: return BLK_WRITE_ZEROES;
	default: return BLK_UNKNOWN;
	}
}

/* A discard may not unmap, which it does anyway, and other flags do not exist (5.2.6.2). */
static bool has_bad_flags(enum blk_op op, uint32_t flags)
{
	uint32_t known = op == BLK_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

	return (flags & ~known) != 0;
}

/* The ranges of a discard: data holds len bytes of them. */
static uint8_t take_ranges(const struct blk_limits *lim, struct blk_request *r, struct cursor *data,
	uint32_t len, struct blk_range *ranges)
{
	struct virtio_blk_discard_write_zeroes raw;
	uint8_t status = VIRTIO_BLK_S_OK;

	/* Not offered by a disk that is only read. */
	if (lim->is_read_only)
		return VIRTIO_BLK_S_UNSUPP;
	if (len == 0 || len % sizeof(raw) != 0)
		return VIRTIO_BLK_S_IOERR;
	if (len / sizeof(raw) > BLK_RANGES_MAX)
		return VIRTIO_BLK_S_UNSUPP;
	for (unsigned i = 0; i < len / sizeof(raw); i++) {
		take(data, &raw, sizeof(raw));
		if (has_bad_flags(r->op, raw.flags) || raw.num_sectors > BLK_RANGE_SECTORS_MAX)
			status = VIRTIO_BLK_S_UNSUPP;
		ranges[i] = (struct blk_range){ .sector = raw.sector,
			.sectors = raw.num_sectors,
			.unmap = raw.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP };
	}
	r->range_count = len / (uint32_t)sizeof(raw);
	return status;
}

enum virtio_rule blk_request_parse(struct virtq_chain *c, const struct blk_limits *lim,
	struct blk_request *ret, struct blk_range ranges[BLK_RANGES_MAX])
{
	struct cursor in = { c->iov, c->nread };
	struct iovec *out = c->iov + c->nread;
	struct virtio_blk_outhdr header;

	if (c->read_len < sizeof(header))
		return RULE_BLK_HEADER;
	if (c->nwrite == 0)
		return RULE_BLK_STATUS;
	take(&in, &header, sizeof(header));
	*ret = (struct blk_request){ .op = op_of(header.type),
		.sector = header.sector,
		.room = c->write_len - 1,
		.status_at = cut_status(out, &c->nwrite) };
	c->read_len -= (uint32_t)sizeof(header);
	switch (ret->op) {
	case BLK_READ:
	case BLK_GET_ID:
		ret->iov = out;
		ret->iov_count = c->nwrite;
		ret->len = ret->room;
		break;
	case BLK_WRITE:
		ret->iov = in.iov;
		ret->iov_count = in.count;
		ret->len = c->read_len;
		break;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES: ret->status = take_ranges(lim, ret, &in, c->read_len, ranges); break;
	case BLK_FLUSH:
	case BLK_UNKNOWN: break;
	}
	blk_request_check(ret, lim, ranges);
	return RULE_NONE;
}

uint32_t blk_request_written(const struct blk_request *r, uint64_t moved)
{
	if (r->op != BLK_READ && r->op != BLK_GET_ID)
		moved = 0;
	return moved < r->room ? (uint32_t)moved : r->room + 1;
}
