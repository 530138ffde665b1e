/*
 * What the fuzz targets share.  A target is one function; libFuzzer calls it with inputs that it
 * invents, replay.c with those of the committed corpus.
 */
#ifndef MVM_TESTS_FUZZ_H
#define MVM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise of the code under test that an input broke. */
#define FUZZ_CHECK(cond)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			(void)fprintf(                                                             \
				stderr, "%s:%d: '%s' does not hold\n", __FILE__, __LINE__, #cond); \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* An input read as a script, byte by byte; behind its end there are zeroes. */
struct script {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t script_byte(struct script *s)
{
	if (s->left == 0)
		return 0;
	s->left--;
	return *s->at++;
}

#endif
