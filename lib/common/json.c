#include "json.h"

#include "cleanup.h"
#include "json_check.h"
#include "text.h"
#include <errno.h>
#include <limits.h>
#include <math.h>

static void tokener_free(json_tokener **tokener)
{
    if (!*tokener)
        return;
    if ((*tokener)->pb && (*tokener)->pb->buf)
        explicit_bzero((*tokener)->pb->buf, (size_t)(*tokener)->pb->size);
    json_tokener_free(*tokener);
}

int json_parse(const char *text, size_t length, int depth, json_object **ret)
{
    if (length > INT_MAX || !json_check((struct span){text, length}, depth))
        return -EBADMSG;
    /* json-c counts the value inside the innermost container as a level of its own */
    __attribute__((cleanup(tokener_free))) json_tokener *tokener = json_tokener_new_ex(depth + 1);
    if (!tokener)
        return -ENOMEM;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    json_object *value = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    /* a number alone, whose end json-c sees only when a space follows; out of memory */
    if (error != json_tokener_success ||
        !(json_object_is_type(value, json_type_object) || json_object_is_type(value, json_type_array) ||
          json_object_is_type(value, json_type_string))) {
        json_wipe(value);
        return -EBADMSG;
    }
    *ret = value;
    return 0;
}

int json_member(json_object *object, const char *name, json_object **ret)
{
    json_object *member = NULL;
    if (!json_object_is_type(object, json_type_object) || !json_object_object_get_ex(object, name, &member) || !member)
        return -ENOENT;
    *ret = member;
    return 0;
}

int json_bytes(json_object *object, const char *name, size_t maximum, struct span *ret)
{
    json_object *member;
    if (json_member(object, name, &member) < 0)
        return -ENOENT;
    if (!json_object_is_type(member, json_type_string))
        return -EINVAL;
    size_t length = (size_t)json_object_get_string_len(member);
    if (length > maximum)
        return -EINVAL;
    *ret = (struct span){.data = json_object_get_string(member), .length = length};
    return 0;
}

int json_string(json_object *object, const char *name, size_t maximum, const char **ret)
{
    struct span span;
    int r = json_bytes(object, name, maximum, &span);
    if (r < 0)
        return r;
    for (size_t i = text_plain(span); i < span.length; i++)
        if ((unsigned char)span.data[i] < 0x20 || span.data[i] == 0x7f)
            return -EINVAL;
    *ret = span.data;
    return 0;
}

int json_integer(json_object *object, const char *name, int64_t *ret)
{
    json_object *member;
    if (json_member(object, name, &member) < 0)
        return -ENOENT;
    if (!json_object_is_type(member, json_type_int))
        return -EINVAL;
    int64_t value = json_object_get_int64(member);
    if (json_object_get_uint64(member) > INT64_MAX || value == INT64_MIN) /* json-c clamps what does not fit */
        return -EINVAL;
    *ret = value;
    return 0;
}

static int decimal(struct span text, int64_t *ret)
{
    if (text.length == 0 || text.length > 19)
        return -EINVAL;
    char digits[24] = "";
    memcpy(digits, text.data, text.length);
    char *end;
    errno = 0;
    long long value = strtoll(digits, &end, 10);
    if (errno || end != digits + text.length || (digits[0] != '-' && (digits[0] < '0' || digits[0] > '9')))
        return -EINVAL;
    *ret = value;
    return 0;
}

int json_number(json_object *object, const char *name, int64_t *ret)
{
    json_object *member;
    if (json_member(object, name, &member) < 0)
        return -ENOENT;
    struct span text;
    if (json_bytes(object, name, 32, &text) == 0)
        return decimal(text, ret);
    if (json_object_is_type(member, json_type_double)) {
        double value = json_object_get_double(member);
        if (!isfinite(value) || value < -1e15 || value > 1e15)
            return -EINVAL;
        *ret = (int64_t)value;
        return 0;
    }
    return json_integer(object, name, ret);
}

int json_boolean(json_object *object, const char *name, bool *ret)
{
    json_object *member;
    if (json_member(object, name, &member) < 0)
        return -ENOENT;
    if (!json_object_is_type(member, json_type_boolean))
        return -EINVAL;
    *ret = json_object_get_boolean(member);
    return 0;
}

