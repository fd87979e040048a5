#include "login/attempt.h"

#include "acquire/signin.h"
#include "authority/http.h"
#include "authority/url.h"
#include "cleanup.h"
#include "clock.h"
#include "json.h"
#include "lines.h"
#include "log.h"
#include "login/parts.h"
#include "login/person.h"
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

struct attempt {
    const struct wanted *wanted;
    const struct profile *profile;
    const struct voice *voice;
    struct parts parts;
    struct login login;
    struct timer deadline;
    struct watch on_input, on_signal;
    int signals;
    json_object *claims; /* of the id_token, once it is verified; NULL: none came */
    bool verifying;      /* what fails from now on is the id_token's */
    struct buffer line;  /* done, once it went well */
    bool ended, quiet;   /* quiet: nobody listens any more */
    enum failing failing;
    char text[PARTS_TEXT];
};

/* ---- how it ends ---- */

/* The first reason counts. */
static void end(struct attempt *attempt)
{
    attempt->ended = true;
    loop_stop(attempt->parts.loop, 0);
}

static void fail(struct attempt *attempt, enum failing failing, const char *text)
{
    if (attempt->ended)
        return;
    attempt->failing = failing;
    (void)snprintf(attempt->text, sizeof(attempt->text), "%s", text);
    buffer_clear(&attempt->line);
    end(attempt);
}

static void leave(struct attempt *attempt)
{
    attempt->quiet = true;
    end(attempt);
}

static void on_deadline(void *arg)
{
    struct attempt *attempt = arg;
    char text[LIMIT_TEXT];
    (void)snprintf(text, sizeof(text), "nobody finished the sign-in within %lld s",
                   (long long)(attempt->wanted->wait_ms / 1000));
    fail(attempt, FAILING_TIMEOUT, text);
}

/* Nothing is said to us there: whatever comes means that the module has gone, or is none. */
static void on_input(void *arg, uint32_t events)
{
    (void)events;
    leave(arg);
}

static void on_signal(void *arg, uint32_t events)
{
    (void)events;
    leave(arg);
}

static enum failing failing_of(const struct attempt *attempt, const struct failure *why)
{
    if (attempt->verifying)
        return FAILING_UNTRUSTED;
    switch (why->kind) {
    case FAILURE_SIGN_IN_FAILED:
        return strcmp(why->reason, "declined") == 0  ? FAILING_DENIED
               : strcmp(why->reason, "expired") == 0 ? FAILING_EXPIRED
                                                     : FAILING_REFUSED;
    case FAILURE_NO_SUCH_PROFILE:
    case FAILURE_INVALID_CONFIGURATION:
    case FAILURE_SECRET_MISSING:
    case FAILURE_NOT_SUPPORTED:
        return FAILING_CONFIG;
    case FAILURE_AUTHORITY_UNREACHABLE:
        return http_answers(attempt->parts.http) == 0 ? FAILING_UNREACHABLE : FAILING_REFUSED;
    case FAILURE_LOGIN_REQUIRED:
    case FAILURE_AUTHORITY_REFUSED:
        return FAILING_REFUSED;
    case FAILURE_INVALID_TOKEN:
        return FAILING_UNTRUSTED;
    case FAILURE_NONE:
    case FAILURE_TOKEN_TOO_SHORT:
    case FAILURE_STORE_UNAVAILABLE:
    case FAILURE_LOCKED:
    case FAILURE_DENIED:
    case FAILURE_BUSY:
        break;
    }
    return FAILING_INTERNAL;
}

static void fail_with(struct attempt *attempt, const struct failure *why)
{
    char text[PARTS_TEXT];
    enum failing failing = failing_of(attempt, why);
    parts_explain(why, text);
    fail(attempt, failing,
         failing == FAILING_DENIED    ? "the sign-in was declined"
         : failing == FAILING_EXPIRED ? "nobody entered the code in time"
                                      : text);
}

/* ---- on the way ---- */

