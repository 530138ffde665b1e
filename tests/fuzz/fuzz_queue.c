/*
 * A virtqueue under a driver that writes anything.  The input is a script: where the queue lies,
 * what is in its descriptors and rings, and when the device takes, gives back and publishes.
 *
 * Beside it walks a model that was written from the specification: every chain that is taken must
 * be the model's to the last byte, every refusal must name the model's rule, and every segment must
 * lie in memory.  Memory has two regions with a hole between them, each an array of its own, so
 * that a sanitizer sees a byte too far.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "virtio/queue.h"

enum {
	OP_DESC,  /* a descriptor of the queue's table */
	OP_TABLE, /* a descriptor of an indirect table */
	OP_LINK,  /* a descriptor of either that names the indirect table */
	OP_OFFER, /* a head, and the index behind it */
	OP_INDEX, /* any index, and the flags */
	OP_POP,
	OP_PUSH,
	OP_PUBLISH,
	OP_KICKS,
	OP_START,
	OPS,
	OPERATIONS_MAX = 512,

	LOW_LEN = 0x6000,
	HIGH_AT = 0x10000,
	HIGH_LEN = 0x3000,
	DEFAULT_DESC = 0x1000,
	DEFAULT_AVAIL = 0x2000,
	DEFAULT_USED = 0x3000,
	TABLE_AT = 0x4ff8, /* of no alignment at all */
	TABLE_ENTRIES = 64,
	SEGS_MAX = VIRTQ_SIZE_MAX,
};

static uint8_t low[LOW_LEN], high[HIGH_LEN];
static const struct guest_mem mem = {
	.n = 2,
	.r = { { 0, LOW_LEN, low }, { HIGH_AT, HIGH_LEN, high } },
};

/* --- the model --- */

struct seg {
	const uint8_t *at;
	uint32_t len;
	bool write;
};

struct model {
	struct virtq_layout at;
	bool event_idx, indirect, started;
	enum virtio_rule broken;
	uint16_t known, next, used, published,
		inflight; /* known: the driver's index as last read */
	/* the chain that comes next */
	unsigned n;
	struct seg seg[SEGS_MAX + 1];
};

/* Memory as the specification has it: every byte by itself. */
static uint8_t *byte_at(uint64_t gpa)
{
	if (gpa < LOW_LEN)
		return &low[gpa];
	return gpa >= HIGH_AT && gpa - HIGH_AT < HIGH_LEN ? &high[gpa - HIGH_AT] : NULL;
}

static bool is_memory(uint64_t gpa, uint64_t len)
{
	const uint8_t *first = byte_at(gpa), *last = byte_at(gpa + len - 1);

	return len > 0 && len <= LOW_LEN && first && last && last == first + len - 1;
}

static uint16_t load16(uint64_t gpa)
{
	return (uint16_t)(*byte_at(gpa) | *byte_at(gpa + 1) << 8);
}

static void store(uint64_t gpa, const void *from, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (byte_at(gpa + i))
			*byte_at(gpa + i) = ((const uint8_t *)from)[i];
	}
}

static void store16(uint64_t gpa, uint16_t value)
{
	store(gpa, &value, sizeof(value));
}

static bool apart(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a + alen <= b || b + blen <= a;
}

static enum virtio_rule model_layout(const struct virtq_layout *l)
{
	uint64_t num = l->num, desc = 16 * num, avail = 6 + 2 * num, used = 6 + 8 * num;

	if (num < 2 || num > 1024 || __builtin_popcountll(num) != 1)
		return RULE_QUEUE_SIZE;
	if (l->desc % 16 || l->avail % 2 || l->used % 4)
		return RULE_QUEUE_ALIGN;
	if (!is_memory(l->desc, desc) || !is_memory(l->avail, avail) || !is_memory(l->used, used))
		return RULE_QUEUE_MEMORY;
	if (!apart(l->desc, desc, l->avail, avail) || !apart(l->desc, desc, l->used, used) ||
		!apart(l->avail, avail, l->used, used))
		return RULE_QUEUE_OVERLAP;
	return RULE_NONE;
}

