/*
 * A virtio device, as its transport and the machine see it (virtio 1.2).
 *
 *     guest --registers--> mmio.c --virtio_ops--> device (blk.c, net.c) --> backend (disk.c, tap.c)
 *     guest <--interrupt-- virtio_interrupt() <-----+
 *
 * The life of a device: idle --activate--> active --quiesce--> (nothing in flight) --resume-->
 * active, or --reset--> idle.  While it is idle it does not touch guest memory.
 *
 * All ops and all functions below run on the loop's thread, unless they say otherwise.  A device
 * embeds struct virtio_device and holds no lock.
 */
#ifndef MVM_VIRTIO_VIRTIO_H
#define MVM_VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/log.h"
#include "core/loop.h"
#include "core/mem.h"
#include "virtio/counters.h"
#include "virtio/queue.h"

struct virtio_device;
struct virtio_state;

enum { VIRTIO_QUEUES_MAX = 3, VIRTIO_CONFIG_MAX = 64, VIRTIO_NAME_MAX = 80 };

/* Features of every device (6): version 1, event index, indirect descriptors. */
#define VIRTIO_BIT(n) (1ULL << (n))
#define VIRTIO_FEATURES_COMMON                                                                     \
	(VIRTIO_BIT(32) | VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX) |                                    \
		VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC))

/* What the host's user may want to hear of a device. */
enum virtio_news {
	/* Its driver broke a rule; text: which; number: how often that was not told, because there
	 * is a budget (log_budget_take()). */
	VIRTIO_NEWS_BROKEN,
	VIRTIO_NEWS_THROTTLED, /* a limiter holds it back; number: how often since it was last said,
				  which is at most once a second */
	VIRTIO_NEWS_CAPACITY,  /* a disk has another file or size; number: bytes; text: its path */
};

struct virtio_ops {
	uint32_t id;        /* device type (5) */
	uint16_t nqueues;   /* 1 to VIRTIO_QUEUES_MAX */
	uint16_t queue_max; /* entries that each may have, a power of 2 up to VIRTQ_SIZE_MAX */
	/* Whether the driver's choice, a subset of what is offered, holds together.  Any thread. */
	bool (*accepts)(const struct virtio_device *dev, uint64_t features);
	/* The driver is ready: features are agreed, the ready queues may be used. */
	void (*activate)(struct virtio_device *dev);
	/* The driver has made something available in queue q, which is ready. */
	void (*kick)(struct virtio_device *dev, unsigned q);
	/*
	 * Take nothing new out of the queues.  Calls virtio_quiesced() as soon as nothing is in
	 * flight, at once where nothing is; what is finished until then is still pushed.
	 */
	void (*quiesce)(struct virtio_device *dev);
	/* After quiesce: go on; every ready queue is looked at as if it had been kicked. */
	void (*resume)(struct virtio_device *dev);
	/*
	 * After quiesce, and with a resume to follow: the driver has stopped queue q, which is
	 * zeroed already.  Forget what was taken out of it.  NULL where nothing can be.
	 */
	void (*queue_stopped)(struct virtio_device *dev, unsigned q);
	/* After quiesce: forget the driver.  The queues are stopped afterwards. */
	void (*reset)(struct virtio_device *dev);
	/* What the device itself has to add to its state, and to take from one: rate limiters,
	 * link.  NULL: nothing. load is called before activate; the values are not trusted. */
	void (*save)(const struct virtio_device *dev, struct virtio_state *ret);
	int (*load)(struct virtio_device *dev, const struct virtio_state *s);
	/* Accepts a half-built device, never an active one.  Frees dev and its backend. */
	void (*free)(struct virtio_device *dev);
};

