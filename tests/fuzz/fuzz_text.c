/* libFuzzer: any bytes, made fit for people. What comes out is valid UTF-8 without anything that steers a terminal or
 * reorders what is read, in the bounds that were given, and clean text comes through as it is. */
#include "text.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hold(bool truth)
{
    if (!truth)
        abort();
}

/* Written anew, not taken from text.c: the two must agree. */
static bool forbidden(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xe0000 && c <= 0xe0fff);
}

/* RFC 3629, table of section 4: the length of the first character, or 0. */
static size_t character(const uint8_t *p, size_t length, uint32_t *ret)
{
    static const struct {
        uint8_t first, last, low, high;
        size_t length;
    } forms[] = {{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                 {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                 {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (p[0] < forms[i].first || p[0] > forms[i].last || length < forms[i].length)
            continue;
        uint32_t value = forms[i].length == 1 ? p[0] : p[0] & (0x7fu >> forms[i].length);
        for (size_t k = 1; k < forms[i].length; k++) {
            if (p[k] < (k == 1 ? forms[i].low : 0x80) || p[k] > (k == 1 ? forms[i].high : 0xbf))
                return 0;
            value = value << 6 | (p[k] & 0x3fu);
        }
        *ret = value;
        return forms[i].length;
    }
    return 0;
}

/* Whether all of it is characters that people may be shown; `lines`: newlines and tabs as well. */
static bool clean(const char *text, size_t length, bool lines)
{
    const uint8_t *p = (const uint8_t *)text;
    for (size_t done = 0, step; done < length; done += step) {
        uint32_t c = 0;
        step = character(p + done, length - done, &c);
        if (step == 0 || (forbidden(c) && !(lines && (c == '\n' || c == '\t'))))
            return false;
    }
    return true;
}

static void check_into(struct span text, size_t room)
{
    char *to = malloc(room ? room : 1); /* of exactly that size: a byte too far is seen */
    hold(to != NULL);
    text_clean_into(to, room, text);
    if (room > 0) {
        size_t length = strnlen(to, room);
        hold(length < room && clean(to, length, false));
    }
    free(to);
}

static void check_buffer(struct span text, size_t maximum)
{
    _cleanup_buffer_ struct buffer buffer = BUFFER(1 << 20), json = BUFFER(1 << 20);
    text_clean(&buffer, text, maximum);
    hold(buffer.length == 0 || clean(buffer.data, buffer.length, false));
    hold(buffer.length <= 10 * (maximum < text.length ? maximum : text.length) + 3);
    text_clean_json(&json, text);
    hold(json.length == 0 || clean(json.data, json.length, true));
}

static void check_decode(struct span text)
{
    for (size_t done = 0; done < text.length; done++) {
        uint32_t ours = 0, theirs = 0;
        struct span rest = {text.data + done, text.length - done};
        size_t length = text_decode(rest, &theirs);
        hold(length == character((const uint8_t *)rest.data, rest.length, &ours));
        hold(length == 0 || ours == theirs);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return -1;
    char *copy = malloc(size > 1 ? size - 1 : 1); /* without the first byte, which is a bound; of exactly that size */
    hold(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct span text = {copy, size - 1};
    check_into(text, data[0]);
    check_buffer(text, data[0]);
    check_buffer(text, SIZE_MAX);
    check_decode(text);
    free(copy);
    return 0;
}
