/* State of vCPUs, chips and clock, on a KVM that is not there: what is asked in which order, and
 * what comes back. */
#include "t.h"

#include <sys/ioctl.h>
#include <time.h>

#include "base/err.h"
#include "core/kvm.h"
#include "t_kvm.h"
#include "x86/cpu_state.h"

enum { TSC = 0x10, SYSENTER_CS = 0x174, DEADLINE = 0x6e0 };

static struct kvm kvm;
static struct msr_list list;
static struct cpu_state state, second;

static void setup(void)
{
	t_kvm_init();
	t_kvm.msrs_are_kept = true;
	t_int(kvm_open(&kvm, T_KVM_PATH, NULL), 0);
	t_int(kvm_create_vm(&kvm, 0, NULL), 0);
	memset(&state, 0, sizeof(state));
	memset(&second, 0, sizeof(second));
}

TestSuite(cpu_state, .timeout = T_SECONDS, .init = setup);

static void fill(void *at, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)at)[i] = (uint8_t)(seed + i * 7);
}

/* The last vCPU that was made. */
static struct t_vcpu *fake(void)
{
	return &t_kvm.vcpu[t_kvm.nvcpus - 1];
}

static struct t_vcpu *filled(int *ret_fd)
{
	struct t_vcpu *v;

	*ret_fd = t_kvm_vcpu();
	v = fake();
	fill(&v->regs, sizeof(v->regs), 1);
	fill(&v->sregs, sizeof(v->sregs), 2);
	fill(&v->xcrs, sizeof(v->xcrs), 3);
	fill(&v->debugregs, sizeof(v->debugregs), 4);
	fill(&v->lapic, sizeof(v->lapic), 5);
	fill(&v->events, sizeof(v->events), 6);
	fill(&v->mp_state, sizeof(v->mp_state), 7);
	fill(v->xsave, sizeof(v->xsave), 8);
	v->nkept = 3;
	v->kept[0] = (struct kvm_msr_entry){ .index = TSC, .data = 1000 };
	v->kept[1] = (struct kvm_msr_entry){ .index = SYSENTER_CS, .data = 0x10 };
	v->kept[2] = (struct kvm_msr_entry){ .index = DEADLINE, .data = 5000 };
	return v;
}

static void save(int fd)
{
	struct err e = { 0 };

	t_int(msr_list_get(kvm.dev_fd, &list, NULL), 0);
	cr_assert(eq(int, cpu_state_save(&kvm, fd, &list, &state, &e), 0), "%s", e.text);
}

static void load(int fd, uint64_t tsc_ns)
{
	struct err e = { 0 };

	cr_assert(eq(int, cpu_state_load(&kvm, fd, &state, tsc_ns, &e), 0), "%s", e.text);
}

static const struct kvm_msr_entry *msr_of(const struct cpu_state *s, uint32_t index)
{
	for (unsigned i = 0; i < s->nmsrs; i++) {
		if (s->msr[i].index == index)
			return &s->msr[i];
	}
	return NULL;
}

static uint64_t kept_msr(const struct t_vcpu *v, uint32_t index)
{
	for (unsigned i = 0; i < v->nkept; i++) {
		if (v->kept[i].index == index)
			return v->kept[i].data;
	}
	return UINT64_MAX;
}

/* --- there and back --- */

static void there_and_back(void)
{
	int from, to;
	struct t_vcpu *v = filled(&from), *w;

	save(from);
	t_uint(state.xsave_len, t_kvm.xsave_size);
	to = t_kvm_vcpu();
	w = fake();
	load(to, 0);
	t_int(memcmp(&v->regs, &w->regs, sizeof(v->regs)), 0);
	t_int(memcmp(&v->sregs, &w->sregs, sizeof(v->sregs)), 0);
	t_int(memcmp(&v->xcrs, &w->xcrs, sizeof(v->xcrs)), 0);
	t_int(memcmp(&v->debugregs, &w->debugregs, sizeof(v->debugregs)), 0);
	t_int(memcmp(&v->lapic, &w->lapic, sizeof(v->lapic)), 0);
	t_int(memcmp(&v->events, &w->events, sizeof(v->events)), 0);
	t_int(memcmp(&v->mp_state, &w->mp_state, sizeof(v->mp_state)), 0);
	t_int(memcmp(v->xsave, w->xsave, (size_t)t_kvm.xsave_size), 0);
	t_uint(kept_msr(w, TSC), 1000);
	t_uint(kept_msr(w, SYSENTER_CS), 0x10);
	t_uint(kept_msr(w, DEADLINE), 5000);
}

