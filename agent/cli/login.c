/* mltoken login: shows a person where to sign in, and waits. The agent does the rest; closing the connection cancels.
 */
#include "command.h"

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "text.h"
#include "typed.h"
#include "uri.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

struct session {
    struct context *context;
    const struct login *login;
    int signals;        /* a signalfd */
    sigset_t before;    /* the signals that were blocked before those */
    bool terminal;      /* stderr is one */
    int64_t expires_at; /* of the code; 0: no countdown */
    bool counting;      /* a countdown stands on the last line */
    bool browser_opened;
    bool pasting; /* the address at which a browser elsewhere ends is awaited from the person, too */
    char id[LIMIT_CODE + 1];
};

static void clear_countdown(struct session *session)
{
    if (session->counting)
        (void)fputs("\r\033[K", stderr);
    session->counting = false;
}

static void show_countdown(struct session *session)
{
    int64_t left = session->expires_at - clock_wall_s();
    if (!session->terminal || session->context->quiet || session->expires_at == 0 || left < 0)
        return;
    char span[32];
    text_duration(span, sizeof(span), left);
    (void)fprintf(stderr, "\rwaiting, %s left (Ctrl-C ends it)\033[K", span);
    session->counting = true;
}

/* ---- prompts ---- */

static int open_browser(const char *address)
{
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        sigset_t none;
        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)signal(SIGPIPE, SIG_DFL);
        (void)setsid(); /* our Ctrl-C is not the browser's */
        for (int fd = 0; null >= 0 && fd < 3; fd++)
            (void)dup2(null, fd);
        /* what stands in argv is seen by every user of the host: the address without the code */
        (void)execlp("xdg-open", "xdg-open", address, (char *)NULL);
        _exit(EXIT_NOT_FOUND);
    }
    return child < 0 ? -errno : 0;
}

static int refuse(const char *address)
{
    char shown[LIMIT_TEXT];
    text_clean_into(shown, sizeof(shown), span_of(address));
    complain("cannot sign in: the authority sends you to an address that is not safe: %s", shown);
    return EXIT_REFUSED;
}

static int check_address(const char *address, const char *authority_host)
{
    if (!address)
        return EXIT_DONE;
    char host[256];
    if (!uri_is_safe(address) || uri_host(address, host, sizeof(host)) < 0)
        return refuse(address);
    if (authority_host)
        remark(false, "Note: this address is on %s, not on the authority's own host %s.", host, authority_host);
    return EXIT_DONE;
}

static const char *member(json_object *prompt, const char *name)
{
    const char *text = NULL;
    return json_string(prompt, name, LIMIT_AUTHORIZATION, &text) == 0 && *text ? text : NULL;
}

static bool is_kind(json_object *prompt, const char *kind)
{
    const char *text = member(prompt, "kind");
    return text && strcmp(text, kind) == 0;
}

static int check_prompt(json_object *prompt)
{
    const char *uri = member(prompt, "verificationUri"), *complete = member(prompt, "verificationUriComplete");
    if (!is_kind(prompt, "browser"))
        return check_address(uri, member(prompt, "authorityHost"));
    if (!uri || !uri_is_here(uri))
        return uri ? refuse(uri) : EXIT_REFUSED;
    return complete && !uri_is_safe(complete) ? refuse(complete) : EXIT_DONE;
}

/* A browser of this host opens a page of the agent's; one elsewhere the authority's own, and the address at which it
 * ends is brought here by hand: through ssh(1) there is rarely another. */
