/* What the tests of the configuration share: two texts read as its two files, and what is said of them. */
#pragma once

#include "cleanup.h"
#include "config_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

#define GOOD "grant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = env:X\n"

DEFINE_CLEANUP(struct config *, config_free)
#define _cleanup_config_ _cleanup_(config_free_cleanup)

#define SECRET "hunter2-S3CR3T"

__attribute__((unused)) static struct config *read_two(const char *system, const char *user)
{
    const struct config_text texts[] = {{.file = "/etc/f", .text = span_of(system), .absent = !system},
                                        {.file = "f", .text = span_of(user), .absent = !user}};
    struct config *config = NULL;
    assert_int_equal(config_read_all(texts, 2, &config), 0);
    for (size_t i = 0; i < config->problem_count; i++)
        assert_null(strstr(config->problems[i], SECRET));
    if (config->problems)
        assert_null(config->problems[config->problem_count]);
    return config;
}

__attribute__((unused)) static struct config *read_one(const char *text)
{
    return read_two(NULL, text);
}

__attribute__((unused)) static void assert_sound(const struct config *config)
{
    if (config->problem_count)
        fail_msg("%s", config->problems[0]);
    for (size_t i = 0; i < config->profile_count; i++) {
        assert_null(config->profiles[i]->problem);
        assert_non_null(config->profiles[i]->grant);
    }
}

/* The only problem, and the only profile disabled by it. */
__attribute__((unused)) static void assert_problem(struct config *config, const char *start, const char *part)
{
    assert_int_equal(config->problem_count, 1);
    if (strncmp(config->problems[0], start, strlen(start)) != 0 || !strstr(config->problems[0], part))
        fail_msg("\"%s\" does not start with \"%s\" and hold \"%s\"", config->problems[0], start, part);
}
