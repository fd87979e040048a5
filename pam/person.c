#include "person.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <pwd.h>

int person_find(const char *name, struct person *ret)
{
    for (size_t size = 4096; size <= LIMIT_PAM_PASSWD; size *= 4) {
        _cleanup_free_ char *buffer = malloc(size);
        struct passwd entry, *found = NULL;
        if (!buffer)
            return -ENOMEM;
        int error = getpwnam_r(name, &entry, buffer, size, &found);
        if (error == ERANGE)
            continue;
        /* what some say instead of "nobody of that name" */
        if (!found && (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM))
            return -ENOENT;
        if (!found)
            return -error;
        *ret = (struct person){.uid = entry.pw_uid, .gid = entry.pw_gid, .name = strdup(entry.pw_name)};
        return ret->name ? 0 : -ENOMEM;
    }
    return -ERANGE;
}

void person_free(struct person *person)
{
    free(person->name);
    person->name = NULL;
}
