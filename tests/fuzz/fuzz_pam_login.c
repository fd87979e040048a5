/* libFuzzer: whatever a verified token claims, what the module is told of it is a line that it can read, each text as
 * it stood in the token, and none that it should not see. Allocations of our own code fail where the first byte says;
 * the second one says whether groups are told; the rest is the claims. */
#include "cleanup.h"
#include "json.h"
#include "lines.h"
#include "login/person.h"
#include "text.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
extern void *__real_malloc(size_t);
extern void *__real_calloc(size_t, size_t);
extern void *__real_realloc(void *, size_t);

static int countdown; /* 0: none fails */

static bool fails(void)
{
    return countdown > 0 && --countdown == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
    return fails() ? NULL : __real_realloc(pointer, size);
}

static void hold(bool truth)
{
    if (!truth)
        abort();
}

static const struct wanted wanted = {.claims = {"email", "upn", "name", "email_verified", "sub", "groups"},
                                     .claim_count = 6};

static void on_left(void *arg, const char *claim, const char *why)
{
    (void)arg;
    hold(claim && *claim && why && *why);
}

static void check_text(struct span text)
{
    hold(text.length > 0);
    while (text.length > 0) {
        uint32_t c = 0;
        size_t n = text_decode(text, &c);
        hold(n > 0 && c >= 0x20 && !(c >= 0x7f && c < 0xa0));
        text.data += n;
        text.length -= n;
    }
}

static bool stands_in(json_object *value, struct span text)
{
    if (json_object_is_type(value, json_type_string))
        return span_equals(text,
                           (struct span){json_object_get_string(value), (size_t)json_object_get_string_len(value)});
    bool found = false;
    size_t count = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
    for (size_t i = 0; i < count && !found; i++)
        found = json_object_is_type(json_object_array_get_idx(value, i), json_type_string) &&
                stands_in(json_object_array_get_idx(value, i), text);
    return found;
}

static void check_field(const struct line_field *field, json_object *claims)
{
    static const char *const others[] = {"client_id", "overage", "iat", "claim.email_verified"};
    json_object *value = NULL;
    const char *name = field->name;
    for (size_t i = 0; i < ELEMENTS(others); i++)
        if (strcmp(name, others[i]) == 0)
            return;
    check_text(field->value);
    if (strcmp(name, "issuer") == 0)
        name = "iss";
    else if (strcmp(name, "group") == 0)
        name = "groups";
    else if (strcmp(name, "role") == 0)
        name = "roles";
    else if (strncmp(name, "claim.", 6) == 0)
        name += 6;
    hold(field->value.length <= (strcmp(name, "iss") == 0 ? LIMIT_URL : LIMIT_SUBJECT));
    hold(json_member(claims, name, &value) == 0 && stands_in(value, field->value));
}

static void check_line(const struct buffer *told, json_object *claims, bool grouped)
{
    struct line line = {0};
    const char *overage = NULL;
    int64_t issued;
    hold(line_parse((struct span){told->data, told->length - 1}, &line) == 0);
    hold(line_find(&line, "issuer") && line_find(&line, "sub") && line_find(&line, "client_id"));
    hold(line_text(&line, "overage", &overage) == 0 && (strcmp(overage, "yes") == 0 || strcmp(overage, "no") == 0));
    hold(grouped || (strcmp(overage, "yes") == 0 && !line_find(&line, "group") && !line_find(&line, "role")));
    hold(!person_is_over(claims) || strcmp(overage, "yes") == 0);
    hold(!line_find(&line, "iat") || line_number(&line, "iat", &issued) == 0);
    for (size_t i = 0; i < line.count; i++)
        check_field(&line.fields[i], claims);
    line_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_object *claims = NULL;
    if (size < 2 || json_parse((const char *)data + 2, size - 2, LIMIT_RESPONSE_DEPTH, &claims) < 0)
        return -1;
    bool grouped = data[1] & 1;
    struct buffer line = BUFFER(LIMIT_LINE + 1);
    countdown = data[0] & 0x80 ? data[0] & 0x7f : 0;
    line_begin(&line, "done");
    int r = person_tell(&line, claims, "client", &wanted, grouped, on_left, NULL);
    int ended = line_end(&line);
    countdown = 0;
    if (r == 0 && ended == 0)
        check_line(&line, claims, grouped);
    buffer_free(&line);
    json_wipe(claims);
    return 0;
}
