/* The lines of /etc/pam.d: that they are there, in an order and with words that let the right people in. */
#include "cleanup.h"
#include "doctor_pam.h"
#include "text.h"
#include <errno.h>
#include <glob.h>
#include <unistd.h>

enum { MOST_LINES = 256, MOST_DEPTH = 8, MOST_ARGUMENTS = 32, TEXT = 256 };

#define AUTH_LINE    "auth [success=done ignore=ignore default=die] pam_mltoken.so"
#define ACCOUNT_LINE "account [success=ok ignore=ignore default=bad] pam_mltoken.so"

struct entry {
    char type[16], control[TEXT], module[TEXT], arguments[2 * LIMIT_PAM_VALUE];
    bool included; /* from a file that others include too */
};

struct stack {
    const char *service;
    struct entry entries[MOST_LINES];
    size_t count;
};

static void copy(char *to, size_t size, struct span text)
{
    (void)snprintf(to, size, "%.*s", (int)text.length, text.data ? text.data : "");
}

static void read_service(struct pam_visit *, const char *name, int depth, struct stack *);

static void take(struct stack *stack, struct span type, struct span control, struct span line, bool included)
{
    struct entry *entry = &stack->entries[stack->count];
    struct span module;
    if (!pam_word(&line, &module) || stack->count + 1 >= MOST_LINES)
        return;
    copy(entry->type, sizeof(entry->type), type);
    copy(entry->control, sizeof(entry->control), control);
    copy(entry->module, sizeof(entry->module), module);
    copy(entry->arguments, sizeof(entry->arguments), line);
    entry->included = included;
    stack->count++;
}

/* su is su-l's alone, as sudo may be sudo-i's. */
static bool is_shared(const char *service, const char *name)
{
    size_t length = strlen(name);
    return strncmp(service, name, length) != 0 || (service[length] && service[length] != '-');
}

static void read_service(struct pam_visit *visit, const char *name, int depth, struct stack *stack)
{
    _cleanup_buffer_ struct buffer text = BUFFER(0);
    char path[PAM_PATH], other[TEXT];
    (void)snprintf(path, sizeof(path), "/etc/pam.d/%s", name);
    if (depth > MOST_DEPTH || strchr(name, '/') || pam_read(visit, path, &text) < 0)
        return;
    struct span rest = buffer_span(&text), line;
    while (pam_line(&rest, &line)) {
        struct span type, control;
        if (line.length == 0 || line.data[0] == '#' || !pam_word(&line, &type))
            continue;
        if (type.data[0] == '-')
            type.data++, type.length--;
        if (!pam_word(&line, &control))
            continue;
        if (span_equals(type, span_of("@include"))) {
            copy(other, sizeof(other), control);
            read_service(visit, other, depth + 1, stack);
        } else if (span_equals(control, span_of("include")) || span_equals(control, span_of("substack"))) {
            struct span word;
            if (pam_word(&line, &word)) {
                copy(other, sizeof(other), word);
                read_service(visit, other, depth + 1, stack);
            }
        } else {
            take(stack, type, control, line, is_shared(stack->service, name));
        }
    }
}

static bool is_module(const struct entry *entry, const char *type, const char *module)
{
    const char *slash = strrchr(entry->module, '/');
    return strcmp(entry->type, type) == 0 && strcmp(slash ? slash + 1 : entry->module, module) == 0;
}

/* The place of the first such line, or -1. */
static int find(const struct stack *stack, const char *type, const char *module)
{
    for (size_t i = 0; i < stack->count; i++)
        if (is_module(&stack->entries[i], type, module))
            return (int)i;
    return -1;
}

/* What [.. name=ACTION ..] says, or what a word of the old kind means for it; "" when it says nothing. */
static void action(const char *control, const char *name, char to[static 16])
{
    static const struct {
        const char *word, *success, *ignore, *otherwise;
    } words[] = {{"required", "ok", "ignore", "bad"},
                 {"requisite", "ok", "ignore", "die"},
                 {"sufficient", "done", "ignore", "ignore"},
                 {"optional", "ok", "ignore", "ignore"}};
    to[0] = '\0';
    for (size_t i = 0; i < ELEMENTS(words); i++)
        if (strcmp(control, words[i].word) == 0)
            (void)snprintf(to, 16, "%s",
                           strcmp(name, "success") == 0  ? words[i].success
                           : strcmp(name, "ignore") == 0 ? words[i].ignore
                                                         : words[i].otherwise);
    size_t length = strlen(name);
    for (const char *at = control[0] == '[' ? control + 1 : ""; *at; at++)
        if (strncmp(at, name, length) == 0 && at[length] == '=' && (at[-1] == ' ' || at[-1] == '['))
            (void)snprintf(to, 16, "%.*s", (int)strcspn(at + length + 1, " ]"), at + length + 1);
}

