#include "signin.h"

#include "child.h"
#include "cleanup.h"
#include "clock.h"
#include "conversation.h"
#include "text.h"
#include <errno.h>
#include <security/pam_ext.h>
#include <stdio.h>
#include <sys/wait.h>
#include <syslog.h>

/* of the helper's: more than any settings need */
#define ARGUMENTS (16 + 2 * LIMIT_PAM_LIST)

struct attempt {
    const struct signin *signin;
    struct child child;
    int64_t deadline_ms;
    bool answered; /* the authority said something */
};

static void log_said(void *context, struct span line)
{
    const struct signin *signin = context;
    char text[LIMIT_TEXT];
    text_clean_into(text, sizeof(text), line);
    pam_syslog(signin->pamh, LOG_NOTICE, "%s", text);
}

static void tell(const struct signin *signin, const char *text)
{
    talk_tell(signin->pamh, signin->flags, PAM_ERROR_MSG, text);
}

/* ---- starting the helper ---- */

static bool draws_qr(const struct signin *signin)
{
    static const char *const terminals[] = {"login", "su", "su-l", "sudo", "sudo-i"};
    const char *wanted = signin->settings->qr;
    for (size_t i = 0; strcmp(wanted, "auto") == 0 && i < ELEMENTS(terminals); i++)
        if (strcmp(signin->service, terminals[i]) == 0)
            return !signin->from || !*signin->from;
    return strcmp(wanted, "yes") == 0;
}

/* `path` and `wait` are the caller's; at most ARGUMENTS entries, the last NULL. */
static void make_arguments(const struct signin *signin, const char *path, const char *wait, const char **ret)
{
    const struct settings *settings = signin->settings;
    size_t n = 0;
    const char *const first[] = {path, "--config", settings->config, "--max-wait", wait};
    for (size_t i = 0; i < ELEMENTS(first); i++)
        ret[n++] = first[i];
    if (settings->profile)
        ret[n++] = "--profile", ret[n++] = settings->profile;
    if (settings->user_claim)
        ret[n++] = "--claim", ret[n++] = settings->user_claim;
    for (size_t i = 0; i < settings->verification_hosts.count; i++)
        ret[n++] = "--verification-host", ret[n++] = settings->verification_hosts.items[i];
    if (draws_qr(signin))
        ret[n++] = "--qr";
    if (settings->debug)
        ret[n++] = "--debug";
    ret[n] = NULL;
}

/* ---- its results ---- */

static int broken(const struct attempt *attempt, const char *why)
{
    pam_syslog(attempt->signin->pamh, LOG_ERR, "mltoken-pam-login: %s", why);
    tell(attempt->signin, "The sign-in failed: see the system's log.");
    return PAM_SYSTEM_ERR;
}

static int too_late(const struct attempt *attempt)
{
    pam_syslog(attempt->signin->pamh, LOG_NOTICE, "nobody signed in within %llu s",
               (unsigned long long)attempt->signin->settings->max_wait);
    tell(attempt->signin, "The time for signing in is over.");
    return PAM_AUTH_ERR;
}

static int unreachable(const struct attempt *attempt)
{
    if (attempt->answered)
        return broken(attempt, "it calls an authority unreachable that has answered");
    tell(attempt->signin, "The sign-in service cannot be reached.");
    return attempt->signin->settings->fallback_password ? PAM_AUTHINFO_UNAVAIL : PAM_AUTH_ERR;
}

