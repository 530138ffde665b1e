/* The words and sections of the rules (rules.h). */
#include "virtio/rules.h"

#include "base/check.h"

static const struct {
	const char *text, *section;
} rules[RULE_COUNT] = {
	[RULE_NONE] = { "kept all rules", "-" },
	[RULE_QUEUE_SIZE] = { "chose a queue size that is no power of 2 or out of range", "2.7" },
	[RULE_QUEUE_ALIGN] = { "put a part of a queue at a wrong alignment", "2.7" },
	[RULE_QUEUE_MEMORY] = { "put a part of a queue where no memory is", "4.2.2.2" },
	[RULE_QUEUE_OVERLAP] = { "let the parts of a queue overlap", "2.7" },
	[RULE_AVAIL_JUMP] = { "made more chains available than the queue has entries", "2.7" },
	[RULE_TOO_MANY_CHAINS] = { "made a chain available while all entries are in use", "2.7" },
	[RULE_HEAD_RANGE] = { "began a chain past the descriptor table", "2.7.6" },
	[RULE_NEXT_RANGE] = { "continued a chain past the descriptor table", "2.7.5" },
	[RULE_CHAIN_LENGTH] = { "made a chain longer than the queue, or a loop", "2.7.5.3.1" },
	[RULE_CHAIN_BYTES] = { "made a chain of 4 GiB or more", "2.7.5.2" },
	[RULE_SEGMENT_EMPTY] = { "gave a segment of no length", "2.7.5" },
	[RULE_SEGMENT_MEMORY] = { "gave a segment that is not memory", "2.7.5" },
	[RULE_READ_AFTER_WRITE] = { "put a readable segment behind a writable one", "2.7.4.2" },
	[RULE_INDIRECT_NOT_AGREED] = { "used an indirect table without the feature", "2.7.5.3.1" },
	[RULE_INDIRECT_NEXT] = { "continued a chain behind an indirect table", "2.7.5.3.1" },
	[RULE_INDIRECT_NESTED] = { "put an indirect table into an indirect table", "2.7.5.3.1" },
	[RULE_INDIRECT_LENGTH] = { "gave an indirect table of a wrong length", "2.7.5.3" },
	[RULE_INDIRECT_MEMORY] = { "gave an indirect table that is not memory", "2.7.5.3" },
	[RULE_STATUS_ORDER] = { "was ready before features were agreed", "3.1.1" },
	[RULE_FEATURES_LATE] = { "changed features after they were agreed", "3.1.1" },
	[RULE_QUEUE_LATE] = { "changed a queue that is in use", "4.2.2.2" },
	[RULE_QUEUE_NONE] = { "used a queue that does not exist", "4.2.2.2" },
	[RULE_BLK_HEADER] = { "made a block request without a whole header", "5.2.6" },
	[RULE_BLK_STATUS] = { "made a block request without room for the status", "5.2.6" },
	[RULE_NET_BUFFER] = { "gave a receive buffer that is too small, or not to be written",
		"5.1.6.3.1" },
	[RULE_NET_CTRL] = { "made a control command without room for the answer", "5.1.6.5" },
};

const char *virtio_rule_text(enum virtio_rule rule)
{
	INVARIANT((unsigned)rule < ARRAY_SIZE(rules));
	return rules[rule].text;
}

const char *virtio_rule_section(enum virtio_rule rule)
{
	INVARIANT((unsigned)rule < ARRAY_SIZE(rules));
	return rules[rule].section;
}
