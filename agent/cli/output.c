#include "output.h"

#include "clock.h"
#include "command.h"
#include "text.h"
#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

int output_write(struct buffer *text)
{
    int r = EXIT_DONE;
    size_t done = 0;
    if (buffer_error(text) < 0) {
        complain("the answer is too long to be shown");
        r = EXIT_FAILED;
    }
    while (r == EXIT_DONE && done < text->length) {
        ssize_t n = write(STDOUT_FILENO, text->data + done, text->length - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno != EINTR) {
            complain("cannot write the result: %s", strerror(errno));
            r = EXIT_FAILED;
        }
    }
    buffer_free(text);
    return r;
}

int output_json(json_object *object)
{
    size_t length;
    const char *text =
        json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    if (!text) {
        complain("out of memory");
        return EXIT_FAILED;
    }
    struct buffer line = BUFFER((size_t)LIMIT_REPLY * 8);
    text_clean_json(&line, (struct span){text, length});
    explicit_bzero((char *)(uintptr_t)text, length);
    buffer_byte(&line, '\n');
    return output_write(&line);
}

static void say(const char *start, const char *format, va_list arguments)
{
    char line[4 * LIMIT_TEXT];
    int n = vsnprintf(line, sizeof(line), format, arguments);
    if (n >= 0)
        (void)fprintf(stderr, "%s%s\n", start, line);
}

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("mltoken: ", format, arguments);
    va_end(arguments);
}

void remark(bool quiet, const char *format, ...)
{
    if (quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    say("", format, arguments);
    va_end(arguments);
}

void output_clean(struct buffer *buffer, const char *text)
{
    text_clean(buffer, span_of(text), LIMIT_URL);
}

static void format_clock(char *to, size_t size, int64_t epoch_s)
{
    time_t seconds = (time_t)epoch_s;
    struct tm local;
    if (!localtime_r(&seconds, &local) || strftime(to, size, "%Y-%m-%d %H:%M:%S", &local) == 0)
        (void)snprintf(to, size, "?");
}

void output_time(char to[static TIME_SIZE], int64_t epoch_s)
{
    char clock[32], span[32];
    format_clock(clock, sizeof(clock), epoch_s);
    int64_t left = epoch_s - clock_wall_s();
    text_duration(span, sizeof(span), left > 0 ? left : -left);
    (void)snprintf(to, TIME_SIZE, "%s (%s %s)", clock, span, left > 0 ? "left" : "ago");
}

void output_too_soon(struct buffer *line, int64_t expires_at, int64_t asked_s, int64_t now_s)
{
    char clock[32], span[32];
    format_clock(clock, sizeof(clock), expires_at);
    buffer_format(line, "it expires %s", clock);
    if (expires_at - now_s < asked_s) {
        text_duration(span, sizeof(span), expires_at - now_s);
        buffer_format(line, " (%s left), and %lld s were asked for", span, (long long)asked_s);
    } else { /* whole seconds are too coarse to show it */
        buffer_format(line, ", less than the %lld s that were asked for from now", (long long)asked_s);
    }
}
