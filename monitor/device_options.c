/* The values of --disk and --net (device_options.h). */
#include "device_options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/parse.h"

/* Ends the word at text where a single comma stands and makes one of two; returns the next word, or
 * NULL. */
static char *split_word(char *text)
{
	char *to = text;

	for (char *from = text; *from != '\0'; from++) {
		if (*from == ',' && from[1] != ',') {
			*to = '\0';
			return from + 1;
		}
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*to = '\0';
	return NULL;
}

/* The value of "name=value", NULL when word is another. */
static char *value_of(char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

/* SIZE[/MS][+BURST]; text is taken apart and, when it is wrong, put together for the error. */
static int parse_rate(char *text, struct bucket_config *ret)
{
	struct bucket_config b = { .refill_ms = 1000 };
	char *burst = strchr(text, '+'), *ms;
	bool bad;

	if (burst)
		*burst++ = '\0';
	ms = strchr(text, '/');
	if (ms)
		*ms++ = '\0';
	bad = parse_size(text, &b.size) < 0 || b.size == 0 ||
	      (ms && parse_u64(ms, 1, UINT32_MAX, &b.refill_ms) < 0) ||
	      (burst && parse_size(burst, &b.burst) < 0);
	if (bad && ms)
		ms[-1] = '/';
	if (bad && burst)
		burst[-1] = '+';
	if (bad)
		return -EINVAL;
	*ret = b;
	return 0;
}

/* A rate under one of two names; -ENOENT when word is neither. */
static int take_rate(char *word, const char *bytes, const char *ops, struct limiter_config *ret)
{
	char *value = value_of(word, bytes);

	if (value)
		return parse_rate(value, &ret->bytes);
	value = value_of(word, ops);
	return value ? parse_rate(value, &ret->ops) : -ENOENT;
}

struct flag {
	const char *name;
	bool *set;
};

static bool take_flag(const char *word, const struct flag *flags, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(word, flags[i].name) == 0) {
			*flags[i].set = true;
			return true;
		}
	}
	return false;
}

/* 0, -EINVAL: a bad value, -ENOENT: not an option. */
static int disk_word(char *word, struct disk_config *d)
{
	const struct flag flags[] = {
		{ "ro", &d->read_only },
		{ "direct", &d->direct },
		{ "cache=unsafe", &d->unsafe_cache },
		{ "engine=sync", &d->sync_engine },
	};

	if (take_flag(word, flags, ARRAY_SIZE(flags)) || strcmp(word, "cache=writeback") == 0 ||
		strcmp(word, "engine=async") == 0)
		return 0;
	if (value_of(word, "id")) {
		d->id = value_of(word, "id");
		return 0;
	}
	return take_rate(word, "bw", "ops", &d->limit);
}

int device_options_disk(char *text, struct disk_config *ret, struct err *e)
{
	struct disk_config d = { .path = text };
	char *word = split_word(text), *next;

	if (*text == '\0')
		return err_set(e, -EINVAL, "--disk: the path is missing");
	for (; word; word = next) {
		next = split_word(word);
		if (disk_word(word, &d) < 0)
			return err_set(e, -EINVAL,
				"--disk %s: '%s' is none of ro, id=ID, cache=writeback|unsafe, "
				"engine=async|sync, direct, bw=SIZE[/MS][+BURST], "
				"ops=N[/MS][+BURST]",
				d.path, word);
	}
	*ret = d;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int device_options_mac(const char *text, uint8_t ret[6])
{
	enum { MAC_TEXT = 17 };

	if (strlen(text) != MAC_TEXT)
		return -EINVAL;
	for (size_t i = 0; i < 6; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return -EINVAL;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int net_word(char *word, struct net_config *n)
{
	const struct flag flags[] = {
		{ "no-csum", &n->no_csum },
		{ "no-tso", &n->no_tso },
		{ "no-ufo", &n->no_ufo },
		{ "no-uso", &n->no_uso },
		{ "no-mrg", &n->no_mrg },
	};
	uint64_t number = 0;
	int rc;

	if (take_flag(word, flags, ARRAY_SIZE(flags)))
		return 0;
	if (value_of(word, "id")) {
		n->id = value_of(word, "id");
		return 0;
	}
	if (value_of(word, "mac")) {
		n->has_mac = true;
		return device_options_mac(value_of(word, "mac"), n->mac);
	}
	if (value_of(word, "mtu")) {
		rc = parse_u64(value_of(word, "mtu"), NET_MTU_MIN, NET_MTU_MAX, &number);
		n->mtu = (uint16_t)number;
		return rc;
	}
	rc = take_rate(word, "rx-bw", "rx-ops", &n->rx);
	return rc == -ENOENT ? take_rate(word, "tx-bw", "tx-ops", &n->tx) : rc;
}

/* As far as can be seen without touching it. */
static bool may_be_tap(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode);
}

int device_options_fd(const char *text, int *ret, struct err *e)
{
	uint64_t fd;

	if (parse_u64(text, 0, INT_MAX, &fd) < 0)
		return err_set(e, -EINVAL,
			"--net 'fd=%s': fd must be the number of an open descriptor", text);
	if (!may_be_tap((int)fd))
		return err_set(e, -EINVAL, "--net fd=%s: not an open tap descriptor", text);
	*ret = (int)fd;
	return 0;
}

int device_options_net(char *text, struct net_config *ret, struct err *e)
{
	struct net_config n = { .tap = text, .tap_fd = -1 };
	char *word = split_word(text), *next;

	if (value_of(text, "fd")) {
		int rc = device_options_fd(value_of(text, "fd"), &n.tap_fd, e);

		if (rc < 0)
			return rc;
		n.tap = NULL;
	} else if (*text == '\0') {
		return err_set(e, -EINVAL, "--net: the name of the tap is missing");
	}
	for (; word; word = next) {
		next = split_word(word);
		if (net_word(word, &n) < 0)
			return err_set(e, -EINVAL,
				"--net %s: '%s' is none of id=ID, mac=XX:XX:XX:XX:XX:XX, "
				"mtu=%d..%d, "
				"no-csum, no-tso, no-ufo, no-uso, no-mrg, and rx-bw, "
				"tx-bw=SIZE[/MS]"
				"[+BURST], rx-ops, tx-ops=N[/MS][+BURST]",
				text, word, NET_MTU_MIN, NET_MTU_MAX);
	}
	*ret = n;
	return 0;
}
