#include "mapping.h"

#include "cleanup.h"
#include "text.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct identity {
    const char *issuer;
    const char *sub;
    const char *tid, *oid; /* NULL: the authority told none */
};

static enum verdict __attribute__((format(printf, 3, 4)))
verdict(enum verdict verdict, char *reason, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, VERDICT_REASON, format, arguments);
    va_end(arguments);
    return verdict;
}

/* A text of the helper's line that may be missing, but not be odd. */
static int optional(const struct line *done, const char *name, const char **ret)
{
    *ret = NULL;
    int r = line_text(done, name, ret);
    if (r == -ENOENT)
        return 0;
    return r < 0 || **ret == '\0' ? -EBADMSG : 0;
}

static int read_identity(const struct line *done, struct identity *ret)
{
    const char *const names[] = {"issuer", "sub", "tid", "oid"};
    const char **const texts[] = {&ret->issuer, &ret->sub, &ret->tid, &ret->oid};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        int r = optional(done, names[i], texts[i]);
        if (r < 0)
            return r;
    }
    return ret->issuer && ret->sub ? 0 : -EBADMSG;
}

/* ---- the map ---- */

static bool starts_with(struct span *text, const char *start)
{
    size_t length = strlen(start);
    if (text->length < length || memcmp(text->data, start, length) != 0)
        return false;
    text->data += length;
    text->length -= length;
    return true;
}

static struct span next_word(struct span *rest)
{
    while (rest->length > 0 && (*rest->data == ' ' || *rest->data == '\t'))
        rest->data++, rest->length--;
    struct span word = {rest->data, 0};
    while (word.length < rest->length && rest->data[word.length] != ' ' && rest->data[word.length] != '\t')
        word.length++;
    rest->data += word.length;
    rest->length -= word.length;
    return word;
}

static bool text_is(struct span text, const char *expected)
{
    return expected && span_equals(text, span_of(expected));
}

/* "sub:VALUE" or "tid:T,oid:O": 1 it is this person, 0 another one, -EINVAL. */
static int match_subject(struct span text, const struct identity *person)
{
    if (starts_with(&text, "sub:"))
        return text.length > 0 ? text_is(text, person->sub) : -EINVAL;
    const char *comma = text.length > 0 ? memchr(text.data, ',', text.length) : NULL;
    if (!comma)
        return -EINVAL;
    struct span tid = {text.data, (size_t)(comma - text.data)}, oid = {comma + 1, text.length - tid.length - 1};
    if (!starts_with(&tid, "tid:") || !starts_with(&oid, "oid:") || tid.length == 0 || oid.length == 0 ||
        memchr(oid.data, ',', oid.length))
        return -EINVAL;
    return text_is(tid, person->tid) && text_is(oid, person->oid);
}

static bool issuer_sound(struct span text)
{
    return (starts_with(&text, "https://") || starts_with(&text, "http://")) && text.length > 0;
}

/* 1: it lets this person be `user`, 0: it does not, -EINVAL: it is no line of a map. */
static int match_line(struct span line, const struct identity *person, const char *user)
{
    for (size_t i = 0; i < line.length; i++)
        if (line.data[i] != '\t' && (line.data[i] < 0x20 || line.data[i] > 0x7e))
            return -EINVAL;
    struct span issuer = next_word(&line), subject = next_word(&line), name = next_word(&line);
    if (issuer.length == 0 || issuer.data[0] == '#')
        return 0;
    if (!issuer_sound(issuer) || name.length == 0 || name.data[0] == '#' || next_word(&line).length > 0)
        return -EINVAL;
    int r = match_subject(subject, person);
    return r <= 0 ? r : text_is(issuer, person->issuer) && text_is(name, user);
}

/* 0, or the number of the first line that is none of a map; *ret_found: one lets this person be `user`. */
static int match_map(struct span map, const struct identity *person, const char *user, bool *ret_found)
{
    *ret_found = false;
    for (int number = 1; map.length > 0; number++) {
        const char *end = memchr(map.data, '\n', map.length);
        struct span line = {map.data, end ? (size_t)(end - map.data) : map.length};
        map.data += line.length + (end ? 1 : 0);
        map.length -= line.length + (end ? 1 : 0);
        int r = line.length > LIMIT_PAM_MAP_LINE ? -EINVAL : match_line(line, person, user);
        if (r < 0)
            return number;
        *ret_found = *ret_found || r > 0;
    }
    return 0;
}

