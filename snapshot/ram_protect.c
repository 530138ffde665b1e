/*
 * Copies behind a running machine (ram_protect.h).
 *
 * Two threads share the work: the one that saves copies everything in order, the server copies what
 * is wanted first.  left has the pages that nobody has copied; who holds the lock copies a page and
 * takes it out of left, and only then is it let go.
 */
#include "snapshot/ram_protect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "snapshot/helper_thread.h"
#include "snapshot/page_bits.h"
#include "snapshot/ram_own.h"
#include "snapshot/ram_save.h"
#include "snapshot/userfault.h"

enum {
	GROUP_WORDS = 8,
	GROUP_PAGES = GROUP_WORDS * 64, /* copied, let go and written together: a huge page */
	SLOTS = 1024,                   /* pages copied for writers, and not yet in the file */
	FAULTS_AT_ONCE = 16,
	TRIES_MAX = 1000,
};

/* Documentation/admin-guide/mm/pagemap.rst; since Linux 5.14. */
#define ENTRY_PROTECTED (UINT64_C(1) << 57)

struct ram_protect {
	const struct guest_mem *m;
	int fd, stop_fd, pagemap_fd;
	bool has_server;
	pthread_t server;
	uint8_t *group; /* GROUP_PAGES, of the thread that saves */
	uint8_t *slot;  /* SLOTS pages */
	uint64_t *all;  /* what is to be copied; left is what is left of it */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t room;  /* slots were written out, or none is needed any more */
	uint64_t *left;
	bool is_over; /* nobody saves any more: pages are only let go */
	unsigned nslots;
	uint64_t slot_page[SLOTS];
};

static uint8_t *page_at(const struct ram_protect *p, uint64_t page)
{
	return (uint8_t *)p->m->map + page * MEM_PAGE_SIZE;
}

/* --- protection --- */

static int set_protection(const struct ram_protect *p, uint64_t first, uint64_t count, bool is_on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)page_at(p, first), .len = count * MEM_PAGE_SIZE },
		.mode = is_on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};
	int rc = 0;

	for (unsigned i = 0; i < TRIES_MAX; i++) {
		rc = ioctl(p->fd, UFFDIO_WRITEPROTECT, &wp) < 0 ? -errno : 0;
		/* Somebody changes mappings right now. */
		if (rc != -EAGAIN && rc != -EINTR)
			break;
	}
	return rc;
}

/* Lets all of memory go, and who waits for it, by whatever means there are. */
static void release(const struct ram_protect *p)
{
	struct uffdio_range all = { .start = (uintptr_t)p->m->map, .len = p->m->map_len };

	/* Taking it back wakes nobody who waits to write. */
	if (ioctl(p->fd, UFFDIO_UNREGISTER, &all) == 0 && ioctl(p->fd, UFFDIO_WAKE, &all) == 0)
		return;
	/* With the last reference goes the protection; the number stays taken, so that nobody
	 * else's file is meant by it, and the server, which may hold one, ends. */
	(void)dup3(p->stop_fd, p->fd, O_CLOEXEC);
	(void)eventfd_write(p->stop_fd, 1);
}

/* The same, and nothing is copied from here on. */
static void give_up(struct ram_protect *p)
{
	(void)pthread_mutex_lock(&p->lock);
	p->is_over = true;
	(void)pthread_cond_broadcast(&p->room);
	(void)pthread_mutex_unlock(&p->lock);
	release(p);
}

/* A few pages; when that fails, all of them. */
static int let_go(struct ram_protect *p, uint64_t first, uint64_t count)
{
	int rc = set_protection(p, first, count, false);

	if (rc < 0)
		give_up(p);
	return rc;
}

/* --- the server --- */

static void copy_for_writer(struct ram_protect *p, uint64_t page)
{
	(void)pthread_mutex_lock(&p->lock);
	while (!p->is_over && page_bits_has(p->left, page) && p->nslots == SLOTS)
		(void)pthread_cond_wait(&p->room, &p->lock);
	if (!p->is_over && page_bits_has(p->left, page)) {
		memcpy(p->slot + (uint64_t)p->nslots * MEM_PAGE_SIZE, page_at(p, page),
			MEM_PAGE_SIZE);
		p->slot_page[p->nslots++] = page;
		page_bits_clear(p->left, page);
	}
	(void)pthread_mutex_unlock(&p->lock);
}

