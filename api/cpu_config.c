/* The words of /cpu-config as numbers (handlers.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/handlers.h"
#include "base/err.h"
#include "base/parse.h"

/* Digits of one base, up to max.  -EINVAL or -ERANGE. */
static int read_digits(const char *text, unsigned base, uint64_t max, uint64_t *ret)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		char c = *text >= 'A' && *text <= 'F' ? (char)(*text - 'A' + 'a') : *text;
		const char *found = memchr(digits, c, base);

		if (!found)
			return -EINVAL;
		value = value * base + (uint64_t)(found - digits);
		if (value > max)
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

/* Hexadecimal with 0x, binary with 0b, or decimal; 32 bits. */
static int read_number(const char *text, uint32_t *ret)
{
	uint64_t value = 0;
	int rc;

	if (strncmp(text, "0x", 2) == 0)
		rc = read_digits(text + 2, 16, UINT32_MAX, &value);
	else if (strncmp(text, "0b", 2) == 0)
		rc = read_digits(text + 2, 2, UINT32_MAX, &value);
	else
		rc = parse_u64(text, 0, UINT32_MAX, &value);
	if (rc == 0)
		*ret = (uint32_t)value;
	return rc;
}

/* "0b" and a 0, 1 or x for each bit, the highest first; bits in front that are left out are x. */
static int read_bitmap(const char *text, unsigned bits, uint64_t *ret_mask, uint64_t *ret_value)
{
	uint64_t mask = 0, value = 0;
	unsigned n = 0;

	if (strncmp(text, "0b", 2) != 0)
		return -EINVAL;
	for (text += 2; *text; text++) {
		if (*text == '_')
			continue;
		if (*text != '0' && *text != '1' && *text != 'x')
			return -EINVAL;
		if (++n > bits)
			return -ERANGE;
		mask = mask << 1 | (*text != 'x');
		value = value << 1 | (*text == '1');
	}
	if (n == 0)
		return -EINVAL;
	*ret_mask = mask;
	*ret_value = value;
	return 0;
}

static int read_cap(const char *text, struct cap_modifier *ret)
{
	uint64_t cap;
	int rc;

	ret->drop = text[0] == '!';
	rc = parse_u64(text + ret->drop, 0, UINT32_MAX, &cap);
	if (rc == 0)
		ret->cap = (uint32_t)cap;
	return rc;
}

static int not_number(struct err *e, const char *text)
{
	return err_set(e, -EINVAL,
		"\"%.64s\" is not a number of 32 bits: 0x and hexadecimal, 0b and binary, or "
		"decimal",
		text);
}

static int not_bitmap(struct err *e, const char *text, unsigned bits)
{
	return err_set(e, -EINVAL,
		"\"%.80s\" is not a bitmap: 0b and up to %u of 0, 1 and x, the highest bit first",
		text, bits);
}

static int read_register(const struct register_body *b, struct cpuid_modifier *ret, struct err *e)
{
	uint64_t mask, value;

	if (read_bitmap(b->bitmap, 32, &mask, &value) < 0)
		return not_bitmap(e, b->bitmap, 32);
	if (ret->mask[b->name] != 0)
		return err_set(e, -EINVAL, "the register appears twice");
	ret->mask[b->name] = (uint32_t)mask;
	ret->value[b->name] = (uint32_t)value;
	return 0;
}

static int read_leaf(const struct leaf_body *b, struct cpuid_modifier *ret, struct err *e)
{
	int rc;

	if (read_number(b->leaf, &ret->leaf) < 0) {
		(void)not_number(e, b->leaf);
		err_prefix(e, "leaf");
		return -EINVAL;
	}
	if (read_number(b->subleaf, &ret->subleaf) < 0) {
		(void)not_number(e, b->subleaf);
		err_prefix(e, "subleaf");
		return -EINVAL;
	}
	ret->flags = (uint32_t)b->flags;
	for (unsigned i = 0; i < b->nmodifiers; i++) {
		rc = read_register(&b->modifier[i], ret, e);
		if (rc < 0) {
			err_prefix(e, "modifiers[%u].bitmap", i);
			return rc;
		}
	}
	return 0;
}

static int read_msr(const struct msr_body *b, struct msr_modifier *ret, struct err *e)
{
	if (read_number(b->addr, &ret->addr) < 0) {
		(void)not_number(e, b->addr);
		err_prefix(e, "addr");
		return -EINVAL;
	}
	if (read_bitmap(b->bitmap, 64, &ret->mask, &ret->value) < 0) {
		(void)not_bitmap(e, b->bitmap, 64);
		err_prefix(e, "bitmap");
		return -EINVAL;
	}
	return 0;
}

int cpu_config_read(const struct cpu_body *b, struct cpu_template *ret, struct err *e)
{
	int rc;

	*ret = (struct cpu_template){
		.ncaps = b->ncaps,
		.nleaves = b->nleaves,
		.nmsrs = b->nmsrs,
	};
	for (unsigned i = 0; i < b->ncaps; i++) {
		if (read_cap(b->cap[i], &ret->cap[i]) < 0)
			return err_set(e, -EINVAL,
				"kvm_capabilities[%u]: \"%.64s\" is not the number of a "
				"capability, with ! in front or without",
				i, b->cap[i]);
	}
	for (unsigned i = 0; i < b->nleaves; i++) {
		rc = read_leaf(&b->leaf[i], &ret->leaf[i], e);
		if (rc < 0) {
			err_prefix(e, "cpuid_modifiers[%u]", i);
			return rc;
		}
	}
	for (unsigned i = 0; i < b->nmsrs; i++) {
		rc = read_msr(&b->msr[i], &ret->msr[i], e);
		if (rc < 0) {
			err_prefix(e, "msr_modifiers[%u]", i);
			return rc;
		}
	}
	return 0;
}
