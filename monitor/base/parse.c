/* Strict readers of numbers and sizes (parse.h). */
#include "base/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"

/* Reads the digits at *text and moves it behind them. */
static int take_digits(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t value = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -ERANGE;
	}
	*text = p;
	*ret = value;
	return 0;
}

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	int rc = take_digits(&text, &value);

	if (rc < 0)
		return rc;
	if (*text != '\0')
		return -EINVAL;
	if (value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_size(const char *text, uint64_t *ret)
{
	uint64_t value;
	unsigned shift = 0;
	int rc = take_digits(&text, &value);

	if (rc < 0)
		return rc;
	switch (*text) {
	case 'k':
	case 'K': shift = 10; break;
	case 'm':
	case 'M': shift = 20; break;
	case 'g':
	case 'G': shift = 30; break;
	case 't':
	case 'T': shift = 40; break;
	default: break;
	}
	if (shift > 0)
		text++;
	if (*text != '\0')
		return -EINVAL;
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = value << shift;
	return 0;
}

void format_size(uint64_t bytes, char *buf, uint64_t len)
{
	static const struct {
		uint64_t unit;
		char letter;
	} units[] = { { 1ULL << 40, 'T' }, { 1ULL << 30, 'G' }, { 1ULL << 20, 'M' },
		{ 1ULL << 10, 'K' } };

	for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
		if (bytes >= units[i].unit && bytes % units[i].unit == 0) {
			(void)snprintf(
				buf, len, "%" PRIu64 "%c", bytes / units[i].unit, units[i].letter);
			return;
		}
	}
	(void)snprintf(buf, len, "%" PRIu64 " bytes", bytes);
}
