/*
 * A machine as metrics see it: two disks, a network card and two vCPUs, which have counted nothing
 * yet.  Nothing of it runs; a test fills in what it looks for.
 */
#ifndef MVM_TESTS_T_METRICS_H
#define MVM_TESTS_T_METRICS_H

#include <jansson.h>

#include "api/counters.h"
#include "api/metrics.h"
#include "instance.h"

enum { T_ROOT, T_DATA, T_NET, T_METRICS_DEVICES };

struct t_metrics {
	struct loop *loop;
	struct instance in; /* vm is there; NULL it for a machine that was not started */
	struct vm *vm;
	struct virtio_device dev[T_METRICS_DEVICES]; /* "root", "data", "eth0" */
	struct api_counters api;
	struct metrics *m;
	char dir[32], path[64]; /* a folder, and a file in it that is not there */
};

void t_metrics_init(struct t_metrics *t);
void t_metrics_fini(struct t_metrics *t);

/* The line that would be written now, read back by jansson; fails the test when it cannot be. */
json_t *t_metrics_line(struct t_metrics *t);

/* The number at group and key, as "group.key" or "group.key.key"; fails the test when there is
 * none. */
int64_t t_metrics_number(json_t *line, const char *where);

#endif
