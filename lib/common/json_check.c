#include "json_check.h"

#include "text.h"

static void skip_blanks(struct span *rest)
{
    while (rest->length > 0 &&
           (*rest->data == ' ' || *rest->data == '\t' || *rest->data == '\r' || *rest->data == '\n'))
        rest->data++, rest->length--;
}

static bool take(struct span *rest, char byte)
{
    if (rest->length == 0 || *rest->data != byte)
        return false;
    rest->data++;
    rest->length--;
    return true;
}

static bool take_word(struct span *rest, const char *word)
{
    size_t length = strlen(word);
    if (rest->length < length || memcmp(rest->data, word, length) != 0)
        return false;
    rest->data += length;
    rest->length -= length;
    return true;
}

static size_t take_digits(struct span *rest)
{
    size_t count = 0;
    while (rest->length > 0 && *rest->data >= '0' && *rest->data <= '9')
        rest->data++, rest->length--, count++;
    return count;
}

static bool check_number(struct span *rest)
{
    (void)take(rest, '-');
    if (!take(rest, '0') && take_digits(rest) == 0)
        return false;
    if (take(rest, '.') && take_digits(rest) == 0)
        return false;
    if (take(rest, 'e') || take(rest, 'E')) {
        if (!take(rest, '+'))
            (void)take(rest, '-');
        return take_digits(rest) > 0;
    }
    return true;
}

/* After the backslash; *nul when it stands for U+0000 */
static bool check_escape(struct span *rest, bool *nul)
{
    if (rest->length == 0)
        return false;
    if (!take(rest, 'u')) {
        bool known = *rest->data && strchr("\"\\/bfnrt", *rest->data);
        rest->data++, rest->length--;
        return known;
    }
    if (rest->length < 4)
        return false;
    for (size_t i = 0; i < 4; i++)
        if (!rest->data[i] || !strchr("0123456789abcdefABCDEF", rest->data[i]))
            return false;
    *nul = *nul || memcmp(rest->data, "0000", 4) == 0;
    rest->data += 4;
    rest->length -= 4;
    return true;
}

/* Steps to the string's end, if it holds nothing that has to be looked at one by one. */
static void skip_plain(struct span *rest)
{
    const char *end = rest->length > 0 ? memchr(rest->data, '"', rest->length) : NULL;
    size_t length = end ? (size_t)(end - rest->data) : 0;
    if (length == 0 || memchr(rest->data, '\\', length) || text_plain((struct span){rest->data, length}) < length)
        return;
    rest->data += length;
    rest->length -= length;
}

static bool check_string(struct span *rest, bool name)
{
    bool nul = false;
    if (!take(rest, '"'))
        return false;
    skip_plain(rest);
    while (rest->length > 0) {
        unsigned char byte = (unsigned char)*rest->data;
        uint32_t character;
        size_t length = 1;
        if (byte < 0x20)
            return false;
        if (byte >= 0x80)
            length = text_decode(*rest, &character);
        if (length == 0)
            return false;
        rest->data += length;
        rest->length -= length;
        if (byte == '"')
            return !(name && nul);
        if (byte == '\\' && !check_escape(rest, &nul))
            return false;
    }
    return false;
}

static bool check_value(struct span *rest, int depth);

static bool check_members(struct span *rest, int depth, char end)
{
    skip_blanks(rest);
    if (take(rest, end))
        return true;
    for (;;) {
        if (end == '}') {
            skip_blanks(rest);
            if (!check_string(rest, true))
                return false;
            skip_blanks(rest);
            if (!take(rest, ':'))
                return false;
        }
        if (!check_value(rest, depth))
            return false;
        if (take(rest, end))
            return true;
        if (!take(rest, ','))
            return false;
    }
}

/* Bounded by `depth`, which is a limit of ours */
static bool check_value(struct span *rest, int depth)
{
    bool good;
    skip_blanks(rest);
    if (rest->length == 0)
        return false;
    char first = *rest->data;
    if (first == '{' || first == '[') {
        rest->data++, rest->length--;
        good = depth > 0 && check_members(rest, depth - 1, first == '{' ? '}' : ']');
    } else if (first == '"') {
        good = check_string(rest, false);
    } else {
        good = take_word(rest, "true") || take_word(rest, "false") || take_word(rest, "null") || check_number(rest);
    }
    skip_blanks(rest);
    return good;
}

bool json_check(struct span text, int depth)
{
    return check_value(&text, depth) && text.length == 0;
}
