/*
 * The window of a virtio device under a driver that accesses anything in any order.  The input is a
 * script of register accesses, kicks and chains; a model of the registers runs beside it.
 *
 * The device is t_device.c.  There is no loop and no second thread: what is posted runs where a
 * vCPU would wait for it, in a pthread_cond_wait() of our own.  There the script also decides
 * whether the device comes to rest at once or late, or the machine ends instead.
 *
 * The device may also be saved, and goes on in another one; a state with bytes that were changed is
 * refused, or its device does whatever it does, in a memory of its own, until it is reset.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "fuzz.h"
#include "t_device.h"
#include "virtio/mmio.h"

enum {
	OP_WRITE,
	OP_READ,
	OP_ODD,    /* an access of any width at any place */
	OP_PLACE,  /* the selected queue's registers, well */
	OP_STATUS, /* the next step of a driver in order, or another */
	OP_CHAIN,  /* a chain of one segment, good or bad */
	OP_KICK,
	OP_FINISH,
	OP_MODE, /* how the device behaves; or it is saved */
	OP_CONFIG,
	OPS,
	OPERATIONS_MAX = 400,

	MEM_LEN = 0x20000,
	QUEUES_AT = 0x1000,
	QUEUE_STEP = 0x8000,
	BUFFER_AT = 0x1f000,

	DRIVER_BITS = 0x8f,
	SET_UP = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
};

static uint8_t memory[MEM_LEN];
static const struct guest_mem mem = { .n = 1, .r = { { 0, MEM_LEN, memory } } };
static struct t_device devices[2], *device;
static struct virtio_mmio windows[2], *window;
static struct script script;
static bool closed;

/* --- the loop --- */

static struct loop_post *posted;
static unsigned waits;

void loop_post(struct loop *l, struct loop_post *post)
{
	(void)l;
	FUZZ_CHECK(!posted);
	posted = post;
}

void loop_watch(struct loop *l, struct loop_op *op, int eventfd)
{
	op->loop = l;
	op->fd = eventfd;
	op->kind = LOOP_WATCH;
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	(void)l;
	op->kind = LOOP_IDLE;
}

/* A vCPU waits: first the loop sees the post, then the device finishes its work. */
int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	struct loop_post *post = posted;

	(void)cond;
	FUZZ_CHECK(++waits < 8);
	(void)pthread_mutex_unlock(lock);
	if (script_byte(&script) % 16 == 15) {
		virtio_mmio_close(window);
		closed = true;
	} else if (post) {
		posted = NULL;
		post->run(post);
	} else {
		t_device_finish(device);
		t_device_rest(device);
	}
	(void)pthread_mutex_lock(lock);
	return 0;
}

/* --- the model: what registers hold, written from the specification (4.2.2, 3.1.1) --- */

struct model_queue {
	uint32_t num;
	uint64_t desc, avail, used;
	bool ready;
};

static struct model {
	uint32_t status, device_sel, driver_sel, queue_sel;
	uint64_t features, acked;
	bool excess, broken;
	struct model_queue queue[T_DEVICE_QUEUES];
} m;

static void model_break(void)
{
	m.broken = true;
}

static bool model_features(void)
{
	bool a = m.features & VIRTIO_BIT(T_FEATURE_A), b = m.features & VIRTIO_BIT(T_FEATURE_B);

	return !m.excess && !(m.features & ~device->v.offered) && (m.features & VIRTIO_BIT(32)) &&
	       a == b;
}

