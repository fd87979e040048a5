#include "grant/redirect_answer.h"

#include "buffer.h"
#include "cleanup.h"
#include "limits.h"
#include <errno.h>

void redirect_answer_clear(struct redirect_answer *answer)
{
    char **const all[] = {&answer->state, &answer->code, &answer->issuer, &answer->error, &answer->description};
    for (size_t i = 0; i < ELEMENTS(all); i++)
        *all[i] = wipe_free(*all[i]);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(struct span text, char **ret)
{
    _cleanup_buffer_ struct buffer plain = BUFFER(LIMIT_REDIRECT);
    buffer_text(&plain, "");
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i] == '+' ? ' ' : text.data[i];
        if (c == '%') {
            int high = i + 2 < text.length ? hex_value(text.data[i + 1]) : -1;
            int low = high >= 0 ? hex_value(text.data[i + 2]) : -1;
            if (low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return -EINVAL;
        buffer_byte(&plain, c);
    }
    if (buffer_error(&plain))
        return buffer_error(&plain);
    *ret = plain.length ? buffer_take(&plain) : strdup("");
    return *ret ? 0 : -ENOMEM;
}

/* The part between ? and #. */
static struct span query_of(struct span text)
{
    text = span_trim(text);
    const char *mark = text.length ? memchr(text.data, '?', text.length) : NULL;
    if (mark) {
        text.length -= (size_t)(mark + 1 - text.data);
        text.data = mark + 1;
    }
    const char *fragment = text.length ? memchr(text.data, '#', text.length) : NULL;
    if (fragment)
        text.length = (size_t)(fragment - text.data);
    return text;
}

static int take(struct redirect_answer *answer, struct span name, struct span value)
{
    const struct {
        const char *name;
        char **place;
    } known[] = {{"state", &answer->state},
                 {"code", &answer->code},
                 {"iss", &answer->issuer},
                 {"error", &answer->error},
                 {"error_description", &answer->description}};
    for (size_t i = 0; i < ELEMENTS(known); i++)
        if (span_equals(name, span_of(known[i].name)))
            return *known[i].place ? -EINVAL : decode(value, known[i].place);
    return 0;
}

int redirect_answer_read(struct span text, struct redirect_answer *ret)
{
    if (text.length > LIMIT_REDIRECT)
        return -EMSGSIZE;
    struct span rest = query_of(text);
    while (rest.length > 0) {
        const char *end = memchr(rest.data, '&', rest.length);
        size_t length = end ? (size_t)(end - rest.data) : rest.length;
        const char *equals = memchr(rest.data, '=', length);
        size_t name = equals ? (size_t)(equals - rest.data) : length, skip = name < length ? name + 1 : length;
        int r = take(ret, (struct span){rest.data, name}, (struct span){rest.data + skip, length - skip});
        if (r < 0)
            return r;
        length += end ? 1 : 0;
        rest.data += length;
        rest.length -= length;
    }
    return 0;
}

bool redirect_answer_is_for(struct span text, const char *state)
{
    struct redirect_answer answer = {0};
    bool is = redirect_answer_read(text, &answer) == 0 && answer.state &&
              span_equals_secret(span_of(answer.state), span_of(state));
    redirect_answer_clear(&answer);
    return is;
}
