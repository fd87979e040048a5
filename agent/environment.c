#include "environment.h"

#include "cleanup.h"
#include "config.h"
#include "grant/variables.h"
#include "ini.h"
#include "source.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/stat.h>

#define MARK      "MLTOKEN_AGENT_CLEAN" /* the pid of the process that executed itself anew */
#define SAFE_PATH "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
/* A net under the code of others: freed memory is overwritten at once. */
#define TUNABLES "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"

enum { FIRST_PASSED = 3, MOST_PASSED = 64, MOST_KEPT = 8 };

/* ---- what may stay ------------------------------------------------------------------------------------------------
 */

static bool any(const char *value)
{
    (void)value;
    return true;
}

static bool absolute(const char *value)
{
    return value[0] == '/';
}

static bool digits(const char *value)
{
    size_t length = strspn(value, "0123456789");
    return length > 0 && length <= 15 && !value[length];
}

/* A name of a locale, not a path to one. */
static bool locale(const char *value)
{
    return !strchr(value, '/');
}

/* A zone's name or rule: no path that could make libc read another file. */
static bool zone(const char *value)
{
    static const char known[] = "/usr/share/zoneinfo/";
    const char *name = value[0] == ':' ? value + 1 : value;
    if (strncmp(name, known, sizeof(known) - 1) == 0)
        name += sizeof(known) - 1;
    return name[0] != '/' && !strstr(name, "..");
}

/* unixexec: and autolaunch: would run a program. */
static bool bus(const char *value)
{
    return strncmp(value, "unix:", 5) == 0 && !strchr(value, ';');
}

static bool pid_and_fd(const char *value)
{
    return !value[strspn(value, "0123456789:")];
}

static const struct rule {
    const char *name;
    bool (*allowed)(const char *value);
} rules[] = {
    {"HOME", absolute},
    {"USER", any},
    {"LOGNAME", any},
    {"LANG", locale},
    {"LC_ALL", locale},
    {"TZ", zone},
    {"XDG_CONFIG_HOME", absolute},
    {"XDG_STATE_HOME", absolute},
    {"XDG_RUNTIME_DIR", absolute},
    {"DBUS_SESSION_BUS_ADDRESS", bus},
    {"DBUS_SYSTEM_BUS_ADDRESS", bus},
    {"DISPLAY", any},
    {"WAYLAND_DISPLAY", any},
    {"XAUTHORITY", absolute},
    {"MLTOKEN_SOCK", any},
    {"MLTOKEN_CONFIG", any},
    {"MLTOKEN_AGENT_COMMAND", pid_and_fd},
    {"NOTIFY_SOCKET", any},
    {"WATCHDOG_USEC", digits},
    {"WATCHDOG_PID", digits},
    {"LISTEN_PID", digits},
    {"LISTEN_FDS", digits},
    {"LISTEN_FDNAMES", any},
    {"CREDENTIALS_DIRECTORY", absolute},
    {"MLTOKEN_KEY_FILE", absolute},
    {"JOURNAL_STREAM", any},
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    {"ASAN_OPTIONS", any},
    {"LSAN_OPTIONS", any},
    {"UBSAN_OPTIONS", any},
    {"TSAN_OPTIONS", any},
#endif
};

static const struct rule ours[] = {{"PATH", any}, {"GLIBC_TUNABLES", any}, {MARK, digits}};

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The value in "NAME=value" when that is the name, else NULL. */
static const char *value_of(const char *entry, const char *name)
{
    size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1 : NULL;
}

static bool entry_clean(const char *entry)
{
    if (strcmp(entry, "PATH=" SAFE_PATH) == 0 || strcmp(entry, "GLIBC_TUNABLES=" TUNABLES) == 0)
        return true;
    const char *value = value_of(entry, MARK);
    if (value)
        return digits(value);
    if (starts_with(entry, ENVIRONMENT_VALUE)) {
        const char *name = entry + strlen(ENVIRONMENT_VALUE), *end = strchr(name, '=');
        return end && source_env_allowed((struct span){name, (size_t)(end - name)});
    }
    for (size_t i = 0; i < ELEMENTS(rules); i++)
        if ((value = value_of(entry, rules[i].name)))
            return strlen(value) <= LIMIT_ENV_VALUE && rules[i].allowed(value);
    return false;
}