static int failed(const struct attempt *attempt, const struct line *line)
{
    static const struct {
        const char *class;
        int result;
        const char *told;
    } rows[] = {
        {"config", PAM_SERVICE_ERR, "Signing in is not set up correctly: see the system's log."},
        {"denied", PAM_AUTH_ERR, "The sign-in was declined."},
        {"expired", PAM_AUTH_ERR, "The code is no longer valid."},
        {"refused", PAM_AUTH_ERR, "The sign-in service refused."},
        {"untrusted", PAM_AUTH_ERR, "The answer of the sign-in service cannot be trusted."},
        {"timeout", PAM_AUTH_ERR, "The time for signing in is over."},
        {"internal", PAM_SYSTEM_ERR, "The sign-in failed: see the system's log."},
    };
    const char *class = "", *text = "";
    char shown[LIMIT_TEXT];
    if (line_text(line, "class", &class) < 0 || line_text(line, "text", &text) < 0)
        return broken(attempt, "it fails without saying why");
    text_clean_into(shown, sizeof(shown), span_of(text));
    bool unreached = strcmp(class, "unreachable") == 0;
    for (size_t i = 0; i < ELEMENTS(rows); i++)
        if (strcmp(class, rows[i].class) == 0) {
            pam_syslog(attempt->signin->pamh, LOG_NOTICE, "no sign-in (%s): %s", rows[i].class, shown);
            tell(attempt->signin, rows[i].told);
            return rows[i].result;
        }
    pam_syslog(attempt->signin->pamh, LOG_NOTICE, "no sign-in (%s): %s", unreached ? class : "unknown", shown);
    return unreached ? unreachable(attempt) : broken(attempt, "it fails in a way that is not known");
}

