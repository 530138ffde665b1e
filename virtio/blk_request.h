/*
 * Block requests: what the driver put into a chain, taken apart and checked (virtio 1.2, 5.2.6).
 *
 *     readable:  header (16 bytes) | data of a write, or ranges of a discard
 *     writable:  data of a read | status (1 byte)
 *
 * Where one descriptor ends and the next begins means nothing (2.7.4): the header may be split, and
 * the status is the last writable byte wherever it lies.
 *
 * Everything here is pure: no I/O, no state.  The header and the ranges are copied once, and the
 * copies are checked and used.
 */
#ifndef MVM_VIRTIO_BLK_REQUEST_H
#define MVM_VIRTIO_BLK_REQUEST_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/check.h"
#include "virtio/queue.h"

enum {
	BLK_RANGES_MAX = 32,              /* of one discard or write-zeroes */
	BLK_RANGE_SECTORS_MAX = 4U << 20, /* of each: 2 GiB */
	BLK_NO_STATUS_YET = 0xff,         /* a value that no status has */
};

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_GET_ID,
	BLK_DISCARD,
	BLK_WRITE_ZEROES,
	BLK_UNKNOWN,
};

/* What the device can do; what a request is checked against. */
struct blk_limits {
	uint64_t sectors; /* capacity */
	bool is_read_only;
	bool has_flush;
};

/* A part of a discard or write-zeroes; sectors may be 0. */
struct blk_range {
	uint64_t sector;
	uint32_t sectors;
	bool unmap;
};

struct blk_request {
	enum blk_op op;
	/* VIRTIO_BLK_S_OK: may be done.  Anything else is the answer already. */
	uint8_t status;
	uint64_t sector;   /* READ and WRITE: the first one */
	uint32_t len;      /* bytes of data: READ, WRITE, GET_ID */
	uint32_t room;     /* writable bytes before the status byte */
	struct iovec *iov; /* the data, in the chain's array */
	unsigned iov_count;
	unsigned range_count; /* DISCARD and WRITE_ZEROES */
	uint8_t *status_at;   /* in guest memory */
};

/*
 * Takes a chain apart.  RULE_NONE with ret filled, ranges[0..range_count) too, and the chain's
 * iovecs cut down to the data; RULE_BLK_HEADER or RULE_BLK_STATUS when the chain is no request at
 * all.  A request that is one but must not be done has its answer in status.
 */
MUST_CHECK enum virtio_rule blk_request_parse(struct virtq_chain *c, const struct blk_limits *lim,
	struct blk_request *ret, struct blk_range ranges[BLK_RANGES_MAX]);

/* Checks places and sizes again, for a request that waited while the disk changed: status
 * follows. */
void blk_request_check(
	struct blk_request *r, const struct blk_limits *lim, const struct blk_range *ranges);

/*
 * What the used ring says was written (2.7.8.2): bytes from the first writable one on without a
 * gap, when moved bytes of data were.  The status byte, which is the last, counts only where all
 * before it was written.
 */
uint32_t blk_request_written(const struct blk_request *r, uint64_t moved);

/* Copies len bytes into the data segments, as far as they reach; returns how many. */
uint32_t blk_request_fill(const struct blk_request *r, const void *src, uint32_t len);

#endif
