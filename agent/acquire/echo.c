#include "acquire/echo.h"

#include "cleanup.h"
#include "json.h"
#include "limits.h"
#include <strings.h>

enum { SHORTEST = 6 }; /* a shorter value stands in many a word */

/* What is no secret in a request; all else counts as one. */
static const char *const open_names[] = {"grant_type",
                                         "response_type",
                                         "scope",
                                         "client_id",
                                         "resource",
                                         "audience",
                                         "username",
                                         "redirect_uri",
                                         "claims",
                                         "client_assertion_type",
                                         "token_type_hint",
                                         "subject_token_type",
                                         "api-version",
                                         "actor_token_type",
                                         "requested_token_type",
                                         "prompt",
                                         "requested_token_use",
                                         "login_hint",
                                         "code_challenge",
                                         "code_challenge_method",
                                         "keyType",
                                         "keyName",
                                         "client_info",
                                         "issued_token_type"};

/* What they are looked for in. */
struct words {
    json_object *body;
    bool struck; /* one was found */
};

static bool is_open(struct span name)
{
    for (size_t i = 0; i < ELEMENTS(open_names); i++)
        if (span_equals(name, span_of(open_names[i])))
            return true;
    return false;
}

/* Whether the text had the word. */
static bool strike_text(char *text, size_t length, struct span word)
{
    char *at = text, *end = text + length;
    bool any = false;
    while ((at = memmem(at, (size_t)(end - at), word.data, word.length))) {
        any = true;
        for (size_t i = 0; i < word.length; i++)
            *at++ = '*';
    }
    return any;
}

static void strike_string(struct words *words, json_object *string, struct span word)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_RESPONSE);
    if (buffer_append(&text, json_object_get_string(string), (size_t)json_object_get_string_len(string)) < 0)
        return;
    if (!text.length || !strike_text(text.data, text.length, word))
        return;
    words->struck = true;
    (void)json_object_set_string_len(string, text.data, (int)text.length);
}

/* A code decides what is done: somebody's password may be "invalid_grant". */
static bool is_code(const char *name, json_object *value)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    bool named = strcmp(name, "error") == 0 || strcmp(name, "suberror") == 0;
    if (!named || !json_object_is_type(value, json_type_string))
        return false;
    size_t length = (size_t)json_object_get_string_len(value);
    return length < LIMIT_CODE && strspn(json_object_get_string(value), letters) == length;
}

/* In each text below; as deep as the parser let it be. */
static void strike_below(struct words *words, json_object *value, struct span word)
{
    if (json_object_is_type(value, json_type_string)) {
        strike_string(words, value, word);
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            strike_below(words, json_object_array_get_idx(value, i), word);
    } else if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach (value, name, member) {
            if (!is_code(name, member))
                strike_below(words, member, word);
        }
    }
}

