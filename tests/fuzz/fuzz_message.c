/* libFuzzer: any bytes as they come over the socket, cut into messages, read as a call as far as that needs no agent
 * behind it. What must hold: what is accepted is one JSON text within the depth, reads the same when written and read
 * again, its strings are what their limits say, and a call that we write is a call that we read. */
#include "cleanup.h"
#include "limits.h"
#include "message.h"
#include "server/call.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hold(bool truth)
{
    if (!truth)
        abort();
}

static int depth_of(json_object *json)
{
    int deepest = 0;
    if (json_object_is_type(json, json_type_object)) {
        json_object_object_foreach (json, name, value) {
            (void)name;
            int depth = depth_of(value);
            deepest = depth > deepest ? depth : deepest;
        }
    } else if (json_object_is_type(json, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(json); i++) {
            int depth = depth_of(json_object_array_get_idx(json, i));
            deepest = depth > deepest ? depth : deepest;
        }
    } else {
        return 0;
    }
    return deepest + 1;
}

static void check_again(json_object *json)
{
    _cleanup_json_ json_object *again = NULL;
    const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);
    hold(text && json_parse(text, strlen(text), LIMIT_REQUEST_DEPTH, &again) == 0);
    const char *second = json_object_to_json_string_ext(again, JSON_C_TO_STRING_PLAIN);
    hold(second && strcmp(text, second) == 0);
}

static void check_text(json_object *json, const char *name, size_t maximum)
{
    const char *text;
    struct span bytes;
    int r = json_string(json, name, maximum, &text);
    hold(r == 0 || r == -ENOENT || r == -EINVAL);
    if (r < 0)
        return;
    hold(json_bytes(json, name, maximum, &bytes) == 0 && bytes.length == strlen(text) && bytes.length <= maximum);
    for (const char *p = text; *p; p++)
        hold((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void check_call(json_object *json)
{
    static const char *const names[] = {"profile", "resource", "audience", "claims", "minValid", "refresh", "scopes"};
    json_object *parameters = NULL, *list;
    const char *method = NULL;
    bool more = false;
    int64_t number;
    check_text(json, "method", LIMIT_TEXT);
    if (json_string(json, "method", LIMIT_TEXT, &method) < 0)
        return;
    (void)method_find(method);
    (void)method_interface_known(method);
    (void)json_boolean(json, "more", &more);
    if (json_member(json, "parameters", &parameters) < 0 || !json_object_is_type(parameters, json_type_object))
        parameters = NULL;
    for (size_t i = 0; parameters && i < ELEMENTS(names); i++) {
        check_text(parameters, names[i], LIMIT_PROFILE_NAME);
        (void)json_boolean(parameters, names[i], &more);
        (void)json_array(parameters, names[i], &list);
        (void)json_integer(parameters, names[i], &number);
        hold(json_number(parameters, names[i], &number) <= 0);
    }

    _cleanup_buffer_ struct buffer written = BUFFER(LIMIT_REQUEST * 8);
    _cleanup_json_ json_object *again = NULL;
    const char *second;
    hold(message_call(&written, method, parameters, more) == 0);
    hold(message_find(&written, LIMIT_REQUEST * 8) == (ssize_t)written.length - 1);
    hold(json_parse(written.data, written.length - 1, LIMIT_REQUEST_DEPTH, &again) == 0);
    hold(json_string(again, "method", LIMIT_TEXT, &second) == 0 && strcmp(second, method) == 0);
}

static void check_message(const char *text, size_t length)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    int r = json_parse(text, length, LIMIT_REQUEST_DEPTH, &json);
    hold(r == 0 || r == -EBADMSG);
    hold((r == 0) == (json != NULL));
    if (r < 0)
        return;
    hold(depth_of(json) <= LIMIT_REQUEST_DEPTH);
    check_again(json);
    check_call(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_buffer_ struct buffer received = BUFFER(1 << 20);
    if (size == 0 || buffer_append(&received, (const char *)data, size) < 0)
        return -1;
    for (;;) {
        ssize_t length = message_find(&received, LIMIT_REQUEST);
        hold(length >= 0 || length == -EAGAIN || length == -EMSGSIZE);
        if (length < 0)
            break;
        hold((size_t)length < received.length && !memchr(received.data, 0, (size_t)length));
        char *copy = malloc(length > 0 ? (size_t)length : 1); /* of exactly that size: a byte too far is seen */
        hold(copy != NULL);
        memcpy(copy, received.data, (size_t)length);
        check_message(copy, (size_t)length);
        free(copy);
        buffer_consume(&received, (size_t)length + 1);
    }
    if (received.length > 0) /* what came without its end as well */
        check_message(received.data, received.length);
    return 0;
}
