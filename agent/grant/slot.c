#include "grant/slot.h"

#include <stdio.h>
#include <string.h>

static const char *const names[SLOTS] = {"primary", "secondary"};

const char *slot_name(enum slot slot)
{
    return names[slot];
}

enum slot slot_other(enum slot slot)
{
    return slot == SLOT_PRIMARY ? SLOT_SECONDARY : SLOT_PRIMARY;
}

const char *slot_check(const char *value)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (strcmp(value, names[i]) == 0)
            return NULL;
    return "is primary or secondary";
}

enum slot slot_of(const char *value)
{
    return value && strcmp(value, names[SLOT_SECONDARY]) == 0 ? SLOT_SECONDARY : SLOT_PRIMARY;
}

void slots_write(const struct slots *slots, const char *configured, char ret[static SLOT_NOTE])
{
    (void)snprintf(ret, SLOT_NOTE, "%s %s%s", configured ? configured : "any", names[slots->served],
                   slots->regenerating ? " regenerating" : "");
}

/* There are but four that it can be. */
struct slots slots_read(struct span note, const char *configured)
{
    char text[SLOT_NOTE];
    for (int i = 0; i < 2 * SLOTS; i++) {
        struct slots slots = {.served = i % SLOTS, .regenerating = i >= SLOTS};
        slots_write(&slots, configured, text);
        if (span_equals(note, span_of(text)))
            return slots;
    }
    return (struct slots){.served = slot_of(configured)};
}
