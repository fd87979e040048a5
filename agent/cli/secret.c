/* mltoken secret: keeps a secret in the profile's store, clears it, says which are there, moves them. The value comes
 * from standard input, or is asked for on a terminal without echo; never from an argument. */
#include "command.h"

#include "cleanup.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "text.h"
#include <errno.h>
#include <signal.h>
#include <termios.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

/* To the end, or on a terminal to the end of the line. */
static int read_all(struct buffer *to, bool line)
{
    while (!interrupted && !(line && to->length > 0 && to->data[to->length - 1] == '\n')) {
        if (buffer_reserve(to, 1) < 0) {
            complain("secret set: it is longer than %d bytes", LIMIT_SECRET);
            return EXIT_USAGE;
        }
        ssize_t n = read(STDIN_FILENO, to->data + to->length, to->capacity - to->length - 1);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR) {
            complain("secret set: cannot read the secret: %s", strerror(errno));
            return EXIT_FAILED;
        }
        to->length += n > 0 ? (size_t)n : 0;
    }
    return interrupted ? EXIT_INTERRUPTED : EXIT_DONE;
}

/* Without echo, and with the terminal as it was afterwards, also after Ctrl-C. */
static int ask(struct buffer *to, const char *profile, const char *name)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    struct sigaction action = {.sa_handler = on_signal}, before[ELEMENTS(signals)];
    struct termios shown, hidden;
    if (tcgetattr(STDIN_FILENO, &shown) < 0) {
        complain("secret set: the terminal cannot be told to hide the secret: %s", strerror(errno));
        return EXIT_FAILED;
    }
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    for (size_t i = 0; i < ELEMENTS(signals); i++)
        (void)sigaction(signals[i], &action, &before[i]);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    (void)dprintf(STDERR_FILENO, "%s of %s: ", name, profile);
    int r = read_all(to, true);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    (void)dprintf(STDERR_FILENO, "\n");
    for (size_t i = 0; i < ELEMENTS(signals); i++)
        (void)sigaction(signals[i], &before[i], NULL);
    return r;
}

static int read_secret(struct buffer *to, const char *profile, const char *name)
{
    char clean_profile[LIMIT_TEXT], clean_name[LIMIT_TEXT];
    text_clean_into(clean_profile, sizeof(clean_profile), span_of(profile));
    text_clean_into(clean_name, sizeof(clean_name), span_of(name));
    int r = isatty(STDIN_FILENO) ? ask(to, clean_profile, clean_name) : read_all(to, false);
    if (r != EXIT_DONE)
        return r;
    if (to->length > 0 && to->data[to->length - 1] == '\n')
        to->length--;
    if (to->length > 0 && to->data[to->length - 1] == '\r')
        to->length--;
    for (size_t i = 0; i < to->length; i++)
        if ((unsigned char)to->data[i] < 0x20 || to->data[i] == 0x7f) {
            complain("secret set: it holds a line break or another control character");
            return EXIT_USAGE;
        }
    if (to->length == 0) {
        complain("secret set: it is empty; mltoken secret clear removes one");
        return EXIT_USAGE;
    }
    to->data[to->length] = '\0';
    return EXIT_DONE;
}

static int set(struct context *context, const char *profile, const char *name, bool clear)
{
    _cleanup_buffer_ struct buffer value = BUFFER(LIMIT_SECRET + 2);
    _cleanup_json_ json_object *reply = NULL;
    struct call call = {.method = MESSAGE_INTERFACE ".SetSecret", .profile = profile};
    call.failure = clear ? "cannot clear the secret" : "cannot store the secret";
    int r = clear ? EXIT_DONE : read_secret(&value, profile, name);
    if (r != EXIT_DONE)
        return r;
    call_text(&call, "profile", profile);
    call_text(&call, "name", name);
    call_text(&call, "value", clear ? NULL : value.data);
    return call_run(context, &call, &reply);
}

