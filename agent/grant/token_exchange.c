/* Token exchange (RFC 8693): a token of one kind or audience for one of another. */
#include "cleanup.h"
#include "grant/form.h"
#include "grant/trade.h"
#include <errno.h>

#define TYPE "urn:ietf:params:oauth:token-type:"

static const char *const short_names[] = {"access_token", "id_token", "jwt", "refresh_token", "saml1", "saml2"};

/* A type as it goes on the wire; its short name stands for it. */
static int add_type(struct buffer *body, const char *name, const char *type)
{
    char whole[sizeof(TYPE) + LIMIT_CODE] = "";
    for (size_t i = 0; type && i < ELEMENTS(short_names); i++)
        if (strcmp(type, short_names[i]) == 0)
            (void)snprintf(whole, sizeof(whole), TYPE "%s", type);
    return form_text(body, name, *whole ? whole : type);
}

static const char *bare(const char *type)
{
    return strncmp(type, TYPE, sizeof(TYPE) - 1) == 0 ? type + sizeof(TYPE) - 1 : type;
}

static int add(struct buffer *body, const struct profile *profile)
{
    const char *subject = profile_setting(profile, "subject_token_type");
    const char *actor = profile_setting(profile, "actor_token_type");
    int r = add_type(body, "subject_token_type", subject ? subject : profile->parent ? "access_token" : "jwt");
    if (r == 0 && profile->actor_token_file)
        r = add_type(body, "actor_token_type", actor ? actor : "jwt");
    return r < 0 ? r : add_type(body, "requested_token_type", profile_setting(profile, "requested_token_type"));
}

/* An access token may well be a JWT. A refresh token is handed to nobody. */
static int check_issued(const char *issued, const struct profile *profile)
{
    const char *wanted = profile_setting(profile, "requested_token_type");
    const char *got = bare(issued);
    if (strcmp(got, "refresh_token") == 0)
        return -EBADMSG;
    if (!wanted || strcmp(got, bare(wanted)) == 0)
        return 0;
    bool access = strcmp(bare(wanted), "access_token") == 0 || strcmp(bare(wanted), "jwt") == 0;
    return access && (strcmp(got, "access_token") == 0 || strcmp(got, "jwt") == 0) ? 0 : -EBADMSG;
}

static const struct trade_kind kind = {.grant_type = "urn:ietf:params:oauth:grant-type:token-exchange",
                                       .field = "subject_token",
                                       .exchanged = true,
                                       .add = add,
                                       .check = check_issued};

static const char *check(const struct profile *profile)
{
    const char *wanted = profile_setting(profile, "requested_token_type");
    if (wanted && strcmp(bare(wanted), "refresh_token") == 0)
        return "asks for a refresh token, which is handed to nobody: set another requested_token_type";
    if (profile_setting(profile, "actor_token_type") && !profile->actor_token_file)
        return "has actor_token_type without actor_token_file";
    return trade_check(profile);
}

static const char *check_type(const char *value)
{
    for (size_t i = 0; i < ELEMENTS(short_names); i++)
        if (strcmp(value, short_names[i]) == 0)
            return NULL;
    bool sound = strchr(value, ':') && strlen(value) <= LIMIT_URL;
    for (const char *p = value; *p; p++)
        sound = sound && *p > 0x20 && *p < 0x7f;
    return sound ? NULL
                 : "is no token type; use access_token, id_token, jwt, refresh_token, saml1, saml2 or a whole URI";
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    (void)tick;
    return trade_start(state, &kind, op, input, ret);
}

static const struct key keys[] = {{.name = "subject_token_type", .check = check_type},
                                  {.name = "requested_token_type", .check = check_type},
                                  {.name = "actor_token_type", .check = check_type},
                                  {0}};

const struct grant grant_token_exchange = {
    .name = "token_exchange",
    .ops = GRANT_ACQUIRE | GRANT_INSPECT,
    .state_size = sizeof(struct trade),
    .keys = keys,
    .check = check,
    .start = start,
    .next = trade_next,
    .end = trade_end,
};
