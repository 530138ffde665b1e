/*
 * Sends data through a network or to a disk, checks every byte that arrives, and measures how
 * steadily it flows.  The same program runs in the tests' Linux guests and on their host.
 *
 *     traffic tcp-send ADDRESS PORT BYTES [MS]       connects; with MS it ends after that time
 *     traffic tcp-recv PORT BYTES                    accepts one connection; BYTES 0: to its end
 *     traffic udp-send ADDRESS PORT SIZE COUNT RATE  COUNT datagrams of SIZE bytes, RATE a second
 *     traffic udp-recv PORT SIZE COUNT MS            until COUNT came, or MS long none
 *     traffic udp-answer PORT                        gives back the first byte of each; never ends
 *     traffic read|write FILE BLOCK MS               O_DIRECT, from the start to the end and again
 *     traffic fill|check FILE BLOCK BYTES SEED       writes or verifies what only SEED determines
 *
 * What is said, a line each: "RESULT name value...".  "windows" is the bytes of each tenth of a
 * second since the first; "gap_us" the longest time without any, but for the first second.  Exit
 * status 0 when all that was to come came and was right.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW_MS = 100, WINDOWS_MAX = 600, CHUNK = 1 << 16, DATAGRAM_MAX = 65000 };

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

__attribute__((noreturn)) static void die(const char *what)
{
	(void)fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- the data: a word for each place, so that a byte that is lost, doubled or moved is seen --- */

static uint64_t word_at(uint64_t seed, uint64_t index)
{
	uint64_t x = seed + index * 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	return x ^ x >> 27;
}

/* len is a multiple of 8, as is from. */
static void make_data(uint64_t *buf, size_t len, uint64_t seed, uint64_t from)
{
	for (size_t i = 0; i < len / 8; i++)
		buf[i] = word_at(seed, from / 8 + i);
}

static bool is_right(const uint64_t *buf, size_t len, uint64_t seed, uint64_t from)
{
	for (size_t i = 0; i < len / 8; i++) {
		if (buf[i] != word_at(seed, from / 8 + i)) {
			(void)fprintf(stderr, "traffic: wrong data at byte %llu\n",
				(unsigned long long)(from + i * 8));
			return false;
		}
	}
	return true;
}

/* --- the meter --- */

struct meter {
	uint64_t first_ns, last_ns, gap_ns, bytes;
	uint64_t windows[WINDOWS_MAX];
	unsigned n;
};

static void meter_add(struct meter *m, uint64_t bytes)
{
	uint64_t now = now_ns(), index;

	if (m->first_ns == 0)
		m->first_ns = m->last_ns = now;
	index = (now - m->first_ns) / (WINDOW_MS * 1000000ULL);
	if (index < WINDOWS_MAX) {
		m->windows[index] += bytes;
		m->n = (unsigned)index + 1;
	}
	if (now - m->first_ns > 1000000000 && now - m->last_ns > m->gap_ns)
		m->gap_ns = now - m->last_ns;
	m->last_ns = now;
	m->bytes += bytes;
}

static void meter_say(const struct meter *m)
{
	uint64_t ns = m->last_ns - m->first_ns;

	printf("RESULT bytes %llu\nRESULT ms %llu\nRESULT gap_us %llu\n",
		(unsigned long long)m->bytes, (unsigned long long)(ns / 1000000),
		(unsigned long long)(m->gap_ns / 1000));
	printf("RESULT windows");
	for (unsigned i = 0; i < m->n; i++)
		printf(" %llu", (unsigned long long)m->windows[i]);
	printf("\n");
}

/* --- sockets --- */

/* An IPv4 or IPv6 address, without a scope. */
static socklen_t parse_address(const char *text, const char *port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	uint16_t number = htons((uint16_t)strtoul(port, NULL, 10));

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = number;
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = number;
		return sizeof(*in6);
	}
	errno = EINVAL;
	die(text);
}

