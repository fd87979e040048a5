#include "grant/arm.h"

#include "authority/answer.h"
#include "authority/url.h"
#include "cleanup.h"
#include "grant/exchange.h"
#include "json.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <strings.h>

enum { OPERATION_TIMEOUTS = 20, LEAST_POLL_MS = 500 };

#define PRIMARY_SECONDARY                                                                                              \
    {                                                                                                                  \
        "primaryKey", "secondaryKey"                                                                                   \
    }

static const struct arm_dialect dialects[ARM_KINDS] = {
    [ARM_ENDPOINT] = {.what = "the online endpoint",
                      .actions = {"listKeys", "regenerateKeys", "token"},
                      .permission = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/",
                      .version = "2024-10-01",
                      .keys = PRIMARY_SECONDARY,
                      .regenerate = {"{\"keyType\":\"Primary\"}", "{\"keyType\":\"Secondary\"}"}},
    [ARM_SERVICE] = {.what = "the web service",
                     .actions = {"listkeys", "regenerateKeys", "token"},
                     .keys = PRIMARY_SECONDARY,
                     .regenerate = {"{\"keyType\":0}", "{\"keyType\":1}"}},
    [ARM_ACCOUNT] = {.what = "the account",
                     .actions = {"listKeys", "regenerateKey", NULL},
                     .permission = "Microsoft.CognitiveServices/accounts/",
                     .version = "2025-09-01",
                     .keys = {"key1", "key2"},
                     .regenerate = {"{\"keyName\":\"Key1\"}", "{\"keyName\":\"Key2\"}"},
                     .answers_keys = true},
};

/* ---- the address ---- */

/* Whether the path is of these segments, where "*" is any one; case-insensitive, as the service is. */
static bool is_path(struct span path, const char *const *segments)
{
    const char *at = path.data, *end = path.data + path.length;
    for (; *segments; segments++) {
        if (at == end || *at++ != '/')
            return false;
        const char *slash = memchr(at, '/', (size_t)(end - at));
        size_t length = (size_t)((slash ? slash : end) - at);
        if (length == 0 ||
            (strcmp(*segments, "*") != 0 && !(strlen(*segments) == length && strncasecmp(at, *segments, length) == 0)))
            return false;
        at += length;
    }
    return at == end;
}

const struct arm_dialect *arm_dialect_of(const char *authority, enum arm_kind *ret_kind)
{
    static const char *const endpoint[] = {
        "subscriptions", "*", "resourceGroups",  "*", "providers", "Microsoft.MachineLearningServices",
        "workspaces",    "*", "onlineEndpoints", "*", NULL};
    static const char *const service[] = {"modelmanagement",
                                          "v1.0",
                                          "subscriptions",
                                          "*",
                                          "resourceGroups",
                                          "*",
                                          "providers",
                                          "Microsoft.MachineLearningServices",
                                          "workspaces",
                                          "*",
                                          "services",
                                          "*",
                                          NULL};
    static const char *const account[] = {
        "subscriptions", "*", "resourceGroups", "*", "providers", "Microsoft.CognitiveServices", "accounts", "*", NULL};
    static const char *const *const paths[ARM_KINDS] = {
        [ARM_ENDPOINT] = endpoint, [ARM_SERVICE] = service, [ARM_ACCOUNT] = account};
    struct url url;
    if (!authority || url_parse(authority, &url) < 0)
        return NULL;
    for (size_t i = 0; i < ARM_KINDS; i++)
        if (is_path(url.path, paths[i])) {
            *ret_kind = (enum arm_kind)i;
            return &dialects[i];
        }
    return NULL;
}

const char *arm_check_version(const char *value)
{
    size_t length = strlen(value);
    if (length == 0 || length > LIMIT_CODE || strspn(value, "0123456789abcdefghijklmnopqrstuvwxyz-") != length)
        return "is no version; write it as 2024-10-01";
    return NULL;
}

/* ---- sending ---- */

void arm_open(struct arm *arm, const struct profile *profile)
{
    enum arm_kind kind;
    arm->profile = profile;
    arm->dialect = arm_dialect_of(profile->authority, &kind);
    arm->url = arm->poll = BUFFER(LIMIT_URL + 1);
    arm->authorization = BUFFER(LIMIT_TOKEN + 16);
}

static int ask_parent(struct arm *arm, bool refresh, struct step *ret)
{
    arm->phase = ARM_ASKING_PARENT;
    *ret = (struct step){.kind = STEP_PARENT, .parent = {.refresh = refresh}};
    return 0;
}

