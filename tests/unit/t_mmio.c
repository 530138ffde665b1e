/* A device in its window (t_mmio.h). */
#include "t_mmio.h"

#include <sys/mman.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "virtio/rules.h"

static void make(struct t_mmio *t, struct loop *l)
{
	struct err e = { 0 };

	t->l = l;
	t->log_fd = memfd_create("log", MFD_CLOEXEC);
	log_init(LOG_WARNING, t->log_fd);
	t_device_init(&t->d);
	t->d.v.mem = &t->m;
	cr_assert(eq(int, virtio_mmio_init(&t->w, &t->d.v, &e), 0), "%s", e.text);
}

void t_mmio_init(struct t_mmio *t, struct loop *l, uint64_t mem)
{
	memset(t, 0, sizeof(*t));
	t_mem_init(&t->m, mem);
	make(t, l);
	virtio_mmio_start(&t->w, l);
}

void t_mmio_init_from(struct t_mmio *t, const struct t_mmio *from, const struct virtio_state *s)
{
	struct err e = { 0 };

	memset(t, 0, sizeof(*t));
	t->m = from->m;
	t->is_second = true;
	memcpy(t->q, from->q, sizeof(t->q));
	make(t, from->l);
	cr_assert(eq(int, virtio_mmio_load(&t->w, s, &e), 0), "%s", e.text);
	virtio_mmio_start(&t->w, t->l);
}

static void on_drained(struct virtio_device *dev)
{
	dev->active = false;
}

static bool has_watch(const struct t_mmio *t)
{
	for (unsigned q = 0; q < T_DEVICE_QUEUES; q++) {
		if (loop_op_is_pending(&t->w.queue[q].watch))
			return true;
	}
	return false;
}

void t_mmio_fini(struct t_mmio *t)
{
	virtio_mmio_close(&t->w);
	virtio_mmio_stop(&t->w);
	t->d.v.quiesced = on_drained;
	if (t->w.pause == MMIO_PAUSED)
		t->d.v.active = false;
	if (t->d.v.active && !t->d.v.is_quiesced) {
		t->d.v.is_quiesced = true;
		t->d.v.ops->quiesce(&t->d.v);
	}
	t_device_finish(&t->d);
	t_device_rest(&t->d);
	while (has_watch(t))
		t_int(loop_turn(t->l), 0);
	virtio_mmio_fini(&t->w);
	t->d.v.ops->free(&t->d.v);
	if (!t->is_second)
		guest_mem_fini(&t->m);
	log_init(LOG_WARNING, STDERR_FILENO);
	(void)close(t->log_fd);
}

/* --- accesses --- */

static void ignore(struct loop_post *post)
{
	(void)post; /* has woken the loop */
}

static void *access_main(void *arg)
{
	struct t_access *a = arg;
	uint8_t buf[4];

	memcpy(buf, &a->value, sizeof(buf));
	a->begun = true;
	if (a->is_write)
		virtio_mmio_bus_ops.write(&a->t->w, a->off, buf, sizeof(buf));
	else
		virtio_mmio_bus_ops.read(&a->t->w, a->off, buf, sizeof(buf));
	memcpy(&a->value, buf, sizeof(buf));
	a->done = true;
	loop_post(a->t->l, &a->post);
	return NULL;
}

void t_mmio_begin(struct t_mmio *t, struct t_access *a, bool is_write, uint32_t off, uint32_t value)
{
	*a = (struct t_access){
		.t = t, .off = off, .value = value, .is_write = is_write, .post.run = ignore
	};
	t_int(pthread_create(&a->thread, NULL, access_main, a), 0);
}

uint32_t t_mmio_end(struct t_access *a)
{
	while (!a->done) {
		int rc = loop_turn(a->t->l);

		t_true(rc == 0 || rc == -EINTR);
	}
	t_int(pthread_join(a->thread, NULL), 0);
	t_mmio_settle(a->t); /* its own post, which lies in *a */
	return a->value;
}

static void on_timeout(struct loop_op *op, int res)
{
	(void)res;
	loop_stop(op->loop);
}

static void run_for(struct loop *l, uint64_t ns)
{
	struct loop_op op = { .done = on_timeout };

	loop_timeout(l, &op, ns);
	t_int(loop_run(l), 0);
}

