#include "typed.h"

#include "cleanup.h"
#include "command.h"
#include "limits.h"
#include "output.h"
#include "text.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

/* What is behind the first line, which may have come with it, is not wanted. */
static bool cut_line(struct buffer *to)
{
    const char *end = to->length > 0 ? memchr(to->data, '\n', to->length) : NULL;
    size_t length = end ? (size_t)(end - to->data) + 1 : to->length;
    if (end)
        explicit_bzero(to->data + length, to->length - length);
    to->length = length;
    return end != NULL;
}

/* What a terminal does within a line, where it was told to hand on each byte: from `start` on they are new. false: the
 * person has ended it without a line. */
static bool edit(struct buffer *to, size_t start)
{
    enum { END = 0x04, BACK = 0x08, KILL = 0x15, DELETE = 0x7f };
    size_t length = start;
    bool goes_on = true;
    for (size_t i = start; goes_on && i < to->length; i++) {
        char c = to->data[i];
        if (c == BACK || c == DELETE)
            length -= length > 0;
        else if (c == KILL)
            length = 0;
        else if (c == END)
            goes_on = false;
        else
            to->data[length++] = c;
    }
    explicit_bzero(to->data + length, to->length - length);
    to->length = length;
    return goes_on;
}

/* 0: there is something to read. */
static int await(const struct typed *typed)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = *typed->wake, .events = POLLIN}};
    int n = poll(fds, ELEMENTS(fds), -1);
    if (n < 0)
        return errno == EINTR ? 0 : EXIT_FAILED;
    return fds[1].revents ? TYPED_WOKEN : 0;
}

/* To the end, or to the end of the line. */
static int read_all(const struct typed *typed, struct buffer *to, bool line)
{
    while (!interrupted && !(line && cut_line(to))) {
        if (buffer_reserve(to, 1) < 0) {
            complain("%s: it is longer than %zu bytes", typed->command, typed->most);
            return EXIT_USAGE;
        }
        int r = typed->wake ? await(typed) : 0;
        if (r != 0)
            return r;
        if (interrupted)
            break;
        size_t start = to->length;
        ssize_t n = read(STDIN_FILENO, to->data + to->length, to->capacity - to->length - 1);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR) {
            complain("%s: cannot read it: %s", typed->command, strerror(errno));
            return EXIT_FAILED;
        }
        to->length += n > 0 ? (size_t)n : 0;
        if (typed->wake && line && isatty(STDIN_FILENO) && !edit(to, start))
            break;
    }
    return interrupted ? EXIT_INTERRUPTED : EXIT_DONE;
}

/* Without echo, and with the terminal as it was afterwards, also after Ctrl-C. */
static int ask(const struct typed *typed, struct buffer *to)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    struct sigaction action = {.sa_handler = on_signal}, before[ELEMENTS(signals)];
    struct termios shown, hidden;
    char label[LIMIT_TEXT];
    if (tcgetattr(STDIN_FILENO, &shown) < 0) {
        complain("%s: the terminal cannot be told to hide what is typed: %s", typed->command, strerror(errno));
        return EXIT_FAILED;
    }
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)(typed->wake ? ECHO | ICANON : ECHO);
    if (typed->wake) {
        hidden.c_cc[VMIN] = 1;
        hidden.c_cc[VTIME] = 0;
    }
    for (size_t i = 0; i < ELEMENTS(signals); i++)
        (void)sigaction(signals[i], &action, &before[i]);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    text_clean_into(label, sizeof(label), span_of(typed->label));
    (void)dprintf(STDERR_FILENO, "%s: ", label);
    int r = read_all(typed, to, true);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    (void)dprintf(STDERR_FILENO, "\n");
    for (size_t i = 0; i < ELEMENTS(signals); i++)
        (void)sigaction(signals[i], &before[i], NULL);
    return r;
}

int typed_read(const struct typed *typed, struct buffer *to)
{
    *to = BUFFER(typed->most + 3); /* a line's end and a NUL */
    int r = isatty(STDIN_FILENO) ? ask(typed, to) : read_all(typed, to, typed->line);
    if (r != EXIT_DONE)
        return r;
    if (to->length > 0 && to->data[to->length - 1] == '\n')
        to->length--;
    if (to->length > 0 && to->data[to->length - 1] == '\r')
        to->length--;
    for (size_t i = 0; i < to->length; i++)
        if ((unsigned char)to->data[i] < 0x20 || to->data[i] == 0x7f) {
            complain("%s: it holds a line break or another control character", typed->command);
            return EXIT_USAGE;
        }
    if (to->length > typed->most) {
        complain("%s: it is longer than %zu bytes", typed->command, typed->most);
        return EXIT_USAGE;
    }
    if (to->data)
        to->data[to->length] = '\0';
    return EXIT_DONE;
}