int arm_begin(struct arm *arm, enum arm_action action, const char *body, const struct tick *tick, struct step *ret)
{
    const char *version = profile_setting(arm->profile, "api_version");
    if (!arm->dialect || !arm->dialect->actions[action])
        return -EINVAL;
    arm->action = action;
    arm->content = span_of(body);
    arm->began_ms = tick->boot_ms;
    arm->refreshed = false;
    buffer_clear(&arm->url);
    buffer_clear(&arm->poll);
    buffer_text(&arm->url, arm->profile->authority);
    buffer_byte(&arm->url, '/');
    buffer_text(&arm->url, arm->dialect->actions[action]);
    if (version || arm->dialect->version) {
        buffer_text(&arm->url, "?api-version=");
        buffer_text(&arm->url, version ? version : arm->dialect->version);
    }
    buffer_byte(&arm->url, '\0');
    return buffer_error(&arm->url) ? buffer_error(&arm->url) : ask_parent(arm, false, ret);
}

static int send(struct arm *arm, struct step *ret)
{
    bool looking = arm->poll.length > 0;
    arm->phase = looking ? ARM_LOOKING : ARM_SENDING;
    *ret = (struct step){.kind = STEP_HTTP, .http = {.header_count = 2}};
    ret->http.method = looking ? "GET" : "POST";
    ret->http.url = looking ? arm->poll.data : arm->url.data;
    ret->http.headers[0] = (struct header){"Accept", span_of("application/json")};
    ret->http.headers[1] = (struct header){"Authorization", buffer_span(&arm->authorization)};
    if (looking || arm->content.length == 0)
        return 0;
    ret->http.body = arm->content;
    ret->http.headers[ret->http.header_count++] = (struct header){"Content-Type", span_of("application/json")};
    return 0;
}

static int take_parent(struct arm *arm, const struct answer *answer, struct step *ret)
{
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_INVALID_CONFIGURATION, "the parent's token");
    buffer_clear(&arm->authorization);
    buffer_text(&arm->authorization, "Bearer ");
    int r = buffer_append(&arm->authorization, answer->body.data, answer->body.length);
    return r < 0 ? r : send(arm, ret);
}

/* ---- an operation that goes on ---- */

static int refuse(const struct arm *arm, const char *code, const char *sentence, struct step *ret)
{
    struct failure why;
    char whole[LIMIT_TEXT];
    (void)snprintf(whole, sizeof(whole), "%s of %s: %.*s", arm->dialect->actions[arm->action], arm->dialect->what,
                   LIMIT_TEXT / 2, sentence);
    failure_refused(&why, code, whole);
    return step_fail(ret, &why);
}

/* A whole address, or a path on the same origin. */
static int set_poll(struct arm *arm, struct span place)
{
    struct url own, url;
    if (place.length == 0 || place.length > LIMIT_URL || memchr(place.data, '\0', place.length))
        return -EINVAL;
    if (url_parse(arm->profile->authority, &own) < 0)
        return -EINVAL;
    bool path = place.data[0] == '/' && !(place.length > 1 && place.data[1] == '/');
    buffer_clear(&arm->poll);
    if (path)
        buffer_append(&arm->poll, arm->profile->authority, (size_t)(own.path.data - arm->profile->authority));
    buffer_append(&arm->poll, place.data, place.length);
    buffer_byte(&arm->poll, '\0');
    if (buffer_error(&arm->poll) || url_parse(arm->poll.data, &url) < 0)
        return -EINVAL;
    return url_same_origin(&own, &url) ? 0 : -EXDEV;
}

static int wait(struct arm *arm, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct failure why;
    int64_t most = OPERATION_TIMEOUTS * arm->profile->timeout_ms, pause = answer_retry_after_ms(answer, tick);
    if (most > LIMIT_OPERATION_S * 1000L)
        most = LIMIT_OPERATION_S * 1000L;
    if (pause < 0)
        pause = DEFAULT_OPERATION_POLL_S * 1000L;
    if (pause < LEAST_POLL_MS)
        pause = LEAST_POLL_MS;
    int64_t left = arm->began_ms + most - tick->boot_ms;
    if (left <= 0) {
        failure_set(&why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE,
                    "%s of %s has not ended within %lld s and may still go on", arm->dialect->actions[arm->action],
                    arm->dialect->what, (long long)(most / 1000));
        return step_fail(ret, &why);
    }
    arm->phase = ARM_WAITING;
    *ret = (struct step){.kind = STEP_WAIT, .wait_ms = pause < left ? pause : left};
    return 0;
}

/* Where a 2xx answer says that the operation is looked for: 1; 0: nowhere; or a refusal was put in *ret: -1. */
static int find_poll(struct arm *arm, const struct answer *answer, struct step *ret, int *ret_refused)
{
    struct span place;
    if (!answer_header(answer, "Azure-AsyncOperation", &place) && !answer_header(answer, "Location", &place))
        return 0;
    int r = set_poll(arm, place);
    if (r == 0) {
        return 1;
    }
    *ret_refused = refuse(arm, r == -EXDEV ? "foreign_location" : "bad_location",
                          r == -EXDEV ? "its operation is said to be on another origin, which gets no token"
                                      : "the address of its operation cannot be read",
                          ret);
    return -1;
}

