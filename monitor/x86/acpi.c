/* ACPI tables (acpi.h).  Chapter and table numbers are of the ACPI specification 6.4. */
#include "x86/acpi.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "x86/aml.h"
#include "x86/layout.h"

#define PACKED __attribute__((packed))

struct PACKED rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
};

struct PACKED header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

struct PACKED xsdt {
	struct header h;
	uint64_t table[2];
};

struct PACKED gas { /* 5.2.3.2 Generic Address Structure */
	uint8_t space, bits, offset, access;
	uint64_t address;
};

struct PACKED fadt { /* 5.2.9 */
	struct header h;
	uint8_t not_for_reduced_hardware[73]; /* offsets 36 to 108: zero, or ignored */
	uint16_t boot_arch;
	uint8_t reserved;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct gas blocks[8];
	struct gas sleep_control, sleep_status;
	char hypervisor[8];
};

struct PACKED madt_lapic { /* 5.2.12.2 */
	uint8_t type, length, processor, apic_id;
	uint32_t flags;
};

struct PACKED madt_ioapic { /* 5.2.12.3 */
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
};

struct PACKED madt { /* 5.2.12 */
	struct header h;
	uint32_t lapic;
	uint32_t flags;
	struct madt_ioapic ioapic;
	struct madt_lapic cpu[LAYOUT_CPUS_MAX];
};

_Static_assert(offsetof(struct fadt, boot_arch) == 109, "FADT: IAPC_BOOT_ARCH");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "FADT: X_DSDT");
_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6");