static void model_status(uint32_t value)
{
	uint32_t added = value & DRIVER_BITS & ~m.status;

	if (value == 0) {
		m = (struct model){ 0 };
		return;
	}
	m.status |= added & (SET_UP | VIRTIO_CONFIG_S_FAILED);
	if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && (m.status & SET_UP) == SET_UP &&
		model_features()) {
		m.status |= VIRTIO_CONFIG_S_FEATURES_OK;
		m.acked = m.features;
	}
	if (!(added & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	if (!(m.status & VIRTIO_CONFIG_S_FEATURES_OK))
		model_break();
	else if (!m.broken)
		m.status |= VIRTIO_CONFIG_S_DRIVER_OK;
}

static void model_driver_features(uint32_t value)
{
	uint64_t before = m.features, after = before;

	if (m.driver_sel == 0)
		after = (before >> 32 << 32) | value;
	if (m.driver_sel == 1)
		after = (before & 0xffffffff) | (uint64_t)value << 32;
	if (m.driver_sel > 1 && value)
		m.excess = true;
	if (before == after)
		return;
	if (m.status & VIRTIO_CONFIG_S_FEATURES_OK)
		model_break();
	else
		m.features = after;
}

static bool in_memory(uint64_t at, uint64_t len)
{
	return at < MEM_LEN && len <= MEM_LEN - at;
}

static bool model_layout(const struct model_queue *q)
{
	uint64_t n = q->num, at[] = { q->desc, q->avail, q->used },
		 len[] = { 16 * n, 6 + 2 * n, 6 + 8 * n }, unit[] = { 16, 2, 4 };

	if (n < 2 || n > T_DEVICE_QUEUE_MAX || (n & (n - 1)))
		return false;
	for (unsigned i = 0; i < 3; i++) {
		if (at[i] % unit[i] || !in_memory(at[i], len[i]))
			return false;
		for (unsigned k = 0; k < i; k++) {
			if (at[i] < at[k] + len[k] && at[k] < at[i] + len[i])
				return false;
		}
	}
	return true;
}

static void model_ready(struct model_queue *q, uint32_t value)
{
	if (value == 0)
		q->ready = false;
	if (value != 1 || q->ready)
		return;
	if ((m.status & VIRTIO_CONFIG_S_FEATURES_OK) && !(m.status & VIRTIO_CONFIG_S_DRIVER_OK) &&
		model_layout(q))
		q->ready = true;
	else
		model_break();
}

static void put_low(uint64_t *at, uint32_t value)
{
	*at = *at >> 32 << 32 | value;
}

static void put_high(uint64_t *at, uint32_t value)
{
	*at = (*at & 0xffffffff) | (uint64_t)value << 32;
}

static void model_queue(uint32_t reg, uint32_t value)
{
	struct model_queue *q = m.queue_sel < T_DEVICE_QUEUES ? &m.queue[m.queue_sel] : NULL;

	/* Linux stops a queue that it did not find. */
	if (!q && reg == VIRTIO_MMIO_QUEUE_READY && value == 0)
		return;
	if (!q || (q->ready && reg != VIRTIO_MMIO_QUEUE_READY)) {
		model_break();
		return;
	}
	switch (reg) {
	case VIRTIO_MMIO_QUEUE_READY: model_ready(q, value); break;
	case VIRTIO_MMIO_QUEUE_NUM: q->num = value; break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW: put_low(&q->desc, value); break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH: put_high(&q->desc, value); break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW: put_low(&q->avail, value); break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH: put_high(&q->avail, value); break;
	case VIRTIO_MMIO_QUEUE_USED_LOW: put_low(&q->used, value); break;
	default: put_high(&q->used, value); break;
	}
}

static void model_write(uint32_t reg, uint32_t value)
{
	switch (reg) {
	case VIRTIO_MMIO_STATUS: model_status(value); break;
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL: m.device_sel = value; break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL: m.driver_sel = value; break;
	case VIRTIO_MMIO_DRIVER_FEATURES: model_driver_features(value); break;
	case VIRTIO_MMIO_QUEUE_SEL: m.queue_sel = value; break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		if (value >= T_DEVICE_QUEUES)
			model_break();
		break;
	case VIRTIO_MMIO_QUEUE_READY:
	case VIRTIO_MMIO_QUEUE_NUM:
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH: model_queue(reg, value); break;
	default: break;
	}
}

/* What a register must read as; false where the model has no opinion. */
static bool model_read(uint32_t reg, uint32_t *ret)
{
	const struct model_queue *q = m.queue_sel < T_DEVICE_QUEUES ? &m.queue[m.queue_sel] : NULL;

	*ret = 0;
	switch (reg) {
	case VIRTIO_MMIO_MAGIC_VALUE: *ret = 0x74726976; break;
	case VIRTIO_MMIO_VERSION: *ret = 2; break;
	case VIRTIO_MMIO_DEVICE_ID: *ret = T_DEVICE_ID; break;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		if (m.device_sel < 2)
			*ret = (uint32_t)(device->v.offered >> 32 * m.device_sel);
		break;
	case VIRTIO_MMIO_QUEUE_NUM_MAX: *ret = q ? T_DEVICE_QUEUE_MAX : 0; break;
	case VIRTIO_MMIO_QUEUE_READY: *ret = q && q->ready; break;
	case VIRTIO_MMIO_STATUS:
		*ret = m.status | (m.broken ? (uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET : 0);
		break;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH: *ret = UINT32_MAX; break;
	case VIRTIO_MMIO_VENDOR_ID:
	case VIRTIO_MMIO_INTERRUPT_STATUS:
	case VIRTIO_MMIO_CONFIG_GENERATION: return false;
	default: break;
	}
	return true;
}

/* --- accesses --- */

static uint32_t read_reg(uint32_t reg)
{
	uint32_t value = UINT32_MAX;

	virtio_mmio_bus_ops.read(window, reg, (uint8_t *)&value, sizeof(value));
	return value;
}

/* The device found a broken rule on its own, in a chain. */
static void learn_of_breaks(void)
{
	m.broken |= atomic_load(&device->v.needs_reset);
}

static void write_reg(uint32_t reg, uint32_t value)
{
	bool was_closed = closed, had_driver = m.status & VIRTIO_CONFIG_S_DRIVER_OK;
	struct model before = m;

	waits = 0;
	if (!closed)
		model_write(reg, value);
	virtio_mmio_bus_ops.write(window, reg, (const uint8_t *)&value, sizeof(value));
	if (closed && !was_closed) {
		/* The access that waited has ended without its effect, now and later. */
		unsigned nlog = device->nlog;

		m = before;
		FUZZ_CHECK(value != 0 || device->v.acked == m.acked);
		if (posted)
			posted->run(posted);
		FUZZ_CHECK(device->nlog == nlog);
		posted = NULL;
		return;
	}
	if (!closed && (m.status & VIRTIO_CONFIG_S_DRIVER_OK) && had_driver)
		learn_of_breaks(); /* the stop of a queue looks at the others anew */
	if (!closed && (m.status & VIRTIO_CONFIG_S_DRIVER_OK) && !had_driver)
		learn_of_breaks(); /* what was available at the start */
}

static void check_read(uint32_t reg)
{
	uint32_t want, got = read_reg(reg);

	if (closed)
		FUZZ_CHECK(got == 0 || reg >= VIRTIO_MMIO_CONFIG ||
			   reg == VIRTIO_MMIO_INTERRUPT_STATUS);
	else if (reg < VIRTIO_MMIO_CONFIG && model_read(reg, &want))
		FUZZ_CHECK(got == want);
}

static void check_state(void)
{
	const struct virtio_device *v = &device->v;

	if (closed)
		return;
	FUZZ_CHECK(v->active == !!(m.status & VIRTIO_CONFIG_S_DRIVER_OK));
	FUZZ_CHECK(!v->is_quiesced && !posted);
	FUZZ_CHECK(v->acked == m.acked && (v->acked & ~v->offered) == 0);
	FUZZ_CHECK(v->acked == 0 || (m.status & VIRTIO_CONFIG_S_FEATURES_OK));
	FUZZ_CHECK(atomic_load(&v->needs_reset) == m.broken);
	for (unsigned i = 0; i < T_DEVICE_QUEUES; i++) {
		/* A queue that its chains broke is not ready any more. */
		FUZZ_CHECK(!v->vq[i].ready || (m.queue[i].ready && model_layout(&m.queue[i])));
		FUZZ_CHECK(v->vq[i].ready || !m.queue[i].ready || m.broken);
	}
	check_read(VIRTIO_MMIO_STATUS);
	check_read(VIRTIO_MMIO_QUEUE_READY);
}

/* --- operations --- */

static uint32_t script_reg(void)
{
	static const uint8_t regs[] = { 0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80,
		0x84, 0x90, 0x94, 0xa0, 0xa4 };
	uint8_t byte = script_byte(&script);

	return byte < 0xc0 ? regs[byte % ARRAY_SIZE(regs)] : (byte & 0x3fU) * 8;
}

static uint32_t script_value(void)
{
	static const uint32_t values[] = { 0, 1, 2, 3, 4, 8, 11, 15, 16, 128, 256, 512, 65535,
		UINT32_MAX, 1U << 28, 1U << 29, QUEUES_AT, QUEUES_AT + 0x1000, QUEUES_AT + 0x2000,
		MEM_LEN - 16, 1U << T_FEATURE, 1U << T_FEATURE_A, 1U << (T_FEATURE_B - 32) };
	uint8_t byte = script_byte(&script);

	if (byte < ARRAY_SIZE(values))
		return values[byte];
	return (uint32_t)byte << 24 | (uint32_t)script_byte(&script);
}

static void do_odd(void)
{
	uint8_t buf[8], place = script_byte(&script), how = script_byte(&script);
	uint32_t len = 1U << (how & 3), off = place * 2U + (how >> 2 & 1);

	off = MIN(off, VIRTIO_MMIO_LEN - len);
	if (off % 4 == 0 && len == 4)
		return; /* a real access: OP_READ and OP_WRITE */
	memset(buf, how, sizeof(buf));
	virtio_mmio_bus_ops.write(window, off, buf, len);
	virtio_mmio_bus_ops.read(window, off, buf, len);
	for (unsigned i = 0; i < len; i++)
		FUZZ_CHECK(buf[i] == 0 || off + i >= VIRTIO_MMIO_CONFIG);
	for (unsigned i = len; i < sizeof(buf); i++)
		FUZZ_CHECK(buf[i] == how);
}

static void do_place(void)
{
	uint32_t q = script_byte(&script) % T_DEVICE_QUEUES, num = 1U << script_byte(&script) % 11,
		 at = QUEUES_AT + q * QUEUE_STEP;

	write_reg(VIRTIO_MMIO_QUEUE_SEL, q);
	write_reg(VIRTIO_MMIO_QUEUE_NUM, num);
	write_reg(VIRTIO_MMIO_QUEUE_DESC_LOW, at);
	write_reg(VIRTIO_MMIO_QUEUE_AVAIL_LOW, at + 0x2000);
	write_reg(VIRTIO_MMIO_QUEUE_USED_LOW, at + 0x4000);
	write_reg(VIRTIO_MMIO_QUEUE_READY, 1);
}

static void do_status(void)
{
	static const uint32_t steps[] = { 1, 3, 11, 15 };
	uint32_t now = m.status & 15;
	uint8_t how = script_byte(&script);

	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		if (now >= steps[i])
			continue;
		if (steps[i] == 11 || how & 1) {
			write_reg(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
			write_reg(VIRTIO_MMIO_DRIVER_FEATURES, 1);
		}
		write_reg(VIRTIO_MMIO_STATUS, how & 2 ? steps[i] : how >> 2 & 15);
		return;
	}
}

/* Makes a chain available where do_place() puts a queue, whether one is there or not. */
static void do_chain(void)
{
	uint32_t q = script_byte(&script) % T_DEVICE_QUEUES, num = MAX(m.queue[q].num, 1),
		 at = QUEUES_AT + q * QUEUE_STEP;
	uint8_t how = script_byte(&script);
	struct vring_desc d = { .addr = BUFFER_AT, .len = how & 0x3f, .flags = how >> 6 };
	uint16_t idx;

	if (num > T_DEVICE_QUEUE_MAX)
		return;
	memcpy(&idx, memory + at + 0x2002, sizeof(idx));
	memcpy(memory + at + 16 * (idx % num), &d, sizeof(d));
	memcpy(memory + at + 0x2004 + 2 * (idx % num), &(uint16_t){ (uint16_t)(idx % num) }, 2);
	idx++;
	memcpy(memory + at + 0x2002, &idx, sizeof(idx));
}

static void do_kick(void)
{
	unsigned q = script_byte(&script) % T_DEVICE_QUEUES, before = device->kicks[q];
	struct loop_op *op = &window->queue[q].watch;
	bool may = virtio_may_run(&device->v) && device->v.vq[q].ready;

	op->done(op, 0);
	FUZZ_CHECK(device->kicks[q] == before + may);
	if (!closed)
		learn_of_breaks();
}

/* --- states --- */

static void make(unsigned which)
{
	struct err e = { 0 };

	device = &devices[which];
	window = &windows[which];
	t_device_init(device);
	device->v.mem = &mem;
	FUZZ_CHECK(virtio_mmio_init(window, &device->v, &e) == 0);
}

/* As a machine ends, so that nothing is left. */
static void end(void)
{
	virtio_mmio_close(window);
	virtio_mmio_stop(window);
	device->v.active = false;
	virtio_mmio_fini(window);
	device->v.ops->free(&device->v);
}

static void ignore(struct virtio_mmio *w)
{
	FUZZ_CHECK(w == window && w->pause == MMIO_PAUSED);
}

static void save(struct virtio_state *ret)
{
	if (window->pause == MMIO_GOES)
		virtio_mmio_pause(window, ignore);
	if (window->pause == MMIO_PAUSES) {
		t_device_finish(device);
		t_device_rest(device);
	}
	FUZZ_CHECK(window->pause == MMIO_PAUSED);
	virtio_mmio_save(window, ret);
}

static void check_same(const struct virtio_state *a, const struct virtio_state *b)
{
	FUZZ_CHECK(a->status == b->status && a->acked == b->acked && a->isr == (a->isr & b->isr));
	FUZZ_CHECK(a->driver_features == b->driver_features && a->queue_sel == b->queue_sel);
	FUZZ_CHECK(a->has_excess_features == b->has_excess_features);
	FUZZ_CHECK(a->needs_reset == b->needs_reset && b->generation - a->generation < 2);
	for (unsigned i = 0; i < T_DEVICE_QUEUES; i++) {
		const struct virtq_state *q = &a->queue[i], *p = &b->queue[i];

		FUZZ_CHECK(q->num == p->num && q->desc == p->desc && q->avail == p->avail);
		FUZZ_CHECK(q->used == p->used && q->ready == p->ready && q->running == p->running);
		FUZZ_CHECK(!q->running || (q->at.next_avail == p->at.next_avail &&
						  q->at.next_used == p->at.next_used &&
						  q->at.signalled == p->at.signalled &&
						  q->at.has_signalled == p->at.has_signalled));
	}
}

/* A decoder gives booleans that are some. */
static void mend(bool *b)
{
	uint8_t byte;

	memcpy(&byte, b, 1);
	*b = byte & 1;
}

static void flip(struct virtio_state *s)
{
	unsigned n = 1 + script_byte(&script) % 3;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = script_byte(&script) | (unsigned)script_byte(&script) << 8;

		((uint8_t *)s)[at % sizeof(*s)] ^= script_byte(&script);
	}
	mend(&s->has_excess_features);
	mend(&s->needs_reset);
	mend(&s->is_link_up);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		mend(&s->queue[i].ready);
		mend(&s->queue[i].running);
		mend(&s->queue[i].at.has_signalled);
	}
}

