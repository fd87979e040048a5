#include "doctor_identity.h"

#include "environment.h"
#include "grant/identity_source.h"
#include <unistd.h>

/* As the grant does it. */
static const struct identity_way *find(const struct profile *profile)
{
    enum identity_source source = IDENTITY_SOURCES;
    const char *word = profile_setting(profile, "source");
    if (word)
        (void)identity_source_read(word, &source);
    const struct identity_way *way = identity_way_find(source, environment_value);
    if (!way)
        way = identity_way_find(access(IDENTITY_ARC_PROGRAM, F_OK) == 0 ? IDENTITY_ARC : IDENTITY_IMDS,
                                environment_value);
    return way;
}

bool doctor_identity(const struct profile *profile, struct buffer *words, char **ret_address)
{
    static const char here[] = "(looked for here; what counts is the environment that the agent was started with)";
    const struct identity_way *way = find(profile);
    const char *missing = identity_way_missing(way, environment_value), *name, *value;
    struct buffer address = BUFFER(LIMIT_URL);
    *ret_address = NULL;
    if (missing) {
        buffer_format(words, "%s needs %s, which is not set %s", way->title, missing, here);
        return false;
    }
    if (!identity_way_name(way, profile, &name, &value)) {
        buffer_format(words, "the identity comes from %s, which %s %s", way->title, way->alone, here);
        return false;
    }
    if (identity_way_address(way, environment_value, &address) < 0) {
        buffer_format(words, "%s does not lead to this host %s", way->endpoint, here);
        buffer_free(&address);
        return false;
    }
    buffer_format(words, "the identity comes from %s, at %s %s", way->title, address.data, here);
    *ret_address = buffer_take(&address);
    return true;
}