/* Nothing may follow a result, and the program has to end well. */
static int settle(struct attempt *attempt, int result)
{
    _cleanup_line_ struct line more = {0};
    int r = child_next(&attempt->child, clock_boot_ms() + LIMIT_PAM_END_MS, &more), status = -1;
    if (r != 0)
        result = broken(attempt, r > 0 ? "it has a second result" : r == -ETIMEDOUT ? "it does not end" : "garbage");
    int64_t grace_ms = r == 0 ? LIMIT_PAM_END_MS : LIMIT_PAM_GRACE_MS;
    r = child_end(&attempt->child, grace_ms, &status);
    if (result != PAM_SUCCESS)
        return result;
    if (r == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return PAM_SUCCESS;
    return broken(attempt, r < 0 ? "how it ended was not to be told" : "it ended badly after its result");
}

/* What it ends with when it is not with a result. */
static int stop(struct attempt *attempt, int result)
{
    int status;
    (void)child_end(&attempt->child, LIMIT_PAM_GRACE_MS, &status);
    return result;
}

static bool is(const struct line *line, const char *word)
{
    return strcmp(line->word, word) == 0;
}

/* The next line that says something; *ret_result is that of an end without one. PAM_SUCCESS: there is a line.
 * PAM_INCOMPLETE: none until then. */
static int next_line(struct attempt *attempt, int64_t until_ms, struct line *ret)
{
    for (;;) {
        int r = child_next(&attempt->child, until_ms, ret);
        if (r == -ETIMEDOUT)
            return PAM_INCOMPLETE;
        if (r == 0)
            return stop(attempt, broken(attempt, "it ended without a result"));
        if (r < 0)
            return stop(attempt, broken(attempt, "it says what is none of its lines"));
        if (!is(ret, "pending"))
            return PAM_SUCCESS;
        attempt->answered = true;
        line_free(ret);
        if (clock_boot_ms() >= until_ms)
            return PAM_INCOMPLETE;
    }
}

/* ---- the person ---- */

static int read_prompt(struct attempt *attempt, const struct line *line, struct prompt_facts *facts)
{
    const struct text_list *hosts = &attempt->signin->settings->verification_hosts;
    if (line_text(line, "uri", &facts->uri) < 0 || line_text(line, "code", &facts->code) < 0)
        return broken(attempt, "its prompt has no address or no code");
    const char *problem = prompt_problem(facts->uri, facts->code, hosts->items, hosts->count);
    if (problem)
        return broken(attempt, problem);
    attempt->answered = true;
    return PAM_SUCCESS;
}

static int ask(struct attempt *attempt, const struct prompt_facts *facts)
{
    char text[LIMIT_PAM_PROMPT + 1];
    if (prompt_write(facts, text) < 0)
        return broken(attempt, "address and code are too long for a prompt");
    int r = talk_ask(attempt->signin->pamh, text);
    if (r != PAM_SUCCESS)
        pam_syslog(attempt->signin->pamh, LOG_NOTICE, "nobody is there to sign in");
    return r;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Prompts until there is a result, which `ret` is then. */
static int await_person(struct attempt *attempt, struct prompt_facts *facts, struct line *ret)
{
    for (;; facts->again = true) {
        int r = ask(attempt, facts);
        if (r != PAM_SUCCESS)
            return stop(attempt, r);
        int64_t now = clock_boot_ms();
        if (now >= attempt->deadline_ms)
            return stop(attempt, too_late(attempt)); /* whatever came meanwhile: nobody may have been watching */
        r = next_line(attempt, earlier(now + LIMIT_PAM_QUIET_MS, attempt->deadline_ms), ret);
        if (r != PAM_INCOMPLETE)
            return r;
        if (clock_boot_ms() >= attempt->deadline_ms)
            return stop(attempt, too_late(attempt));
    }
}

static int finish(struct attempt *attempt, struct line *line, struct line *ret_done)
{
    int result = PAM_SYSTEM_ERR;
    if (is(line, "fail"))
        result = failed(attempt, line);
    else if (is(line, "done"))
        result = PAM_SUCCESS;
    else
        return stop(attempt, broken(attempt, "a line that has no place here"));
    result = settle(attempt, result);
    if (result == PAM_SUCCESS) {
        *ret_done = *line;
        *line = (struct line){0};
    }
    return result;
}

static int converse(struct attempt *attempt, struct line *ret_done)
{
    const struct signin *signin = attempt->signin;
    char machine[256] = "this host";
    if (gethostname(machine, sizeof(machine)) == 0)
        machine[sizeof(machine) - 1] = '\0';
    struct prompt_facts facts = {
        .user = signin->user, .service = signin->service, .machine = machine, .from = signin->from};
    _cleanup_line_ struct line prompt = {0};
    int r = next_line(attempt, attempt->deadline_ms, &prompt);
    if (r == PAM_INCOMPLETE)
        return stop(attempt, too_late(attempt));
    if (r != PAM_SUCCESS)
        return r;
    if (is(&prompt, "fail"))
        return finish(attempt, &prompt, ret_done);
    r = is(&prompt, "prompt") ? read_prompt(attempt, &prompt, &facts) : broken(attempt, "a result without a prompt");
    if (r != PAM_SUCCESS)
        return stop(attempt, r);
    const struct line_field *qr = line_find(&prompt, "qr");
    if (qr && draws_qr(signin))
        talk_draw(signin->pamh, signin->flags, qr->value);
    _cleanup_line_ struct line result = {0};
    r = await_person(attempt, &facts, &result);
    return r == PAM_SUCCESS ? finish(attempt, &result, ret_done) : r;
}

int signin_run(const struct signin *signin, struct line *ret_done)
{
    char path[LIMIT_PAM_VALUE + 32], wait[24];
    const char *arguments[ARGUMENTS + 1], *step = "";
    (void)snprintf(path, sizeof(path), "%s/mltoken-pam-login", signin->settings->libexec);
    int64_t left_s = (signin->deadline_ms - clock_boot_ms() + 999) / 1000;
    (void)snprintf(wait, sizeof(wait), "%lld", (long long)(left_s > 0 ? left_s : 1));
    make_arguments(signin, path, wait, arguments);
    struct child_plan plan = {.argv = arguments, .said = log_said, .context = (void *)(uintptr_t)signin};
    if (signin->helper) {
        plan.become = true;
        plan.uid = signin->helper->uid;
        plan.gid = signin->helper->gid;
    }
    struct attempt attempt = {.signin = signin, .deadline_ms = signin->deadline_ms};
    int r = child_start(&plan, &attempt.child, &step);
    if (r < 0) {
        pam_syslog(signin->pamh, LOG_ERR, "mltoken-pam-login was not started: %s: %s", step, strerrordesc_np(-r));
        tell(signin, "The sign-in failed: see the system's log.");
        return PAM_SYSTEM_ERR;
    }
    return converse(&attempt, ret_done);
}
