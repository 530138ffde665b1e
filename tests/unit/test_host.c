/* Whether a machine can go on on this host: its own is not asked, another is asked for all of it.
 */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "snapshot/host.h"
#include "t_kvm.h"
#include "t_saved.h"

TestSuite(host, .timeout = T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

static struct err e;

/* A snapshot of a machine on the fake. */
static struct snapshot *save_one(void)
{
	struct loop *l = t_loop_new(0);
	struct snapshot *s;
	struct t_saved t;

	t_saved_make(&t, l);
	t_saved_put(&t, false);
	t_saved_start(&t);
	t_saved_pause(&t);
	cr_assert(eq(int, t_saved_save(&t, "a", SNAPSHOT_FULL), 0), "%s", t.e.text);
	t_saved_end(&t);
	t_loop_done(l);
	s = t_saved_state("a");
	return s;
}

static struct kvm_cpuid_entry2 *leaf(struct snapshot *s, uint32_t number)
{
	for (unsigned i = 0; i < s->vm->cpuid.head.nent; i++) {
		if (s->vm->cpuid.entry[i].function == number)
			return &s->vm->cpuid.entry[i];
	}
	t_true(number == UINT32_MAX); /* there is no such leaf */
	return NULL;
}

Test(host, it_is_described_for_people_and_told_apart)
{
	struct snapshot_host a, b;

	memset(&a, 0xff, sizeof(a));
	host_describe(&a);
	host_describe(&b);
	t_int(memcmp(&a, &b, sizeof(a)), 0);
	t_uint(strlen(a.boot_id), 36);
	t_true(strlen(a.kernel) > 0 && strlen(a.cpu) > 0);
	t_true(a.cpu[0] != ' ' && !strchr(a.cpu, '\n'));
	t_true(a.cpu_words[0] != 0);
}

Test(host, that_it_was_saved_on_is_not_asked)
{
	struct snapshot *s = save_one();

	t_kvm.open_errno = EACCES;
	t_int(host_check(s, T_KVM_PATH, &e), 0);
	/* Unless its kernel was started again, or its CPU is another. */
	s->host.boot_id[3] ^= 1;
	t_int(host_check(s, T_KVM_PATH, &e), -EACCES);
	s->host.boot_id[3] ^= 1;
	s->host.cpu_words[2] ^= 1;
	t_int(host_check(s, T_KVM_PATH, &e), -EACCES);
	s->host.cpu_words[2] ^= 1;
	s->host.boot_id[0] = '\0';
	t_int(host_check(s, T_KVM_PATH, &e), -EACCES);
	snapshot_free(s);
}

Test(host, another_must_have_what_the_guest_knows)
{
	struct snapshot *s = save_one();
	unsigned fds = t_count_fds();

	s->host.boot_id[0] ^= 1;
	cr_assert(eq(int, host_check(s, T_KVM_PATH, &e), 0), "%s", e.text);
	leaf(s, 1)->ecx |= 1U << 25;
	t_int(host_check(s, T_KVM_PATH, &e), -EOPNOTSUPP);
	t_has(e.text, "aes");
	leaf(s, 1)->ecx &= ~(1U << 25);
	s->vm->cpu[0].nmsrs = 1;
	s->vm->cpu[0].msr[0] = (struct kvm_msr_entry){ .index = 0xc0000102, .data = 1 };
	t_int(host_check(s, T_KVM_PATH, &e), -EOPNOTSUPP);
	t_has(e.text, "c0000102");
	/* Zero it has as well. */
	s->vm->cpu[0].msr[0].data = 0;
	t_int(host_check(s, T_KVM_PATH, &e), 0);
	t_uint(t_count_fds(), fds);
	snapshot_free(s);
	T_NO_LEAKS();
}

Test(host, every_step_may_fail)
{
	struct snapshot *s = save_one();
	unsigned fds = t_count_fds(), failed = 0;

	s->host.boot_id[0] ^= 1;
	for (unsigned n = 1;; n++) {
		bool has_more;
		int rc;

		t_kvm.fail_step = n;
		t_kvm_count(true);
		e.text[0] = '\0';
		rc = host_check(s, T_KVM_PATH, &e);
		has_more = rc < 0 || t_kvm.steps >= n;
		t_kvm_count(false);
		t_uint(t_count_fds(), fds);
		failed += rc < 0;
		t_true(rc == 0 || e.text[0] != '\0');
		if (!has_more)
			break;
	}
	t_true(failed >= 5);
	snapshot_free(s);
	T_NO_LEAKS();
}
