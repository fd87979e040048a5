/* What secrets are bound to: each receiver counts, for the store and for what is held alike, and nothing else does. */
#include "acquire/binding.h"

#include "cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

static char other[] = "https://other";
static binding_text seen[16];
static size_t count;

static struct profile *make(void)
{
    struct profile *profile = profile_new(0);
    assert_non_null(profile);
    (void)snprintf(profile->name, sizeof(profile->name), "p");
    profile->authority = profile_text(profile, span_of("https://a"));
    profile->client_id = profile_text(profile, span_of("id"));
    return profile;
}

/* It is a binding that was not seen before. */
static void differs(const struct profile *profile, struct span ca_pem)
{
    assert_true(count < ELEMENTS(seen));
    assert_int_equal(0, binding_of(profile, ca_pem, seen[count]));
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(seen[i], seen[count]);
    count++;
}

static void every_receiver_counts(void **state)
{
    char *hosts[] = {other, NULL}, *more[] = {other, other, NULL};
    (void)state;
    struct profile *before = make(), *profile = make();
    char **const members[] = {&profile->authority,           &profile->tenant,
                              &profile->client_id,           &profile->username,
                              &profile->token_endpoint,      &profile->device_authorization_endpoint,
                              &profile->revocation_endpoint, &profile->proxy};
    differs(profile, (struct span){0});
    assert_true(profile_same_binding(before, profile));
    for (size_t i = 0; i < ELEMENTS(members); i++) {
        char *own = *members[i];
        *members[i] = other;
        differs(profile, (struct span){0});
        assert_false(profile_same_binding(before, profile));
        assert_false(profile_same_binding(profile, before));
        *members[i] = own;
    }
    profile->endpoint_hosts = hosts;
    differs(profile, (struct span){0});
    assert_false(profile_same_binding(before, profile));
    before->endpoint_hosts = more;
    assert_false(profile_same_binding(before, profile));
    before->endpoint_hosts = profile->endpoint_hosts = NULL;
    profile_free(before);
    profile_free(profile);
}

static void the_ca_file_counts_by_its_content(void **state)
{
    (void)state;
    struct profile *before = make(), *profile = make();
    profile->ca_file = other;
    differs(profile, span_of("one"));
    differs(profile, span_of("two"));
    assert_false(profile_same_binding(before, profile));
    profile_free(before);
    profile_free(profile);
}

static void the_store_keeps_profiles_apart(void **state)
{
    (void)state;
    struct profile *profile = make();
    profile->name[0] = 'q';
    differs(profile, (struct span){0});
    profile_free(profile);
}

static void what_receives_nothing_does_not_count(void **state)
{
    char *none[] = {NULL};
    binding_text again;
    (void)state;
    struct profile *before = make(), *profile = make();
    profile->min_valid_s++;
    profile->resource = other;
    profile->endpoint_hosts = none;
    assert_int_equal(0, binding_of(profile, span_of("no ca_file, no content"), again));
    assert_string_equal(seen[0], again);
    assert_true(profile_same_binding(before, profile));
    profile_free(before);
    profile_free(profile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_receiver_counts),
        cmocka_unit_test(the_ca_file_counts_by_its_content),
        cmocka_unit_test(the_store_keeps_profiles_apart),
        cmocka_unit_test(what_receives_nothing_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
