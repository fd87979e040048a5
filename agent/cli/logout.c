/* mltoken logout: forgets here, revokes at the authority where it can, and says which of the two happened. */
#include "command.h"

#include "cleanup.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "report.h"

static int print(const struct context *context, json_object *reply, const char *profile, bool all)
{
    bool revoked = false;
    if (context->json)
        return output_json(reply);
    (void)json_boolean(reply, "revoked", &revoked);
    struct buffer text = BUFFER(1024);
    buffer_text(&text, "signed out");
    if (all || profile) {
        buffer_text(&text, all ? " of every profile" : " of ");
        output_clean(&text, all ? "" : profile);
    }
    buffer_text(&text, revoked
                           ? ": revoked at the authority, and forgotten here\n"
                           : ": forgotten here; not revoked at the authority, where it may stay valid for a while\n");
    return output_write(&text);
}

int command_logout(struct context *context, int argc, char **argv)
{
    bool all = false;
    const struct option options[] = {{"--all", OPTION_FLAG, &all, NULL, "sign out of every profile"}};
    const struct usage usage = {.command = "logout",
                                .arguments = "[PROFILE]",
                                .summary = "Revokes at the authority where it can, and always forgets here.",
                                .options = options,
                                .option_count = ELEMENTS(options),
                                .most = 1};
    struct arguments arguments;
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    const char *profile = arguments.count > 0 ? arguments.values[0] : NULL;
    if (all && profile) {
        complain("logout: a profile or --all, not both");
        return EXIT_USAGE;
    }
    r = context_open(context);
    if (r != EXIT_DONE)
        return r;
    _cleanup_json_ json_object *parameters = json_object_new_object();
    _cleanup_json_ json_object *reply = NULL;
    int error = MLTOKEN_ENOMEM;
    if (parameters && json_put_text(parameters, "profile", profile) == 0 &&
        (!all || json_put_boolean(parameters, "all", true) == 0))
        error = agent_call(context, MESSAGE_INTERFACE ".Logout", TAKE_PTR(parameters), &reply);
    return error < 0 ? report(context, error, "cannot sign out", profile) : print(context, reply, profile, all);
}
