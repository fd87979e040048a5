/* Memory that runs out: each allocation that our code makes in a conversation fails in turn. The machine then says so
 * (an error, or a failure that can be shown), and its end() gives everything back. Only callers inside this program are
 * failed: json-c 0.16 does not check a strdup() of its own. The allocator is replaced here, so this test counts what is
 * live by itself and is empty under AddressSanitizer, which has another. */
#include "machine.h"

#ifndef __SANITIZE_ADDRESS__
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *pointer);

static long countdown = -1; /* the allocation that fails; -1: none */
static bool failed;
static long live;

extern const char __executable_start, etext;

static bool fails_now(const void *caller)
{
    bool ours = (const char *)caller >= &__executable_start && (const char *)caller < &etext;
    if (!ours || countdown < 0 || countdown-- > 0)
        return false;
    failed = true;
    return true;
}
#define FAILS_NOW() fails_now(__builtin_return_address(0))

static void *counted(void *pointer)
{
    live += pointer != NULL;
    return pointer;
}

void *malloc(size_t size)
{
    return FAILS_NOW() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return FAILS_NOW() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    void *pointer = FAILS_NOW() ? NULL : __libc_realloc(old, size);
    live += pointer && !old;
    return pointer;
}

void free(void *pointer)
{
    live -= pointer != NULL;
    __libc_free(pointer);
}

static char *copy(const char *text, size_t length)
{
    char *made = counted(__libc_malloc(length + 1));
    if (!made)
        return NULL;
    memcpy(made, text, length);
    made[length] = '\0';
    return made;
}

#undef strdup
#undef strndup
char *strdup(const char *text)
{
    return FAILS_NOW() ? NULL : copy(text, strlen(text));
}

char *strndup(const char *text, size_t length)
{
    return FAILS_NOW() ? NULL : copy(text, strnlen(text, length));
}

#define CODE                                                                                                           \
    "{\"device_code\":\"DC\",\"user_code\":\"U\",\"verification_uri\":\"https://login.example.org/"                    \
    "d\",\"message\":\"m\",\"interval\":5,"                                                                            \
    "\"verification_uri_complete\":\"https://login.example.org/d?U\"}"
#define TOKENS                                                                                                         \
    "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"refresh_token\":\"RT\",\"scope\":[\"api\"],\"id_token\":"    \
    "\"h.p.s\",\"expires_in\":\"60\"}"

#define CHALLENGED                                                                                                     \
    {                                                                                                                  \
        .kind = STEP_HTTP, .status = 401,                                                                              \
        .headers = "WWW-Authenticate: Basic realm=/var/opt/azcmagent/tokens/a.key\r\n"                                 \
    }

static struct reply replies[16];
static size_t reply_count;

/* What a step says must be there: nothing may get lost in silence. */
static void check_step(const struct step *step)
{
    if (step->kind == STEP_PROMPT) {
        assert_non_null(step->prompt.verification_uri);
        assert_non_null(step->prompt.verification_uri_complete);
        assert_non_null(step->prompt.user_code);
        assert_non_null(step->prompt.message);
    } else if (step->kind == STEP_SAVE) {
        assert_non_null(step->save->scope);
        assert_non_null(step->save->refresh_token);
    } else if (step->kind == STEP_HTTP) {
        assert_true(step->http.url && (step->http.body.length > 0 || strcmp(step->http.method, "GET") == 0));
    }
}

/* One conversation with the n-th allocation failing: true when it was not reached, and the conversation ended well. */
static bool converse(struct machine *m, enum grant_op op, long n)
{
    long before = live;
    int r;
    m->state = calloc(1, m->grant->state_size);
    assert_non_null(m->state);
    failed = false;
    countdown = n;
    r = m->grant->start(m->state, op, &m->input, &m->tick, &m->step);
    for (size_t i = 0; r == 0 && m->step.kind != STEP_DONE && m->step.kind != STEP_FAIL; i++) {
        countdown = failed ? -1 : countdown;
        check_step(&m->step);
        while (i < reply_count && replies[i].kind != m->step.kind)
            i++;
        if (i >= reply_count)
            break; /* a poll that is not answered in the list: what failed made the machine ask again */
        if (m->step.kind == STEP_WAIT)
            m->tick.boot_ms += m->step.wait_ms;
        struct answer answer = {.error = replies[i].error,
                                .maybe_sent = replies[i].maybe_sent,
                                .status = replies[i].status,
                                .headers = span_of(replies[i].headers),
                                .body = span_of(replies[i].body),
                                .metadata = replies[i].metadata};
        r = m->grant->next(m->state, &answer, &m->tick, &m->step);
    }
    countdown = -1;
    assert_true(r == 0 || r == -ENOMEM);
    if (r == 0 && m->step.kind == STEP_FAIL)
        failure_says(&m->step.fail, "");
    bool done = !failed && r == 0 && m->step.kind == STEP_DONE;
    machine_end(m);
    assert_int_equal(live, before);
    return done;
}