static int show_browser(struct session *session, json_object *prompt)
{
    const struct login *login = session->login;
    const char *here = member(prompt, "verificationUri"), *there = member(prompt, "verificationUriComplete");
    bool elsewhere = there && !login->browser && (login->no_browser || getenv("SSH_CONNECTION"));
    int r = check_prompt(prompt);
    if (r != EXIT_DONE)
        return r;
    session->pasting = elsewhere && (login->no_browser || isatty(STDIN_FILENO));
    if (session->pasting)
        (void)fprintf(
            stderr,
            "To sign in, open in a browser\n\n%s\n\nand then paste the whole address at which it ends: it begins "
            "with http:// and cannot be shown.\nOr open in one on this machine  %s\n",
            there, here);
    else
        (void)fprintf(stderr, "To sign in, open in a browser on this machine  %s\n%s", here,
                      elsewhere ? "(where it has none: mltoken login --no-browser)\n" : "");
    if (login->browser && !session->browser_opened) {
        session->browser_opened = true;
        (void)open_browser(here);
    }
    return EXIT_DONE;
}

static int show_prompt(struct session *session, json_object *prompt)
{
    const struct login *login = session->login;
    const char *uri = member(prompt, "verificationUri"), *complete = member(prompt, "verificationUriComplete");
    const char *code = member(prompt, "userCode"), *words = member(prompt, "message");
    int64_t expires_at;
    session->expires_at = json_integer(prompt, "expiresAt", &expires_at) == 0 ? expires_at : 0;
    if (is_kind(prompt, "browser"))
        return show_browser(session, prompt);
    if (check_address(uri, member(prompt, "authorityHost")) != EXIT_DONE ||
        (complete && (!uri_is_safe(complete) || !uri)))
        return complete && uri && uri_is_safe(uri) ? refuse(complete) : EXIT_REFUSED;
    _cleanup_buffer_ struct buffer text = BUFFER(16384);
    if (uri) {
        buffer_text(&text, "To sign in, open  ");
        output_clean(&text, uri);
    }
    if (code) {
        buffer_text(&text, uri ? "\nand enter the code  " : "Enter the code  ");
        text_clean(&text, span_of(code), LIMIT_CODE);
    }
    if (!uri && !code && words)
        output_clean(&text, words);
    if (text.data)
        (void)fprintf(stderr, "%s\n", text.data);
    if (login->switch_account) /* RFC 8628 has no way to ask for it */
        remark(session->context->quiet, "A browser that is signed in there may bring the same account again: choose "
                                        "another on its page, or open the address in a private window.");
    if (session->terminal && !login->no_qr && uri)
        (void)qr_show(complete ? complete : uri);
    if (login->browser && uri && !session->browser_opened) {
        session->browser_opened = true;
        (void)open_browser(uri);
    }
    return EXIT_DONE;
}

/* What a person types goes to the agent on a connection of its own: this one waits for the end of the sign-in. Ctrl-C
 * ends the typing as it does the waiting. */
static int send_typed(const struct session *session, const char *value)
{
    const struct context *context = session->context;
    struct context other = {.socket = context->socket, .json = context->json, .quiet = context->quiet};
    struct call call = {
        .method = MESSAGE_INTERFACE ".Answer", .failure = "cannot sign in", .profile = session->login->profile};
    _cleanup_json_wipe_ json_object *reply = NULL;
    call_text(&call, "session", session->id);
    call_text(&call, "value", value);
    int r = call_run(&other, &call, &reply);
    mltoken_close(other.handle);
    return r;
}

/* Asks for an address while the agent is waited for. OPTIONS_GO while it goes on, else the exit code. */
static int paste(struct session *session)
{
    const struct typed asked = {.command = "login",
                                .label = "address",
                                .most = LIMIT_REDIRECT,
                                .line = true,
                                .wake = &session->context->handle->fd};
    _cleanup_buffer_ struct buffer value = BUFFER(0);
    sigset_t blocked;
    (void)sigprocmask(SIG_SETMASK, &session->before, &blocked);
    int r = typed_read(&asked, &value);
    (void)sigprocmask(SIG_SETMASK, &blocked, NULL);
    if (r == TYPED_WOKEN)
        return OPTIONS_GO;
    if (r == EXIT_INTERRUPTED)
        complain("the sign-in was cancelled");
    if (r == EXIT_DONE && value.length == 0) { /* the browser may come back by itself */
        session->pasting = isatty(STDIN_FILENO);
        return OPTIONS_GO;
    }
    if (r != EXIT_DONE)
        return r;
    r = send_typed(session, value.data);
    session->pasting = r != EXIT_DONE && isatty(STDIN_FILENO);
    return r == EXIT_DONE || (r == EXIT_LOCKED && session->pasting) ? OPTIONS_GO : r;
}

