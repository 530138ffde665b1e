/*
 * What a load of saved files would give is what the guest's memory held: differences have exactly
 * what was written, and those that nobody could load are full ones.
 */
#include "t.h"

#include <stdio.h>

#include "snapshot/ram_load.h"
#include "t_kvm.h"
#include "t_saved.h"

TestSuite(save_pages, .timeout = 6 * T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

/* --- machines --- */

static void start_paused(struct t_saved *t, struct loop *l, bool tracked)
{
	t_saved_started(t, l, tracked);
	t_saved_pause(t);
}

/* --- differences of a machine whose writes are tracked --- */

Test(save_pages, a_difference_has_exactly_the_pages_that_were_written)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;
		struct snapshot *base, *s;

		start_paused(&t, l, true);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_saved_write(&t, 1000, 1);
		t_saved_write(&t, 1001, 2);
		t_saved_write(&t, 4095, 3);
		/* The monitor's own writes are not in KVM's log. */
		t_int(mem_write(&t.in->vm->mem, 2000 * MEM_PAGE_SIZE + 4094, "abcd", 4), 0);
		*((uint8_t *)t.in->vm->mem.map + 2500 * MEM_PAGE_SIZE) = 5;
		mem_mark_dirty(
			&t.in->vm->mem, (uint8_t *)t.in->vm->mem.map + 2500 * MEM_PAGE_SIZE, 1);
		t_saved_saved(&t, "b", SNAPSHOT_DIFF);
		t_str(t_saved_runs("b"), "1000+2 2000+2 2500+1 4095+1 ");
		t_uint(t.result.pages_written, 6);
		t_saved_expect(&t, "b");
		base = t_saved_state("a");
		s = t_saved_state("b");
		t_int(s->kind, SNAPSHOT_DIFF);
		t_int(memcmp(s->base_id, base->id, sizeof(base->id)), 0);
		snapshot_free(s);
		snapshot_free(base);
		/* The next one is a difference to that, zeroes included. */
		t_saved_write(&t, 1001, 0);
		t_saved_saved(&t, "c", SNAPSHOT_DIFF);
		t_str(t_saved_runs("c"), "1001+1 ");
		t_saved_expect(&t, "c");
		t_saved_saved(&t, "d", SNAPSHOT_DIFF);
		t_str(t_saved_runs("d"), "");
		t_saved_expect(&t, "d");
		/* A full one begins a new chain. */
		t_saved_write(&t, 7, 7);
		t_saved_saved(&t, "e", SNAPSHOT_FULL);
		t_saved_write(&t, 8, 8);
		t_saved_saved(&t, "f", SNAPSHOT_DIFF);
		t_str(t_saved_runs("f"), "8+1 ");
		t_saved_expect(&t, "f");
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

Test(save_pages, the_first_difference_is_a_full_one)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned tracked = 0; tracked < 2; tracked++) {
			struct t_saved t;

			start_paused(&t, l, tracked);
			t_saved_write(&t, 99, 9);
			t_saved_saved(&t, "a", SNAPSHOT_DIFF);
			t_int(t_saved_kind("a"), SNAPSHOT_FULL);
			t_saved_expect(&t, "a");
			t_saved_write(&t, 98, 9);
			t_saved_saved(&t, "b", SNAPSHOT_DIFF);
			t_int(t_saved_kind("b"), tracked ? SNAPSHOT_DIFF : SNAPSHOT_FULL);
			t_saved_expect(&t, "b");
			t_saved_end(&t);
		}
	}
}

/* --- differences of a machine that was loaded --- */

static void load(struct t_saved *t, struct loop *l, const char *name, bool tracked)
{
	const struct load_options o = { .track_dirty = tracked };

	t_saved_make(t, l);
	cr_assert(eq(int, t_saved_load(t, name, &o), 0), "%s", t->e.text);
}