static void torture(struct machine *m, enum grant_op op, const struct reply *list, size_t count)
{
    long n = 0;
    memcpy(replies, list, count * sizeof(*list));
    reply_count = count;
    (void)converse(m, op, -1); /* what libraries keep for ever is made here */
    while (!converse(m, op, n))
        assert_true(++n < 10000);
    assert_true(n > 5);
}

static void survives_the_lack_of_memory(void **state)
{
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL),
                                .device_authorization_endpoint = TEXT(DEVICE_URL),
                                .revocation_endpoint = TEXT(REVOCATION_URL),
                                .basic = true};
    const struct reply acquire[] = {METADATA_IS(&metadata), SECRET_IS("s"), OK(TOKENS)};
    const struct reply login[] = {METADATA_IS(&metadata), SECRET_IS("s"), OK(CODE),   YES(STEP_PROMPT), YES(STEP_WAIT),
                                  ERROR("slow_down"),     YES(STEP_WAIT), OK(TOKENS), YES(STEP_VERIFY), YES(STEP_SAVE)};
    const struct reply renew[] = {METADATA_IS(&metadata), SECRET_IS("s"), YES(STEP_SAVE), LOST,
                                  YES(STEP_SAVE),         OK(TOKENS),     YES(STEP_SAVE)};
    const struct reply revoke[] = {METADATA_IS(&metadata), SECRET_IS("s"), OK("")};
    const struct reply identity[] = {YES(STEP_READ), CHALLENGED, {.kind = STEP_READ, .body = "key"}, OK(TOKENS)};
    char *scopes[] = {TEXT("api"), TEXT("openid"), NULL};
    struct machine m;
    (void)state;
    machine_open(&m, &grant_client_credentials);
    m.profile.token_endpoint = m.profile.device_authorization_endpoint = m.profile.revocation_endpoint = NULL;
    m.profile.client_secret.kind = SOURCE_ENV;
    m.profile.scopes = scopes;
    torture(&m, GRANT_ACQUIRE, acquire, ELEMENTS(acquire));
    m.grant = &grant_device_code;
    torture(&m, GRANT_LOGIN, login, ELEMENTS(login));
    machine_hold(&m, "RT1", "api");
    torture(&m, GRANT_ACQUIRE, renew, ELEMENTS(renew));
    torture(&m, GRANT_REVOKE, revoke, ELEMENTS(revoke));
    m.grant = &grant_managed_identity;
    m.profile.client_id = NULL;
    m.profile.resource = TEXT("https://r.example");
    torture(&m, GRANT_ACQUIRE, identity, ELEMENTS(identity));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

/* The arena fills up: the other kind of memory that a refresh token needs. */
static void survives_a_full_arena(void **state)
{
    const struct reply acquire[] = {YES(STEP_SAVE), OK(TOKENS), YES(STEP_SAVE)};
    struct secret *all[4096];
    size_t count = 0, size = LIMIT_SECRET;
    struct machine m;
    char *filler = calloc(1, LIMIT_SECRET);
    (void)state;
    assert_non_null(filler);
    machine_open(&m, &grant_device_code);
    machine_hold(&m, "RT1", "api");
    while (size > 0 && count < ELEMENTS(all)) {
        if (secret_new(filler, size, &all[count]) == 0)
            count++;
        else
            size /= 2;
    }
    assert_true(count < ELEMENTS(all));
    machine_run(&m, GRANT_ACQUIRE, acquire, ELEMENTS(acquire));
    assert_true(m.kept.unanswered); /* the refresh token may be used up */
    assert_int_equal(m.step.kind, STEP_FAIL);
    assert_int_equal(m.step.fail.kind, FAILURE_BUSY);
    machine_close(&m);
    while (count > 0)
        secret_unref(all[--count]);
    free(filler);
    assert_int_equal(secret_arena_used(), 0);
}

#endif

int main(void)
{
#ifdef __SANITIZE_ADDRESS__
    (void)puts("[  PASSED  ] 0 test(s): the sanitizer's allocator cannot be made to fail one by one");
    return 0;
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_the_lack_of_memory),
        cmocka_unit_test(survives_a_full_arena),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
#endif
}
