/* mltoken-pam-import: what pam_mltoken.so executes in the session phase, as the person who signs in. It reads a
 * hand-off record from standard input and calls Import of that person's agent, so that nothing that an agent says is
 * ever parsed in sshd's memory. Everything that it says itself are lines (lines.h): `ok` or `fail class text` for a
 * record, then for each --export `value profile token` or `fail`; for --get `token profile access_token`, fetched just
 * now. It believes no environment: the socket is found by the uid alone. */
#include "cleanup.h"
#include "client_internal.h"
#include "clock.h"
#include "import_record.h"
#include "import_start.h"
#include "limits.h"
#include "lines.h"
#include "message.h"
#include "text.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { EXPORTS = 32, RETRY_MS = 10, RECORD_SIZE = 2 * (LIMIT_LINE + 1) };

struct plan {
    bool start;
    const char *exports[EXPORTS];
    size_t export_count;
    const char *get;
    int64_t deadline_ms;
};

/* ---- what is said ---- */

static bool say(struct buffer *line)
{
    bool good = line_end(line) == 0;
    for (size_t sent = 0; good && sent < line->length;) {
        ssize_t n = write(STDOUT_FILENO, line->data + sent, line->length - sent);
        good = n > 0 || (n < 0 && errno == EINTR);
        sent += n > 0 ? (size_t)n : 0;
    }
    return good;
}

static int say_failure(const char *class, const char *text)
{
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LINE + 1);
    line_begin(&line, "fail");
    line_put_text(&line, "class", class);
    line_put_text(&line, "text", text);
    (void)say(&line);
    return EXIT_FAILURE;
}

static const char *class_of(int code)
{
    switch (code) {
    case MLTOKEN_ENOAGENT:
    case MLTOKEN_EPEER:
        return "no_agent";
    case MLTOKEN_EDENIED:
    case MLTOKEN_ELOCKED:
        return "denied";
    case MLTOKEN_ETIMEOUT:
        return "timeout";
    case MLTOKEN_ENOMEM:
    case MLTOKEN_ESYSTEM:
    case MLTOKEN_EINVAL:
        return "internal";
    default:
        return "refused";
    }
}

/* What the agent said is not ours: its words come cleaned and cut from the library. */
static int say_error(const mltoken_handle *handle, int code)
{
    const struct client_error *error = &handle->error;
    char text[3 * LIMIT_TEXT];
    const char *words = *error->reason ? error->reason : error->description;
    (void)snprintf(text, sizeof(text), "%s%s%s", mltoken_strerror(code), *words ? ": " : "", words);
    return say_failure(class_of(code), text);
}

static int say_token(const char *word, const char *field, const char *profile, struct span token)
{
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LINE + 1);
    line_begin(&line, word);
    line_put_text(&line, "profile", profile);
    line_put(&line, field, token);
    return say(&line) ? EXIT_SUCCESS : say_failure("internal", "the token is too long");
}

/* ---- the agent ---- */

static int connect_by(mltoken_handle *handle, int64_t deadline_ms, bool come)
{
    for (;;) {
        int r = client_connect(handle);
        bool wait = r == CLIENT_AGAIN || (come && r == MLTOKEN_ENOAGENT);
        if (!wait)
            return r;
        if (clock_boot_ms() >= deadline_ms)
            return r < 0 ? r : client_fail(handle, MLTOKEN_ETIMEOUT, "the agent's queue is full");
        (void)poll(NULL, 0, RETRY_MS);
    }
}

static int start_and_connect(const struct plan *plan, mltoken_handle *handle)
{
    int r = import_start(plan->deadline_ms);
    if (r < 0)
        return client_fail(handle, MLTOKEN_ENOAGENT, "none could be started: %s",
                           r == -ENOENT   ? "the user is not in the user database, or the program is missing"
                           : r == -ECHILD ? "it gave up; see: mltoken doctor"
                                          : strerror(-r));
    return connect_by(handle, plan->deadline_ms, true);
}

/* The agent of our uid, wherever the environment points. One of a service account is its manager's to start. */
static int reach(const struct plan *plan, mltoken_handle **ret)
{
    struct socket_path path;
    mltoken_handle *handle;
    int r = socket_path_for(getuid(), &path) < 0 ? MLTOKEN_EINVAL : mltoken_open(path.agent, &handle);
    if (r < 0)
        return r;
    *ret = handle;
    handle->path = path;  /* found by the rules: its directory is looked at as well */
    client_enter(handle); /* there is one thread: it holds its handle for life */
    r = connect_by(handle, plan->deadline_ms, false);
    if (r == MLTOKEN_ENOAGENT && plan->start && !socket_path_service(&path))
        r = start_and_connect(plan, handle);
    return r;
}

