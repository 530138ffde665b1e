/*
 * Keeps a Linux guest busy and checks all of it, so that whoever saves the guest and lets it go on
 * elsewhere sees what was lost.  Static, on any kernel.
 *
 *     toil work CPUS FILE [ADDRESS PORT]   until SIGTERM: see below
 *     toil clocks                          "CLOCKS realtime monotonic [ptp]", in ns
 *     toil random                          "RANDOM " and 32 bytes of getrandom(2)
 *     toil tear MIB                        until SIGTERM: writes memory in an order, and checks it
 *
 * Work, each kind a process (CPUs: one for each CPU) that counts what it has finished in shared
 * memory:
 *
 *     cpu    a buffer whose words each follow from the round; all are verified, and then of the
 *            next round
 *     disk   FILE is written with what only its round determines, synced, dropped from the cache,
 *            read and verified
 *     timer  eight timers have to fire in order and not too early; CLOCK_MONOTONIC never goes back,
 *            on whatever CPU
 *     net    to ADDRESS goes what comes back from there, over one connection, each byte verified
 *
 * Once in a while comes "TOIL cpu N disk N timer N net N".  The first thing that is wrong is
 * "WRONG ...", and the end with exit status 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CPUS_MAX = 32,
	BUFFER = 1 << 18,
	FILE_SIZE = 1 << 17,
	MESSAGE = 1 << 14,
	TIMERS = 8,
	TELL_MS = 200,
	PAGE = 4096,
};

/* What all processes share. */
static struct shared {
	_Atomic uint64_t cpu[CPUS_MAX], disk, timer, net;
	_Atomic uint64_t latest_ns; /* that any CPU has seen */
	atomic_bool is_wrong;
} * shared;

static volatile sig_atomic_t is_over;

static void on_term(int signo)
{
	(void)signo;
	is_over = 1;
}

__attribute__((noreturn, format(printf, 1, 2))) static void wrong(const char *format, ...)
{
	char text[256];
	va_list args;
	int n = snprintf(text, sizeof(text), "\nWRONG ");

	va_start(args, format);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n - 1, format, args);
	va_end(args);
	text[n++] = '\n';
	atomic_store(&shared->is_wrong, true);
	(void)!write(STDOUT_FILENO, text, (size_t)n);
	_exit(1);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		wrong("clock_gettime: %s", strerror(errno));
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void fill(uint64_t *to, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len / 8; i++)
		to[i] = mix(seed + i);
}

static void verify(const uint64_t *from, size_t len, uint64_t seed, const char *what)
{
	for (size_t i = 0; i < len / 8; i++) {
		if (from[i] != mix(seed + i))
			wrong("%s: byte %zu is of something else", what, i * 8);
	}
}

/* Asks for the time on the CPU that it happens to be on. */
static void check_clock(void)
{
	uint64_t before = atomic_load(&shared->latest_ns), now = clock_ns(CLOCK_MONOTONIC);

	if (now < before)
		wrong("clock: it went back by %llu ns", (unsigned long long)(before - now));
	while (before < now && !atomic_compare_exchange_weak(&shared->latest_ns, &before, now))
		;
}

/* --- the kinds of work --- */

