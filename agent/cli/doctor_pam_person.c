/* One person: who they are to the module, and whether their agent can take a sign-in. */
#include "cleanup.h"
#include "doctor_pam.h"
#include "ini.h"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

enum { HOME = 1024, MOST_SHOWN = 4 };

struct person {
    uid_t uid;
    char home[HOME];
};

static bool find(struct pam_visit *visit, struct person *ret)
{
    char where[PAM_PATH];
    pam_path(visit, "/etc/passwd", where);
    FILE *file = *visit->root ? fopen(where, "re") : NULL;
    struct passwd *entry = *visit->root ? NULL : getpwnam(visit->user);
    while (file && (entry = fgetpwent(file)) && strcmp(entry->pw_name, visit->user) != 0)
        ;
    if (entry) {
        ret->uid = entry->pw_uid;
        (void)snprintf(ret->home, HOME, "%s", entry->pw_dir);
    }
    if (file)
        (void)fclose(file);
    return entry != NULL;
}

/* ---- the map ---- */

static void check_mapping(struct pam_visit *visit)
{
    _cleanup_buffer_ struct buffer text = BUFFER(0);
    size_t count = 0;
    if (!visit->settings.map) {
        pam_say(visit, PAM_NOTE, "%s comes in as whoever's claim %s is that name%s%s", visit->user,
                visit->settings.user_claim, visit->settings.strip_domain ? " before @" : "",
                visit->settings.strip_domain ? visit->settings.strip_domain : "");
        return;
    }
    if (pam_read(visit, visit->settings.map, &text) < 0)
        return; /* said already */
    struct span rest = buffer_span(&text), line, issuer, subject, name;
    while (pam_line(&rest, &line)) {
        if (line.length == 0 || line.data[0] == '#' || !pam_word(&line, &issuer) || !pam_word(&line, &subject) ||
            !pam_word(&line, &name) || !span_equals(name, span_of(visit->user)))
            continue;
        if (++count <= MOST_SHOWN)
            pam_say(visit, PAM_FINE, "%s is %.*s of %.*s", visit->user, (int)subject.length, subject.data,
                    (int)issuer.length, issuer.data);
    }
    if (count == 0)
        pam_say(visit, PAM_BAD,
                "no line of %s is for %s: mltoken-pam-login --map --user %s signs them in and prints it",
                visit->settings.map, visit->user, visit->user);
}

/* ---- their profile ---- */

struct profile_text {
    char authority[LIMIT_URL + 1], client_id[LIMIT_CLIENT_ID + 1];
    bool found;
};

static void read_profile(struct pam_visit *visit, const char *path, const char *name, struct profile_text *ret)
{
    _cleanup_buffer_ struct buffer text = BUFFER(0);
    char head[LIMIT_PROFILE_NAME + 16];
    bool inside = false;
    (void)snprintf(head, sizeof(head), "profile %s", name);
    if (pam_read(visit, path, &text) < 0)
        return;
    struct ini ini = ini_open(buffer_span(&text));
    for (struct ini_item item; ini_next(&ini, &item);) {
        if (item.kind == INI_SECTION) {
            inside = span_equals(item.name, span_of(head));
            if (inside) /* the user's replaces the system's */
                *ret = (struct profile_text){.found = true};
        } else if (inside && item.kind == INI_PAIR) {
            bool authority = span_equals(item.name, span_of("authority"));
            if (authority || span_equals(item.name, span_of("client_id")))
                (void)snprintf(authority ? ret->authority : ret->client_id,
                               authority ? sizeof(ret->authority) : sizeof(ret->client_id), "%.*s",
                               (int)item.value.length, item.value.data);
        }
    }
}

static void check_profile(struct pam_visit *visit, const char *home)
{
    struct profile_text pam = {0}, own = {0};
    char path[PAM_PATH];
    const char *name = visit->settings.handoff_profile;
    if (!name)
        return; /* their agent is asked for the only one that fits */
    read_profile(visit, visit->config, visit->settings.profile ? visit->settings.profile : name, &pam);
    read_profile(visit, MLTOKEN_SYSCONFDIR "/mltoken/config", name, &own);
    (void)snprintf(path, sizeof(path), "%s/.config/mltoken/config", home);
    read_profile(visit, path, name, &own);
    if (!own.found)
        pam_say(visit, PAM_BAD,
                "the agent of %s has no profile %s that could take the sign-in: put it into " MLTOKEN_SYSCONFDIR
                "/mltoken/config, for all",
                visit->user, name);
    else if (pam.found && (strcmp(pam.authority, own.authority) != 0 || strcmp(pam.client_id, own.client_id) != 0))
        pam_say(visit, PAM_BAD,
                "the profile %s of %s has another authority or client_id than %s, so that its agent denies "
                "the sign-in: make them the same",
                name, visit->user, visit->config);
    else
        pam_say(visit, PAM_FINE, "the agent of %s has the profile %s for the sign-in", visit->user, name);
}

/* ---- their agent ---- */

static void check_socket(struct pam_visit *visit, const char *home)
{
    char target[PAM_PATH]; /* only whether there is one */
    static const char unit[] = "systemd/user/sockets.target.wants/mltoken-agent.socket";
    char path[PAM_PATH], where[PAM_PATH];
    (void)snprintf(path, sizeof(path), "/etc/%s", unit);
    pam_path(visit, path, where);
    bool enabled = access(where, F_OK) == 0 || (errno == ENOENT && readlink(where, target, sizeof(target)) > 0);
    if (!enabled && home) {
        (void)snprintf(path, sizeof(path), "%s/.config/%s", home, unit);
        pam_path(visit, path, where);
        enabled = readlink(where, target, sizeof(target)) > 0;
    }
    if (enabled)
        pam_say(visit, PAM_FINE, "systemd starts agents when they are needed (mltoken-agent.socket)");
    else if (visit->settings.handoff_start)
        pam_say(visit, PAM_NOTE,
                "systemd starts no agents: the module does (handoff_fallback = start), outside of systemd");
    else
        pam_say(visit, PAM_BAD,
                "nobody starts an agent that could take a sign-in: systemctl --global enable "
                "mltoken-agent.socket");
}

void pam_check_person(struct pam_visit *visit)
{
    struct person person = {0};
    if (!visit->known)
        return;
    if (!visit->user) {
        if (visit->settings.handoff)
            check_socket(visit, NULL);
        pam_say(visit, PAM_NOTE, "whether a certain person can come in: mltoken doctor --pam --user NAME");
        return;
    }
    if (!find(visit, &person)) {
        pam_say(visit, PAM_BAD, "there is no user %s", visit->user);
        return;
    }
    if (person.uid < visit->settings.min_uid)
        pam_say(visit, PAM_NOTE, "%s (uid %lu) is below min_uid %llu: the module leaves them to the rest of the stack",
                visit->user, (unsigned long)person.uid, (unsigned long long)visit->settings.min_uid);
    else
        check_mapping(visit);
    if (visit->settings.handoff) {
        check_socket(visit, person.home);
        check_profile(visit, person.home);
    }
}