Test(cpu_state, all_of_a_vcpu_goes_there_and_back)
{
	there_and_back();
	t_uint(t_kvm_calls(KVM_GET_XSAVE2), 0);
}

Test(cpu_state, so_does_a_larger_vector_state)
{
	t_kvm.xsave_size = 11008;
	there_and_back();
	t_uint(t_kvm_calls(KVM_GET_XSAVE2), 1);
	t_uint(t_kvm_calls(KVM_GET_XSAVE), 0);
}

Test(cpu_state, a_vector_state_that_is_too_large_is_an_error)
{
	struct err e = { 0 };
	int fd;

	t_kvm.xsave_size = CPU_XSAVE_MAX + 64;
	(void)filled(&fd);
	t_int(msr_list_get(kvm.dev_fd, &list, NULL), 0);
	t_int(cpu_state_save(&kvm, fd, &list, &state, &e), -EOVERFLOW);
	t_has(e.text, "vector state");
}

Test(cpu_state, the_address_of_a_page_fault_that_waits_is_saved)
{
	int fd;
	struct t_vcpu *v = filled(&fd);

	v->sregs.cr2 = 0x1111;
	v->fault_address = 0x7f0000001000;
	save(fd);
	t_hex(state.sregs.cr2, 0x7f0000001000);
}

Test(cpu_state, what_depends_on_something_is_loaded_after_it)
{
	static const unsigned long order[] = { KVM_SET_SREGS, KVM_SET_REGS, KVM_SET_XCRS,
		KVM_SET_XSAVE, KVM_SET_DEBUGREGS, KVM_SET_LAPIC, KVM_SET_MSRS, KVM_SET_MP_STATE,
		KVM_SET_VCPU_EVENTS };
	int from, to;

	(void)filled(&from);
	save(from);
	t_true(t_kvm_position(KVM_GET_MP_STATE) < t_kvm_position(KVM_GET_REGS));
	t_true(t_kvm_position(KVM_GET_MP_STATE) < t_kvm_position(KVM_GET_LAPIC));
	t_true(t_kvm_last_position(KVM_GET_VCPU_EVENTS) > t_kvm_position(KVM_GET_MSRS));
	to = t_kvm_vcpu();
	load(to, 0);
	for (unsigned i = 1; i < ARRAY_SIZE(order); i++)
		cr_expect(lt(int, t_kvm_position(order[i - 1]), t_kvm_position(order[i])),
			"step %u", i);
	t_uint(fake()->nmsrs, state.nmsrs);
	t_hex(fake()->msr[fake()->nmsrs - 1].index, DEADLINE);
}

/* --- MSRs --- */

Test(cpu_state, counters_are_not_saved_and_what_kvm_does_not_list_is)
{
	static const uint32_t listed[] = { 0xc1, TSC, 0x186, 0x38f, 0x480, 0xc0010200, 0x1db, 0x277,
		0x200 };

	t_kvm.nlisted = ARRAY_SIZE(listed);
	memcpy(t_kvm.listed, listed, sizeof(listed));
	t_int(msr_list_get(kvm.dev_fd, &list, NULL), 0);
	t_hex(list.index[0], TSC);
	t_hex(list.index[1], 0x277);
	t_hex(list.index[2], 0x200); /* the first of the MTRRs, and only once */
	t_true(list.n <= CPU_MSRS_MAX);
	for (unsigned i = 0; i < list.n; i++) {
		for (unsigned k = 0; k < i; k++)
			t_true(list.index[i] != list.index[k]);
	}
}

Test(cpu_state, more_msrs_than_there_is_room_for_are_an_error)
{
	struct err e = { 0 };

	t_kvm.nlisted = T_KVM_MSRS;
	t_int(msr_list_get(kvm.dev_fd, &list, &e), -E2BIG);
	t_has(e.text, "KVM_GET_MSR_INDEX_LIST");
}

Test(cpu_state, as_many_msrs_as_there_can_be_go_there_and_back)
{
	int from, to;

	t_kvm.nlisted = 356;
	for (unsigned i = 0; i < t_kvm.nlisted; i++)
		t_kvm.listed[i] = 0x1000 + i;
	t_kvm.msr_value = 77;
	from = t_kvm_vcpu();
	save(from);
	t_uint(state.nmsrs, CPU_MSRS_MAX);
	t_uint(t_kvm_calls(KVM_GET_MSRS), 3);
	to = t_kvm_vcpu();
	load(to, 0);
	t_uint(t_kvm_calls(KVM_SET_MSRS), 3);
	t_uint(fake()->nkept, CPU_MSRS_MAX);
	t_uint(kept_msr(fake(), 0x1000 + 355), 77);
}

