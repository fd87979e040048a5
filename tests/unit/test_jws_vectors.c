/* JWS by tables: the RFCs' own vectors (jws/rfc.json), and what must be refused, in the style of Wycheproof
 * (jws/refused.json, made by jws/make.py). Each token with its key set, and what jws_verify() must say of it. Paths are
 * below the project's own folder, where `make check` starts this. */
#include "jose_fixture.h"

#include "authority/jws.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FILE = 1 << 20, LEAST_REFUSED = 250, LEAST_RFC = 12 };

static enum jws_result result_named(const char *name)
{
    static const char *const names[] = {
        [JWS_OK] = "ok",         [JWS_MALFORMED] = "malformed", [JWS_ALGORITHM] = "algorithm",
        [JWS_HEADER] = "header", [JWS_NO_KEY] = "no key",       [JWS_BAD_SIGNATURE] = "bad signature"};
    for (size_t i = 0; i < ELEMENTS(names); i++)
        if (strcmp(name, names[i]) == 0)
            return (enum jws_result)i;
    fail_msg("no such result: %s", name);
    return JWS_NO_MEMORY;
}

static json_object *read_file(const char *path)
{
    struct stat about;
    json_object *object = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_msg("%s: %s (start it in the project's folder)", path, strerror(errno));
    assert_int_equal(fstat(fd, &about), 0);
    assert_in_range(about.st_size, 1, MOST_FILE);
    _cleanup_free_ char *text = malloc((size_t)about.st_size);
    assert_non_null(text);
    assert_int_equal(read(fd, text, (size_t)about.st_size), about.st_size);
    close(fd);
    assert_int_equal(json_parse(text, (size_t)about.st_size, 16, &object), 0);
    return object;
}

static const char *text_of(json_object *object, const char *name)
{
    const char *value;
    return json_string(object, name, MOST_FILE, &value) == 0 ? value : NULL;
}

static void check_claims(const struct jws *jws, json_object *test, int64_t id)
{
    struct span payload;
    json_object *claims = NULL;
    const char *wanted = text_of(test, "claims");
    if (json_bytes(test, "payload", LIMIT_JWS, &payload) == 0 &&
        !span_equals(payload, (struct span){jws->payload, jws->payload_length}))
        fail_msg("%lld: another payload", (long long)id);
    if (wanted && jws_claims(jws, &claims) != result_named(wanted))
        fail_msg("%lld: its claims are not %s", (long long)id, wanted);
    json_object_put(claims);
}

/* The token in memory of exactly its size, so that a sanitizer sees each byte read beyond. */
static void check_test(json_object *test, const struct jwks *keys)
{
    struct span token;
    struct jws jws = {0};
    int64_t id;
    assert_int_equal(json_integer(test, "id", &id), 0);
    assert_int_equal(json_bytes(test, "jws", MOST_FILE, &token), 0);
    _cleanup_free_ char *exact = malloc(token.length ? token.length : 1);
    assert_non_null(exact);
    memcpy(exact, token.data, token.length);
    enum jws_result result = jws_verify((struct span){exact, token.length}, keys, &jws);
    if (result != result_named(text_of(test, "result")))
        fail_msg("%lld, %s: %s, and not as expected: %s", (long long)id, text_of(test, "comment"),
                 text_of(test, "result"), jws_result_text(result));
    if (result == JWS_OK)
        check_claims(&jws, test, id);
    else
        assert_true(!jws.header && !jws.payload && !jws.key);
    jws_done(&jws);
}

static size_t check_group(json_object *group)
{
    json_object *tests, *document;
    struct jwks *keys = NULL;
    assert_true(json_object_object_get_ex(group, "jwks", &document));
    const char *text = json_object_to_json_string(document);
    assert_int_equal(jwks_parse(span_of(text), &keys), 0);
    assert_int_equal(json_array(group, "tests", &tests), 0);
    size_t count = json_object_array_length(tests);
    for (size_t i = 0; i < count; i++)
        check_test(json_object_array_get_idx(tests, i), keys);
    jwks_free(keys);
    return count;
}

static void check_file(const char *path, size_t least)
{
    json_object *file = read_file(path), *groups;
    size_t count = 0;
    assert_int_equal(json_array(file, "groups", &groups), 0);
    for (size_t i = 0; i < json_object_array_length(groups); i++)
        count += check_group(json_object_array_get_idx(groups, i));
    if (count < least)
        fail_msg("%s has %zu tests only", path, count);
    json_object_put(file);
}

static void test_rfc_vectors(void **state)
{
    (void)state;
    check_file("tests/unit/jws/rfc.json", LEAST_RFC);
}

static void test_refused(void **state)
{
    (void)state;
    check_file("tests/unit/jws/refused.json", LEAST_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_vectors),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
