/* A runner for tests: takes the steps of a grant's machine and answers them from a list. What an answer points to is
 * freed right after the call, so that a machine that keeps it is found by AddressSanitizer; a WAIT moves the clock. */
#pragma once

#include "authority/metadata.h"
#include "buffer.h"
#include "cleanup.h"
#include "grant/grant.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after the four above */
#include <cmocka.h>

#define TEXT(literal)  ((char *)(uintptr_t)(literal))
#define TOKEN_URL      "https://login.example.org/token"
#define DEVICE_URL     "https://login.example.org/device"
#define REVOCATION_URL "https://login.example.org/revoke"

/* What is said of a failure, as people see it: the authority's code and words, then ours; never the same twice. */
static inline void failure_says(const struct failure *why, const char *words)
{
    char whole[3 * LIMIT_TEXT];
    (void)snprintf(whole, sizeof(whole), "%s: %s: %s", why->error, why->description, why->reason);
    assert_int_not_equal(why->kind, FAILURE_NONE);
    if (why->kind == FAILURE_AUTHORITY_REFUSED ? !why->error[0] : !why->reason[0])
        fail_msg("nothing is said: %s", whole);
    if (!strstr(whole, words))
        fail_msg("\"%s\" lacks \"%s\"", whole, words);
    if (why->kind == FAILURE_AUTHORITY_REFUSED && why->description[0] && strstr(why->reason, why->description))
        fail_msg("said twice: %s", whole);
}

/* One answer. The step that it answers is named, so that a list reads as the conversation. */
struct reply {
    enum step_kind kind;
    int status;
    const char *body, *headers;
    int error;
    bool maybe_sent;
    const struct metadata *metadata;
    const struct identity *identity;
    const char *person;
    const struct failure *why;
};

#define OK(text)       ((struct reply){.kind = STEP_HTTP, .status = 200, .body = (text)})
#define SAYS(n, text)  ((struct reply){.kind = STEP_HTTP, .status = (n), .body = (text)})
#define ERROR(name)    SAYS(400, "{\"error\":\"" name "\"}")
#define LOST           ((struct reply){.kind = STEP_HTTP, .error = -ENOTCONN, .maybe_sent = true})
#define TIMED_OUT      ((struct reply){.kind = STEP_HTTP, .error = -ETIMEDOUT, .maybe_sent = true})
#define UNSENT         ((struct reply){.kind = STEP_HTTP, .error = -ECONNREFUSED})
#define SECRET_IS(s)   ((struct reply){.kind = STEP_SECRET, .body = (s)})
#define METADATA_IS(m) ((struct reply){.kind = STEP_METADATA, .metadata = (m)})
#define YES(step)      ((struct reply){.kind = (step)})
#define NO(step, n)    ((struct reply){.kind = (step), .error = (n)})

/* What the last SAVE kept. */
struct kept {
    int count;
    bool has_token, uncertain, unanswered, sending, steady;
    char token[256], scope[256], subject[256];
};

struct machine {
    const struct grant *grant;
    void *state;
    struct profile profile;
    struct request asked;
    struct credential held;
    struct input input;
    struct tick tick;
    struct step step;
    struct kept kept;
    int requests, waits, notes;
    char method[8], url[512], body[4096], authorization[1024], note[64];
};

static inline void machine_note(struct machine *m)
{
    if (m->step.kind == STEP_HTTP) {
        const struct http_step *http = &m->step.http;
        m->requests++;
        if (http->body.length > 0)
            assert_string_equal(http->method, "POST");
        (void)snprintf(m->method, sizeof(m->method), "%s", http->method);
        assert_true(http->body.length < sizeof(m->body));
        (void)snprintf(m->url, sizeof(m->url), "%s", http->url);
        (void)snprintf(m->body, sizeof(m->body), "%.*s", (int)http->body.length,
                       http->body.length ? http->body.data : "");
        m->authorization[0] = '\0';
        for (size_t i = 0; i < http->header_count; i++)
            if (strcmp(http->headers[i].name, "Authorization") == 0)
                (void)snprintf(m->authorization, sizeof(m->authorization), "%.*s", (int)http->headers[i].value.length,
                               http->headers[i].value.data);
    } else if (m->step.kind == STEP_SAVE) {
        const struct credential *save = m->step.save;
        struct span token = save->refresh_token ? secret_span(save->refresh_token) : (struct span){0};
        m->kept = (struct kept){.count = m->kept.count + 1,
                                .has_token = save->refresh_token != NULL,
                                .uncertain = save->uncertain,
                                .unanswered = save->unanswered,
                                .sending = save->sending,
                                .steady = save->steady};
        (void)snprintf(m->kept.token, sizeof(m->kept.token), "%.*s", (int)token.length, token.length ? token.data : "");
        (void)snprintf(m->kept.scope, sizeof(m->kept.scope), "%s", save->scope ? save->scope : "(none)");
        (void)snprintf(m->kept.subject, sizeof(m->kept.subject), "%s", save->identity.subject);
    } else if (m->step.kind == STEP_NOTE) {
        m->notes++;
        (void)snprintf(m->note, sizeof(m->note), "%s", m->step.note.text);
    }
}

