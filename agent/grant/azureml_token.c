/* The token that an endpoint of Azure ML gives to whoever may have one (authMode AMLToken; of a web service on AKS its
 * token authentication), on top of the profile that `parent` names. The service says when to ask anew, and when the
 * token ends, in epoch seconds. */
#include "authority/answer.h"
#include "cleanup.h"
#include "grant/arm.h"
#include "grant/exchange.h"
#include "json.h"
#include <errno.h>
#include <strings.h>

struct azureml_token {
    struct arm arm;
    struct tokens tokens;
};

static const char *check(const struct profile *profile)
{
    enum arm_kind kind;
    if (!arm_dialect_of(profile->authority, &kind) || kind == ARM_ACCOUNT)
        return "needs the endpoint's whole address as authority: https://management.azure.com/subscriptions/"
               "SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.MachineLearningServices/workspaces/WORKSPACE/"
               "onlineEndpoints/NAME, or that of a web service, with /modelmanagement/v1.0/";
    return NULL;
}

static int refuse(const char *code, const char *sentence, struct step *ret)
{
    struct failure why;
    failure_refused(&why, code, sentence);
    return step_fail(ret, &why);
}

/* From now, at most a year; 0 and less: it is past. -1 with *ret untouched: not said. */
static int seconds_until(json_object *json, const char *name, const char *old_name, const struct tick *tick,
                         int64_t *ret)
{
    int64_t when;
    if (answer_number(json, name, &when) < 0 && answer_number(json, old_name, &when) < 0)
        return -1;
    *ret = when <= tick->wall_s ? 0 : when - tick->wall_s;
    if (*ret > LIMIT_LIFETIME_S)
        *ret = LIMIT_LIFETIME_S;
    return 0;
}

static int read_token(struct azureml_token *self, json_object *json, const struct tick *tick, struct step *ret)
{
    struct span value;
    const char *type = "Bearer";
    int64_t life = DEFAULT_LIFETIME_S, refresh = -1;
    bool good = json_bytes(json, "accessToken", LIMIT_TOKEN, &value) == 0 && value.length > 0;
    for (size_t i = 0; good && i < value.length; i++)
        good = (unsigned char)value.data[i] > 0x20 && (unsigned char)value.data[i] < 0x7f;
    if (!good)
        return refuse("invalid_token", "the answer has no accessToken that can stand in a header", ret);
    (void)json_string(json, "tokenType", LIMIT_CODE, &type);
    if (strcasecmp(type, "Bearer") != 0)
        return refuse("unsupported_token_type", "the answer's tokenType is not Bearer", ret);
    (void)seconds_until(json, "expiryTimeUtc", "expiryOn", tick, &life);
    (void)seconds_until(json, "refreshAfterTimeUtc", "refreshAfter", tick, &refresh);
    if (life <= 0)
        return refuse("invalid_token", "its token has expired already (is the clock of this host right?)", ret);
    self->tokens = (struct tokens){.access_token = strndup(value.data, value.length),
                                   .type = strdup("Bearer"),
                                   .expires_in_s = life,
                                   .refresh_in_s = refresh > 0 && refresh < life ? refresh : -1,
                                   .refresh_life_s = -1};
    if (!self->tokens.access_token || !self->tokens.type)
        return -ENOMEM;
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &self->tokens}};
    return 0;
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct azureml_token *self = state;
    if (op != GRANT_ACQUIRE)
        return -EINVAL;
    arm_open(&self->arm, input->profile);
    return arm_begin(&self->arm, ARM_TOKEN, NULL, tick, ret);
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct azureml_token *self = state;
    _cleanup_json_wipe_ json_object *json = NULL;
    bool done;
    int r = arm_next(&self->arm, answer, tick, ret, &json, &done);
    return r < 0 || !done ? r : read_token(self, json, tick, ret);
}

static void end(void *state)
{
    struct azureml_token *self = state;
    arm_end(&self->arm);
    tokens_clear(&self->tokens);
}

static const char *const required[] = {"authority", "parent", NULL};

static const struct key keys[] = {{.name = "api_version", .check = arm_check_version}, {0}};

const struct grant grant_azureml_token = {
    .name = "azureml_token",
    .ops = GRANT_ACQUIRE,
    .bare = true,
    .state_size = sizeof(struct azureml_token),
    .required = required,
    .keys = keys,
    .check = check,
    .start = start,
    .next = next,
    .end = end,
};
