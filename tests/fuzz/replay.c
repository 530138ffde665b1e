/*
 * Runs a fuzz target over files, so that every build replays the committed corpus without
 * libFuzzer: replay_NAME FILE-OR-DIRECTORY... A broken promise aborts.  An empty corpus is an
 * error: a replay of nothing proves nothing.
 */
#include <dirent.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 20, PATH_LEN = 4096 };

/* Exactly as long as the input, so that a sanitizer sees a read behind its end. */
static bool replay_file(const char *path)
{
	static uint8_t buf[INPUT_MAX];
	FILE *in = fopen(path, "rbe");
	uint8_t *exact;
	size_t len;

	if (!in) {
		(void)fprintf(stderr, "cannot open '%s'\n", path);
		return false;
	}
	len = fread(buf, 1, sizeof(buf), in);
	(void)fclose(in);
	exact = malloc(len > 0 ? len : 1);
	if (!exact)
		return false;
	memcpy(exact, buf, len);
	(void)LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return true;
}

/* The number of files, or -1. */
static int replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int n = 0;

	if (!dir)
		return -1;
	while (n >= 0 && (entry = readdir(dir))) {
		char file[PATH_LEN];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		n = replay_file(file) ? n + 1 : -1;
	}
	(void)closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		struct stat st;
		int n = -1;

		if (stat(argv[i], &st) == 0)
			n = S_ISDIR(st.st_mode) ? replay_directory(argv[i]) : replay_file(argv[i]);
		if (n < 0) {
			(void)fprintf(stderr, "cannot replay '%s'\n", argv[i]);
			return 1;
		}
		total += n;
	}
	(void)printf("%d inputs replayed\n", total);
	return total > 0 ? 0 : 1;
}
