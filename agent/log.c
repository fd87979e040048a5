#include "log.h"

#include "buffer.h"
#include "cleanup.h"
#include "limits.h"
#include "text.h"
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The native protocol of the journal: one datagram, a field per line, FIELD=value. What is beyond a datagram's size is
 * not worth a memfd: it is lost, and never waited for. */
#define JOURNAL "/run/systemd/journal/socket"

static struct {
    int journal; /* connected; -1: stderr */
    bool debug;
    const char *program;
} state = {.journal = -1, .program = "mltoken-agent"};

void log_open(bool to_stderr, bool debug)
{
    static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL};
    if (state.journal >= 0)
        close(state.journal);
    state.journal = -1;
    state.debug = debug;
    if (to_stderr)
        return;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        state.journal = TAKE_FD(fd);
}

void log_as(const char *program)
{
    state.program = program;
}

bool log_debugging(void)
{
    return state.debug;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARNING:
        return "warning";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        break;
    }
    return "debug";
}

/* A field of the journal. Cleaned texts hold no newline; were one left, the binary form could not be mistaken. */
static void journal_field(struct buffer *to, const char *prefix, const char *name, struct span value)
{
    buffer_text(to, prefix);
    buffer_text(to, name);
    if (!memchr(value.data, '\n', value.length)) {
        buffer_byte(to, '=');
        buffer_append(to, value.data, value.length);
    } else {
        buffer_byte(to, '\n');
        for (size_t i = 0; i < 8; i++)
            buffer_byte(to, (char)(unsigned char)((uint64_t)value.length >> (8 * i)));
        buffer_append(to, value.data, value.length);
    }
    buffer_byte(to, '\n');
}

/* key=value for people: quoted when it holds a blank, a quote, or nothing. */
static void plain_field(struct buffer *to, const char *name, struct span value)
{
    buffer_byte(to, ' ');
    for (; *name; name++)
        buffer_byte(to, *name >= 'A' && *name <= 'Z' ? (char)(*name - 'A' + 'a') : *name);
    buffer_byte(to, '=');
    bool quote = value.length == 0;
    for (size_t i = 0; i < value.length; i++)
        quote = quote || strchr(" \"\\=", value.data[i]);
    if (!quote) {
        buffer_append(to, value.data, value.length);
        return;
    }
    buffer_byte(to, '"');
    for (size_t i = 0; i < value.length; i++) {
        if (value.data[i] == '"' || value.data[i] == '\\')
            buffer_byte(to, '\\');
        buffer_byte(to, value.data[i]);
    }
    buffer_byte(to, '"');
}

static void fields(struct buffer *to, bool journal, va_list arguments)
{
    for (const char *name; (name = va_arg(arguments, const char *));) {
        const char *text = va_arg(arguments, const char *);
        if (!text)
            continue;
        _cleanup_buffer_ struct buffer clean = BUFFER(LIMIT_LOG_LINE);
        text_clean(&clean, span_of(text), LIMIT_LOG_VALUE);
        struct span value = {clean.data ? clean.data : "", clean.length};
        if (journal)
            journal_field(to, "MLTOKEN_", name, value);
        else
            plain_field(to, name, value);
    }
}

static bool to_journal(struct buffer *line)
{
    if (buffer_error(line) < 0)
        return true; /* too long to be told: dropped, as a full journal would */
    ssize_t n = send(state.journal, line->data, line->length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        return true;
    log_open(false, state.debug); /* the journal was restarted, perhaps */
    return state.journal >= 0 && send(state.journal, line->data, line->length, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* A pipe that nobody reads must not stop the agent: then the line is lost. What poll() promises is room for PIPE_BUF
 * bytes, not for a whole line. */
static void to_stderr(struct buffer *line)
{
    struct pollfd error = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (line->length > 0 && poll(&error, 1, 0) == 1) {
        ssize_t n = write(STDERR_FILENO, line->data, MIN(line->length, (size_t)PIPE_BUF));
        if (n < 0)
            return; /* nobody to tell */
        buffer_consume(line, (size_t)n);
    }
}

void log_event(enum log_level level, const char *message, ...)
{
    va_list arguments;
    if (level == LOG_LEVEL_DEBUG && !state.debug)
        return;
    if (state.journal >= 0) {
        _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LOG_LINE);
        journal_field(&line, "", "MESSAGE", span_of(message));
        buffer_format(&line, "PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n", (int)level, state.program);
        va_start(arguments, message);
        fields(&line, true, arguments);
        va_end(arguments);
        if (to_journal(&line))
            return;
    }
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LOG_LINE);
    buffer_format(&line, "%s: %s: %s", state.program, level_name(level), message);
    va_start(arguments, message);
    fields(&line, false, arguments);
    va_end(arguments);
    buffer_byte(&line, '\n');
    to_stderr(&line);
}