Test(cpu_state, an_msr_that_cannot_be_read_is_left_out_wherever_it_is)
{
	static const uint32_t odd[] = { TSC, SYSENTER_CS, DEADLINE };

	for (unsigned i = 0; i < 8; i++) {
		int fd;

		setup();
		(void)filled(&fd);
		for (unsigned k = 0; k < 3; k++)
			t_kvm.odd_msr[k] = i >> k & 1 ? odd[k] : 0;
		save(fd);
		t_uint(state.nmsrs, 3 - (unsigned)__builtin_popcount(i));
		for (unsigned k = 0; k < 3; k++)
			t_int(msr_of(&state, odd[k]) != NULL, !(i >> k & 1));
	}
}

Test(cpu_state, unlisted_msrs_are_saved_when_they_are_not_zero)
{
	struct t_vcpu *v;
	int fd;

	v = filled(&fd);
	v->kept[v->nkept++] = (struct kvm_msr_entry){ .index = 0x2ff, .data = 0xc06 };
	v->kept[v->nkept++] = (struct kvm_msr_entry){ .index = 0x400, .data = UINT64_MAX };
	save(fd);
	t_uint(state.nmsrs, 5);
	t_hex(msr_of(&state, 0x2ff)->data, 0xc06);
	t_hex(msr_of(&state, 0x400)->data, UINT64_MAX);
}

Test(cpu_state, a_refused_msr_is_an_error_that_names_it_unless_it_is_zero)
{
	static const uint64_t values[] = { 0, 0x1234 };

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned at = 0; at < 4; at++) {
			struct err e = { 0 };
			int to, rc;

			setup();
			state.nmsrs = 4;
			for (unsigned k = 0; k < 4; k++)
				state.msr[k] = (struct kvm_msr_entry){ .index = 0x700 + k,
					.data = k == at ? values[i] : 9 };
			t_kvm.odd_msr[0] = 0x700 + at;
			to = t_kvm_vcpu();
			rc = cpu_state_load(&kvm, to, &state, 0, &e);
			t_int(rc, i == 0 ? 0 : -EOPNOTSUPP);
			if (rc < 0)
				t_has(e.text, "0x70");
			else
				t_uint(fake()->nkept, 3);
		}
	}
}

Test(cpu_state, an_msr_that_the_host_does_not_have_is_named_unless_it_is_zero)
{
	struct err e = { 0 };

	t_int(msr_list_get(kvm.dev_fd, &list, NULL), 0);
	state.nmsrs = 2;
	state.msr[0] = (struct kvm_msr_entry){ .index = TSC, .data = 1 };
	state.msr[1] = (struct kvm_msr_entry){ .index = 0xda0 };
	t_int(msr_check_known(&list, &state, NULL), 0);
	state.msr[1].data = 1;
	t_int(msr_check_known(&list, &state, &e), -EOPNOTSUPP);
	t_has(e.text, "0xda0");
}

/* --- time --- */

