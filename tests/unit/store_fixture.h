/* A store that is asked, and what it told: for the tests of every kind of store. */
#pragma once

#include "store/store.h"

#include "cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

static struct loop *loop;
static struct store *store;

struct told {
    struct store_call *call;
    int count, error;
    uint64_t version;
    char value[64], reason[256], list[256];
    size_t items;
    void (*then)(struct told *);
};

static void on_told(void *arg, const struct store_result *result)
{
    struct told *told = arg;
    told->count++;
    told->error = result->error;
    told->version = result->version;
    told->items = result->item_count;
    *told->list = '\0';
    for (size_t i = 0; i < result->item_count; i++) {
        size_t used = strlen(told->list);
        (void)snprintf(told->list + used, sizeof(told->list) - used, "%s/%s:%.2s ", result->items[i].profile,
                       result->items[i].name, result->items[i].binding);
    }
    struct span value = result->value ? secret_span(result->value) : (struct span){0};
    (void)snprintf(told->value, sizeof(told->value), "%.*s", (int)value.length, value.data ? value.data : "");
    (void)snprintf(told->reason, sizeof(told->reason), "%s", result->reason ? result->reason : "");
    assert_true((result->error != 0) == (result->reason != NULL));
    if (told->then)
        told->then(told);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(loop, 0);
}

static void spin(int64_t ms)
{
    struct timer timer = {0};
    assert_int_equal(0, timer_start(loop, &timer, loop_now(loop) + ms, stop, NULL));
    assert_int_equal(0, loop_run(loop));
}

/* Until it is told, for 10 s at most. */
__attribute__((unused)) static void wait_for(struct told *told)
{
    for (int i = 0; i < 6000 && !told->count; i++)
        spin(10);
    assert_int_equal(1, told->count);
}

/* A binding is a letter, 64 times. */
static struct store_key key(const char *profile, const char *name, char letter)
{
    static char bindings[256][STORE_BINDING + 1];
    char *binding = bindings[(unsigned char)letter];
    for (size_t i = 0; i < STORE_BINDING; i++)
        binding[i] = letter;
    return (struct store_key){.profile = profile, .name = name, .binding = binding};
}

static void put(struct told *told, struct store_key at, const char *value, uint64_t expect)
{
    struct secret *secret;
    *told = (struct told){.then = told->then};
    assert_int_equal(0, secret_new(value, strlen(value), &secret));
    assert_int_equal(0, store_put(store, &at, secret, expect, on_told, told, &told->call));
    secret_unref(secret);
}

static void get(struct told *told, struct store_key at)
{
    *told = (struct told){.then = told->then};
    assert_int_equal(0, store_get(store, &at, on_told, told, &told->call));
}

static void drop(struct told *told, const char *profile, const char *name)
{
    *told = (struct told){.then = told->then};
    assert_int_equal(0, store_drop(store, profile, name, on_told, told, &told->call));
}

static void list(struct told *told, const char *profile)
{
    *told = (struct told){.then = told->then};
    assert_int_equal(0, store_list(store, profile, on_told, told, &told->call));
}
