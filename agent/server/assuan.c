#include "server/assuan.h"

#include <errno.h>
#include <stdint.h>

enum { MOST_DIGITS = 10 }; /* of an error code: 32 bits */

#define CODE_MASK 0xffffu /* of gpg_error_t: the rest is the source */

int assuan_command(struct buffer *to, const char *command, const char *argument)
{
    _cleanup_buffer_ struct buffer line = BUFFER(ASSUAN_LINE);
    buffer_text(&line, command);
    if (argument)
        buffer_byte(&line, ' ');
    for (const char *at = argument; at && *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f || *at == '%')
            buffer_format(&line, "%%%02X", (unsigned char)*at);
        else
            buffer_byte(&line, *at);
    }
    if (buffer_error(&line))
        return buffer_error(&line);
    int r = buffer_reserve(to, line.length + 1);
    if (r == 0)
        r = buffer_append(to, line.data, line.length);
    return r < 0 ? r : buffer_byte(to, '\n');
}

/* Whether the line is that word alone, or the word and a blank. */
static bool begins(struct span line, const char *word)
{
    size_t length = strlen(word);
    return line.length >= length && memcmp(line.data, word, length) == 0 &&
           (line.length == length || line.data[length] == ' ');
}

static struct span behind(struct span line, size_t count)
{
    while (count < line.length && line.data[count] == ' ')
        count++;
    return count < line.length ? (struct span){line.data + count, line.length - count} : (struct span){line.data, 0};
}

static enum assuan_kind read_error(struct span rest, struct assuan_line *ret)
{
    uint64_t code = 0;
    size_t digits = 0;
    while (digits < rest.length && rest.data[digits] >= '0' && rest.data[digits] <= '9' && digits <= MOST_DIGITS)
        code = code * 10 + (uint64_t)(rest.data[digits++] - '0');
    if (digits == 0 || digits > MOST_DIGITS || (digits < rest.length && rest.data[digits] != ' '))
        return ASSUAN_GARBAGE;
    ret->code = (unsigned)(code & CODE_MASK);
    ret->text = behind(rest, digits);
    return ASSUAN_ERROR;
}

static enum assuan_kind read_line(struct span line, struct assuan_line *ret)
{
    if (line.length > 0 && line.data[line.length - 1] == '\r')
        line.length--;
    if (line.length > ASSUAN_LINE || memchr(line.data, '\0', line.length))
        return ASSUAN_GARBAGE;
    if (line.length == 0 || line.data[0] == '#' || begins(line, "S") || begins(line, "D"))
        return ASSUAN_ASIDE;
    if (begins(line, "OK")) {
        ret->text = behind(line, 2);
        return ASSUAN_OK;
    }
    return begins(line, "ERR") ? read_error(behind(line, 3), ret) : ASSUAN_GARBAGE;
}

size_t assuan_next(struct span input, struct assuan_line *ret)
{
    const char *end = input.length ? memchr(input.data, '\n', input.length) : NULL;
    *ret = (struct assuan_line){.kind = ASSUAN_MORE};
    if (!end && input.length <= ASSUAN_LINE + 1) /* one more for a carriage return */
        return 0;
    size_t length = end ? (size_t)(end - input.data) : input.length;
    ret->kind = end ? read_line((struct span){input.data, length}, ret) : ASSUAN_GARBAGE;
    return end ? length + 1 : length;
}
