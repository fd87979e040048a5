/* The cache: variants, room, verdicts at their edges, replies. Time is a number here. */
#include "token/cache.h"

#include "cleanup.h"
#include "json.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

#define TEXT(literal) ((char *)(uintptr_t)(literal))
enum { NOW = 1000000, WALL = 1700000000 };

static struct cache *cache;
static struct holder *holder;
static struct profile *profile;
static const struct request plain = {.min_valid_s = -1};

static struct profile *make_profile(const char *name)
{
    struct profile *made = profile_new(0);
    assert_non_null(made);
    (void)snprintf(made->name, sizeof(made->name), "%s", name);
    made->header = profile_text(made, span_of("Authorization: Bearer {token}"));
    return made;
}

static int open_cache(void **state)
{
    static char *scopes[] = {NULL, NULL, NULL};
    (void)state;
    scopes[0] = TEXT("a");
    scopes[1] = TEXT("b");
    profile = make_profile("p");
    profile->scopes = scopes;
    assert_int_equal(0, cache_new(&cache));
    return cache_add(cache, profile, &holder);
}

static int close_cache(void **state)
{
    (void)state;
    cache = cache_free(cache);
    assert_null(profile_free(profile)); /* ours was the last */
    return 0;
}

static struct entry *entry_for(const struct request *request)
{
    struct entry *entry = NULL;
    assert_int_equal(0, holder_entry(cache, holder, request, &entry));
    return entry;
}

static struct entry *entry_named(const char *audience)
{
    struct request request = {.audience = TEXT(audience), .min_valid_s = -1};
    return entry_for(&request);
}

static int put(struct entry *entry, const char *token, int64_t life_s, int64_t refresh_in_s, const char *scope)
{
    struct tokens tokens = {.access_token = strdup(token),
                            .expires_in_s = life_s,
                            .refresh_in_s = refresh_in_s,
                            .scope = scope ? strdup(scope) : NULL};
    int r = entry_put(entry, &tokens, NOW, WALL, 0);
    assert_true(r < 0 || !tokens.access_token);
    tokens_clear(&tokens);
    return r;
}

/* ---- variants ---- */

static void equal_requests_share_an_entry(void **state)
{
    (void)state;
    char *ab[] = {TEXT("a"), TEXT("b"), NULL}, *a[] = {TEXT("a"), NULL}, *none[] = {NULL};
    struct request same = {.scopes = ab, .min_valid_s = 7, .refresh = true}, fewer = {.scopes = a, .min_valid_s = -1};
    struct request nothing = {.scopes = none, .min_valid_s = -1},
                   empty = {.resource = TEXT(""), .audience = TEXT(""), .claims = TEXT(""), .min_valid_s = -1};
    struct entry *first = entry_for(&same);
    assert_ptr_equal(first, entry_for(&plain)); /* asked for by name, it is the profile's own */
    assert_null(first->request.scopes);         /* ... and known as such */
    assert_int_equal(-1, first->request.min_valid_s);
    assert_false(first->request.refresh);
    assert_ptr_equal(first, entry_for(&empty));
    assert_ptr_not_equal(first, entry_for(&fewer));
    assert_ptr_not_equal(entry_for(&nothing), entry_for(&fewer));
    assert_ptr_not_equal(first, entry_for(&nothing));
    assert_ptr_equal(first, entry_for(&plain));
    assert_int_equal(3, cache_entries(cache));
}

/* What is in one member must not be taken for what is in another. */
static void members_are_kept_apart(void **state)
{
    (void)state;
    struct request requests[] = {{.resource = TEXT("x"), .min_valid_s = -1},
                                 {.audience = TEXT("x"), .min_valid_s = -1},
                                 {.claims = TEXT("x"), .min_valid_s = -1},
                                 {.resource = TEXT("x"), .audience = TEXT("x"), .min_valid_s = -1},
                                 {.claims = TEXT("{\"a\":\n1}"), .min_valid_s = -1},
                                 {.claims = TEXT("{\"a\":1}"), .min_valid_s = -1}};
    struct entry *entries[ELEMENTS(requests)];
    for (size_t i = 0; i < ELEMENTS(requests); i++) {
        entries[i] = entry_for(&requests[i]);
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(entries[i], entries[j]);
    }
    for (size_t i = 0; i < ELEMENTS(requests); i++)
        assert_ptr_equal(entries[i], entry_for(&requests[i]));
}

