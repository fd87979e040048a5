#include "grant/refresh.h"

#include "cleanup.h"
#include "grant/form.h"
#include <errno.h>

static int needs_login(struct step *ret, const char *reason)
{
    struct failure why;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "%s", reason);
    return step_fail(ret, &why);
}

static int save(struct refresh *refresh, int phase, struct step *ret)
{
    refresh->phase = phase;
    *ret = (struct step){.kind = STEP_SAVE, .save = &refresh->next};
    return 0;
}

/* Holds the repeat back until it is recorded; everything else passes. */
static int pass(struct refresh *refresh, struct step *ret)
{
    refresh->phase = REFRESH_ASKING;
    if (ret->kind != STEP_HTTP || !refresh->repeat || refresh->recorded)
        return 0;
    refresh->sending = *ret;
    refresh->next.uncertain = true;
    return save(refresh, REFRESH_RECORDING, ret);
}

static int ask(struct refresh *refresh, struct step *ret)
{
    const struct profile *profile = refresh->input->profile;
    const struct request *asked = input_request(refresh->input);
    bool scopes = profile_is_entra(profile) || !scopes_same(request_scopes(asked, profile), refresh->next.scope);
    exchange_begin(&refresh->exchange, ENDPOINT_TOKEN);
    form_text(&refresh->exchange.body, "grant_type", "refresh_token");
    form_pair(&refresh->exchange.body, "refresh_token", secret_span(refresh->next.refresh_token));
    int r = exchange_target(&refresh->exchange, asked, scopes);
    if (r == 0)
        r = exchange_step(&refresh->exchange, ret);
    return r < 0 ? r : pass(refresh, ret);
}

int refresh_start(struct refresh *refresh, const struct input *input, struct step *ret)
{
    const struct credential *held = input->held;
    if (!held)
        return needs_login(ret, "nobody is signed in");
    if (!held->refresh_token)
        return needs_login(ret, "the token has ended and the authority gave no refresh token with it: many do when "
                                "scope has offline_access");
    if (held->uncertain && !profile_is_entra(input->profile))
        return needs_login(ret,
                           "the answer to a renewal was lost twice, and a third try with the same refresh token could "
                           "make the authority end every session of it");
    refresh->input = input;
    int r = credential_copy(held, &refresh->next);
    if (r == 0)
        r = exchange_open(&refresh->exchange, input->profile);
    if (r < 0)
        return r;
    refresh->repeat = held->unanswered && !profile_is_entra(input->profile);
    return ask(refresh, ret);
}

/* The one repeat is still to be had: it did not use the refresh token up, or there was none yet. */
static int take_back(struct refresh *refresh, struct step *ret)
{
    refresh->next.uncertain = false;
    refresh->next.unanswered = true;
    return save(refresh, REFRESH_KEEPING, ret);
}

/* No tokens, and trying again later may help. */
static int not_now(struct refresh *refresh, const struct answer *answer, struct step *ret)
{
    bool lost = answer->error && answer->maybe_sent;
    if (profile_is_entra(refresh->input->profile) || (!lost && !refresh->repeat))
        return step_fail(ret, &refresh->why);
    if (lost && !refresh->repeat && answer->error == -ETIMEDOUT) {
        refresh->why.retry_after_ms = LIMIT_BACKOFF_MS;
        return take_back(refresh, ret);
    }
    if (lost && !refresh->repeat) {
        refresh->repeat = true;
        return ask(refresh, ret);
    }
    refresh->why.uncertain = true;
    return lost ? step_fail(ret, &refresh->why) : take_back(refresh, ret);
}

static int refused(struct refresh *refresh, enum outcome outcome, struct step *ret)
{
    failure_name_scope(&refresh->why, input_request(refresh->input), refresh->input->profile);
    if (outcome != OUTCOME_LOGIN && refresh->repeat)
        return take_back(refresh, ret);
    if (outcome == OUTCOME_LOGIN && refresh->repeat) {
        struct failure said = refresh->why;
        failure_set(&refresh->why, said.kind, said.class,
                    "the answer to a renewal was lost, and the refresh token is used up by it; %s", said.reason);
        memcpy(said.reason, refresh->why.reason, sizeof(said.reason));
        refresh->why = said;
    }
    return step_fail(ret, &refresh->why);
}

static int finish(struct refresh *refresh, struct step *ret)
{
    if (refresh->why.kind != FAILURE_NONE)
        return step_fail(ret, &refresh->why);
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &refresh->tokens}};
    return 0;
}

static int renewed(struct refresh *refresh, struct step *ret)
{
    struct tokens *tokens = &refresh->tokens;
    const struct profile *profile = refresh->input->profile;
    if (scopes_granted(profile, request_scopes(input_request(refresh->input), profile), tokens->scope, &refresh->why))
        refresh->why = (struct failure){.kind = FAILURE_NONE};
    tokens->id_token = wipe_free(tokens->id_token);
    if (tokens->expires_in_s < 0)
        tokens->expires_in_s = DEFAULT_LIFETIME_S;
    if (!tokens->refresh_token && !refresh->next.uncertain && !refresh->next.unanswered)
        return finish(refresh, ret);
    refresh->next.uncertain = refresh->next.unanswered = false;
    if (tokens->refresh_token) {
        secret_unref(refresh->next.refresh_token);
        refresh->next.refresh_token = secret_ref(tokens->refresh_token);
    }
    return save(refresh, REFRESH_KEEPING, ret);
}

int refresh_next(struct refresh *refresh, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    if (refresh->phase == REFRESH_KEEPING) {
        /* the reason why there is no token outweighs that it could not be kept */
        if (answer->error && refresh->why.kind == FAILURE_NONE)
            return step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "the new refresh token could not be kept");
        return finish(refresh, ret);
    }
    if (refresh->phase == REFRESH_RECORDING) {
        if (answer->error) {
            int r = step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE,
                                     "that a renewal is repeated could not be kept");
            ret->fail.uncertain = true;
            return r;
        }
        refresh->recorded = true;
        refresh->phase = REFRESH_ASKING;
        *ret = refresh->sending;
        return 0;
    }
    bool answered;
    int r = exchange_next(&refresh->exchange, answer, ret, &answered);
    if (r < 0)
        return r;
    if (!answered)
        return pass(refresh, ret);
    enum outcome outcome = answer_tokens(answer, refresh->input->profile, true, tick, &refresh->tokens, &refresh->why);
    if (outcome == OUTCOME_OK)
        return renewed(refresh, ret);
    return outcome == OUTCOME_RETRY ? not_now(refresh, answer, ret) : refused(refresh, outcome, ret);
}

void refresh_end(struct refresh *refresh)
{
    exchange_close(&refresh->exchange);
    credential_clear(&refresh->next);
    tokens_clear(&refresh->tokens);
}