static void strike(struct words *words, struct span word)
{
    if (word.length >= SHORTEST)
        strike_below(words, words->body, word);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

static void decode(struct span text, struct buffer *to)
{
    for (size_t i = 0; i < text.length; i++) {
        bool escape =
            text.data[i] == '%' && i + 2 < text.length && digit(text.data[i + 1]) >= 0 && digit(text.data[i + 2]) >= 0;
        buffer_byte(to, escape                ? (char)(digit(text.data[i + 1]) * 16 + digit(text.data[i + 2]))
                        : text.data[i] == '+' ? ' '
                                              : text.data[i]);
        i += escape ? 2 : 0;
    }
}

/* Both as it was sent and as it was meant. */
static void strike_encoded(struct words *body, struct span value)
{
    _cleanup_buffer_ struct buffer meant = BUFFER(LIMIT_FORM);
    decode(value, &meant);
    if (buffer_error(&meant) == 0)
        strike(body, buffer_span(&meant));
    strike(body, value);
}

static void strike_form(struct words *body, struct span form)
{
    while (form.length > 0) {
        const char *end = memchr(form.data, '&', form.length);
        size_t length = end ? (size_t)(end - form.data) : form.length;
        const char *equals = memchr(form.data, '=', length);
        size_t name = equals ? (size_t)(equals - form.data) : length;
        if (equals && !is_open((struct span){form.data, name}))
            strike_encoded(body, (struct span){equals + 1, length - name - 1});
        form.data += length + (end != NULL);
        form.length -= length + (end != NULL);
    }
}

/* Machine Learning Server's requests are flat objects. */
static void strike_json(struct words *body, struct span text)
{
    _cleanup_json_wipe_ json_object *object = NULL;
    if (json_parse(text.data, text.length, LIMIT_REQUEST_DEPTH, &object) < 0 ||
        !json_object_is_type(object, json_type_object))
        return;
    json_object_object_foreach (object, name, value) {
        struct span word = {0};
        (void)value;
        if (!is_open(span_of(name)) && json_bytes(object, name, LIMIT_FORM, &word) == 0)
            strike(body, word);
    }
}

/* The secret in base64(ID:SECRET), both form-encoded (RFC 6749 section 2.3.1). */
static void strike_basic(struct words *body, struct span value)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    _cleanup_buffer_ struct buffer plain = BUFFER(LIMIT_FORM);
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = 0; i < value.length && value.data[i] != '='; i++) {
        const char *letter = value.data[i] ? strchr(letters, value.data[i]) : NULL;
        bits = (bits << 6) | (uint32_t)(letter ? letter - letters : 0);
        count += 6;
        if (count >= 8)
            buffer_byte(&plain, (char)(bits >> (count -= 8)));
    }
    const char *colon = plain.length && !buffer_error(&plain) ? memchr(plain.data, ':', plain.length) : NULL;
    if (colon)
        strike_encoded(body, (struct span){colon + 1, plain.length - (size_t)(colon + 1 - plain.data)});
    explicit_bzero(&bits, sizeof(bits));
}

static void strike_header(struct words *body, const struct header *header)
{
    static const char *const plain[] = {"Accept", "Content-Type", "Metadata", "x-ms-lib-capability",
                                        "client-request-id"};
    struct span value = header->value;
    for (size_t i = 0; i < ELEMENTS(plain); i++)
        if (strcasecmp(header->name, plain[i]) == 0)
            return;
    strike(body, value);
    const char *blank = value.length ? memchr(value.data, ' ', value.length) : NULL;
    if (!blank)
        return;
    size_t scheme = (size_t)(blank - value.data);
    struct span credentials = {blank + 1, value.length - scheme - 1};
    strike(body, credentials);
    if (scheme == strlen("Basic") && strncasecmp(value.data, "Basic", scheme) == 0)
        strike_basic(body, credentials);
}

static bool says(struct span body, const char *word)
{
    return body.length > 0 && memmem(body.data, body.length, word, strlen(word));
}

/* Tokens that came must stay as they are: some authorities give the same refresh token again. */
static bool is_error(const struct answer *answer)
{
    bool tokens = says(answer->body, "\"access_token\"") || says(answer->body, "\"refresh_token\"");
    return !answer->error && answer->body.length > 0 && !tokens &&
           (answer->status >= 400 || says(answer->body, "\"error\""));
}

bool echo_strike(const struct http_step *step, const struct answer *answer, struct buffer *ret)
{
    _cleanup_json_wipe_ json_object *body = NULL;
    if (!is_error(answer) || json_parse(answer->body.data, answer->body.length, LIMIT_RESPONSE_DEPTH, &body) < 0)
        return false; /* of what is no JSON nobody repeats a word */
    struct words words = {.body = body};
    const char *query = strchr(step->url, '?');
    bool json = false;
    for (size_t i = 0; i < step->header_count; i++) {
        strike_header(&words, &step->headers[i]);
        json |= strcasecmp(step->headers[i].name, "Content-Type") == 0;
    }
    if (query)
        strike_form(&words, span_of(query + 1));
    if (json)
        strike_json(&words, step->body);
    else
        strike_form(&words, step->body);
    return words.struck && buffer_text(ret, json_object_to_json_string_ext(
                                                body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)) == 0;
}
