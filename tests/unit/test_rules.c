/* The words of the rules that a driver must keep. */
#include "t.h"

#include <ctype.h>

#include "virtio/rules.h"

TestSuite(rules, .timeout = T_SECONDS);

Test(rules, each_has_words_that_follow_the_driver_and_no_two_the_same)
{
	for (unsigned i = 0; i < RULE_COUNT; i++) {
		const char *text = virtio_rule_text((enum virtio_rule)i);

		cr_assert(ne(ptr, (void *)text, NULL), "rule %u", i);
		cr_expect(eq(int, islower((unsigned char)text[0]) != 0, 1), "'%s'", text);
		cr_expect(ne(chr, text[strlen(text) - 1], '.'), "'%s'", text);
		cr_expect(eq(ptr, strchr(text, '\n'), NULL), "'%s'", text);
		for (unsigned k = 0; k < i; k++)
			cr_expect(ne(int, strcmp(text, virtio_rule_text((enum virtio_rule)k)), 0),
				"'%s' twice", text);
	}
}

/* As in "2.7.5.3.1": numbers with dots between them, of a chapter that is about devices. */
static bool is_section(const char *text)
{
	return text[0] >= '2' && text[0] <= '6' && text[1] == '.' &&
	       strspn(text, "0123456789.") == strlen(text) && !strstr(text, "..") &&
	       isdigit((unsigned char)text[strlen(text) - 1]);
}

Test(rules, each_but_none_names_its_section)
{
	t_str(virtio_rule_section(RULE_NONE), "-");
	for (unsigned i = RULE_NONE + 1; i < RULE_COUNT; i++) {
		const char *section = virtio_rule_section((enum virtio_rule)i);

		cr_assert(ne(ptr, (void *)section, NULL), "rule %u", i);
		cr_expect(eq(int, is_section(section), 1), "rule %u: '%s'", i, section);
	}
}

/* One rule for two mistakes: the words must be true of both. */
Test(rules, a_receive_buffer_may_be_wrong_in_two_ways)
{
	t_has(virtio_rule_text(RULE_NET_BUFFER), "too small");
	t_has(virtio_rule_text(RULE_NET_BUFFER), "not to be written");
}

Test(rules, one_that_does_not_exist_is_our_own_bug, .signal = SIGABRT)
{
	(void)virtio_rule_text(RULE_COUNT);
}

Test(rules, its_section_neither, .signal = SIGABRT)
{
	(void)virtio_rule_section((enum virtio_rule) - 1);
}
