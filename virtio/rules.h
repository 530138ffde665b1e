/*
 * The rules that a driver must keep, each with the section of the virtio 1.2 specification that has
 * it (RULE_SEGMENT_EMPTY is our own: the specification says nothing of empty segments, and nobody
 * needs them).  One that is broken is named once in the log and counted; the device then asks for a
 * reset.
 *
 * Where the checks are: layout of a queue and everything in it, queue.c; registers and the order of
 * the initialisation, mmio.c; the form of a request, blk_request.c and net_header.c.
 */
#ifndef MVM_VIRTIO_RULES_H
#define MVM_VIRTIO_RULES_H

enum virtio_rule {
	RULE_NONE, /* nothing is broken */
	/* a queue's place */
	RULE_QUEUE_SIZE,
	RULE_QUEUE_ALIGN,
	RULE_QUEUE_MEMORY,
	RULE_QUEUE_OVERLAP,
	/* what is in it */
	RULE_AVAIL_JUMP,
	RULE_TOO_MANY_CHAINS,
	RULE_HEAD_RANGE,
	RULE_NEXT_RANGE,
	RULE_CHAIN_LENGTH,
	RULE_CHAIN_BYTES,
	RULE_SEGMENT_EMPTY,
	RULE_SEGMENT_MEMORY,
	RULE_READ_AFTER_WRITE,
	RULE_INDIRECT_NOT_AGREED,
	RULE_INDIRECT_NEXT,
	RULE_INDIRECT_NESTED,
	RULE_INDIRECT_LENGTH,
	RULE_INDIRECT_MEMORY,
	/* the order of things */
	RULE_STATUS_ORDER,
	RULE_FEATURES_LATE,
	RULE_QUEUE_LATE,
	RULE_QUEUE_NONE,
	/* requests */
	RULE_BLK_HEADER,
	RULE_BLK_STATUS,
	RULE_NET_BUFFER,
	RULE_NET_CTRL,
	RULE_COUNT,
};

/* What the driver did, in words that follow "the driver "; and the section that forbids it. */
const char *virtio_rule_text(enum virtio_rule rule);
const char *virtio_rule_section(enum virtio_rule rule);

#endif