/* ---- room ---- */

static void room_for_a_profile(void **state)
{
    char name[16];
    (void)state;
    struct entry *kept = entry_named("flying"), *watched = entry_named("watched"), *landing = entry_named("landing");
    kept->flight = (struct flight *)&name; /* only looked at */
    watched->watchers = (struct watcher *)&name;
    landing->landing = (struct flight *)&name;
    for (int i = 3; i < LIMIT_CACHE_PER_PROFILE; i++) {
        (void)snprintf(name, sizeof(name), "%d", i);
        entry_named(name)->asked_ms = i;
    }
    assert_int_equal(LIMIT_CACHE_PER_PROFILE, cache_entries(cache));
    struct entry *three = entry_named("3");
    assert_int_equal(LIMIT_CACHE_PER_PROFILE, cache_entries(cache));
    three->asked_ms = 1000;
    uint64_t epoch = cache_epoch(cache);
    entry_named("new")->asked_ms = 2000; /* 4 goes: the least recently asked for that nobody needs */
    assert_int_equal(LIMIT_CACHE_PER_PROFILE, cache_entries(cache));
    assert_true(cache_epoch(cache) != epoch);
    assert_ptr_equal(three, entry_named("3"));
    assert_ptr_equal(kept, entry_named("flying"));
    assert_ptr_equal(watched, entry_named("watched"));
    assert_ptr_equal(landing, entry_named("landing"));
    for (struct entry *entry = holder->entries; entry; entry = entry->next)
        assert_string_not_equal("4", entry->request.audience);
    for (struct entry *entry = holder->entries; entry; entry = entry->next)
        entry->flight = (struct flight *)&name;
    struct request request = {.audience = TEXT("one more"), .min_valid_s = -1};
    struct entry *none = NULL;
    assert_int_equal(-EBUSY, holder_entry(cache, holder, &request, &none));
    assert_null(none);
    assert_int_equal(LIMIT_CACHE_PER_PROFILE, cache_entries(cache));
}

/* A cache that is full makes room for a profile that has nothing in it. */
static void room_in_the_whole(void **state)
{
    (void)state;
    struct holder *newcomer;
    size_t filled = 0;
    for (int i = 0; cache_entries(cache) < LIMIT_CACHE_ENTRIES; i++) {
        char name[16];
        struct holder *other;
        (void)snprintf(name, sizeof(name), "q%d", i);
        struct profile *made = make_profile(name);
        assert_int_equal(0, cache_add(cache, made, &other));
        profile_free(made);
        for (int j = 0; j < LIMIT_CACHE_PER_PROFILE && cache_entries(cache) < LIMIT_CACHE_ENTRIES; j++) {
            struct entry *entry;
            (void)snprintf(name, sizeof(name), "%d", j);
            struct request request = {.audience = name, .min_valid_s = -1};
            assert_int_equal(0, holder_entry(cache, other, &request, &entry));
            entry->asked_ms = (int64_t)++filled;
        }
    }
    struct profile *made = make_profile("newcomer");
    assert_int_equal(0, cache_add(cache, made, &newcomer));
    profile_free(made);
    struct entry *entry;
    assert_int_equal(0, holder_entry(cache, newcomer, &plain, &entry));
    assert_int_equal(LIMIT_CACHE_ENTRIES, cache_entries(cache));
    assert_int_equal(LIMIT_CACHE_PER_PROFILE - 1, cache_find(cache, "q0")->entry_count);
    assert_ptr_equal(newcomer, cache_find(cache, "newcomer"));
    cache_remove(cache, newcomer);
    assert_null(cache_find(cache, "newcomer"));
    assert_int_equal(LIMIT_CACHE_ENTRIES - 1, cache_entries(cache));
}