static int send_answer(const struct session *session, const char *name)
{
    const char *profile = session->login->profile;
    _cleanup_buffer_ struct buffer value = BUFFER(0);
    char label[LIMIT_TEXT];
    sigset_t blocked;
    (void)snprintf(label, sizeof(label), "%s of %s", name, profile ? profile : "the default profile");
    (void)sigprocmask(SIG_SETMASK, &session->before, &blocked);
    int r = typed_read(&(struct typed){.command = "login", .label = label, .most = LIMIT_SECRET, .line = true}, &value);
    (void)sigprocmask(SIG_SETMASK, &blocked, NULL);
    if (r == EXIT_INTERRUPTED)
        complain("the sign-in was cancelled");
    if (r == EXIT_DONE && value.length == 0) {
        complain("cannot sign in: %s was asked for, and nothing was typed", name);
        r = EXIT_USAGE;
    }
    return r == EXIT_DONE ? send_typed(session, value.data) : r;
}

static int show_done(struct session *session, json_object *reply)
{
    struct span account = {0};
    int64_t expires_at;
    struct buffer text = BUFFER(8192);
    buffer_text(&text, "signed in");
    if (json_bytes(reply, "account", LIMIT_REPLY, &account) == 0 && account.length > 0) {
        buffer_text(&text, " as ");
        text_clean(&text, account, LIMIT_TEXT);
    }
    if (json_integer(reply, "expiresAt", &expires_at) == 0) {
        char when[TIME_SIZE];
        output_time(when, expires_at);
        buffer_format(&text, "; the token expires %s", when);
    }
    if (!session->login->aside) {
        buffer_byte(&text, '\n');
        return output_write(&text);
    }
    remark(session->context->quiet, "%s", text.data ? text.data : "signed in");
    buffer_free(&text);
    return EXIT_DONE;
}

/* ---- the wait ---- */

/* OPTIONS_GO while it goes on, else the exit code */
static int on_reply(struct session *session, json_object *reply, bool continues)
{
    const char *state = "";
    json_object *prompt = NULL;
    clear_countdown(session);
    (void)json_string(reply, "state", LIMIT_CODE, &state);
    bool done = strcmp(state, "done") == 0, json = session->context->json && !session->login->aside;
    int r = EXIT_DONE;
    if (!done && json_member(reply, "prompt", &prompt) == 0) {
        const char *id = "";
        (void)json_string(reply, "session", LIMIT_CODE, &id);
        (void)snprintf(session->id, sizeof(session->id), "%s", id);
        r = !json ? show_prompt(session, prompt) : check_prompt(prompt);
        session->pasting |= json && session->login->no_browser && is_kind(prompt, "browser");
    }
    if (r == EXIT_DONE && json)
        r = output_json(reply);
    else if (r == EXIT_DONE && done)
        r = show_done(session, reply);
    const char *name = "secret";
    if (r == EXIT_DONE && prompt && is_kind(prompt, "secret")) {
        (void)json_string(prompt, "name", LIMIT_CODE, &name);
        r = send_answer(session, name);
    }
    if (r == EXIT_DONE && !done && !continues) {
        complain("cannot sign in: the agent ended the sign-in without a result");
        return EXIT_FAILED;
    }
    return r == EXIT_DONE && !done ? OPTIONS_GO : r;
}

