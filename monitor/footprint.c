/* How much memory the monitor itself keeps (footprint.h). */
#include "footprint.h"

#include <elf.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/check.h"
#include "core/mem.h"

/* The linker's: the first byte of the program, from which its segments count. */
extern char __executable_start[]; // NOLINT(bugprone-reserved-identifier,cert-dcl37-c)

/* Whole pages of a segment: what it shares with its neighbours stays. */
static void trim(const Elf64_Phdr *segment)
{
	uint64_t from = align_up(segment->p_vaddr, MEM_PAGE_SIZE);
	uint64_t to = align_down(segment->p_vaddr + segment->p_memsz, MEM_PAGE_SIZE);

	/* Advice: where it is refused, the pages simply stay. */
	if (from < to)
		(void)madvise(__executable_start + from, to - from, MADV_DONTNEED);
}

static void trim_all(void)
{
	const Elf64_Ehdr *head = (const void *)__executable_start;
	const Elf64_Phdr *segment = (const void *)(__executable_start + head->e_phoff);

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

static void on_timer(struct loop_op *op, int res)
{
	(void)op;
	if (res == 0)
		trim_all();
}

void footprint_trim_soon(struct footprint *f, struct loop *l)
{
	static const uint64_t soon_ns = 10000000;

	f->loop = l;
	f->timer.done = on_timer;
	loop_timeout(l, &f->timer, soon_ns);
}

void footprint_end(struct footprint *f)
{
	int rc = 0;

	if (loop_op_is_pending(&f->timer))
		loop_cancel(f->loop, &f->timer);
	while (loop_op_is_pending(&f->timer) && (rc == 0 || rc == -EINTR))
		rc = loop_turn(f->loop);
}