/* A profile that needs no metadata; tests change what they are about. */
static inline void machine_open(struct machine *m, const struct grant *grant)
{
    *m = (struct machine){.grant = grant,
                          .profile = {.name = "p",
                                      .grant = grant,
                                      .authority = TEXT("https://login.example.org"),
                                      .token_endpoint = TEXT(TOKEN_URL),
                                      .device_authorization_endpoint = TEXT(DEVICE_URL),
                                      .revocation_endpoint = TEXT(REVOCATION_URL),
                                      .dialect = DIALECT_OIDC,
                                      .client_id = TEXT("me"),
                                      .timeout_ms = LIMIT_HTTP_MS},
                          .asked = {.min_valid_s = -1},
                          .tick = {.boot_ms = 1000, .wall_s = 1800000000}};
    m->input = (struct input){.profile = &m->profile, .asked = &m->asked};
}

static inline void machine_end(struct machine *m)
{
    if (m->state)
        m->grant->end(m->state);
    free(m->state);
    m->state = NULL;
}

static inline enum step_kind machine_start(struct machine *m, enum grant_op op)
{
    machine_end(m);
    m->state = calloc(1, m->grant->state_size);
    assert_non_null(m->state);
    assert_int_equal(m->grant->start(m->state, op, &m->input, &m->tick, &m->step), 0);
    machine_note(m);
    return m->step.kind;
}

static inline struct span machine_copy(const char *text)
{
    size_t length = text ? strlen(text) : 0;
    char *copy = length ? malloc(length) : NULL;
    if (copy)
        memcpy(copy, text, length);
    return (struct span){.data = copy, .length = length};
}

static inline enum step_kind machine_answer(struct machine *m, struct reply reply)
{
    assert_int_equal(m->step.kind, reply.kind);
    if (m->step.kind == STEP_WAIT) {
        assert_true(m->step.wait_ms > 0);
        m->waits++;
        m->tick.boot_ms += m->step.wait_ms;
    }
    struct answer answer = {.error = reply.error,
                            .maybe_sent = reply.maybe_sent,
                            .status = reply.status,
                            .headers = machine_copy(reply.headers),
                            .body = machine_copy(reply.body),
                            .metadata = reply.metadata,
                            .identity = reply.identity,
                            .person = reply.person};
    if (reply.why)
        answer.why = *reply.why;
    assert_int_equal(m->grant->next(m->state, &answer, &m->tick, &m->step), 0);
    free((char *)(uintptr_t)answer.headers.data);
    free((char *)(uintptr_t)answer.body.data);
    machine_note(m);
    return m->step.kind;
}

/* Answers `count` replies in turn, and returns the kind of the step that comes after them. */
static inline enum step_kind machine_run(struct machine *m, enum grant_op op, const struct reply *replies, size_t count)
{
    machine_start(m, op);
    for (size_t i = 0; i < count; i++)
        machine_answer(m, replies[i]);
    return m->step.kind;
}

/* Takes the machine to its end from where it stands, each step answered by the next reply of its kind, or else failed.
 */
static inline enum step_kind machine_drain(struct machine *m, const struct reply *replies, size_t count, size_t next)
{
    for (int steps = 0; m->step.kind != STEP_DONE && m->step.kind != STEP_FAIL; steps++) {
        assert_true(steps < 2000);
        size_t i = next;
        while (i < count && replies[i].kind != m->step.kind)
            i++;
        struct reply failed = {.kind = m->step.kind, .error = m->step.kind == STEP_WAIT ? 0 : -EIO};
        machine_answer(m, i < count ? replies[i] : failed);
        if (i < count)
            next = i + 1;
    }
    return m->step.kind;
}

/* A conversation that ends well: cancelled at every step, and with every single answer failed in turn. */
static inline void machine_torture(struct machine *m, enum grant_op op, const struct reply *replies, size_t count)
{
    for (size_t stop = 0; stop <= count; stop++)
        machine_run(m, op, replies, stop);
    assert_int_equal(m->step.kind, STEP_DONE);
    for (size_t broken = 0; broken < count; broken++) {
        machine_run(m, op, replies, broken);
        struct reply failed = {.kind = m->step.kind, .error = -EIO, .maybe_sent = broken % 2};
        machine_answer(m, failed);
        machine_drain(m, replies, count, broken + 1);
        if (m->step.kind == STEP_FAIL)
            failure_says(&m->step.fail, "");
    }
    machine_end(m);
}