static bool all_clean(void)
{
    for (char **entry = environ; *entry; entry++)
        if (!entry_clean(*entry))
            return false;
    return true;
}

/* ---- what is taken along ------------------------------------------------------------------------------------------
 */

struct new_environment {
    char *entries[ELEMENTS(rules) + ELEMENTS(ours) + LIMIT_GRANT_ENV + LIMIT_ENV_NAMES + 1];
    size_t count;
};

static int add(struct new_environment *new, const char *prefix, struct span name, const char *value)
{
    char *entry = NULL;
    for (size_t i = 0; i < new->count; i++) {
        size_t before = strlen(prefix);
        if (starts_with(new->entries[i], prefix) && strncmp(new->entries[i] + before, name.data, name.length) == 0 &&
            new->entries[i][before + name.length] == '=')
            return 0;
    }
    if (new->count + 1 >= ELEMENTS(new->entries))
        return -E2BIG;
    if (asprintf(&entry, "%s%.*s=%s", prefix, (int)name.length, name.data, value) < 0)
        return -ENOMEM;
    new->entries[new->count++] = entry;
    return 0;
}

static int add_rule(struct new_environment *new, const struct rule *rule)
{
    const char *value = getenv(rule->name);
    if (!value || strlen(value) > LIMIT_ENV_VALUE || !rule->allowed(value))
        return 0;
    if (strcmp(rule->name, "MLTOKEN_CONFIG") != 0 || value[0] == '/' || !value[0])
        return add(new, "", span_of(rule->name), value);
    /* relative to where the caller was */
    _cleanup_free_ char *directory = getcwd(NULL, 0), *path = NULL;
    if (!directory)
        return 0;
    if (asprintf(&path, "%s/%s", directory, value) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    return add(new, "", span_of(rule->name), path);
}

static int add_source(struct new_environment *new, struct span name)
{
    char variable[LIMIT_ENV_NAME + 1];
    if (!source_env_allowed(name))
        return 0;
    memcpy(variable, name.data, name.length);
    variable[name.length] = '\0';
    const char *value = getenv(variable);
    int r = value ? add(new, ENVIRONMENT_VALUE, name, value) : 0;
    return r == -E2BIG ? 0 : r;
}

/* What platforms tell a program of what a grant asks them for. */
static int add_variables(struct new_environment *new, struct span grant)
{
    int r = 0;
    for (const struct grant_variables *one = grant_variables; one->grant; one++)
        for (const char *const *name = one->names; r == 0 && span_equals(grant, span_of(one->grant)) && *name; name++) {
            const char *value = getenv(*name);
            r = add(new, ENVIRONMENT_VALUE, span_of(*name), value ? value : "");
        }
    return r == -E2BIG ? 0 : r;
}

static bool mentions(struct span text, const char *word)
{
    return text.length > 0 && memmem(text.data, text.length, word, strlen(word));
}

/* Whether it is of any use to read it: that is spared a start where it is not. */
static bool mentions_any(struct span text, const char *prefix)
{
    bool any = mentions(text, prefix);
    for (const struct grant_variables *one = grant_variables; one->grant; one++)
        any = any || mentions(text, one->grant);
    return any;
}

/* The names are found without understanding the file: that is done once, behind the exec. */
static int add_mentioned(struct new_environment *new, struct span text)
{
    static const char prefix[] = "env:";
    const size_t length = sizeof(prefix) - 1;
    struct ini ini = ini_open(text);
    struct ini_item item;
    if (!mentions_any(text, prefix))
        return 0;
    while (ini_next(&ini, &item)) {
        int r = 0;
        if (item.kind != INI_PAIR)
            continue;
        if (item.value.length > length && memcmp(item.value.data, prefix, length) == 0)
            r = add_source(new, (struct span){item.value.data + length, item.value.length - length});
        else if (span_equals(item.name, span_of("grant")))
            r = add_variables(new, item.value);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_configured(struct new_environment *new)
{
    _cleanup_free_ char *system = NULL, *user = NULL;
    int r = config_paths(&system, &user);
    const char *const paths[] = {system, user};
    for (size_t i = 0; r == 0 && i < ELEMENTS(paths); i++) {
        struct config_text text = {0};
        if (!paths[i])
            continue;
        r = config_text_read(paths[i], &text);
        if (r == 0 && !text.problem)
            r = add_mentioned(new, text.text);
        config_text_clear(&text);
    }
    return r;
}

static int build(struct new_environment *new)
{
    char pid[16];
    int r = 0;
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    for (size_t i = 0; r == 0 && i < ELEMENTS(rules); i++)
        r = add_rule(new, &rules[i]);
    if (r == 0)
        r = add(new, "", span_of("PATH"), SAFE_PATH);
    if (r == 0)
        r = add(new, "", span_of("GLIBC_TUNABLES"), TUNABLES);
    if (r == 0)
        r = add(new, "", span_of(MARK), pid);
    return r < 0 ? r : add_configured(new);
}

/* ---- descriptors --------------------------------------------------------------------------------------------------
 */

static int passed_sockets(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || !digits(pid) || !digits(count) || strtoll(pid, NULL, 10) != getpid())
        return 0;
    long long number = strtoll(count, NULL, 10);
    return number > 0 && number <= MOST_PASSED ? (int)number : 0;
}

static int compare(const void *a, const void *b)
{
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int close_others(const int *keep, size_t count)
{
    int sorted[MOST_KEPT] = {0};
    unsigned first = (unsigned)(FIRST_PASSED + passed_sockets());
    if (count > MOST_KEPT)
        return -E2BIG;
    if (count > 0)
        memcpy(sorted, keep, count * sizeof(*keep));
    qsort(sorted, count, sizeof(*sorted), compare);
    for (size_t i = 0; i < count; i++) {
        if (sorted[i] < 0 || (unsigned)sorted[i] < first)
            continue;
        if ((unsigned)sorted[i] > first && close_range(first, (unsigned)sorted[i] - 1, 0) < 0)
            return -errno;
        first = (unsigned)sorted[i] + 1;
    }
    return close_range(first, ~0U, 0) < 0 ? -errno : 0;
}

/* A file that is opened must never become descriptor 2 and receive what is meant for people. */
static int open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) /* NOLINT: kept across exec on purpose */
            return -EBADF;
    return 0;
}

int environment_execute(const char *program, char *const argv[], const int *keep, size_t keep_count)
{
    struct new_environment new = {0};
    int r = open_standard();
    if (r == 0)
        r = close_others(keep, keep_count);
    if (r == 0)
        r = build(&new);
    if (r == 0 && chdir("/") < 0)
        r = -errno;
    if (r == 0) {
        (void)execve(program, argv, new.entries);
        r = -errno;
    }
    for (size_t i = 0; i < new.count; i++)
        wipe_free(new.entries[i]);
    return r;
}

int environment_clean(char *const argv[], const int *keep, size_t keep_count)
{
    const char *mark = getenv(MARK);
    if (!mark || !digits(mark) || strtoll(mark, NULL, 10) != getpid())
        return environment_execute("/proc/self/exe", argv, keep, keep_count);
    int r = open_standard();
    if (r == 0)
        r = close_others(keep, keep_count);
    if (r < 0)
        return r;
    if (!all_clean())
        return -ELOOP;
    unsetenv(MARK);
    unsetenv("GLIBC_TUNABLES"); /* ours has been read; programs that we run have no need of it */
    return chdir("/") < 0 ? -errno : 0;
}

int environment_sockets(void)
{
    int count = passed_sockets();
    for (int fd = FIRST_PASSED; fd < FIRST_PASSED + count; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            count = fd - FIRST_PASSED;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return count;
}
