/* Memory that runs out: each allocation that our code makes in a conversation fails in turn. The machine then says so
 * (an error, or a failure that can be shown), and its end() gives everything back, wiped: no block that is freed, by us
 * or by json-c, may still hold a secret of the conversation. Only callers inside this program are failed: json-c 0.16
 * does not check a strdup() of its own. The allocator is replaced here, so this test counts what is live by itself and
 * is empty under AddressSanitizer, which has another. */
#include "grant/inspection.h"
#include "machine.h"
#include "token/cache.h"
#include <malloc.h>

#ifndef __SANITIZE_ADDRESS__
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *pointer);

#define SEEN __attribute__((visibility("default"))) /* by the libraries too */

static long countdown = -1; /* the allocation that fails; -1: none */
static bool failed;
static long live, unwiped;
static bool everybody; /* what libraries move is looked at too */

/* A part of every secret below. */
static const char mark[] = {'M', 'A', 'R', 'K'};

static void look(void *pointer)
{
    if (pointer && memmem(pointer, malloc_usable_size(pointer), mark, sizeof(mark)))
        unwiped++;
}

extern const char __executable_start, etext;

static bool is_ours(const void *caller)
{
    return (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}

static bool fails_now(const void *caller)
{
    if (!is_ours(caller) || countdown < 0 || countdown-- > 0)
        return false;
    failed = true;
    return true;
}
#define IS_OURS()   is_ours(__builtin_return_address(0))
#define FAILS_NOW() fails_now(__builtin_return_address(0))

static void *counted(void *pointer)
{
    live += pointer != NULL;
    return pointer;
}

SEEN void *malloc(size_t size)
{
    return FAILS_NOW() ? NULL : counted(__libc_malloc(size));
}

SEEN void *calloc(size_t count, size_t size)
{
    return FAILS_NOW() ? NULL : counted(__libc_calloc(count, size));
}

SEEN void *realloc(void *old, size_t size)
{
    if (IS_OURS() || everybody)
        look(old); /* what it moves from is not wiped; json-c's growing buffers are the allocator's to scramble */
    void *pointer = FAILS_NOW() ? NULL : __libc_realloc(old, size);
    live += pointer && !old;
    return pointer;
}

SEEN void free(void *pointer)
{
    live -= pointer != NULL;
    look(pointer);
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
SEEN char *strdup(const char *text)
{
    return FAILS_NOW() ? NULL : copy(text, strlen(text));
}

SEEN char *strndup(const char *text, size_t length)
{
    return FAILS_NOW() ? NULL : copy(text, strnlen(text, length));
}

#define CODE                                                                                                           \
    "{\"device_code\":\"DC\",\"user_code\":\"U\",\"verification_uri\":\"https://login.example.org/"                    \
    "d\",\"message\":\"m\",\"interval\":5,"                                                                            \
    "\"verification_uri_complete\":\"https://login.example.org/d?U\"}"
#define TOKENS                                                                                                         \
    "{\"access_token\":\"AT-MARK\",\"token_type\":\"Bearer\",\"refresh_token\":\"RT-MARK\",\"scope\":[\"api\"],"       \
    "\"id_token\":\"h.MARK.s\",\"expires_in\":\"60\"}"
#define EXCHANGED       "{\"access_token\":\"AT-MARK\",\"token_type\":\"Bearer\",\"issued_token_type\":\"a:b\"}"
#define KEYS(one)       "{\"primaryKey\":\"" one "-MARK\",\"secondaryKey\":\"K2-MARK\"}"
#define PARENT_IS(text) ((struct reply){.kind = STEP_PARENT, .body = (text), .person = "me"})
#define ENDPOINT                                                                                                       \
    "https://arm.example.org/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/" \
    "W/onlineEndpoints/E"

#define CHALLENGED                                                                                                     \
    {                                                                                                                  \
        .kind = STEP_HTTP, .status = 401,                                                                              \
        .headers = "WWW-Authenticate: Basic realm=/var/opt/azcmagent/tokens/a.key\r\n"                                 \
    }

static struct reply replies[16];
static size_t reply_count;

/* What a step says must be there: nothing may get lost in silence. */
static void check_step(const struct step *step, bool bare)
{
    if (step->kind == STEP_PROMPT) {
        assert_non_null(step->prompt.verification_uri);
        assert_non_null(step->prompt.verification_uri_complete);
        assert_non_null(step->prompt.user_code);
        assert_non_null(step->prompt.message);
    } else if (step->kind == STEP_SAVE) {
        assert_non_null(step->save->scope);
        assert_non_null(step->save->refresh_token);
    } else if (step->kind == STEP_DONE && step->done.tokens) {
        assert_non_null(step->done.tokens->access_token);
        assert_non_null(step->done.tokens->type);
    } else if (step->kind == STEP_HTTP) {
        assert_true(step->http.url && (bare || step->http.body.length > 0 || strcmp(step->http.method, "GET") == 0));
    }
}

/* One conversation with the n-th allocation failing: true when it was not reached, and the conversation ended well. */
static bool converse(struct machine *m, enum grant_op op, long n)
{
    long before = live;
    int r;
    unwiped = 0;
    m->state = calloc(1, m->grant->state_size);
    assert_non_null(m->state);
    failed = false;
    countdown = n;
    r = m->grant->start(m->state, op, &m->input, &m->tick, &m->step);
    for (size_t i = 0; r == 0 && m->step.kind != STEP_DONE && m->step.kind != STEP_FAIL; i++) {
        countdown = failed ? -1 : countdown;
        check_step(&m->step, m->grant->bare);
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
                                .metadata = replies[i].metadata,
                                .person = replies[i].person};
        r = m->grant->next(m->state, &answer, &m->tick, &m->step);
    }
    countdown = -1;
    assert_true(r == 0 || r == -ENOMEM);
    if (r == 0)
        check_step(&m->step, m->grant->bare);
    if (r == 0 && m->step.kind == STEP_FAIL)
        failure_says(&m->step.fail, "");
    bool done = !failed && r == 0 && m->step.kind == STEP_DONE;
    machine_end(m);
    assert_int_equal(live, before);
    assert_int_equal(unwiped, 0);
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
    assert_true(n > 2);
}

static void survives_the_lack_of_memory(void **state)
{
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL),
                                .device_authorization_endpoint = TEXT(DEVICE_URL),
                                .revocation_endpoint = TEXT(REVOCATION_URL),
                                .basic = true};
    const struct reply acquire[] = {METADATA_IS(&metadata), SECRET_IS("s-MARK"), OK(TOKENS)};
    const struct reply login[] = {METADATA_IS(&metadata), SECRET_IS("s-MARK"), OK(CODE),       YES(STEP_PROMPT),
                                  YES(STEP_WAIT),         ERROR("slow_down"),  YES(STEP_WAIT), OK(TOKENS),
                                  YES(STEP_VERIFY),       YES(STEP_SAVE)};
    const struct reply renew[] = {METADATA_IS(&metadata), SECRET_IS("s-MARK"), YES(STEP_SAVE), LOST,
                                  YES(STEP_SAVE),         OK(TOKENS),          YES(STEP_SAVE)};
    const struct reply revoke[] = {METADATA_IS(&metadata), SECRET_IS("s-MARK"), OK("")};
    const struct reply identity[] = {YES(STEP_READ), CHALLENGED, {.kind = STEP_READ, .body = "key-MARK"}, OK(TOKENS)};
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
    machine_hold(&m, "RT1-MARK", "api");
    torture(&m, GRANT_ACQUIRE, renew, ELEMENTS(renew));
    torture(&m, GRANT_REVOKE, revoke, ELEMENTS(revoke));
    m.grant = &grant_managed_identity;
    m.profile.client_id = NULL;
    m.profile.resource = TEXT("https://r.example");
    torture(&m, GRANT_ACQUIRE, identity, ELEMENTS(identity));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