/* Bound to the port, for both versions. */
static int bind_port(int type, const char *port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	int fd = socket(AF_INET6, type, 0), on = 1, off = 0, room = 4 << 20;

	any.sin6_port = htons((uint16_t)strtoul(port, NULL, 10));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (type == SOCK_DGRAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		die("bind");
	return fd;
}

/* The other end may not listen yet. */
static int connect_to(const char *address, const char *port)
{
	struct sockaddr_storage to;
	socklen_t len = parse_address(address, port, &to);

	for (int tries = 0; tries < 300; tries++) {
		int fd = socket(to.ss_family, SOCK_STREAM, 0);

		if (fd < 0)
			die("socket");
		if (connect(fd, (struct sockaddr *)&to, len) == 0)
			return fd;
		(void)close(fd);
		(void)usleep(100000);
	}
	die("connect");
}

static bool send_all(int fd, const void *buf, size_t len)
{
	const char *at = buf;

	while (len > 0) {
		ssize_t n = send(fd, at, len, 0);

		if (n < 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* The receiver's last word is whether it got what it wanted. */
static int tcp_send(const char *address, const char *port, uint64_t bytes, uint64_t ms)
{
	static uint64_t buf[CHUNK / 8];
	static struct meter m;
	int fd = connect_to(address, port);
	uint64_t end = ms > 0 ? now_ns() + ms * 1000000 : UINT64_MAX;
	char verdict = 0;

	for (uint64_t at = 0; at < bytes && now_ns() < end; at += CHUNK) {
		size_t len = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;

		make_data(buf, CHUNK, 1, at);
		if (!send_all(fd, buf, len))
			die("send");
		meter_add(&m, len);
	}
	(void)shutdown(fd, SHUT_WR);
	if (recv(fd, &verdict, 1, 0) != 1 || verdict != 'k') {
		(void)fprintf(stderr, "traffic: the receiver is not content\n");
		return 1;
	}
	printf("RESULT sent %llu\n", (unsigned long long)m.bytes);
	return 0;
}

static int tcp_recv(const char *port, uint64_t bytes)
{
	static uint64_t buf[CHUNK / 8];
	static struct meter m;
	int listener = bind_port(SOCK_STREAM, port), fd;
	size_t held = 0; /* of a word that has not come whole */
	uint64_t at = 0;
	bool good = true;

	if (listen(listener, 1) < 0)
		die("listen");
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	while (good) {
		ssize_t n = recv(fd, (char *)buf + held, CHUNK - held, 0);
		size_t whole = 0;

		if (n < 0)
			die("recv");
		if (n == 0)
			break;
		meter_add(&m, (uint64_t)n);
		held += (size_t)n;
		whole = held & ~(size_t)7;
		good = is_right(buf, whole, 1, at);
		at += whole;
		held -= whole;
		memmove(buf, (char *)buf + whole, held);
	}
	if (bytes > 0 && m.bytes != bytes) {
		(void)fprintf(stderr, "traffic: %llu bytes came of %llu\n",
			(unsigned long long)m.bytes, (unsigned long long)bytes);
		good = false;
	}
	(void)send(fd, good ? "k" : "x", 1, 0);
	meter_say(&m);
	return good ? 0 : 1;
}

/* A datagram: its number, then data that belongs to it. */
static int udp_send(
	const char *address, const char *port, size_t size, uint64_t count, uint64_t rate)
{
	static uint64_t buf[DATAGRAM_MAX / 8 + 1];
	struct sockaddr_storage to;
	socklen_t len = parse_address(address, port, &to);
	int fd = socket(to.ss_family, SOCK_DGRAM, 0);
	uint64_t start = now_ns();

	if (size < 8 || size > DATAGRAM_MAX || rate == 0 || fd < 0)
		die("udp-send");
	for (uint64_t i = 0; i < count; i++) {
		uint64_t due = start + i * 1000000000 / rate;
		struct timespec ts = { (time_t)(due / 1000000000), (long)(due % 1000000000) };

		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		make_data(buf, (size + 7) & ~(size_t)7, i, 0);
		buf[0] = i;
		if (sendto(fd, buf, size, 0, (struct sockaddr *)&to, len) != (ssize_t)size)
			die("sendto");
	}
	printf("RESULT sent %llu\n", (unsigned long long)count);
	return 0;
}

static int udp_recv(const char *port, size_t size, uint64_t count, int idle_ms)
{
	static uint64_t buf[DATAGRAM_MAX / 8 + 2];
	static struct meter m;
	int fd = bind_port(SOCK_DGRAM, port), wait = 30000; /* for the first */
	uint8_t *seen = calloc(count, 1);
	uint64_t good = 0, wrong = 0, again = 0, late = 0, next = 0;

	if (!seen)
		die("memory");
	while (good < count) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = 0;
		uint64_t number = 0;

		if (poll(&p, 1, wait) <= 0)
			break;
		wait = idle_ms;
		n = recv(fd, buf, sizeof(buf), 0);
		number = buf[0];
		buf[0] = n == (ssize_t)size ? word_at(number, 0) : 0;
		if (n != (ssize_t)size || number >= count ||
			!is_right(buf, size & ~(size_t)7, number, 0)) {
			wrong++;
			continue;
		}
		meter_add(&m, size);
		again += seen[number];
		good += !seen[number];
		seen[number] = 1;
		late += number < next;
		next = number + 1;
	}
	printf("RESULT datagrams %llu\nRESULT wrong %llu\nRESULT twice %llu\nRESULT late %llu\n",
		(unsigned long long)good, (unsigned long long)wrong, (unsigned long long)again,
		(unsigned long long)late);
	meter_say(&m);
	free(seen);
	return good == count && wrong == 0 && again == 0 ? 0 : 1;
}

static int udp_answer(const char *port)
{
	int fd = bind_port(SOCK_DGRAM, port);

	for (;;) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		char byte;
		ssize_t n = recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &len);

		if (n < 0 && errno != EINTR)
			die("recvfrom");
		if (n == 1)
			(void)sendto(fd, &byte, 1, 0, (struct sockaddr *)&from, len);
	}
}

/* --- disks --- */

static uint64_t size_of(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);

	return size > 0 ? (uint64_t)size : 0;
}

