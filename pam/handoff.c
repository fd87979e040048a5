#include "handoff.h"

#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include "place.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_SIZE 36

static int read_boot_id(char ret[static BOOT_ID_SIZE + 1])
{
    _cleanup_close_ int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, ret, BOOT_ID_SIZE);
    if (n != BOOT_ID_SIZE)
        return n < 0 ? -errno : -EIO;
    ret[BOOT_ID_SIZE] = '\0';
    return 0;
}

static int make_handle(char ret[static HANDOFF_HANDLE + 1])
{
    unsigned char bytes[HANDOFF_HANDLE / 2];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return -EIO;
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

bool handoff_handle_sound(const char *handle)
{
    return handle && strlen(handle) == HANDOFF_HANDLE && strspn(handle, "0123456789abcdef") == HANDOFF_HANDLE;
}

/* Reading decoded it; writing gives the same text again, as base64url has only one. */
static int put_line(struct buffer *text, const struct line *line)
{
    line_begin(text, line->word);
    for (size_t i = 0; i < line->count; i++)
        line_put(text, line->fields[i].name, line->fields[i].value);
    return line_end(text);
}

static int put_record(struct buffer *text, const struct handoff_owner *owner, const char *profile)
{
    char boot_id[BOOT_ID_SIZE + 1];
    int r = read_boot_id(boot_id);
    if (r < 0)
        return r;
    line_begin(text, "record");
    line_put_number(text, "version", 1);
    line_put_number(text, "uid", (int64_t)owner->uid);
    line_put_text(text, "service", owner->service);
    line_put_text(text, "boot_id", boot_id);
    line_put_number(text, "boottime_ms", clock_boot_ms());
    if (profile)
        line_put_text(text, "profile", profile);
    return line_end(text);
}

static int write_all(int fd, struct span text)
{
    while (text.length > 0) {
        ssize_t n = write(fd, text.data, text.length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        text.data += n;
        text.length -= (size_t)n;
    }
    return 0;
}

int handoff_write(const char *run, const struct handoff_owner *owner, const char *profile, const struct line *done,
                  char ret_handle[static HANDOFF_HANDLE + 1])
{
    _cleanup_buffer_ struct buffer text = BUFFER(2 * (LIMIT_LINE + 1));
    _cleanup_close_ int folder = -1;
    _cleanup_close_ int fd = -1;
    int r = put_record(&text, owner, profile);
    if (r == 0)
        r = put_line(&text, done);
    if (r == 0)
        r = make_handle(ret_handle);
    if (r == 0)
        r = place_open(run, "handoff", &folder);
    if (r < 0)
        return r;
    fd = openat(folder, ret_handle, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = write_all(fd, buffer_span(&text));
    if (r < 0)
        (void)unlinkat(folder, ret_handle, 0);
    return r;
}

static int read_all(int fd, struct buffer *ret)
{
    for (;;) {
        int r = buffer_reserve(ret, LIMIT_LINE_CHUNK); /* without a copy that would have to be wiped */
        if (r < 0)
            return r;
        ssize_t n = read(fd, ret->data + ret->length, LIMIT_LINE_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        ret->length += (size_t)n;
        ret->data[ret->length] = '\0';
    }
}

/* Exactly one process comes out of here with the file. */
static int take_file(const char *run, const char *handle, struct buffer *ret)
{
    _cleanup_close_ int folder = -1;
    int r = place_open(run, "handoff", &folder);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = openat(folder, handle, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat state;
    if (fd < 0 || fstat(fd, &state) < 0)
        return -errno;
    if (unlinkat(folder, handle, 0) < 0)
        return -errno;
    if (!S_ISREG(state.st_mode) || state.st_uid != geteuid() || (state.st_mode & 077) || state.st_nlink != 1)
        return -EPERM;
    return read_all(fd, ret);
}

static bool text_is(const struct line *line, const char *name, const char *expected)
{
    const char *text;
    return line_text(line, name, &text) == 0 && strcmp(text, expected) == 0;
}

static int check_record(const struct line *record, const struct handoff_owner *owner)
{
    char boot_id[BOOT_ID_SIZE + 1];
    int64_t uid, version, time, now = clock_boot_ms();
    int r = read_boot_id(boot_id);
    if (r < 0)
        return r;
    if (strcmp(record->word, "record") != 0 || line_number(record, "version", &version) < 0 || version != 1)
        return -EPERM;
    if (line_number(record, "uid", &uid) < 0 || uid != (int64_t)owner->uid ||
        !text_is(record, "service", owner->service) || !text_is(record, "boot_id", boot_id) ||
        line_number(record, "boottime_ms", &time) < 0 || time > now || time < now - LIMIT_HANDOFF_MS)
        return -ESTALE;
    return 0;
}

int handoff_take(const char *run, const struct handoff_owner *owner, const char *handle, struct buffer *ret)
{
    if (!handoff_handle_sound(handle))
        return -EINVAL;
    int r = take_file(run, handle, ret);
    if (r < 0)
        return r;
    const char *end = ret->length > 0 ? memchr(ret->data, '\n', ret->length) : NULL;
    _cleanup_line_ struct line record = {0};
    if (!end)
        return -EPERM;
    r = line_parse((struct span){ret->data, (size_t)(end - ret->data)}, &record);
    return r < 0 ? r : check_record(&record, owner);
}

void handoff_sweep(const char *run)
{
    _cleanup_close_ int folder = -1;
    if (place_open(run, "handoff", &folder) == 0)
        place_sweep(folder, LIMIT_HANDOFF_MS / 1000);
}