static void survives_it_also_with_a_parent(void **state)
{
    const struct reply traded[] = {PARENT_IS("P1-MARK"), SECRET_IS("s-MARK"), ERROR("invalid_grant"),
                                   PARENT_IS("P2-MARK"), OK(TOKENS)};
    const struct reply exchanged[] = {{.kind = STEP_FILE, .body = "S-MARK"},
                                      {.kind = STEP_FILE, .body = "A-MARK"},
                                      SECRET_IS("s-MARK"),
                                      OK(EXCHANGED)};
    const struct reply listed[] = {YES(STEP_RECALL), PARENT_IS("P1-MARK"), SAYS(401, ""), PARENT_IS("P2-MARK"),
                                   OK(KEYS("K1"))};
    const struct reply rotated[] = {
        YES(STEP_RECALL),     PARENT_IS("P1-MARK"),
        OK(KEYS("K1")),       YES(STEP_NOTE),
        PARENT_IS("P2-MARK"), {.kind = STEP_HTTP, .status = 202, .headers = "Location: /operations/1\r\n"},
        YES(STEP_WAIT),       OK("{\"status\":\"Succeeded\"}"),
        PARENT_IS("P3-MARK"), OK(KEYS("N1")),
        YES(STEP_NOTE)};
    const struct reply token[] = {PARENT_IS("P1-MARK"), OK("{\"accessToken\":\"AT-MARK\",\"expiryOn\":1800000100}")};
    struct machine m;
    (void)state;
    machine_open(&m, &grant_jwt_bearer);
    m.profile.client_secret.kind = SOURCE_ENV;
    m.profile.parent = TEXT("me");
    torture(&m, GRANT_ACQUIRE, traded, ELEMENTS(traded));
    m.grant = &grant_token_exchange;
    m.profile.parent = NULL;
    m.profile.subject_token_file = m.profile.actor_token_file = TEXT("/run/t");
    torture(&m, GRANT_ACQUIRE, exchanged, ELEMENTS(exchanged));
    m.grant = &grant_azureml_key;
    m.profile.parent = TEXT("me");
    m.profile.authority = TEXT(ENDPOINT);
    torture(&m, GRANT_ACQUIRE, listed, ELEMENTS(listed));
    torture(&m, GRANT_ROTATE, rotated, ELEMENTS(rotated));
    m.grant = &grant_azureml_token;
    torture(&m, GRANT_ACQUIRE, token, ELEMENTS(token));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

static void survives_it_when_it_asks_about_a_token(void **state)
{
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL),
                                .introspection_endpoint = TEXT(TOKEN_URL),
                                .userinfo_endpoint = TEXT("https://login.example.org/userinfo"),
                                .basic = true};
    const struct reply introspection[] = {
        METADATA_IS(&metadata), SECRET_IS("s-MARK"),
        OK("{\"active\":true,\"sub\":\"MARK\",\"a\":[\"AT-MARK\"],\"token\":\"AT-MARK\"}")};
    const struct reply userinfo[] = {METADATA_IS(&metadata), SAYS(401, "")};
    struct machine m;
    (void)state;
    machine_open(&m, &grant_inspection);
    m.input.token = "AT-MARK";
    m.profile.client_secret.kind = SOURCE_ENV;
    torture(&m, GRANT_INSPECT, introspection, ELEMENTS(introspection));
    m.profile.client_secret.kind = SOURCE_NONE;
    torture(&m, GRANT_INSPECT, userinfo, ELEMENTS(userinfo));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

