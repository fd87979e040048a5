#include "text.h"

#include "cleanup.h"
#include <stdbool.h>
#include <stdio.h>

/* None of eight bytes is below a space, DEL, or beyond ASCII. */
static bool plain_word(const char *p)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    uint64_t high = word & 0x80 * ones, low = (word - 0x20 * ones) & 0x80 * ones;
    uint64_t del = word ^ 0x7f * ones;
    return !high && !low && !((del - ones) & ~del & 0x80 * ones);
}

size_t text_plain(struct span text)
{
    size_t i = 0;
    while (text.length - i >= 8 && plain_word(text.data + i))
        i += 8;
    while (i < text.length && text.data[i] >= 0x20 && text.data[i] < 0x7f)
        i++;
    return i;
}

size_t text_decode(struct span text, uint32_t *ret)
{
    const unsigned char *p = (const unsigned char *)text.data;
    if (p[0] < 0x80) {
        *ret = p[0];
        return 1;
    }
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || text.length < length)
        return 0;
    uint32_t value = p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *ret = value;
    return length;
}

/* Characters that steer a terminal or reorder what a person reads. */
static bool deceives(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x34f, 0x34f},   {0x61c, 0x61c},     {0x115f, 0x1160},
        {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},   {0x3164, 0x3164},
        {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
    };
    if (c >= 0x20 && c < 0x7f)
        return false;
    for (size_t i = 0; i < ELEMENTS(ranges); i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

/* Writes one cleaned character to `to` (12 bytes), and tells how many input bytes it was. */
static size_t clean_one(struct span text, char to[static 12], size_t *written)
{
    uint32_t c;
    size_t length = text_decode(text, &c);
    int n;
    if (length == 0) {
        n = snprintf(to, 12, "\\x%02x", (unsigned char)text.data[0]);
        length = 1;
    } else if (deceives(c)) {
        n = c < 0x80 ? snprintf(to, 12, "\\x%02x", c) : snprintf(to, 12, "\\u{%x}", c);
    } else {
        memcpy(to, text.data, length);
        n = (int)length;
    }
    *written = (size_t)n;
    return length;
}

void text_clean(struct buffer *buffer, struct span text, size_t maximum)
{
    size_t done = 0;
    while (done < text.length) {
        char one[12];
        size_t written;
        size_t read = clean_one((struct span){text.data + done, text.length - done}, one, &written);
        if (done + read > maximum) {
            buffer_text(buffer, "...");
            return;
        }
        if (buffer_append(buffer, one, written) < 0)
            return;
        done += read;
    }
}

void text_clean_into(char *to, size_t size, struct span text)
{
    static const char dots[] = "...";
    size_t used = 0, cut = 0; /* `cut`: the last place where the dots would still fit */
    while (text.length > 0) {
        char one[12];
        size_t written;
        size_t read = clean_one(text, one, &written);
        if (used + sizeof(dots) <= size)
            cut = used;
        if (used + written + 1 > size) {
            used = cut;
            if (used + sizeof(dots) <= size) {
                memcpy(to + used, dots, sizeof(dots) - 1);
                used += sizeof(dots) - 1;
            }
            break;
        }
        memcpy(to + used, one, written);
        used += written;
        text.data += read;
        text.length -= read;
    }
    if (size > 0)
        to[used] = '\0';
}

void text_clean_json(struct buffer *buffer, struct span json)
{
    while (json.length > 0) {
        uint32_t c;
        size_t length = text_decode(json, &c);
        if (length == 0)
            buffer_text(buffer, "\\ufffd"), length = 1;
        else if (c > 0xffff && deceives(c))
            buffer_format(buffer, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
        else if (deceives(c) && c != '\n' && c != '\t')
            buffer_format(buffer, "\\u%04x", c);
        else
            buffer_append(buffer, json.data, length);
        json.data += length;
        json.length -= length;
    }
}

/* Optimal string alignment distance: a swap of neighbours counts as one, as typing does. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t n = strlen(a), m = strlen(b);
    size_t rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *text_nearest(const char *typed, const char *const *candidates, size_t count)
{
    const char *nearest = NULL;
    size_t best = strlen(typed) / 3 + 1; /* a third of the letters may be wrong */
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(typed, candidates[i]);
        if (d < best || (d == best && !nearest)) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}

void text_duration(char *to, size_t size, int64_t seconds)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    if (seconds < 0)
        seconds = 0;
    size_t i = 0;
    while (i < ELEMENTS(units) - 1 && seconds < units[i].seconds)
        i++;
    int64_t rest = seconds % units[i].seconds;
    int n = snprintf(to, size, "%lld %s", (long long)(seconds / units[i].seconds), units[i].name);
    if (i + 1 < ELEMENTS(units) && rest / units[i + 1].seconds > 0 && n > 0 && (size_t)n < size)
        (void)snprintf(to + n, size - (size_t)n, " %lld %s", (long long)(rest / units[i + 1].seconds),
                       units[i + 1].name);
}
