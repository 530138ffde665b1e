/* A network device without a guest and without a tap (t_net.h). */
#include "t_net.h"

#include <fcntl.h>
#include <sys/socket.h>

static void on_quiesced(struct virtio_device *dev)
{
	struct t_net *t = dev->transport;

	t->quiesced++;
}

static void do_nothing(struct loop_tail *tail)
{
	(void)tail;
}

void t_net_make(struct t_net *t, struct loop *l, const struct net_config *c)
{
	static const struct net_config plain = { .id = "net0" };
	struct tap tap = { .has_uso = true, .name = "wire" };
	int fd[2], much = 1 << 20;

	/* A socket does not know what an offload is, and the device says so. */
	t_quiet();
	*t = (struct t_net){ .loop = l, .nothing = { .run = do_nothing } };
	t_mem_init(&t->mem, 32 << 20);
	t_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	/* More than the longest frame, several times. */
	t_int(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &much, sizeof(much)), 0);
	t->wire = fd[0];
	tap.fd = fd[1];
	tap.tx_fd = fcntl(fd[1], F_DUPFD_CLOEXEC, 0);
	t_int(net_new_on(c ? c : &plain, &tap, &t->dev, NULL), 0);
	t->net = net_of(t->dev);
	t->dev->mem = &t->mem;
	t->dev->loop = l;
	t->dev->transport = t;
	t->dev->quiesced = on_quiesced;
	t->free = T_NET_BUFFERS;
}

void t_net_start(struct t_net *t, uint64_t features, uint16_t num)
{
	gpa_t at = 0x1000;

	t->dev->acked = t->dev->offered & features;
	for (unsigned q = 0; q < NET_QUEUES; q++) {
		at = t_virtq_init(&t->q[q], &t->mem, at, num);
		t_int(virtq_start(&t->dev->vq[q], &t->mem, &t->q[q].at, t->dev->acked), RULE_NONE);
	}
	t->dev->active = true;
	t->dev->is_quiesced = false;
	t->dev->ops->activate(t->dev);
	for (unsigned q = 0; q < NET_QUEUES; q++)
		t_net_kick(t, q);
}

void t_net_init(struct t_net *t, struct loop *l, uint64_t features)
{
	t_net_make(t, l, NULL);
	t_net_start(t, features, T_NET_QUEUE);
}

void t_net_fini(struct t_net *t)
{
	if (t->dev->active) {
		if (!t->dev->is_quiesced)
			t_net_quiesce(t);
		t_net_reset(t);
	}
	t->dev->ops->free(t->dev);
	(void)close(t->wire);
	guest_mem_fini(&t->mem);
}

void t_net_turn(struct t_net *t)
{
	/* With something deferred a round does not wait. */
	for (unsigned i = 0; i < 4; i++) {
		int rc;

		loop_defer(t->loop, &t->nothing);
		rc = loop_turn(t->loop);
		t_true(rc == 0 || rc == -EINTR);
	}
}

void t_net_kick(struct t_net *t, unsigned q)
{
	if (virtio_may_run(t->dev) && t->dev->vq[q].ready)
		t->dev->ops->kick(t->dev, q);
}

void t_net_quiesce(struct t_net *t)
{
	unsigned before = t->quiesced;

	t->dev->is_quiesced = true;
	t->dev->ops->quiesce(t->dev);
	T_NET_UNTIL(t, t->quiesced == before + 1);
	/* Once, and nothing happens afterwards. */
	t_net_turn(t);
	t_uint(t->quiesced, before + 1);
}

void t_net_resume(struct t_net *t)
{
	t->dev->is_quiesced = false;
	t->dev->ops->resume(t->dev);
}

void t_net_reset(struct t_net *t)
{
	t->dev->ops->reset(t->dev);
	t->dev->active = false;
	t->dev->is_quiesced = false;
	for (unsigned q = 0; q < NET_QUEUES; q++)
		virtq_stop(&t->dev->vq[q]);
	atomic_store(&t->dev->needs_reset, false);
}

