#include "grant/identity_answer.h"

#include "cleanup.h"
#include "json.h"
#include "limits.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <strings.h>

enum {
    LONG_LIFE_S = 2 * 3600, /* of which half may pass before a new one is asked for */
    UPGRADE_TRIES = 7,
};

/* ---- words ---- */

struct words {
    struct span code, text, correlation;
};

/* {"error","error_description"} of IMDS; {"error":{"code","message","correlationId"}} of Service Fabric;
 * {"statusCode","message","correlationId"} of App Service. */
static void read_words(json_object *json, struct words *ret)
{
    json_object *member = NULL, *source = json;
    *ret = (struct words){0};
    if (json_member(json, "error", &member) == 0 && json_object_is_type(member, json_type_object))
        source = member;
    if (source != member || json_bytes(member, "code", LIMIT_RESPONSE, &ret->code) < 0)
        (void)json_bytes(json, "error", LIMIT_RESPONSE, &ret->code);
    if (json_bytes(source, "error_description", LIMIT_RESPONSE, &ret->text) < 0 &&
        json_bytes(source, "message", LIMIT_RESPONSE, &ret->text) < 0)
        (void)json_bytes(source, "Message", LIMIT_RESPONSE, &ret->text);
    if (json_bytes(source, "correlationId", LIMIT_RESPONSE, &ret->correlation) < 0)
        (void)json_bytes(json, "correlation_id", LIMIT_RESPONSE, &ret->correlation);
}

static bool has_word(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasestr(text, *words))
            return true;
    return false;
}

/* What somebody can do about it. */
static const char *advice(const struct identity_way *way, const struct profile *profile, const struct failure *why)
{
    static const char *const gone[] = {"Identity not found",
                                       "ManagedIdentityNotFound",
                                       "no managed identity",
                                       "no user assigned",
                                       "identity does not exist",
                                       "identity has been deleted",
                                       NULL};
    static const char *const proxied[] = {"bad_request_102", "SecretHeaderNotFound", NULL};
    static const char *const resource[] = {"invalid_resource", NULL};
    const char *name, *value;
    (void)identity_way_name(way, profile, &name, &value);
    if ((has_word(why->error, gone) || has_word(why->description, gone)) && value)
        return "no such identity is assigned here (any more): check the id, and assign it in Azure";
    if ((has_word(why->error, gone) || has_word(why->description, gone)) && !way->client_id)
        return "there is no identity here (any more): it is assigned in Azure";
    if (has_word(why->error, gone) || has_word(why->description, gone))
        return "there is no system-assigned identity here (any more): switch it on in Azure, or name a user-assigned "
               "one with client_id";
    if (has_word(why->error, proxied))
        return "a header was lost on the way: does something stand between?";
    if (has_word(why->error, resource))
        return "Entra does not know this resource: check resource or scope";
    return NULL;
}

/* Its own code, or the status. */
static void put_code(const struct answer *answer, const struct words *words, char code[static LIMIT_CODE])
{
    if (words->code.length > 0)
        text_clean_into(code, LIMIT_CODE, words->code);
    else
        (void)snprintf(code, LIMIT_CODE, "http_%d", answer->status);
}

static void explain(const struct identity_way *way, const struct profile *profile, const struct answer *answer,
                    bool passing, struct failure *why)
{
    _cleanup_json_ json_object *json = NULL;
    struct words words;
    char code[LIMIT_CODE], text[LIMIT_TEXT / 2];
    (void)json_parse(answer->body.data, answer->body.length, LIMIT_RESPONSE_DEPTH, &json);
    read_words(json, &words);
    put_code(answer, &words, code);
    text_clean_into(text, sizeof(text), words.text);
    if (passing) {
        failure_set(why, FAILURE_AUTHORITY_UNREACHABLE, answer->status == 429 ? CLASS_THROTTLED : CLASS_UNREACHABLE,
                    "%s answered %d%s%s%s", way->title, answer->status,
                    answer->status == 410 ? " (it is being upgraded)" : "", text[0] || words.code.length ? ": " : "",
                    text[0]                 ? text
                    : words.code.length > 0 ? code
                                            : "");
    } else {
        char sentence[LIMIT_TEXT];
        (void)snprintf(sentence, sizeof(sentence), "%s answered %d%s%s", way->title, answer->status,
                       text[0] ? ": " : "", text);
        failure_refused(why, code, sentence);
        const char *hint = advice(way, profile, why);
        if (hint)
            (void)snprintf(why->reason, sizeof(why->reason), "%s", hint);
    }
    text_clean_into(why->correlation_id, sizeof(why->correlation_id), words.correlation);
}

