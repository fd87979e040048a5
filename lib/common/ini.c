#include "ini.h"

#include "limits.h"
#include "text.h"

/* Length of the UTF-8 sequence at p, or 0: overlong forms, surrogates and what is beyond U+10FFFF are invalid. */
static size_t sequence(const unsigned char *p, size_t left)
{
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        unsigned char least = p[0] == 0xe0 ? 0xa0 : 0x80, most = p[0] == 0xed ? 0x9f : 0xbf;
        return left >= 3 && p[1] >= least && p[1] <= most && (p[2] & 0xc0) == 0x80 ? 3 : 0;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        unsigned char least = p[0] == 0xf0 ? 0x90 : 0x80, most = p[0] == 0xf4 ? 0x8f : 0xbf;
        return left >= 4 && p[1] >= least && p[1] <= most && (p[2] & 0xc0) == 0x80 && (p[3] & 0xc0) == 0x80 ? 4 : 0;
    }
    return 0;
}

static const char *check_bytes(struct span line)
{
    const unsigned char *p = (const unsigned char *)line.data;
    size_t left = text_plain(line) == line.length ? 0 : line.length;
    while (left > 0) {
        size_t n = 1;
        if (p[0] == 0)
            return "holds a NUL byte; is this a text file?";
        else if (p[0] >= 0x80) {
            n = sequence(p, left);
            if (n == 0)
                return "is not UTF-8; save the file in that encoding";
            if (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)
                return "holds a control character; remove it";
        } else if ((p[0] < 0x20 && p[0] != '\t') || p[0] == 0x7f)
            return "holds a control character; remove it";
        p += n;
        left -= n;
    }
    return NULL;
}

static bool bad(struct ini_item *item, const char *problem)
{
    item->kind = INI_BAD;
    item->problem = problem;
    return true;
}

/* Reads one line, without its end: false when there is nothing on it. */
static bool read_line(struct span line, struct ini_item *item)
{
    struct span text = span_trim(line);
    item->opens = text.length > 0 && text.data[0] == '[';
    if (line.length > LIMIT_CONFIG_LINE)
        return bad(item, "the line is longer than 4096 bytes; shorten it");
    const char *problem = check_bytes(line);
    if (problem)
        return bad(item, problem);
    if (text.length == 0 || text.data[0] == '#' || text.data[0] == ';')
        return false;
    if (item->opens) {
        if (text.data[text.length - 1] != ']')
            return bad(item, "a section is one name in brackets alone on its line: [profile NAME]");
        item->kind = INI_SECTION;
        item->name = span_trim((struct span){text.data + 1, text.length - 2});
        return true;
    }
    const char *equals = memchr(text.data, '=', text.length);
    if (!equals)
        return bad(item, "is neither [section], nor key = value, nor a comment; a value cannot go on in the next line");
    size_t before = (size_t)(equals - text.data);
    item->name = span_trim((struct span){text.data, before});
    item->value = span_trim((struct span){equals + 1, text.length - before - 1});
    item->kind = INI_PAIR;
    if (item->name.length == 0)
        return bad(item, "there is no key before the =; write key = value");
    return true;
}

struct ini ini_open(struct span text)
{
    if (text.length >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        text.data += 3, text.length -= 3;
    return (struct ini){.rest = text};
}

/* Steps over a line, and returns it without its end. */
static struct span take_line(struct ini *ini)
{
    const char *end = memchr(ini->rest.data, '\n', ini->rest.length);
    size_t length = end ? (size_t)(end - ini->rest.data) : ini->rest.length;
    struct span line = {ini->rest.data, length};
    size_t taken = end ? length + 1 : length;
    ini->rest.data += taken;
    ini->rest.length -= taken;
    ini->line++;
    return line;
}

static bool opens_section(struct span text)
{
    size_t i = 0;
    while (i < text.length && (text.data[i] == ' ' || text.data[i] == '\t'))
        i++;
    return i < text.length && text.data[i] == '[';
}

struct ini ini_cut(struct ini *ini)
{
    struct ini cut = *ini;
    do
        (void)take_line(ini);
    while (ini->rest.length > 0 && !opens_section(ini->rest));
    cut.rest.length -= ini->rest.length;
    return cut;
}

bool ini_next(struct ini *ini, struct ini_item *ret)
{
    while (ini->rest.length > 0) {
        struct span line = take_line(ini);
        if (line.length > 0 && line.data[line.length - 1] == '\r')
            line.length--;
        *ret = (struct ini_item){.line = ini->line};
        if (read_line(line, ret))
            return true;
    }
    return false;
}
