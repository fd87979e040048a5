/* sshd's settings: by sshd itself where it can be asked, else by its files. The first value of a keyword counts. */
#include "cleanup.h"
#include "doctor_pam.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_DEPTH = 4, VALUE = 256 };

struct keyword {
    const char *name;
    char value[VALUE];
};

enum { USE_PAM, KEYBOARD, CHALLENGE, METHODS, GRACE, PASSWORD, KEYWORDS };

struct daemon {
    struct keyword keywords[KEYWORDS];
};

static void note(struct daemon *daemon, struct span name, struct span value)
{
    for (size_t i = 0; i < KEYWORDS; i++) {
        struct keyword *keyword = &daemon->keywords[i];
        if (name.length == strlen(keyword->name) && strncasecmp(name.data, keyword->name, name.length) == 0 &&
            !keyword->value[0])
            (void)snprintf(keyword->value, VALUE, "%.*s", (int)value.length, value.data);
    }
}

/* ---- its files ---- */

static void read_file(struct pam_visit *, const char *path, int depth, struct daemon *);

static void read_included(struct pam_visit *visit, struct span pattern, int depth, struct daemon *daemon)
{
    char text[PAM_PATH], where[PAM_PATH];
    glob_t found;
    (void)snprintf(text, sizeof(text), "%s%.*s", pattern.data[0] == '/' ? "" : "/etc/ssh/", (int)pattern.length,
                   pattern.data);
    pam_path(visit, text, where);
    if (glob(where, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            read_file(visit, found.gl_pathv[i] + strlen(visit->root), depth + 1, daemon);
    globfree(&found);
}

static void read_file(struct pam_visit *visit, const char *path, int depth, struct daemon *daemon)
{
    _cleanup_buffer_ struct buffer text = BUFFER(0);
    if (depth > MOST_DEPTH || pam_read(visit, path, &text) < 0)
        return;
    struct span rest = buffer_span(&text), line, name;
    while (pam_line(&rest, &line)) {
        if (line.length == 0 || line.data[0] == '#')
            continue;
        for (size_t i = 0; i < line.length; i++) /* "Name=value" is allowed too */
            if (line.data[i] == '=' || line.data[i] == ' ' || line.data[i] == '\t') {
                name = (struct span){line.data, i};
                line = (struct span){line.data + i + 1, line.length - i - 1};
                break;
            } else if (i + 1 == line.length) {
                name = line, line.length = 0;
            }
        while (line.length > 0 && (line.data[0] == ' ' || line.data[0] == '\t' || line.data[0] == '='))
            line.data++, line.length--;
        if (name.length == 5 && strncasecmp(name.data, "Match", 5) == 0)
            return; /* for some alone, up to the end of the file */
        struct span word;
        if (name.length == 7 && strncasecmp(name.data, "Include", 7) == 0)
            while (pam_word(&line, &word))
                read_included(visit, word, depth, daemon);
        else
            note(daemon, name, line);
    }
}

/* ---- sshd itself ---- */

static bool ask(const char *user, struct daemon *daemon)
{
    char match[LIMIT_USERNAME + 64], bytes[LIMIT_LINE_CHUNK];
    _cleanup_buffer_ struct buffer said = BUFFER(LIMIT_PAM_CONFIG);
    int fds[2], status = -1;
    (void)snprintf(match, sizeof(match), "user=%.*s,host=localhost,addr=127.0.0.1", LIMIT_USERNAME,
                   user ? user : "nobody");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (dup2(fds[1], STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 || dup2(null, STDIN_FILENO) < 0)
            _exit(127);
        execl("/usr/sbin/sshd", "sshd", "-T", "-C", match, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n; (n = read(fds[0], bytes, sizeof(bytes))) > 0;)
        buffer_append(&said, bytes, (size_t)n);
    close(fds[0]);
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0 || buffer_error(&said))
        return false;
    struct span rest = buffer_span(&said), line, name;
    while (pam_line(&rest, &line))
        if (pam_word(&line, &name) && line.length > 0)
            note(daemon, name, (struct span){line.data + 1, line.length - 1});
    return true;
}

/* ---- what they must be ---- */

/* Seconds of sshd's own form: 120, 2m, 1h30m. */
static long seconds(const char *text)
{
    long sum = 0;
    while (*text >= '0' && *text <= '9') {
        char *end;
        long number = strtol(text, &end, 10);
        long unit = *end == 'm' || *end == 'M' ? 60 : *end == 'h' || *end == 'H' ? 3600 : 1;
        sum += number * unit;
        text = *end ? end + 1 : end;
    }
    return sum;
}

/* In each alternative that asks the module, a key comes first. */
static bool asks_for_key(const char *methods)
{
    struct span rest = span_of(methods), list;
    while (pam_word(&rest, &list)) {
        bool key = false;
        while (list.length > 0) {
            const char *comma = memchr(list.data, ',', list.length);
            struct span method = {list.data, comma ? (size_t)(comma - list.data) : list.length};
            if (method.length >= strlen("keyboard-interactive") &&
                strncasecmp(method.data, "keyboard-interactive", strlen("keyboard-interactive")) == 0 && !key)
                return false;
            key |= method.length == strlen("publickey") && strncasecmp(method.data, "publickey", method.length) == 0;
            list.data += method.length + (comma != NULL);
            list.length -= method.length + (comma != NULL);
        }
    }
    return *methods && strcasecmp(methods, "any") != 0;
}

static void check_methods(struct pam_visit *visit, const char *methods)
{
    if (!*methods || strcasecmp(methods, "any") == 0)
        pam_say(visit, PAM_NOTE,
                "sshd: any method alone lets people in, also a code, which can be phished; better: "
                "AuthenticationMethods publickey,keyboard-interactive:pam");
    else if (!strstr(methods, "keyboard-interactive"))
        pam_say(visit, PAM_BAD,
                "sshd: AuthenticationMethods %s never asks the module; write: AuthenticationMethods "
                "publickey,keyboard-interactive:pam",
                methods);
    else
        pam_say(visit, PAM_FINE, "sshd: AuthenticationMethods %s", methods);
}

static void check(struct pam_visit *visit, const struct daemon *daemon)
{
    const struct keyword *keywords = daemon->keywords;
    const char *keyboard = *keywords[KEYBOARD].value    ? keywords[KEYBOARD].value
                           : *keywords[CHALLENGE].value ? keywords[CHALLENGE].value
                                                        : "yes";
    long grace = *keywords[GRACE].value ? seconds(keywords[GRACE].value) : 120;
    long wait = visit->known ? (long)visit->settings.max_wait : DEFAULT_PAM_WAIT_S;
    if (strcasecmp(keywords[USE_PAM].value, "yes") != 0)
        pam_say(visit, PAM_BAD, "sshd does not use PAM; write into /etc/ssh/sshd_config.d/mltoken.conf: UsePAM yes");
    else
        pam_say(visit, PAM_FINE, "sshd uses PAM");
    if (strcasecmp(keyboard, "yes") != 0)
        pam_say(visit, PAM_BAD,
                "sshd cannot ask anything; write into /etc/ssh/sshd_config.d/mltoken.conf: "
                "KbdInteractiveAuthentication yes");
    else
        pam_say(visit, PAM_FINE, "sshd can show a code and wait (KbdInteractiveAuthentication)");
    check_methods(visit, keywords[METHODS].value);
    if (visit->settings.cached && !asks_for_key(keywords[METHODS].value))
        pam_say(visit, PAM_BAD,
                "sshd: cached = yes refuses everybody of whom no key was asked before; write: AuthenticationMethods "
                "publickey,keyboard-interactive:pam");
    else if (visit->settings.cached)
        pam_say(visit, PAM_FINE, "sshd asks for a key before a cached token is looked at");
    if (grace > 0 && grace <= wait)
        pam_say(visit, PAM_BAD,
                "sshd gives %ld s for a login (LoginGraceTime), and a sign-in may take %ld s (max_wait): "
                "raise the one or lower the other",
                grace, wait);
    if (strcasecmp(keywords[PASSWORD].value, "yes") == 0 || !*keywords[PASSWORD].value)
        pam_say(visit, PAM_NOTE,
                "sshd: the method `password` cannot show the code, and only fails: PasswordAuthentication "
                "no");
}

void pam_check_sshd(struct pam_visit *visit)
{
    struct daemon daemon = {{[USE_PAM] = {.name = "UsePAM"},
                             [KEYBOARD] = {.name = "KbdInteractiveAuthentication"},
                             [CHALLENGE] = {.name = "ChallengeResponseAuthentication"},
                             [METHODS] = {.name = "AuthenticationMethods"},
                             [GRACE] = {.name = "LoginGraceTime"},
                             [PASSWORD] = {.name = "PasswordAuthentication"}}};
    char path[PAM_PATH];
    pam_path(visit, "/etc/ssh/sshd_config", path);
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        pam_say(visit, PAM_NOTE, "there is no /etc/ssh/sshd_config: nobody comes in by ssh");
        return;
    }
    if (*visit->root || geteuid() != 0 || !ask(visit->user, &daemon)) {
        pam_say(visit, PAM_NOTE, "sshd was not asked itself: its files are read, without what is in Match");
        read_file(visit, "/etc/ssh/sshd_config", 0, &daemon);
    }
    check(visit, &daemon);
}