Test(save_pages, a_loaded_machine_is_saved_as_a_difference_to_what_it_was_loaded_from)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start_paused(&t, l, false);
		t_saved_write(&t, 3000, 3);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_saved_end(&t);
		for (unsigned tracked = 0; tracked < 2; tracked++) {
			struct snapshot *base = t_saved_state("a"), *s;

			load(&t, l, "a", tracked);
			t_saved_resume(&t);
			t_saved_pause(&t);
			t_saved_write(&t, 100, 1);
			t_saved_write(&t, 3000, 0);
			t_saved_saved(&t, "b", SNAPSHOT_DIFF);
			s = t_saved_state("b");
			t_int(s->kind, SNAPSHOT_DIFF);
			t_int(memcmp(s->base_id, base->id, sizeof(base->id)), 0);
			/* Those two, and the one with the generation's id. */
			t_true(t.result.pages_written <= 3);
			t_saved_expect(&t, "b");
			snapshot_free(s);
			t_saved_write(&t, 101, 1);
			t_saved_saved(&t, "c", SNAPSHOT_DIFF);
			t_saved_expect(&t, "c");
			s = t_saved_state("c");
			/* Without a log each is one to what memory is mapped from. */
			t_int(memcmp(s->base_id, base->id, sizeof(base->id)) == 0, !tracked);
			snapshot_free(s);
			snapshot_free(base);
			t_saved_saved(&t, "d", SNAPSHOT_FULL);
			t_saved_expect(&t, "d");
			t_saved_end(&t);
			/* A load of a chain, and one more on top of it. */
			load(&t, l, "c", tracked);
			t_saved_write(&t, 102, 5);
			t_saved_saved(&t, "e", SNAPSHOT_DIFF);
			t_int(t_saved_kind("e"), SNAPSHOT_DIFF);
			t_saved_expect(&t, "e");
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

/* --- differences that nobody could load are full ones --- */

Test(save_pages, a_difference_onto_a_file_below_it_is_a_full_one)
{
	T_EACH_BACKEND(l)
	{
		static const struct {
			const char *name;
			enum snapshot_kind kind;
		} turns[] = { { "a", SNAPSHOT_FULL }, { "a", SNAPSHOT_FULL },
			{ "b", SNAPSHOT_DIFF }, { "a", SNAPSHOT_FULL }, { "b", SNAPSHOT_DIFF },
			{ "c", SNAPSHOT_DIFF }, { "b", SNAPSHOT_FULL }, { "a", SNAPSHOT_DIFF } };
		struct t_saved t;

		start_paused(&t, l, true);
		for (unsigned i = 0; i < ARRAY_SIZE(turns); i++) {
			t_saved_write(&t, 100 + i, 1 + (int)i);
			t_saved_saved(&t, turns[i].name, SNAPSHOT_DIFF);
			cr_assert(eq(int, (int)t_saved_kind(turns[i].name), (int)turns[i].kind),
				"%u", i);
			t_saved_expect(&t, turns[i].name);
		}
		t_saved_end(&t);
	}
}

Test(save_pages, a_difference_to_what_is_not_there_any_more_is_a_full_one)
{
	static const char *const gone[] = { "a", "a.memory" };

	T_EACH_BACKEND(l)
	{
		struct t_saved t, other;

		for (unsigned i = 0; i < ARRAY_SIZE(gone); i++) {
			start_paused(&t, l, true);
			t_saved_saved(&t, "a", SNAPSHOT_FULL);
			t_int(unlink(t_saved_path(gone[i])), 0);
			t_saved_write(&t, 55, 5);
			t_saved_saved(&t, "b", SNAPSHOT_DIFF);
			t_int(t_saved_kind("b"), SNAPSHOT_FULL);
			t_saved_expect(&t, "b");
			t_saved_end(&t);
		}
		/* Another machine was saved there meanwhile. */
		start_paused(&t, l, true);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_saved_make(&other, l);
		t_saved_put(&other, false);
		t_saved_start(&other);
		t_saved_pause(&other);
		t_saved_saved(&other, "a", SNAPSHOT_FULL);
		t_saved_end(&other);
		t_kvm.slot[0].flags = KVM_MEM_LOG_DIRTY_PAGES; /* the fake knows one VM */
		t_saved_write(&t, 55, 5);
		t_saved_saved(&t, "b", SNAPSHOT_DIFF);
		t_int(t_saved_kind("b"), SNAPSHOT_FULL);
		t_saved_expect(&t, "b");
		t_saved_end(&t);
	}
}

Test(save_pages, a_chain_never_gets_too_long_to_be_loaded)
{
	unsigned full = 0;
	struct loop *l = t_loop_new(0);
	struct t_saved t;

	start_paused(&t, l, true);
	for (unsigned i = 0; i < RAM_LAYERS_MAX + 3; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "s%u", i);
		t_saved_write(&t, 64 + i, 1);
		t_saved_saved(&t, name, SNAPSHOT_DIFF);
		full += t_saved_kind(name) == SNAPSHOT_FULL;
		if (i >= RAM_LAYERS_MAX - 2)
			t_saved_expect(&t, name);
	}
	t_uint(full, 2);
	t_saved_end(&t);
	t_loop_done(l);
}
