/* struct err: the story of one failure. */
#include "t.h"

#include "base/err.h"

TestSuite(err, .timeout = T_SECONDS);

Test(err, set_returns_the_code_and_keeps_the_words)
{
	struct err e = { 0 };

	t_int(err_set(&e, -EINVAL, "drive '%s' is %d", "a", 3), -EINVAL);
	t_int(e.code, -EINVAL);
	t_str(e.text, "drive 'a' is 3");
}

Test(err, set_without_a_place_still_returns_the_code)
{
	t_int(err_set(NULL, -EIO, "%s", "nobody reads this"), -EIO);
}

Test(err, sys_appends_the_words_of_the_system)
{
	struct err e = { 0 };

	t_int(err_sys(&e, -ENOENT, NULL, "cannot open '%s'", "/x"), -ENOENT);
	t_str(e.text, "cannot open '/x': No such file or directory");
}

Test(err, sys_puts_the_hint_in_brackets_at_the_end)
{
	struct err e = { 0 };

	(void)err_sys(&e, -ENOENT, "make it first", "cannot open '/x'");
	t_str(e.text, "cannot open '/x': No such file or directory (make it first)");
}

Test(err, sys_without_a_place_still_returns_the_code)
{
	t_int(err_sys(NULL, -EPERM, "hint", "%s", "nobody reads this"), -EPERM);
}

Test(err, prefix_stands_before_the_words)
{
	struct err e = { 0 };

	(void)err_set(&e, -EIO, "broken");
	err_prefix(&e, "drive %d", 7);
	t_str(e.text, "drive 7: broken");
	t_int(e.code, -EIO);
}

Test(err, prefix_accepts_no_place)
{
	err_prefix(NULL, "x");
	t_true(true);
}

Test(err, words_that_are_too_long_are_cut_and_stay_a_string)
{
	static char longer[2 * ERR_TEXT_MAX];
	struct err e;

	memset(longer, 'a', sizeof(longer) - 1);
	memset(&e, 'x', sizeof(e));
	(void)err_set(&e, -EIO, "%s", longer);
	t_uint(strlen(e.text), ERR_TEXT_MAX - 1);
	memset(&e, 'x', sizeof(e));
	(void)err_sys(&e, -EIO, longer, "%s", longer);
	t_uint(strlen(e.text), ERR_TEXT_MAX - 1);
}

Test(err, prefix_of_a_full_text_stays_a_string_that_begins_with_the_prefix)
{
	static char longer[2 * ERR_TEXT_MAX];
	struct err e = { 0 };

	memset(longer, 'a', sizeof(longer) - 1);
	(void)err_set(&e, -EIO, "%s", longer);
	err_prefix(&e, "%s", "first");
	t_int(strncmp(e.text, "first: aaaa", 11), 0);
	t_true(memchr(e.text, '\0', sizeof(e.text)));
	err_prefix(&e, "%s", longer);
	t_true(memchr(e.text, '\0', sizeof(e.text)));
}

Test(err, a_broken_invariant_aborts, .signal = SIGABRT)
{
	INVARIANT(1 + 1 == 3);
}

Test(err, an_invariant_that_holds_does_nothing)
{
	INVARIANT(1 + 1 == 2);
	t_true(true);
}
