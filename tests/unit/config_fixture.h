/* Reading texts that stay the caller's, as a whole: config_read_all(). */
#pragma once

#include "config.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline int config_copy_and_open(const struct config_text *texts, size_t count, struct config **ret)
{
    struct config_text copies[2] = {0};
    for (size_t i = 0; i < count; i++) {
        char *bytes = malloc(texts[i].text.length ? texts[i].text.length : 1); /* exactly: a byte too far is seen */
        if (!bytes)
            abort();
        if (texts[i].text.length)
            memcpy(bytes, texts[i].text.data, texts[i].text.length);
        copies[i] = texts[i];
        copies[i].text.data = bytes;
    }
    return config_open(copies, count, ret);
}

static inline int config_read_all(const struct config_text *texts, size_t count, struct config **ret)
{
    int r = config_copy_and_open(texts, count, ret);
    return r < 0 ? r : config_read_on(*ret, SIZE_MAX);
}
