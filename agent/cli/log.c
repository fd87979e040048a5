/* mltoken log: who was handed tokens, from the journal. journalctl reads it (its format is its own, and it knows which
 * files we may see); of what it says only the audit's fields pass through here, cleaned. */
#include "command.h"

#include "cleanup.h"
#include "options.h"
#include "output.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define JOURNALCTL "/usr/bin/journalctl"
#define JOURNAL    "/run/systemd/journal/socket"
#define EVENT      "MLTOKEN_EVENT=token-handed-out"
#define DENIED     "MLTOKEN_EVENT=token-denied" /* of one field, any of the values */

enum { USUAL_LINES = 100 };

/* of an event, what is shown of it */
static const char shown_fields[] = "--output-fields=MLTOKEN_PROFILE,MLTOKEN_PID,MLTOKEN_EXE,MLTOKEN_APPLICATION,"
                                   "MLTOKEN_SOURCE,MLTOKEN_COUNT,MLTOKEN_REASON,MESSAGE";

struct wanted {
    const char *profile, *since;
    int64_t lines; /* -1: all */
};

/* ---- one entry ---- */

static const char *field(json_object *entry, const char *name)
{
    const char *value = NULL;
    return json_string(entry, name, 8 * LIMIT_LOG_VALUE, &value) == 0 && *value ? value : NULL;
}

static int append_json(struct buffer *to, json_object *entry, int64_t time_s)
{
    _cleanup_json_ json_object *line = json_object_new_object();
    int64_t pid = -1, count = -1;
    (void)json_number(entry, "MLTOKEN_PID", &pid);
    (void)json_number(entry, "MLTOKEN_COUNT", &count);
    if (!line || json_put_time(line, "time", time_s) < 0 ||
        json_put_text(line, "profile", field(entry, "MLTOKEN_PROFILE")) < 0 || json_put_time(line, "pid", pid) < 0 ||
        json_put_text(line, "executable", field(entry, "MLTOKEN_EXE")) < 0 ||
        json_put_text(line, "application", field(entry, "MLTOKEN_APPLICATION")) < 0 ||
        json_put_text(line, "source", field(entry, "MLTOKEN_SOURCE")) < 0 || json_put_time(line, "count", count) < 0 ||
        json_put_text(line, "reason", field(entry, "MLTOKEN_REASON")) < 0)
        return -ENOMEM;
    const char *text = json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (!text)
        return -ENOMEM;
    text_clean_json(to, span_of(text));
    return buffer_byte(to, '\n');
}

static void append_field(struct buffer *to, json_object *entry, const char *name)
{
    const char *value = field(entry, name);
    output_clean(to, value ? value : "?");
}

static int append_text(struct buffer *to, json_object *entry, int64_t time_s)
{
    char when[32] = "?";
    int64_t count = 1;
    time_t seconds = (time_t)time_s;
    struct tm local;
    const char *message = field(entry, "MESSAGE");
    bool more = message && strncmp(message, "more ", 5) == 0;
    if (localtime_r(&seconds, &local))
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local);
    (void)json_number(entry, "MLTOKEN_COUNT", &count);
    buffer_format(to, "%s  ", when);
    append_field(to, entry, "MLTOKEN_PROFILE");
    buffer_format(to, "  %lld%s ", (long long)count, more ? " more" : "");
    append_field(to, entry, "MLTOKEN_SOURCE");
    buffer_text(to, "  ");
    append_field(to, entry, "MLTOKEN_EXE");
    buffer_text(to, " (pid ");
    append_field(to, entry, "MLTOKEN_PID");
    buffer_text(to, ")");
    if (field(entry, "MLTOKEN_APPLICATION")) {
        buffer_text(to, ", calls itself \"");
        append_field(to, entry, "MLTOKEN_APPLICATION");
        buffer_text(to, "\"");
    }
    if (field(entry, "MLTOKEN_REASON")) {
        buffer_text(to, ": ");
        append_field(to, entry, "MLTOKEN_REASON");
    }
    return buffer_byte(to, '\n');
}

/* Appends what one line of journalctl's JSON says; one that is not as it should be is left out. */
static int append_entry(struct buffer *to, bool json, struct span line)
{
    _cleanup_json_ json_object *entry = NULL;
    int64_t micros = 0;
    if (json_parse(line.data, line.length, LIMIT_REPLY_DEPTH, &entry) < 0 ||
        json_number(entry, "__REALTIME_TIMESTAMP", &micros) < 0)
        return 0;
    return json ? append_json(to, entry, micros / 1000000) : append_text(to, entry, micros / 1000000);
}

/* ---- journalctl ---- */

static void become_journalctl(const struct wanted *wanted)
{
    char uid[32], profile[LIMIT_TEXT], lines[32], since[LIMIT_TEXT];
    const char *argv[14] = {"journalctl", "--no-pager", "--quiet", "--output=json", shown_fields};
    size_t count = 5;
    (void)snprintf(uid, sizeof(uid), "_UID=%lu", (unsigned long)getuid());
    (void)snprintf(profile, sizeof(profile), "MLTOKEN_PROFILE=%s", wanted->profile ? wanted->profile : "");
    (void)snprintf(lines, sizeof(lines), "--lines=%lld", (long long)wanted->lines);
    (void)snprintf(since, sizeof(since), "--since=%s", wanted->since ? wanted->since : "");
    if (wanted->lines > 0)
        argv[count++] = lines;
    if (wanted->since)
        argv[count++] = since;
    argv[count++] = uid;
    argv[count++] = "SYSLOG_IDENTIFIER=mltoken-agent";
    argv[count++] = EVENT;
    argv[count++] = DENIED;
    if (wanted->profile)
        argv[count++] = profile;
    (void)signal(SIGPIPE, SIG_DFL);
    execv(JOURNALCTL, (char **)(uintptr_t)argv);
}