struct virtio_device {
	const struct virtio_ops *ops;
	char name[VIRTIO_NAME_MAX]; /* for people: "disk 'rootfs'" */
	uint64_t offered, acked;
	const struct guest_mem *mem;
	struct loop *loop;
	struct virtq vq[VIRTIO_QUEUES_MAX];
	struct virtio_counters counters;
	/* Set by whoever has the transport's part: the device only reads them. */
	bool active;      /* between activate and reset, also while quiesced */
	bool is_quiesced; /* from before quiesce until before resume, or until after reset */
	/*
	 * Whom news are told; NULL: nobody asks.  On the loop's thread, from wherever the device
	 * is: it must not call the device.  text is valid during the call only; NULL where there is
	 * none.
	 */
	void (*told)(struct virtio_device *dev, enum virtio_news news, uint64_t number,
		const char *text);
	void *told_ctx;
	/* set by the transport */
	int irq_fd; /* eventfd of the interrupt, -1: none */
	void (*quiesced)(struct virtio_device *dev);
	void *transport;
	/* private */
	_Atomic uint32_t isr; /* interrupt status (4.2.2) */
	_Atomic bool needs_reset;
	struct loop_post broken_post; /* brings broken_rule to the loop */
	_Atomic enum virtio_rule broken_rule;
	struct log_budget broken_budget;
	uint64_t throttled_told_ns; /* when it was last told; 0: never */
	uint64_t throttled_untold;
	pthread_mutex_t config_lock; /* guards the next three */
	uint32_t generation;
	size_t config_len;
	uint8_t config[VIRTIO_CONFIG_MAX];
};

/* Interrupt status. */
enum { VIRTIO_ISR_USED = 1, VIRTIO_ISR_CONFIG = 2 };

/* For a device's constructor and destructor. */
void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, uint64_t offered);
void virtio_device_fini(struct virtio_device *dev);

/* True while the device may take from its queues: active, not quiesced, no rule broken. */
static inline bool virtio_may_run(const struct virtio_device *dev)
{
	return dev->active && !dev->is_quiesced &&
	       !atomic_load_explicit(&dev->needs_reset, memory_order_relaxed);
}

static inline bool virtio_has(const struct virtio_device *dev, unsigned feature)
{
	return dev->acked & VIRTIO_BIT(feature);
}

void virtio_mark_dirty_slowly(
	const struct virtio_device *dev, const struct iovec *iov, uint64_t off, uint64_t len);

/* Says that len bytes of guest memory from off on in these segments, which are that long, were
 * written to, or will be before the device is at rest (mem_mark_dirty()). */
static inline void virtio_mark_dirty(
	const struct virtio_device *dev, const struct iovec *iov, uint64_t off, uint64_t len)
{
	if (__builtin_expect(dev->mem->dirty != NULL, 0))
		virtio_mark_dirty_slowly(dev, iov, off, len);
}

/* Interrupts the driver for a cause (VIRTIO_ISR_...), whether it wants that or not. */
void virtio_interrupt(struct virtio_device *dev, uint32_t cause);

/* Publishes what was pushed to queue q and interrupts the guest if it wants that. */
void virtio_publish(struct virtio_device *dev, unsigned q);

/*
 * The driver broke a rule: counted, logged within a budget, and the device asks for a reset
 * (DEVICE_NEEDS_RESET, 2.1.2).  Any thread.
 */
void virtio_break(struct virtio_device *dev, enum virtio_rule rule);

/* A limiter begins to hold a request or frame of the given way (COUNT_READ, COUNT_WRITE) back:
 * counted, and told. */
void virtio_throttled(struct virtio_device *dev, enum counter_kind way, uint64_t now_ns);

/* To be called once by a device that was told to quiesce; as the last thing it does, because
 * resume, or reset and activate, may come from inside. */
void virtio_quiesced(struct virtio_device *dev);

/* Changes the configuration space and tells the driver (2.5, 4.2.2.1).  off + len within it. */
void virtio_config_write(struct virtio_device *dev, size_t off, const void *src, size_t len);

/* Reads it; what lies behind its end reads as zero.  Any thread. */
void virtio_config_read(struct virtio_device *dev, size_t off, void *dst, size_t len);
uint32_t virtio_config_generation(struct virtio_device *dev);

#endif
