#include "message.h"

#include "cleanup.h"
#include <errno.h>

ssize_t message_find(const struct buffer *buffer, size_t maximum)
{
    size_t within = buffer->length <= maximum ? buffer->length : maximum + 1;
    const char *end = within ? memchr(buffer->data, '\0', within) : NULL;
    if (end)
        return end - buffer->data;
    return buffer->length > maximum ? -EMSGSIZE : -EAGAIN;
}

/* Appends {"<kind>":<value>,"parameters":{...},"<flag>":true} and a NUL; what is NULL is left out. */
static int append(struct buffer *buffer, const char *kind, const char *value, json_object *parameters, const char *flag)
{
    _cleanup_json_ json_object *message = json_object_new_object();
    if (!message || (kind && json_put_text(message, kind, value) < 0) ||
        (parameters && json_put(message, "parameters", json_object_get(parameters)) < 0) ||
        (flag && json_put_boolean(message, flag, true) < 0))
        return buffer_fail(buffer, -ENOMEM);
    _cleanup_buffer_ struct buffer text = BUFFER(buffer->maximum);
    json_write(&text, message);
    int r = buffer_byte(&text, '\0');
    return r < 0 ? buffer_fail(buffer, r) : buffer_append(buffer, text.data, text.length);
}

int message_call(struct buffer *buffer, const char *method, json_object *parameters, bool more)
{
    return append(buffer, "method", method, parameters, more ? "more" : NULL);
}

int message_reply(struct buffer *buffer, json_object *parameters, bool continues)
{
    return append(buffer, NULL, NULL, parameters, continues ? "continues" : NULL);
}

int message_error(struct buffer *buffer, const char *name, json_object *parameters)
{
    return append(buffer, "error", name, parameters, NULL);
}