static void *make_buffer(size_t block)
{
	void *buf = NULL;

	if (block == 0 || block % 512 != 0 || posix_memalign(&buf, 4096, block) != 0)
		die("block");
	return buf;
}

static int disk_flow(const char *path, bool is_write, size_t block, uint64_t ms)
{
	static struct meter m;
	void *buf = make_buffer(block);
	int fd = open(path, (is_write ? O_WRONLY : O_RDONLY) | O_DIRECT);
	uint64_t size = 0, at = 0, end = now_ns() + ms * 1000000;

	if (fd < 0)
		die(path);
	size = size_of(fd);
	memset(buf, 0x5a, block);
	while (now_ns() < end) {
		ssize_t n = is_write ? pwrite(fd, buf, block, (off_t)at)
				     : pread(fd, buf, block, (off_t)at);

		if (n != (ssize_t)block)
			die(is_write ? "write" : "read");
		meter_add(&m, block);
		at = at + 2 * block <= size ? at + block : 0;
	}
	meter_say(&m);
	free(buf);
	return 0;
}

static int disk_pattern(
	const char *path, bool is_write, size_t block, uint64_t bytes, uint64_t seed)
{
	uint64_t *buf = make_buffer(block);
	int fd = open(path, is_write ? O_WRONLY | O_CREAT : O_RDONLY, 0644);
	bool good = fd >= 0;

	if (!good)
		die(path);
	for (uint64_t at = 0; good && at < bytes; at += block) {
		if (is_write) {
			make_data(buf, block, seed, at);
			good = pwrite(fd, buf, block, (off_t)at) == (ssize_t)block;
		} else {
			good = pread(fd, buf, block, (off_t)at) == (ssize_t)block &&
			       is_right(buf, block, seed, at);
		}
	}
	if (good && is_write && fsync(fd) < 0)
		good = false;
	if (!good)
		(void)fprintf(stderr, "traffic: %s: %s\n", path, strerror(errno));
	free(buf);
	return good ? 0 : 1;
}

/* --- */

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	(void)signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (strcmp(verb, "tcp-send") == 0 && (argc == 5 || argc == 6))
		return tcp_send(argv[2], argv[3], number(argv[4]), argc == 6 ? number(argv[5]) : 0);
	if (strcmp(verb, "tcp-recv") == 0 && argc == 4)
		return tcp_recv(argv[2], number(argv[3]));
	if (strcmp(verb, "udp-send") == 0 && argc == 7)
		return udp_send(
			argv[2], argv[3], number(argv[4]), number(argv[5]), number(argv[6]));
	if (strcmp(verb, "udp-recv") == 0 && argc == 6)
		return udp_recv(argv[2], number(argv[3]), number(argv[4]), (int)number(argv[5]));
	if (strcmp(verb, "udp-answer") == 0 && argc == 3)
		return udp_answer(argv[2]);
	if ((strcmp(verb, "read") == 0 || strcmp(verb, "write") == 0) && argc == 5)
		return disk_flow(argv[2], verb[0] == 'w', number(argv[3]), number(argv[4]));
	if ((strcmp(verb, "fill") == 0 || strcmp(verb, "check") == 0) && argc == 6)
		return disk_pattern(
			argv[2], verb[0] == 'f', number(argv[3]), number(argv[4]), number(argv[5]));
	(void)fprintf(stderr, "traffic: see the top of traffic.c\n");
	return 2;
}
