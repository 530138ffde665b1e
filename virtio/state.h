/*
 * A virtio device and its transport as plain values: what a snapshot keeps of them (virtio 1.2, 4.2
 * and 2.7).
 *
 * Chains that the device had taken and not given back when the machine stood still are put back
 * into the ring: next_avail is where the restored device goes on.  So there is no in-flight work in
 * a snapshot, and none is lost: a request that was not answered is taken again.
 */
#ifndef MVM_VIRTIO_STATE_H
#define MVM_VIRTIO_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mem.h"
#include "virtio/virtio.h"

struct virtq_state {
	uint32_t num;
	gpa_t desc, avail, used;
	bool ready;   /* the driver's register */
	bool running; /* the device uses it: ready and not broken */
	struct virtq_position at;
};

struct bucket_state {
	uint64_t tokens, debt, burst, rest;
};

struct limiter_state {
	struct bucket_state bytes, ops;
};

/* limiter.h.  save: as it stands at now_ns, with what has flowed in until then.  load: after
 * limiter_init(), whose configuration counts: more than fits it is cut down to that. */
struct limiter;
void limiter_save(const struct limiter *l, uint64_t now_ns, struct limiter_state *ret);
void limiter_load(struct limiter *l, const struct limiter_state *s, uint64_t now_ns);

enum {
	VIRTIO_LIMITERS_MAX = 2
}; /* a disk has one, a network card one each way: receive, transmit */

struct virtio_state {
	uint32_t type; /* device type (5) */
	uint32_t status, device_features_sel, driver_features_sel, queue_sel;
	uint64_t driver_features, acked;
	bool has_excess_features, needs_reset;
	uint32_t isr, generation;
	uint32_t config_len;
	uint8_t config[VIRTIO_CONFIG_MAX];
	uint32_t nqueues;
	struct virtq_state queue[VIRTIO_QUEUES_MAX];
	struct limiter_state limiter[VIRTIO_LIMITERS_MAX];
	bool is_link_up; /* network cards only */
};

#endif
