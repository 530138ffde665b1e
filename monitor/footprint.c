/* How much memory the monitor itself keeps (footprint.h). */
#include "footprint.h"

#include <elf.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/check.h"
#include "core/mem.h"

/* The linker's: the first byte of the program, from which its segments count. */
extern char __executable_start[]; // NOLINT(bugprone-reserved-identifier,cert-dcl37-c)

enum { DELAY_MS = 10 };

/* Whole pages of a segment: what it shares with its neighbours stays. */
static void trim(const Elf64_Phdr *segment)
{
	uint64_t from = align_up(segment->p_vaddr, MEM_PAGE_SIZE);
	uint64_t to = align_down(segment->p_vaddr + segment->p_memsz, MEM_PAGE_SIZE);

	/* Advice: where it is refused, the pages simply stay. */
	if (from < to)
		(void)madvise(__executable_start + from, to - from, MADV_DONTNEED);
}

static void trim_all(struct later *later)
{
	const Elf64_Ehdr *head = (const void *)__executable_start;
	const Elf64_Phdr *segment = (const void *)(__executable_start + head->e_phoff);

	(void)later;
	/* Headers, code and constants are mapped from the file and never written, so nothing is
	 * lost; what was relocated is in a segment that can be written, and stays.  The table
	 * itself lies in the first one, which comes last. */
	for (unsigned i = head->e_phnum; i-- > 0;) {
		if (segment[i].p_type == PT_LOAD && !(segment[i].p_flags & PF_W))
			trim(&segment[i]);
	}
	/* And what was allocated for the start only: a snapshot's state is larger than all that
	 * stays. */
	(void)malloc_trim(0);
}

void footprint_trim_later(struct later *later, struct loop *l)
{
	later_start(later, l, DELAY_MS, trim_all);
}
