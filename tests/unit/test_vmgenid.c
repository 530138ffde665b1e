/* The VM generation id. */
#include "t.h"

#include <sys/random.h>

#include "base/err.h"
#include "x86/layout.h"
#include "x86/vmgenid.h"

TestSuite(vmgenid, .timeout = T_SECONDS);

enum { BYTES = 16 };

static struct {
	int fails; /* with this errno */
	unsigned interrupted, at_most, calls;
} random_source;

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __real_getrandom(void *buf, size_t len, unsigned flags);

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	random_source.calls++;
	errno = random_source.interrupted > 0 ? EINTR : random_source.fails;
	if (random_source.interrupted > 0 && random_source.interrupted--)
		return -1;
	if (random_source.fails)
		return -1;
	return __real_getrandom(
		buf, random_source.at_most ? MIN(len, random_source.at_most) : len, flags);
}

static void read_id(const struct guest_mem *m, uint8_t id[BYTES])
{
	t_int(mem_read(m, id, LAYOUT_VMGENID, BYTES), 0);
}

Test(vmgenid, each_id_is_another_one_and_nothing_else_is_written)
{
	uint8_t id[3][BYTES] = { 0 }, page[4096];
	struct guest_mem m;

	t_mem_init(&m, 16ULL << 20);
	for (unsigned i = 1; i < 3; i++) {
		t_int(vmgenid_renew(&m, NULL), 0);
		read_id(&m, id[i]);
		for (unsigned k = 0; k < i; k++)
			t_true(memcmp(id[i], id[k], BYTES) != 0);
	}
	t_int(mem_read(&m, page, LAYOUT_VMGENID, sizeof(page)), 0);
	for (unsigned i = BYTES; i < sizeof(page); i++)
		t_uint(page[i], 0);
	t_true(LAYOUT_VMGENID % 8 == 0 && LAYOUT_VMGENID / 4096 < LAYOUT_MPTABLE / 4096);
	guest_mem_fini(&m);
}

Test(vmgenid, random_bytes_that_come_in_pieces_or_late_are_awaited)
{
	uint8_t id[BYTES], zeros = 0;
	struct guest_mem m;

	t_mem_init(&m, 16ULL << 20);
	random_source.at_most = 1;
	random_source.interrupted = 3;
	t_int(vmgenid_renew(&m, NULL), 0);
	t_uint(random_source.calls, 3 + BYTES);
	read_id(&m, id);
	for (unsigned i = 0; i < BYTES; i++)
		zeros += id[i] == 0;
	t_true(zeros < 8);
	guest_mem_fini(&m);
}

Test(vmgenid, no_random_bytes_are_an_error)
{
	struct guest_mem m;
	struct err e = { 0 };

	t_mem_init(&m, 16ULL << 20);
	random_source.fails = ENOSYS;
	t_int(vmgenid_renew(&m, &e), -ENOSYS);
	t_has(e.text, "random");
	guest_mem_fini(&m);
}
