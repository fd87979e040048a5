#include "doctor_guard.h"

#include "cleanup.h"
#include "socket_path.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static bool is_executable(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 && S_ISREG(file.st_mode) && access(path, X_OK) == 0;
}

/* As execvp() looks. */
static bool is_in_path(const char *name)
{
    const char *path = getenv("PATH");
    for (const char *at = path; at && *at;) {
        size_t length = strcspn(at, ":");
        char whole[LIMIT_CONFIG_LINE];
        (void)snprintf(whole, sizeof(whole), "%.*s/%s", (int)length, at, name);
        if (is_executable(whole))
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}

bool guard_check_pinentry(const struct config *config, struct buffer *ret_words)
{
    const char *program = config->pinentry ? config->pinentry : "pinentry";
    buffer_clear(ret_words);
    if (strchr(program, '/') ? !is_executable(program) : !is_in_path(program)) {
        buffer_format(ret_words, "confirm needs %s, and there is no such program: install a pinentry, or set pinentry",
                      program);
        return false;
    }
    bool display = getenv("DISPLAY") || getenv("WAYLAND_DISPLAY");
    buffer_format(ret_words, "confirm asks by %s, %s", program,
                  display ? "on this display if the agent has it too"
                          : "and without a display only who is in front of a terminal");
    return true;
}

bool guard_check_allow(const struct profile *profile, struct buffer *ret_words)
{
    size_t count = 0;
    buffer_clear(ret_words);
    for (char *const *path = profile->allow; *path; path++) {
        count++;
        if (!is_executable(*path)) {
            buffer_format(ret_words, "allow names %s, which is no program that can be run", *path);
            return false;
        }
    }
    buffer_format(ret_words, "allow names what is there, programs: %zu", count);
    return true;
}

static ssize_t read_map(pid_t pid, char *to, size_t size)
{
    char path[48];
    (void)snprintf(path, sizeof(path), "/proc/%ld/uid_map", (long)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : read(fd, to, size);
}

/* Which namespace a hardened process is in cannot be read, but how that maps users can. */
bool guard_check_agent(pid_t pid, struct buffer *ret_words)
{
    char ours[1024], theirs[1024];
    ssize_t length = read_map(getpid(), ours, sizeof(ours)), other = read_map(pid, theirs, sizeof(theirs));
    buffer_clear(ret_words);
    if (length > 0 && other >= 0 && (length != other || memcmp(ours, theirs, (size_t)length) != 0)) {
        buffer_format(
            ret_words,
            "the agent (process %ld) runs in a user namespace of its own (PrivateUsers=, a container), where it "
            "cannot see which program asks: allow refuses everybody",
            (long)pid);
        return false;
    }
    buffer_format(ret_words, "the agent (process %ld) can see which program asks", (long)pid);
    return true;
}

pid_t guard_agent(void)
{
    struct socket_path path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uid_t uid;
    pid_t pid = 0;
    if (socket_path_find(NULL, &path) < 0 || strlen(path.agent) >= sizeof(address.sun_path))
        return 0;
    memcpy(address.sun_path, path.agent, strlen(path.agent));
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || socket_peer(fd, &uid, &pid) < 0)
        return 0;
    return pid;
}

static bool is_management(const char *text)
{
    static const char start[] = "https://management.";
    return text && strncmp(text, start, sizeof(start) - 1) == 0;
}

/* Azure Resource Manager takes tokens for itself alone. */
static bool for_management(const struct profile *profile, const struct profile *parent)
{
    if (!is_management(profile->authority) || !parent)
        return true;
    bool found = is_management(parent->resource);
    for (char *const *scope = parent->scopes; scope && *scope; scope++)
        found |= is_management(*scope);
    return found;
}

bool guard_check_parent(struct config *config, const struct profile *profile, struct buffer *ret_words,
                        bool *ret_broken)
{
    const struct profile *parent = config_profile(config, profile->parent);
    buffer_clear(ret_words);
    *ret_broken = !parent || parent->problem;
    if (*ret_broken)
        buffer_format(ret_words, "its parent %s cannot be used: %s", profile->parent,
                      parent ? parent->problem : "there is no such profile");
    else if (profile_guarded(parent) && !profile_guarded(profile))
        buffer_format(
            ret_words,
            "its parent %s is guarded by %s, which does not count for what is made from its token: guard this "
            "profile too",
            profile->parent, parent->confirm ? "confirm" : "allow");
    else if (!for_management(profile, parent))
        buffer_format(ret_words,
                      "its keys and tokens are asked for by the token of its parent %s, whose scope is for something "
                      "else: set scope = https://management.azure.com/.default there",
                      profile->parent);
    else
        buffer_format(ret_words, "its token is made from that of %s", profile->parent);
    return !*ret_broken && for_management(profile, parent) && (!profile_guarded(parent) || profile_guarded(profile));
}