static bool load(const struct virtio_state *s)
{
	struct virtio_state again;
	struct err e = { 0 };
	int rc = virtio_mmio_load(window, s, &e);

	FUZZ_CHECK(rc == 0 || ((rc == -EBADMSG || rc == -EOPNOTSUPP) && e.code == rc));
	if (rc < 0)
		return false;
	save(&again);
	check_same(s, &again);
	virtio_mmio_start(window, NULL);
	FUZZ_CHECK(device->kicks[0] + device->kicks[1] == 0);
	save(&again);
	check_same(s, &again);
	return true;
}

/* A device with a state that somebody made up, on a copy of the memory. */
static void try_flipped(struct virtio_state *s, unsigned which)
{
	static uint8_t copy[MEM_LEN];
	static const uint32_t zero;

	memcpy(copy, memory, sizeof(copy));
	flip(s);
	make(which);
	if (load(s)) {
		virtio_mmio_resume(window);
		for (unsigned i = 0; i < T_DEVICE_QUEUES; i++)
			window->queue[i].watch.done(&window->queue[i].watch, 0);
		t_device_finish(device);
		waits = 0;
		virtio_mmio_bus_ops.write(
			window, VIRTIO_MMIO_STATUS, (const uint8_t *)&zero, sizeof(zero));
		/* Where the machine ended instead, it was this one. */
		FUZZ_CHECK(closed || (!device->v.active && device->v.acked == 0));
		closed = false;
		posted = NULL;
	}
	end();
	memcpy(memory, copy, sizeof(memory));
}