/* ---- verdicts ---- */

static enum verdict judge(const struct entry *entry, int64_t min_valid_s, bool refresh, int64_t now, bool *ret_alive)
{
    struct request request = {.min_valid_s = min_valid_s, .refresh = refresh};
    struct failure why = {.kind = FAILURE_NONE};
    enum verdict verdict = entry_judge(entry, &request, now, &why, ret_alive);
    if (verdict == VERDICT_REFUSE)
        assert_int_not_equal(FAILURE_NONE, why.kind);
    return verdict;
}

static void verdicts_by_age(void **state)
{
    static const struct {
        int64_t life_s, min_valid_s, age_ms;
        bool refresh;
        enum verdict verdict;
        bool alive;
    } cases[] = {
        {3600, -1, 0, false, VERDICT_SERVE, true},
        {3600, -1, 3300000, false, VERDICT_SERVE, true}, /* exactly min_valid is left */
        {3600, -1, 3300001, false, VERDICT_FETCH, true},
        {3600, -1, 3599000, false, VERDICT_FETCH, true},
        {3600, -1, 3599001, false, VERDICT_FETCH, false}, /* less than a second is of no use */
        {3600, -1, 3600000, false, VERDICT_FETCH, false},
        {3600, -1, 9999999, false, VERDICT_FETCH, false},
        {3600, -1, 0, true, VERDICT_FETCH, false},
        {3600, 0, 3599000, false, VERDICT_SERVE, false},
        {3600, 0, 3599001, false, VERDICT_FETCH, false},
        {3600, 3600, 0, false, VERDICT_SERVE, false},
        {3600, 3600, 1, false, VERDICT_FETCH, false}, /* a new one would do */
        {3600, 3601, 1, false, VERDICT_REFUSE, false},
        {3600, 3601, 59999, false, VERDICT_REFUSE, false},
        {3600, 3601, 60000, false, VERDICT_FETCH, false}, /* the authority may have thought again */
        {3600, 3601, 1, true, VERDICT_FETCH, false},
        {3600, LIMIT_LIFETIME_S, 0, false, VERDICT_REFUSE, false},
        {3600, INT64_MAX, 0, false, VERDICT_REFUSE, false},
        {300, -1, 270000, false, VERDICT_SERVE, true}, /* five-minute tokens: a tenth */
        {300, -1, 270001, false, VERDICT_FETCH, true},
        {1, -1, 0, false, VERDICT_SERVE, true},
        {1, -1, 900, false, VERDICT_SERVE, true}, /* whoever asks in a loop must not hammer the authority */
        {1, -1, 901, false, VERDICT_FETCH, false},
        {5, -1, 4500, false, VERDICT_SERVE, true},
        {5, -1, 4501, false, VERDICT_FETCH, false},
        {20, 1, 19000, false, VERDICT_SERVE, false}, /* its last second is of no use to anybody */
        {20, 0, 19001, false, VERDICT_FETCH, false},
    };
    (void)state;
    struct entry *entry = entry_for(&plain);
    bool alive;
    assert_int_equal(VERDICT_FETCH, judge(entry, -1, false, NOW, &alive)); /* there is none yet */
    assert_false(alive);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        assert_int_equal(0, put(entry, "t", cases[i].life_s, -1, NULL));
        enum verdict verdict = judge(entry, cases[i].min_valid_s, cases[i].refresh, NOW + cases[i].age_ms, &alive);
        if (verdict != cases[i].verdict || alive != cases[i].alive)
            fail_msg("case %zu: verdict %d, alive %d", i, (int)verdict, alive);
    }
}

