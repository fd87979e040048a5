/* mltoken secret: keeps a secret in the profile's store, clears it, says which are there, moves them. The value comes
 * from standard input, or is asked for on a terminal without echo; never from an argument. */
#include "command.h"

#include "cleanup.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "text.h"
#include "typed.h"
#include <unistd.h>

static int read_value(struct buffer *to, const char *profile, const char *name)
{
    char label[LIMIT_TEXT];
    (void)snprintf(label, sizeof(label), "%s of %s", name, profile);
    int r = typed_read(&(struct typed){.command = "secret set", .label = label, .most = LIMIT_SECRET}, to);
    if (r == EXIT_DONE && to->length == 0) {
        complain("secret set: it is empty; mltoken secret clear removes one");
        r = EXIT_USAGE;
    }
    return r;
}

static int set(struct context *context, const char *profile, const char *name, bool clear)
{
    _cleanup_buffer_ struct buffer value = BUFFER(0);
    _cleanup_json_ json_object *reply = NULL;
    struct call call = {.method = MESSAGE_INTERFACE ".SetSecret", .profile = profile};
    call.failure = clear ? "cannot clear the secret" : "cannot store the secret";
    int r = clear ? EXIT_DONE : read_value(&value, profile, name);
    if (r != EXIT_DONE)
        return r;
    call_text(&call, "profile", profile);
    call_text(&call, "name", name);
    call_text(&call, "value", clear ? NULL : value.data);
    return call_run(context, &call, &reply);
}

static int ask_list(struct context *context, const char *profile, json_object **ret_reply, json_object **ret_secrets)
{
    struct call call = {
        .method = MESSAGE_INTERFACE ".ListSecrets", .failure = "cannot list the secrets", .profile = profile};
    call_text(&call, "profile", profile);
    int r = call_run(context, &call, ret_reply);
    if (r == EXIT_DONE && json_array(*ret_reply, "secrets", ret_secrets) < 0) {
        complain("cannot list the secrets: the agent's answer has none");
        r = EXIT_FAILED;
    }
    return r;
}

/* Asks for one of the names on a terminal; elsewhere says which there are. */
static int choose_name(const char *action, const char *profile, const char *choices,
                       char to[static LIMIT_SECRET_NAME + 1])
{
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
        complain("secret %s: which one of %s? mltoken secret %s PROFILE NAME; its stored ones are: %s", action, profile,
                 action, choices);
        return EXIT_USAGE;
    }
    (void)fprintf(stderr, "Which secret (%s): ", choices);
    /* read as it is: what stdio took beyond the line would be missing when the secret itself is read */
    size_t length = 0;
    char byte;
    while (length < LIMIT_SECRET_NAME && read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n')
        to[length++] = byte;
    to[length] = '\0';
    if (length == 0)
        complain("secret %s: nothing was changed", action);
    return length > 0 ? EXIT_DONE : EXIT_USAGE;
}

/* The name when none was given: the only one of the profile's secrets that is kept in the store. One may also be put
 * there before the configuration says so; that is then the client's. */
static int find_name(struct context *context, const char *action, const char *profile,
                     char to[static LIMIT_SECRET_NAME + 1])
{
    _cleanup_json_ json_object *reply = NULL;
    json_object *secrets;
    size_t count = 0, used = 0;
    char choices[LIMIT_TEXT] = "", shown[LIMIT_PROFILE_NAME + 1];
    int r = ask_list(context, profile, &reply, &secrets);
    for (size_t i = 0; r == EXIT_DONE && i < json_object_array_length(secrets); i++) {
        json_object *item = json_object_array_get_idx(secrets, i);
        const char *name = "";
        bool stored = false;
        if (json_boolean(item, "stored", &stored) < 0 || !stored || used >= sizeof(choices) ||
            json_string(item, "name", LIMIT_SECRET_NAME, &name) < 0 || strcmp(name, "refresh_token") == 0)
            continue;
        (void)snprintf(to, LIMIT_SECRET_NAME + 1, "%s", name);
        used += (size_t)snprintf(choices + used, sizeof(choices) - used, "%s%s", count++ > 0 ? ", " : "", name);
    }
    if (r != EXIT_DONE || count == 1)
        return r;
    text_clean_into(shown, sizeof(shown), span_of(profile));
    if (count > 1)
        return choose_name(action, shown, choices, to);
    (void)snprintf(to, LIMIT_SECRET_NAME + 1, "client_secret");
    return EXIT_DONE;
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
    int r = ask_list(context, profile, &reply, &secrets);
    if (r != EXIT_DONE)
        return r;
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
    char name[LIMIT_SECRET_NAME + 1];
    const char *given = arguments.count > 2 ? arguments.values[2] : NULL;
    r = given ? EXIT_DONE : find_name(context, action, profile, name);
    return r == EXIT_DONE ? set(context, profile, given ? given : name, *action == 'c') : r;
}