static enum virtio_rule model_table(
	const struct model *m, const struct vring_desc *d, bool is_nested)
{
	if (!m->indirect)
		return RULE_INDIRECT_NOT_AGREED;
	if (is_nested)
		return RULE_INDIRECT_NESTED;
	if (d->flags & VRING_DESC_F_NEXT)
		return RULE_INDIRECT_NEXT;
	if (d->len == 0 || d->len % 16)
		return RULE_INDIRECT_LENGTH;
	return is_memory(d->addr, d->len) ? RULE_NONE : RULE_INDIRECT_MEMORY;
}

static enum virtio_rule model_segment(struct model *m, const struct vring_desc *d)
{
	uint64_t bytes = d->len;

	if (m->n == m->at.num)
		return RULE_CHAIN_LENGTH;
	if (d->len == 0)
		return RULE_SEGMENT_EMPTY;
	if (!is_memory(d->addr, d->len))
		return RULE_SEGMENT_MEMORY;
	for (unsigned i = 0; i < m->n; i++)
		bytes += m->seg[i].len;
	if (bytes > UINT32_MAX)
		return RULE_CHAIN_BYTES;
	if (!(d->flags & VRING_DESC_F_WRITE) && m->n > 0 && m->seg[m->n - 1].write)
		return RULE_READ_AFTER_WRITE;
	m->seg[m->n++] =
		(struct seg){ byte_at(d->addr), d->len, (d->flags & VRING_DESC_F_WRITE) != 0 };
	return RULE_NONE;
}

/* The chain at head: its segments as far as they are good, and the rule that the next one breaks.
 */
static enum virtio_rule model_chain(struct model *m, uint16_t head)
{
	uint64_t table = m->at.desc, entries = m->at.num, i = head;
	enum virtio_rule rule = RULE_NONE;

	for (m->n = 0; rule == RULE_NONE;) {
		struct vring_desc d;

		if (i >= entries)
			return RULE_NEXT_RANGE;
		for (unsigned k = 0; k < sizeof(d); k++)
			((uint8_t *)&d)[k] = *byte_at(table + 16 * i + k);
		i = d.next;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			rule = model_table(m, &d, table != m->at.desc);
			table = d.addr;
			entries = d.len / 16;
			i = 0;
		} else {
			rule = model_segment(m, &d);
			if (rule == RULE_NONE && !(d.flags & VRING_DESC_F_NEXT))
				break;
		}
	}
	return rule;
}

/* What a pop must say; its chain is in m->seg. */
static int model_pop(struct model *m, unsigned room, uint16_t *ret_head)
{
	uint16_t head;

	if (!m->started)
		return 0;
	if (m->broken)
		return -EBADMSG;
	if (m->known == m->next) {
		m->known = load16(m->at.avail + 2);
		if ((uint16_t)(m->known - m->next) > m->at.num)
			m->broken = RULE_AVAIL_JUMP;
	}
	if (m->broken)
		return -EBADMSG;
	if (m->known == m->next)
		return 0;
	head = load16(m->at.avail + 4 + 2 * (m->next % m->at.num));
	*ret_head = head;
	if (m->inflight == m->at.num)
		m->broken = RULE_TOO_MANY_CHAINS;
	else if (head >= m->at.num)
		m->broken = RULE_HEAD_RANGE;
	else
		m->broken = model_chain(m, head);
	/* What does not fit is not looked at to its end. */
	if (m->n > room && m->broken != RULE_HEAD_RANGE && m->broken != RULE_TOO_MANY_CHAINS) {
		m->broken = RULE_NONE;
		return -ENOSPC;
	}
	if (m->broken)
		return -EBADMSG;
	m->next++;
	m->inflight++;
	return 1;
}

/* --- operations --- */

struct run {
	struct script s;
	struct model m;
	struct virtq vq;
	uint16_t head[VIRTQ_SIZE_MAX]; /* chains that the device has, oldest first */
};

static uint16_t script_16(struct script *s)
{
	uint8_t first = script_byte(s);

	return (uint16_t)(first | script_byte(s) << 8);
}