int mapping_wrong_line(struct span map)
{
    const struct identity nobody = {0};
    bool found;
    return match_map(map, &nobody, "", &found);
}

static enum verdict decide_by_map(struct span map, const struct identity *person, const char *user, char *reason)
{
    bool found;
    int number = match_map(map, person, user, &found);
    if (number > 0)
        return verdict(VERDICT_BROKEN, reason, "the map, line %d: " MAPPING_FORM, number);
    char issuer[160], sub[160];
    text_clean_into(issuer, sizeof(issuer), span_of(person->issuer));
    text_clean_into(sub, sizeof(sub), span_of(person->sub));
    return found ? VERDICT_YES
                 : verdict(VERDICT_STRANGER, reason, "the map does not let %s of %s be this user", sub, issuer);
}

/* ---- a claim ---- */

static enum verdict decide_by_claim(const struct settings *settings, const struct line *done, const char *user,
                                    char *reason)
{
    char name[LIMIT_LINE_NAME + 1];
    const char *claim, *verified;
    (void)snprintf(name, sizeof(name), "claim.%s", settings->user_claim);
    int r = line_text(done, name, &claim);
    if (r == -ENOENT)
        return verdict(VERDICT_STRANGER, reason, "the id_token has no usable claim %s", settings->user_claim);
    if (r < 0)
        return verdict(VERDICT_BROKEN, reason, "the claim %s holds a NUL", settings->user_claim);
    if (strcmp(settings->user_claim, "email") == 0 &&
        (line_text(done, "claim.email_verified", &verified) < 0 || strcmp(verified, "true") != 0))
        return verdict(VERDICT_STRANGER, reason, "the authority has not verified this person's email");
    struct span local = span_of(claim);
    char shown[160];
    text_clean_into(shown, sizeof(shown), local);
    if (settings->strip_domain) {
        size_t domain = strlen(settings->strip_domain);
        if (local.length < domain + 2 || local.data[local.length - domain - 1] != '@' ||
            memcmp(local.data + local.length - domain, settings->strip_domain, domain) != 0)
            return verdict(VERDICT_STRANGER, reason, "the claim %s is %s, which is not of %s", settings->user_claim,
                           shown, settings->strip_domain);
        local.length -= domain + 1;
    }
    if (local.length == 0 || !text_is(local, user))
        return verdict(VERDICT_STRANGER, reason, "the claim %s is %s, which is another user", settings->user_claim,
                       shown);
    return VERDICT_YES;
}

/* ---- groups and roles ---- */

/* One of those that are wanted is among those of the person. */
static bool has_one(const struct line *done, const char *field, const struct text_list *wanted)
{
    size_t at = 0;
    const struct line_field *one;
    while ((one = line_next(done, field, &at)))
        for (size_t i = 0; i < wanted->count; i++)
            if (one->value.length > 0 && text_is(one->value, wanted->items[i]))
                return true;
    return wanted->count == 0;
}

static enum verdict decide_groups(const struct settings *settings, const struct line *done, char *reason)
{
    const char *overage;
    if (line_text(done, "overage", &overage) < 0 || (strcmp(overage, "no") != 0 && strcmp(overage, "yes") != 0))
        return verdict(VERDICT_BROKEN, reason, "the helper does not say whether it has all groups");
    if (settings->require_group.count > 0 && strcmp(overage, "yes") == 0)
        return verdict(VERDICT_FORBIDDEN, reason,
                       "the authority left the groups out because there are too many: have it send only those of the "
                       "application, or require a role");
    if (!has_one(done, "group", &settings->require_group))
        return verdict(VERDICT_FORBIDDEN, reason, "the person is in none of the required groups");
    if (!has_one(done, "role", &settings->require_role))
        return verdict(VERDICT_FORBIDDEN, reason, "the person has none of the required roles");
    return VERDICT_YES;
}

enum verdict mapping_decide(const struct settings *settings, struct span map, const struct line *done, const char *user,
                            char reason[static VERDICT_REASON])
{
    struct identity person = {0};
    reason[0] = '\0';
    if (!user || !*user || read_identity(done, &person) < 0)
        return verdict(VERDICT_BROKEN, reason, "the helper does not say who signed in");
    enum verdict result = VERDICT_BROKEN;
    if (settings->map)
        result = decide_by_map(map, &person, user, reason);
    else if (settings->user_claim)
        result = decide_by_claim(settings, done, user, reason);
    return result == VERDICT_YES ? decide_groups(settings, done, reason) : result;
}