/* Sign-ins whose secrets a person types, or that were sent in JSON. */
static void survives_it_with_passwords(void **state)
{
    const struct reply login[] = {{.kind = STEP_ASK, .body = "pw-MARK"}, OK(TOKENS), YES(STEP_VERIFY), YES(STEP_SAVE)};
    const struct reply server[] = {{.kind = STEP_ASK, .body = "pw-MARK"}, OK(TOKENS), YES(STEP_VERIFY), YES(STEP_SAVE)};
    const struct reply renew[] = {YES(STEP_SAVE), OK(TOKENS), YES(STEP_SAVE)};
    struct machine m;
    (void)state;
    machine_open(&m, &grant_password);
    m.profile.username = TEXT("u");
    torture(&m, GRANT_LOGIN, login, ELEMENTS(login));
    m.grant = &grant_mlserver;
    m.profile.dialect = DIALECT_MLSERVER;
    m.profile.token_endpoint = NULL;
    torture(&m, GRANT_LOGIN, server, ELEMENTS(server));
    machine_hold(&m, "RT1-MARK", "api");
    torture(&m, GRANT_ACQUIRE, renew, ELEMENTS(renew));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

/* What a client gets is written where nothing is left behind: a reply with a token is not json-c's to render. */
static void a_reply_leaves_no_token_behind(void **state)
{
    enum { LENGTH = 3000 };
    struct profile *profile = profile_new(0);
    struct cache *cache = NULL;
    struct holder *holder;
    struct entry *entry;
    (void)state;
    assert_non_null(profile);
    (void)snprintf(profile->name, sizeof(profile->name), "p");
    profile->header = TEXT("Authorization: Bearer {token}");
    assert_int_equal(cache_new(&cache), 0);
    assert_int_equal(cache_add(cache, profile, &holder), 0);
    const struct request request = {.min_valid_s = -1};
    assert_int_equal(holder_entry(cache, holder, &request, &entry), 0);
    unwiped = 0;
    everybody = true;
    for (int i = 0; i < 3; i++) {
        struct tokens tokens = {.access_token = calloc(1, LENGTH + 1),
                                .type = strdup("Bearer"),
                                .expires_in_s = 60,
                                .refresh_in_s = -1,
                                .refresh_life_s = -1};
        assert_non_null(tokens.access_token);
        for (size_t n = 0; n < LENGTH; n++)
            tokens.access_token[n] = mark[n % sizeof(mark)];
        assert_int_equal(entry_put(entry, &tokens, 0, 0, 0), 0);
        tokens_clear(&tokens);
    }
    everybody = false;
    cache_free(cache);
    profile_free(profile);
    assert_int_equal(unwiped, 0);
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
    machine_hold(&m, "RT1-MARK", "api");
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
        cmocka_unit_test(survives_it_also_with_a_parent),
        cmocka_unit_test(survives_it_when_it_asks_about_a_token),
        cmocka_unit_test(survives_it_with_passwords),
        cmocka_unit_test(a_reply_leaves_no_token_behind),
        cmocka_unit_test(survives_a_full_arena),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
#endif
}
