#include "acquire/visit.h"

#include "cleanup.h"
#include <errno.h>
#include <strings.h>

static bool is_name(struct span text)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (c == '\0' || !strchr(marks, c)))
            return false;
    }
    return text.length > 0;
}

static bool is_named(struct span name, const char *text)
{
    return name.length == strlen(text) && strncasecmp(name.data, text, name.length) == 0;
}

static int put_once(struct span *place, struct span value)
{
    if (place->data)
        return -EBADMSG;
    *place = value;
    return 0;
}

static int take_header(struct visit *visit, struct span line)
{
    const char *colon = memchr(line.data, ':', line.length);
    struct span name = {line.data, colon ? (size_t)(colon - line.data) : 0};
    if (!is_name(name))
        return -EBADMSG;
    struct span value = span_trim((struct span){colon + 1, line.length - name.length - 1});
    if (is_named(name, "Host"))
        return put_once(&visit->host, value);
    if (is_named(name, "Cookie"))
        return put_once(&visit->cookie, value);
    visit->ahead |= is_named(name, "Sec-Purpose") || is_named(name, "Purpose") || is_named(name, "X-Moz");
    return 0;
}

static int take_line(struct visit *visit, struct span line)
{
    static const char get[] = "GET ";
    const char *blank = memchr(line.data, ' ', line.length);
    if (!blank || !is_name((struct span){line.data, (size_t)(blank - line.data)}))
        return -EBADMSG;
    if (line.length < sizeof(get) || memcmp(line.data, get, sizeof(get) - 1) != 0)
        return -ENOTSUP;
    struct span target = {blank + 1, line.length - sizeof(get) + 1};
    const char *end = memchr(target.data, ' ', target.length);
    struct span version = {end ? end + 1 : NULL, end ? target.length - (size_t)(end + 1 - target.data) : 0};
    if (!span_equals(version, span_of("HTTP/1.1")) && !span_equals(version, span_of("HTTP/1.0")))
        return -EBADMSG;
    target.length = (size_t)(end - target.data);
    if (target.length == 0 || target.data[0] != '/' || memchr(target.data, '#', target.length))
        return -EBADMSG;
    const char *mark = memchr(target.data, '?', target.length);
    visit->path = (struct span){target.data, mark ? (size_t)(mark - target.data) : target.length};
    if (mark)
        visit->query = (struct span){mark + 1, target.length - visit->path.length - 1};
    return 0;
}

int visit_read(struct span text, struct visit *ret)
{
    static const char end[] = "\r\n\r\n";
    const char *last = text.length ? memmem(text.data, text.length, end, strlen(end)) : NULL;
    if (!last)
        return -EAGAIN;
    struct span head = {text.data, (size_t)(last + 2 - text.data)};
    struct visit visit = {0};
    bool first = true;
    for (size_t i = 0; i < head.length; i++) {
        unsigned char c = (unsigned char)head.data[i];
        bool line_end = (c == '\r' && head.data[i + 1] == '\n') || (c == '\n' && i > 0 && head.data[i - 1] == '\r');
        if ((c < 0x20 && c != '\t' && !line_end) || c == 0x7f)
            return -EBADMSG;
    }
    while (head.length > 0) {
        struct span line = {head.data, (size_t)((char *)memchr(head.data, '\r', head.length) - head.data)};
        int r = first ? take_line(&visit, line) : take_header(&visit, line);
        if (r < 0)
            return r;
        first = false;
        head.data += line.length + 2;
        head.length -= line.length + 2;
    }
    if (!visit.host.data)
        return -EBADMSG;
    *ret = visit;
    return 0;
}

bool visit_has_cookie(const struct visit *visit, const char *name, const char *value)
{
    struct span rest = visit->cookie;
    bool found = false;
    while (rest.length > 0) {
        const char *end = memchr(rest.data, ';', rest.length);
        size_t length = end ? (size_t)(end - rest.data) : rest.length;
        struct span pair = span_trim((struct span){rest.data, length});
        const char *equals = pair.length ? memchr(pair.data, '=', pair.length) : NULL;
        size_t cut = equals ? (size_t)(equals - pair.data) : 0;
        if (equals && span_equals((struct span){pair.data, cut}, span_of(name)))
            found |= span_equals_secret((struct span){equals + 1, pair.length - cut - 1}, span_of(value));
        length += end ? 1 : 0;
        rest.data += length;
        rest.length -= length;
    }
    return found;
}
