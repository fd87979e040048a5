#include "grant/revocation.h"

#include "grant/form.h"

static int done(bool revoked, struct step *ret)
{
    *ret = (struct step){.kind = STEP_DONE, .done = {.revoked = revoked}};
    return 0;
}

/* No endpoint is an answer, not a failure. */
static int pass(const struct revocation *revocation, struct step *ret)
{
    return ret->kind == STEP_FAIL && revocation->exchange.absent ? done(false, ret) : 0;
}

int revocation_start(struct revocation *revocation, const struct input *input, struct step *ret)
{
    revocation->input = input;
    if (!input->held || !input->held->refresh_token)
        return done(false, ret);
    if (profile_is_entra(input->profile) && !input->profile->revocation_endpoint)
        return done(false, ret);
    int r = exchange_open(&revocation->exchange, input->profile);
    if (r < 0)
        return r;
    exchange_begin(&revocation->exchange, ENDPOINT_REVOCATION);
    form_pair(&revocation->exchange.body, "token", secret_span(input->held->refresh_token));
    form_text(&revocation->exchange.body, "token_type_hint", "refresh_token");
    r = exchange_step(&revocation->exchange, ret);
    return r < 0 ? r : pass(revocation, ret);
}

int revocation_next(struct revocation *revocation, const struct answer *answer, const struct tick *tick,
                    struct step *ret)
{
    bool answered;
    struct failure why;
    int r = exchange_next(&revocation->exchange, answer, ret, &answered);
    if (r < 0)
        return r;
    if (!answered)
        return pass(revocation, ret);
    if (answer_error(answer, revocation->input->profile, false, tick, NULL, &why) != OUTCOME_OK)
        return step_fail(ret, &why);
    return done(true, ret);
}

void revocation_end(struct revocation *revocation)
{
    exchange_close(&revocation->exchange);
}
