#include "cached.h"

#include "child.h"
#include "cleanup.h"
#include "clock.h"
#include "text.h"
#include <errno.h>
#include <security/pam_ext.h>
#include <stdio.h>
#include <sys/wait.h>
#include <syslog.h>

#define SERVICE     "sshd"
#define ACCEPTED    "SSH_AUTH_INFO_0" /* sshd's: what it has accepted, one method a line */
#define GET_PROGRAM "mltoken-pam-import"
#define SEE_PROGRAM "mltoken-pam-login"

/* One program and what it is to answer. */
struct question {
    const struct cached *cached;
    const char *program, *word;
    struct span input; /* empty: it reads none */
    int64_t deadline_ms;
};

/* ---- whether ---- */

static bool names_key(const char *accepted)
{
    static const char method[] = "publickey ";
    while (accepted && *accepted) {
        if (strncmp(accepted, method, sizeof(method) - 1) == 0 && accepted[sizeof(method) - 1] > ' ')
            return true;
        accepted = strchr(accepted, '\n');
        accepted += accepted != NULL;
    }
    return false;
}

/* By the PAM environment, which sshd writes, and never by the process's own. Other services have the person's own
 * variables there (pam_env), so the name alone proves nothing with them. */
int cached_check(pam_handle_t *pamh, const char *service)
{
    if (strcmp(service, SERVICE) != 0) {
        pam_syslog(pamh, LOG_ERR,
                   "cached=yes is for " SERVICE " alone, which can ask for a key as well: write it behind the line in "
                   "/etc/pam.d/" SERVICE ", not into the file for all");
        return PAM_SERVICE_ERR;
    }
    if (!names_key(pam_getenv(pamh, ACCEPTED))) {
        pam_syslog(pamh, LOG_ERR,
                   "cached=yes, and " SERVICE " has accepted no key before: set AuthenticationMethods "
                   "publickey,keyboard-interactive:pam");
        return PAM_SERVICE_ERR;
    }
    return PAM_SUCCESS;
}

/* ---- the two programs ---- */

static void log_said(void *context, struct span line)
{
    const struct question *question = context;
    char text[LIMIT_TEXT];
    text_clean_into(text, sizeof(text), line);
    pam_syslog(question->cached->pamh, LOG_NOTICE, "%s: %s", question->program, text);
}

static int useless(const struct question *question, const char *why)
{
    pam_syslog(question->cached->pamh, LOG_NOTICE, "no cached token: %s: %s", question->program, why);
    return -EBADMSG;
}

/* `fail class= text=`, which may be anything. */
static int failed(const struct question *question, const struct line *line)
{
    const char *class = "", *text = "";
    char shown_class[LIMIT_CODE], shown[LIMIT_TEXT];
    if (strcmp(line->word, "fail") != 0 || line_text(line, "class", &class) < 0 || line_text(line, "text", &text) < 0)
        return useless(question, "it says what is none of its lines");
    text_clean_into(shown_class, sizeof(shown_class), span_of(class));
    text_clean_into(shown, sizeof(shown), span_of(text));
    pam_syslog(question->cached->pamh, LOG_NOTICE, "no cached token (%s): %s", shown_class, shown);
    return -ENOENT;
}

/* Its one line, then its end. */
static int hear(const struct question *question, struct child *child, struct line *ret)
{
    _cleanup_line_ struct line more = {0};
    if (question->input.length > 0)
        (void)child_feed(child, question->input, question->deadline_ms); /* who does not want it may say why */
    int r = child_next(child, question->deadline_ms, ret);
    if (r > 0 && strcmp(ret->word, question->word) != 0)
        return failed(question, ret);
    if (r > 0)
        r = child_next(child, question->deadline_ms, &more);
    if (r == 0 && ret->word)
        return 0;
    return useless(question, r == -ETIMEDOUT ? "it was not done in time"
                             : r == 0        ? "it ended without a result"
                                             : "it says what is none of its lines");
}