static void do_state(uint8_t how)
{
	unsigned this = window == &windows[1];
	struct virtio_state s;

	if (closed)
		return;
	save(&s);
	if (how & 1) {
		try_flipped(&s, !this);
		device = &devices[this];
		window = &windows[this];
	} else if (how & 2) {
		end();
		make(!this);
		FUZZ_CHECK(load(&s));
	}
	virtio_mmio_resume(window);
	learn_of_breaks();
}

static void step(void)
{
	uint8_t how;
	uint32_t reg;

	switch (script_byte(&script) % OPS) {
	case OP_WRITE:
		reg = script_reg();
		write_reg(reg, script_value());
		break;
	case OP_READ: check_read(script_byte(&script) * 4U % VIRTIO_MMIO_LEN); break;
	case OP_ODD: do_odd(); break;
	case OP_PLACE: do_place(); break;
	case OP_STATUS: do_status(); break;
	case OP_CHAIN: do_chain(); break;
	case OP_KICK: do_kick(); break;
	case OP_FINISH: t_device_finish(device); break;
	case OP_MODE:
		how = script_byte(&script);
		if (how >= 0xc0) {
			do_state(how);
			break;
		}
		device->holds = how & 1;
		device->late = script_byte(&script) & 1;
		break;
	default: virtio_config_write(&device->v, script_byte(&script) % 60, "abcd", 4); break;
	}
	check_state();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_init(LOG_ERROR, STDERR_FILENO);
	memset(memory, 0, sizeof(memory));
	m = (struct model){ 0 };
	posted = NULL;
	closed = false;
	script = (struct script){ data, size };
	make(0);
	virtio_mmio_start(window, NULL);
	for (unsigned n = 0; script.left > 0 && n < OPERATIONS_MAX; n++)
		step();
	end();
	return 0;
}