/* Reads all that it says: *ret_any tells whether there was an entry. */
static int show_all(const struct context *context, FILE *from, bool *ret_any)
{
    static char line[LIMIT_REPLY];
    bool whole = true;
    while (fgets(line, sizeof(line), from)) {
        size_t length = strlen(line);
        bool ends = length > 0 && line[length - 1] == '\n', begins = whole;
        struct buffer text = BUFFER(LIMIT_REPLY);
        whole = ends;
        if (!begins || !ends) /* the pieces of a line that is too long */
            continue;
        if (append_entry(&text, context->json, (struct span){line, length - 1}) < 0) {
            buffer_free(&text);
            complain("log: an entry is too long to be shown");
            return EXIT_FAILED;
        }
        *ret_any = *ret_any || text.length > 0;
        int r = output_write(&text);
        if (r != EXIT_DONE)
            return r;
    }
    return EXIT_DONE;
}

/* Says in one line why journalctl failed, from its own first line. */
static int explain(int errors)
{
    char said[LIMIT_TEXT], shown[LIMIT_TEXT];
    ssize_t n = read(errors, said, sizeof(said) - 1);
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    text_clean_into(shown, sizeof(shown), span_of(said));
    bool hidden = strstr(said, "permission") || strstr(said, "Permission");
    complain("log: journalctl: %s%s", *shown ? shown : "failed",
             hidden
                 ? "; ask for a journal on disk (Storage=persistent in journald.conf), or for the group systemd-journal"
                 : "");
    return hidden ? EXIT_CONFIGURATION : EXIT_FAILED;
}

static int nothing(const struct context *context, const struct wanted *wanted)
{
    if (access(JOURNAL, F_OK) < 0) {
        complain("log: no journal runs here, so the audit goes to the agent's standard error: run mltoken-agent "
                 "--foreground and keep that");
        return EXIT_CONFIGURATION;
    }
    char shown[LIMIT_TEXT];
    text_clean_into(shown, sizeof(shown), span_of(wanted->profile ? wanted->profile : ""));
    remark(context->quiet, "the journal tells of no token%s%s that was handed out%s", *shown ? " of " : "", shown,
           wanted->since ? " in that time" : "");
    return EXIT_DONE;
}

static int read_journal(const struct context *context, const struct wanted *wanted)
{
    int out[2], errors[2];
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0) {
        complain("log: %s", strerror(errno));
        return EXIT_FAILED;
    }
    pid_t child = fork();
    if (child == 0) {
        if (dup2(out[1], STDOUT_FILENO) >= 0 && dup2(errors[1], STDERR_FILENO) >= 0)
            become_journalctl(wanted);
        _exit(EXIT_NOT_FOUND);
    }
    close(out[1]);
    close(errors[1]);
    bool any = false;
    int status = 0, r = EXIT_FAILED;
    FILE *from = child < 0 ? NULL : fdopen(out[0], "r");
    if (from) {
        r = show_all(context, from, &any);
        (void)fclose(from); /* journalctl ends by SIGPIPE when its rest is not wanted */
    } else {
        complain("log: cannot run " JOURNALCTL ": %s", strerror(errno));
        close(out[0]);
    }
    if (child > 0 && waitpid(child, &status, 0) == child && r == EXIT_DONE) {
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            r = explain(errors[0]);
        else if (!any)
            r = nothing(context, wanted);
    }
    close(errors[0]);
    return r;
}

int command_log(struct context *context, int argc, char **argv)
{
    struct wanted wanted = {.lines = -1};
    const struct option options[] = {
        {"--since", OPTION_TEXT, &wanted.since, "WHEN", "from then on: \"2026-11-22 08:00\", yesterday, -2h"},
        {"-n", OPTION_NUMBER, &wanted.lines, "LINES", "the last lines (100 without --since)"}};
    const struct usage usage = {.command = "log",
                                .summary = "Shows which programs were handed tokens, or denied them, from the journal.",
                                USAGE_OPTIONS(options)};
    int r = options_profile(context, &usage, argc, argv, &wanted.profile);
    if (r != OPTIONS_GO)
        return r;
    if (wanted.lines == 0 || (wanted.profile && strlen(wanted.profile) > LIMIT_PROFILE_NAME) ||
        (wanted.since && strlen(wanted.since) > LIMIT_CODE)) {
        complain(wanted.lines == 0 ? "log: -n: at least one line"
                 : wanted.profile && strlen(wanted.profile) > LIMIT_PROFILE_NAME
                     ? "log: a profile's name is at most 64 bytes"
                     : "log: --since: that is no time");
        return EXIT_USAGE;
    }
    if (access(JOURNALCTL, X_OK) < 0) {
        complain("log: there is no " JOURNALCTL " here, so the audit goes to the agent's standard error: run "
                 "mltoken-agent --foreground and keep that");
        return EXIT_CONFIGURATION;
    }
    if (wanted.lines < 0 && !wanted.since)
        wanted.lines = USUAL_LINES;
    return read_journal(context, &wanted);
}
