#include "parents.h"

#include "cleanup.h"
#include <errno.h>
#include <stdio.h>

static void put(char problem[static LIMIT_TEXT], const char *words, char names[][LIMIT_PROFILE_NAME + 1], size_t count)
{
    size_t used = (size_t)snprintf(problem, LIMIT_TEXT, "%s: ", words);
    for (size_t i = 0; i < count && used < LIMIT_TEXT; i++)
        used += (size_t)snprintf(problem + used, LIMIT_TEXT - used, "%s%s", i ? " -> " : "", names[i]);
}

int parents_check(const char *name, const char *parent, parent_fn *above, void *arg, char problem[static LIMIT_TEXT])
{
    char names[LIMIT_PARENTS + 2][LIMIT_PROFILE_NAME + 1];
    size_t count = 2;
    (void)snprintf(names[0], sizeof(names[0]), "%s", name);
    (void)snprintf(names[1], sizeof(names[1]), "%s", parent);
    for (;;) {
        for (size_t i = 0; i + 1 < count; i++) {
            if (strcmp(names[i], names[count - 1]) != 0)
                continue;
            put(problem, "goes round in a circle", names, count);
            return -ELOOP;
        }
        if (count == ELEMENTS(names)) {
            (void)snprintf(problem, LIMIT_TEXT, "has more than %d profiles one above the other", LIMIT_PARENTS);
            return -ELOOP;
        }
        if (!above(arg, names[count - 1], names[count]))
            return 0;
        count++;
    }
}
