#include "grant/password_login.h"

#include "grant/form.h"
#include <errno.h>
#include <stdio.h>

bool password_login_alone(const struct input *input)
{
    return input->profile->password.kind != SOURCE_NONE;
}

int password_login_start(struct password_login *login, const struct input *input, struct step *ret)
{
    login->input = input;
    login->phase = PASSWORD_ASKING;
    signed_in_begin(&login->end, input);
    int r = exchange_open(&login->exchange, input->profile);
    if (r < 0)
        return r;
    if (password_login_alone(input))
        *ret = (struct step){.kind = STEP_SECRET, .secret = "password"};
    else
        *ret = (struct step){.kind = STEP_ASK, .prompt = {.secret = "password"}};
    return 0;
}

static int send_password(struct password_login *login, const struct answer *answer, struct step *ret)
{
    const struct profile *profile = login->input->profile;
    struct exchange *exchange = &login->exchange;
    int r = 0;
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_SECRET_MISSING, "password");
    login->phase = PASSWORD_SENDING;
    if (profile_is_mlserver(profile)) {
        exchange_begin(exchange, ENDPOINT_LOGIN);
        exchange_member(exchange, "username", span_of(profile->username));
        exchange_member(exchange, "password", answer->body);
    } else {
        exchange_begin(exchange, ENDPOINT_TOKEN);
        form_text(&exchange->body, "grant_type", "password");
        if (profile_is_b2c(profile))
            form_text(&exchange->body, "response_type", "token id_token");
        form_text(&exchange->body, "username", profile->username);
        form_pair(&exchange->body, "password", answer->body);
        r = exchange_target(exchange, input_request(login->input), true);
    }
    return r < 0 ? r : exchange_step(exchange, ret);
}

static int refused(const struct password_login *login, const struct answer *answer, struct failure *why,
                   struct step *ret)
{
    static const char advice[] = "it is not sent again by itself until something changes";
    bool mlserver = profile_is_mlserver(login->input->profile);
    /* B2C says access_denied of a wrong password (AADB2C90225) */
    bool b2c = profile_is_b2c(login->input->profile) && strcmp(why->error, "access_denied") == 0;
    bool said = mlserver ? answer->status == 401 : b2c || strcmp(why->error, "invalid_grant") == 0;
    why->credentials = said && why->class == CLASS_DEFINITE; /* Entra says invalid_grant also for "not now" */
    failure_name_scope(why, input_request(login->input), login->input->profile);
    char known[LIMIT_TEXT];
    memcpy(known, why->reason, sizeof(known));
    if (why->credentials)
        (void)snprintf(why->reason, sizeof(why->reason), "%.*s; %s", LIMIT_TEXT / 2,
                       *known ? known : "the user name or the password is wrong", advice);
    return step_fail(ret, why);
}

/* Without an id_token the authority says nothing of who this is; what was typed is all there is to show. */
static void name_account(struct password_login *login)
{
    const struct profile *profile = login->input->profile;
    struct identity *who = &login->end.credential.identity;
    (void)snprintf(who->account, sizeof(who->account), "%s", profile->username);
    if (!profile_is_mlserver(profile))
        return;
    (void)snprintf(who->issuer, sizeof(who->issuer), "%s", profile->authority);
    (void)snprintf(who->subject, sizeof(who->subject), "%s", profile->username);
}

static int answered(struct password_login *login, const struct answer *answer, const struct tick *tick,
                    struct step *ret)
{
    const struct profile *profile = login->input->profile;
    struct failure why;
    if (answer_tokens(answer, profile, false, tick, &login->end.tokens, &why) != OUTCOME_OK)
        return refused(login, answer, &why, ret);
    if (profile_is_mlserver(profile))
        login->end.credential.ends_at = tick->wall_s + MLSERVER_CHAIN_S;
    name_account(login);
    login->phase = PASSWORD_ENDING;
    return signed_in_start(&login->end, tick, ret);
}

int password_login_next(struct password_login *login, const struct answer *answer, const struct tick *tick,
                        struct step *ret)
{
    bool done;
    int r;
    switch (login->phase) {
    case PASSWORD_ASKING:
        return send_password(login, answer, ret);
    case PASSWORD_SENDING:
        r = exchange_next(&login->exchange, answer, ret, &done);
        return r < 0 || !done ? r : answered(login, answer, tick, ret);
    case PASSWORD_ENDING:
        return signed_in_next(&login->end, answer, ret);
    }
    return -EINVAL;
}

void password_login_end(struct password_login *login)
{
    exchange_close(&login->exchange);
    signed_in_end(&login->end);
}
