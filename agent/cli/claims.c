#include "claims.h"

#include "cleanup.h"
#include "limits.h"
#include "output.h"
#include "text.h"

static bool is_time(const char *name)
{
    static const char *const times[] = {"exp", "iat", "nbf", "auth_time", "updated_at"};
    for (size_t i = 0; i < ELEMENTS(times); i++)
        if (strcmp(times[i], name) == 0)
            return true;
    return false;
}

static void append_value(struct buffer *to, const char *name, json_object *value)
{
    int64_t number = 0;
    if (json_object_is_type(value, json_type_int))
        number = json_object_get_int64(value);
    if (json_object_is_type(value, json_type_double))
        number = (int64_t)json_object_get_double(value);
    if (is_time(name) && number > 0) {
        char when[TIME_SIZE];
        output_time(when, number);
        buffer_text(to, when);
    } else if (json_object_is_type(value, json_type_string)) {
        struct span text = {json_object_get_string(value), (size_t)json_object_get_string_len(value)};
        text_clean(to, text, LIMIT_URL);
    } else {
        output_clean(
            to, value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                      : "null");
    }
}

void claims_append(struct buffer *to, json_object *claims)
{
    json_object_object_foreach (claims, name, value) {
        text_clean(to, span_of(name), LIMIT_TEXT);
        buffer_text(to, ": ");
        append_value(to, name, value);
        buffer_byte(to, '\n');
    }
}
