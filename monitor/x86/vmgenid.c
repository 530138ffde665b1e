/* The VM generation id (vmgenid.h). */
#include "x86/vmgenid.h"

#include <errno.h>
#include <sys/random.h>

#include "base/err.h"
#include "x86/layout.h"

enum { ID_BYTES = 16 };

int vmgenid_renew(const struct guest_mem *m, struct err *e)
{
	uint8_t id[ID_BYTES];
	size_t have = 0;

	while (have < sizeof(id)) {
		ssize_t n = getrandom(id + have, sizeof(id) - have, 0);

		if (n < 0 && errno != EINTR)
			return err_sys(e, -errno, NULL, "cannot get random bytes");
		have += n > 0 ? (size_t)n : 0;
	}
	if (mem_write(m, LAYOUT_VMGENID, id, sizeof(id)) < 0)
		return err_set(e, -EFAULT, "the guest has no memory for its generation id");
	return 0;
}