int json_array(json_object *object, const char *name, json_object **ret)
{
    json_object *member;
    if (json_member(object, name, &member) < 0)
        return -ENOENT;
    if (!json_object_is_type(member, json_type_array))
        return -EINVAL;
    *ret = member;
    return 0;
}

int json_put(json_object *object, const char *name, json_object *value)
{
    if (!value)
        return -ENOMEM;
    if (!object || json_object_object_add(object, name, value) < 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

int json_put_text(json_object *object, const char *name, const char *text)
{
    return text ? json_put(object, name, json_object_new_string(text)) : 0;
}

int json_put_integer(json_object *object, const char *name, int64_t value)
{
    return json_put(object, name, json_object_new_int64(value));
}

int json_put_time(json_object *object, const char *name, int64_t epoch_s)
{
    return epoch_s < 0 ? 0 : json_put_integer(object, name, epoch_s);
}

int json_put_boolean(json_object *object, const char *name, bool value)
{
    return json_put(object, name, json_object_new_boolean(value));
}

static void wipe_strings(json_object *object)
{
    if (json_object_is_type(object, json_type_string)) {
        explicit_bzero((char *)(uintptr_t)json_object_get_string(object), (size_t)json_object_get_string_len(object));
    } else if (json_object_is_type(object, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(object); i++)
            wipe_strings(json_object_array_get_idx(object, i));
    } else if (json_object_is_type(object, json_type_object)) {
        json_object_object_foreach (object, name, value) {
            (void)name;
            wipe_strings(value);
        }
    }
}

void json_wipe(json_object *object)
{
    if (!object)
        return;
    wipe_strings(object);
    json_object_put(object);
}

int json_quote(struct buffer *to, struct span text)
{
    static const char plain[] = "\b\t\n\f\r", letters[] = "btnfr";
    buffer_byte(to, '"');
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        const char *named = c && c < 0x20 ? strchr(plain, c) : NULL;
        if (c < 0x20 && !named) {
            buffer_format(to, "\\u%04x", c);
            continue;
        }
        if (named || c == '"' || c == '\\')
            buffer_byte(to, '\\');
        buffer_byte(to, named ? letters[named - plain] : (char)c);
    }
    return buffer_byte(to, '"');
}

/* The shortest that reads as the same again. A locale may write a comma; and what is too great for a double has no
 * name in JSON. */
static int write_double(struct buffer *to, double value)
{
    char text[64] = "";
    if (!isfinite(value))
        return buffer_text(to, value > 0 ? "1e999" : "-1e999");
    for (int digits = 15; digits <= 17 && (digits == 15 || strtod(text, NULL) != value); digits++)
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
    char *comma = strchr(text, ',');
    if (comma)
        *comma = '.';
    if (!strpbrk(text, ".en"))
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ".0");
    return buffer_text(to, text);
}

static int write_members(struct buffer *to, json_object *object)
{
    const char *before = "{";
    json_object_object_foreach (object, name, value) {
        buffer_text(to, before);
        json_quote(to, span_of(name));
        buffer_byte(to, ':');
        json_write(to, value);
        before = ",";
    }
    return buffer_text(to, *before == '{' ? "{}" : "}");
}

static int write_items(struct buffer *to, json_object *array)
{
    buffer_byte(to, '[');
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        if (i > 0)
            buffer_byte(to, ',');
        json_write(to, json_object_array_get_idx(array, i));
    }
    return buffer_byte(to, ']');
}

int json_write(struct buffer *to, json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_object:
        return write_members(to, value);
    case json_type_array:
        return write_items(to, value);
    case json_type_string:
        return json_quote(to, (struct span){json_object_get_string(value), (size_t)json_object_get_string_len(value)});
    case json_type_int:
        if (json_object_get_int64(value) == INT64_MAX)
            return buffer_format(to, "%llu", (unsigned long long)json_object_get_uint64(value));
        return buffer_format(to, "%lld", (long long)json_object_get_int64(value));
    case json_type_double:
        return write_double(to, json_object_get_double(value));
    case json_type_boolean:
        return buffer_text(to, json_object_get_boolean(value) ? "true" : "false");
    case json_type_null:
        break;
    }
    return buffer_text(to, "null");
}
