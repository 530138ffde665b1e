/*
 * A kernel file that nobody vouches for: image_read(), image_place() and all of boot_load().  The
 * last byte of the input chooses the machine, the bytes before it are the file.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "fuzz.h"
#include "x86/boot.h"
#include "x86/image.h"
#include "x86/layout.h"

enum { FILE_MAX = 1 << 20 };

static const char cmdline[] = "console=ttyS0 panic=-1";

struct choice {
	uint64_t mem;
	enum mem_pages pages;
	enum boot_protocol protocol;
	unsigned cpus, nslots;
};

static struct choice choose(uint8_t byte)
{
	static const uint64_t sizes[] = { 16ULL << 20, 24ULL << 20, 1ULL << 30, 6ULL << 30 };

	return (struct choice){
		.mem = sizes[byte & 3],
		.pages = byte & 4 ? MEM_PAGES_HOST : MEM_PAGES_THP,
		.protocol = (enum boot_protocol)((byte >> 3 & 3) % 3),
		.cpus = byte & 0x20 ? 32 : 1,
		.nslots = byte & 0x40 ? 32 : 0,
	};
}

/* An error is a negative errno, the same in both places, with one line of words. */
static void check_error(int rc, const struct err *e)
{
	FUZZ_CHECK(rc < 0 && rc > -4096 && e->code == rc);
	FUZZ_CHECK(e->text[0] != '\0' && memchr(e->text, '\0', sizeof(e->text)));
	FUZZ_CHECK(!strchr(e->text, '\n'));
}

static bool holds(const struct image *img, uint64_t addr)
{
	bool held = false;

	for (unsigned i = 0; i < img->n; i++)
		held |= addr >= img->segment[i].gpa &&
			addr < img->segment[i].gpa + img->segment[i].mem_len;
	return held;
}

static void check_placed(const struct image *img, uint64_t size, uint64_t low)
{
	FUZZ_CHECK(img->n >= 1 && img->n <= IMAGE_SEGMENTS_MAX);
	for (unsigned i = 0; i < img->n; i++) {
		const struct image_segment *s = &img->segment[i];

		FUZZ_CHECK(s->file_off <= size && s->file_len <= size - s->file_off);
		FUZZ_CHECK(s->mem_len > 0 && s->mem_len >= s->file_len);
		FUZZ_CHECK(s->gpa >= LAYOUT_HIMEM && s->gpa <= low && s->mem_len <= low - s->gpa);
		FUZZ_CHECK(s->gpa + s->mem_len <= img->end);
		for (unsigned k = 0; k < i; k++)
			FUZZ_CHECK(s->gpa + s->mem_len <= img->segment[k].gpa ||
				   img->segment[k].gpa + img->segment[k].mem_len <= s->gpa);
	}
	FUZZ_CHECK(img->end <= low);
	FUZZ_CHECK(img->has_entry64 == holds(img, img->entry64));
	FUZZ_CHECK(img->has_entry64 || img->has_pvh);
	FUZZ_CHECK(!img->has_pvh || holds(img, img->pvh_entry));
}

/* The guest finds the file's bytes where the segments say, and zeroes up to the end of the page
 * behind them. */
static void check_loaded(const struct guest_mem *m, const struct image *img, const uint8_t *data)
{
	for (unsigned i = 0; i < img->n; i++) {
		const struct image_segment *s = &img->segment[i];
		uint64_t end = align_up(s->gpa + s->file_len, MEM_PAGE_SIZE);
		const uint8_t *at = mem_ptr(m, s->gpa, s->mem_len);

		end = MIN(end, s->gpa + s->mem_len);
		FUZZ_CHECK(at && memcmp(at, data + s->file_off, s->file_len) == 0);
		for (uint64_t k = s->file_len; k < end - s->gpa; k++)
			FUZZ_CHECK(at[k] == 0);
	}
	FUZZ_CHECK(
		memcmp(mem_ptr(m, LAYOUT_CMDLINE, sizeof(cmdline)), cmdline, sizeof(cmdline)) == 0);
	FUZZ_CHECK(memcmp(mem_ptr(m, LAYOUT_ACPI, 8), "RSD PTR ", 8) == 0);
}

static void fill_slots(struct acpi_config *c, unsigned n)
{
	c->nslots = n;
	for (unsigned i = 0; i < n; i++)
		c->slot[i] =
			(struct acpi_slot){ (uint32_t)(LAYOUT_VIRTIO_BASE + i * LAYOUT_VIRTIO_LEN),
				0x1000, 5 + i % 16 };
}

static void boot(
	int fd, const struct choice *c, const struct image *img, int placed, const uint8_t *data)
{
	struct guest_mem m;
	struct boot_config config = {
		.cmdline = cmdline, .protocol = c->protocol, .machine = { .cpus = c->cpus }
	};
	struct boot_entry entry = { 0 };
	struct err e = { 0 };
	char path[64];
	int rc;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config.kernel = path;
	fill_slots(&config.machine, c->nslots);
	FUZZ_CHECK(guest_mem_init(&m, c->mem, LAYOUT_HOLE_START, LAYOUT_HOLE_END, c->pages, false,
			   &e) == 0);
	rc = boot_load(&m, &config, &entry, &e);
	if (rc < 0) {
		check_error(rc, &e);
		FUZZ_CHECK(placed < 0 || (c->protocol == BOOT_PVH && !img->has_pvh) ||
			   (c->protocol == BOOT_LINUX64 && !img->has_entry64) ||
			   img->kind == IMAGE_BZIMAGE /* which limits the command line */);
	} else {
		FUZZ_CHECK(placed == 0 && holds(img, entry.rip));
		check_loaded(&m, img, data);
	}
	guest_mem_fini(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct choice c;
	struct image img;
	struct err e = { 0 };
	int rc;

	if (size < 1 || size > FILE_MAX)
		return 0;
	size--;
	c = choose(data[size]);
	if (fd < 0)
		fd = memfd_create("kernel", MFD_CLOEXEC);
	FUZZ_CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	rc = image_read(fd, "kernel", size, &img, &e);
	if (rc == 0)
		rc = image_place(&img, "kernel", MIN(c.mem, LAYOUT_HOLE_START), &e);
	if (rc < 0)
		check_error(rc, &e);
	else
		check_placed(&img, size, MIN(c.mem, LAYOUT_HOLE_START));
	boot(fd, &c, &img, rc, data);
	return 0;
}
