#include "login/fitness.h"

#include "authority/url.h"
#include "cleanup.h"
#include "grant/grant.h"
#include "text.h"
#include <errno.h>
#include <strings.h>
#include <sys/stat.h>

enum { FIRST_PERSON = 1000 }; /* uids below are of the system */

DEFINE_CLEANUP(struct config *, config_free)

/* Tenants in which anybody may make an account, or whose tokens come from any tenant: the last one is `consumers` by
 * its id. */
static bool is_shared(struct span tenant)
{
    static const char *const shared[] = {"common", "organizations", "consumers",
                                         "9188040d-6c67-4c5b-b112-36a304b66dad"};
    for (size_t i = 0; i < ELEMENTS(shared); i++)
        if (tenant.length == strlen(shared[i]) && strncasecmp(tenant.data, shared[i], tenant.length) == 0)
            return true;
    return false;
}

/* By any part of the address: there is no reading of it in which one of them may stand there. */
static bool names_shared(const struct profile *profile)
{
    struct url url;
    if (url_parse(profile->authority, &url) < 0)
        return true;
    if (profile->dialect != DIALECT_ENTRA && !url_is_entra(&url))
        return false;
    if (profile->tenant && is_shared(span_of(profile->tenant)))
        return true;
    for (struct span path = url.path; path.length > 0;) {
        const char *slash = memchr(path.data, '/', path.length);
        size_t length = slash ? (size_t)(slash - path.data) : path.length;
        if (is_shared((struct span){path.data, length}))
            return true;
        length += slash != NULL;
        path = (struct span){path.data + length, path.length - length};
    }
    return false;
}

static bool is_reachable(const struct source *source)
{
    return source->kind == SOURCE_NONE || source->kind == SOURCE_FILE || source->kind == SOURCE_COMMAND;
}

static bool is_http(const struct profile *profile)
{
    struct url url;
    return url_parse(profile->authority, &url) < 0 || !url.https;
}

const char *fitness_problem(const struct profile *profile, bool trial, const char **ret_key)
{
    bool openid = false;
    for (char **scope = profile->scopes; scope && *scope; scope++)
        openid = openid || strcmp(*scope, "openid") == 0;
    *ret_key = "grant";
    if (profile_begins(profile) != ENDPOINT_DEVICE)
        return "shows no code that a person could enter elsewhere; use device_code";
    *ret_key = "authority";
    if (!profile->authority)
        return "is missing, and no id_token can be verified without it; add authority = ...";
    if (!trial && is_http(profile)) /* and so are its endpoints: keys_check_endpoints() */
        return "is http: whoever gets its port first would say who is who; use https, with ca_file for a private "
               "certificate authority";
    if (profile->dialect == DIALECT_ENTRA_V1) {
        *ret_key = "dialect";
        return "is entra_v1, which signs no id_token for a sign-in by code; use entra";
    }
    if (names_shared(profile))
        return "is one that many tenants share (common, organizations, consumers), where anybody has an account; name "
               "your own tenant";
    *ret_key = "scope";
    if (!openid)
        return "has no openid, without which no id_token says who signed in; add it";
    *ret_key = "client_secret";
    if (!is_reachable(&profile->client_secret))
        return "is kept where this program cannot read it; write file:/PATH";
    *ret_key = "key_password";
    if (!is_reachable(&profile->key_password))
        return "is kept where this program cannot read it; write file:/PATH";
    return NULL;
}

/* Root's. Whoever tries it all out as an ordinary user has files of their own, but a user of the system, as the
 * helper's is, must not be able to say whom to believe. *ret_trial: it is such a user's own; in doubt it is not. */
static bool is_owned(const char *path, bool *ret_trial)
{
    struct stat file;
    bool found = stat(path, &file) == 0;
    *ret_trial = found && file.st_uid == getuid() && getuid() >= FIRST_PERSON;
    return !found || file.st_uid == 0 || *ret_trial;
}

static int say(char problem[static LIMIT_PROBLEM], const char *file, const char *what)
{
    char clean[LIMIT_TEXT];
    text_clean_into(clean, sizeof(clean), span_of(file));
    (void)snprintf(problem, LIMIT_PROBLEM, "%s: %s", clean, what);
    return -EINVAL;
}

/* Which profile was meant, or why there is none. */
static int choose(struct config *config, const struct wanted *wanted, struct profile **ret,
                  char problem[static LIMIT_PROBLEM])
{
    char what[LIMIT_TEXT], clean[LIMIT_CODE];
    *ret = wanted->profile ? config_profile(config, wanted->profile) : config_default(config);
    if (*ret)
        return 0;
    if (config->profile_count == 0)
        return say(problem, wanted->config, config->problem_count ? config->problems[0] : "has no [profile NAME]");
    if (!wanted->profile)
        return say(problem, wanted->config, "has several profiles; name one with profile = NAME in [pam]");
    const char *nearest = text_nearest(wanted->profile, config->names, config->profile_count);
    text_clean_into(clean, sizeof(clean), span_of(wanted->profile));
    (void)snprintf(what, sizeof(what), "has no [profile %s]%s%s%s", clean, nearest ? "; did you mean " : "",
                   nearest ? nearest : "", nearest ? "?" : "");
    return say(problem, wanted->config, what);
}

int fitness_find(const struct wanted *wanted, struct config **ret_config, struct profile **ret_profile,
                 char problem[static LIMIT_PROBLEM])
{
    _cleanup_(config_free_cleanup) struct config *config = NULL;
    struct config_text text;
    struct profile *profile = NULL;
    int r = config_text_read(wanted->config, &text);
    if (r < 0)
        return r;
    text.others = "pam";
    bool trial, owned = is_owned(wanted->config, &trial);
    const char *wrong = text.absent    ? "there is no such file; pam_mltoken(8) has an example"
                        : text.problem ? text.problem
                        : !owned       ? "belongs to another user than root; chown it"
                                       : NULL;
    if (wrong) {
        config_text_clear(&text);
        return say(problem, wanted->config, wrong);
    }
    r = config_open(&text, 1, &config);
    if (r == 0)
        r = choose(config, wanted, &profile, problem);
    if (!profile)
        return r < 0 ? r : -EINVAL;
    if (profile->problem) {
        (void)snprintf(problem, LIMIT_PROBLEM, "%s", profile->problem);
        return -EINVAL;
    }
    const char *key, *unfit = fitness_problem(profile, trial, &key);
    if (unfit) {
        (void)snprintf(problem, LIMIT_PROBLEM, "%s:%d: %s: %s", profile->file, profile->line, key, unfit);
        return -EINVAL;
    }
    *ret_profile = profile;
    *ret_config = TAKE_PTR(config);
    return 0;
}