/* The address is https whoever the authority is, and on a host that the administrator named, if any was. */
static const char *refuse_address(const struct attempt *attempt, const char *address)
{
    const struct wanted *wanted = attempt->wanted;
    struct url url;
    if (url_parse(address, &url) < 0 || !url.https)
        return "the authority sends people to an address that is not https";
    if (wanted->host_count > 0 && !url_host_in(&url, (char *const *)(uintptr_t)wanted->hosts))
        return "the authority sends people to a host that is not in verification_hosts";
    return NULL;
}

static void on_prompt(void *arg, const struct prompt_step *prompt)
{
    struct attempt *attempt = arg;
    const char *complete = prompt->verification_uri_complete;
    if (prompt->secret || !prompt->verification_uri || !prompt->user_code) {
        fail(attempt, FAILING_CONFIG, "the grant of this profile shows no code");
        return;
    }
    const char *wrong = refuse_address(attempt, prompt->verification_uri);
    if (!wrong && complete)
        wrong = refuse_address(attempt, complete);
    int64_t life = prompt->expires_at - clock_wall_s();
    if (wrong)
        fail(attempt, FAILING_REFUSED, wrong);
    else if (attempt->voice->prompt(attempt->voice->arg, prompt, life > 0 ? life : 1) < 0)
        leave(attempt);
}

static void on_pending(void *arg)
{
    struct attempt *attempt = arg;
    if (attempt->voice->pending(attempt->voice->arg) < 0)
        leave(attempt);
}

/* No nonce is sent with a sign-in by code: an id_token that has one was made for another. */
static void on_verified(void *arg, json_object *claims, const struct failure *why)
{
    struct attempt *attempt = arg;
    json_object *nonce;
    attempt->verifying = true;
    if (why)
        return;                 /* done() is told of it too */
    attempt->verifying = false; /* what follows is ours */
    if (json_member(claims, "nonce", &nonce) == 0)
        fail(attempt, FAILING_UNTRUSTED, "the id_token's nonce is not the one of this sign-in: none was sent");
    attempt->claims = json_object_get(claims);
}

static void on_left(void *arg, const char *claim, const char *why)
{
    const struct attempt *attempt = arg;
    log_event(LOG_LEVEL_WARNING, "a claim is not told", "PROFILE", attempt->profile->name, "CLAIM", claim, "WHY", why,
              NULL);
}

static int write_tokens(struct attempt *attempt, const struct tokens *tokens, int64_t expires_at, bool access)
{
    struct buffer *line = &attempt->line;
    line_put_text(line, "id_token", tokens->id_token);
    if (access)
        line_put_text(line, "access_token", tokens->access_token);
    if (tokens->refresh_token)
        line_put(line, "refresh_token", secret_span(tokens->refresh_token));
    line_put_number(line, "expires_at", expires_at);
    _cleanup_free_ char *asked = tokens->scope ? NULL : scopes_join(attempt->profile->scopes);
    line_put_text(line, "scopes", tokens->scope ? tokens->scope : asked ? asked : "");
    return line_end(line);
}

static int write_done(struct attempt *attempt, const struct tokens *tokens, int64_t expires_at, bool groups,
                      bool access)
{
    buffer_free(&attempt->line);
    attempt->line = BUFFER(LIMIT_LINE + 1);
    line_begin(&attempt->line, "done");
    int r = person_tell(&attempt->line, attempt->claims, attempt->profile->client_id, attempt->wanted, groups, on_left,
                        attempt);
    return r == -EBADMSG ? r : write_tokens(attempt, tokens, expires_at, access);
}

/* A line holds so much and no more: first the access token is left out, where the agent can get another; then the
 * groups, which then count as not known. */