static void too_short_says_why(void **state)
{
    static const struct {
        int64_t life_s, age_ms, asked_s;
        const char *why;
    } cases[] = {
        {60, 0, 600, "lives 60 s, and 600 s were asked for"},
        {60, 0, 61, "lives 60 s, and 61 s were asked for"},
        {20, 1001, 19, "lives 20 s, of which 18 s were left when it had come, and 19 s were asked for"},
        {20, 1, 20, "lives 20 s, of which 19 s were left when it had come, and 20 s were asked for"},
        {20, 30000, 5, "lives 20 s, of which 0 s were left when it had come, and 5 s were asked for"},
        {20, 1000, 19, NULL},
        {20, 20000, -1, NULL},
    };
    (void)state;
    struct entry *entry = entry_for(&plain);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct request request = {.min_valid_s = cases[i].asked_s};
        struct failure why;
        assert_int_equal(0, put(entry, "t", cases[i].life_s, -1, NULL));
        assert_int_equal(cases[i].why != NULL, entry_too_short(entry, &request, NOW + cases[i].age_ms, &why));
        if (cases[i].why && (why.kind != FAILURE_TOKEN_TOO_SHORT || !strstr(why.reason, cases[i].why)))
            fail_msg("case %zu: %s", i, why.reason);
    }
}

static void verdicts_after_failures(void **state)
{
    (void)state;
    struct entry *entry = entry_for(&plain);
    struct failure failure;
    bool alive;
    failure_set(&failure, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "no");
    assert_int_equal(0, entry_fail(entry, &failure, true, NOW, WALL, 0));
    assert_int_equal(-1, entry->failed->retry_at);
    assert_int_equal(VERDICT_REFUSE, judge(entry, -1, false, NOW + LIMIT_REFUSAL_MS - 1, &alive));
    assert_int_equal(VERDICT_REFUSE,
                     judge(entry, -1, true, NOW + LIMIT_REFUSAL_MS - 1, &alive)); /* refresh clears no memory */
    assert_int_equal(VERDICT_FETCH, judge(entry, -1, false, NOW + LIMIT_REFUSAL_MS, &alive));
    assert_int_equal(0, put(entry, "t", 3600, -1, NULL)); /* a token clears it */
    assert_null(entry->failed);
    failure_set(&failure, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "no");
    failure.retry_after_ms = 120000;
    int64_t late = NOW + 3400000;
    assert_int_equal(0, entry_fail(entry, &failure, true, late, WALL, 0));
    assert_int_equal(WALL + 120, entry->failed->retry_at);
    assert_int_equal(VERDICT_SERVE, judge(entry, -1, false, late, &alive));   /* alive, if not fresh */
    assert_int_equal(VERDICT_REFUSE, judge(entry, 300, false, late, &alive)); /* asked for more */
    assert_int_equal(VERDICT_SERVE, judge(entry, 200, false, late, &alive));  /* it has that */
    assert_int_equal(VERDICT_REFUSE, judge(entry, -1, true, late, &alive));
    assert_int_equal(VERDICT_FETCH, judge(entry, -1, false, NOW + 3599001, &alive));
    entry_forget_failure(entry);
    assert_int_equal(VERDICT_FETCH, judge(entry, -1, false, late, &alive));
    failure_set(&failure, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "no");
    assert_int_equal(0, entry_fail(entry, &failure, false, late, WALL, 0)); /* not remembered */
    assert_int_equal(VERDICT_FETCH, judge(entry, -1, false, late, &alive));
    assert_int_equal(FAILURE_SECRET_MISSING, entry->failed->kind);
}

