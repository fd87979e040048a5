#include "report.h"

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "output.h"
#include "text.h"

enum { WAITING_MS = 1000 /* for the agent to say what it waits for */ };

int exit_code_of(int code)
{
    switch (code) {
    case 0:
        return EXIT_DONE;
    case MLTOKEN_ENOSUCHPROFILE:
    case MLTOKEN_ECONFIGURATION:
    case MLTOKEN_ESECRETMISSING:
    case MLTOKEN_ENOTSUPPORTED:
        return EXIT_CONFIGURATION;
    case MLTOKEN_ELOGINREQUIRED:
    case MLTOKEN_ESIGNINFAILED:
        return EXIT_LOGIN;
    case MLTOKEN_EREFUSED:
    case MLTOKEN_EINVALIDTOKEN:
        return EXIT_REFUSED;
    case MLTOKEN_EUNREACHABLE:
    case MLTOKEN_EBUSY:
    case MLTOKEN_ETIMEOUT:
        return EXIT_UNREACHABLE;
    case MLTOKEN_ENOAGENT:
    case MLTOKEN_ECLOSED:
    case MLTOKEN_EPEER:
        return EXIT_NO_AGENT;
    case MLTOKEN_ELOCKED:
    case MLTOKEN_EDENIED:
    case MLTOKEN_ESTORE:
        return EXIT_LOCKED;
    case MLTOKEN_ETOOSHORT:
        return EXIT_TOO_SHORT;
    case MLTOKEN_EINVAL:
        return EXIT_USAGE;
    default:
        return EXIT_FAILED;
    }
}

static const char *reason_in_words(const struct client_error *error)
{
    if (error->code != MLTOKEN_ESIGNINFAILED)
        return error->reason;
    if (strcmp(error->reason, "declined") == 0)
        return "it was declined";
    if (strcmp(error->reason, "expired") == 0)
        return "the code has expired";
    if (strcmp(error->reason, "cancelled") == 0)
        return "it was cancelled";
    if (strcmp(error->reason, "other_account") == 0)
        return "another account signed in than the one remembered (--switch-account allows that)";
    return error->reason;
}

/* ": part", once */
static void add(struct buffer *line, const char *part)
{
    if (*part && !(line->data && strstr(line->data, part)))
        buffer_format(line, ": %s", part);
}

static void add_why(struct buffer *line, const struct client_error *error, int code)
{
    add(line, mltoken_strerror(code));
    if (code == MLTOKEN_ECONFIGURATION && error->file[0] && error->line > 0 && !strstr(error->reason, error->file))
        buffer_format(line, ": %s:%lld", error->file, (long long)error->line);
    if ((code == MLTOKEN_ESECRETMISSING || code == MLTOKEN_EOLDAGENT) && error->secret[0])
        add(line, error->secret);
    add(line, error->error);
    add(line, error->description);
    add(line, reason_in_words(error));
    if (code == MLTOKEN_EUNKNOWN || code == MLTOKEN_EPROTOCOL)
        add(line, error->name);
    if (error->correlation_id[0])
        buffer_format(line, " (correlation id %s)", error->correlation_id);
    if (error->trace_id[0])
        buffer_format(line, " (trace id %s)", error->trace_id);
}

/* Called for each profile: the text of the one that was asked for, or of the first that waits. */
struct wanted {
    const char *profile;
    char text[LIMIT_TEXT];
};

static void take_waiting(struct wanted *wanted, json_object *reply)
{
    json_object *profile;
    const char *name, *text;
    if (*wanted->text || json_member(reply, "profile", &profile) < 0 ||
        json_string(profile, "name", LIMIT_PROFILE_NAME, &name) < 0 ||
        json_string(profile, "waiting", LIMIT_REPLY, &text) < 0 ||
        (wanted->profile && strcmp(wanted->profile, name) != 0))
        return;
    (void)snprintf(wanted->text, sizeof(wanted->text), "%s waits: %s", wanted->profile ? "it" : name, text);
}

/* Who gave up on the agent may have waited for a person all the time: asks what for. */
static bool add_waiting(struct buffer *line, const struct context *context, const char *profile)
{
    struct wanted wanted = {.profile = profile};
    mltoken_handle *handle = NULL;
    bool continues = true;
    int64_t deadline = clock_boot_ms() + WAITING_MS;
    int r = mltoken_open(context->socket, &handle);
    if (r == 0)
        r = client_start(handle, CALL_OTHER, MESSAGE_INTERFACE ".List", NULL, true);
    while (r == 0 && continues) {
        _cleanup_json_wipe_ json_object *reply = NULL;
        r = client_next(handle, deadline, &reply, &continues);
        if (r == 0)
            take_waiting(&wanted, reply);
    }
    mltoken_close(handle);
    if (*wanted.text) {
        buffer_text(line, ": ");
        text_clean(line, span_of(wanted.text), LIMIT_TEXT);
    }
    return *wanted.text;
}

