/* libFuzzer: any text as the settings, the map, and the helper's result (parted by form feeds). What must hold: no
 * crash; settings that are taken are within their limits; a stranger is let in by no map that does not hold his name in
 * a line of its own, and by no claim that is not the user's name. */
#include "cleanup.h"
#include "mapping.h"
#include <stdint.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            __builtin_trap();                                                                                          \
    } while (0)

static struct span cut(struct span *rest)
{
    const char *end = rest->length > 0 ? memchr(rest->data, '\f', rest->length) : NULL;
    struct span part = {rest->data, end ? (size_t)(end - rest->data) : rest->length};
    rest->data += part.length + (end ? 1 : 0);
    rest->length -= part.length + (end ? 1 : 0);
    return part;
}

static bool holds(struct span text, const char *part)
{
    return text.length > 0 && memmem(text.data, text.length, part, strlen(part));
}

static void check_decision(const struct settings *settings, struct span map, const struct line *done)
{
    char reason[VERDICT_REASON];
    enum verdict verdict = mapping_decide(settings, map, done, "alice", reason);
    CHECK(strlen(reason) < VERDICT_REASON && (verdict == VERDICT_YES) == (reason[0] == '\0'));
    CHECK(!settings->map || mapping_wrong_line(map) == 0 || verdict == VERDICT_BROKEN);
    const char *sub = NULL, *issuer = NULL, *claim = NULL;
    if (verdict != VERDICT_YES)
        return;
    CHECK(line_text(done, "sub", &sub) == 0 && *sub && line_text(done, "issuer", &issuer) == 0 && *issuer);
    char name[128];
    if (settings->map) {
        const char *oid = "", *who;
        (void)line_text(done, "oid", &oid);
        CHECK(holds(map, "alice") && holds(map, issuer));
        who = holds(map, "tid:") && *oid && holds(map, oid) ? oid : sub;
        CHECK(holds(map, who));
        return;
    }
    (void)snprintf(name, sizeof(name), "claim.%s", settings->user_claim);
    CHECK(line_text(done, name, &claim) == 0 && strncmp(claim, "alice", 5) == 0);
    CHECK(claim[5] == '\0' ||
          (claim[5] == '@' && settings->strip_domain && strcmp(claim + 6, settings->strip_domain) == 0));
}

static void check_settings(struct settings *settings, struct span text)
{
    char problem[SETTINGS_PROBLEM] = "";
    int r = settings_take_file(settings, text, problem);
    if (r == 0)
        r = settings_finish(settings, "sshd", problem);
    CHECK(r == 0 || problem[0]);
    CHECK(settings->exports.count <= LIMIT_PAM_LIST && settings->require_group.count <= LIMIT_PAM_LIST);
    if (r < 0)
        return;
    CHECK(!settings->map != !settings->user_claim);
    CHECK(settings->max_wait >= 1 && settings->max_wait <= LIMIT_PAM_WAIT_S &&
          settings->rate_count <= LIMIT_PAM_ATTEMPTS / 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *copy = malloc(size ? size : 1); /* of exactly that size: a byte too far is seen */
    CHECK(copy);
    if (size)
        memcpy(copy, data, size);
    struct span rest = {copy, size}, text = cut(&rest), map = cut(&rest);
    _cleanup_settings_ struct settings settings = {0};
    check_settings(&settings, text);
    _cleanup_line_ struct line done = {0};
    if (line_parse(rest, &done) == 0 && !settings.map != !settings.user_claim)
        check_decision(&settings, map, &done);
    const char *argument = copy;
    _cleanup_free_ char *word = strndup(copy, size); /* as an argument */
    _cleanup_settings_ struct settings others = {0};
    char problem[SETTINGS_PROBLEM];
    argument = word;
    if (word)
        (void)settings_take_arguments(&others, 1, &argument, problem), (void)settings_min_uid(1, &argument);
    return 0;
}