static void when_it_is_renewed(void **state)
{
    (void)state;
    struct entry *entry = entry_for(&plain);
    struct failure failure;
    entry->asked_ms = NOW;
    assert_int_equal(-1, entry_renew_ms(entry, NOW)); /* no token, nothing to renew */
    assert_int_equal(0, put(entry, "t", 3600, -1, NULL));
    assert_int_equal(NOW + 2880000, entry_renew_ms(entry, NOW));
    assert_int_equal(NOW + 2880000, entry_renew_ms(entry, NOW + 36000000 - 1));
    assert_int_equal(-1, entry_renew_ms(entry, NOW + 36000000)); /* nobody asked for ten lives */
    holder->identity = calloc(1, sizeof(*holder->identity));
    assert_int_equal(NOW + 2880000, entry_renew_ms(entry, NOW + 36000000)); /* a sign-in is kept alive */
    for (unsigned n = 1; n <= 12; n++) {
        failure_set(&failure, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "no");
        assert_int_equal(0, entry_fail(entry, &failure, true, NOW, WALL, 0));
        int64_t wait = n < 10 ? LIMIT_BACKOFF_FIRST_MS << (n - 1) : LIMIT_BACKOFF_MS;
        assert_int_equal(NOW + (wait < LIMIT_BACKOFF_MS ? wait : LIMIT_BACKOFF_MS), entry_renew_ms(entry, NOW));
    }
    failure_set(&failure, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "no");
    assert_int_equal(0, entry_fail(entry, &failure, true, NOW, WALL, 0));
    assert_int_equal(-1, entry_renew_ms(entry, NOW));
    entry->watchers = (struct watcher *)&failure; /* somebody follows: once in a while */
    assert_int_equal(NOW + LIMIT_BACKOFF_MS, entry_renew_ms(entry, NOW));
    failure_set(&failure, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "no");
    assert_int_equal(0, entry_fail(entry, &failure, true, NOW, WALL, 0));
    assert_int_equal(-1, entry_renew_ms(entry, NOW));
    entry->watchers = NULL;
    profile->refresh_ahead_s = REFRESH_AHEAD_NEVER;
    assert_int_equal(0, put(entry, "t", 3600, -1, NULL));
    assert_int_equal(-1, entry_renew_ms(entry, NOW));
    assert_int_equal(-1, entry->refresh_at);
}

/* ---- replies ---- */

static json_object *token_of(const struct entry *entry)
{
    json_object *reply = NULL, *parameters, *token;
    assert_int_equal('\0', entry->reply.data[entry->reply.length - 1]);
    assert_int_equal(strlen(entry->reply.data), entry->reply.length - 1);
    assert_true(entry->reply.length - 1 <= LIMIT_REPLY);
    assert_int_equal(0, json_parse(entry->reply.data, entry->reply.length - 1, LIMIT_REPLY_DEPTH, &reply));
    assert_int_equal(1, json_object_object_length(reply));
    assert_int_equal(0, json_member(reply, "parameters", &parameters));
    assert_int_equal(0, json_member(parameters, "token", &token));
    token = json_object_get(token);
    json_object_put(reply);
    return token;
}

static void check_text(json_object *token, const char *name, const char *expected)
{
    const char *text = NULL;
    int r = json_string(token, name, LIMIT_REPLY, &text);
    assert_int_equal(expected ? 0 : -ENOENT, r);
    if (expected)
        assert_string_equal(expected, text);
}

