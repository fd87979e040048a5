#include "doctor_pam.h"

#include "cleanup.h"
#include "command.h"
#include "output.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

void pam_say(struct pam_visit *visit, enum pam_verdict verdict, const char *format, ...)
{
    static const char *const names[] = {
        [PAM_FINE] = "ok", [PAM_NOTE] = "note", [PAM_BAD] = "FAIL", [PAM_UNREACHABLE] = "FAIL"};
    char words[4 * LIMIT_TEXT], clean[4 * LIMIT_TEXT];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    text_clean_into(clean, sizeof(clean), span_of(words));
    struct buffer line = BUFFER(5 * LIMIT_TEXT);
    buffer_format(&line, "%-5s %s\n", names[verdict], clean);
    (void)output_write(&line);
    visit->bad |= verdict == PAM_BAD;
    visit->unreachable |= verdict == PAM_UNREACHABLE;
}

void pam_path(const struct pam_visit *visit, const char *path, char to[static PAM_PATH])
{
    (void)snprintf(to, PAM_PATH, "%s%s", visit->root, path);
}

int pam_read(const struct pam_visit *visit, const char *path, struct buffer *ret)
{
    char where[PAM_PATH];
    pam_path(visit, path, where);
    _cleanup_close_ int fd = open(where, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    *ret = BUFFER(LIMIT_PAM_MAP);
    if (fd < 0)
        return -errno;
    for (;;) {
        char chunk[LIMIT_LINE_CHUNK];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = buffer_append(ret, chunk, (size_t)n);
        if (r < 0)
            return r;
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

bool pam_line(struct span *text, struct span *ret)
{
    if (text->length == 0)
        return false;
    const char *end = memchr(text->data, '\n', text->length);
    struct span line = {text->data, end ? (size_t)(end - text->data) : text->length};
    text->data += line.length + (end ? 1 : 0);
    text->length -= line.length + (end ? 1 : 0);
    for (; line.length > 0 && is_blank(line.data[0]); line.length--)
        line.data++;
    while (line.length > 0 && is_blank(line.data[line.length - 1]))
        line.length--;
    *ret = line;
    return true;
}

bool pam_word(struct span *line, struct span *ret)
{
    for (; line->length > 0 && is_blank(line->data[0]); line->length--)
        line->data++;
    struct span word = {line->data, 0};
    bool bracket = line->length > 0 && line->data[0] == '[';
    while (word.length < line->length && (bracket || !is_blank(line->data[word.length]))) {
        bracket = bracket && line->data[word.length] != ']';
        word.length++;
    }
    line->data += word.length;
    line->length -= word.length;
    *ret = word;
    return word.length > 0;
}

int doctor_pam(const char *root, const char *user)
{
    struct pam_visit visit = {.root = root && strcmp(root, "/") != 0 ? root : "", .user = user};
    if (settings_begin(&visit.settings) < 0) {
        complain("out of memory");
        return EXIT_FAILED;
    }
    pam_check_stack(&visit); /* its arguments may name another file */
    (void)snprintf(visit.config, sizeof(visit.config), "%s", visit.settings.config);
    pam_check_files(&visit);
    pam_check_sshd(&visit);
    pam_check_person(&visit);
    pam_check_authority(&visit);
    settings_free(&visit.settings);
    return visit.bad ? EXIT_CONFIGURATION : visit.unreachable ? EXIT_UNREACHABLE : EXIT_DONE;
}