Test(cpu_state, the_tsc_goes_on_by_the_guests_frequency)
{
	static const struct {
		const char *name;
		uint64_t ns, ticks;
	} rows[] = {
		{ "nothing", 0, 0 },
		{ "a millisecond", 1000000, 2500000 },
		{ "a year", 365ULL * 86400 * 1000000000, 365ULL * 86400 * 2500000000 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		int from, to;

		setup();
		(void)filled(&from);
		save(from);
		t_uint(state.tsc_khz, 2500000);
		to = t_kvm_vcpu();
		load(to, rows[i].ns);
		t_row_int(rows[i].name, kept_msr(fake(), TSC), 1000 + rows[i].ticks);
		t_row_int(rows[i].name, kept_msr(fake(), DEADLINE), 5000);
	}
}

Test(cpu_state, another_tsc_frequency_is_scaled_or_borne_or_refused)
{
	static const struct {
		const char *name;
		uint32_t saved;
		int host;
		bool scales;
		int rc;
		unsigned long set;
	} rows[] = {
		{ "the same", 2500000, 2500000, true, 0, 0 },
		{ "scaled", 2500000, 3000000, true, 0, 2500000 },
		{ "scaled a little", 2500000, 2500001, true, 0, 2500000 },
		{ "near", 2500000, 2500624, false, 0, 0 },
		{ "near from below", 2500000, 2499376, false, 0, 0 },
		{ "not near", 2500000, 2500626, false, -EOPNOTSUPP, 0 },
		{ "not near from below", 2500000, 2499374, false, -EOPNOTSUPP, 0 },
		{ "saved unknown", 0, 2500000, false, 0, 0 },
		{ "host's unknown", 2500000, -1, false, 0, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err e = { 0 };
		int fd;

		setup();
		t_kvm.tsc_khz = rows[i].host;
		t_kvm.has_tsc_control = rows[i].scales;
		state.tsc_khz = rows[i].saved;
		fd = t_kvm_vcpu();
		t_row_int(rows[i].name, cpu_state_load(&kvm, fd, &state, 0, &e), rows[i].rc);
		t_row_int(rows[i].name, fake()->tsc_khz, rows[i].set);
		if (rows[i].rc < 0)
			t_row_has(rows[i].name, e.text, "2500000 kHz");
	}
}

Test(cpu_state, an_unknown_frequency_is_saved_as_that)
{
	int fd;

	t_kvm.tsc_khz = -1;
	(void)filled(&fd);
	save(fd);
	t_uint(state.tsc_khz, 0);
}

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

Test(cpu_state, the_clock_is_saved_with_the_time_of_day_and_goes_on_by_what_is_asked)
{
	uint64_t before = realtime_ns();
	struct clock_state c = { 0 };

	t_kvm.clock.clock = 777;
	t_int(clock_state_save(&kvm, &c, NULL), 0);
	t_uint(c.kvmclock_ns, 777);
	t_true(c.realtime_ns >= before && c.realtime_ns <= realtime_ns());
	memset(&t_kvm.clock, 0xee, sizeof(t_kvm.clock));
	t_int(clock_state_load(&kvm, &c, 1000, NULL), 0);
	t_uint(t_kvm.clock.clock, 1777);
	t_uint(t_kvm.clock.flags, 0);
}

/* --- chips --- */

Test(cpu_state, chips_and_timer_go_there_and_back)
{
	struct chip_state chips = { 0 };
	struct kvm_irqchip was[3];
	struct kvm_pit_state2 pit;

	for (unsigned i = 0; i < 3; i++) {
		fill(&t_kvm.irqchip[i], sizeof(t_kvm.irqchip[i]), (uint8_t)(20 + i));
		t_kvm.irqchip[i].chip_id = i;
		was[i] = t_kvm.irqchip[i];
	}
	fill(&t_kvm.pit_state, sizeof(t_kvm.pit_state), 30);
	pit = t_kvm.pit_state;
	t_int(chip_state_save(&kvm, &chips, NULL), 0);
	memset(t_kvm.irqchip, 0, sizeof(t_kvm.irqchip));
	memset(&t_kvm.pit_state, 0, sizeof(t_kvm.pit_state));
	t_int(chip_state_load(&kvm, &chips, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		t_int(memcmp(&t_kvm.irqchip[i].chip, &was[i].chip, sizeof(was[i].chip)), 0);
	t_int(memcmp(&t_kvm.pit_state, &pit, sizeof(pit)), 0);
}

/* --- failures --- */

static int save_all(int fd, struct err *e)
{
	struct chip_state chips = { 0 };
	struct clock_state clock;
	int rc = msr_list_get(kvm.dev_fd, &list, e);

	if (rc == 0)
		rc = cpu_state_save(&kvm, fd, &list, &state, e);
	if (rc == 0)
		rc = clock_state_save(&kvm, &clock, e);
	return rc == 0 ? chip_state_save(&kvm, &chips, e) : rc;
}

static int load_all(int fd, struct err *e)
{
	struct chip_state chips = { .irqchip = { { 0 }, { .chip_id = 1 }, { .chip_id = 2 } } };
	struct clock_state clock = { 0 };
	int rc = clock_state_load(&kvm, &clock, 0, e);

	state.nmsrs = 1;
	if (rc == 0)
		rc = chip_state_load(&kvm, &chips, e);
	return rc == 0 ? cpu_state_load(&kvm, fd, &state, 0, e) : rc;
}

static void fail_each(int (*run)(int fd, struct err *e), unsigned at_least)
{
	unsigned step = 0;
	int rc = -1;

	while (rc < 0 && step < 100) {
		struct err e = { 0 };
		int fd;

		setup();
		fd = t_kvm_vcpu();
		t_kvm.fail_errno = EIO;
		t_kvm.fail_step = ++step;
		t_kvm_count(true);
		rc = run(fd, &e);
		t_kvm_count(false);
		cr_expect(eq(int, e.code, rc), "step %u", step);
		if (rc < 0) {
			cr_expect(eq(int, rc, -EIO), "step %u", step);
			t_has(e.text, "KVM_");
		}
	}
	t_int(rc, 0);
	t_true(step > at_least);
}

Test(cpu_state, every_call_of_a_save_that_fails_is_an_error_with_its_name)
{
	fail_each(save_all, 14);
}

Test(cpu_state, every_call_of_a_load_that_fails_is_an_error_with_its_name)
{
	fail_each(load_all, 14);
}
