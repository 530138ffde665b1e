/*
 * What the tests of memory files share: guest memory with a pattern in it, and files.
 */
#ifndef MVM_TESTS_T_RAM_H
#define MVM_TESTS_T_RAM_H

#include "t.h"

#include <stdint.h>

#include "core/mem.h"

#define T_MIB (1ULL << 20)

/* Guest memory of such pages; false: the host has none to give (only MEM_PAGES_2M). */
bool t_ram_init(struct guest_mem *m, uint64_t size, enum mem_pages pages);

/* Adds so many huge pages to the host's pool, where root may, or finds them free: false when
 * neither is so. One test at a time has them, until it gives them back. */
bool t_ram_reserve_huge(unsigned pages);
void t_ram_release_huge(void);

/* Fills a page so that no two pages, and no two seeds, are alike; and whether it is so filled. */
void t_ram_fill(const struct guest_mem *m, uint64_t page, unsigned seed);
bool t_ram_is_filled(const struct guest_mem *m, uint64_t page, unsigned seed);
bool t_ram_is_zero(const struct guest_mem *m, uint64_t page);

/* The same for a page of a file. */
bool t_file_is_filled(int fd, uint64_t page, unsigned seed);
bool t_file_is_zero(int fd, uint64_t page);

/* A new file without a name, in the folder for temporary files. */
int t_ram_file(void);

/* A file of pages, those from first on filled with seed. */
int t_ram_file_of(uint64_t pages, uint64_t first, uint64_t count, unsigned seed);

/* A tmpfs of so many bytes in a mount namespace of this test's own; false: only root may. */
bool t_ram_small_tmpfs(char *dir, size_t size, const char *bytes);
void t_ram_end_tmpfs(const char *dir);

#endif