bool t_mmio_waits(struct t_access *a)
{
	/* On a busy host its thread takes a while to begin at all. */
	while (!a->begun)
		run_for(a->t->l, 1000000);
	for (unsigned i = 0; i < 20 && !a->done; i++)
		run_for(a->t->l, 1000000);
	return !a->done;
}

void t_mmio_settle(struct t_mmio *t)
{
	for (unsigned i = 0; i < 3; i++)
		run_for(t->l, 0);
}

/* Only these may wait for the loop. */
static bool may_wait(uint32_t off)
{
	return off == VIRTIO_MMIO_STATUS || off == VIRTIO_MMIO_QUEUE_READY;
}

void t_mmio_write(struct t_mmio *t, uint32_t off, uint32_t value)
{
	struct t_access a;

	if (may_wait(off)) {
		t_mmio_begin(t, &a, true, off, value);
		(void)t_mmio_end(&a);
	} else {
		virtio_mmio_bus_ops.write(&t->w, off, (const uint8_t *)&value, sizeof(value));
	}
}

uint32_t t_mmio_read(struct t_mmio *t, uint32_t off)
{
	uint32_t value = UINT32_MAX;

	virtio_mmio_bus_ops.read(&t->w, off, (uint8_t *)&value, sizeof(value));
	return value;
}

/* --- a driver --- */

bool t_mmio_negotiate(struct t_mmio *t, uint64_t features)
{
	t_mmio_write(t, VIRTIO_MMIO_STATUS, T_ACK);
	t_mmio_write(t, VIRTIO_MMIO_STATUS, T_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		t_mmio_write(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		t_mmio_write(t, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
	}
	t_mmio_write(t, VIRTIO_MMIO_STATUS, T_FEATURES_OK);
	return t_mmio_read(t, VIRTIO_MMIO_STATUS) == T_FEATURES_OK;
}

void t_mmio_place(struct t_mmio *t, unsigned q, const struct virtq_layout *at)
{
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_SEL, q);
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_NUM, at->num);
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)at->desc);
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(at->desc >> 32));
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)at->avail);
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(at->avail >> 32));
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)at->used);
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(at->used >> 32));
	t_mmio_write(t, VIRTIO_MMIO_QUEUE_READY, 1);
}

void t_mmio_start(struct t_mmio *t, uint64_t features, uint16_t num)
{
	gpa_t at = T_QUEUES_AT;

	t_true(t_mmio_negotiate(t, features | T_VERSION_1));
	for (unsigned q = 0; q < T_DEVICE_QUEUES; q++) {
		at = t_virtq_init(&t->q[q], &t->m, at, num);
		t_mmio_place(t, q, &t->q[q].at);
		t_uint(t_mmio_read(t, VIRTIO_MMIO_QUEUE_READY), 1);
	}
	t_mmio_write(t, VIRTIO_MMIO_STATUS, T_RUNNING);
	t_hex(t_mmio_read(t, VIRTIO_MMIO_STATUS), T_RUNNING);
	t_true(t->d.v.active);
}

uint64_t t_mmio_interrupts(struct t_mmio *t)
{
	uint64_t count;

	return read(t->d.v.irq_fd, &count, sizeof(count)) == (ssize_t)sizeof(count) ? count : 0;
}

void t_mmio_broke(struct t_mmio *t, enum virtio_rule rule)
{
	char text[4096] = "";
	ssize_t n = pread(t->log_fd, text, sizeof(text) - 1, 0);

	t_true(n > 0);
	t_has(text, virtio_rule_text(rule));
	t_has(text, virtio_rule_section(rule));
	t_has(text, t->d.v.name);
	cr_assert(eq(ptr, strchr(text, '\n'), text + n - 1), "one line only:\n%s", text);
	t_uint(count_get(&t->d.v.counters.rule_breaks), 1);
	t_int(t_mmio_read(t, VIRTIO_MMIO_STATUS) & T_NEEDS_RESET, T_NEEDS_RESET);
	t_int(t_mmio_read(t, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG,
		VIRTIO_MMIO_INT_CONFIG);
	t_uint(t_mmio_interrupts(t), 1);
}
