/* Whether the chain of parents comes to an end. Read from the sections' text, so that it is the same whichever profile
 * is asked for first. */
#include "config_reader.h"

#include "cleanup.h"
#include "parents.h"
#include "text.h"
#include <errno.h>

static bool above(void *arg, const char *name, char ret[static LIMIT_PROFILE_NAME + 1])
{
    const struct reader *reader = arg;
    const struct found *found = reader_find(reader, name);
    if (!found)
        return false;
    struct ini rest = {found->text, found->line - 1};
    struct ini_item item;
    while (ini_next(&rest, &item)) {
        if (item.kind != INI_PAIR || !span_equals(item.name, span_of("parent")) || item.value.length == 0 ||
            item.value.length > LIMIT_PROFILE_NAME)
            continue;
        memcpy(ret, item.value.data, item.value.length);
        ret[item.value.length] = '\0';
        return true;
    }
    return false;
}

int reader_check_parent(struct reader *reader)
{
    struct profile *profile = reader->profile;
    const struct config *config = reader->config;
    int line = reader->section.common[KEY_PARENT].line;
    char why[LIMIT_TEXT];
    if (!profile->parent)
        return 0;
    if (!reader_find(reader, profile->parent)) {
        const char *nearest = text_nearest(profile->parent, config->names, config->profile_count);
        return reader_problem(reader, profile, line, "parent", "there is no such profile%s%s",
                              nearest ? "; did you mean " : "; add it or name another", nearest ? nearest : "");
    }
    if (parents_check(profile->name, profile->parent, above, reader, why) == 0)
        return 0;
    return reader_problem(reader, profile, line, "parent", "%s; the first of them must get its token by itself", why);
}
