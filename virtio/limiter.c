/* Token buckets (limiter.h). */
#include "virtio/limiter.h"

#include "base/check.h"
#include "virtio/state.h"

static bool is_limited(const struct bucket *b)
{
	return b->cfg.size != 0 && b->cfg.refill_ms != 0;
}

static uint64_t refill_ns(const struct bucket *b)
{
	uint64_t ns;

	return __builtin_mul_overflow(b->cfg.refill_ms, UINT64_C(1000000), &ns) ? UINT64_MAX : ns;
}

void bucket_init(struct bucket *b, const struct bucket_config *cfg, uint64_t now_ns)
{
	*b = (struct bucket){
		.cfg = *cfg, .tokens = cfg->size, .burst = cfg->burst, .at_ns = now_ns
	};
}

void limiter_init(struct limiter *l, const struct limiter_config *cfg, uint64_t now_ns)
{
	bucket_init(&l->bytes, &cfg->bytes, now_ns);
	bucket_init(&l->ops, &cfg->ops, now_ns);
}

bool limiter_is_limited(const struct limiter *l)
{
	return is_limited(&l->bytes) || is_limited(&l->ops);
}

/* Counts what has flowed in since the last time: first what is owed, then up to the brim. */
static void refill(struct bucket *b, uint64_t now_ns)
{
	uint64_t whole = refill_ns(b), room = b->cfg.size - b->tokens, paid;
	unsigned __int128 flow, in;

	if (now_ns <= b->at_ns)
		return;
	flow = (unsigned __int128)(now_ns - b->at_ns) * b->cfg.size + b->rest;
	in = flow / whole;
	b->at_ns = now_ns;
	b->rest = (uint64_t)(flow % whole);
	paid = in < b->debt ? (uint64_t)in : b->debt;
	b->debt -= paid;
	in -= paid;
	if (in >= room) {
		/* Full: what would flow over is not kept, not even a part of a token. */
		b->tokens = b->cfg.size;
		b->rest = 0;
	} else {
		b->tokens += (uint64_t)in;
	}
}

/* How long until so many tokens have flowed in. */
static uint64_t time_for(const struct bucket *b, uint64_t tokens)
{
	unsigned __int128 need = (unsigned __int128)tokens * refill_ns(b) - b->rest;
	unsigned __int128 ns = (need + b->cfg.size - 1) / b->cfg.size;

	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

/* 0: the bucket lets n tokens go; otherwise the time until it will.  Takes nothing. */
static uint64_t wait_for(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	uint64_t wait;

	if (!is_limited(b) || n == 0)
		return 0;
	if (b->burst > 0) {
		/* While the credit lasts nothing flows in. */
		b->at_ns = now_ns;
		if (n <= b->burst)
			return 0;
		n -= b->burst;
	} else {
		refill(b, now_ns);
	}
	if (b->debt > 0)
		wait = time_for(b, b->debt);
	else if (n <= b->tokens || n > b->cfg.size)
		return 0;
	else
		wait = time_for(b, n - b->tokens);
	return MAX(wait, (uint64_t)LIMITER_WAIT_MIN_NS);
}

static void take(struct bucket *b, uint64_t n)
{
	uint64_t part;

	if (!is_limited(b))
		return;
	part = MIN(n, b->burst);
	b->burst -= part;
	n -= part;
	part = MIN(n, b->tokens);
	b->tokens -= part;
	b->debt += n - part;
}

uint64_t limiter_take(struct limiter *l, uint64_t bytes, uint64_t now_ns)
{
	uint64_t ops_wait = wait_for(&l->ops, 1, now_ns);
	uint64_t bytes_wait = wait_for(&l->bytes, bytes, now_ns);

	if (ops_wait > 0 || bytes_wait > 0)
		return MAX(ops_wait, bytes_wait);
	take(&l->ops, 1);
	take(&l->bytes, bytes);
	return 0;
}

uint64_t bucket_take_some(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	uint64_t some;

	if (!is_limited(b))
		return n;
	/* As above: while the credit lasts nothing flows in. */
	if (b->burst >= n)
		b->at_ns = now_ns;
	else
		refill(b, now_ns);
	some = b->burst >= n || b->tokens >= n - b->burst ? n : b->burst + b->tokens;
	take(b, some);
	return some;
}

/* --- state --- */

static void save(struct bucket b, uint64_t now_ns, struct bucket_state *ret)
{
	/* As above: while the credit lasts nothing flows in. */
	if (is_limited(&b) && b.burst == 0)
		refill(&b, now_ns);
	*ret = (struct bucket_state){
		.tokens = b.tokens, .debt = b.debt, .burst = b.burst, .rest = b.rest
	};
}

static void load(struct bucket *b, const struct bucket_state *s, uint64_t now_ns)
{
	if (!is_limited(b))
		return;
	b->tokens = MIN(s->tokens, b->cfg.size);
	b->burst = MIN(s->burst, b->cfg.burst);
	/* No request has more bytes (virtq_pop()), and each takes its tokens while nothing is owed.
	 */
	b->debt = MIN(s->debt, (uint64_t)UINT32_MAX);
	b->rest = MIN(s->rest, refill_ns(b) - 1);
	b->at_ns = now_ns;
}

void limiter_save(const struct limiter *l, uint64_t now_ns, struct limiter_state *ret)
{
	save(l->bytes, now_ns, &ret->bytes);
	save(l->ops, now_ns, &ret->ops);
}

void limiter_load(struct limiter *l, const struct limiter_state *s, uint64_t now_ns)
{
	load(&l->bytes, &s->bytes, now_ns);
	load(&l->ops, &s->ops, now_ns);
}