static inline void machine_says(const struct machine *m, const char *words)
{
    failure_says(&m->step.fail, words);
}

/* What no endpoint of the conversation answers, at each of its exchanges in turn, and then nothing but failures: it
 * must end with a failure that can be shown. */
static inline void machine_lie(struct machine *m, enum grant_op op, const struct reply *replies, size_t count)
{
    static const int statuses[] = {0, 100, 200, 204, 299, 302, 400, 401, 403, 404, 408, 418, 429, 500, 503, 999};
    static const char *const bodies[] = {
        "",
        " ",
        "{",
        "{}",
        "[]",
        "null",
        "0",
        "\"text\"",
        "<html>Sign in to the wireless network</html>",
        "access_token=AT&token_type=bearer",
        "{\"access_token\":null,\"accessToken\":null,\"primaryKey\":null,\"key1\":null,\"active\":null}",
        "{\"access_token\":[\"AT\"],\"accessToken\":{},\"primaryKey\":7,\"key1\":true,\"active\":\"true\"}",
        "{\"access_token\":\"\",\"accessToken\":\"\",\"primaryKey\":\"\",\"key1\":\"\",\"active\":1}",
        "{\"access_token\":\"A\\u0000T\",\"accessToken\":\"A\\u0000T\",\"primaryKey\":\"\\u0000\",\"key1\":\"\\r\\nX: "
        "y\"}",
        "{\"access_token\":\"A T\",\"accessToken\":\"A\\nT\",\"primaryKey\":\"\\u00e9\",\"key1\":\" \"}",
        "{\"access_token\":\"AT\",\"token_type\":\"MAC\",\"accessToken\":\"AT\",\"tokenType\":\"MAC\"}",
        "{\"error\":\"\"}",
        "{\"error\":{\"code\":7,\"message\":[]}}",
        "{\"error\":\"a\\u001b[2Jb\",\"error_description\":\"\\u202e\\u0000\"}",
        "{\"error\":\"server_error\",\"access_token\":\"AT\",\"accessToken\":\"AT\",\"primaryKey\":\"K\",\"active\":"
        "true}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    };
    for (size_t i = 0; i < count; i++)
        for (size_t n = 0; replies[i].kind == STEP_HTTP && n < ELEMENTS(statuses) * ELEMENTS(bodies); n++) {
            machine_run(m, op, replies, i);
            machine_answer(m, SAYS(statuses[n / ELEMENTS(bodies)], bodies[n % ELEMENTS(bodies)]));
            if (machine_drain(m, replies, 0, 0) == STEP_DONE)
                fail_msg("exchange %zu: %d with %s is taken", i, statuses[n / ELEMENTS(bodies)],
                         bodies[n % ELEMENTS(bodies)]);
            failure_says(&m->step.fail, "");
        }
    machine_end(m);
}

/* It ended with a step that says so. */
static inline void fails(const struct machine *m, enum failure_kind kind, const char *words)
{
    assert_int_equal(m->step.kind, STEP_FAIL);
    assert_string_equal(failure_name(m->step.fail.kind), failure_name(kind));
    machine_says(m, words);
}

static inline bool machine_sent(const struct machine *m, const char *pair)
{
    size_t length = strlen(pair);
    for (const char *p = m->body; *p; p += strcspn(p, "&"), p += *p == '&')
        if (strcspn(p, "&") == length && strncmp(p, pair, length) == 0)
            return true;
    return false;
}

static inline bool machine_sent_name(const struct machine *m, const char *name)
{
    size_t length = strlen(name);
    for (const char *p = m->body; *p; p += strcspn(p, "&"), p += *p == '&')
        if (strncmp(p, name, length) == 0 && p[length] == '=')
            return true;
    return false;
}

static inline void machine_hold(struct machine *m, const char *token, const char *scope)
{
    credential_clear(&m->held);
    if (token)
        assert_int_equal(secret_new(token, strlen(token), &m->held.refresh_token), 0);
    m->held.scope = scope ? strdup(scope) : NULL;
    m->input.held = &m->held;
}

static inline void machine_close(struct machine *m)
{
    machine_end(m);
    credential_clear(&m->held);
}

/* Machines keep secrets: for cmocka_run_group_tests(). */
static inline int machine_group(void **state)
{
    (void)state;
    return secret_arena_open();
}