static void add_times(struct buffer *line, const struct client_error *error, int code)
{
    char when[TIME_SIZE];
    if (code == MLTOKEN_ETOOSHORT && error->expires_at > 0) {
        buffer_text(line, ": ");
        output_too_soon(line, error->expires_at, error->min_valid, clock_wall_s());
    }
    if (code == MLTOKEN_EUNREACHABLE && error->retry_at > 0) {
        struct tm local;
        time_t at = (time_t)error->retry_at;
        char span[32];
        int64_t left = error->retry_at - clock_wall_s();
        text_duration(span, sizeof(span), left);
        if (localtime_r(&at, &local) && strftime(when, sizeof(when), "%H:%M:%S", &local) > 0)
            buffer_format(line, "; the next try is at %s, in %s", when, span);
    }
}

/* Of a service account: its manager starts it, with settings of its own. */
static void advise_start(struct buffer *line, const struct context *context)
{
    const char *service = context->handle ? socket_path_service(&context->handle->path) : NULL;
    buffer_format(line, "; start %s%s%s",
                  service ? "it with: systemctl start mltoken-agent@" : "one with: mltoken-agent",
                  service ? service : "", service ? ".service" : "");
}

/* With what the authority asks the sign-in for, where a shell can be given that as it is. */
static void advise_login(struct buffer *line, const struct client_error *error, const char *profile)
{
    buffer_format(line, "; sign in with: mltoken login%s%s", profile ? " " : "", profile ? profile : "");
    if (error->claims[0] && !strchr(error->claims, '\''))
        buffer_format(line, " --claims '%s'", error->claims);
}

static void add_advice(struct buffer *line, const struct context *context, int code, const char *profile)
{
    static const struct client_error none;
    const struct client_error *error = context->handle ? &context->handle->error : &none;
    if (line->data && strstr(line->data, "mltoken ")) /* the agent has said it */
        return;
    const char *blank = profile ? " " : "", *name = profile ? profile : "";
    switch (code) {
    case MLTOKEN_ENOAGENT:
        advise_start(line, context);
        break;
    case MLTOKEN_EPEER:
        buffer_text(line, "; nothing was sent; see: mltoken doctor");
        break;
    case MLTOKEN_EOLDAGENT:
        buffer_text(line, "; end it, the next call starts a new one");
        break;
    case MLTOKEN_ENOSUCHPROFILE:
        buffer_text(line, "; see: mltoken status");
        break;
    case MLTOKEN_ECONFIGURATION:
        buffer_text(line, "; see: mltoken config check");
        break;
    case MLTOKEN_ESECRETMISSING:
        buffer_text(line, "; see its source in the configuration, mltoken.conf(5)");
        break;
    case MLTOKEN_ELOCKED:
        buffer_text(line, "; unlock it with: mltoken unlock");
        break;
    case MLTOKEN_ELOGINREQUIRED:
        advise_login(line, error, profile);
        break;
    case MLTOKEN_ESIGNINFAILED:
        buffer_format(line, "; try again with: mltoken login%s%s", blank, name);
        break;
    case MLTOKEN_EREFUSED:
        buffer_format(line, "; check the profile%s%s in the configuration", blank, name);
        break;
    case MLTOKEN_ETIMEOUT:
    case MLTOKEN_EBUSY:
        buffer_text(line, "; try again later");
        break;
    case MLTOKEN_ESTORE:
        if (line->data && !strstr(line->data, "store = ") && !strstr(line->data, "try again")) /* it says what helps */
            buffer_format(line, "; see: mltoken doctor%s%s", blank, name);
        break;
    case MLTOKEN_ETOOSHORT:
        buffer_text(line, "; ask for less with --min-valid");
        break;
    default:
        break;
    }
}

int report(struct context *context, int code, const char *what, const char *profile)
{
    static const struct client_error none;
    const struct client_error *error = context->handle ? &context->handle->error : &none;
    char shown[LIMIT_TEXT] = "";
    const char *name = error->profile[0] ? error->profile : profile; /* a parent's, where that is what is wrong */
    if (name) {
        text_clean_into(shown, sizeof(shown), span_of(name));
        name = shown;
    }
    _cleanup_buffer_ struct buffer line = BUFFER(4 * LIMIT_TEXT + LIMIT_CHALLENGE);
    buffer_text(&line, what);
    if (profile || name) {
        buffer_text(&line, " for ");
        text_clean(&line, span_of(profile ? profile : name), LIMIT_TEXT);
    }
    add_why(&line, error, code);
    add_times(&line, error, code);
    if (code == MLTOKEN_ETIMEOUT && add_waiting(&line, context, name))
        buffer_text(&line, "; then try again");
    else
        add_advice(&line, context, code, name);
    complain("%s", line.data ? line.data : what);
    return exit_code_of(code);
}
