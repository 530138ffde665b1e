/*
 * A virtio device that does what a test says: it takes chains and gives them back at once or when
 * it is told to, comes to rest at once or late, and writes down what was asked of it.  Without
 * Criterion, so that fuzz targets can use it too.
 */
#ifndef MVM_TESTS_T_DEVICE_H
#define MVM_TESTS_T_DEVICE_H

#include <pthread.h>
#include <stdbool.h>

#include "virtio/virtio.h"

enum { T_DEVICE_ID = 0x1234, T_DEVICE_QUEUES = 2, T_DEVICE_QUEUE_MAX = 256, T_DEVICE_LOG = 128 };

/* A feature that it offers beside the common ones, and two that go only together. */
enum { T_FEATURE = 3, T_FEATURE_A = 5, T_FEATURE_B = 40 };

struct t_device {
	struct virtio_device v;
	/* how it behaves */
	bool holds; /* chains are kept until t_device_finish() */
	bool late;  /* comes to rest only with t_device_rest(), not when nothing is held */
	/* what happened */
	char log[T_DEVICE_LOG]; /* A activate, 0 1 kick of that queue, q quiesce, m resume, r reset
				 */
	unsigned nlog;
	unsigned kicks[T_DEVICE_QUEUES];
	unsigned served;
	unsigned nheld[T_DEVICE_QUEUES];
	uint16_t held[T_DEVICE_QUEUES][T_DEVICE_QUEUE_MAX];
	bool is_resting;  /* told to quiesce and has not said that it did */
	pthread_t ran_on; /* thread of the last call */
};

/* Zeroes it first.  loop and mem are the caller's to set. */
void t_device_init(struct t_device *d);

/* Gives back all chains that it holds; where it was told to come to rest, it does. */
void t_device_finish(struct t_device *d);

/* A late device comes to rest. */
void t_device_rest(struct t_device *d);

#endif
