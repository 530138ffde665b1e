/* MultiProcessor Specification tables (mptable.h).  Structure names follow chapter 4 of the
 * specification. */
#include "x86/mptable.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "x86/layout.h"

#define PACKED __attribute__((packed))

struct PACKED floating_pointer { /* 4.1 */
	char signature[4];
	uint32_t table;
	uint8_t length, revision, checksum, features[5];
};

struct PACKED table_header { /* 4.2 */
	char signature[4];
	uint16_t length;
	uint8_t revision, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_table_size, entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum, reserved;
};

struct PACKED processor { /* 4.3.1 */
	uint8_t type, lapic_id, lapic_version, flags;
	uint32_t signature, features, reserved[2];
};

struct PACKED bus { /* 4.3.2 */
	uint8_t type, id;
	char name[6];
};

struct PACKED ioapic { /* 4.3.3 */
	uint8_t type, id, version, flags;
	uint32_t address;
};

struct PACKED interrupt { /* 4.3.4 and 4.3.5 */
	uint8_t type, kind;
	uint16_t flags;
	uint8_t source_bus, source_irq, apic, pin;
};

enum {
	TYPE_PROCESSOR,
	TYPE_BUS,
	TYPE_IOAPIC,
	TYPE_IO_INTERRUPT,
	TYPE_LOCAL_INTERRUPT,
	KIND_INT = 0,
	KIND_NMI = 1,
	KIND_EXTINT = 3,
	CPU_ENABLED = 1,
	CPU_BOOT = 2,
	LAPIC_VERSION = 0x14,
	IOAPIC_VERSION = 0x11,
	ALL_LAPICS = 0xff,
};

struct writer {
	uint8_t buf[2048];
	size_t len;
	uint16_t entries;
};

static void append(struct writer *w, const void *entry, size_t len)
{
	/* 32 CPUs at 20 bytes, 24 pins at 8, a few more: far below the buffer. */
	INVARIANT(len <= sizeof(w->buf) - w->len);
	memcpy(w->buf + w->len, entry, len);
	w->len += len;
	w->entries++;
}

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len-- > 0)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void append_interrupts(struct writer *w, uint8_t ioapic_id)
{
	for (unsigned pin = 0; pin < LAYOUT_GSI_COUNT; pin++) {
		struct interrupt entry = { TYPE_IO_INTERRUPT, KIND_INT, 0, 0, (uint8_t)pin,
			ioapic_id, (uint8_t)pin };

		append(w, &entry, sizeof(entry));
	}
	append(w, &(struct interrupt){ TYPE_LOCAL_INTERRUPT, KIND_EXTINT, 0, 0, 0, 0, 0 },
		sizeof(struct interrupt));
	append(w, &(struct interrupt){ TYPE_LOCAL_INTERRUPT, KIND_NMI, 0, 0, 0, ALL_LAPICS, 1 },
		sizeof(struct interrupt));
}

void mptable_write(const struct guest_mem *m, unsigned cpus)
{
	const gpa_t table_at = LAYOUT_MPTABLE + sizeof(struct floating_pointer);
	struct floating_pointer pointer = {
		.table = (uint32_t)table_at, .length = 1, .revision = 4
	};
	struct table_header header = { .revision = 4, .lapic = (uint32_t)LAYOUT_LAPIC };
	struct bus isa = { .type = TYPE_BUS, .id = 0 };
	/* The I/O APIC's id follows those of the CPUs. */
	struct ioapic ioapic = { TYPE_IOAPIC, (uint8_t)cpus, IOAPIC_VERSION, 1,
		(uint32_t)LAYOUT_IOAPIC };
	struct writer w = { .len = sizeof(header) };

	for (unsigned i = 0; i < cpus; i++) {
		struct processor cpu = { .type = TYPE_PROCESSOR,
			.lapic_id = (uint8_t)i,
			.lapic_version = LAPIC_VERSION,
			.flags = (uint8_t)(CPU_ENABLED | (i == 0 ? CPU_BOOT : 0)),
			.signature = 0x600,
			.features = 0x201 /* FPU and APIC */ };

		append(&w, &cpu, sizeof(cpu));
	}
	memcpy(isa.name, "ISA   ", 6);
	append(&w, &isa, sizeof(isa));
	append(&w, &ioapic, sizeof(ioapic));
	append_interrupts(&w, ioapic.id);

	memcpy(header.signature, "PCMP", 4);
	memcpy(header.oem, "MVM     ", 8);
	memcpy(header.product, "MICROVM     ", 12);
	header.length = (uint16_t)w.len;
	header.entries = w.entries;
	memcpy(w.buf, &header, sizeof(header));
	w.buf[offsetof(struct table_header, checksum)] = checksum(w.buf, w.len);
	memcpy(pointer.signature, "_MP_", 4);
	pointer.checksum = checksum(&pointer, sizeof(pointer));
	INVARIANT(mem_write(m, table_at, w.buf, w.len) == 0);
	INVARIANT(mem_write(m, LAYOUT_MPTABLE, &pointer, sizeof(pointer)) == 0);
}