static int call(mltoken_handle *handle, const char *method, json_object *parameters, int64_t deadline_ms,
                json_object **ret)
{
    bool continues;
    int r = client_start(handle, CALL_OTHER, method, parameters, false);
    handle->reused = false; /* it is asked once: an agent that hangs up has had the sign-in */
    if (r == 0)
        r = client_next(handle, deadline_ms, ret, &continues);
    if (r < 0 && handle->call != CALL_NONE)
        client_drop(handle);
    return r;
}

/* ---- which profile, where the record names none ---- */

struct search {
    const char *issuer;
    char match[LIMIT_PROFILE_NAME + 1], any[LIMIT_PROFILE_NAME + 1];
    size_t matches, count;
};

static void look_at(struct search *search, json_object *parameters)
{
    json_object *profile = NULL;
    const char *name, *authority = "";
    if (json_member(parameters, "profile", &profile) < 0 || !json_object_is_type(profile, json_type_object) ||
        json_string(profile, "name", LIMIT_PROFILE_NAME, &name) < 0)
        return;
    bool signs_in = false; /* an agent from before this program says nothing of it */
    (void)json_boolean(profile, "signsIn", &signs_in);
    (void)json_string(profile, "authority", LIMIT_URL, &authority);
    if (!signs_in)
        return;
    bool same = strcmp(authority, search->issuer) == 0;
    search->matches += same;
    search->count++;
    (void)snprintf(same ? search->match : search->any, LIMIT_PROFILE_NAME + 1, "%s", name);
}

/* The only one of that issuer, or the only one at which a person signs in. */
static int choose_profile(mltoken_handle *handle, struct import_record *record, int64_t deadline_ms)
{
    struct search search = {.issuer = record->issuer};
    bool continues = true;
    int r = client_start(handle, CALL_OTHER, MESSAGE_INTERFACE ".List", NULL, true);
    for (size_t i = 0; r == 0 && continues; i++) {
        _cleanup_json_wipe_ json_object *reply = NULL;
        r = i < LIMIT_PROFILES ? client_next(handle, deadline_ms, &reply, &continues) : MLTOKEN_EPROTOCOL;
        if (r == 0)
            look_at(&search, reply);
    }
    if (r < 0 && handle->call != CALL_NONE)
        client_drop(handle);
    if (r < 0)
        return r;
    const char *name = search.matches == 1 ? search.match : search.matches == 0 && search.count == 1 ? search.any : "";
    (void)snprintf(record->profile, sizeof(record->profile), "%s", name);
    return *name ? 0
                 : client_fail(handle, MLTOKEN_ENOSUCHPROFILE,
                               search.count == 0 ? "nobody can sign in to any of the agent's"
                                                 : "the agent has several; name one with handoff_profile in pam.conf");
}

/* ---- bringing the sign-in ---- */

/* A request has its limit, and the access token can be fetched anew. */
static void make_fit(struct import_record *record)
{
    const char *text =
        json_object_to_json_string_ext(record->parameters, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    json_object *refresh = NULL, *access = NULL;
    size_t length = text ? strlen(text) : 0; /* without memory: the call will find out */
    if (length + LIMIT_TEXT <= LIMIT_REQUEST || json_member(record->parameters, "refreshToken", &refresh) < 0 ||
        json_member(record->parameters, "accessToken", &access) < 0)
        return;
    json_object_get(access);
    json_object_object_del(record->parameters, "accessToken");
    json_wipe(access);
}

static int bring(mltoken_handle *handle, struct import_record *record, int64_t deadline_ms)
{
    _cleanup_json_wipe_ json_object *reply = NULL;
    int r = *record->profile ? 0 : choose_profile(handle, record, deadline_ms);
    if (r < 0)
        return say_error(handle, r);
    make_fit(record);
    if (json_put_text(record->parameters, "profile", record->profile) < 0)
        return say_failure("internal", "out of memory");
    r = call(handle, MESSAGE_INTERFACE ".Import", TAKE_PTR(record->parameters), deadline_ms, &reply);
    if (r < 0)
        return say_error(handle, r);
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LINE + 1);
    line_begin(&line, "ok");
    return say(&line) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- tokens of the agent ---- */

static int fetch(mltoken_handle *handle, const char *profile, bool fresh, size_t maximum, int64_t deadline_ms)
{
    _cleanup_json_wipe_ json_object *reply = NULL;
    json_object *parameters = json_object_new_object(), *token = NULL;
    struct span value = {0};
    if (json_put_text(parameters, "profile", profile) < 0 ||
        json_put_text(parameters, "application", "pam_mltoken") < 0 ||
        (fresh && json_put_boolean(parameters, "refresh", true) < 0)) {
        json_object_put(parameters);
        return say_failure("internal", "out of memory");
    }
    int r = call(handle, MESSAGE_INTERFACE ".GetToken", parameters, deadline_ms, &reply);
    if (r < 0)
        return say_error(handle, r);
    if (json_member(reply, "token", &token) < 0 || !json_object_is_type(token, json_type_object) ||
        json_bytes(token, "value", maximum, &value) < 0 || value.length == 0 || text_plain(value) != value.length ||
        memchr(value.data, ' ', value.length))
        return say_failure("refused", "the agent's token is too long, or no plain text");
    return say_token(fresh ? "token" : "value", fresh ? "access_token" : "token", profile, value);
}

/* ---- beginning ---- */

/* All that there is until the end, as far as it can be a record. */
static int read_record(struct buffer *text, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - clock_boot_ms();
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        if (left <= 0)
            return -ETIMEDOUT;
        if (poll(&in, 1, (int)left) <= 0)
            continue;
        int r = buffer_reserve(text, LIMIT_LINE_CHUNK);
        if (r < 0)
            return r;
        ssize_t n = read(STDIN_FILENO, text->data + text->length, LIMIT_LINE_CHUNK);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        text->length += n > 0 ? (size_t)n : 0;
    }
}