static void on_landed(void *arg, const struct tokens *tokens, int64_t expires_at)
{
    struct attempt *attempt = arg;
    if (attempt->ended)
        return;
    if (!attempt->claims || !tokens->id_token) {
        fail(attempt, FAILING_UNTRUSTED,
             "the authority sent no id_token, so nobody knows who signed in; is this client allowed the scope openid?");
        return;
    }
    bool renewable = tokens->refresh_token != NULL;
    int r = write_done(attempt, tokens, expires_at, true, true);
    if (r == -EMSGSIZE && renewable)
        r = write_done(attempt, tokens, expires_at, true, false);
    if (r == -EMSGSIZE)
        r = write_done(attempt, tokens, expires_at, false, !renewable);
    if (r == -EBADMSG)
        fail(attempt, FAILING_UNTRUSTED, "the id_token's issuer or subject is no plain text");
    else if (r < 0)
        fail(attempt, FAILING_INTERNAL, r == -EMSGSIZE ? "its tokens are too long to be handed on" : strerror(-r));
}

static void on_done(void *arg, const struct identity *identity, int64_t expires_at, const struct failure *why)
{
    struct attempt *attempt = arg;
    (void)identity;
    (void)expires_at;
    if (attempt->ended)
        return;
    if (why)
        fail_with(attempt, why);
    else
        end(attempt);
}

/* ---- from the beginning ---- */

static int watch_signals(struct attempt *attempt)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    attempt->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return attempt->signals < 0
               ? -errno
               : watch_start(attempt->parts.loop, &attempt->on_signal, attempt->signals, EPOLLIN, on_signal, attempt);
}

static int begin(struct attempt *attempt, bool listening)
{
    static const struct witness witness = {.pending = on_pending, .verified = on_verified, .landed = on_landed};
    struct loop *loop = attempt->parts.loop;
    struct holder *holder;
    struct failure why;
    int r = watch_signals(attempt);
    if (r == 0 && listening)
        r = watch_start(loop, &attempt->on_input, STDIN_FILENO, EPOLLIN | EPOLLRDHUP, on_input, attempt);
    if (r == 0)
        r = timer_start(loop, &attempt->deadline, loop_now(loop) + attempt->wanted->wait_ms, on_deadline, attempt);
    if (r < 0)
        return r;
    attempt->login = (struct login){.prompted = on_prompt, .done = on_done, .arg = attempt, .witness = &witness};
    if (conductor_holder(attempt->parts.conductor, attempt->profile->name, &holder, &why) < 0 ||
        conductor_login(attempt->parts.conductor, holder, &attempt->login, &why) < 0)
        fail_with(attempt, &why);
    return 0;
}

static int conclude(struct attempt *attempt)
{
    const struct voice *voice = attempt->voice;
    if (attempt->quiet)
        return 1;
    if (attempt->line.length == 0) {
        log_event(LOG_LEVEL_DEBUG, "no sign-in", "CLASS", failing_name(attempt->failing), "WHY", attempt->text, NULL);
        (void)voice->fail(voice->arg, attempt->failing, attempt->text);
        return 1;
    }
    return voice->done(voice->arg, &attempt->line) < 0 ? 1 : 0;
}

static void close_attempt(struct attempt *attempt)
{
    login_cancel(&attempt->login);
    timer_stop(&attempt->deadline);
    watch_stop(&attempt->on_input);
    watch_stop(&attempt->on_signal);
    close_cleanup(&attempt->signals);
    json_wipe(attempt->claims);
    buffer_free(&attempt->line);
    parts_close(&attempt->parts);
}

int attempt_run(const struct wanted *wanted, struct config *config, struct profile *profile, const struct voice *voice,
                bool listening)
{
    struct attempt attempt = {
        .wanted = wanted, .profile = profile, .voice = voice, .signals = -1, .line = BUFFER(LIMIT_LINE + 1)};
    int r = parts_open(&attempt.parts, config);
    if (r == 0)
        r = begin(&attempt, listening);
    if (r == 0 && !attempt.ended)
        r = loop_run(attempt.parts.loop);
    if (r < 0 && !attempt.ended) {
        attempt.failing = FAILING_INTERNAL;
        (void)snprintf(attempt.text, sizeof(attempt.text), "the sign-in helper could not go on: %s", strerror(-r));
        buffer_clear(&attempt.line);
    }
    int status = conclude(&attempt);
    close_attempt(&attempt);
    return status;
}