/* What the answer of the operation's address says: 1 it goes on, 0 it has ended well, -1 it has failed. */
static int state_of(const struct answer *answer, json_object *json)
{
    static const char *const ended[] = {"Failed", "Canceled", "Cancelled"};
    const char *status = NULL;
    (void)json_string(json, "status", LIMIT_CODE, &status);
    for (size_t i = 0; status && i < ELEMENTS(ended); i++)
        if (strcasecmp(status, ended[i]) == 0)
            return -1;
    if (status)
        return strcasecmp(status, "Succeeded") != 0;
    return answer->status == 202;
}

static int fail_operation(struct arm *arm, json_object *json, struct step *ret)
{
    char sentence[LIMIT_TEXT], words[LIMIT_TEXT / 4] = "";
    const char *status = "";
    struct span said;
    json_object *error = NULL;
    (void)json_string(json, "status", LIMIT_CODE, &status);
    if (json_member(json, "error", &error) == 0 && json_bytes(error, "message", LIMIT_RESPONSE, &said) == 0)
        text_clean_into(words, sizeof(words), said);
    (void)snprintf(sentence, sizeof(sentence), "the operation has ended as %s%s%s", status, *words ? ": " : "", words);
    return refuse(arm, "operation_failed", sentence, ret);
}

/* ---- answers ---- */

/* An identity that may not is told what it must be allowed. */
static void name_permission(const struct arm *arm, int status, struct failure *why)
{
    bool denied = status == 403 || strcmp(why->error, "AuthorizationFailed") == 0 ||
                  strcmp(why->error, "LinkedAuthorizationFailed") == 0;
    if (!denied || why->kind != FAILURE_AUTHORITY_REFUSED)
        return;
    if (arm->dialect->permission)
        (void)snprintf(why->reason, sizeof(why->reason), "give the identity of parent %s the action %s%s/action there",
                       arm->profile->parent, arm->dialect->permission, arm->dialect->actions[arm->action]);
    else
        (void)snprintf(why->reason, sizeof(why->reason), "the identity of parent %s is not allowed %s there",
                       arm->profile->parent, arm->dialect->actions[arm->action]);
}

/* The state of an operation, or its first answer, which both went well as HTTP. */
static int succeeded(struct arm *arm, const struct answer *answer, json_object *json, const struct tick *tick,
                     struct step *ret, bool *ret_done)
{
    int refused = 0;
    if (arm->action != ARM_REGENERATE) {
        *ret_done = true;
        return 0;
    }
    bool looked = arm->phase == ARM_LOOKING;
    int state = looked ? state_of(answer, json) : answer->status == 202 || answer->status == 201;
    if (state < 0)
        return fail_operation(arm, json, ret);
    int found = state > 0 || (!looked && answer->status == 200) ? find_poll(arm, answer, ret, &refused) : 0;
    if (found < 0)
        return refused;
    if (found > 0 || state > 0) {
        if (arm->poll.length == 0)
            return refuse(arm, "no_location", "it goes on, but nothing says where to look for its end", ret);
        return wait(arm, answer, tick, ret);
    }
    *ret_done = true;
    return 0;
}

static int answered(struct arm *arm, const struct answer *answer, const struct tick *tick, struct step *ret,
                    json_object **ret_json, bool *ret_done)
{
    struct failure why;
    _cleanup_json_wipe_ json_object *json = NULL;
    bool looking = arm->phase == ARM_LOOKING;
    if (!answer->error && answer->status == 401 && !arm->refreshed) {
        arm->refreshed = true;
        return ask_parent(arm, true, ret);
    }
    bool success = !answer->error && answer->status >= 200 && answer->status < 300;
    if (success && arm->action == ARM_REGENERATE && !arm->dialect->answers_keys) {
        (void)json_parse(answer->body.data, answer->body.length, LIMIT_RESPONSE_DEPTH, &json);
        return succeeded(arm, answer, json, tick, ret, ret_done);
    }
    enum outcome outcome = answer_error(answer, arm->profile, false, tick, &json, &why);
    if (outcome == OUTCOME_OK) {
        *ret_json = TAKE_PTR(json);
        *ret_done = true;
        return 0;
    }
    if (looking && outcome == OUTCOME_RETRY) /* what goes on goes on, whether or not it can be seen just now */
        return wait(arm, answer, tick, ret);
    name_permission(arm, answer->status, &why);
    return step_fail(ret, &why);
}

int arm_next(struct arm *arm, const struct answer *answer, const struct tick *tick, struct step *ret,
             json_object **ret_json, bool *ret_done)
{
    *ret_json = NULL;
    *ret_done = false;
    if (arm->phase == ARM_ASKING_PARENT)
        return take_parent(arm, answer, ret);
    if (arm->phase == ARM_WAITING)
        return send(arm, ret);
    return answered(arm, answer, tick, ret, ret_json, ret_done);
}

void arm_end(struct arm *arm)
{
    buffer_free(&arm->url);
    buffer_free(&arm->poll);
    buffer_free(&arm->authorization);
}