static int take_arguments(int argc, char **argv, struct plan *plan)
{
    for (int i = 1; i < argc; i++) {
        bool valued = i + 1 < argc && argv[i + 1][0] && strlen(argv[i + 1]) <= LIMIT_PROFILE_NAME;
        if (strcmp(argv[i], "--start") == 0)
            plan->start = true;
        else if (strcmp(argv[i], "--export") == 0 && valued && plan->export_count < EXPORTS)
            plan->exports[plan->export_count++] = argv[++i];
        else if (strcmp(argv[i], "--get") == 0 && valued && !plan->get)
            plan->get = argv[++i];
        else
            return -EINVAL;
    }
    return plan->get && (plan->start || plan->export_count > 0) ? -EINVAL : 0;
}

/* Who signs in may not look into this process, nor may its core be kept: it holds what the module gave it. */
static void harden(void)
{
    const struct rlimit none = {0, 0};
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(SIGPIPE, SIG_IGN);
}

static int run(const struct plan *plan, struct import_record *record)
{
    mltoken_handle *handle = NULL;
    int r = reach(plan, &handle), status = EXIT_SUCCESS;
    if (r < 0) {
        status = handle ? say_error(handle, r) : say_failure("internal", mltoken_strerror(r));
        mltoken_close(handle);
        return status;
    }
    if (plan->get)
        status = fetch(handle, plan->get, true, LIMIT_TOKEN, plan->deadline_ms);
    else if (record->parameters)
        status = bring(handle, record, plan->deadline_ms);
    for (size_t i = 0; i < plan->export_count; i++)
        if (fetch(handle, plan->exports[i], false, LIMIT_EXPORT, plan->deadline_ms) != EXIT_SUCCESS)
            status = EXIT_FAILURE;
    mltoken_close(handle);
    return status;
}

int main(int argc, char **argv)
{
    struct plan plan = {0};
    _cleanup_import_record_ struct import_record record = {0};
    _cleanup_buffer_ struct buffer text = BUFFER(RECORD_SIZE + LIMIT_LINE_CHUNK);
    const char *wrong = "";
    harden();
    if (getuid() != geteuid() || getgid() != getegid())
        return say_failure("internal", "it runs with borrowed rights");
    if (take_arguments(argc, argv, &plan) < 0)
        return say_failure("internal", "usage: mltoken-pam-import [--start] [--export PROFILE]... | --get PROFILE");
    plan.deadline_ms = clock_boot_ms() + (plan.get ? LIMIT_FRESH_MS : LIMIT_IMPORT_MS);
    int r = plan.get ? 0 : read_record(&text, plan.deadline_ms);
    if (r == 0 && text.length > 0)
        r = import_record_read(buffer_span(&text), getuid(), &record, &wrong);
    buffer_clear(&text);
    if (r < 0) {
        char reason[LIMIT_TEXT];
        (void)snprintf(reason, sizeof(reason), "the record is none: %s", r == -EBADMSG ? wrong : strerror(-r));
        return say_failure(r == -ETIMEDOUT ? "timeout" : "internal", reason);
    }
    return run(&plan, &record);
}
