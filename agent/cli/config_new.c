#include "config_new.h"

#include "cleanup.h"
#include "options.h"
#include "output.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>

static const char beginning[] =
    "# The configuration of mltoken; see mltoken.conf(5). Check it with: mltoken config check\n"
    "# One section a profile. A line is: key = value. Comments stand on lines of their own.\n"
    "\n"
    "[agent]\n"
    "# the profile that is meant when none is named\n"
    "default_profile = %s\n";

static void append_profile(struct buffer *to, const struct new_profile *profile)
{
    bool person = strcmp(profile->grant, "device_code") == 0;
    buffer_format(to, "\n# %s\n[profile %s]\n",
                  person ? "a person, who signs in with: mltoken login" : "a service, with a secret", profile->name);
    buffer_format(to, "grant         = %s\n", profile->grant);
    buffer_format(to, "authority     = %s\n", profile->authority);
    buffer_format(to, "client_id     = %s\n", profile->client_id);
    if (profile->client_secret)
        buffer_format(to, "client_secret = %s\n", profile->client_secret);
    if (profile->scope)
        buffer_format(to, "scope         = %s\n", profile->scope);
}

static int fail(const char *path, const char *what)
{
    char shown[LIMIT_URL];
    text_clean_into(shown, sizeof(shown), span_of(path));
    complain("config new: %s: %s", shown, what);
    return EXIT_FAILED;
}

/* Each directory above `path` that is missing, for us alone */
static int make_directories(const char *path)
{
    char part[CONFIG_PATH_SIZE];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return fail(part, strerror(errno));
    }
    return EXIT_DONE;
}

static void sync_directory(const char *path)
{
    char directory[CONFIG_PATH_SIZE];
    const char *slash = strrchr(path, '/');
    (void)snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    _cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd);
}

/* A new file beside `path`, complete and on the disk */
static int write_beside(const char *path, mode_t mode, const struct buffer *text, char to[static CONFIG_PATH_SIZE])
{
    int n = snprintf(to, CONFIG_PATH_SIZE, "%s.XXXXXX", path);
    if (n < 0 || n >= CONFIG_PATH_SIZE)
        return -ENAMETOOLONG;
    _cleanup_close_ int fd = mkostemp(to, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t done = 0;
    int r = fchmod(fd, mode) < 0 ? -errno : 0;
    while (r == 0 && done < text->length) {
        ssize_t written = write(fd, text->data + done, text->length - done);
        if (written >= 0)
            done += (size_t)written;
        else if (errno != EINTR)
            r = -errno;
    }
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(to);
    return r;
}

/* The file as it is: -ENOENT when there is none */
static int read_existing(const char *path, struct buffer *text, struct stat *ret)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, ret) < 0)
        return -errno;
    if (!S_ISREG(ret->st_mode))
        return -EINVAL;
    for (;;) {
        int r = buffer_reserve(text, 4096);
        if (r < 0)
            return r;
        ssize_t n = read(fd, text->data + text->length, 4096);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        if (n > 0)
            text->length += (size_t)n;
    }
    text->data[text->length] = '\0';
    return 0;
}

/* Does a line say [profile NAME]? Blanks do not count. */
static bool has_profile(const struct buffer *text, const char *name)
{
    for (const char *line = text->data; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        const char *p = line + strspn(line, " \t");
        if (*p != '[')
            continue;
        p += 1 + strspn(p + 1, " \t");
        if (strncmp(p, "profile", 7) != 0)
            continue;
        p += 7 + strspn(p + 7, " \t");
        size_t length = strcspn(p, " \t]\r\n");
        if (length == strlen(name) && memcmp(p, name, length) == 0)
            return true;
    }
    return false;
}

