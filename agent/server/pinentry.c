#include "server/pinentry.h"

#include "cleanup.h"
#include "server/assuan.h"
#include "text.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

/* libgpg-error's codes for what a person does */
enum { CODE_TIMEOUT = 62, CODE_CANCELED = 99, CODE_NOT_CONFIRMED = 114, CODE_FULLY_CANCELED = 198 };

enum { LONGEST_SHOWN = 400, SHORTEST_SHOWN = 50, SHOWN_SIZE = LONGEST_SHOWN + 8 };

/* ---- what is shown ---- */

/* Some pinentries take a label with a tag in it for HTML. */
static void without_markup(char *text)
{
    for (; *text; text++)
        if (*text == '<' || *text == '&')
            *text = '?';
}

static void show(char to[static SHOWN_SIZE], const char *text, size_t maximum)
{
    text_clean_into(to, maximum < SHOWN_SIZE ? maximum : SHOWN_SIZE, span_of(text));
    without_markup(to);
}

static bool is_continuation(char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Of a long path the middle goes: where a program lies tells as much as its name. */
static void show_path(char to[static SHOWN_SIZE], const char *path, size_t maximum)
{
    char clean[4 * LIMIT_AUDIT_EXECUTABLE + 8];
    text_clean_into(clean, sizeof(clean), span_of(path));
    without_markup(clean);
    size_t length = strlen(clean), head = length, tail = length;
    if (length > maximum) {
        head = (maximum - 3) / 2;
        tail = length - head;
        while (head > 0 && is_continuation(clean[head]))
            head--;
        while (is_continuation(clean[tail]))
            tail++;
    }
    (void)snprintf(to, SHOWN_SIZE, "%.*s%s%s", (int)head, clean, head < length ? "..." : "", clean + tail);
}

static void describe(struct buffer *to, const struct pinentry_question *question, size_t maximum)
{
    char shown[SHOWN_SIZE];
    buffer_text(to, "A program asks mltoken for a token.\n\n");
    show_path(shown, question->program, maximum);
    buffer_format(to, "Program: %s", shown);
    if (question->pid > 0)
        buffer_format(to, " (pid %ld)", question->pid);
    if (*question->application) {
        show(shown, question->application, maximum);
        buffer_format(to, "\nIt calls itself \"%s\": its own word, not checked", shown);
    }
    buffer_format(to, "\nProfile: %s", question->profile);
    if (*question->account) {
        show(shown, question->account, maximum);
        buffer_format(to, "\nAccount: %s", shown);
    }
}

/* Shorter until it fits into a line. */
static int say_description(struct buffer *say, const struct pinentry_question *question)
{
    int r = -EMSGSIZE;
    for (size_t maximum = LONGEST_SHOWN; r == -EMSGSIZE && maximum >= SHORTEST_SHOWN; maximum /= 2) {
        _cleanup_buffer_ struct buffer text = BUFFER(4 * LONGEST_SHOWN);
        describe(&text, question, maximum);
        r = buffer_error(&text) ? buffer_error(&text) : assuan_command(say, "SETDESC", text.data);
    }
    return r;
}

/* ---- what is said ---- */

static int say_option(struct buffer *say, const char *name, const char *value)
{
    char option[LIMIT_TEXT];
    (void)snprintf(option, sizeof(option), "%s=%s", name, value);
    return assuan_command(say, "OPTION", option);
}

/* Of the terminal's kind nothing is known from here; these two are understood by nearly all there are. */
static const char *kind_of(const char *terminal)
{
    return strncmp(terminal, "/dev/pts/", 9) == 0 ? "xterm" : "linux";
}

enum step { GREETING, TERMINAL, TERMINAL_KIND, CHARACTERS, PATIENCE, TITLE, DESCRIPTION, YES, NO, QUESTION };

/* 1: there is nothing to say at this step. */
static int say_step(struct buffer *say, enum step step, const struct pinentry_question *question)
{
    char seconds[16];
    switch (step) {
    case GREETING:
        return 1;
    case TERMINAL:
        return *question->terminal ? say_option(say, "ttyname", question->terminal) : 1;
    case TERMINAL_KIND:
        return *question->terminal ? say_option(say, "ttytype", kind_of(question->terminal)) : 1;
    case CHARACTERS:
        return *question->locale ? say_option(say, "lc-ctype", question->locale) : 1;
    case PATIENCE:
        (void)snprintf(seconds, sizeof(seconds), "%d", question->timeout_s);
        return assuan_command(say, "SETTIMEOUT", seconds);
    case TITLE:
        return assuan_command(say, "SETTITLE", "mltoken");
    case DESCRIPTION:
        return say_description(say, question);
    case YES:
        return assuan_command(say, "SETOK", "Allow");
    case NO:
        return assuan_command(say, "SETCANCEL", "Deny");
    case QUESTION:
        break;
    }
    return assuan_command(say, "CONFIRM", NULL);
}

/* Without these nobody would know what is asked. */
static bool is_needed(enum step step)
{
    return step == GREETING || step == DESCRIPTION || step == QUESTION;
}

/* ---- what is heard ---- */

static enum pinentry_verdict broken(struct pinentry *pinentry, const char *problem)
{
    text_clean_into(pinentry->problem, sizeof(pinentry->problem), span_of(problem));
    return PINENTRY_BROKEN;
}

static enum pinentry_verdict refused(struct pinentry *pinentry, const struct assuan_line *line)
{
    static const char said[] = "it says: ";
    if (pinentry->step == QUESTION) {
        if (line->code == CODE_TIMEOUT)
            return PINENTRY_TIMEOUT;
        if (line->code == CODE_CANCELED || line->code == CODE_FULLY_CANCELED || line->code == CODE_NOT_CONFIRMED)
            return PINENTRY_DENIED;
    }
    (void)snprintf(pinentry->problem, sizeof(pinentry->problem), "%s", said);
    text_clean_into(pinentry->problem + sizeof(said) - 1, sizeof(pinentry->problem) - sizeof(said) + 1, line->text);
    return PINENTRY_BROKEN;
}

static enum pinentry_verdict take_line(struct pinentry *pinentry, const struct assuan_line *line, struct buffer *say)
{
    if (line->kind == ASSUAN_ASIDE)
        return PINENTRY_TALKS;
    if (line->kind == ASSUAN_GARBAGE)
        return broken(pinentry, "it does not speak pinentry's protocol");
    if (line->kind == ASSUAN_ERROR && is_needed((enum step)pinentry->step))
        return refused(pinentry, line);
    if (pinentry->step == QUESTION)
        return PINENTRY_ALLOWED;
    int r = 1;
    while (r == 1)
        r = say_step(say, (enum step)++ pinentry->step, pinentry->question);
    return r < 0 ? broken(pinentry, "out of memory") : PINENTRY_TALKS;
}

enum pinentry_verdict pinentry_hear(struct pinentry *pinentry, struct span bytes, struct buffer *say)
{
    struct buffer *in = &pinentry->in;
    in->maximum = LIMIT_PINENTRY;
    pinentry->heard += bytes.length;
    if (pinentry->heard > LIMIT_PINENTRY || buffer_append(in, bytes.data, bytes.length) < 0)
        return broken(pinentry, "it says too much");
    for (;;) {
        struct assuan_line line;
        size_t length = assuan_next(buffer_span(in), &line);
        if (line.kind == ASSUAN_MORE)
            return PINENTRY_TALKS;
        if (say->length > 0 && line.kind != ASSUAN_ASIDE) /* no answer to what it has not been told yet */
            return broken(pinentry, "it answers before it is asked");
        enum pinentry_verdict verdict = take_line(pinentry, &line, say);
        if (verdict != PINENTRY_TALKS)
            return verdict;
        buffer_consume(in, length);
    }
}

void pinentry_clear(struct pinentry *pinentry)
{
    buffer_free(&pinentry->in);
}