/* ---- asking again ---- */

/* After how long; -1: such an answer does not change by itself. */
static int64_t again_ms(const struct identity_way *way, int status, unsigned tries)
{
    const bool imds = way->source == IDENTITY_IMDS, fabric = way->source == IDENTITY_SERVICE_FABRIC;
    const bool usual = status == 408 || status == 429 || status >= 500;
    if (imds && status == 410)
        return tries < UPGRADE_TRIES ? LIMIT_UPGRADE_MS : -1;
    if (imds && (usual || status == 404))
        return tries < 4 ? 1000L << tries : -1;
    if (fabric && usual)
        return tries < 5 ? 1000L << tries : -1;
    return usual && tries < 3 ? 1000 : -1;
}

static bool is_passing(const struct identity_way *way, int status)
{
    return again_ms(way, status, 0) >= 0;
}

/* ---- tokens ---- */

/* A "system" request can be answered with the only user-assigned identity: whose token it is should be seen. */
static bool note_account(const struct profile *profile, const struct answer *answer, struct tokens *tokens)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    const char *id = NULL;
    if (json_parse(answer->body.data, answer->body.length, LIMIT_RESPONSE_DEPTH, &json) == -ENOMEM)
        return false;
    if (json_string(json, "client_id", LIMIT_CODE, &id) < 0 || !*id ||
        (profile->client_id && strcasecmp(id, profile->client_id) == 0))
        return true;
    char clean[4 * LIMIT_CODE];
    text_clean_into(clean, sizeof(clean), span_of(id));
    tokens->account = strdup(clean);
    return tokens->account != NULL;
}

static bool read_tokens(const struct profile *profile, const struct answer *answer, const struct tick *tick,
                        struct tokens *ret, struct failure *why)
{
    if (answer_tokens(answer, profile, false, tick, ret, why) != OUTCOME_OK)
        return false;
    ret->refresh_token = secret_unref(ret->refresh_token); /* IMDS sends "", and nothing would use another */
    if (ret->expires_in_s < 0)
        ret->expires_in_s = DEFAULT_LIFETIME_S;
    if (ret->refresh_in_s < 0 && ret->expires_in_s > LONG_LIFE_S)
        ret->refresh_in_s = ret->expires_in_s / 2;
    if (note_account(profile, answer, ret))
        return true;
    failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
    return false;
}

bool identity_answer(const struct identity_way *way, const struct profile *profile, const struct answer *answer,
                     const struct tick *tick, unsigned tries, struct tokens *ret, int64_t *ret_again_ms,
                     struct failure *why)
{
    int64_t asked = -1;
    *ret_again_ms = -1;
    if (answer->error) {
        if (answer->why.kind != FAILURE_NONE)
            *why = answer->why;
        else
            failure_set(why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "%s does not answer: %s", way->title,
                        strerror(-answer->error));
        why->uncertain = false; /* asking twice costs nothing */
        if (answer->maybe_sent)
            *ret_again_ms = again_ms(way, 500, tries);
        return false;
    }
    if (answer->status >= 200 && answer->status < 300)
        return read_tokens(profile, answer, tick, ret, why);
    explain(way, profile, answer, is_passing(way, answer->status), why);
    if (is_passing(way, answer->status)) {
        asked = answer_retry_after_ms(answer, tick);
        *ret_again_ms = again_ms(way, answer->status, tries);
    }
    if (*ret_again_ms >= 0 && asked > *ret_again_ms)
        *ret_again_ms = asked;
    why->retry_after_ms = asked;
    return false;
}
