/* How much memory the monitor itself keeps (footprint.h). */
#include "footprint.h"

#include <stdint.h>
#include <sys/mman.h>

#include "base/check.h"
#include "core/mem.h"

/* The linker's: the first byte of the program and the first behind its code. */
extern char __executable_start[], etext[]; // NOLINT(bugprone-reserved-identifier,cert-dcl37-c)

void footprint_trim(void)
{
	uint64_t len = align_down((uintptr_t)etext - (uintptr_t)__executable_start, MEM_PAGE_SIZE);

	/* Headers and code are mapped from the file and never written, so nothing is lost;
	 * relocated data lies behind them and stays.  Advice: where it is refused, the pages simply
	 * stay. */
	(void)madvise(__executable_start, len, MADV_DONTNEED);
}
