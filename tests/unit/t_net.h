/*
 * A network device without a guest and without a tap: t_virtq.h is its driver, one end of a socket
 * pair its tap, and the test holds the other end, the wire.  Each test runs on both loops.
 */
#ifndef MVM_TESTS_T_NET_H
#define MVM_TESTS_T_NET_H

#include "t.h"
#include "t_virtq.h"

#include "virtio/net_private.h"

enum { T_NET_QUEUE = 16, T_NET_BUFFERS = 0x100000, T_NET_LONG = 70000 };

struct t_net {
	struct guest_mem mem;
	struct loop *loop;
	struct virtio_device *dev;
	struct net *net;
	int wire;
	struct t_virtq q[NET_QUEUES];
	gpa_t free; /* guest memory behind it belongs to nobody */
	unsigned quiesced;
	struct loop_tail nothing;
	gpa_t buffer[NET_QUEUE_MAX]; /* of receive chains, by head */
};

/* What a test agrees on when nothing else is said: all but merged buffers. */
#define T_NET_PLAIN  (~VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF))
#define T_NET_MERGED (~UINT64_C(0))

/* The device of c (NULL: "net0" with nothing else), made but not active; with a tap that can cut
 * UDP. */
void t_net_make(struct t_net *t, struct loop *l, const struct net_config *c);

/* Active with queues of num entries and those of the offered features that are in features. */
void t_net_start(struct t_net *t, uint64_t features, uint16_t num);
void t_net_init(struct t_net *t, struct loop *l, uint64_t features);

/* Quiesces, resets and frees it. */
void t_net_fini(struct t_net *t);

/* Rounds of the loop that do not wait; and until cond holds, which is waited for 5 seconds. */
void t_net_turn(struct t_net *t);
#define T_NET_UNTIL(t, cond)                                                                       \
	do {                                                                                       \
		bool holds_ = (cond);                                                              \
		for (unsigned i_ = 0; i_ < 10000 && !holds_; i_++) {                               \
			if (i_ > 0)                                                                \
				(void)usleep(500);                                                 \
			t_net_turn(t);                                                             \
			holds_ = (cond);                                                           \
		}                                                                                  \
		cr_assert(eq(int, holds_, 1), "'%s' does not hold", #cond);                        \
	} while (0)

void t_net_kick(struct t_net *t, unsigned q);
void t_net_quiesce(struct t_net *t);
void t_net_resume(struct t_net *t);
void t_net_reset(struct t_net *t);

/* The driver stops one queue, as through the transport. */
void t_net_stop_queue(struct t_net *t, unsigned q);

bool t_net_needs_reset(const struct t_net *t);
uint16_t t_net_status(struct t_net *t); /* of the configuration space */

/* Memory of the guest that nobody else uses. */
gpa_t t_net_alloc(struct t_net *t, uint64_t len);
uint8_t *t_net_at(struct t_net *t, gpa_t gpa, uint64_t len);

/* A receive buffer of len bytes in descriptor head, made available without a kick. */
void t_net_give(struct t_net *t, uint16_t head, uint32_t len);

/* Header and frame of len bytes in buf, which has room for both: header of zeroes, payload by
 * seed.  Returns the length of both. */
size_t t_net_frame(uint8_t *buf, size_t len, uint8_t seed);

/* The same, onto the wire. */
void t_net_arrive(struct t_net *t, size_t len, uint8_t seed);

/* The next frame in the used ring is that of t_net_frame(): spread over so many buffers. */
void t_net_expect(struct t_net *t, size_t len, uint8_t seed, unsigned buffers);

/* A chain with the frame of t_net_frame() in one segment at gpa, to be sent; without a kick. */
void t_net_offer(struct t_net *t, uint16_t head, gpa_t gpa, size_t len, uint8_t seed);

/* What is on the wire: -1 when nothing is. */
ssize_t t_net_leaves(struct t_net *t, uint8_t *buf, size_t len);

/* The next frame on the wire is that of t_net_frame(). */
void t_net_expect_wire(struct t_net *t, size_t len, uint8_t seed);

#endif