static void list_one(struct buffer *to, json_object *secret)
{
    const char *name = "", *source = "", *reason = NULL;
    bool present = false;
    (void)json_string(secret, "name", LIMIT_TEXT, &name);
    (void)json_string(secret, "source", LIMIT_TEXT, &source);
    (void)json_string(secret, "reason", LIMIT_TEXT, &reason);
    (void)json_boolean(secret, "present", &present);
    output_clean(to, name);
    buffer_format(to, "%*s  ", (int)(strlen(name) < 16 ? 16 - strlen(name) : 0), "");
    output_clean(to, source);
    buffer_format(to, "%*s  %s", (int)(strlen(source) < 12 ? 12 - strlen(source) : 0), "",
                  present ? "present" : "missing");
    if (!present && reason) {
        buffer_text(to, ": ");
        output_clean(to, reason);
    }
    buffer_byte(to, '\n');
}

static int list(struct context *context, const char *profile)
{
    _cleanup_json_ json_object *reply = NULL;
    json_object *secrets;
    struct call call = {
        .method = MESSAGE_INTERFACE ".ListSecrets", .failure = "cannot list the secrets", .profile = profile};
    call_text(&call, "profile", profile);
    int r = call_run(context, &call, &reply);
    if (r != EXIT_DONE)
        return r;
    if (json_array(reply, "secrets", &secrets) < 0) {
        complain("cannot list the secrets: the agent's answer has none");
        return EXIT_FAILED;
    }
    if (context->json)
        return output_json(secrets);
    struct buffer text = BUFFER(LIMIT_REPLY);
    for (size_t i = 0; i < json_object_array_length(secrets); i++)
        list_one(&text, json_object_array_get_idx(secrets, i));
    if (json_object_array_length(secrets) == 0)
        remark(context->quiet, "there are no secrets for this profile");
    return output_write(&text);
}

static int move(struct context *context, const char *profile, const char *store)
{
    _cleanup_json_ json_object *reply = NULL;
    struct call call = {
        .method = MESSAGE_INTERFACE ".MoveSecrets", .failure = "cannot move the secrets", .profile = profile};
    char shown[LIMIT_TEXT];
    int64_t moved = 0;
    call_text(&call, "profile", profile);
    call_text(&call, "store", store);
    int r = call_run(context, &call, &reply);
    if (r != EXIT_DONE)
        return r;
    if (context->json)
        return output_json(reply);
    (void)json_integer(reply, "moved", &moved);
    text_clean_into(shown, sizeof(shown), span_of(store));
    remark(context->quiet, "moved to %s: %lld; the profile finds them there with store = %s in its configuration",
           shown, (long long)moved, shown);
    return EXIT_DONE;
}

int command_secret(struct context *context, int argc, char **argv)
{
    static const char *const actions[] = {"set", "clear", "list", "move"};
    const struct usage usage = {
        .command = "secret",
        .arguments = "set|clear PROFILE [NAME] | list PROFILE | move PROFILE STORE",
        .summary = "Keeps a secret in the profile's store; set reads it from standard input or asks without echo.",
        .most = 3};
    struct arguments arguments;
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    const char *action = arguments.count > 0 ? arguments.values[0] : "", *profile = arguments.values[1];
    bool known = false;
    for (size_t i = 0; i < ELEMENTS(actions); i++)
        known |= strcmp(action, actions[i]) == 0;
    if (*action && !known)
        return options_unknown("action", action, actions, ELEMENTS(actions), "mltoken secret -h");
    bool listing = strcmp(action, "list") == 0, moving = strcmp(action, "move") == 0;
    if (arguments.count < 2 || (moving && arguments.count < 3) || (listing && arguments.count > 2)) {
        complain("secret: %s; see mltoken secret -h", !*action   ? "set, clear, list or move?"
                                                      : !profile ? "of which profile?"
                                                      : moving   ? "to which store?"
                                                                 : "one argument too many");
        return EXIT_USAGE;
    }
    if (listing)
        return list(context, profile);
    if (moving)
        return move(context, profile, arguments.values[2]);
    return set(context, profile, arguments.count > 2 ? arguments.values[2] : "client_secret", *action == 'c');
}
