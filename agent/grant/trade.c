#include "grant/trade.h"

#include "cleanup.h"
#include "grant/form.h"
#include "json.h"
#include <errno.h>
#include <stdio.h>

static int ask_subject(struct trade *trade, struct step *ret)
{
    const char *path = trade->input->profile->subject_token_file;
    trade->phase = TRADE_SUBJECT;
    if (path)
        *ret = (struct step){.kind = STEP_FILE, .file = {.path = path, .key = "subject_token_file"}};
    else
        *ret = (struct step){.kind = STEP_PARENT, .parent = {.refresh = trade->refused.kind != FAILURE_NONE}};
    return 0;
}

int trade_start(struct trade *trade, const struct trade_kind *kind, enum grant_op op, const struct input *input,
                struct step *ret)
{
    if (op != GRANT_ACQUIRE)
        return -EINVAL;
    *trade = (struct trade){.kind = kind, .input = input, .subject = BUFFER(LIMIT_TOKEN), .actor = BUFFER(LIMIT_TOKEN)};
    int r = exchange_open(&trade->exchange, input->profile);
    return r < 0 ? r : ask_subject(trade, ret);
}

static int send_trade(struct trade *trade, struct step *ret)
{
    const struct profile *profile = trade->input->profile;
    struct buffer *body = &trade->exchange.body;
    trade->phase = TRADE_SENDING;
    exchange_begin(&trade->exchange, ENDPOINT_TOKEN);
    form_text(body, "grant_type", trade->kind->grant_type);
    form_pair(body, trade->kind->field, buffer_span(&trade->subject));
    int r = trade->kind->add ? trade->kind->add(body, profile) : 0;
    if (r == 0 && trade->actor.length)
        r = form_pair(body, "actor_token", buffer_span(&trade->actor));
    if (r == 0)
        r = exchange_target(&trade->exchange, input_request(trade->input), true);
    return r < 0 ? r : exchange_step(&trade->exchange, ret);
}

/* A new token of the parent's, or the same that was refused. */
static int take_subject(struct trade *trade, const struct answer *answer, struct step *ret)
{
    const char *actor = trade->input->profile->actor_token_file;
    bool same = trade->refused.kind != FAILURE_NONE && span_equals(answer->body, buffer_span(&trade->subject));
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_SECRET_MISSING, "the token to be traded in");
    if (same)
        return step_fail(ret, &trade->refused);
    (void)snprintf(trade->person, sizeof(trade->person), "%s", answer->person ? answer->person : "");
    buffer_clear(&trade->subject);
    int r = buffer_append(&trade->subject, answer->body.data, answer->body.length);
    if (r < 0)
        return r;
    if (!actor)
        return send_trade(trade, ret);
    trade->phase = TRADE_ACTOR;
    *ret = (struct step){.kind = STEP_FILE, .file = {.path = actor, .key = "actor_token_file"}};
    return 0;
}

static int take_actor(struct trade *trade, const struct answer *answer, struct step *ret)
{
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_SECRET_MISSING, "the actor's token");
    buffer_clear(&trade->actor);
    int r = buffer_append(&trade->actor, answer->body.data, answer->body.length);
    return r < 0 ? r : send_trade(trade, ret);
}

/* ---- the answer ---- */