static bool is_one_of(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

static bool check_control(struct pam_visit *visit, const char *service, const struct entry *entry, const char *wanted)
{
    char ignored[16], otherwise[16], unavailable[16];
    action(entry->control, "ignore", ignored);
    action(entry->control, "default", otherwise);
    action(entry->control, "authinfo_unavail", unavailable);
    visit->unavailable_ignored |= strcmp(unavailable, "ignore") == 0 && entry->control[0] == '[';
    if (!is_one_of(otherwise, "die", "bad")) {
        pam_say(visit, PAM_BAD,
                "/etc/pam.d/%s: %s %s goes on after a sign-in that failed, so that a password opens too; "
                "write: %s",
                service, entry->type, entry->control, wanted);
        return false;
    }
    if (strcmp(ignored, "ignore") != 0) {
        pam_say(visit, PAM_BAD,
                "/etc/pam.d/%s: %s %s locks out root and all that the module leaves to others; write: %s", service,
                entry->type, entry->control, wanted);
        return false;
    }
    return true;
}

/* A key comes before a cached token, and only sshd asks for one: said in the line itself, or in pam.conf for all. */
static bool check_cached(struct pam_visit *visit, const char *service, const struct entry *entry,
                         const struct settings *settings)
{
    if (!settings->cached && !strstr(entry->arguments, "cached=no"))
        visit->elsewhere = service;
    if (settings->cached)
        pam_say(visit, PAM_BAD,
                "/etc/pam.d/%s: cached=yes is for sshd alone, and refuses everybody here: take it out of the line",
                service);
    return !settings->cached;
}

/* The module's own reading of what it will be told. */
static bool check_arguments(struct pam_visit *visit, const char *service, const struct entry *entry, bool keep)
{
    char words[MOST_ARGUMENTS][LIMIT_PAM_VALUE + 1], problem[SETTINGS_PROBLEM] = "";
    const char *argv[MOST_ARGUMENTS];
    _cleanup_settings_ struct settings unused = {0};
    struct settings *settings = keep ? &visit->settings : &unused;
    struct span rest = span_of(entry->arguments), word;
    int argc = 0;
    while (argc < MOST_ARGUMENTS && pam_word(&rest, &word) && word.data[0] != '#') {
        if (word.length > 1 && word.data[0] == '[' && word.data[word.length - 1] == ']')
            word = (struct span){word.data + 1, word.length - 2};
        copy(words[argc], sizeof(words[argc]), word);
        argv[argc] = words[argc];
        argc++;
    }
    if (settings_take_arguments(settings, argc, argv, problem) < 0) {
        pam_say(visit, PAM_BAD, "/etc/pam.d/%s: %s pam_mltoken.so: %s; nobody but root can come in like this", service,
                entry->type, problem);
        return false;
    }
    return keep || strcmp(entry->type, "auth") != 0 || check_cached(visit, service, entry, settings);
}

static void check_auth(struct pam_visit *visit, const char *service, const struct stack *stack)
{
    int at = find(stack, "auth", "pam_mltoken.so"), before = find(stack, "auth", "pam_unix.so");
    if (at < 0) {
        pam_say(visit, PAM_BAD, "/etc/pam.d/%s has no auth line of ours; before @include common-auth put: " AUTH_LINE,
                service);
        return;
    }
    const struct entry *entry = &stack->entries[at];
    if (entry->included)
        pam_say(visit, PAM_BAD,
                "the auth line is in a file that others include: sudo and cron would wait for a browser; "
                "move it to /etc/pam.d/%s",
                service);
    else if (before >= 0 && before < at)
        pam_say(visit, PAM_BAD,
                "/etc/pam.d/%s: the auth line stands after pam_unix.so, so that a password is asked for "
                "first; move it before @include common-auth",
                service);
    else if (check_control(visit, service, entry, AUTH_LINE) &&
             check_arguments(visit, service, entry, strcmp(service, "sshd") == 0))
        pam_say(visit, PAM_FINE, "/etc/pam.d/%s signs people in by the module", service);
}

static void check_account(struct pam_visit *visit, const char *service, const struct stack *stack)
{
    int at = find(stack, "account", "pam_mltoken.so");
    if (at < 0)
        pam_say(visit, PAM_BAD,
                "/etc/pam.d/%s has no account line of ours, so that a sign-in of another kind would do; "
                "before @include common-account put: " ACCOUNT_LINE,
                service);
    else if (check_control(visit, service, &stack->entries[at], ACCOUNT_LINE) &&
             check_arguments(visit, service, &stack->entries[at], false))
        pam_say(visit, PAM_FINE, "/etc/pam.d/%s asks the module for accounts", service);
}

static void check_session(struct pam_visit *visit, const char *service, const struct stack *stack)
{
    int at = find(stack, "session", "pam_mltoken.so"), systemd = find(stack, "session", "pam_systemd.so");
    if (at < 0)
        pam_say(visit, PAM_BAD,
                "/etc/pam.d/%s has no session line of ours, so that no agent gets the sign-in: "
                "pam-auth-update --enable mltoken",
                service);
    else if (systemd > at)
        pam_say(visit, PAM_BAD,
                "/etc/pam.d/%s: the session line stands before pam_systemd.so, when there is no agent yet; "
                "move it behind, or use pam-auth-update --enable mltoken",
                service);
    else if (check_arguments(visit, service, &stack->entries[at], false))
        pam_say(visit, PAM_FINE, "/etc/pam.d/%s hands sign-ins to the person's agent%s", service,
                systemd < 0 ? "; there is no pam_systemd.so that would start one" : "");
}

static void check_module(struct pam_visit *visit, const struct stack *stack)
{
    static const char *const folders[] = {"/lib/*/security",   "/usr/lib/*/security", "/lib/security",
                                          "/usr/lib/security", "/lib64/security",     "/usr/lib64/security"};
    int at = find(stack, "auth", "pam_mltoken.so");
    const char *module = at < 0 ? "pam_mltoken.so" : stack->entries[at].module;
    char path[PAM_PATH];
    bool found = false;
    pam_path(visit, module, path);
    found = module[0] == '/' && access(path, R_OK) == 0;
    for (size_t i = 0; module[0] != '/' && i < ELEMENTS(folders) && !found; i++) {
        char pattern[TEXT];
        glob_t matches;
        (void)snprintf(pattern, sizeof(pattern), "%s/%s", folders[i], module);
        pam_path(visit, pattern, path);
        found = glob(path, 0, NULL, &matches) == 0;
        globfree(&matches);
    }
    pam_say(visit, found ? PAM_FINE : PAM_BAD,
            found ? "%s is there"
                  : "%s is not where PAM looks for it: install it with "
                    "pamdir=/usr/lib/ARCHITECTURE/security, or write its whole path",
            module);
}

void pam_check_stack(struct pam_visit *visit)
{
    static const char *const others[] = {"login", "su", "su-l", "sudo", "sudo-i"};
    struct stack *stack = calloc(1, sizeof(*stack));
    if (!stack)
        return;
    stack->service = "sshd";
    read_service(visit, stack->service, 0, stack);
    if (stack->count == 0) {
        pam_say(visit, PAM_BAD, "there is no /etc/pam.d/sshd: install openssh-server");
    } else {
        check_module(visit, stack);
        check_auth(visit, "sshd", stack);
        check_account(visit, "sshd", stack);
        check_session(visit, "sshd", stack);
    }
    for (size_t i = 0; i < ELEMENTS(others); i++) { /* where somebody put it */
        stack->count = 0;
        stack->service = others[i];
        read_service(visit, others[i], 0, stack);
        if (find(stack, "auth", "pam_mltoken.so") >= 0) {
            check_auth(visit, others[i], stack);
            check_account(visit, others[i], stack);
        }
    }
    free(stack);
}