/* Room for the DSDT: about 60 bytes a slot. */
enum { DSDT_MAX = 4096, ACPI_ALIGN = 64 };

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len-- > 0)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void seal(struct header *h, const char *signature, uint8_t revision, size_t length)
{
	memcpy(h->signature, signature, 4);
	h->length = (uint32_t)length;
	h->revision = revision;
	memcpy(h->oem_id, "MVM   ", 6);
	memcpy(h->oem_table_id, "MICROVM ", 8);
	h->oem_revision = 1;
	memcpy(h->creator_id, "MVM ", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

/* Appends a table behind the others and returns where it went. */
static gpa_t append(const struct guest_mem *m, gpa_t *next, const void *table, size_t len)
{
	gpa_t at = *next;

	/* All tables together have a size known beforehand and the room is 60 KiB. */
	INVARIANT(at + len <= LAYOUT_VMGENID && mem_write(m, at, table, len) == 0);
	*next = align_up(at + len, ACPI_ALIGN);
	return at;
}

static void aml_com1(struct aml *a)
{
	size_t dev = aml_begin_device(a, "COM1"), res;

	aml_name_eisaid(a, "_HID", "PNP0501");
	aml_name_integer(a, "_UID", 0);
	res = aml_begin_resources(a);
	aml_io(a, LAYOUT_COM1, LAYOUT_COM1_LEN);
	aml_interrupt(a, LAYOUT_GSI_COM1);
	aml_end_resources(a, res);
	aml_end(a, dev);
}

static void aml_i8042(struct aml *a)
{
	size_t dev = aml_begin_device(a, "PS2K"), res;

	aml_name_eisaid(a, "_HID", "PNP0303");
	res = aml_begin_resources(a);
	aml_io(a, LAYOUT_I8042_DATA, 1);
	aml_io(a, LAYOUT_I8042_COMMAND, 1);
	aml_interrupt(a, LAYOUT_GSI_I8042);
	aml_end_resources(a, res);
	aml_end(a, dev);
}

enum { NOTIFY_STATUS_CHANGE = 0x80 };

static void aml_power_button(struct aml *a)
{
	size_t dev = aml_begin_device(a, "PWRB");

	aml_name_eisaid(a, "_HID", "PNP0C0C");
	aml_end(a, dev);
}

/* The names are those that drivers look for: Linux's short one, and the one that Microsoft gave. */
static void aml_vmgenid(struct aml *a)
{
	size_t dev = aml_begin_device(a, "VGEN");

	aml_name_string(a, "_HID", "MVMG0001");
	aml_name_strings(a, "_CID", "VM_Gen_Counter", "VMGENCTR");
	aml_name_string(a, "_DDN", "VM_Gen_Counter");
	aml_name_integers(a, "ADDR", (uint32_t)LAYOUT_VMGENID, 0); /* low half, high half */
	aml_end(a, dev);
}

/* The device that announces what happens to the others, each by an interrupt of its own (5.6.9). */
static void aml_events(struct aml *a)
{
	static const struct {
		uint32_t gsi;
		const char *path;
	} sources[] = {
		{ LAYOUT_GSI_POWER_BUTTON, "\\_SB_.PWRB" },
		{ LAYOUT_GSI_VMGENID, "\\_SB_.VGEN" },
	};
	size_t dev = aml_begin_device(a, "GED_"), part;

	aml_name_string(a, "_HID", "ACPI0013");
	aml_name_integer(a, "_UID", 0);
	part = aml_begin_resources(a);
	for (unsigned i = 0; i < ARRAY_SIZE(sources); i++)
		aml_interrupt(a, sources[i].gsi);
	aml_end_resources(a, part);
	part = aml_begin_method(a, "_EVT", 1);
	for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
		size_t is = aml_begin_if_arg0(a, sources[i].gsi);

		aml_notify(a, sources[i].path, NOTIFY_STATUS_CHANGE);
		aml_end(a, is);
	}
	aml_end(a, part);
	aml_end(a, dev);
}

static void aml_virtio(struct aml *a, unsigned index, const struct acpi_slot *slot)
{
	char name[8];
	size_t dev, res;

	(void)snprintf(name, sizeof(name), "VR%02u", index % 100);
	dev = aml_begin_device(a, name);
	aml_name_string(a, "_HID", "LNRO0005");
	aml_name_integer(a, "_UID", index);
	aml_name_integer(a, "_CCA", 1);
	res = aml_begin_resources(a);
	aml_memory32(a, slot->base, slot->len);
	aml_interrupt(a, slot->gsi);
	aml_end_resources(a, res);
	aml_end(a, dev);
}

static gpa_t write_dsdt(const struct guest_mem *m, const struct acpi_config *c, gpa_t *next)
{
	static const uint8_t s5[4] = { 5, 0, 0,
		0 }; /* the sleep type that acpi_pm takes for power-off */
	union {
		struct header h;
		uint8_t bytes[DSDT_MAX];
	} dsdt = { 0 };
	struct aml a = {
		.buf = dsdt.bytes, .size = sizeof(dsdt.bytes), .len = sizeof(struct header)
	};
	size_t scope = aml_begin_scope(&a, "\\_SB_");

	aml_com1(&a);
	aml_i8042(&a);
	aml_power_button(&a);
	aml_vmgenid(&a);
	aml_events(&a);
	for (unsigned i = 0; i < c->nslots; i++)
		aml_virtio(&a, i, &c->slot[i]);
	aml_end(&a, scope);
	aml_name_package4(&a, "\\_S5_", s5);
	INVARIANT(aml_fits(&a));
	seal(&dsdt.h, "DSDT", 2, a.len);
	return append(m, next, &dsdt, a.len);
}

static struct gas port_register(uint16_t port)
{
	enum { SYSTEM_IO = 1, BYTE_ACCESS = 1 };

	return (struct gas){
		.space = SYSTEM_IO, .bits = 8, .access = BYTE_ACCESS, .address = port
	};
}

static gpa_t write_fadt(const struct guest_mem *m, gpa_t dsdt, gpa_t *next)
{
	enum {
		LEGACY_DEVICES = 1 << 0,
		HAS_8042 = 1 << 1,
		VGA_NOT_PRESENT = 1 << 2,
		NO_CMOS_RTC = 1 << 5, /* 5.2.9.3 */
		WBINVD = 1 << 0,
		PWR_BUTTON_IS_DEVICE = 1 << 4,
		SLP_BUTTON_IS_DEVICE = 1 << 5,
		RESET_REG = 1 << 10,
		HEADLESS = 1 << 12,
		HW_REDUCED = 1 << 20, /* table 5.10 */
	};
	struct fadt t = {
		.boot_arch = LEGACY_DEVICES | HAS_8042 | VGA_NOT_PRESENT | NO_CMOS_RTC,
		.flags = WBINVD | PWR_BUTTON_IS_DEVICE | SLP_BUTTON_IS_DEVICE | RESET_REG |
			 HEADLESS | HW_REDUCED,
		.reset_reg = port_register(LAYOUT_ACPI_PM + 2),
		.reset_value = 1,
		.minor = 4,
		.x_dsdt = dsdt,
		.sleep_control = port_register(LAYOUT_ACPI_PM),
		.sleep_status = port_register(LAYOUT_ACPI_PM + 1),
	};

	memcpy(t.hypervisor, "MVM", 3);
	seal(&t.h, "FACP", 6, sizeof(t));
	return append(m, next, &t, sizeof(t));
}

static gpa_t write_madt(const struct guest_mem *m, unsigned cpus, gpa_t *next)
{
	enum { PCAT_COMPAT = 1, ENABLED = 1, IOAPIC = 1 };
	struct madt t = {
		.lapic = (uint32_t)LAYOUT_LAPIC,
		.flags = PCAT_COMPAT,
		.ioapic = { .type = IOAPIC,
			.length = sizeof(struct madt_ioapic),
			.address = (uint32_t)LAYOUT_IOAPIC },
	};
	size_t len = offsetof(struct madt, cpu) + cpus * sizeof(t.cpu[0]);

	for (unsigned i = 0; i < cpus; i++)
		t.cpu[i] = (struct madt_lapic){ .length = sizeof(t.cpu[0]),
			.processor = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = ENABLED };
	seal(&t.h, "APIC", 5, len);
	return append(m, next, &t, len);
}

void acpi_write_tables(const struct guest_mem *m, const struct acpi_config *c)
{
	struct rsdp rsdp = { .revision = 2, .length = sizeof(rsdp) };
	struct xsdt xsdt = { 0 };
	gpa_t next = align_up(LAYOUT_ACPI + sizeof(rsdp), ACPI_ALIGN);

	INVARIANT(c->cpus >= 1 && c->cpus <= LAYOUT_CPUS_MAX && c->nslots <= ACPI_SLOTS_MAX);
	xsdt.table[0] = write_fadt(m, write_dsdt(m, c, &next), &next);
	xsdt.table[1] = write_madt(m, c->cpus, &next);
	seal(&xsdt.h, "XSDT", 1, sizeof(xsdt));
	rsdp.xsdt = append(m, &next, &xsdt, sizeof(xsdt));
	memcpy(rsdp.signature, "RSD PTR ", 8);
	memcpy(rsdp.oem_id, "MVM   ", 6);
	rsdp.checksum = checksum(&rsdp, 20); /* the part that ACPI 1.0 knew */
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	INVARIANT(mem_write(m, LAYOUT_ACPI, &rsdp, sizeof(rsdp)) == 0);
}