static void replies_have_every_member(void **state)
{
    (void)state;
    char *scopes[] = {TEXT("x\"y"), NULL}; /* an authority's scopes are escaped all the same */
    struct request request = {
        .scopes = scopes, .resource = TEXT("https://r/\"\\"), .audience = TEXT("\xc3\xa4"), .min_valid_s = -1};
    struct entry *entry = entry_for(&request);
    int64_t number;
    holder->identity = calloc(1, sizeof(*holder->identity));
    (void)snprintf(holder->identity->account, sizeof(holder->identity->account), "alice@example.org");
    assert_int_equal(0, put(entry, "a/b+c==", 3600, 1800, NULL));
    json_object *token = token_of(entry);
    check_text(token, "profile", "p");
    check_text(token, "value", "a/b+c==");
    check_text(token, "type", "Bearer");
    check_text(token, "header", "Authorization: Bearer a/b+c==");
    check_text(token, "resource", "https://r/\"\\");
    check_text(token, "audience", "\xc3\xa4");
    check_text(token, "account", "alice@example.org");
    assert_true(json_integer(token, "expiresAt", &number) == 0 && number == WALL + 3600);
    assert_true(json_integer(token, "refreshAt", &number) == 0 && number == WALL + 1800);
    json_object_put(token);
    assert_non_null(strstr(entry->reply.data, "\"scopes\":[\"x\\\"y\"]"));
    assert_non_null(strstr(entry->reply.data, "a/b+c==")); /* slashes are not escaped */

    entry = entry_for(&plain);
    profile->refresh_ahead_s = REFRESH_AHEAD_NEVER;
    profile->header = profile_text(profile, span_of("api-key: {token};x"));
    assert_int_equal(0, put(entry, "t", 60, -1, "b c  a"));
    token = token_of(entry);
    check_text(token, "header", "api-key: t;x");
    check_text(token, "resource", NULL);
    assert_int_equal(-ENOENT, json_integer(token, "refreshAt", &number));
    json_object_put(token);
    assert_non_null(strstr(entry->reply.data, "\"scopes\":[\"a\",\"b\",\"c\"]")); /* as granted */
    assert_int_equal(0, put(entry, "t", 60, -1, "bad\"scope"));
    assert_non_null(strstr(entry->reply.data, "\"scopes\":[\"a\",\"b\"]")); /* as asked for */
}

/* The longest token with the most scopes fits; one that cannot be kept leaves the old one as it was. */
static void replies_at_their_limit(void **state)
{
    static char token[LIMIT_REPLY];
    static char scope[LIMIT_SCOPES][LIMIT_SCOPE + 1];
    char *scopes[LIMIT_SCOPES + 1] = {NULL};
    (void)state;
    for (size_t i = 0; i < LIMIT_SCOPES; i++) {
        for (size_t j = 0; j < LIMIT_SCOPE; j++)
            scope[i][j] = (char)('0' + i);
        for (size_t j = 0; j < LIMIT_SCOPE; j++)
            if (scope[i][j] == '\\')
                scope[i][j] = 'z';
        scopes[i] = scope[i];
    }
    struct request request = {.scopes = scopes, .min_valid_s = -1};
    struct entry *entry = entry_for(&request);
    for (size_t i = 0; i < LIMIT_TOKEN; i++)
        token[i] = 'x';
    assert_int_equal(0, put(entry, token, 3600, -1, NULL));
    assert_int_equal(LIMIT_TOKEN, strlen(entry->value));
    json_object_put(token_of(entry));
    size_t before = entry->reply.length;
    for (size_t i = 0; i < LIMIT_REPLY - 1; i++)
        token[i] = 'y';
    assert_true(put(entry, token, 60, -1, NULL) < 0);
    assert_int_equal(before, entry->reply.length);
    assert_int_equal('x', entry->value[0]);
    assert_int_equal(WALL + 3600, entry->expires_at);
    assert_int_equal(NOW + 3600000, entry->expires_ms);
    for (int64_t life = -1; life <= 0; life++) {
        assert_int_equal(-EINVAL, put(entry, "t", life, -1, NULL));
        assert_int_equal('x', entry->value[0]);
    }
    assert_int_equal(0, put(entry, "t", INT64_MAX, -1, NULL)); /* cut, not wrapped around */
    assert_int_equal(NOW + LIMIT_LIFETIME_S * 1000, entry->expires_ms);
    entry_forget_token(entry);
    assert_null(entry->value);
    assert_int_equal(0, entry->reply.length);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_cache, close_cache)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_requests_share_an_entry),
        TEST(members_are_kept_apart),
        TEST(room_for_a_profile),
        TEST(room_in_the_whole),
        TEST(verdicts_by_age),
        TEST(too_short_says_why),
        TEST(verdicts_after_failures),
        TEST(when_it_is_renewed),
        TEST(replies_have_every_member),
        TEST(replies_at_their_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
