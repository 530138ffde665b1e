/* The kernel's command line (bootline.h). */
#include "bootline.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "x86/layout.h"

/* Length of the part that is for the kernel; init's begins with a word "--". */
static size_t kernel_part(const char *line)
{
	const char *at = line;

	while ((at = strstr(at, "--")) != NULL) {
		bool begins = at == line || at[-1] == ' ';

		if (begins && (at[2] == ' ' || at[2] == '\0'))
			return (size_t)(at - line);
		at += 2;
	}
	return strlen(line);
}

/* Whether a word of the kernel's part begins with prefix; whole: is it. */
static bool has_word(const char *line, const char *prefix, bool whole)
{
	size_t end = kernel_part(line), len = strlen(prefix);

	for (size_t at = 0; at < end;) {
		size_t word = strcspn(line + at, " ");

		if (word >= len && memcmp(line + at, prefix, len) == 0 && (!whole || word == len))
			return true;
		at += word + strspn(line + at + word, " ");
	}
	return false;
}

static bool wants_root(const struct vm_config *c)
{
	switch (c->root) {
	case VM_ROOT_NONE: return false;
	case VM_ROOT_FIRST: return c->ndisks > 0;
	case VM_ROOT_AUTO: break;
	}
	return c->ndisks > 0 && !c->initrd && !has_word(c->cmdline, "root=", false);
}

bool bootline_wants_cmdline(const struct vm_config *c)
{
	/* A kernel that is told to ignore ACPI has only the command line. */
	return c->describe == DESCRIBE_CMDLINE || c->describe == DESCRIBE_BOTH ||
	       (c->describe == DESCRIBE_AUTO && has_word(c->cmdline, "acpi=off", true));
}

bool bootline_wants_acpi(const struct vm_config *c)
{
	return c->describe != DESCRIBE_CMDLINE;
}

struct line {
	char *buf;
	size_t len; /* more than BOOTLINE_MAX - 1: it did not fit */
};

static void append(struct line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void append(struct line *l, const char *fmt, ...)
{
	size_t room = l->len < BOOTLINE_MAX ? BOOTLINE_MAX - l->len : 0;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(room > 0 ? l->buf + l->len : NULL, room, fmt, args);
	va_end(args);
	INVARIANT(n >= 0);
	l->len += (size_t)n;
}

static void append_word(struct line *l, const char *word)
{
	const char *gap =
		l->len > 0 && l->len < BOOTLINE_MAX && l->buf[l->len - 1] != ' ' ? " " : "";

	append(l, "%s%s", gap, word);
}

static void append_root(struct line *l, const struct vm_config *c)
{
	if (c->root == VM_ROOT_FIRST && c->partuuid) {
		append_word(l, "root=PARTUUID=");
		append(l, "%s", c->partuuid);
	} else {
		append_word(l, "root=/dev/vda");
	}
	append_word(l, c->disk[0].read_only ? "ro" : "rw");
}

int bootline_compose(
	const struct vm_config *c, const struct devices *d, char buf[BOOTLINE_MAX], struct err *e)
{
	size_t kernel = kernel_part(c->cmdline);
	struct line l = { .buf = buf };
	char word[64];

	buf[0] = '\0';
	if (kernel > LAYOUT_CMDLINE_MAX)
		return err_set(e, -E2BIG,
			"the kernel command line has %zu bytes, this kernel takes %d",
			strlen(c->cmdline), LAYOUT_CMDLINE_MAX - 1);
	append(&l, "%.*s", (int)kernel, c->cmdline);
	if (wants_root(c))
		append_root(&l, c);
	for (unsigned i = 0; i < d->n && bootline_wants_cmdline(c); i++) {
		(void)snprintf(word, sizeof(word), "virtio_mmio.device=%lluK@0x%llx:%u",
			LAYOUT_VIRTIO_LEN >> 10, (unsigned long long)d->slot[i].base,
			d->slot[i].gsi);
		append_word(&l, word);
	}
	if (c->cmdline[kernel] != '\0')
		append_word(&l, c->cmdline + kernel);
	if (l.len >= BOOTLINE_MAX)
		return err_set(e, -E2BIG,
			"the kernel command line has %zu bytes with what the devices add, a kernel "
			"takes %d",
			l.len, LAYOUT_CMDLINE_MAX - 1);
	return 0;
}
