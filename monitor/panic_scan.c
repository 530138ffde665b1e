/* Looking for the words of a panic (panic_scan.h). */
#include "panic_scan.h"

#include <string.h>

#include "base/check.h"

/* Linux: kernel/panic.c.  It says it a second time when it has done all it wanted to do. */
static const char words[] = "Kernel panic - not syncing";
static const char again[] = "end Kernel panic";

static void end_line(struct panic_scan *p)
{
	uint32_t untold = 0;

	/* A terminal's line ends with both. */
	while (p->len > 0 && p->line[p->len - 1] == '\r')
		p->len--;
	p->line[p->len] = '\0';
	p->len = 0;
	if (!strstr(p->line, words) || strstr(p->line, again))
		return;
	if (log_budget_take(&p->budget, log_now_ms(), &untold))
		p->found(p, p->line);
}

static void keep(struct panic_scan *p, const uint8_t *buf, size_t len)
{
	len = MIN(len, sizeof(p->line) - 1 - p->len);
	for (size_t i = 0; i < len; i++)
		p->line[p->len + i] = buf[i] ? (char)buf[i] : ' ';
	p->len += len;
}

void panic_scan_feed(struct panic_scan *p, const uint8_t *buf, size_t len)
{
	while (len > 0) {
		const uint8_t *nl = memchr(buf, '\n', len);
		size_t part = nl ? (size_t)(nl - buf) : len;

		keep(p, buf, part);
		if (!nl)
			return;
		end_line(p);
		buf += part + 1;
		len -= part + 1;
	}
}
