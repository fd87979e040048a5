/* What PAM calls. This runs inside of sshd, su and login, as root, with the caller's environment and before anybody is
 * known: it keeps to libpam and libc, leaves the process as it found it, and has others read what comes from outside.
 * What always holds: root and the system's users are not its business, and are left alone before anything is read; for
 * everybody else each failure refuses; a sign-in lets in the user who was asked for, or nobody. */
#include "cached.h"
#include "cleanup.h"
#include "clock.h"
#include "conversation.h"
#include "handoff.h"
#include "mapping.h"
#include "person.h"
#include "place.h"
#include "rate.h"
#include "session.h"
#include "settings.h"
#include "signin.h"
#include "text.h"
#include "trusted.h"
#include <errno.h>
#include <security/pam_ext.h>
#include <syslog.h>

#define EXPORT          __attribute__((visibility("default")))
#define SIGNED_IN       "mltoken_signed_in"
#define SESSION         "mltoken_session" /* open_session saw a handle: no proof, only for setcred */
#define _cleanup_visit_ __attribute__((cleanup(visit_free)))

/* One call of PAM's for one user. */
struct visit {
    pam_handle_t *pamh;
    int flags;
    const char *user, *service, *from; /* PAM's */
    struct person person;
    struct settings settings;
};

static void visit_free(struct visit *visit)
{
    person_free(&visit->person);
    settings_free(&visit->settings);
}

/* Left for account and setcred by an auth that succeeded in this process. */
struct signed_in {
    uid_t uid;
    char user[];
};

static void free_signed_in(pam_handle_t *pamh, void *data, int status)
{
    (void)pamh;
    (void)status;
    free(data);
}

static const char *item(pam_handle_t *pamh, int type)
{
    const void *value = NULL;
    return pam_get_item(pamh, type, &value) == PAM_SUCCESS ? value : NULL;
}

static int of_errno(int error)
{
    return error == -ENOMEM ? PAM_BUF_ERR : PAM_SYSTEM_ERR;
}

/* Who it is about: PAM_SUCCESS, PAM_IGNORE for those that are not our business, PAM_USER_UNKNOWN, ... */
static int enter(struct visit *visit, pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    visit->pamh = pamh;
    visit->flags = flags;
    int r = pam_get_user(pamh, &visit->user, NULL);
    if (r != PAM_SUCCESS)
        return r == PAM_CONV_AGAIN ? PAM_CONV_ERR : r == PAM_IGNORE ? PAM_SYSTEM_ERR : r;
    if (!visit->user || !*visit->user)
        return PAM_USER_UNKNOWN;
    r = person_find(visit->user, &visit->person);
    if (r == -ENOENT)
        return PAM_USER_UNKNOWN;
    if (r < 0) {
        pam_syslog(pamh, LOG_ERR, "the user database does not answer: %s", strerrordesc_np(-r));
        return of_errno(r);
    }
    if (visit->person.uid == 0 || visit->person.uid < settings_min_uid(argc, argv))
        return PAM_IGNORE;
    visit->service = item(pamh, PAM_SERVICE);
    visit->from = item(pamh, PAM_RHOST);
    return visit->service ? PAM_SUCCESS : PAM_SERVICE_ERR;
}

static int read_settings(struct visit *visit, int argc, const char **argv)
{
    char problem[SETTINGS_PROBLEM];
    int r = settings_read(argc, argv, visit->service, &visit->settings, problem);
    if (r < 0) {
        pam_syslog(visit->pamh, LOG_ERR, "%s", problem);
        return r == -ENOMEM ? PAM_BUF_ERR : PAM_SERVICE_ERR;
    }
    return visit->person.uid < visit->settings.min_uid ? PAM_IGNORE : PAM_SUCCESS;
}

/* ---- auth ---- */

/* Whom mltoken-pam-login runs as: never root. */
static int find_helper(const struct visit *visit, struct person *ret)
{
    int r = person_find(visit->settings.helper_user, ret);
    if (r == 0 && ret->uid != 0 && ret->gid != 0)
        return PAM_SUCCESS;
    pam_syslog(visit->pamh, LOG_ERR, "there is no user %s to run mltoken-pam-login as, which is never run as root",
               visit->settings.helper_user);
    return r == -ENOMEM ? PAM_BUF_ERR : PAM_SERVICE_ERR;
}

/* One that lets nobody in is not worth a code of the authority, nor a person's sign-in. */
static int read_map(const struct visit *visit, struct buffer *ret)
{
    const char *path = visit->settings.map;
    int r = path ? trusted_read(path, ret) : 0;
    int line = r == 0 ? mapping_wrong_line(buffer_span(ret)) : 0;
    if (line > 0)
        pam_syslog(visit->pamh, LOG_ERR, "%s, line %d: " MAPPING_FORM, path, line);
    else if (r == 0)
        return PAM_SUCCESS;
    else
        pam_syslog(visit->pamh, LOG_ERR, "%s: %s", path, trusted_problem(r));
    return r == -ENOMEM ? PAM_BUF_ERR : PAM_SERVICE_ERR;
}

