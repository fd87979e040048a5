#include "typed.h"

#include "cleanup.h"
#include "command.h"
#include "limits.h"
#include "output.h"
#include "text.h"
#include <errno.h>
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

/* To the end, or to the end of the line. */
static int read_all(const struct typed *typed, struct buffer *to, bool line)
{
    while (!interrupted && !(line && cut_line(to))) {
        if (buffer_reserve(to, 1) < 0) {
            complain("%s: it is longer than %zu bytes", typed->command, typed->most);
            return EXIT_USAGE;
        }
        ssize_t n = read(STDIN_FILENO, to->data + to->length, to->capacity - to->length - 1);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR) {
            complain("%s: cannot read it: %s", typed->command, strerror(errno));
            return EXIT_FAILED;
        }
        to->length += n > 0 ? (size_t)n : 0;
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
    hidden.c_lflag &= ~(tcflag_t)ECHO;
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
