/* mltoken show: the token's claims and times, never the token. */
#include "command.h"

#include "claims.h"
#include "cleanup.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "report.h"

static int print(const struct context *context, json_object *reply)
{
    json_object *claims;
    int64_t expires_at;
    if (context->json)
        return output_json(reply);
    struct buffer text = BUFFER((size_t)LIMIT_REPLY * 8);
    if (json_member(reply, "claims", &claims) == 0 && json_object_is_type(claims, json_type_object))
        claims_append(&text, claims);
    else
        remark(context->quiet, "the token is opaque: only the authority can read it (--remote asks it)");
    if (json_integer(reply, "expiresAt", &expires_at) == 0) {
        char when[TIME_SIZE];
        output_time(when, expires_at);
        buffer_format(&text, "the token expires: %s\n", when);
    }
    return output_write(&text);
}

int command_show(struct context *context, int argc, char **argv)
{
    bool remote = false;
    const struct option options[] = {{"--remote", OPTION_FLAG, &remote, NULL, "ask the authority about the token"}};
    const struct usage usage = {.command = "show",
                                .arguments = "[PROFILE]",
                                .summary = "Shows a token's claims and times, never the token.",
                                .options = options,
                                .option_count = ELEMENTS(options),
                                .most = 1};
    struct arguments arguments;
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    const char *profile = arguments.count > 0 ? arguments.values[0] : NULL;
    r = context_open(context);
    if (r != EXIT_DONE)
        return r;
    _cleanup_json_ json_object *parameters = json_object_new_object();
    _cleanup_json_ json_object *reply = NULL;
    int error = MLTOKEN_ENOMEM;
    if (parameters && json_put_text(parameters, "profile", profile) == 0 &&
        (!remote || json_put_boolean(parameters, "remote", true) == 0))
        error = agent_call(context, MESSAGE_INTERFACE ".Show", TAKE_PTR(parameters), &reply);
    return error < 0 ? report(context, error, "cannot show the token", profile) : print(context, reply);
}
