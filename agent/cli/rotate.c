/* mltoken rotate: serves the other one of two keys, and has the one that was served made anew. */
#include "command.h"

#include "cleanup.h"
#include "limits.h"
#include "message.h"
#include "options.h"
#include "output.h"

static int print(const struct context *context, json_object *reply, const char *profile)
{
    const char *slot = "";
    if (context->json)
        return output_json(reply);
    (void)json_string(reply, "slot", LIMIT_CODE, &slot);
    struct buffer text = BUFFER(1024);
    buffer_text(&text, "rotated ");
    output_clean(&text, profile);
    buffer_text(&text, ": now the ");
    output_clean(&text, slot);
    buffer_text(&text, " is served\n");
    return output_write(&text);
}

int command_rotate(struct context *context, int argc, char **argv)
{
    const char *profile;
    const struct usage usage = {.command = "rotate",
                                .summary = "Serves the other one of a profile's two keys; a service that can makes the "
                                           "one that was served anew. Programs that keep a key must ask again."};
    int r = options_profile(context, &usage, argc, argv, &profile);
    if (r != OPTIONS_GO)
        return r;
    if (!profile) {
        complain("rotate: name the profile");
        return EXIT_USAGE;
    }
    _cleanup_json_ json_object *reply = NULL;
    struct call call = {.method = MESSAGE_INTERFACE ".Rotate",
                        .failure = "cannot rotate",
                        .profile = profile,
                        .patience_ms = LIMIT_ROTATION_MS};
    call_text(&call, "profile", profile);
    r = call_run(context, &call, &reply);
    return r == EXIT_DONE ? print(context, reply, profile) : r;
}
