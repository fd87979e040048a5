#include "grant/device_answer.h"

#include "authority/url.h"
#include "cleanup.h"
#include "json.h"
#include "text.h"
#include <errno.h>

static int refuse(struct failure *why, const char *sentence, const char *detail)
{
    char whole[LIMIT_TEXT];
    (void)snprintf(whole, sizeof(whole), "the authority's answer cannot be used: %s%.*s", sentence, LIMIT_TEXT / 2,
                   detail);
    failure_refused(why, "invalid_device_authorization", whole);
    return -EBADMSG;
}

/* What is wrong with an address that a person is to open, or NULL. */
static const char *check_address(const char *text, const struct profile *profile, struct url *ret)
{
    struct url home;
    const char *base = profile->authority ? profile->authority : profile->device_authorization_endpoint;
    bool based = base && url_parse(base, &home) == 0;
    if (strlen(text) > LIMIT_URL || url_parse(text, ret) < 0)
        return "it sends people to what is no plain address: ";
    if (!ret->https && !(based && !home.https && url_is_loopback(&home) && url_is_loopback(ret)))
        return "it sends people to an address that is not https: ";
    if (profile->verification_hosts && !url_host_in(ret, profile->verification_hosts) &&
        !(based && url_same_host(ret, &home)))
        return "it sends people to a host that is not in verification_hosts: ";
    return NULL;
}

/* The authority's own host, when the address is on another one that nobody announced; else NULL. Where Microsoft and
 * Google send people is known. */
static int find_elsewhere(const struct url *address, const struct profile *profile, char **ret)
{
    static const char *const microsoft[] = {"microsoft.com", "www.microsoft.com", "login.microsoft.com", NULL};
    static const char *const google[] = {"google.com", "www.google.com", NULL};
    struct url home;
    const char *base = profile->authority ? profile->authority : profile->device_authorization_endpoint;
    if (!base || url_parse(base, &home) < 0 || url_same_host(address, &home) ||
        (profile->verification_hosts && url_host_in(address, profile->verification_hosts)) ||
        (url_is_entra(&home) && (url_is_entra(address) || url_host_in(address, (char *const *)(uintptr_t)microsoft))) ||
        (span_equals(home.host, span_of("accounts.google.com")) &&
         url_host_in(address, (char *const *)(uintptr_t)google)))
        return 0;
    *ret = strndup(home.host.data, home.host.length);
    return *ret ? 0 : -ENOMEM;
}

static int read_addresses(json_object *json, const struct profile *profile, struct device_answer *ret,
                          struct failure *why)
{
    const char *text = NULL, *complete = NULL;
    struct url address, other;
    if (json_string(json, "verification_uri", LIMIT_RESPONSE, &text) < 0 &&
        json_string(json, "verification_url", LIMIT_RESPONSE, &text) < 0)
        return refuse(why, "it has no verification_uri", "");
    const char *wrong = check_address(text, profile, &address);
    if (wrong)
        return refuse(why, wrong, text);
    ret->verification_uri = strdup(text);
    if (!ret->verification_uri || find_elsewhere(&address, profile, &ret->authority_host) < 0)
        return -ENOMEM;
    if (json_string(json, "verification_uri_complete", LIMIT_RESPONSE, &complete) < 0 &&
        json_string(json, "verification_url_complete", LIMIT_RESPONSE, &complete) < 0)
        return 0;
    if (check_address(complete, profile, &other) || !url_same_origin(&address, &other))
        return 0;
    ret->verification_uri_complete = strdup(complete);
    return ret->verification_uri_complete ? 0 : -ENOMEM;
}

static int read_codes(json_object *json, struct device_answer *ret, struct failure *why)
{
    struct span code, text;
    const char *user = NULL;
    char clean[LIMIT_CODE + 8], message[LIMIT_TEXT + 1];
    if (json_bytes(json, "device_code", LIMIT_DEVICE_CODE, &code) < 0 || code.length == 0)
        return refuse(why, "it has no device_code, or one that is too long", "");
    if (json_string(json, "user_code", LIMIT_CODE, &user) < 0 || !user[0])
        return refuse(why, "it has no user_code, or one that cannot be shown", "");
    text_clean_into(clean, sizeof(clean), span_of(user));
    if (strcmp(clean, user) != 0)
        return refuse(why, "its user_code cannot be shown as it is: ", user);
    ret->user_code = strdup(user);
    if (!ret->user_code || secret_new(code.data, code.length, &ret->device_code) < 0)
        return -ENOMEM;
    if (json_bytes(json, "message", LIMIT_RESPONSE, &text) < 0 || text.length == 0)
        return 0;
    text_clean_into(message, sizeof(message), text);
    ret->message = strdup(message);
    return ret->message ? 0 : -ENOMEM;
}

int64_t device_interval(json_object *json)
{
    int64_t interval;
    if (answer_number(json, "interval", &interval) < 0 || interval <= 0)
        return 0;
    return interval > LIMIT_POLL_INTERVAL_S ? LIMIT_POLL_INTERVAL_S : interval;
}

int device_answer_read(json_object *json, const struct profile *profile, struct device_answer *ret, struct failure *why)
{
    struct device_answer read = {.life_s = DEFAULT_DEVICE_CODE_S, .interval_s = device_interval(json)};
    int r = answer_number(json, "expires_in", &read.life_s);
    if (r == 0 && read.life_s <= 0)
        return refuse(why, "its device_code has expired already", "");
    if (read.life_s > LIMIT_DEVICE_CODE_S)
        read.life_s = LIMIT_DEVICE_CODE_S;
    if (read.interval_s == 0)
        read.interval_s = DEFAULT_POLL_INTERVAL_S;
    r = read_addresses(json, profile, &read, why);
    if (r == 0)
        r = read_codes(json, &read, why);
    if (r < 0) {
        device_answer_clear(&read);
        return r;
    }
    *ret = read;
    return 0;
}

void device_answer_clear(struct device_answer *answer)
{
    secret_unref(answer->device_code);
    wipe_free(answer->verification_uri_complete); /* it holds the user code */
    wipe_free(answer->user_code);
    wipe_free(answer->message);
    free(answer->verification_uri);
    free(answer->authority_host);
    *answer = (struct device_answer){0};
}
