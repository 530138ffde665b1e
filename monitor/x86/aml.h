/*
 * A writer of AML, the byte code of ACPI tables: as much of it as a table of devices needs.
 *
 * Output goes to a fixed buffer; running out of room is remembered and reported once by the
 * caller's aml_fits(). Scopes nest: aml_begin_*() returns a mark that aml_end() closes.  Section
 * numbers are of the ACPI specification 6.4.
 */
#ifndef MVM_X86_AML_H
#define MVM_X86_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t size, len;
	bool overflow;
};

static inline bool aml_fits(const struct aml *a)
{
	return !a->overflow;
}

/* 20.2.5.1 Scope, 20.2.5.2 Device and Method.  name is up to four characters, for a scope a path
 * such as "\\_SB_". */
size_t aml_begin_scope(struct aml *a, const char *path);
size_t aml_begin_device(struct aml *a, const char *name);
size_t aml_begin_method(struct aml *a, const char *name, unsigned args);
/* 20.2.5.3 If (Arg0 == value), in a method. */
size_t aml_begin_if_arg0(struct aml *a, uint32_t value);
void aml_end(struct aml *a, size_t mark);

/* 20.2.5.1 Name(name, value). */
void aml_name_string(struct aml *a, const char *name, const char *value);
void aml_name_integer(struct aml *a, const char *name, uint32_t value);
/* An EISA id such as "PNP0501" (19.6.36), compressed into an integer. */
void aml_name_eisaid(struct aml *a, const char *name, const char *id);
/* A package of four small integers, as the sleep objects \_Sx are (7.4.2). */
void aml_name_package4(struct aml *a, const char *name, const uint8_t value[4]);
/* A package of two integers, and one of two strings. */
void aml_name_integers(struct aml *a, const char *name, uint32_t first, uint32_t second);
void aml_name_strings(struct aml *a, const char *name, const char *first, const char *second);

/* 20.2.5.3 Notify(path, value). */
void aml_notify(struct aml *a, const char *path, uint8_t value);

/* A _CRS resource template (6.4), between begin and end. */
size_t aml_begin_resources(struct aml *a);
void aml_io(struct aml *a, uint16_t port, uint8_t len);
void aml_memory32(struct aml *a, uint32_t base, uint32_t len);
void aml_interrupt(struct aml *a, uint32_t gsi); /* edge, active high, exclusive */
void aml_end_resources(struct aml *a, size_t mark);

#endif
