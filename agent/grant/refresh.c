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

static bool is_entra(const struct refresh *refresh)
{
    return profile_is_entra(refresh->input->profile);
}

/* Holds the request back until it is recorded; everything else passes. */
static int pass(struct refresh *refresh, struct step *ret)
{
    refresh->phase = REFRESH_ASKING;
    bool harmless = is_entra(refresh) || (refresh->next.steady && !refresh->repeat);
    if (ret->kind != STEP_HTTP || harmless || refresh->recorded)
        return 0;
    refresh->sending = *ret;
    refresh->next.sending = true;
    refresh->next.uncertain = refresh->repeat;
    return save(refresh, REFRESH_RECORDING, ret);
}

static int ask(struct refresh *refresh, struct step *ret)
{
    const struct profile *profile = refresh->input->profile;
    const struct request *asked = input_request(refresh->input);
    if (profile_is_mlserver(profile)) {
        exchange_begin(&refresh->exchange, ENDPOINT_TOKEN);
        exchange_member(&refresh->exchange, "refreshToken", secret_span(refresh->next.refresh_token));
        int r = exchange_step(&refresh->exchange, ret);
        return r < 0 ? r : pass(refresh, ret);
    }
    bool scopes = profile_is_entra(profile) || profile_is_b2c(profile) ||
                  !scopes_same(request_scopes(asked, profile), refresh->next.scope);
    exchange_begin(&refresh->exchange, ENDPOINT_TOKEN);
    /* else Entra gives no newer one, and the sign-in ends 90 days after it was made, however much it is used */
    refresh->exchange.offline = profile->dialect == DIALECT_ENTRA;
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
                           "a renewal and its one repeat brought no new refresh token, and a third try with the same "
                           "one could make the authority end every session of it");
    refresh->input = input;
    int r = credential_copy(held, &refresh->next);
    if (r == 0)
        r = exchange_open(&refresh->exchange, input->profile);
    if (r < 0)
        return r;
    refresh->repeat = (held->unanswered || held->sending) && !is_entra(refresh);
    refresh->marked = held->sending;
    refresh->next.sending = false;
    return ask(refresh, ret);
}

/* There is no new refresh token, and nothing more is sent now. */
static int take_back(struct refresh *refresh, bool unanswered, bool uncertain, struct step *ret)
{
    struct credential *next = &refresh->next;
    bool same = !refresh->marked && next->unanswered == unanswered && next->uncertain == uncertain;
    if (same || is_entra(refresh))
        return step_fail(ret, &refresh->why);
    next->sending = false;
    next->unanswered = unanswered;
    next->uncertain = uncertain;
    return save(refresh, REFRESH_KEEPING, ret);
}

/* No tokens, and trying again later may help. */
static int not_now(struct refresh *refresh, const struct answer *answer, struct step *ret)
{
    bool lost = answer->error && answer->maybe_sent;
    bool unread = !answer->error && answer->status == 200; /* what it gave cannot be used */
    if (!lost && !refresh->repeat)
        return take_back(refresh, unread, false, ret);
    if (lost && !refresh->repeat && answer->error == -ETIMEDOUT && !is_entra(refresh)) {
        refresh->why.retry_after_ms = LIMIT_BACKOFF_MS;
        return take_back(refresh, true, false, ret);
    }
    if (lost && !refresh->repeat && !is_entra(refresh)) {
        refresh->repeat = true;
        refresh->recorded = false;
        return ask(refresh, ret);
    }
    refresh->why.uncertain = !is_entra(refresh);
    return take_back(refresh, true, lost, ret);
}

static int refused(struct refresh *refresh, enum outcome outcome, struct step *ret)
{
    failure_name_scope(&refresh->why, input_request(refresh->input), refresh->input->profile);
    if (outcome == OUTCOME_LOGIN && refresh->repeat) {
        struct failure said = refresh->why;
        failure_set(&refresh->why, said.kind, said.class,
                    "the answer to a renewal was lost, and its repeat with the used-up refresh token was refused "
                    "(reuse detection); %s",
                    said.reason);
        memcpy(said.reason, refresh->why.reason, sizeof(said.reason));
        refresh->why = said;
    }
    return take_back(refresh, refresh->repeat, refresh->repeat && outcome == OUTCOME_LOGIN, ret);
}

static int finish(struct refresh *refresh, struct step *ret)
{
    if (refresh->why.kind != FAILURE_NONE)
        return step_fail(ret, &refresh->why);
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &refresh->tokens}};
    return 0;
}

/* What came is kept before anything is said of it. */
static int keep_rotated(struct refresh *refresh, const struct tick *tick, struct step *ret)
{
    const struct tokens *tokens = &refresh->tokens;
    bool other = tokens->refresh_token &&
                 !span_equals(secret_span(tokens->refresh_token), secret_span(refresh->next.refresh_token));
    if (!other && !refresh->marked && !refresh->next.uncertain && !refresh->next.unanswered)
        return finish(refresh, ret);
    refresh->next.sending = refresh->next.uncertain = refresh->next.unanswered = false;
    refresh->next.steady = !other && !is_entra(refresh);
    credential_note_life(&refresh->next, tokens, tick);
    if (other) {
        secret_unref(refresh->next.refresh_token);
        refresh->next.refresh_token = secret_ref(tokens->refresh_token);
    }
    return save(refresh, REFRESH_KEEPING, ret);
}

static int renewed(struct refresh *refresh, const struct tick *tick, struct step *ret)
{
    struct tokens *tokens = &refresh->tokens;
    const struct profile *profile = refresh->input->profile;
    if (scopes_granted(profile, request_scopes(input_request(refresh->input), profile), tokens->scope, &refresh->why))
        refresh->why = (struct failure){.kind = FAILURE_NONE};
    tokens->id_token = wipe_free(tokens->id_token);
    if (tokens->expires_in_s < 0)
        tokens->expires_in_s = DEFAULT_LIFETIME_S;
    return keep_rotated(refresh, tick, ret);
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
                                     refresh->repeat ? "that a renewal is repeated could not be kept"
                                                     : "that a renewal begins could not be kept");
            ret->fail.uncertain = refresh->repeat;
            return r;
        }
        refresh->recorded = refresh->marked = true;
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
        return renewed(refresh, tick, ret);
    if (outcome == OUTCOME_REFUSED && answer_refresh_token(answer, &refresh->tokens.refresh_token) == 0)
        return keep_rotated(refresh, tick, ret); /* then `why` is said */
    return outcome == OUTCOME_RETRY ? not_now(refresh, answer, ret) : refused(refresh, outcome, ret);
}

void refresh_end(struct refresh *refresh)
{
    exchange_close(&refresh->exchange);
    credential_clear(&refresh->next);
    tokens_clear(&refresh->tokens);
}