/* false: nothing more can be heard. */
static bool serve(struct ram_protect *p)
{
	struct uffd_msg msg[FAULTS_AT_ONCE] UNINITIALIZED;
	ssize_t n = read(p->fd, msg, sizeof(msg));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	for (size_t i = 0; i < (size_t)n / sizeof(msg[0]); i++) {
		uint64_t page;

		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		page = (msg[i].arg.pagefault.address - (uintptr_t)p->m->map) / MEM_PAGE_SIZE;
		INVARIANT(page < mem_pages(p->m));
		copy_for_writer(p, page);
		/* Also when somebody else has copied it: the writer may have come in between. */
		(void)let_go(p, page, 1);
	}
	return true;
}

static void *server_main(void *arg)
{
	struct ram_protect *p = arg;

	for (;;) {
		struct pollfd f[] = {
			{ .fd = p->fd, .events = POLLIN },
			{ .fd = p->stop_fd, .events = POLLIN },
		};

		if (poll(f, ARRAY_SIZE(f), -1) < 0) {
			if (errno == EINTR || errno == ENOMEM)
				continue;
			break;
		}
		if (f[1].revents)
			return NULL;
		if (f[0].revents && (!(f[0].revents & POLLIN) || !serve(p)))
			break;
	}
	/* Without a server no writer may ever wait again. */
	give_up(p);
	return NULL;
}

/* --- begin and end --- */

static int open_all(struct ram_protect *p, const uint64_t *bits, struct err *e)
{
	uint64_t pages = mem_pages(p->m), words = page_bits_words(pages);

	/* A multiple of a group, so that the last one needs no care. */
	p->all = calloc(align_up(words, GROUP_WORDS), sizeof(*p->all));
	p->left = calloc(align_up(words, GROUP_WORDS), sizeof(*p->left));
	p->group = malloc((size_t)GROUP_PAGES * MEM_PAGE_SIZE);
	p->slot = malloc((size_t)SLOTS * MEM_PAGE_SIZE);
	if (!p->all || !p->left || !p->group || !p->slot)
		return err_sys(e, -ENOMEM, NULL, "cannot copy memory behind the machine");
	if (bits)
		memcpy(p->all, bits, words * sizeof(*bits));
	else
		page_bits_set_run(p->all, 0, pages);
	memcpy(p->left, p->all, words * sizeof(*bits));
	p->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (p->pagemap_fd < 0)
		return err_sys(e, -errno, "/proc has to be mounted, for this user",
			"cannot open '%s'", "/proc/self/pagemap");
	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->stop_fd < 0)
		return err_sys(e, -errno, NULL, "cannot copy memory behind the machine");
	/* The second is not used; but the kernel that has it (5.19) also shows in pagemap what is
	 * protected. */
	p->fd = userfault_open(
		UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM, 0, e);
	return p->fd < 0 ? p->fd : 0;
}

static int protect(struct ram_protect *p, struct err *e)
{
	int rc = userfault_register(p->fd, p->m, UFFDIO_REGISTER_MODE_WP, _UFFDIO_WRITEPROTECT, e);

	if (rc == -EBUSY)
		return err_set(e, -EOPNOTSUPP,
			"guest memory is brought by a handler, and cannot be protected as well");
	if (rc < 0)
		return rc;
	/* Before there is anything to serve. */
	rc = helper_thread_start(&p->server, "ram-protect", server_main, p, e);
	if (rc < 0)
		return rc;
	p->has_server = true;
	rc = set_protection(p, 0, mem_pages(p->m), true);
	/* Before Linux 6.4 all of it has to be one mapping. */
	if (rc == -ENOENT)
		rc = -EOPNOTSUPP;
	return rc < 0 ? err_sys(e, rc, NULL, "cannot protect guest memory against writes") : 0;
}

