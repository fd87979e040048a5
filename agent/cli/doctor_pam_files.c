/* pam.conf, the map, the helpers and the user that they run as: there, whole, and of the right people. */
#include "cleanup.h"
#include "doctor_pam.h"
#include "mapping.h"
#include "trusted.h"
#include <errno.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of root alone to write. 0 and *ret, or -1 after it was said. */
static int look(struct pam_visit *visit, const char *path, const char *what, struct stat *ret)
{
    char where[PAM_PATH];
    pam_path(visit, path, where);
    if (lstat(where, ret) < 0) {
        pam_say(visit, PAM_BAD, "%s: %s; %s", path, strerror(errno), what);
        return -1;
    }
    if (!S_ISREG(ret->st_mode)) {
        pam_say(visit, PAM_BAD, "%s is no regular file; the module reads no other", path);
        return -1;
    }
    if (ret->st_uid != 0 && ret->st_uid != geteuid()) {
        pam_say(visit, PAM_BAD, "%s belongs to uid %lu, who could let anybody in: chown root %s", path,
                (unsigned long)ret->st_uid, path);
        return -1;
    }
    if (ret->st_mode & (S_IWGRP | S_IWOTH)) {
        pam_say(visit, PAM_BAD, "%s can be written by others than root: chmod go-w %s", path, path);
        return -1;
    }
    return 0;
}

/* ---- the helper's user ---- */

static void find_helper(struct pam_visit *visit)
{
    const char *name = visit->settings.helper_user;
    char where[PAM_PATH];
    pam_path(visit, "/etc/passwd", where);
    FILE *file = *visit->root ? fopen(where, "re") : NULL;
    struct passwd *entry = *visit->root ? NULL : getpwnam(name);
    while (file && (entry = fgetpwent(file)) && strcmp(entry->pw_name, name) != 0)
        ;
    if (!entry)
        pam_say(visit, PAM_BAD, "there is no user %s, as whom the helper runs: systemd-sysusers", name);
    else if (entry->pw_uid == 0)
        pam_say(visit, PAM_BAD, "%s is root by its uid: the helper talks to the network, and must not be", name);
    else
        visit->has_helper = true, visit->helper_uid = entry->pw_uid, visit->helper_gid = entry->pw_gid;
    if (visit->has_helper)
        pam_say(visit, PAM_FINE, "the helper runs as %s (uid %lu)", name, (unsigned long)visit->helper_uid);
    if (file)
        (void)fclose(file);
}

static void check_helper(struct pam_visit *visit, const char *name)
{
    char path[PAM_PATH], where[PAM_PATH];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/%s", visit->settings.libexec, name);
    pam_path(visit, path, where);
    if (look(visit, path, "install it, or set libexec=DIRECTORY in the PAM line", &st) < 0)
        return;
    if ((st.st_mode & 0111) != 0111)
        pam_say(visit, PAM_BAD, "%s cannot be executed by everybody: chmod 755 %s", path, path);
    else
        pam_say(visit, PAM_FINE, "%s is there", path);
}

/* ---- pam.conf ---- */

static void check_modes(struct pam_visit *visit, const char *path, const struct stat *st)
{
    bool helper_reads =
        visit->has_helper && (st->st_mode & S_IROTH || (st->st_mode & S_IRGRP && st->st_gid == visit->helper_gid));
    if (visit->has_helper && !helper_reads && st->st_uid != visit->helper_uid)
        pam_say(visit, PAM_BAD, "%s cannot be read by the helper: chgrp _mltoken %s; chmod 640 %s", path, path, path);
    else if (st->st_mode & S_IROTH)
        pam_say(visit, PAM_NOTE, "%s can be read by everybody: chgrp _mltoken %s; chmod 640 %s", path, path, path);
    else
        pam_say(visit, PAM_FINE, "%s is root's, and the helper can read it", path);
}

/* What the file alone says, which is for all services: visit->settings has the arguments of sshd's line as well. */
static void check_elsewhere(struct pam_visit *visit, struct span text)
{
    char problem[SETTINGS_PROBLEM] = "";
    _cleanup_settings_ struct settings file = {0};
    if (visit->elsewhere && settings_take_file(&file, text, problem) == 0 && file.cached)
        pam_say(visit, PAM_BAD,
                "cached = yes is for sshd alone, and refuses everybody in /etc/pam.d/%s: write cached=yes behind the "
                "auth line of /etc/pam.d/sshd instead, or cached=no there",
                visit->elsewhere);
}

static void check_config(struct pam_visit *visit)
{
    _cleanup_buffer_ struct buffer text = BUFFER(0);
    char problem[SETTINGS_PROBLEM] = "";
    struct stat st;
    if (look(visit, visit->config, "begin with the example pam.conf, beside pam_mltoken's documentation", &st) < 0)
        return;
    check_modes(visit, visit->config, &st);
    int r = pam_read(visit, visit->config, &text);
    if (r < 0 || text.length > LIMIT_PAM_CONFIG) {
        pam_say(visit, PAM_BAD, "%s: %s", visit->config, r < 0 ? strerror(-r) : trusted_problem(-EMSGSIZE));
        return;
    }
    r = settings_take_file(&visit->settings, buffer_span(&text), problem);
    if (r == 0)
        r = settings_finish(&visit->settings, "sshd", problem);
    if (r < 0) {
        pam_say(visit, PAM_BAD, "%s: %s; until it is mended nobody but root can come in", visit->config, problem);
        return;
    }
    visit->known = true;
    pam_say(visit, PAM_FINE, "%s: [pam] is understood", visit->config);
    if (visit->settings.fallback_password && !visit->unavailable_ignored)
        pam_say(visit, PAM_BAD,
                "fallback = password has no effect without authinfo_unavail=ignore in the auth line: "
                "auth [success=done ignore=ignore authinfo_unavail=ignore default=die] pam_mltoken.so");
    check_elsewhere(visit, buffer_span(&text));
}

/* ---- the map ---- */

static void check_map(struct pam_visit *visit)
{
    _cleanup_buffer_ struct buffer text = BUFFER(0);
    struct stat st;
    const char *path = visit->settings.map;
    if (!visit->known || !path || look(visit, path, "write it with: mltoken-pam-login --map", &st) < 0)
        return;
    int r = pam_read(visit, path, &text), line = r == 0 ? mapping_wrong_line(buffer_span(&text)) : 0;
    if (r < 0)
        pam_say(visit, PAM_BAD, "%s: %s", path, strerror(-r));
    else if (line > 0)
        pam_say(visit, PAM_BAD, "%s, line %d: " MAPPING_FORM "; a map with such a line lets nobody in", path, line);
    else
        pam_say(visit, PAM_FINE, "%s is understood", path);
}

/* ---- its folder ---- */

static void check_spool(struct pam_visit *visit)
{
    char where[PAM_PATH];
    struct stat st;
    pam_path(visit, "/run/mltoken/handoff", where);
    if (lstat(where, &st) < 0)
        return; /* the module makes it */
    if (!S_ISDIR(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 077))
        pam_say(visit, PAM_BAD, "/run/mltoken/handoff is not root's alone: remove it, and the module makes it anew");
    else
        pam_say(visit, PAM_FINE, "/run/mltoken/handoff is root's alone");
}

void pam_check_files(struct pam_visit *visit)
{
    find_helper(visit);
    check_config(visit);
    check_map(visit);
    check_helper(visit, "mltoken-pam-login");
    check_helper(visit, "mltoken-pam-import");
    check_spool(visit);
}
