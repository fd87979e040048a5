/* mltoken logout: forgets here, revokes at the authority where it can, and says which of the two happened. */
#include "command.h"

#include "cleanup.h"
#include "message.h"
#include "options.h"
#include "output.h"

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
    const char *profile;
    bool all = false;
    const struct option options[] = {{"--all", OPTION_FLAG, &all, NULL, "sign out of every profile"}};
    const struct usage usage = {.command = "logout",
                                .summary = "Revokes at the authority where it can, and always forgets here.",
                                USAGE_OPTIONS(options)};
    int r = options_profile(context, &usage, argc, argv, &profile);
    if (r != OPTIONS_GO)
        return r;
    if (all && profile) {
        complain("logout: a profile or --all, not both");
        return EXIT_USAGE;
    }
    _cleanup_json_ json_object *reply = NULL;
    struct call call = {.method = MESSAGE_INTERFACE ".Logout", .failure = "cannot sign out", .profile = profile};
    call_text(&call, "profile", profile);
    call_flag(&call, "all", all);
    r = call_run(context, &call, &reply);
    return r == EXIT_DONE ? print(context, reply, profile, all) : r;
}
