/*
 * Writes an initramfs: cpio's "newc" format (the kernel's
 * Documentation/driver-api/early-userspace/buffer-format.rst).  Runs at build time and, unlike
 * cpio, makes device nodes without being root and the same bytes every time.
 *
 * usage: pack ARCHIVE ENTRY...   where ENTRY is d:NAME, f:NAME:FILE (executable) or
 * c:NAME:MAJOR:MINOR
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODE_DIR = 0040755, MODE_FILE = 0100755, MODE_CHAR = 0020600, FILE_MAX_BYTES = 1 << 26 };

struct entry {
	const char *name;
	unsigned mode, major, minor;
	char *data;
	size_t len;
};

static unsigned inode;

static int pad(FILE *out)
{
	while (ftell(out) % 4 != 0) {
		if (fputc(0, out) == EOF)
			return -1;
	}
	return 0;
}

static int write_entry(FILE *out, const struct entry *e)
{
	/* magic, inode, mode, uid, gid, links, time, size, device, node's device, name's length,
	 * checksum */
	(void)fprintf(out, "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", ++inode,
		e->mode, 0, 0, 1, 0, e->len, 0, 0, e->major, e->minor, strlen(e->name) + 1, 0);
	(void)fwrite(e->name, 1, strlen(e->name) + 1, out);
	if (pad(out) < 0)
		return -1;
	if (e->len > 0) /* a folder's data is NULL */
		(void)fwrite(e->data, 1, e->len, out);
	return pad(out);
}

static int read_file(const char *path, struct entry *e)
{
	FILE *in = fopen(path, "re");

	if (!in)
		return -1;
	e->data = malloc(FILE_MAX_BYTES);
	if (e->data)
		e->len = fread(e->data, 1, FILE_MAX_BYTES, in);
	if (!e->data || ferror(in) || e->len == FILE_MAX_BYTES) {
		(void)fclose(in);
		return -1;
	}
	return fclose(in);
}

/* Splits the argument in place. */
static int parse_entry(char *text, struct entry *ret)
{
	char kind = text[0], *rest = NULL, *more = NULL;

	if (text[0] == '\0' || text[1] != ':')
		return -1;
	*ret = (struct entry){ .name = text + 2 };
	if (kind == 'd') {
		ret->mode = MODE_DIR;
		return 0;
	}
	rest = strchr(text + 2, ':');
	if (!rest)
		return -1;
	*rest++ = '\0';
	if (kind == 'f') {
		ret->mode = MODE_FILE;
		return read_file(rest, ret);
	}
	more = strchr(rest, ':');
	if (kind != 'c' || !more)
		return -1;
	ret->mode = MODE_CHAR;
	ret->major = (unsigned)strtoul(rest, NULL, 10);
	ret->minor = (unsigned)strtoul(more + 1, NULL, 10);
	return 0;
}

int main(int argc, char **argv)
{
	const struct entry trailer = { .name = "TRAILER!!!" };
	FILE *out = argc > 2 ? fopen(argv[1], "we") : NULL;
	int rc = out ? 0 : -1;

	for (int i = 2; i < argc && rc == 0; i++) {
		struct entry e = { 0 };

		rc = parse_entry(argv[i], &e);
		if (rc == 0)
			rc = write_entry(out, &e);
		else
			(void)fprintf(stderr, "pack: '%s': %s\n", argv[i],
				errno ? strerror(errno) : "not an entry");
		free(e.data);
	}
	if (rc == 0)
		rc = write_entry(out, &trailer);
	if (out && (ferror(out) || fclose(out) != 0))
		rc = -1;
	if (rc != 0)
		(void)fprintf(stderr, "pack: no archive was made\n");
	return rc == 0 ? 0 : 1;
}