int ram_protect_begin(
	const struct guest_mem *m, const uint64_t *bits, struct ram_protect **ret, struct err *e)
{
	struct ram_protect *p;
	int rc;

	if (m->pages == MEM_PAGES_2M)
		return err_set(e, -EOPNOTSUPP,
			"huge pages of the pool cannot be protected against writes one by one");
	rc = ram_own(m, e);
	if (rc < 0)
		return rc;
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_sys(e, -ENOMEM, NULL, "cannot copy memory behind the machine");
	p->m = m;
	p->fd = p->stop_fd = p->pagemap_fd = -1;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->room, NULL);
	rc = open_all(p, bits, e);
	if (rc == 0)
		rc = protect(p, e);
	if (rc < 0) {
		ram_protect_end(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void ram_protect_end(struct ram_protect *p)
{
	if (!p)
		return;
	if (p->fd >= 0)
		give_up(p);
	if (p->has_server) {
		(void)eventfd_write(p->stop_fd, 1);
		(void)pthread_join(p->server, NULL);
	}
	fd_closep(&p->fd);
	fd_closep(&p->stop_fd);
	fd_closep(&p->pagemap_fd);
	(void)pthread_cond_destroy(&p->room);
	(void)pthread_mutex_destroy(&p->lock);
	free(p->all);
	free(p->left);
	free(p->group);
	free(p->slot);
	free(p);
}

/* --- save --- */

struct save {
	struct ram_protect *p;
	int fd;
	struct ram_progress *progress;
	uint64_t failed_at;
};

static int write_pages(struct save *s, const uint8_t *from, uint64_t page, uint64_t count)
{
	uint64_t off = page * MEM_PAGE_SIZE, len = count * MEM_PAGE_SIZE;

	while (len > 0) {
		ssize_t n = pwrite(s->fd, from, len, (off_t)off);
		int rc = n < 0 ? -errno : n == 0 ? -EIO : 0;

		if (rc == -EINTR)
			continue;
		if (rc < 0) {
			s->failed_at = off;
			return rc;
		}
		from += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	atomic_fetch_add_explicit(&s->progress->pages_written, count, memory_order_relaxed);
	return 0;
}

/* Those of count pages in a buffer that are in bits and not zero. */
static int write_group(struct save *s, uint64_t first, const uint64_t *bits)
{
	const uint8_t *buf = s->p->group;
	uint64_t i = 0, end;

	while ((i = page_bits_next(bits, i, GROUP_PAGES, true)) < GROUP_PAGES) {
		int rc;

		if (ram_page_is_zero(buf + i * MEM_PAGE_SIZE)) {
			i++;
			continue;
		}
		end = i + 1;
		while (end < GROUP_PAGES && page_bits_has(bits, end) &&
			!ram_page_is_zero(buf + end * MEM_PAGE_SIZE))
			end++;
		rc = write_pages(s, buf + i * MEM_PAGE_SIZE, first + i, end - i);
		if (rc < 0)
			return rc;
		i = end;
	}
	return 0;
}

/* What was copied for writers goes to the file, and its room back.  The server only adds. */
static int write_slots(struct save *s)
{
	struct ram_protect *p = s->p;
	unsigned n;

	(void)pthread_mutex_lock(&p->lock);
	n = p->nslots;
	(void)pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *page = p->slot + (uint64_t)i * MEM_PAGE_SIZE;
		int rc = ram_page_is_zero(page) ? 0 : write_pages(s, page, p->slot_page[i], 1);

		if (rc < 0)
			return rc;
	}
	(void)pthread_mutex_lock(&p->lock);
	p->nslots -= n;
	memmove(p->slot, p->slot + (uint64_t)n * MEM_PAGE_SIZE, (size_t)p->nslots * MEM_PAGE_SIZE);
	memmove(p->slot_page, p->slot_page + n, p->nslots * sizeof(p->slot_page[0]));
	if (n > 0)
		(void)pthread_cond_broadcast(&p->room);
	(void)pthread_mutex_unlock(&p->lock);
	return 0;
}

/*
 * The pages of a group that are still as they were.  No lock: a page never becomes protected, and
 * one that the server lets go meanwhile is not in left any more.
 */
static int find_protected(struct ram_protect *p, uint64_t first, uint64_t n, uint64_t *bits)
{
	uint64_t entry[GROUP_PAGES] UNINITIALIZED;
	uint64_t at = (uintptr_t)p->m->map / MEM_PAGE_SIZE + first;
	int rc = io_pread_full(p->pagemap_fd, entry, n * sizeof(entry[0]), at * sizeof(entry[0]));

	for (uint64_t i = 0; rc == 0 && i < n; i++)
		if (entry[i] & ENTRY_PROTECTED)
			page_bits_set_run(bits, i, 1);
	return rc;
}

/* Copies the pages of bits that are left and takes them out; bits are then those copied. -EIO: the
 * protection is lost. */
static int copy_group(struct ram_protect *p, uint64_t first, uint64_t *bits)
{
	for (unsigned w = 0; w < GROUP_WORDS; w++) {
		uint64_t *left = &p->left[first / 64 + w];
		bool is_over;

		/* A word at a time, so that a writer never waits for more. */
		(void)pthread_mutex_lock(&p->lock);
		bits[w] &= *left;
		for (uint64_t todo = bits[w]; todo != 0 && !p->is_over; todo &= todo - 1) {
			uint64_t i = w * 64UL + (uint64_t)__builtin_ctzll(todo);

			memcpy(p->group + i * MEM_PAGE_SIZE, page_at(p, first + i), MEM_PAGE_SIZE);
		}
		*left = 0;
		is_over = p->is_over;
		(void)pthread_mutex_unlock(&p->lock);
		if (is_over)
			return -EIO;
	}
	return 0;
}

static int save_group(struct save *s, uint64_t first)
{
	struct ram_protect *p = s->p;
	uint64_t n = MIN(mem_pages(p->m) - first, GROUP_PAGES), bits[GROUP_WORDS] = { 0 };
	int rc = find_protected(p, first, n, bits);

	if (rc == 0)
		rc = copy_group(p, first, bits);
	/* All of it at once, so that a huge page need not be split. */
	if (rc == 0 && page_bits_count(bits, GROUP_PAGES) > 0)
		rc = let_go(p, first, n);
	s->failed_at = first * MEM_PAGE_SIZE;
	if (rc == 0)
		rc = write_group(s, first, bits);
	if (rc == 0)
		rc = write_slots(s);
	return rc;
}

static int save_all(struct save *s)
{
	struct ram_protect *p = s->p;
	uint64_t pages = mem_pages(p->m);

	atomic_store_explicit(
		&s->progress->pages_all, page_bits_count(p->all, pages), memory_order_relaxed);
	for (uint64_t first = 0; first < pages; first += GROUP_PAGES) {
		/* Those that were copied for writers count as well. */
		uint64_t n = page_bits_count(p->all + first / 64, GROUP_PAGES);
		int rc;

		if (atomic_load_explicit(&s->progress->is_cancelled, memory_order_relaxed))
			return -ECANCELED;
		if (n == 0)
			continue;
		rc = save_group(s, first);
		if (rc < 0)
			return rc;
		atomic_fetch_add_explicit(&s->progress->pages_done, n, memory_order_relaxed);
	}
	/* left is empty: nothing is copied for writers any more. */
	return write_slots(s);
}

int ram_protect_save(struct ram_protect *p, int fd, struct ram_progress *progress, struct err *e)
{
	struct save s = { .p = p, .fd = fd, .progress = progress };
	int rc = ftruncate(fd, (off_t)p->m->map_len) < 0 ? -errno : 0;

	bool is_lost;

	if (rc == 0)
		rc = save_all(&s);
	(void)pthread_mutex_lock(&p->lock);
	is_lost = p->is_over;
	(void)pthread_mutex_unlock(&p->lock);
	give_up(p);
	if (rc < 0 && is_lost)
		return err_set(e, rc,
			"the kernel does not protect guest memory any more: the copy is not whole");
	return rc < 0 ? ram_write_error(e, rc, s.failed_at) : 0;
}
