#include "session.h"

#include "child.h"
#include "cleanup.h"
#include "clock.h"
#include "conversation.h"
#include "handoff.h"
#include "text.h"
#include <errno.h>
#include <grp.h>
#include <security/pam_ext.h>
#include <stdio.h>
#include <syslog.h>

enum { GROUPS_MOST = 256, ARGUMENTS = 3 + 2 * LIMIT_PAM_LIST };

static void log_said(void *context, struct span line)
{
    const struct session *session = context;
    char text[LIMIT_TEXT];
    text_clean_into(text, sizeof(text), line);
    pam_syslog(session->pamh, LOG_NOTICE, "%s", text);
}

static bool is(const struct line *line, const char *word)
{
    return strcmp(line->word, word) == 0;
}

/* ---- what mltoken-pam-import says ---- */

/* The profile's part of PROFILE:VARIABLE. */
static struct span export_profile(const char *text)
{
    return (struct span){text, strcspn(text, ":")};
}

static void export_value(const struct session *session, const struct line *line)
{
    const char *profile, *token;
    if (line_text(line, "profile", &profile) < 0 || line_text(line, "token", &token) < 0)
        return;
    struct span value = span_of(token);
    if (value.length == 0 || value.length > LIMIT_EXPORT || text_plain(value) != value.length || strchr(token, ' ')) {
        pam_syslog(session->pamh, LOG_NOTICE, "a token was not exported: it is too long or no plain text");
        return;
    }
    for (size_t i = 0; i < session->settings->exports.count; i++) {
        const char *wanted = session->settings->exports.items[i];
        struct span name = export_profile(wanted);
        if (!span_equals(name, span_of(profile)))
            continue;
        _cleanup_buffer_ struct buffer entry = BUFFER(LIMIT_EXPORT + LIMIT_ENV_NAME);
        buffer_format(&entry, "%s=", wanted + name.length + 1);
        buffer_append(&entry, value.data, value.length);
        if (buffer_error(&entry) == 0)
            (void)pam_putenv(session->pamh, entry.data);
    }
}

static void tell_failure(const struct session *session, const struct line *line)
{
    const char *class = "unknown", *text = "", *profile = session->settings->handoff_profile;
    char shown[LIMIT_TEXT], advice[LIMIT_TEXT];
    (void)line_text(line, "class", &class);
    (void)line_text(line, "text", &text);
    text_clean_into(shown, sizeof(shown), span_of(text));
    pam_syslog(session->pamh, LOG_NOTICE, "the sign-in was not handed to the agent (%s): %s",
               strcmp(class, "no_agent") == 0 ? class : "refused", shown);
    (void)snprintf(advice, sizeof(advice), "mltoken: %s. Run: mltoken login%s%s",
                   strcmp(class, "no_agent") == 0 ? "no agent runs that could keep this sign-in"
                                                  : "the agent did not take this sign-in",
                   profile ? " " : "", profile ? profile : "");
    talk_tell(session->pamh, session->flags, PAM_TEXT_INFO, advice);
}

static void read_answers(const struct session *session, struct child *child, int64_t deadline_ms, bool handed)
{
    bool told = false;
    for (size_t lines = 0; lines <= LIMIT_PAM_LIST + 1; lines++) {
        _cleanup_line_ struct line line = {0};
        int r = child_next(child, deadline_ms, &line);
        if (r <= 0) {
            if (r < 0)
                pam_syslog(session->pamh, LOG_NOTICE, "mltoken-pam-import: %s",
                           r == -ETIMEDOUT ? "it was not done in time" : "it says what is none of its lines");
            else if (handed && !told)
                pam_syslog(session->pamh, LOG_NOTICE, "mltoken-pam-import ended without a result");
            return;
        }
        if (is(&line, "value")) {
            export_value(session, &line);
        } else if (handed && !told && (is(&line, "ok") || is(&line, "fail"))) {
            told = true;
            if (is(&line, "fail"))
                tell_failure(session, &line);
            else if (session->settings->debug)
                pam_syslog(session->pamh, LOG_DEBUG, "the agent has the sign-in");
        } else if (is(&line, "fail")) {
            pam_syslog(session->pamh, LOG_NOTICE, "the agent has no token to export");
        }
    }
}

