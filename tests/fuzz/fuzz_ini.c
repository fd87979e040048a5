/* libFuzzer: any two texts as configuration. What must hold: no crash; each item of the reader lies inside the text;
 * each profile is either sound or says why not; the same text gives the same fingerprints; no message holds the value
 * of a secret key. */
#include "../unit/config_fixture.h"
#include "cleanup.h"
#include "ini.h"
#include <stdint.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            __builtin_trap();                                                                                          \
    } while (0)

static void check_items(struct span text)
{
    struct ini ini = ini_open(text);
    struct ini_item item;
    int last = 0;
    while (ini_next(&ini, &item)) {
        CHECK(item.line > last);
        last = item.line;
        CHECK((item.kind == INI_BAD) == (item.problem != NULL));
        if (item.kind == INI_BAD)
            continue;
        CHECK(item.name.length <= LIMIT_CONFIG_LINE && item.value.length <= LIMIT_CONFIG_LINE);
        CHECK(!item.name.length ||
              (item.name.data >= text.data && item.name.data + item.name.length <= text.data + text.length));
        CHECK(!item.value.length ||
              (item.value.data > text.data && item.value.data + item.value.length <= text.data + text.length));
        CHECK(!item.name.length || !memchr(item.name.data, 0, item.name.length));
        CHECK(!item.value.length || !memchr(item.value.data, '\n', item.value.length));
    }
}

/* The sections that a text is cut into hold the same items, at the same lines, as the text. */
static void check_cuts(struct span text)
{
    struct ini whole = ini_open(text), rest = whole;
    struct ini_item expected, item;
    while (rest.rest.length > 0) {
        struct ini cut = ini_cut(&rest);
        CHECK(cut.rest.length > 0 && cut.rest.data + cut.rest.length == rest.rest.data);
        for (bool first = true; ini_next(&cut, &item); first = false) {
            CHECK(ini_next(&whole, &expected) && expected.kind == item.kind && expected.line == item.line);
            CHECK(expected.name.data == item.name.data && expected.value.data == item.value.data);
            CHECK(first || (item.kind != INI_SECTION && !item.opens));
        }
        CHECK(cut.line == rest.line);
    }
    CHECK(!ini_next(&whole, &expected));
}

static void check_profile(struct config *config, const struct profile *profile)
{
    CHECK((profile->grant == NULL) == (profile->problem != NULL));
    CHECK(config_profile(config, profile->name) == profile);
    CHECK(profile->dialect != DIALECT_AUTO && profile->fingerprint && profile->header && profile->file);
    CHECK(profile->min_valid_s >= 0 && profile->timeout_ms > 0 && profile->refresh_ahead_s >= REFRESH_AHEAD_NEVER);
    if (profile->grant && profile->client_secret.kind == SOURCE_COMMAND)
        CHECK(profile->client_secret.argv && profile->client_secret.argv[0] && profile->client_secret.argv[0][0]);
}

/* "client_secret = S": no S stands in a message. It starts with what neither our words nor a name that is shown can
 * hold. */
static void check_secrets(const struct config *config, struct span text)
{
    struct ini ini = ini_open(text);
    struct ini_item item;
    while (ini_next(&ini, &item)) {
        if (item.kind != INI_PAIR || !span_equals(item.name, span_of("client_secret")) || item.value.length < 4 ||
            memcmp(item.value.data, "zQ!!", 4) != 0)
            continue;
        for (size_t i = 0; i < config->problem_count; i++)
            CHECK(!memmem(config->problems[i], strlen(config->problems[i]), item.value.data, item.value.length));
    }
}

static void check_config(const struct config_text *texts, size_t count)
{
    struct config *config = NULL, *again = NULL;
    CHECK(config_read_all(texts, count, &config) == 0 && config_copy_and_open(texts, count, &again) == 0);
    for (size_t i = again->profile_count; i > 0; i -= i > 1 ? 2 : 1) /* some early, from the end */
        CHECK(config_at(again, i - 1));
    while (config_read_on(again, 10) > 0)
        continue;
    CHECK(config->problem_count <= count * (LIMIT_CONFIG_ERRORS + 1) + LIMIT_CONFIG_ERRORS);
    CHECK(again->profile_count == config->profile_count && again->problem_count == config->problem_count);
    bool all_shown = config->problem_count <= LIMIT_CONFIG_ERRORS; /* else which of them are shown may differ */
    for (size_t i = 0; i < config->problem_count && all_shown; i++)
        CHECK(strcmp(config->problems[i], again->problems[i]) == 0);
    for (size_t i = 0; i < config->profile_count; i++) {
        check_profile(config, config->profiles[i]);
        CHECK(strcmp(config->profiles[i]->fingerprint, again->profiles[i]->fingerprint) == 0);
        CHECK(i == 0 || strcmp(config->profiles[i - 1]->name, config->profiles[i]->name) < 0);
    }
    (void)config_default(config);
    for (size_t i = 0; i < count; i++)
        check_secrets(config, texts[i].text);
    config_free(config);
    config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* a form feed, which no text may hold, parts the system's file from the user's */
    _cleanup_free_ char *copy = malloc(size ? size : 1); /* of exactly that size: a byte too far is seen */
    CHECK(copy);
    if (size)
        memcpy(copy, data, size);
    char *middle = size ? memchr(copy, '\f', size) : NULL;
    size_t first = middle ? (size_t)(middle - copy) : size;
    const struct config_text texts[] = {
        {.file = "/etc/mltoken/config", .text = {copy, first}},
        {.file = "user", .text = {middle ? middle + 1 : copy, middle ? size - first - 1 : 0}}};
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        check_items(texts[i].text), check_cuts(texts[i].text);
    check_config(texts, ELEMENTS(texts));
    return 0;
}
