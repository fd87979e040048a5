/* mltoken verify: is a JWT from stdin good? The agent knows the authority's keys. */
#include "command.h"

#include "claims.h"
#include "cleanup.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include <errno.h>
#include <unistd.h>

/* Without the white space around it. EXIT_DONE, or an exit code after a complaint. */
static int read_jwt(struct buffer *jwt)
{
    for (;;) {
        if (buffer_reserve(jwt, 1) < 0) {
            complain("verify: that is no JWT: it is longer than %d bytes", LIMIT_JWS);
            return EXIT_REFUSED;
        }
        size_t room = jwt->capacity - jwt->length - 1;
        ssize_t n = read(STDIN_FILENO, jwt->data + jwt->length, room);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            complain("verify: cannot read the JWT: %s", strerror(errno));
            return EXIT_FAILED;
        }
        jwt->length += (size_t)n;
    }
    while (jwt->length > 0 && strchr(" \t\r\n", jwt->data[jwt->length - 1]) && jwt->data[jwt->length - 1])
        jwt->length--;
    jwt->data[jwt->length] = '\0';
    buffer_consume(jwt, strspn(jwt->data, " \t\r\n"));
    if (jwt->length == 0 || jwt->length > LIMIT_JWS || strlen(jwt->data) != jwt->length) {
        complain("verify: there is no JWT on standard input");
        return EXIT_REFUSED;
    }
    for (size_t i = 0; i < jwt->length; i++)
        if (jwt->data[i] <= 0x20 || jwt->data[i] >= 0x7f) {
            complain("verify: that is no JWT: it holds characters that no JWT has");
            return EXIT_REFUSED;
        }
    return EXIT_DONE;
}

static int print(const struct context *context, json_object *reply)
{
    json_object *claims;
    if (json_member(reply, "claims", &claims) < 0 || !json_object_is_type(claims, json_type_object)) {
        complain("cannot verify the token: the agent's answer has no claims");
        return EXIT_FAILED;
    }
    if (context->json)
        return output_json(claims);
    struct buffer text = BUFFER((size_t)LIMIT_REPLY * 8);
    claims_append(&text, claims);
    return output_write(&text);
}

int command_verify(struct context *context, int argc, char **argv)
{
    const char *profile = NULL, *audience = NULL;
    const struct option options[] = {
        {"--profile", OPTION_TEXT, &profile, "PROFILE", "whose authority must have signed it"},
        {"--audience", OPTION_TEXT, &audience, "AUDIENCE",
         "for whom it must be (else the profile's audience or client id)"},
    };
    const struct usage usage = {.command = "verify",
                                .arguments = "[--profile P] [--audience A]",
                                .summary = "Checks a JWT from standard input and prints its claims.",
                                USAGE_OPTIONS(options)};
    struct arguments arguments;
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    _cleanup_buffer_ struct buffer jwt = BUFFER(LIMIT_JWS + 4096); /* some white space is forgiven */
    r = read_jwt(&jwt);
    if (r == EXIT_DONE)
        r = context_open(context);
    if (r != EXIT_DONE)
        return r;
    _cleanup_json_wipe_ json_object *parameters = json_object_new_object();
    _cleanup_json_ json_object *reply = NULL;
    int error = MLTOKEN_ENOMEM;
    if (json_put_text(parameters, "jwt", jwt.data) == 0 && json_put_text(parameters, "profile", profile) == 0 &&
        json_put_text(parameters, "audience", audience) == 0)
        error = agent_call(context, MESSAGE_INTERFACE ".Verify", TAKE_PTR(parameters), &reply);
    if (error == MLTOKEN_EINVAL) { /* longer than a request may be */
        complain("verify: the JWT is too long for the agent");
        return EXIT_REFUSED;
    }
    return error < 0 ? report(context, error, "cannot verify the token", profile) : print(context, reply);
}