/* An address: mostly near something. */
static uint64_t script_address(struct script *s)
{
	static const uint64_t near[] = { 0, 0x5000, TABLE_AT, LOW_LEN, HIGH_AT, HIGH_AT + HIGH_LEN,
		UINT64_MAX - 0xff, 1ULL << 63 };
	uint16_t value = script_16(s);

	return near[value & 7] + (uint64_t)(int64_t)((int16_t)value >> 3);
}

static uint32_t script_length(struct script *s)
{
	static const uint32_t lengths[] = { 0, 16, 32, 0x1000, UINT32_MAX, 0x6000 };
	uint8_t value = script_byte(s);

	return value < ARRAY_SIZE(lengths) ? lengths[value] : value;
}

static struct vring_desc script_desc(struct script *s)
{
	struct vring_desc d = { .addr = script_address(s), .len = script_length(s) };
	uint8_t flags = script_byte(s);

	d.flags = flags & 7;
	d.next = flags >> 3 < 30 ? flags >> 3 : script_16(s);
	return d;
}

static void do_pop(struct run *r)
{
	static struct iovec iov[SEGS_MAX + 1];
	unsigned room = script_byte(&r->s);
	struct virtq_chain c = { .iov = iov, .iov_max = room };
	uint16_t head = 0;
	uint64_t in = 0, out = 0;
	int want = model_pop(&r->m, room, &head), got = virtq_pop(&r->vq, &c);

	FUZZ_CHECK(got == want);
	FUZZ_CHECK(r->vq.broken == r->m.broken);
	FUZZ_CHECK(r->vq.inflight == r->m.inflight);
	if (got != 1)
		return;
	FUZZ_CHECK(c.head == head && c.nread + c.nwrite == r->m.n && r->m.n <= room);
	for (unsigned i = 0; i < r->m.n; i++) {
		FUZZ_CHECK(iov[i].iov_base == r->m.seg[i].at && iov[i].iov_len == r->m.seg[i].len);
		FUZZ_CHECK(r->m.seg[i].write == (i >= c.nread));
		*(r->m.seg[i].write ? &in : &out) += r->m.seg[i].len;
	}
	FUZZ_CHECK(c.read_len == out && c.write_len == in);
	r->head[r->m.inflight - 1] = head;
}

static void do_push(struct run *r)
{
	uint32_t written = script_16(&r->s) * 7919U, entry[2];
	uint64_t at = r->m.at.used + 4 + 8 * (r->m.used % MAX(r->m.at.num, 1));

	if (!r->m.started || r->m.inflight == 0)
		return;
	virtq_push(&r->vq, r->head[0], written);
	if (r->m.broken)
		return;
	memcpy(entry, byte_at(at), sizeof(entry));
	FUZZ_CHECK(entry[0] == r->head[0] && entry[1] == written);
	r->m.used++;
	r->m.inflight--;
	memmove(r->head, r->head + 1, r->m.inflight * sizeof(r->head[0]));
	FUZZ_CHECK(r->vq.inflight == r->m.inflight);
}

static void do_publish(struct run *r)
{
	struct model *m = &r->m;
	bool want = false, got;
	uint16_t event;

	/* Before the call: a used ring may hold what looks like anything, but is apart from these.
	 */
	if (m->started && !m->broken && m->used != m->published) {
		event = load16(m->at.avail + 4 + 2 * m->at.num);
		want = !m->event_idx && !(load16(m->at.avail) & 1);
		for (uint16_t i = m->published; m->event_idx && i != m->used; i++)
			want |= i == event;
		m->published = m->used;
	}
	got = virtq_publish(&r->vq);
	FUZZ_CHECK(got == want);
	if (m->started && !m->broken && m->used > 0)
		FUZZ_CHECK(load16(m->at.used + 2) == m->published || m->published == 0);
}

