#include "lines.h"

#include "base64url.h"
#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <inttypes.h>

static bool word_sound(struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if (!((text.data[i] >= 'a' && text.data[i] <= 'z') || text.data[i] == '_'))
            return false;
    return text.length > 0 && text.length <= LIMIT_LINE_NAME;
}

static bool name_sound(struct span text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
              c == '-'))
            return false;
    }
    return text.length > 0 && text.length <= LIMIT_LINE_NAME;
}

bool line_claim_sound(const char *claim)
{
    struct span text = span_of(claim);
    return name_sound(text) && text.length <= LIMIT_LINE_NAME - strlen("claim.") && text.data[0] != '-';
}

/* Fields that stand as often as they have values. */
static bool is_list(const char *name)
{
    static const char *const lists[] = {"group", "role", "verification_host"};
    for (size_t i = 0; i < ELEMENTS(lists); i++)
        if (strcmp(name, lists[i]) == 0)
            return true;
    return false;
}

void line_begin(struct buffer *line, const char *word)
{
    if (!word_sound(span_of(word)))
        buffer_fail(line, -EINVAL);
    buffer_text(line, word);
}

void line_put(struct buffer *line, const char *name, struct span value)
{
    if (!name_sound(span_of(name)))
        buffer_fail(line, -EINVAL);
    buffer_byte(line, ' ');
    buffer_text(line, name);
    buffer_byte(line, '=');
    size_t size = value.length <= LIMIT_LINE ? base64url_encoded_size(value.length) : SIZE_MAX;
    if (value.length == 0 || buffer_reserve(line, size) < 0)
        return;
    base64url_encode((const uint8_t *)value.data, value.length, line->data + line->length);
    line->length += size;
}

void line_put_text(struct buffer *line, const char *name, const char *value)
{
    line_put(line, name, span_of(value));
}

void line_put_number(struct buffer *line, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    line_put_text(line, name, text);
}

int line_end(struct buffer *line)
{
    buffer_byte(line, '\n');
    return buffer_error(line);
}

/* Cuts off what stands before the first `separator` in *rest and ends it with a NUL; the whole rest when there is none.
 */
static struct span cut(struct span *rest, char separator)
{
    char *end = memchr(rest->data, separator, rest->length);
    struct span part = {rest->data, end ? (size_t)(end - rest->data) : rest->length};
    rest->data += part.length + (end ? 1 : 0);
    rest->length -= part.length + (end ? 1 : 0);
    if (end)
        *end = '\0';
    return part;
}

/* Reads "name=value" and decodes the value where it stands: it never grows. */
static int read_field(struct span text, struct line_field *ret)
{
    struct span value = text, name = cut(&value, '=');
    if (name.length == text.length || !name_sound(name))
        return -EBADMSG;
    size_t length;
    uint8_t *to = (uint8_t *)(uintptr_t)value.data; /* it is the line's own memory */
    if (base64url_decode(value, to, value.length, &length) < 0)
        return -EBADMSG;
    to[length] = '\0';
    *ret = (struct line_field){.name = name.data, .value = {value.data, length}};
    return 0;
}

static bool seen(const struct line *line, const char *name)
{
    for (size_t i = 0; i < line->count; i++)
        if (strcmp(line->fields[i].name, name) == 0)
            return true;
    return false;
}

static int read_fields(struct span rest, struct line *line)
{
    while (rest.length > 0) {
        if (line->count >= LIMIT_LINE_FIELDS)
            return -EMSGSIZE;
        struct span text = cut(&rest, ' ');
        struct line_field *field = &line->fields[line->count];
        int r = read_field(text, field);
        if (r < 0)
            return r;
        if (!is_list(field->name) && seen(line, field->name))
            return -EBADMSG;
        line->count++;
    }
    return 0;
}

static size_t count_fields(struct span text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length && count < LIMIT_LINE_FIELDS; i++)
        count += text.data[i] == ' ';
    return count;
}

static int make_room(struct span text, struct line *line)
{
    line->bytes = malloc(text.length + 1);
    line->fields = calloc(count_fields(text) + 1, sizeof(*line->fields));
    return line->bytes && line->fields ? 0 : -ENOMEM;
}

int line_parse(struct span text, struct line *ret)
{
    if (text.length > LIMIT_LINE)
        return -EMSGSIZE;
    if (text.length == 0 || text.data[text.length - 1] == ' ' || memchr(text.data, '\0', text.length))
        return -EBADMSG;
    _cleanup_line_ struct line line = {.length = text.length};
    int r = make_room(text, &line);
    if (r < 0)
        return r;
    memcpy(line.bytes, text.data, text.length);
    line.bytes[text.length] = '\0';
    struct span rest = {line.bytes, text.length}, word = cut(&rest, ' ');
    if (!word_sound(word))
        return -EBADMSG;
    line.word = word.data;
    r = read_fields(rest, &line);
    if (r < 0)
        return r;
    *ret = line;
    line = (struct line){0};
    return 0;
}

void line_free(struct line *line)
{
    if (line->bytes)
        explicit_bzero(line->bytes, line->length);
    free(line->bytes);
    free(line->fields);
    *line = (struct line){0};
}

const struct line_field *line_next(const struct line *line, const char *name, size_t *at)
{
    while (*at < line->count) {
        const struct line_field *field = &line->fields[(*at)++];
        if (strcmp(field->name, name) == 0)
            return field;
    }
    return NULL;
}

const struct line_field *line_find(const struct line *line, const char *name)
{
    size_t at = 0;
    return line_next(line, name, &at);
}

int line_text(const struct line *line, const char *name, const char **ret)
{
    const struct line_field *field = line_find(line, name);
    if (!field)
        return -ENOENT;
    if (memchr(field->value.data, '\0', field->value.length))
        return -EBADMSG;
    *ret = field->value.data;
    return 0;
}

int line_number(const struct line *line, const char *name, int64_t *ret)
{
    const char *text;
    int r = line_text(line, name, &text);
    if (r < 0)
        return r;
    const char *digits = text + (*text == '-');
    size_t length = strlen(digits);
    if (length == 0 || length > 18 || strspn(digits, "0123456789") != length)
        return -EBADMSG;
    *ret = strtoll(text, NULL, 10);
    return 0;
}

int lines_feed(struct lines *lines, const void *bytes, size_t length)
{
    if (!lines->error && buffer_append(&lines->bytes, bytes, length) < 0)
        lines->error = buffer_error(&lines->bytes);
    return lines->error;
}

int lines_next(struct lines *lines, struct line *ret)
{
    if (lines->error)
        return lines->error;
    struct span text = buffer_span(&lines->bytes);
    const char *end = text.length > 0 ? memchr(text.data, '\n', text.length) : NULL;
    if (!end) {
        if (text.length > LIMIT_LINE)
            lines->error = -EMSGSIZE;
        return lines->error;
    }
    size_t length = (size_t)(end - text.data);
    lines->error = line_parse((struct span){text.data, length}, ret);
    buffer_consume(&lines->bytes, length + 1);
    return lines->error ? lines->error : 1;
}

bool lines_partial(const struct lines *lines)
{
    return lines->bytes.length > 0;
}

void lines_free(struct lines *lines)
{
    buffer_free(&lines->bytes);
    lines->error = 0;
}
