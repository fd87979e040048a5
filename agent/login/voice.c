#include "login/voice.h"

#include "clock.h"
#include "lines.h"
#include "login/qr_rows.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <poll.h>
#include <stdio.h>
#include <sys/param.h>
#include <unistd.h>

const char *failing_name(enum failing failing)
{
    static const char *const names[] = {
        [FAILING_CONFIG] = "config",   [FAILING_UNREACHABLE] = "unreachable", [FAILING_DENIED] = "denied",
        [FAILING_EXPIRED] = "expired", [FAILING_REFUSED] = "refused",         [FAILING_UNTRUSTED] = "untrusted",
        [FAILING_TIMEOUT] = "timeout", [FAILING_INTERNAL] = "internal",
    };
    return names[failing];
}

/* poll() promises room for PIPE_BUF bytes, so no write blocks, and the module's end is seen meanwhile. */
static int say(const struct wanted *wanted, const struct buffer *line)
{
    int64_t until = clock_boot_ms() + (wanted->wait_ms > 0 ? wanted->wait_ms : LIMIT_LOGIN_SAY_MS);
    size_t written = 0;
    while (written < line->length) {
        struct pollfd ends[] = {{.fd = STDOUT_FILENO, .events = POLLOUT}, {.fd = STDIN_FILENO}};
        int64_t left = until - clock_boot_ms();
        int n = left > 0 ? poll(ends, 2, (int)left) : 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -ETIMEDOUT;
        if (ends[0].revents & (POLLERR | POLLNVAL) || ends[1].revents & (POLLHUP | POLLERR))
            return -EPIPE;
        if (n < 0 || !(ends[0].revents & POLLOUT))
            continue;
        ssize_t length = write(STDOUT_FILENO, line->data + written, MIN(line->length - written, (size_t)PIPE_BUF));
        if (length < 0 && errno != EINTR)
            return -errno;
        written += length > 0 ? (size_t)length : 0;
    }
    return 0;
}

static int finish(void *arg, struct buffer *line)
{
    int r = line_end(line);
    return r < 0 ? r : say(arg, line);
}

static int say_prompt(void *arg, const struct prompt_step *prompt, int64_t life_s)
{
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LINE + 1);
    line_begin(&line, "prompt");
    line_put_text(&line, "uri", prompt->verification_uri);
    line_put_text(&line, "code", prompt->user_code);
    if (prompt->verification_uri_complete)
        line_put_text(&line, "complete", prompt->verification_uri_complete);
    line_put_number(&line, "expires_in", life_s);
    _cleanup_buffer_ struct buffer rows = BUFFER(LIMIT_LINE / 2);
    const char *shown =
        prompt->verification_uri_complete ? prompt->verification_uri_complete : prompt->verification_uri;
    if (((const struct wanted *)arg)->qr && qr_rows(shown, &rows) == 0)
        line_put(&line, "qr", buffer_span(&rows));
    return finish(arg, &line);
}

static int say_pending(void *arg)
{
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LINE + 1);
    line_begin(&line, "pending");
    return finish(arg, &line);
}

static int say_done(void *arg, struct buffer *line)
{
    return say(arg, line);
}

static int say_failure(void *arg, enum failing failing, const char *text)
{
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LINE + 1);
    line_begin(&line, "fail");
    line_put_text(&line, "class", failing_name(failing));
    line_put_text(&line, "text", text);
    return finish(arg, &line);
}

struct voice voice_lines(const struct wanted *wanted)
{
    return (struct voice){.prompt = say_prompt,
                          .pending = say_pending,
                          .done = say_done,
                          .fail = say_failure,
                          .arg = (void *)(uintptr_t)wanted};
}