static void toil_cpu(unsigned number)
{
	static uint64_t buffer[BUFFER / 8];
	uint64_t seed = (uint64_t)number << 48;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(number, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		wrong("cpu %u: it is not there", number);
	fill(buffer, BUFFER, seed);
	while (!is_over) {
		verify(buffer, BUFFER, seed, "cpu");
		seed = mix(seed);
		fill(buffer, BUFFER, seed);
		check_clock();
		atomic_fetch_add(&shared->cpu[number], 1);
	}
}

static void toil_disk(const char *path)
{
	static uint64_t buffer[FILE_SIZE / 8];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		wrong("disk: %s: %s", path, strerror(errno));
	for (uint64_t round = 1; !is_over; round++) {
		fill(buffer, FILE_SIZE, round << 32);
		if (pwrite(fd, buffer, FILE_SIZE, 0) != FILE_SIZE || fsync(fd) < 0)
			wrong("disk: write: %s", strerror(errno));
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		memset(buffer, 0, FILE_SIZE);
		if (pread(fd, buffer, FILE_SIZE, 0) != FILE_SIZE)
			wrong("disk: read: %s", strerror(errno));
		verify(buffer, FILE_SIZE, round << 32, "disk");
		atomic_fetch_add(&shared->disk, 1);
	}
	(void)close(fd);
}

static void arm(int fd, uint64_t at_ns)
{
	struct itimerspec when = {
		.it_value = { (time_t)(at_ns / 1000000000), (long)(at_ns % 1000000000) },
	};

	if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		wrong("timer: %s", strerror(errno));
}

/* One after the other, each as soon as it may and not before. */
static void toil_timer(void)
{
	int fd[TIMERS];

	for (unsigned i = 0; i < TIMERS; i++)
		fd[i] = timerfd_create(CLOCK_MONOTONIC, 0);
	while (!is_over) {
		uint64_t start = clock_ns(CLOCK_MONOTONIC), due[TIMERS];

		for (unsigned i = 0; i < TIMERS; i++) {
			due[i] = start + (i + 1) * 3000000;
			arm(fd[i], due[i]);
		}
		for (unsigned i = 0; i < TIMERS; i++) {
			struct pollfd later = { .fd = i + 1 < TIMERS ? fd[i + 1] : -1,
				.events = POLLIN };
			uint64_t fired, now;

			if (read(fd[i], &fired, sizeof(fired)) != sizeof(fired)) {
				if (is_over)
					return;
				wrong("timer: %s", strerror(errno));
			}
			now = clock_ns(CLOCK_MONOTONIC);
			if (fired != 1 || now < due[i])
				wrong("timer %u fired too early", i);
			/* Read before this one was due, the next may not have fired. */
			if (poll(&later, 1, 0) == 1 && clock_ns(CLOCK_MONOTONIC) < due[i + 1])
				wrong("timer %u fired before its time", i + 1);
			check_clock();
		}
		atomic_fetch_add(&shared->timer, 1);
	}
}

static void move_all(int fd, uint64_t *buf, bool is_write)
{
	for (size_t at = 0; at < MESSAGE;) {
		ssize_t n = is_write ? send(fd, (char *)buf + at, MESSAGE - at, MSG_NOSIGNAL)
				     : recv(fd, (char *)buf + at, MESSAGE - at, 0);

		if (n <= 0 && !(n < 0 && errno == EINTR))
			wrong("net: %s: %s", is_write ? "send" : "recv",
				n == 0 ? "the end" : strerror(errno));
		at += n > 0 ? (size_t)n : 0;
	}
}

static void toil_net(const char *address, const char *port)
{
	static uint64_t buffer[MESSAGE / 8];
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || fd < 0 ||
		connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		wrong("net: connect: %s", strerror(errno));
	for (uint64_t round = 1; !is_over; round++) {
		fill(buffer, MESSAGE, round << 32);
		move_all(fd, buffer, true);
		memset(buffer, 0, MESSAGE);
		move_all(fd, buffer, false);
		verify(buffer, MESSAGE, round << 32, "net");
		atomic_fetch_add(&shared->net, 1);
	}
	(void)close(fd);
}

/* --- all of them --- */

static void tell(unsigned cpus)
{
	char text[256];
	uint64_t least = UINT64_MAX;
	int n;

	for (unsigned i = 0; i < cpus; i++)
		least = atomic_load(&shared->cpu[i]) < least ? atomic_load(&shared->cpu[i]) : least;
	n = snprintf(text, sizeof(text), "TOIL cpu %llu disk %llu timer %llu net %llu\n",
		(unsigned long long)least, (unsigned long long)atomic_load(&shared->disk),
		(unsigned long long)atomic_load(&shared->timer),
		(unsigned long long)atomic_load(&shared->net));
	(void)!write(STDOUT_FILENO, text, (size_t)n);
}

/* The words of a worker, from 0 on: each CPU, disk, timer, net. */
static void work_as(unsigned number, unsigned cpus, char **argv)
{
	if (number < cpus)
		toil_cpu(number);
	else if (number == cpus)
		toil_disk(argv[0]);
	else if (number == cpus + 1)
		toil_timer();
	else
		toil_net(argv[1], argv[2]);
	_exit(0);
}

static int work(int argc, char **argv)
{
	unsigned cpus = argc > 0 ? (unsigned)strtoul(argv[0], NULL, 10) : 0;
	unsigned n = cpus + (argc == 4 ? 3 : 2);
	pid_t child[CPUS_MAX + 3];
	int status, rc = 0;

	if (cpus == 0 || cpus > CPUS_MAX || (argc != 2 && argc != 4))
		return 2;
	for (unsigned i = 0; i < n; i++) {
		child[i] = fork();
		if (child[i] == 0)
			work_as(i, cpus, argv + 1);
	}
	while (!is_over && !atomic_load(&shared->is_wrong)) {
		(void)poll(NULL, 0, TELL_MS);
		tell(cpus);
	}
	for (unsigned i = 0; i < n; i++)
		(void)kill(child[i], SIGTERM);
	for (unsigned i = 0; i < n; i++) {
		if (waitpid(child[i], &status, 0) != child[i] || status != 0)
			rc = 1;
	}
	(void)printf("TOIL %s\n", rc == 0 ? "OK" : "FAILED");
	return rc;
}

/* --- memory whose pages are written in an order: one of another time is seen --- */

static int tear(size_t mib)
{
	size_t pages = (mib << 20) / PAGE;
	volatile uint64_t *at =
		mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		wrong("tear: no memory");
	for (uint64_t round = 1; !is_over; round++) {
		for (size_t i = 0; i < pages; i++) {
			volatile uint64_t *page = at + i * (PAGE / 8);

			if (page[0] != round - 1 || page[PAGE / 8 - 1] != round - 1)
				wrong("tear: page %zu is of round %llu and %llu, in round %llu", i,
					(unsigned long long)page[0],
					(unsigned long long)page[PAGE / 8 - 1],
					(unsigned long long)round);
			page[0] = page[PAGE / 8 - 1] = round;
		}
		(void)printf("TEAR %llu\n", (unsigned long long)round);
	}
	(void)printf("TOIL OK\n");
	return 0;
}

/* --- what time it is, and what nobody else has --- */

static int say_clocks(void)
{
	int fd = open("/dev/ptp0", O_RDONLY);

	(void)printf("CLOCKS %llu %llu", (unsigned long long)clock_ns(CLOCK_REALTIME),
		(unsigned long long)clock_ns(CLOCK_MONOTONIC));
	/* FD_TO_CLOCKID, which no header has for programs. */
	if (fd >= 0)
		(void)printf(
			" %llu", (unsigned long long)clock_ns((clockid_t)(~(unsigned)fd << 3 | 3)));
	(void)printf("\n");
	return 0;
}

static int say_random(void)
{
	uint8_t bytes[32];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		wrong("getrandom: %s", strerror(errno));
	(void)printf("RANDOM ");
	for (unsigned i = 0; i < sizeof(bytes); i++)
		(void)printf("%02x", bytes[i]);
	(void)printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	struct sigaction term = { .sa_handler = on_term };

	(void)sigaction(SIGTERM, &term, NULL);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	if (strcmp(verb, "work") == 0)
		return work(argc - 2, argv + 2);
	if (strcmp(verb, "tear") == 0 && argc == 3)
		return tear(strtoul(argv[2], NULL, 10));
	if (strcmp(verb, "clocks") == 0)
		return say_clocks();
	if (strcmp(verb, "random") == 0)
		return say_random();
	(void)fprintf(stderr, "toil: see the top of toil.c\n");
	return 2;
}