static void do_kicks(struct run *r)
{
	const struct model *m = &r->m;
	bool on = script_byte(&r->s) & 1, lives = m->started && !m->broken;

	if (!on) {
		virtq_kicks_off(&r->vq);
		FUZZ_CHECK(!lives || m->event_idx || load16(m->at.used) == 1);
		return;
	}
	FUZZ_CHECK(virtq_kicks_on(&r->vq) == (lives && load16(m->at.avail + 2) != m->next));
	if (lives && m->event_idx)
		FUZZ_CHECK(load16(m->at.used + 4 + 8 * m->at.num) == m->next);
	else if (lives)
		FUZZ_CHECK(load16(m->at.used) == 0);
}

static void start(struct run *r, const struct virtq_layout *at, uint8_t features)
{
	uint64_t f = (features & 1 ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0) |
		     (features & 2 ? 1ULL << VIRTIO_RING_F_INDIRECT_DESC : 0);
	struct virtq before = r->vq;
	enum virtio_rule want = model_layout(at);

	FUZZ_CHECK(virtq_start(&r->vq, &mem, at, f) == want);
	if (want != RULE_NONE) {
		FUZZ_CHECK(memcmp(&before, &r->vq, sizeof(before)) == 0);
		return;
	}
	r->m = (struct model){
		.at = *at, .started = true, .event_idx = features & 1, .indirect = features & 2
	};
}

static void do_start(struct run *r)
{
	struct virtq_layout at = { .num = (uint16_t)(1U << (script_byte(&r->s) % 11)),
		.desc = DEFAULT_DESC,
		.avail = DEFAULT_AVAIL,
		.used = DEFAULT_USED };
	uint8_t how = script_byte(&r->s);

	if (how & 0x80) {
		virtq_stop(&r->vq);
		r->m = (struct model){ 0 };
	}
	if (how & 4)
		at.num = script_16(&r->s);
	if (how & 8)
		at.desc = script_address(&r->s);
	if (how & 16)
		at.avail = script_address(&r->s);
	if (how & 32)
		at.used = script_address(&r->s);
	start(r, &at, how);
}

static void step(struct run *r)
{
	struct virtq_layout *at = &r->m.at;
	uint16_t num = MAX(at->num, 1), i;
	struct vring_desc d;

	switch (script_byte(&r->s) % OPS) {
	case OP_DESC:
		i = (uint16_t)(script_byte(&r->s) % num);
		d = script_desc(&r->s);
		store(at->desc + 16 * i, &d, sizeof(d));
		break;
	case OP_TABLE:
		i = script_byte(&r->s) % TABLE_ENTRIES;
		d = script_desc(&r->s);
		store(TABLE_AT + 16 * i, &d, sizeof(d));
		break;
	case OP_LINK:
		i = script_byte(&r->s);
		d = (struct vring_desc){ .addr = TABLE_AT,
			.len = 16U * (script_byte(&r->s) % TABLE_ENTRIES),
			.flags = VRING_DESC_F_INDIRECT,
			.next = i % 8 };
		store(i & 0x80 ? TABLE_AT + 16ULL * (i % 8) : at->desc + 16 * (i % num), &d,
			sizeof(d));
		break;
	case OP_OFFER:
		i = load16(at->avail + 2);
		store16(at->avail + 4 + 2 * (i % num), script_byte(&r->s));
		store16(at->avail + 2, (uint16_t)(i + 1));
		break;
	case OP_INDEX:
		store16(at->avail, script_byte(&r->s));
		store16(at->avail + 2, script_16(&r->s));
		store16(at->avail + 4 + 2 * num, script_16(&r->s));
		break;
	case OP_POP: do_pop(r); break;
	case OP_PUSH: do_push(r); break;
	case OP_PUBLISH: do_publish(r); break;
	case OP_KICKS: do_kicks(r); break;
	default: do_start(r); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run r;

	memset(low, 0, sizeof(low));
	memset(high, 0, sizeof(high));
	memset(&r, 0, sizeof(r));
	r.s = (struct script){ data, size };
	start(&r, &(struct virtq_layout){ 8, DEFAULT_DESC, DEFAULT_AVAIL, DEFAULT_USED },
		script_byte(&r.s));
	for (unsigned n = 0; r.s.left > 0 && n < OPERATIONS_MAX; n++)
		step(&r);
	return 0;
}
