/* Readers of the texts that the kernel shows (doctor_parse.h). */
#include "doctor_parse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* At most five digits, so that nothing overflows: the number, or -1. */
static int take_part(const char **text)
{
	int value = 0, digits = 0;

	for (; is_digit(**text); (*text)++) {
		if (++digits > 5)
			return -1;
		value = value * 10 + (**text - '0');
	}
	return digits > 0 && value <= UINT16_MAX ? value : -1;
}

int doctor_parse_kernel(const char *release, unsigned *ret)
{
	int major = take_part(&release), minor;

	if (major < 0 || *release++ != '.')
		return -EINVAL;
	minor = take_part(&release);
	if (minor < 0)
		return -EINVAL;
	*ret = KERNEL(major, minor);
	return 0;
}

/* --- mountinfo --- */

/* A word of a line, up to a blank or the end; not NUL-terminated. */
struct word {
	const char *at;
	size_t len;
};

static struct word next_word(const char **line)
{
	struct word w;

	*line += strspn(*line, " \n");
	w.at = *line;
	w.len = strcspn(w.at, " \n");
	*line += w.len;
	return w;
}

static bool word_is(struct word w, const char *text)
{
	return w.len == strlen(text) && memcmp(w.at, text, w.len) == 0;
}

static bool has_option(struct word options, const char *name)
{
	while (options.len > 0) {
		struct word one = { options.at, 0 };

		while (one.len < options.len && one.at[one.len] != ',')
			one.len++;
		if (word_is(one, name))
			return true;
		/* The comma too, where there is one. */
		one.len += one.len < options.len;
		options.at += one.len;
		options.len -= one.len;
	}
	return false;
}

void doctor_parse_mount(const char *line, struct doctor_cgroups *c)
{
	struct word path, type, options, w;

	/* proc_pid_mountinfo(5): id, parent, device, root, path, options, any number of tags, "-",
	 * type, source, options of the filesystem. */
	for (unsigned i = 0; i < 4; i++)
		(void)next_word(&line);
	path = next_word(&line);
	do {
		w = next_word(&line);
	} while (w.len > 0 && !word_is(w, "-"));
	type = next_word(&line);
	(void)next_word(&line);
	options = next_word(&line);

	if (word_is(type, "cgroup2")) {
		if (!c->has_v2)
			(void)snprintf(
				c->v2_path, sizeof(c->v2_path), "%.*s", (int)path.len, path.at);
		c->has_v2 = true;
	} else if (word_is(type, "cgroup")) {
		c->has_v1 = true;
	} else {
		return;
	}
	c->favordynmods |= has_option(options, "favordynmods");
}

/* --- others --- */

int doctor_parse_choice(const char *text, char *ret, size_t len)
{
	const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
	size_t n;

	if (!close)
		return -EINVAL;
	n = (size_t)(close - open - 1);
	if (n == 0 || n >= len)
		return -EINVAL;
	memcpy(ret, open + 1, n);
	ret[n] = '\0';
	return 0;
}

/* A number of n characters inside a longer text. */
static int number_of(const char *at, size_t n, uint64_t max, uint64_t *ret)
{
	char digits[24];

	if (n >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, at, n);
	digits[n] = '\0';
	return parse_u64(digits, 0, max, ret);
}

int doctor_parse_meminfo(const char *text, const char *key, uint64_t *ret_bytes)
{
	size_t len = strlen(key), n;
	uint64_t kib;

	while (strncmp(text, key, len) != 0 || text[len] != ':') {
		text = strchr(text, '\n');
		if (!text)
			return -ENOENT;
		text++;
	}
	text += len + 1;
	text += strspn(text, " ");
	n = strcspn(text, " \n");
	if (strncmp(text + n, " kB", 3) != 0 || number_of(text, n, UINT64_MAX / 1024, &kib) < 0)
		return -EINVAL;
	*ret_bytes = kib * 1024;
	return 0;
}

int doctor_parse_number(const char *text, uint64_t *ret)
{
	size_t n = strcspn(text, "\n");

	if (text[n] == '\n' && text[n + 1] != '\0')
		return -EINVAL;
	return number_of(text, n, UINT64_MAX, ret);
}
