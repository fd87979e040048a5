#include "store/keyring_text.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <glib.h>
#include <inttypes.h>

static const char MAGIC[] = "mltoken-secret 1 ", PLAIN[] = "plain", BASE64[] = "base64";

enum { MOST_DIGITS = 18 };

static int encode(struct buffer *buffer, struct span value)
{
    gint state = 0, save = 0;
    int r = buffer_reserve(buffer, (value.length / 3 + 2) * 4);
    if (r < 0)
        return r;
    const guchar *bytes = (const guchar *)value.data;
    buffer->length += g_base64_encode_step(bytes, value.length, FALSE, buffer->data + buffer->length, &state, &save);
    buffer->length += g_base64_encode_close(FALSE, buffer->data + buffer->length, &state, &save);
    return 0;
}

int keyring_text_pack(struct buffer *buffer, uint64_t version, struct span value)
{
    bool plain = g_utf8_validate(value.data ? value.data : "", (gssize)value.length, NULL);
    buffer_format(buffer, "%s%" PRIu64 " %s\n", MAGIC, version, plain ? PLAIN : BASE64);
    return plain ? buffer_append(buffer, value.data, value.length) : encode(buffer, value);
}

static bool is_base64(struct span text)
{
    size_t i = 0;
    while (i < text.length && (g_ascii_isalnum(text.data[i]) || text.data[i] == '+' || text.data[i] == '/'))
        i++;
    size_t padding = text.length - i;
    while (i < text.length && text.data[i] == '=')
        i++;
    return text.length > 0 && text.length % 4 == 0 && i == text.length && padding <= 2;
}

static int decode(struct span text, struct buffer *ret)
{
    gint state = 0;
    guint save = 0;
    int r = buffer_reserve(ret, text.length);
    if (r < 0)
        return r;
    ret->length += g_base64_decode_step(text.data, text.length, (guchar *)ret->data + ret->length, &state, &save);
    return 0;
}

/* Takes `word` and the byte `end` after it from the front of the text. */
static bool take(struct span *text, const char *word, size_t length, char end)
{
    if (text->length <= length || memcmp(text->data, word, length) != 0 || text->data[length] != end)
        return false;
    *text = (struct span){text->data + length + 1, text->length - length - 1};
    return true;
}

int keyring_text_unpack(struct span text, uint64_t *ret_version, struct buffer *ret)
{
    if (!take(&text, MAGIC, sizeof(MAGIC) - 2, ' '))
        return -EBADMSG;
    uint64_t version = 0;
    size_t digits = 0;
    for (; digits < text.length && digits <= MOST_DIGITS && g_ascii_isdigit(text.data[digits]); digits++)
        version = version * 10 + (uint64_t)(text.data[digits] - '0');
    if (digits == 0 || digits > MOST_DIGITS || version == 0 || !take(&text, text.data, digits, ' '))
        return -EBADMSG;
    bool plain = take(&text, PLAIN, sizeof(PLAIN) - 1, '\n');
    if (!plain && (!take(&text, BASE64, sizeof(BASE64) - 1, '\n') || !is_base64(text)))
        return -EBADMSG;
    int r = !ret ? 0 : plain ? buffer_append(ret, text.data, text.length) : decode(text, ret);
    if (r == 0)
        *ret_version = version;
    return r;
}