/* An attempt that is counted until it succeeds. */
struct counted {
    int folder; /* -1: there is no limit */
    struct rate_key key;
};

static int count_attempt(const struct visit *visit, struct counted *counted)
{
    const struct settings *settings = &visit->settings;
    if (settings->rate_count == 0)
        return PAM_SUCCESS;
    const char *source = visit->from && *visit->from ? visit->from : item(visit->pamh, PAM_TTY);
    rate_key_make(source, visit->person.uid, &counted->key);
    int r = place_open(settings->run, "rate", &counted->folder);
    if (r == 0) {
        place_sweep(counted->folder, settings->rate_seconds);
        r = rate_take(counted->folder, settings->rate_count, settings->rate_seconds, &counted->key);
    }
    if (r == 0)
        return PAM_SUCCESS;
    if (r == -EAGAIN) {
        pam_syslog(visit->pamh, LOG_NOTICE, "too many sign-ins were begun from there within %u s",
                   settings->rate_seconds);
        talk_tell(visit->pamh, visit->flags, PAM_ERROR_MSG, "Too many sign-ins were begun. Try again later.");
        return PAM_MAXTRIES;
    }
    pam_syslog(visit->pamh, LOG_ERR, "%s/rate: attempts cannot be counted: %s", settings->run, strerrordesc_np(-r));
    return of_errno(r);
}

static int decide(const struct visit *visit, struct span map, const struct line *done)
{
    char reason[VERDICT_REASON];
    enum verdict verdict = mapping_decide(&visit->settings, map, done, visit->user, reason);
    if (verdict == VERDICT_YES)
        return PAM_SUCCESS;
    pam_syslog(visit->pamh, LOG_NOTICE, "signed in, but not let in: %s", reason);
    talk_tell(visit->pamh, visit->flags, PAM_ERROR_MSG,
              verdict == VERDICT_FORBIDDEN ? "You are not allowed to use this host."
                                           : "This sign-in does not let you be this user.");
    return verdict == VERDICT_BROKEN ? PAM_SERVICE_ERR : verdict == VERDICT_STRANGER ? PAM_AUTH_ERR : PAM_PERM_DENIED;
}

static int remember(const struct visit *visit)
{
    size_t size = strlen(visit->user) + 1;
    struct signed_in *signed_in = malloc(sizeof(*signed_in) + size);
    if (!signed_in)
        return PAM_BUF_ERR;
    signed_in->uid = visit->person.uid;
    memcpy(signed_in->user, visit->user, size);
    int r = pam_set_data(visit->pamh, SIGNED_IN, signed_in, free_signed_in);
    if (r != PAM_SUCCESS)
        free(signed_in);
    return r == PAM_SUCCESS ? r : PAM_SYSTEM_ERR;
}

/* The tokens' way to open_session: without it somebody is let in all the same. */
static void hand_off(const struct visit *visit, const struct line *done)
{
    char entry[sizeof(HANDOFF_VARIABLE) + HANDOFF_HANDLE + 1] = HANDOFF_VARIABLE "=";
    const struct handoff_owner owner = {.uid = visit->person.uid, .service = visit->service};
    if (!visit->settings.handoff)
        return;
    int r = handoff_write(visit->settings.run, &owner, visit->settings.handoff_profile, done,
                          entry + sizeof(HANDOFF_VARIABLE));
    if (r < 0)
        pam_syslog(visit->pamh, LOG_WARNING, "%s/handoff: the tokens are not kept for the session: %s",
                   visit->settings.run, strerrordesc_np(-r));
    else if (pam_putenv(visit->pamh, entry) != PAM_SUCCESS)
        pam_syslog(visit->pamh, LOG_WARNING, "the tokens are not kept for the session");
}

/* The same decision, of a token that the person's agent has: who is not let in by it is still to sign in by a code. */
static bool is_cached(const struct visit *visit, const struct person *helper, struct span map, int64_t deadline_ms)
{
    _cleanup_line_ struct line verified = {0};
    char reason[VERDICT_REASON];
    const struct cached cached = {
        .pamh = visit->pamh, .settings = &visit->settings, .person = &visit->person, .helper = helper};
    if (!visit->settings.cached || !cached_find(&cached, deadline_ms, &verified))
        return false;
    if (mapping_decide(&visit->settings, map, &verified, visit->user, reason) == VERDICT_YES)
        return true;
    pam_syslog(visit->pamh, LOG_NOTICE, "the cached token does not let in: %s", reason);
    return false;
}

/* With a code; *ret_done is what it brought. */
static int sign_in_anew(const struct visit *visit, const struct person *helper, struct span map, int64_t deadline_ms,
                        struct line *ret_done)
{
    const struct signin signin = {.pamh = visit->pamh,
                                  .flags = visit->flags,
                                  .settings = &visit->settings,
                                  .user = visit->user,
                                  .service = visit->service,
                                  .from = visit->from,
                                  .helper = helper,
                                  .deadline_ms = deadline_ms};
    int r = signin_run(&signin, ret_done);
    return r == PAM_SUCCESS ? decide(visit, map, ret_done) : r;
}

