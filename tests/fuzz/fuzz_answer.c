/* libFuzzer: whatever an authority answers, reading it ends in an outcome that can be reported, and nothing of it
 * leaks. The input is a status byte, a dialect byte, then headers and body parted by the first empty line. */
#include "authority/answer.h"
#include "cleanup.h"
#include "grant/device_answer.h"
#include "json.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return secret_arena_open();
}

static void hold(bool truth)
{
    if (!truth)
        abort();
}

static bool clean(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static void check_failure(const struct failure *why)
{
    hold(why->kind != FAILURE_NONE);
    hold(why->kind == FAILURE_AUTHORITY_REFUSED ? why->error[0] : why->reason[0]);
    hold(clean(why->reason) && clean(why->error) && clean(why->description));
    hold(clean(why->trace_id) && clean(why->correlation_id));
    hold(why->retry_after_ms >= -1 && why->retry_after_ms <= LIMIT_RETRY_AFTER_S * 1000L);
}

static void check_tokens(const struct tokens *tokens)
{
    hold(tokens->access_token && tokens->access_token[0] && strlen(tokens->access_token) <= LIMIT_TOKEN);
    for (const char *p = tokens->access_token; *p; p++)
        hold((unsigned char)*p > 0x20 && (unsigned char)*p < 0x7f);
    hold(tokens->expires_in_s == -1 || (tokens->expires_in_s > 0 && tokens->expires_in_s <= LIMIT_LIFETIME_S));
    hold(tokens->refresh_in_s == -1 || (tokens->refresh_in_s > 0 && tokens->refresh_in_s < tokens->expires_in_s));
    hold(strcmp(tokens->type, "Bearer") == 0);
}

static void check_device(const struct answer *answer, const struct profile *profile, const struct tick *tick)
{
    json_object *json = NULL;
    struct device_answer device;
    struct failure why;
    if (answer_error(answer, profile, false, tick, &json, &why) != OUTCOME_OK)
        return;
    int r = device_answer_read(json, profile, &device, &why);
    json_wipe(json);
    if (r < 0) {
        check_failure(&why);
        return;
    }
    hold(device.life_s > 0 && device.life_s <= LIMIT_DEVICE_CODE_S);
    hold(device.interval_s > 0 && device.interval_s <= LIMIT_POLL_INTERVAL_S);
    hold(strncmp(device.verification_uri, "https://", 8) == 0 && clean(device.verification_uri));
    hold(clean(device.user_code) && (!device.message || clean(device.message)));
    device_answer_clear(&device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 400, 401, 429, 500, 302, 404, 201};
    static const struct profile profiles[] = {
        {.authority = (char *)(uintptr_t) "https://login.example.org", .dialect = DIALECT_OIDC},
        {.authority = (char *)(uintptr_t) "https://login.microsoftonline.com/t", .dialect = DIALECT_ENTRA},
        {.authority = (char *)(uintptr_t) "https://login.microsoftonline.com/t", .dialect = DIALECT_ENTRA_V1},
    };
    static const struct tick tick = {.boot_ms = 1, .wall_s = 1800000000};
    if (size < 2)
        return -1;
    const struct profile *profile = &profiles[data[1] % ELEMENTS(profiles)];
    const char *text = (const char *)data + 2;
    size_t length = size - 2;
    const char *body = memmem(text, length, "\n\n", 2);
    body = body ? body + 2 : text;
    struct answer answer = {.status = statuses[data[0] % ELEMENTS(statuses)],
                            .headers = {text, (size_t)(body - text)},
                            .body = {body, length - (size_t)(body - text)}};
    struct tokens tokens;
    struct failure why;
    enum outcome outcome = answer_tokens(&answer, profile, data[0] & 0x80, &tick, &tokens, &why);
    if (outcome == OUTCOME_OK) {
        check_tokens(&tokens);
        tokens_clear(&tokens);
    } else {
        check_failure(&why);
    }
    check_device(&answer, profile, &tick);
    hold(secret_arena_used() == 0);
    return 0;
}
