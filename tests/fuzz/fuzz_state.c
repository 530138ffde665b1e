/*
 * The state file of a snapshot.  The input is one, with checksums and lengths made right first, so
 * that what is behind them is reached.  What is taken can be written again, and is then read as the
 * same.
 */
#include <string.h>

#include "base/err.h"
#include "fuzz.h"
#include "snapshot/inspect.h"
#include "snapshot/section.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "t_state.h"

enum { AT_FILE_LEN = 24 };

static void check_again(const struct snapshot *s)
{
	struct snapshot *again = NULL;
	uint8_t *data = NULL;
	struct err e = { 0 };
	size_t len;

	FUZZ_CHECK(state_encode(s, &data, &len, &e) == 0);
	FUZZ_CHECK(state_decode(data, len, &again, &e) == 0);
	FUZZ_CHECK(t_state_equal(s, again));
	snapshot_free(again);
	free(data);
}

/* What is shown of it, whatever it is. */
static void show(const uint8_t *data, size_t size, bool is_good)
{
	static FILE *nowhere;
	struct inspection *v = inspection_new("x", data, size);
	json_t *all;

	if (!nowhere)
		nowhere = fopen("/dev/null", "we");
	FUZZ_CHECK(v && nowhere);
	FUZZ_CHECK((v->nproblems == 0) == is_good);
	FUZZ_CHECK(inspect_print(v, nowhere) == 0);
	all = inspect_json(v);
	FUZZ_CHECK(all != NULL);
	json_decref(all);
	inspection_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snapshot *s = NULL;
	struct err e = { 0 };
	uint8_t *copy = malloc(size > 0 ? size : 1);

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data, size);
	if (size >= FORMAT_HEADER_LEN) {
		uint64_t len = size;
		struct wire w;

		wire_init_writer(&w, copy + AT_FILE_LEN, sizeof(len));
		wire_u64(&w, &len);
		section_seal(copy, size);
	}
	if (state_decode(copy, size, &s, &e) == 0)
		check_again(s);
	else
		FUZZ_CHECK(!s && e.text[0] != '\0');
	show(copy, size, s != NULL);
	snapshot_free(s);
	free(copy);
	return 0;
}
