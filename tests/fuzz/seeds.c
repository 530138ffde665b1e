/*
 * Writes the seeds that are made rather than found: well-formed kernel files and scripts of what
 * real drivers do. seeds DIRECTORY      fills DIRECTORY/fuzz_image, DIRECTORY/fuzz_serial and
 * DIRECTORY/fuzz_i8042
 */
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "t_image.h"

enum { PATH_LEN = 4096 };

static const char *root;
static unsigned failures;

static void save(const char *target, const char *name, const void *data, size_t len)
{
	char path[PATH_LEN];
	FILE *out;

	(void)snprintf(path, sizeof(path), "%s/%s", root, target);
	(void)mkdir(path, 0777);
	(void)snprintf(path, sizeof(path), "%s/%s/%s", root, target, name);
	out = fopen(path, "wbe");
	if (!out || fwrite(data, 1, len, out) != len || fclose(out) != 0) {
		(void)fprintf(stderr, "cannot write '%s'\n", path);
		failures++;
	}
}

/* --- kernel files; the byte behind the file chooses the machine (fuzz_image.c) --- */

static struct t_file file;

static void save_image(const char *name, uint8_t machine)
{
	file.data[file.len] = machine;
	save("fuzz_image", name, file.data, file.len + 1);
}

static void small_elf(void)
{
	t_elf_begin(&file, 3, 0x200004);
	(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x2000, 16, NULL, 40);
	(void)t_elf_add(&file, PT_LOAD, 0x202000, 0x1000, 4, NULL, 20);
}

static void images(void)
{
	small_elf();
	save_image("elf-two-segments", 0);
	save_image("elf-high-memory", 3 | 0x60);
	(void)t_elf_add_pvh(&file, 0x200008);
	save_image("elf-pvh", 4);
	save_image("elf-pvh-asked-for", 4 | 1 << 3);
	t_elf_phdr(&file, 1)->p_paddr = 0x201000;
	save_image("elf-overlap", 0);
	small_elf();
	t_elf_phdr(&file, 1)->p_memsz = 19;
	save_image("elf-more-in-file-than-in-memory", 0);
	small_elf();
	t_elf_header(&file)->e_ident[EI_CLASS] = ELFCLASS32;
	save_image("elf-32-bit", 0);
	t_elf_begin(&file, 1, 0x100000);
	(void)t_elf_add(&file, PT_LOAD, 0x100000, 0x3000, 4096, NULL, 4096 + 100);
	save_image("elf-mapped-page", 4);
	t_bzimage(&file, 0x240);
	save_image("bzimage", 2);
	save_image("bzimage-moves-down", 0);
	t_bzimage_setup(&file)->relocatable_kernel = 0;
	save_image("bzimage-fixed", 1);
	file.len = T_SETUP_HEADER_AT + sizeof(struct setup_header);
	save_image("bzimage-header-only", 0);
	memset(&file, 'x', 100);
	file.len = 100;
	save_image("text", 0);
}

/* --- serial: operation, register and width in one byte, then the bytes written (fuzz_serial.c) ---
 */

struct bytes {
	size_t len;
	uint8_t at[512];
};

static void add(struct bytes *b, unsigned byte)
{
	b->at[b->len++] = (uint8_t)byte;
}

static void uart_write(struct bytes *b, unsigned reg, unsigned value)
{
	add(b, reg << 2 | 1);
	add(b, value);
}

static void uart_read(struct bytes *b, unsigned reg)
{
	add(b, reg << 2 | 0);
}

static void uart_receive(struct bytes *b, const char *text)
{
	add(b, (unsigned)strlen(text) << 2 | 2);
	while (*text)
		add(b, (unsigned char)*text++);
}

/* As Linux's 8250 driver starts: FIFO on and cleared, divisor, 8N1, OUT2, interrupts. */
static void uart_start(struct bytes *b, unsigned fcr, unsigned ier)
{
	b->len = 0;
	uart_write(b, 2, 7);
	uart_write(b, 3, 0x83);
	uart_write(b, 0, 1);
	uart_write(b, 1, 0);
	uart_write(b, 3, 3);
	uart_write(b, 4, 0x0b);
	uart_write(b, 2, fcr);
	uart_write(b, 1, ier);
}

static void serial(void)
{
	struct bytes b;

	uart_start(&b, 0x81, 7);
	uart_receive(&b, "hello");
	for (unsigned i = 0; i < 6; i++) {
		uart_read(&b, 2);
		uart_read(&b, 0);
		uart_read(&b, 5);
	}
	uart_write(&b, 0, 'A');
	uart_read(&b, 2);
	uart_read(&b, 2);
	save("fuzz_serial", "driver-with-fifo", b.at, b.len);
	uart_receive(&b, "twenty bytes of input");
	add(&b, 3);
	uart_read(&b, 5);
	uart_write(&b, 2, 0);
	uart_receive(&b, "x");
	uart_read(&b, 0);
	save("fuzz_serial", "full-fifo-break-and-fifo-off", b.at, b.len);
	uart_start(&b, 0, 0);
	for (unsigned i = 0; i < 17; i++)
		uart_read(&b, 5);
	uart_receive(&b, "p");
	uart_read(&b, 0);
	save("fuzz_serial", "polling-without-fifo", b.at, b.len);
	uart_start(&b, 1, 5);
	uart_write(&b, 4, 0x1b);
	for (unsigned i = 0; i < 18; i++)
		uart_write(&b, 0, 'a' + i);
	uart_read(&b, 5);
	uart_read(&b, 6);
	uart_write(&b, 4, 0x0b);
	uart_read(&b, 0);
	save("fuzz_serial", "loopback-overrun", b.at, b.len);
	add(&b, 3 << 5 | 0);
	add(&b, 3 << 5 | 1);
	for (unsigned i = 0; i < 8; i++)
		add(&b, i);
	save("fuzz_serial", "eight-bytes-wide", b.at, b.len);
}

/* --- i8042: operation, then the byte written (fuzz_i8042.c) --- */

static void keyboard(void)
{
	static const uint8_t probe[] = { 3, 0xaa, 0, 3, 0x20, 0, 3, 0x60, 2, 0x45, 3, 0xa9, 0, 3,
		0xd3, 2, 0x5a, 1, 0, 2, 0xff, 0, 0, 2, 0xf2, 0, 0, 0, 2, 0xed, 2, 7, 0, 0 };
	static const uint8_t keys[] = { 3, 0x60, 2, 0x01, 4, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		4 };
	static const uint8_t pulse[] = { 3, 0xfe };
	static const uint8_t outport[] = { 3, 0xd0, 0, 3, 0xd1, 2, 0xfe };
	uint8_t full[64];

	for (unsigned i = 0; i < sizeof(full); i += 2) {
		full[i] = 2;
		full[i + 1] = 0xf2;
	}
	save("fuzz_i8042", "driver-probe", probe, sizeof(probe));
	save("fuzz_i8042", "ctrl-alt-del", keys, sizeof(keys));
	save("fuzz_i8042", "reset-pulse", pulse, sizeof(pulse));
	save("fuzz_i8042", "reset-by-output-port", outport, sizeof(outport));
	save("fuzz_i8042", "queue-full", full, sizeof(full));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		(void)fprintf(stderr, "usage: seeds DIRECTORY\n");
		return 2;
	}
	root = argv[1];
	(void)mkdir(root, 0777);
	images();
	serial();
	keyboard();
	return failures > 0 ? 1 : 0;
}
