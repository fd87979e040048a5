#include "login/proof.h"

#include "acquire/verification.h"
#include "authority/http.h"
#include "authority/jws.h"
#include "cleanup.h"
#include "clock.h"
#include "json.h"
#include "lines.h"
#include "log.h"
#include "login/parts.h"
#include "login/person.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

struct proof {
    const struct wanted *wanted;
    const struct profile *profile;
    struct parts parts;
    struct timer deadline;
    struct verification *verification;
    struct buffer line; /* verified, when it is */
    enum failing failing;
    char text[PARTS_TEXT];
};

static void fail(struct proof *proof, enum failing failing, const char *text)
{
    proof->failing = failing;
    (void)snprintf(proof->text, sizeof(proof->text), "%s", text);
    buffer_free(&proof->line);
    loop_stop(proof->parts.loop, 0);
}

/* Its end is no news any more to whoever looks whether somebody listens (voice.h). */
static int forget_input(void)
{
    _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return null < 0 || dup2(null, STDIN_FILENO) < 0 ? -errno : 0;
}

/* All of standard input without its white space: 0, -EMSGSIZE, -ETIMEDOUT, -ENOMEM, -EIO. */
static int read_token(struct buffer *token, int64_t wait_ms)
{
    int64_t until = clock_boot_ms() + wait_ms;
    for (;;) {
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        int64_t left = until - clock_boot_ms();
        if (left <= 0 || poll(&input, 1, (int)left) == 0)
            return -ETIMEDOUT;
        int r = buffer_reserve(token, 4096);
        if (r < 0)
            return r;
        ssize_t n = read(STDIN_FILENO, token->data + token->length, 4096);
        if (n < 0 && errno != EINTR)
            return -EIO;
        if (n == 0)
            break;
        token->length += n > 0 ? (size_t)n : 0;
    }
    while (token->length > 0 && strchr(" \t\r\n", token->data[token->length - 1]))
        token->data[--token->length] = '\0';
    return 0;
}

static bool names_audience(json_object *claims, const char *wanted)
{
    json_object *value;
    if (!wanted || json_member(claims, "aud", &value) < 0)
        return false;
    bool array = json_object_is_type(value, json_type_array);
    size_t count = array ? json_object_array_length(value) : 1;
    for (size_t i = 0; i < count; i++) {
        json_object *one = array ? json_object_array_get_idx(value, i) : value;
        if (json_object_is_type(one, json_type_string) && strcmp(json_object_get_string(one), wanted) == 0)
            return true;
    }
    return false;
}

/* Which of those that the profile knows of the token says it is for. It is verified afterwards. */
static const char *choose_audience(const struct profile *profile, struct span token)
{
    const char *const known[] = {profile->client_id, profile->audience, profile->resource};
    const char *found = profile->client_id;
    json_object *claims = NULL;
    if (jws_claims_unverified(token, &claims) != JWS_OK)
        return found;
    for (size_t i = ELEMENTS(known); i-- > 0;)
        if (names_audience(claims, known[i]))
            found = known[i];
    json_wipe(claims);
    return found;
}

/* A token for a service is handed to many clients: only one that names ours was made by a sign-in with ours. */
static bool is_ours(const struct proof *proof, json_object *claims)
{
    static const char *const names[] = {"azp", "appid", "client_id"};
    bool any = names_audience(claims, proof->profile->client_id);
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        json_object *value;
        if (json_member(claims, names[i], &value) < 0)
            continue;
        if (!json_object_is_type(value, json_type_string) ||
            strcmp(json_object_get_string(value), proof->profile->client_id) != 0)
            return false;
        any = true;
    }
    return any;
}

static void on_left(void *arg, const char *claim, const char *why)
{
    const struct proof *proof = arg;
    log_event(LOG_LEVEL_WARNING, "a claim is not told", "PROFILE", proof->profile->name, "CLAIM", claim, "WHY", why,
              NULL);
}

static void on_claims(void *arg, json_object *claims, const struct failure *why)
{
    struct proof *proof = arg;
    int64_t issued, expires_at = 0;
    proof->verification = NULL;
    if (why) {
        char text[PARTS_TEXT];
        bool unreachable = why->kind == FAILURE_AUTHORITY_UNREACHABLE && http_answers(proof->parts.http) == 0;
        parts_explain(why, text);
        fail(proof,
             unreachable                                  ? FAILING_UNREACHABLE
             : why->kind == FAILURE_INVALID_CONFIGURATION ? FAILING_CONFIG
                                                          : FAILING_UNTRUSTED,
             text);
        return;
    }
    if (!is_ours(proof, claims)) {
        fail(proof, FAILING_UNTRUSTED, "the token was not made for this client (azp, appid, client_id)");
        return;
    }
    if (json_number(claims, "iat", &issued) < 0) {
        fail(proof, FAILING_UNTRUSTED, "the token does not say when it was issued (iat)");
        return;
    }
    (void)json_number(claims, "exp", &expires_at);
    line_begin(&proof->line, "verified");
    int r = person_tell(&proof->line, claims, proof->profile->client_id, proof->wanted, true, on_left, proof);
    line_put_number(&proof->line, "expires_at", expires_at);
    if (r == -EBADMSG || line_end(&proof->line) < 0)
        fail(proof, FAILING_UNTRUSTED, "the token has no subject that can be told, or too much beside it");
    loop_stop(proof->parts.loop, 0);
}

static void on_deadline(void *arg)
{
    fail(arg, FAILING_TIMEOUT, "the token could not be verified in time");
}

static int begin(struct proof *proof, struct profile *profile, struct span token, int64_t wait_ms)
{
    struct loop *loop = proof->parts.loop;
    int r = timer_start(loop, &proof->deadline, loop_now(loop) + wait_ms, on_deadline, proof);
    return r < 0 ? r
                 : verification_start_bearer(proof->parts.conductor, profile, token, choose_audience(profile, token),
                                             on_claims, proof, &proof->verification);
}

static int run(struct proof *proof, struct config *config, struct profile *profile)
{
    _cleanup_buffer_ struct buffer token = BUFFER(LIMIT_JWS + 4096);
    int64_t began = clock_boot_ms();
    int r = parts_open(&proof->parts, config);
    if (r == 0) {
        int forgotten;
        r = read_token(&token, proof->wanted->wait_ms);
        forgotten = forget_input();
        r = forgotten < 0 ? forgotten : r;
    }
    if (r == -EMSGSIZE) {
        fail(proof, FAILING_UNTRUSTED, "the token is too long");
        return 0;
    }
    if (r == 0)
        r = begin(proof, profile, buffer_span(&token), proof->wanted->wait_ms - (clock_boot_ms() - began));
    return r < 0 ? r : loop_run(proof->parts.loop);
}

int proof_run(const struct wanted *wanted, struct config *config, struct profile *profile, const struct voice *voice)
{
    struct proof proof = {.wanted = wanted, .profile = profile, .line = BUFFER(LIMIT_LINE + 1)};
    int r = run(&proof, config, profile), status = 1;
    if (r < 0) {
        proof.failing = r == -ETIMEDOUT ? FAILING_TIMEOUT : FAILING_INTERNAL;
        (void)snprintf(proof.text, sizeof(proof.text), "the token could not be looked at: %s", strerror(-r));
    }
    if (r < 0 || proof.line.length == 0)
        (void)voice->fail(voice->arg, proof.failing, proof.text);
    else
        status = voice->done(voice->arg, &proof.line) < 0;
    verification_cancel(proof.verification);
    timer_stop(&proof.deadline);
    buffer_free(&proof.line);
    parts_close(&proof.parts);
    return status;
}