/* ---- running it ---- */

static void make_arguments(const struct settings *settings, const char *path, char (*profiles)[LIMIT_PROFILE_NAME + 1],
                           const char **ret)
{
    size_t n = 0;
    ret[n++] = path;
    if (settings->handoff_start)
        ret[n++] = "--start";
    for (size_t i = 0; i < settings->exports.count; i++) {
        struct span name = export_profile(settings->exports.items[i]);
        (void)snprintf(profiles[i], sizeof(profiles[i]), "%.*s", (int)name.length, name.data);
        ret[n++] = "--export";
        ret[n++] = profiles[i];
    }
    ret[n] = NULL;
}

/* An agent that is started needs the person's groups; asking for them can take a while where they are elsewhere. */
static size_t find_groups(const struct session *session, gid_t groups[static GROUPS_MOST])
{
    int count = GROUPS_MOST;
    if (session->settings->handoff_start &&
        getgrouplist(session->person->name, session->person->gid, groups, &count) > 0)
        return (size_t)count;
    groups[0] = session->person->gid;
    return 1;
}

static void run_import(const struct session *session, struct span record)
{
    char path[LIMIT_PAM_VALUE + 32], profiles[LIMIT_PAM_LIST][LIMIT_PROFILE_NAME + 1];
    const char *arguments[ARGUMENTS], *step = "";
    gid_t groups[GROUPS_MOST];
    int64_t deadline = clock_boot_ms() + LIMIT_HANDOFF_END_MS;
    (void)snprintf(path, sizeof(path), "%s/mltoken-pam-import", session->settings->libexec);
    make_arguments(session->settings, path, profiles, arguments);
    struct child_plan plan = {.argv = arguments,
                              .become = geteuid() == 0,
                              .uid = session->person->uid,
                              .gid = session->person->gid,
                              .groups = groups,
                              .fed = true,
                              .said = log_said,
                              .context = (void *)(uintptr_t)session};
    plan.group_count = plan.become ? find_groups(session, groups) : 0;
    struct child child;
    int r = child_start(&plan, &child, &step), status;
    if (r < 0) {
        pam_syslog(session->pamh, LOG_ERR, "mltoken-pam-import was not started: %s: %s", step, strerrordesc_np(-r));
        return;
    }
    (void)child_feed(&child, record, deadline); /* one that did not want it may say why */
    read_answers(session, &child, deadline, record.length > 0);
    int64_t left = deadline - clock_boot_ms();
    (void)child_end(&child, left > 0 ? left : 0, &status);
}

static const char *take_problem(int error)
{
    switch (error) {
    case -EINVAL:
        return "the handle is none";
    case -ENOENT:
        return "it was taken before, or is too old";
    case -ESTALE:
        return "it was made for another user, service or boot, or is too old";
    default:
        return "it cannot be believed";
    }
}

void session_open(const struct session *session, const char *handle)
{
    if (geteuid() != 0 && geteuid() != session->person->uid)
        return; /* nobody to become */
    _cleanup_buffer_ struct buffer record = BUFFER(2 * (LIMIT_LINE + 1) + LIMIT_LINE_CHUNK);
    const struct handoff_owner owner = {.uid = session->person->uid, .service = session->service};
    if (handle && session->settings->handoff) {
        int r = handoff_take(session->settings->run, &owner, handle, &record);
        if (r < 0) {
            pam_syslog(session->pamh, LOG_NOTICE, "the record of the sign-in was not used: %s", take_problem(r));
            buffer_clear(&record);
        }
    }
    if (record.length > 0 || session->settings->exports.count > 0)
        run_import(session, buffer_span(&record));
}
