#include "config.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int joined(const char *directory, const char *rest, char **ret)
{
    return asprintf(ret, "%s/%s", directory, rest) < 0 ? -ENOMEM : 0;
}

int config_paths(char **ret_system, char **ret_user)
{
    const char *given = getenv("MLTOKEN_CONFIG"), *directory = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    _cleanup_free_ char *system = strdup(MLTOKEN_SYSCONFDIR "/mltoken/config"), *user = NULL;
    int r = system ? 0 : -ENOMEM;
    if (r == 0 && given && *given)
        r = (user = strdup(given)) ? 0 : -ENOMEM;
    else if (r == 0 && directory && directory[0] == '/')
        r = joined(directory, "mltoken/config", &user);
    else if (r == 0 && home && home[0] == '/')
        r = joined(home, ".config/mltoken/config", &user);
    if (r < 0)
        return r;
    *ret_system = TAKE_PTR(system);
    *ret_user = TAKE_PTR(user);
    return 0;
}

/* What forbids trusting a file, or NULL. */
static const char *distrust(const struct stat *file)
{
    if (!S_ISREG(file->st_mode))
        return "is not a regular file; put the configuration there";
    if (file->st_uid != geteuid() && file->st_uid != 0)
        return "belongs to another user; it must be yours or root's (chown)";
    if (file->st_mode & (S_IWGRP | S_IWOTH))
        return "can be written by others, who could redirect your secrets; chmod go-w it";
    if (file->st_size > LIMIT_CONFIG_FILE)
        return "is larger than 16 MiB; is it the configuration?";
    return NULL;
}

static const char *open_problem(int error)
{
    switch (error) {
    case ENOENT:
        return NULL;
    case EACCES:
        return "cannot be read: permission denied; chmod it, and the folders above";
    case ELOOP:
        return "is a chain of symbolic links without end; mend it";
    default:
        return "cannot be read; look at it with ls -l";
    }
}

static int read_whole(int fd, size_t size, struct config_text *ret)
{
    char *text = malloc(size + 1);
    size_t length = 0;
    if (!text)
        return -ENOMEM;
    while (length < size + 1) { /* one more than its size: a file that grows meanwhile is seen */
        ssize_t n = read(fd, text + length, size + 1 - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            ret->problem = "cannot be read; is the file system all right?";
        if (n <= 0)
            break;
        length += (size_t)n;
    }
    if (length > size)
        ret->problem = "was being written while it was read; try again";
    ret->text = (struct span){text, length};
    return 0;
}

int config_text_read(const char *path, struct config_text *ret)
{
    struct stat file;
    *ret = (struct config_text){.file = path};
    /* not blocking: a fifo in its place must not stop the agent; NOCTTY: nor a terminal become ours */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        ret->problem = open_problem(errno);
        ret->absent = !ret->problem;
        return 0;
    }
    ret->problem = fstat(fd, &file) < 0 ? open_problem(errno) : distrust(&file);
    return ret->problem ? 0 : read_whole(fd, (size_t)file.st_size, ret);
}

void config_text_clear(struct config_text *text)
{
    union {
        const char *data;
        char *bytes;
    } owned = {text->text.data};
    if (owned.bytes)
        explicit_bzero(owned.bytes, text->text.length); /* a secret may have been written where it should not */
    free(owned.bytes);
    text->text = (struct span){0};
}