void t_net_stop_queue(struct t_net *t, unsigned q)
{
	t_net_quiesce(t);
	virtq_stop(&t->dev->vq[q]);
	if (t->dev->ops->queue_stopped)
		t->dev->ops->queue_stopped(t->dev, q);
	t_net_resume(t);
}

bool t_net_needs_reset(const struct t_net *t)
{
	return atomic_load(&t->dev->needs_reset);
}

uint16_t t_net_status(struct t_net *t)
{
	uint16_t status;

	virtio_config_read(
		t->dev, offsetof(struct virtio_net_config, status), &status, sizeof(status));
	return status;
}

gpa_t t_net_alloc(struct t_net *t, uint64_t len)
{
	gpa_t at = t->free;

	t->free = align_up(at + len, 64);
	(void)t_net_at(t, at, len);
	return at;
}

uint8_t *t_net_at(struct t_net *t, gpa_t gpa, uint64_t len)
{
	uint8_t *p = mem_ptr(&t->mem, gpa, len);

	t_true(p != NULL);
	return p;
}

void t_net_give(struct t_net *t, uint16_t head, uint32_t len)
{
	struct t_seg seg = { t_net_alloc(t, len), len, true };

	t->buffer[head] = seg.gpa;
	t_virtq_send(&t->q[NET_QUEUE_RX], head, &seg, 1);
}

size_t t_net_frame(uint8_t *buf, size_t len, uint8_t seed)
{
	memset(buf, 0, NET_HEADER_LEN);
	for (size_t i = 0; i < len; i++)
		buf[NET_HEADER_LEN + i] = (uint8_t)(seed + i * 7 + i / 256);
	return NET_HEADER_LEN + len;
}

void t_net_arrive(struct t_net *t, size_t len, uint8_t seed)
{
	static uint8_t buf[NET_HEADER_LEN + 2 * T_NET_LONG];
	size_t all = t_net_frame(buf, len, seed);

	t_int(write(t->wire, buf, all), all);
}

void t_net_expect(struct t_net *t, size_t len, uint8_t seed, unsigned buffers)
{
	static uint8_t want[NET_HEADER_LEN + T_NET_LONG], got[NET_HEADER_LEN + T_NET_LONG];
	size_t all = t_net_frame(want, len, seed), at = 0;
	uint16_t n = (uint16_t)buffers;

	memcpy(want + offsetof(struct virtio_net_hdr_v1, num_buffers), &n, sizeof(n));
	T_NET_UNTIL(t, t_virtq_used_count(&t->q[NET_QUEUE_RX]) >= buffers);
	for (unsigned i = 0; i < buffers; i++) {
		uint32_t head, part;

		t_true(t_virtq_used(&t->q[NET_QUEUE_RX], &head, &part));
		t_true(part <= sizeof(got) - at);
		memcpy(got + at, t_net_at(t, t->buffer[head], part), part);
		at += part;
	}
	t_uint(at, all);
	t_int(memcmp(got, want, all), 0);
}

void t_net_offer(struct t_net *t, uint16_t head, gpa_t gpa, size_t len, uint8_t seed)
{
	struct t_seg seg = { gpa, (uint32_t)(NET_HEADER_LEN + len), false };

	(void)t_net_frame(t_net_at(t, gpa, seg.len), len, seed);
	t_virtq_send(&t->q[NET_QUEUE_TX], head, &seg, 1);
}

ssize_t t_net_leaves(struct t_net *t, uint8_t *buf, size_t len)
{
	return recv(t->wire, buf, len, MSG_DONTWAIT);
}

void t_net_expect_wire(struct t_net *t, size_t len, uint8_t seed)
{
	static uint8_t want[NET_HEADER_LEN + T_NET_LONG], got[NET_HEADER_LEN + T_NET_LONG + 1];
	size_t all = t_net_frame(want, len, seed);
	ssize_t n = -1;

	T_NET_UNTIL(t, (n = t_net_leaves(t, got, sizeof(got))) >= 0);
	t_uint(n, all);
	t_int(memcmp(got, want, all), 0);
}