static int sign_in(const struct visit *visit, const struct person *helper, struct span map)
{
    int64_t deadline = clock_boot_ms() + (int64_t)visit->settings.max_wait * 1000;
    _cleanup_close_ int folder = -1;
    struct counted counted = {.folder = -1};
    int r = count_attempt(visit, &counted);
    folder = counted.folder;
    if (r != PAM_SUCCESS)
        return r;
    handoff_sweep(visit->settings.run);
    _cleanup_line_ struct line done = {0};
    bool cached = is_cached(visit, helper, map, deadline);
    if (!cached)
        r = sign_in_anew(visit, helper, map, deadline, &done);
    if (r == PAM_SUCCESS)
        r = remember(visit);
    if (r != PAM_SUCCESS)
        return r;
    if (folder >= 0)
        rate_forget(folder, &counted.key);
    if (!cached) /* else the agent has the tokens */
        hand_off(visit, &done);
    pam_syslog(visit->pamh, LOG_INFO, cached ? "signed in by a key and a cached token" : "signed in");
    return PAM_SUCCESS;
}

static void forget_before(pam_handle_t *pamh)
{
    const void *data;
    if (pam_get_data(pamh, SIGNED_IN, &data) == PAM_SUCCESS)
        (void)pam_set_data(pamh, SIGNED_IN, NULL, NULL);
    if (pam_getenv(pamh, HANDOFF_VARIABLE))
        (void)pam_putenv(pamh, HANDOFF_VARIABLE);
}

EXPORT int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    _cleanup_visit_ struct visit visit = {0};
    _cleanup_person_ struct person helper = {0};
    _cleanup_buffer_ struct buffer map = BUFFER(LIMIT_PAM_MAP);
    forget_before(pamh);
    int r = enter(&visit, pamh, flags, argc, argv);
    if (r == PAM_SUCCESS)
        r = read_settings(&visit, argc, argv);
    if (r == PAM_SUCCESS && visit.settings.cached)
        r = cached_check(pamh, visit.service);
    if (r == PAM_SUCCESS)
        r = talk_check(pamh, flags);
    if (r == PAM_SUCCESS && geteuid() == 0)
        r = find_helper(&visit, &helper);
    if (r == PAM_SUCCESS)
        r = read_map(&visit, &map);
    return r == PAM_SUCCESS ? sign_in(&visit, helper.name ? &helper : NULL, buffer_span(&map)) : r;
}

static const struct signed_in *find_signed_in(pam_handle_t *pamh)
{
    const void *data = NULL;
    return pam_get_data(pamh, SIGNED_IN, &data) == PAM_SUCCESS ? data : NULL;
}

/* What auth did, it cannot tell in another process but by the record: then open_session has not taken it yet. */
static bool was_ours(pam_handle_t *pamh)
{
    const void *data = NULL;
    return find_signed_in(pamh) || (pam_get_data(pamh, SESSION, &data) == PAM_SUCCESS && data) ||
           handoff_handle_sound(pam_getenv(pamh, HANDOFF_VARIABLE));
}

EXPORT int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    (void)argc;
    (void)argv;
    return was_ours(pamh) ? PAM_SUCCESS : PAM_IGNORE;
}

/* ---- account ---- */

EXPORT int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    const struct signed_in *signed_in = find_signed_in(pamh);
    if (!signed_in)
        return PAM_IGNORE;
    _cleanup_visit_ struct visit visit = {0};
    int r = enter(&visit, pamh, flags, argc, argv);
    if (r == PAM_SUCCESS)
        r = read_settings(&visit, argc, argv);
    if (r != PAM_SUCCESS)
        return r == PAM_IGNORE ? PAM_PERM_DENIED : r; /* somebody else than who signed in */
    if (strcmp(signed_in->user, visit.user) == 0 && signed_in->uid == visit.person.uid)
        return PAM_SUCCESS;
    pam_syslog(pamh, LOG_NOTICE, "it was another user who signed in");
    return PAM_PERM_DENIED;
}

/* ---- session ---- */

EXPORT int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    char copy[HANDOFF_HANDLE + 1] = "";
    const char *handle = pam_getenv(pamh, HANDOFF_VARIABLE);
    bool given = handle != NULL;
    if (given) {
        if (handoff_handle_sound(handle))
            memcpy(copy, handle, sizeof(copy));
        (void)pam_putenv(pamh, HANDOFF_VARIABLE);
    }
    _cleanup_visit_ struct visit visit = {0};
    if (enter(&visit, pamh, flags, argc, argv) != PAM_SUCCESS || read_settings(&visit, argc, argv) != PAM_SUCCESS)
        return PAM_SUCCESS; /* nobody is kept out here */
    static const char marker[] = "seen";
    if (*copy)
        (void)pam_set_data(pamh, SESSION, (void *)(uintptr_t)marker, NULL);
    const struct session session = {
        .pamh = pamh, .flags = flags, .settings = &visit.settings, .person = &visit.person, .service = visit.service};
    session_open(&session, given ? copy : NULL);
    return PAM_SUCCESS;
}

EXPORT int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)pamh;
    (void)flags;
    (void)argc;
    (void)argv;
    return PAM_SUCCESS;
}
