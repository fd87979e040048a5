#include "signer.h"

#include "authority/key_pair.h"
#include "cleanup.h"
#include "reader.h"
#include <errno.h>
#include <stdio.h>

enum { WORDS = 10, PAIR_WORDS = 2 };

int signer_write(const struct signer *signer, struct span password, struct buffer *to)
{
    const struct assertion *assertion = &signer->assertion;
    char issued_at[24], thumbprint[2] = {(char)('0' + (int)assertion->thumbprint)};
    (void)snprintf(issued_at, sizeof(issued_at), "%lld", (long long)assertion->issued_at);
    const char *const words[WORDS] = {
        signer->key_path,     signer->certificate_path,    assertion->algorithm, assertion->audience,
        assertion->client_id, assertion->key_id,           assertion->jti,       issued_at,
        thumbprint,           assertion->chain ? "1" : "0"};
    for (size_t i = 0; i < WORDS; i++)
        buffer_append(to, words[i], strlen(words[i]) + 1);
    return buffer_append(to, password.data, password.length);
}

static bool take_words(const char *text, size_t length, const char **words, size_t count, struct span *ret_rest)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const char *end = at < length ? memchr(text + at, '\0', length - at) : NULL;
        if (!end)
            return false;
        words[i] = text + at;
        at = (size_t)(end - text) + 1;
    }
    *ret_rest = (struct span){text + at, length - at};
    return true;
}

static int load(const char *key, const char *path, enum worker_rule rule, struct buffer *to,
                char problem[static LIMIT_TEXT])
{
    int error = 0;
    enum reader_exit verdict = *path ? reader_load(path, rule, to) : READER_OK;
    if (verdict != READER_OK)
        (void)snprintf(problem, LIMIT_TEXT, "%s %.*s: %s", key, LIMIT_TEXT / 2, path,
                       reader_verdict_text(verdict, &error));
    return error;
}

static bool write_all(int to, const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = write(to, bytes + done, length - done);
        if (n < 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* The result, or what is wrong in its place. */
static int give(int to, int error, const struct buffer *result, const char *problem)
{
    bool good = error == 0 && buffer_error(result) == 0;
    bool written = good ? write_all(to, result->data, result->length) : write_all(to, problem, strlen(problem));
    return !written ? READER_FAILED : good ? READER_OK : SIGNER_PROBLEM;
}

int signer_run(const char *text, size_t length, int to)
{
    const char *words[WORDS];
    char problem[LIMIT_TEXT] = "there is no memory left";
    struct span password;
    _cleanup_buffer_ struct buffer key = BUFFER(LIMIT_SECRET), certificate = BUFFER(LIMIT_SECRET),
                                   token = BUFFER(LIMIT_JWS);
    if (!take_words(text, length, words, WORDS, &password))
        return READER_FAILED;
    const struct assertion assertion = {.algorithm = words[2],
                                        .audience = words[3],
                                        .client_id = words[4],
                                        .key_id = words[5],
                                        .jti = words[6],
                                        .issued_at = strtoll(words[7], NULL, 10),
                                        .thumbprint = (enum assertion_thumbprint)(words[8][0] - '0'),
                                        .chain = words[9][0] == '1'};
    int r = load("client_key", words[0], WORKER_SECRET_FILE, &key, problem);
    if (r == 0)
        r = load("client_certificate", words[1], WORKER_PUBLIC_FILE, &certificate, problem);
    if (r == 0)
        r = assertion_make(&assertion, buffer_span(&key), buffer_span(&certificate), password, &token, problem);
    return give(to, r, &token, problem);
}

int signer_write_pair(const char *key_path, const char *certificate_path, struct span password, struct buffer *to)
{
    buffer_append(to, key_path, strlen(key_path) + 1);
    buffer_append(to, certificate_path, strlen(certificate_path) + 1);
    return buffer_append(to, password.data, password.length);
}

int signer_run_pair(const char *text, size_t length, int to)
{
    const char *words[PAIR_WORDS];
    char problem[LIMIT_TEXT] = "there is no memory left";
    struct span password;
    _cleanup_(key_pair_clear) struct key_pair pair = {0};
    _cleanup_buffer_ struct buffer key = BUFFER(LIMIT_SECRET), certificate = BUFFER(LIMIT_SECRET),
                                   bytes = BUFFER(LIMIT_SECRET);
    if (!take_words(text, length, words, PAIR_WORDS, &password))
        return READER_FAILED;
    int r = load("client_key", words[0], WORKER_SECRET_FILE, &key, problem);
    if (r == 0)
        r = load("client_certificate", words[1], WORKER_PUBLIC_FILE, &certificate, problem);
    if (r == 0)
        r = key_pair_read(buffer_span(&key), buffer_span(&certificate), password, &pair, problem);
    if (r == 0 && pair.count == 0) {
        (void)snprintf(problem, sizeof(problem), "client_certificate holds no certificate in PEM form");
        r = -EINVAL;
    }
    if (r == 0)
        r = key_pair_write(&pair, &bytes);
    return give(to, r, &bytes, problem);
}