static int create(const char *path, const struct new_profile *profile)
{
    char beside[CONFIG_PATH_SIZE];
    _cleanup_buffer_ struct buffer text = BUFFER(32768);
    buffer_format(&text, beginning, profile->name);
    append_profile(&text, profile);
    int r = buffer_error(&text);
    if (r == 0)
        r = write_beside(path, 0600, &text, beside);
    if (r == 0) {
        r = link(beside, path) < 0 ? -errno : 0; /* unlike rename(), it replaces nothing that appeared meanwhile */
        (void)unlink(beside);
    }
    return r;
}

static int extend(const char *path, const struct new_profile *profile, struct buffer *text, const struct stat *before)
{
    char target[PATH_MAX], beside[CONFIG_PATH_SIZE];
    struct stat now;
    if (text->length > 0 && text->data[text->length - 1] != '\n')
        buffer_byte(text, '\n');
    append_profile(text, profile);
    int r = buffer_error(text);
    if (r == 0 && !realpath(path, target)) /* a link stays one: people keep their settings elsewhere */
        r = -errno;
    if (r == 0)
        r = write_beside(target, before->st_mode & 0777, text, beside);
    if (r < 0)
        return r;
    bool same = stat(target, &now) == 0 && now.st_ino == before->st_ino && now.st_size == before->st_size &&
                now.st_mtim.tv_sec == before->st_mtim.tv_sec && now.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
    r = !same ? -ESTALE : rename(beside, target) < 0 ? -errno : 0;
    if (r < 0)
        (void)unlink(beside);
    return r;
}

static int write_profile(const char *path, const struct new_profile *profile)
{
    struct stat before = {0};
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_CONFIG_FILE);
    int r = read_existing(path, &text, &before);
    if (r == 0 && has_profile(&text, profile->name)) {
        complain("config new: there is a profile %s already; nothing was changed", profile->name);
        return EXIT_CONFIGURATION;
    }
    if (r == 0) {
        r = extend(path, profile, &text, &before);
    } else if (r == -ENOENT) {
        int code = make_directories(path);
        if (code != EXIT_DONE)
            return code;
        r = create(path, profile);
    }
    if (r == -ESTALE || r == -EEXIST)
        return fail(path, "it was changed by someone else meanwhile; try again");
    if (r == -EINVAL)
        return fail(path, "it is not a regular file");
    if (r < 0)
        return fail(path, strerror(-r));
    sync_directory(path);
    return EXIT_DONE;
}

int config_new(struct context *context, int argc, char **argv)
{
    struct new_profile profile = {0};
    const struct option options[] = {
        {"--profile", OPTION_TEXT, &profile.name, "NAME", "the profile's name"},
        {"--grant", OPTION_TEXT, &profile.grant, "GRANT", "client_credentials or device_code"},
        {"--authority", OPTION_TEXT, &profile.authority, "URL", "the issuer"},
        {"--client-id", OPTION_TEXT, &profile.client_id, "ID", "the client id"},
        {"--scope", OPTION_TEXT, &profile.scope, "SCOPES", "scopes, separated by blanks"},
        {"--client-secret", OPTION_TEXT, &profile.client_secret, "SOURCE",
         "where the secret is: file:PATH, env:NAME, ..."},
    };
    const struct usage usage = {.command = "config new",
                                .arguments = "[OPTIONS]",
                                .summary =
                                    "Writes a starting configuration, or adds a profile to the one that is there.",
                                USAGE_OPTIONS(options)};
    struct arguments arguments;
    char path[CONFIG_PATH_SIZE];
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    if (config_path(path, sizeof(path)) < 0)
        return EXIT_CONFIGURATION;
    r = config_ask(&profile);
    if (r == EXIT_DONE)
        r = write_profile(path, &profile);
    if (r != EXIT_DONE)
        return r;
    struct buffer text = BUFFER(2 * CONFIG_PATH_SIZE);
    buffer_format(&text, "the profile %s stands in %s\n", profile.name, path);
    remark(context->quiet, "next: mltoken %s %s", strcmp(profile.grant, "device_code") == 0 ? "login" : "get",
           profile.name);
    return output_write(&text);
}
