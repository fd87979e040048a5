/* Tokens whose claims are right but for what a case changes, signed with a key of the test's own. */
#pragma once

#include "jose_fixture.h"

#include "authority/id_token.h"

#define NOW    INT64_C(1800000000)
#define ISSUER "https://login.example.org/realms/ml"
#define TENANT "11111111-2222-3333-4444-abcdefABCDEF"
#define ENTRA  "https://login.microsoftonline.com/{tenantid}/v2.0"

static EVP_PKEY *key;
static struct jwks *keys;
static const struct id_token_rules rules = {.issuer = ISSUER, .audience = "mltoken", .now_s = NOW, .leeway_s = 60};

static inline struct jwks *set_with(const char *more)
{
    struct jwks *set = NULL;
    _cleanup_free_ char *jwk = jwk_of(key, more), *document = text("{\"keys\":[%s]}", jwk);
    assert_int_equal(jwks_parse(span_of(document), &set), 0);
    return set;
}

static inline int setup(void **state)
{
    (void)state;
    key = make_ec("P-256");
    keys = set_with("\"kid\":\"k\"");
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    jwks_free(keys);
    EVP_PKEY_free(key);
    return 0;
}

/* One case: the claims iss, aud, exp and sub are right unless `claims` names them itself. */
static inline char *claims_with(const char *claims)
{
    static const struct {
        const char *name, *right;
    } base[] = {{"\"iss\":", "\"" ISSUER "\""},
                {"\"aud\":", "\"mltoken\""},
                {"\"exp\":", "1800000100"},
                {"\"sub\":", "\"alice\""}};
    char *all = text("{%s", claims);
    for (size_t i = 0; i < ELEMENTS(base); i++) {
        if (strstr(claims, base[i].name))
            continue;
        char *longer = text("%s%s%s%s", all, all[1] ? "," : "", base[i].name, base[i].right);
        free(all);
        all = longer;
    }
    char *whole = text("%s}", all);
    free(all);
    return whole;
}

typedef enum id_token_error verify_fn(struct span, const struct jwks *, const struct id_token_rules *,
                                      struct id_token *, struct id_token_failure *);

static inline enum id_token_error run(verify_fn *verify, const char *header, const char *claims,
                                      const struct id_token_rules *how, struct id_token *ret,
                                      struct id_token_failure *why)
{
    _cleanup_free_ char *whole = claims_with(claims), *token = sign(key, header, whole, strlen(whole));
    return verify(span_of(token), keys, how, ret, why);
}

static inline enum id_token_error try_with(verify_fn *verify, const char *claims, const struct id_token_rules *how)
{
    struct id_token token = {0};
    struct id_token_failure why;
    enum id_token_error error = run(verify, "{\"alg\":\"ES256\",\"kid\":\"k\"}", claims, how, &token, &why);
    assert_int_equal(why.error, error);
    assert_true((error == ID_TOKEN_OK) == (token.claims != NULL));
    id_token_done(&token);
    return error;
}

static inline enum id_token_error try(const char *claims)
{
    return try_with(id_token_verify, claims, &rules);
}

struct test_case {
    const char *claims;
    enum id_token_error expected;
};

static inline void try_all(const struct test_case *cases, size_t count, const struct id_token_rules *how)
{
    for (size_t i = 0; i < count; i++) {
        enum id_token_error error = try_with(id_token_verify, cases[i].claims, how);
        if (error != cases[i].expected)
            fail_msg("%s: %d, expected %d", cases[i].claims, error, cases[i].expected);
    }
}
