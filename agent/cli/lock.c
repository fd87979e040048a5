/* mltoken lock and unlock: seals what the agent holds under a passphrase, and opens it; unlock also opens the sealed
 * files of the store. A right passphrase may have to wait for others that are tried before it, so the call has time. */
#include "command.h"

#include "cleanup.h"
#include "limits.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "typed.h"
#include <unistd.h>

static int read_once(const char *command, const char *label, struct buffer *to)
{
    const struct typed typed = {.command = command, .label = label, .most = LIMIT_PASSPHRASE, .line = true};
    int r = typed_read(&typed, to);
    if (r == EXIT_DONE && to->length == 0) {
        complain("%s: the passphrase is empty", command);
        r = EXIT_USAGE;
    }
    return r;
}

/* A new one is asked for twice: nobody could undo a slip of the finger. */
static int read_passphrase(const char *command, bool fresh, struct buffer *to)
{
    _cleanup_buffer_ struct buffer again = BUFFER(0);
    int r = read_once(command, fresh ? "new passphrase" : "passphrase", to);
    if (r != EXIT_DONE || !fresh || !isatty(STDIN_FILENO))
        return r;
    r = read_once(command, "the same again", &again);
    if (r == EXIT_DONE && !span_equals(buffer_span(to), buffer_span(&again))) {
        complain("%s: these were not the same", command);
        r = EXIT_USAGE;
    }
    return r;
}

static int send(struct context *context, const char *command, struct call *call, bool fresh)
{
    _cleanup_buffer_ struct buffer passphrase = BUFFER(0);
    _cleanup_json_wipe_ json_object *reply = NULL;
    call->patience_ms = LIMIT_LOGIN_MS;
    int r = read_passphrase(command, fresh, &passphrase);
    if (r != EXIT_DONE)
        return r;
    call_text(call, "passphrase", passphrase.data);
    return call_run(context, call, &reply);
}

int command_lock(struct context *context, int argc, char **argv)
{
    const struct usage usage = {
        .command = "lock",
        .summary = "Seals what the agent holds under a passphrase, until mltoken unlock. The passphrase is asked for "
                   "twice without echo, or is one line of standard input."};
    struct arguments arguments;
    struct call call = {.method = MESSAGE_INTERFACE ".Lock", .failure = "cannot lock the agent"};
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    context->no_start = true; /* an agent that is not there holds nothing */
    return send(context, "lock", &call, true);
}

int command_unlock(struct context *context, int argc, char **argv)
{
    bool fresh = false;
    const struct option options[] = {
        {"--new", OPTION_FLAG, &fresh, NULL, "set a passphrase for the sealed files, where none is set"}};
    const struct usage usage = {.command = "unlock",
                                .summary = "Opens what mltoken lock has sealed; else the sealed files of the store. "
                                           "The passphrase is asked for without echo, or is one line of standard "
                                           "input.",
                                .options = options,
                                .option_count = ELEMENTS(options)};
    struct arguments arguments;
    struct call call = {.method = MESSAGE_INTERFACE ".Unlock"};
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    call.failure = fresh ? "cannot set the passphrase" : "cannot unlock";
    call_flag(&call, "new", fresh);
    r = send(context, "unlock", &call, fresh);
    json_wipe(call.parameters);
    return r;
}