/* 0: *ret is the line of question->word of a program that ended well. */
static int ask(const struct question *question, const struct child_plan *plan, struct line *ret)
{
    const char *step = "";
    struct child child;
    _cleanup_line_ struct line line = {0};
    int r = child_start(plan, &child, &step), status = -1;
    if (r < 0) {
        pam_syslog(question->cached->pamh, LOG_ERR, "%s was not started: %s: %s", question->program, step,
                   strerrordesc_np(-r));
        return r;
    }
    r = hear(question, &child, &line);
    int64_t left = r == 0 ? question->deadline_ms - clock_boot_ms() : 0;
    int ended = child_end(&child, left > 0 ? left : 0, &status);
    if (r < 0)
        return r;
    if (ended < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return useless(question, "it ended badly after its result");
    *ret = line;
    line = (struct line){0};
    return 0;
}

/* Of the person's own agent, by a process of theirs. */
static int get_token(const struct cached *cached, int64_t deadline_ms, struct line *ret)
{
    char path[LIMIT_PAM_VALUE + 32];
    (void)snprintf(path, sizeof(path), "%s/" GET_PROGRAM, cached->settings->libexec);
    const char *const arguments[] = {path, "--get", cached->settings->cached_profile, NULL};
    const struct question question = {
        .cached = cached, .program = GET_PROGRAM, .word = "token", .deadline_ms = deadline_ms};
    const struct child_plan plan = {.argv = arguments,
                                    .become = geteuid() == 0,
                                    .uid = cached->person->uid,
                                    .gid = cached->person->gid,
                                    .groups = &cached->person->gid,
                                    .group_count = 1,
                                    .said = log_said,
                                    .context = (void *)(uintptr_t)&question};
    return ask(&question, &plan, ret);
}

/* By the user for it, as in any sign-in. */
static int verify(const struct cached *cached, struct span token, int64_t deadline_ms, struct line *ret)
{
    const struct settings *settings = cached->settings;
    char path[LIMIT_PAM_VALUE + 32], wait[24];
    const char *arguments[16];
    int64_t left_s = (deadline_ms - clock_boot_ms() + 999) / 1000;
    size_t n = 0;
    (void)snprintf(path, sizeof(path), "%s/" SEE_PROGRAM, settings->libexec);
    (void)snprintf(wait, sizeof(wait), "%lld", (long long)(left_s > 0 ? left_s : 1));
    const char *const first[] = {path, "--verify", "--config", settings->config, "--max-wait", wait};
    for (size_t i = 0; i < ELEMENTS(first); i++)
        arguments[n++] = first[i];
    if (settings->profile)
        arguments[n++] = "--profile", arguments[n++] = settings->profile;
    if (settings->user_claim)
        arguments[n++] = "--claim", arguments[n++] = settings->user_claim;
    if (settings->debug)
        arguments[n++] = "--debug";
    arguments[n] = NULL;
    const struct question question = {
        .cached = cached, .program = SEE_PROGRAM, .word = "verified", .input = token, .deadline_ms = deadline_ms};
    struct child_plan plan = {
        .argv = arguments, .fed = true, .said = log_said, .context = (void *)(uintptr_t)&question};
    if (cached->helper) {
        plan.become = true;
        plan.uid = cached->helper->uid;
        plan.gid = cached->helper->gid;
    }
    return ask(&question, &plan, ret);
}

/* ---- the token ---- */

/* Of this attempt. The authority writes whole seconds of a clock of its own, so that some are allowed for. */
static bool is_fresh(const struct cached *cached, const struct line *verified, int64_t began_s)
{
    int64_t issued, now = clock_wall_s();
    if (line_number(verified, "iat", &issued) < 0) {
        pam_syslog(cached->pamh, LOG_NOTICE, "no cached token: it does not say when it was issued");
        return false;
    }
    if (issued >= began_s - LIMIT_CACHED_SKEW_S && issued <= now + LIMIT_CACHED_SKEW_S)
        return true;
    pam_syslog(cached->pamh, LOG_NOTICE,
               "no cached token: it was not issued in this attempt, but %lld s %s: it is another one, or the "
               "authority's clock differs from ours",
               (long long)(issued < began_s ? began_s - issued : issued - now), issued < began_s ? "before" : "ahead");
    return false;
}

bool cached_find(const struct cached *cached, int64_t until_ms, struct line *ret_verified)
{
    _cleanup_line_ struct line token = {0};
    _cleanup_line_ struct line verified = {0};
    /* half at most, so that there is time for a code */
    int64_t now = clock_boot_ms(), half = (until_ms - now) / 2, began_s = clock_wall_s();
    int64_t deadline = now + (half < LIMIT_CACHED_MS ? half : LIMIT_CACHED_MS);
    if (geteuid() != 0 && geteuid() != cached->person->uid)
        return false; /* nobody to become */
    if (get_token(cached, deadline, &token) < 0)
        return false;
    const struct line_field *value = line_find(&token, "access_token");
    if (!value || value->value.length == 0) {
        pam_syslog(cached->pamh, LOG_NOTICE, "no cached token: " GET_PROGRAM " says what is none of its lines");
        return false;
    }
    if (verify(cached, value->value, deadline, &verified) < 0 || !is_fresh(cached, &verified, began_s))
        return false;
    *ret_verified = verified;
    verified = (struct line){0};
    return true;
}
