/* Loading a kernel (boot.h). */
#include "x86/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "x86/image.h"
#include "x86/layout.h"
#include "x86/mptable.h"
#include "x86/params.h"

/* Opens a regular file for reading and tells its size. */
static int open_file(
	const char *what, const char *path, int *ret_fd, uint64_t *ret_size, struct err *e)
{
	/* O_NONBLOCK: a FIFO must give an error, not wait for a writer. */
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot open %s '%s'", what, path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, NULL, "cannot stat %s '%s'", what, path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s '%s' is not a regular file", what, path);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = fd_take(&fd);
	return 0;
}

static int load_kernel(struct guest_mem *m, const char *path, struct image *img, struct err *e)
{
	int fd CLEANUP(fd_closep) = -1;
	uint64_t size = 0;
	int rc = open_file("kernel", path, &fd, &size, e);

	if (rc == 0)
		rc = image_read(fd, path, size, img, e);
	if (rc == 0)
		rc = image_place(img, path, m->r[0].len, e);
	for (unsigned i = 0; i < img->n && rc == 0; i++) {
		const struct image_segment *s = &img->segment[i];

		/* What lies behind file_len is zero already: nothing has run in this memory yet. */
		rc = s->file_len == 0 ? 0 : mem_load_file(m, s->gpa, fd, s->file_off, s->file_len);
		if (rc < 0)
			return err_sys(e, rc, NULL, "cannot load kernel '%s'", path);
	}
	return rc;
}

/* The initrd goes to the top of low memory, as far from the kernel as can be. */
static int load_initrd(struct guest_mem *m, const char *path, const struct image *img,
	struct boot_places *at, struct err *e)
{
	int fd CLEANUP(fd_closep) = -1;
	uint64_t size = 0, top = m->r[0].len;
	int rc = open_file("initrd", path, &fd, &size, e);

	if (rc < 0)
		return rc;
	if (size == 0)
		return err_set(e, -EINVAL, "initrd '%s' is empty", path);
	if (img->kind == IMAGE_BZIMAGE)
		top = MIN(top, (uint64_t)img->setup.initrd_addr_max + 1);
	if (size > top || align_down(top - size, MEM_PAGE_SIZE) < img->end)
		return err_set(e, -ENOSPC,
			"initrd '%s' (%llu bytes) does not fit between the kernel, which ends at "
			"0x%llx, and 0x%llx: "
			"give the guest more memory (--mem)",
			path, (unsigned long long)size, (unsigned long long)img->end,
			(unsigned long long)top);
	at->initrd = align_down(top - size, MEM_PAGE_SIZE);
	at->initrd_len = size;
	rc = mem_load_file(m, at->initrd, fd, 0, size);
	return rc < 0 ? err_sys(e, rc, NULL, "cannot load initrd '%s'", path) : 0;
}

static int load_cmdline(const struct guest_mem *m, const char *text, const struct image *img,
	struct boot_places *at, struct err *e)
{
	size_t len = strlen(text), max = LAYOUT_CMDLINE_MAX - 1;

	if (img->kind == IMAGE_BZIMAGE && img->setup.cmdline_size > 0)
		max = MIN(max, (size_t)img->setup.cmdline_size);
	if (len > max)
		return err_set(e, -E2BIG,
			"the kernel command line has %zu bytes, this kernel takes %zu", len, max);
	at->cmdline_len = (uint32_t)len;
	return mem_write(m, LAYOUT_CMDLINE, text, len + 1);
}

static int choose_protocol(
	const struct boot_config *c, const struct image *img, struct boot_entry *ret, struct err *e)
{
	if (c->protocol == BOOT_PVH && !img->has_pvh)
		return err_set(e, -EINVAL,
			"kernel '%s' has no PVH entry (an ELF vmlinux built with CONFIG_PVH has "
			"one)",
			c->kernel);
	if (c->protocol == BOOT_LINUX64 && !img->has_entry64)
		return err_set(e, -EINVAL,
			"kernel '%s': its 64-bit entry 0x%llx is in none of its segments; it is "
			"for PVH",
			c->kernel, (unsigned long long)img->entry64);
	if (c->protocol == BOOT_PVH || (c->protocol == BOOT_AUTO && img->has_pvh))
		*ret = (struct boot_entry){ .protocol = BOOT_PVH, .rip = img->pvh_entry };
	else
		*ret = (struct boot_entry){ .protocol = BOOT_LINUX64, .rip = img->entry64 };
	return 0;
}

int boot_load(
	struct guest_mem *m, const struct boot_config *c, struct boot_entry *ret, struct err *e)
{
	struct boot_places at = { .rsdp = LAYOUT_ACPI };
	struct image img = { 0 };
	int rc = load_kernel(m, c->kernel, &img, e);

	if (rc == 0)
		rc = choose_protocol(c, &img, ret, e);
	if (rc == 0 && c->initrd)
		rc = load_initrd(m, c->initrd, &img, &at, e);
	if (rc == 0)
		rc = load_cmdline(m, c->cmdline, &img, &at, e);
	if (rc < 0)
		return rc;
	params_write_real_reset(m);
	params_write_gdt(m, ret->protocol == BOOT_LINUX64);
	if (ret->protocol == BOOT_PVH) {
		params_write_pvh(m, &at);
	} else {
		params_write_page_tables(m);
		params_write_zero_page(m, &img, &at);
	}
	acpi_write_tables(m, &c->machine);
	mptable_write(m, c->machine.cpus);
	return 0;
}