static int follow(struct session *session)
{
    mltoken_handle *handle = session->context->handle;
    int64_t deadline = clock_boot_ms() + LIMIT_LOGIN_MS;
    for (;;) {
        _cleanup_json_wipe_ json_object *reply = NULL;
        bool continues;
        int r = client_step(handle, &reply, &continues);
        if (r == CLIENT_AGAIN && clock_boot_ms() > deadline)
            r = client_fail(handle, MLTOKEN_ETIMEOUT, "nobody signed in");
        if (r < 0) {
            clear_countdown(session);
            return report(session->context, r, "cannot sign in", session->login->profile);
        }
        if (r == 0) {
            int code = on_reply(session, reply, continues);
            if (code != OPTIONS_GO)
                return code;
            continue;
        }
        if (session->pasting) {
            int code = paste(session);
            if (code != OPTIONS_GO)
                return code;
            continue;
        }
        show_countdown(session);
        struct pollfd fds[] = {{.fd = session->signals, .events = POLLIN},
                               {.fd = handle->fd, .events = (short)mltoken_events(handle)}};
        (void)poll(fds, ELEMENTS(fds), handle->fd < 0 ? LIMIT_CONNECT_PAUSE_MS : 1000);
        struct signalfd_siginfo signal;
        if (fds[0].revents && read(session->signals, &signal, sizeof(signal)) == sizeof(signal)) {
            clear_countdown(session);
            complain("the sign-in was cancelled");
            return 128 + (int)signal.ssi_signo; /* EXIT_INTERRUPTED for Ctrl-C */
        }
    }
}

static int start(const struct session *session)
{
    json_object *parameters;
    int r = request_parameters(session->login->request, REQUEST_LOGIN, &parameters);
    if (r == 0)
        r = client_start(session->context->handle, CALL_OTHER, MESSAGE_INTERFACE ".Login", parameters, true);
    return r;
}

int login_run(struct context *context, const struct login *login)
{
    struct session session = {.context = context, .login = login, .terminal = isatty(STDERR_FILENO) == 1};
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &ends, &session.before);
    _cleanup_close_ int signals = session.signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    int r = start(&session);
    int code = r < 0 ? report(context, r, "cannot sign in", login->profile) : follow(&session);
    if (code != EXIT_DONE)
        client_drop(context->handle); /* cancels */
    (void)sigprocmask(SIG_SETMASK, &session.before, NULL);
    return code;
}

DEFINE_CLEANUP(mltoken_request *, mltoken_request_free)

int command_login(struct context *context, int argc, char **argv)
{
    struct login login = {0};
    const char *claims = NULL, *policy = NULL;
    const struct option options[] = {
        {"--no-qr", OPTION_FLAG, &login.no_qr, NULL, "no QR code"},
        {"--browser", OPTION_FLAG, &login.browser, NULL, "open a browser"},
        {"--no-browser", OPTION_FLAG, &login.no_browser, NULL, "the browser is on another machine"},
        {"--claims", OPTION_TEXT, &claims, "JSON", "what the authority asks for beside, from a claims challenge"},
        {"--policy", OPTION_TEXT, &policy, "NAME", "the user flow of Azure AD B2C to sign in by"},
        {"--switch-account", OPTION_FLAG, &login.switch_account, NULL, "allow another account than the remembered one"},
    };
    const struct usage usage = {.command = "login", .summary = "Signs a person in.", USAGE_OPTIONS(options)};
    int r = options_profile(context, &usage, argc, argv, &login.profile);
    if (r != OPTIONS_GO)
        return r;
    _cleanup_(mltoken_request_free_cleanup) mltoken_request *request = NULL;
    if (mltoken_request_new(&request) < 0 || mltoken_request_application(request, "mltoken") < 0)
        return report(context, MLTOKEN_ENOMEM, "cannot sign in", login.profile);
    if (mltoken_request_profile(request, login.profile) < 0) {
        complain("login: the name of the profile is not valid");
        return EXIT_USAGE;
    }
    if (mltoken_request_claims(request, claims) < 0) {
        complain("login: the value of --claims is not valid");
        return EXIT_USAGE;
    }
    if (mltoken_request_policy(request, policy) < 0) {
        complain("login: the value of --policy is not valid");
        return EXIT_USAGE;
    }
    (void)mltoken_request_switch_account(request, login.switch_account);
    login.request = request;
    r = context_open(context);
    return r == EXIT_DONE ? login_run(context, &login) : r;
}
