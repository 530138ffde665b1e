/* How much memory the monitor itself keeps (footprint.h). */
#include "footprint.h"

#include <elf.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "base/check.h"
#include "core/mem.h"

/* The linker's: the first byte of the program. */
extern char __executable_start[]; // NOLINT(bugprone-reserved-identifier,cert-dcl37-c)

/* Whole pages of a segment: what it shares with its neighbours stays. */
static void trim(const Elf64_Phdr *segment)
{
	uint64_t base = (uintptr_t)__executable_start;
	uint64_t from = align_up(base + segment->p_vaddr, MEM_PAGE_SIZE);
	uint64_t to = align_down(base + segment->p_vaddr + segment->p_memsz, MEM_PAGE_SIZE);

	/* Advice: where it is refused, the pages simply stay. */
	if (from < to)
		(void)madvise((void *)(uintptr_t)from, to - from, MADV_DONTNEED);
}

void footprint_trim(void)
{
	const Elf64_Phdr *segment = (const Elf64_Phdr *)(uintptr_t)getauxval(AT_PHDR);
	uint64_t n = segment ? getauxval(AT_PHNUM) : 0;

	/* Headers, code and constants are mapped from the file and never written, so nothing is
	 * lost; what was relocated is in a segment that can be written, and stays. */
	for (uint64_t i = n; i-- > 0;) {
		/* The table itself lies in the first one, which comes last. */
		if (segment[i].p_type == PT_LOAD && !(segment[i].p_flags & PF_W))
			trim(&segment[i]);
	}
}