static bool among(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* What an error says beside what answer_tokens() reads. */
struct refusal {
    bool person;  /* who signed in at the parent has to do something, by the authority's own word */
    bool subject; /* it may be the token that was given */
};

/* An invalid_grant alone is no reason to send for the person: it is said of a token for another audience too. */
static void read_refusal(const struct trade *trade, const struct answer *answer, struct refusal *ret)
{
    static const char *const person[] = {"interaction_required", "consent_required", "login_required", NULL};
    static const char *const action[] = {"basic_action", "additional_action", "consent_required",
                                         "user_password_expired", NULL};
    _cleanup_json_wipe_ json_object *json = NULL;
    const char *error = "", *suberror = "";
    *ret = (struct refusal){0};
    if (answer->error || json_parse(answer->body.data, answer->body.length, LIMIT_RESPONSE_DEPTH, &json) < 0)
        return;
    (void)json_string(json, "error", LIMIT_CODE, &error);
    (void)json_string(json, "suberror", LIMIT_CODE, &suberror);
    bool grant = strcmp(error, "invalid_grant") == 0;
    ret->person = *trade->person && (among(error, person) || (grant && among(suberror, action)));
    ret->subject = grant || (trade->kind->exchanged && strcmp(error, "invalid_request") == 0);
}

static int fail_person(const struct trade *trade, struct failure *why, struct step *ret)
{
    char reason[LIMIT_TEXT];
    (void)snprintf(reason, sizeof(reason), "parent %s: %.*s", trade->input->profile->parent,
                   LIMIT_TEXT - LIMIT_PROFILE_NAME - 16, why->reason);
    memcpy(why->reason, reason, sizeof(reason));
    (void)snprintf(why->profile, sizeof(why->profile), "%s", trade->person);
    return step_fail(ret, why);
}

static int fail(struct trade *trade, const struct refusal *refusal, struct failure *why, struct step *ret)
{
    bool definite = why->kind == FAILURE_AUTHORITY_REFUSED;
    if (why->kind == FAILURE_LOGIN_REQUIRED)
        return fail_person(trade, why, ret);
    failure_name_scope(why, input_request(trade->input), trade->input->profile);
    if (!definite || !refusal->subject || trade->input->profile->subject_token_file ||
        trade->refused.kind != FAILURE_NONE)
        return step_fail(ret, why);
    trade->refused = *why;
    return ask_subject(trade, ret);
}

static int take_tokens(struct trade *trade, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    const struct profile *profile = trade->input->profile;
    _cleanup_free_ char *issued = NULL;
    struct refusal refusal;
    struct failure why;
    enum outcome outcome;
    read_refusal(trade, answer, &refusal);
    if (trade->kind->exchanged)
        outcome = answer_exchanged(answer, profile, refusal.person, tick, &trade->tokens, &issued, &why);
    else
        outcome = answer_tokens(answer, profile, refusal.person, tick, &trade->tokens, &why);
    if (outcome != OUTCOME_OK)
        return fail(trade, &refusal, &why, ret);
    if (trade->kind->check && trade->kind->check(issued, profile) < 0) {
        char sentence[LIMIT_TEXT];
        (void)snprintf(sentence, sizeof(sentence), "the authority issued another kind of token than was asked for: %s",
                       issued);
        failure_refused(&why, "invalid_token", sentence);
        return step_fail(ret, &why);
    }
    if (!scopes_granted(profile, request_scopes(input_request(trade->input), profile), trade->tokens.scope, &why))
        return step_fail(ret, &why);
    trade->tokens.refresh_token = secret_unref(trade->tokens.refresh_token);
    if (trade->tokens.expires_in_s < 0)
        trade->tokens.expires_in_s = DEFAULT_LIFETIME_S;
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &trade->tokens}};
    return 0;
}

int trade_next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct trade *trade = state;
    bool answered;
    if (trade->phase == TRADE_SUBJECT)
        return take_subject(trade, answer, ret);
    if (trade->phase == TRADE_ACTOR)
        return take_actor(trade, answer, ret);
    int r = exchange_next(&trade->exchange, answer, ret, &answered);
    return r < 0 || !answered ? r : take_tokens(trade, answer, tick, ret);
}

void trade_end(void *state)
{
    struct trade *trade = state;
    exchange_close(&trade->exchange);
    buffer_free(&trade->subject);
    buffer_free(&trade->actor);
    tokens_clear(&trade->tokens);
}

const char *trade_check(const struct profile *profile)
{
    if (!profile->parent && !profile->subject_token_file)
        return "needs parent, the profile whose token is traded in, or subject_token_file";
    if (profile->parent && profile->subject_token_file)
        return "has parent and subject_token_file: drop one";
    return exchange_check(profile);
}
