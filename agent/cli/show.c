/* mltoken show: the token's claims and times, never the token. */
#include "command.h"

#include "claims.h"
#include "cleanup.h"
#include "message.h"
#include "options.h"
#include "output.h"

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
    const char *profile;
    bool remote = false;
    const struct option options[] = {{"--remote", OPTION_FLAG, &remote, NULL, "ask the authority about the token"}};
    const struct usage usage = {
        .command = "show", .summary = "Shows a token's claims and times, never the token.", USAGE_OPTIONS(options)};
    int r = options_profile(context, &usage, argc, argv, &profile);
    if (r != OPTIONS_GO)
        return r;
    _cleanup_json_ json_object *reply = NULL;
    struct call call = {.method = MESSAGE_INTERFACE ".Show", .failure = "cannot show the token", .profile = profile};
    call_text(&call, "profile", profile);
    call_flag(&call, "remote", remote);
    r = call_run(context, &call, &reply);
    if (r != EXIT_DONE)
        return r;
    json_object *claims;
    bool active = true;
    r = print(context, reply);
    if (!remote || json_member(reply, "claims", &claims) < 0 || json_boolean(claims, "active", &active) < 0 || active)
        return r;
    complain("the authority says that this token is not active: it was revoked or has ended; mltoken get --refresh "
             "fetches another");
    return EXIT_REFUSED;
}
