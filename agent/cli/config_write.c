/* Puts a new profile into the file of the configuration: whole or not at all, and over nobody's change. */
#include "config_new.h"

#include "cleanup.h"
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

/* What must be done before tokens come: which secret is still to be put into the store. */
static const char *stored_key(const struct new_profile *profile)
{
    for (enum field field = 0; field < FIELD_COUNT; field++)
        if (profile->values[field] && strcmp(profile->values[field], "stored") == 0)
            return field_key(field);
    return NULL;
}

/* Whether a person signs in before anything can be fetched. */
static bool needs_person(const struct new_profile *profile)
{
    return template_signs_in(profile->template) && !profile->values[FIELD_PASSWORD];
}

void config_next(const struct context *context, const struct new_profile *profile)
{
    const char *stored = stored_key(profile), *then = needs_person(profile) ? "login" : "get";
    if (stored)
        remark(context->quiet, "next: mltoken secret set %s %s, then: mltoken %s %s", profile->name, stored, then,
               profile->name);
    else
        remark(context->quiet, "next: mltoken %s %s", then, profile->name);
}

static const char *comment_of(const struct new_profile *profile, enum field field)
{
    for (const struct template_line *line = profile->template->lines; line->kind != LINE_NONE; line++)
        if (line->field == field)
            return line->comment;
    return NULL;
}

static void append_line(struct buffer *to, const struct new_profile *profile, enum field field)
{
    const char *value = profile->values[field], *comment = comment_of(profile, field);
    if (!value)
        return;
    if (comment)
        buffer_format(to, "# %s\n", comment);
    if (strcmp(value, "stored") == 0)
        buffer_format(to, "# put into the store by: mltoken secret set %s %s\n", profile->name, field_key(field));
    buffer_format(to, "%-13s = %s\n", field_key(field), value);
}

static void append_profile(struct buffer *to, const struct new_profile *profile)
{
    buffer_format(to, "\n# %s\n", profile->template->about);
    if (needs_person(profile))
        buffer_format(to, "# sign in with: mltoken login %s\n", profile->name);
    buffer_format(to, "[profile %s]\n%-13s = %s\n", profile->name, "grant", profile->grant);
    for (enum field field = 0; field < FIELD_COUNT; field++)
        append_line(to, profile, field);
}

static int fail(const char *command, const char *path, const char *what)
{
    char shown[LIMIT_URL];
    text_clean_into(shown, sizeof(shown), span_of(path));
    complain("%s: %s: %s", command, shown, what);
    return EXIT_FAILED;
}

/* Each directory above `path` that is missing, for us alone */
static int make_directories(const char *command, const char *path)
{
    char part[CONFIG_PATH_SIZE];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return fail(command, part, strerror(errno));
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

int config_write(const char *command, const char *path, const struct new_profile *profile)
{
    struct stat before = {0};
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_CONFIG_FILE);
    int r = read_existing(path, &text, &before);
    if (r == 0 && has_profile(&text, profile->name)) {
        complain("%s: there is a profile %s already; nothing was changed", command, profile->name);
        return EXIT_CONFIGURATION;
    }
    if (r == 0) {
        r = extend(path, profile, &text, &before);
    } else if (r == -ENOENT) {
        int code = make_directories(command, path);
        if (code != EXIT_DONE)
            return code;
        r = create(path, profile);
    }
    if (r == -ESTALE || r == -EEXIST)
        return fail(command, path, "it was changed by someone else meanwhile; try again");
    if (r == -EINVAL)
        return fail(command, path, "it is not a regular file");
    if (r < 0)
        return fail(command, path, strerror(-r));
    sync_directory(path);
    return EXIT_DONE;
}
