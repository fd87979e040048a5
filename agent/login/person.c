#include "login/person.h"

#include "json.h"
#include "lines.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>

#define YEAR_9999 INT64_C(253402300799) /* no later time is believed in a token */

struct telling {
    struct buffer *line;
    json_object *claims;
    person_left_fn *left;
    void *arg;
};

static bool is_plain(struct span text)
{
    while (text.length > 0) {
        uint32_t c = 0;
        size_t n = text_decode(text, &c);
        if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0))
            return false;
        text.data += n;
        text.length -= n;
    }
    return true;
}

/* What keeps a value from being told, or NULL and *ret. */
static const char *read_text(json_object *value, size_t maximum, struct span *ret)
{
    if (!json_object_is_type(value, json_type_string))
        return "it is no text";
    *ret = (struct span){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
    if (ret->length == 0)
        return "it is empty";
    if (ret->length > maximum)
        return "it is too long";
    return is_plain(*ret) ? NULL : "it holds control characters or is no valid UTF-8";
}

/* -ENOENT: it is not there; -EBADMSG: it was left out. */
static int tell(const struct telling *telling, const char *field, const char *claim, size_t maximum)
{
    json_object *value;
    struct span text = {0};
    if (json_member(telling->claims, claim, &value) < 0)
        return -ENOENT;
    const char *wrong = read_text(value, maximum, &text);
    if (wrong) {
        telling->left(telling->arg, claim, wrong);
        return -EBADMSG;
    }
    line_put(telling->line, field, text);
    return 0;
}

static void tell_claims(const struct telling *telling, const struct wanted *wanted)
{
    for (size_t i = 0; i < wanted->claim_count; i++) {
        const char *name = wanted->claims[i];
        char field[LIMIT_LINE_NAME + 1];
        bool verified = false;
        if (strcmp(name, "email_verified") == 0) /* it goes with the address, and is no text */
            continue;
        (void)snprintf(field, sizeof(field), "claim.%s", name);
        if (tell(telling, field, name, LIMIT_SUBJECT) == 0 && strcmp(name, "email") == 0) {
            (void)json_boolean(telling->claims, "email_verified", &verified);
            line_put_text(telling->line, "claim.email_verified", verified ? "true" : "false");
        }
    }
}

/* A list of texts, or a single one. False: there are too many. */
static bool tell_list(const struct telling *telling, const char *field, const char *claim)
{
    json_object *list;
    if (json_member(telling->claims, claim, &list) < 0)
        return true;
    bool array = json_object_is_type(list, json_type_array);
    size_t count = array ? json_object_array_length(list) : 1;
    if (count > LIMIT_LOGIN_GROUPS)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct span text = {0};
        const char *wrong = read_text(array ? json_object_array_get_idx(list, i) : list, LIMIT_SUBJECT, &text);
        if (wrong)
            telling->left(telling->arg, claim, wrong);
        else
            line_put(telling->line, field, text);
    }
    return true;
}

bool person_is_over(json_object *claims)
{
    json_object *value, *inner;
    bool told = json_member(claims, "_claim_names", &value) == 0;
    if (told && (!json_object_is_type(value, json_type_object) || json_member(value, "groups", &inner) == 0 ||
                 json_member(value, "roles", &inner) == 0))
        return true;
    if (!told && json_member(claims, "_claim_sources", &value) == 0)
        return true;
    return json_member(claims, "hasgroups", &value) == 0 &&
           !(json_object_is_type(value, json_type_boolean) && !json_object_get_boolean(value));
}

int person_tell(struct buffer *line, json_object *claims, const char *client_id, const struct wanted *wanted,
                bool grouped, person_left_fn *left, void *arg)
{
    const struct telling telling = {.line = line, .claims = claims, .left = left, .arg = arg};
    int64_t issued;
    if (tell(&telling, "issuer", "iss", LIMIT_URL) < 0)
        return -EBADMSG;
    line_put_text(line, "client_id", client_id);
    if (tell(&telling, "sub", "sub", LIMIT_SUBJECT) < 0)
        return -EBADMSG;
    (void)tell(&telling, "tid", "tid", LIMIT_SUBJECT);
    (void)tell(&telling, "oid", "oid", LIMIT_SUBJECT);
    tell_claims(&telling, wanted);
    bool over = person_is_over(claims) || !grouped;
    if (grouped) {
        bool groups = tell_list(&telling, "group", "groups"), roles = tell_list(&telling, "role", "roles");
        over = over || !groups || !roles;
    }
    line_put_text(line, "overage", over ? "yes" : "no");
    if (json_number(claims, "iat", &issued) == 0 && issued >= 0 && issued <= YEAR_9999)
        line_put_number(line, "iat", issued);
    return buffer_error(line);
}
