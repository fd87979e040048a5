/* A conductor with a grant of the test's own: its machine takes the steps that a string of letters names, one string an
 * operation. `w` waits until the test lets it go, `P` a moment for a person, `p` prompts, `s` saves a new refresh
 * token, `S` asks for the client secret, `d` is done, `f` fails with `world.failure`, `x` is an error of the machine
 * itself. Access tokens read CLIENT_ID/N, N counting the machines; refresh tokens rN. */
#pragma once

#include "acquire/conductor.h"
#include "acquire/flight.h"
#include "acquire/report.h"
#include "acquire/signin.h"
#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after the four above */
#include <cmocka.h>

struct machine {
    const char *script;
    const struct input *input;
    int number;
    struct tokens tokens;
    struct credential credential;
};

static struct {
    struct loop *loop;
    struct worker *worker;
    struct stores *stores;
    struct conductor *conductor;
    const char *acquire, *login, *revoke;
    int machines, ended;
    struct failure failure;
    int64_t life_s;
    const char *account;
    char secret[64]; /* that the last STEP_SECRET gave */
    char held[64];   /* the refresh token that the last machine was given, "" for none */
} world;

static inline int fake_step(struct machine *machine, struct step *ret)
{
    switch (*machine->script++) {
    case 'w':
        *ret = (struct step){.kind = STEP_WAIT, .wait_ms = 3600 * 1000};
        return 0;
    case 'P':
        *ret = (struct step){.kind = STEP_WAIT, .pending = true};
        return 0;
    case 'p':
        *ret = (struct step){.kind = STEP_PROMPT, .prompt = {.verification_uri = "https://x/", .user_code = "A"}};
        return 0;
    case 's': {
        char text[16];
        (void)snprintf(text, sizeof(text), "r%d", machine->number);
        credential_clear(&machine->credential);
        assert_int_equal(0, secret_new(text, strlen(text), &machine->credential.refresh_token));
        (void)snprintf(machine->credential.identity.subject, sizeof(machine->credential.identity.subject), "%s",
                       world.account);
        (void)snprintf(machine->credential.identity.account, sizeof(machine->credential.identity.account), "%s",
                       world.account);
        *ret = (struct step){.kind = STEP_SAVE, .save = &machine->credential};
        return 0;
    }
    case 'S':
        *ret = (struct step){.kind = STEP_SECRET, .secret = "client_secret"};
        return 0;
    case 'd':
        *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &machine->tokens, .revoked = true}};
        return 0;
    case 'f':
        *ret = (struct step){.kind = STEP_FAIL, .fail = world.failure};
        return 0;
    default:
        return -ENOMEM;
    }
}

static inline int fake_start(void *state, enum grant_op op, const struct input *input, const struct tick *tick,
                             struct step *ret)
{
    struct machine *machine = state;
    (void)tick;
    machine->script = op == GRANT_LOGIN ? world.login : op == GRANT_REVOKE ? world.revoke : world.acquire;
    machine->input = input;
    machine->number = ++world.machines;
    machine->tokens = (struct tokens){.expires_in_s = world.life_s, .refresh_in_s = -1};
    assert_true(asprintf(&machine->tokens.access_token, "%s/%d", input->profile->client_id, machine->number) > 0);
    *world.held = '\0';
    if (input->held && input->held->refresh_token) {
        struct span held = secret_span(input->held->refresh_token);
        (void)snprintf(world.held, sizeof(world.held), "%.*s", (int)held.length, held.data);
    }
    return fake_step(machine, ret);
}

static inline int fake_next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    (void)tick;
    if (answer->error) {
        *ret = (struct step){.kind = STEP_FAIL, .fail = answer->why};
        return 0;
    }
    if (answer->body.length)
        (void)snprintf(world.secret, sizeof(world.secret), "%.*s", (int)answer->body.length, answer->body.data);
    return fake_step(state, ret);
}

static inline void fake_end(void *state)
{
    struct machine *machine = state;
    tokens_clear(&machine->tokens);
    credential_clear(&machine->credential);
    world.ended++;
}

static const struct grant grant_alone = {.name = "alone",
                                         .ops = GRANT_ACQUIRE,
                                         .state_size = sizeof(struct machine),
                                         .start = fake_start,
                                         .next = fake_next,
                                         .end = fake_end};
static const struct grant grant_person = {.name = "person",
                                          .ops = GRANT_ACQUIRE | GRANT_LOGIN | GRANT_REVOKE,
                                          .state_size = sizeof(struct machine),
                                          .start = fake_start,
                                          .next = fake_next,
                                          .end = fake_end};

/* One profile as a test wants it; `problem`: it is invalid. */
struct wanted {
    const char *name;
    const struct grant *grant;
    const char *client_id, *settings, *problem, *ca_file;
};

static inline char *text_of(struct profile *profile, const char *text)
{
    return text ? profile_text(profile, span_of(text)) : NULL;
}

static inline struct profile *make_profile(const struct wanted *wanted)
{
    struct profile *profile = profile_new(0);
    char fingerprint[256];
    assert_non_null(profile);
    (void)snprintf(profile->name, sizeof(profile->name), "%s", wanted->name);
    (void)snprintf(fingerprint, sizeof(fingerprint), "%s %s %s", wanted->grant->name, wanted->client_id,
                   wanted->settings ? wanted->settings : "");
    profile->grant = wanted->problem ? NULL : wanted->grant;
    profile->problem = text_of(profile, wanted->problem);
    profile->client_id = text_of(profile, wanted->client_id);
    profile->authority = text_of(profile, "https://login.example.org");
    profile->ca_file = text_of(profile, wanted->ca_file);
    profile->header = text_of(profile, "Authorization: Bearer {token}");
    profile->fingerprint = text_of(profile, fingerprint);
    return profile;
}

/* The names must come sorted. */
static inline struct config *make_config(const struct wanted *wanted, size_t count)
{
    struct config *config = calloc(1, sizeof(*config));
    assert_non_null(config);
    config->profiles = calloc(count + 1, sizeof(struct profile *));
    config->names = calloc(count + 1, sizeof(char *));
    assert_non_null(config->profiles);
    assert_non_null(config->names);
    for (size_t i = 0; i < count; i++) {
        config->profiles[i] = make_profile(&wanted[i]);
        config->names[i] = config->profiles[i]->name;
    }
    config->profile_count = count;
    return config;
}

#define CONFIG(...)                                                                                                    \
    make_config((const struct wanted[]){__VA_ARGS__},                                                                  \
                sizeof((const struct wanted[]){__VA_ARGS__}) / sizeof(struct wanted))
#define ALONE                                                                                                          \
    {                                                                                                                  \
        .name = "alone", .grant = &grant_alone, .client_id = "a"                                                       \
    }
#define OTHER                                                                                                          \
    {                                                                                                                  \
        .name = "other", .grant = &grant_alone, .client_id = "o"                                                       \
    }
#define PERSON                                                                                                         \
    {                                                                                                                  \
        .name = "person", .grant = &grant_person, .client_id = "p"                                                     \
    }

static inline int open_world(void **state)
{
    (void)state;
    world.acquire = world.login = "d";
    world.revoke = "d";
    world.machines = world.ended = 0;
    world.life_s = 3600;
    world.account = "alice";
    assert_int_equal(0, secret_arena_open());
    assert_int_equal(0, loop_new(&world.loop));
    assert_int_equal(0, stores_new(world.loop, &(struct stores_options){.memory_only = true}, &world.stores));
    struct conductor parts = {.loop = world.loop, .stores = world.stores, .config = CONFIG(ALONE, OTHER, PERSON)};
    assert_int_equal(0, conductor_new(&parts, &world.conductor));
    return 0;
}

static inline int close_world(void **state)
{
    (void)state;
    world.conductor = conductor_free(world.conductor);
    world.stores = stores_free(world.stores);
    world.worker = worker_free(world.worker);
    world.loop = loop_free(world.loop);
    assert_int_equal(world.machines, world.ended);
    assert_int_equal(0, secret_arena_used());
    secret_arena_close();
    return 0;
}

static inline void stop_loop(void *arg)
{
    loop_stop(arg, 0);
}

/* Runs what is due within `ms`, and all that follows from it at once. */
static inline void spin(int64_t ms)
{
    struct timer end = {0};
    assert_int_equal(0, timer_start(world.loop, &end, loop_now(world.loop) + ms, stop_loop, world.loop));
    assert_int_equal(0, loop_run(world.loop));
}

static inline struct holder *holder_of(const char *name)
{
    struct holder *holder;
    struct failure why;
    assert_int_equal(0, conductor_holder(world.conductor, name, &holder, &why));
    return holder;
}

/* Lets the first flight of a profile that waits at `w` go on. */
static inline void let_go(const char *name)
{
    struct flight *flight = cache_find(world.conductor->cache, name)->flights;
    while (flight && !flight->timer.loop)
        flight = flight->next;
    assert_non_null(flight);
    assert_int_equal(0, timer_start(world.loop, &flight->timer, 0, flight->timer.fn, flight));
    spin(0);
}

/* Somebody who asks. */
struct asker {
    struct waiter waiter;
    struct request request;
    int told;
    char value[64]; /* the token, or "" */
    struct failure why;
    void (*then)(struct asker *); /* what they do when they are told */
    void *arg;
    bool spare_entry; /* for `then`: the entry was dropped */
};

static inline void take_down(struct asker *asker, const struct entry *entry, const struct failure *failure)
{
    asker->told++;
    (void)snprintf(asker->value, sizeof(asker->value), "%s", entry ? entry->value : "");
    asker->why = failure ? *failure : (struct failure){.kind = FAILURE_NONE};
    if (asker->then)
        asker->then(asker);
}

static inline void on_answer(void *arg, struct entry *entry, const struct failure *failure)
{
    assert_true((entry != NULL) != (failure != NULL));
    take_down(arg, entry, failure);
}

static inline void ask_with(struct asker *asker, const char *profile, const struct request *request)
{
    struct entry *entry = NULL;
    struct failure why = {.kind = FAILURE_NONE};
    struct holder *holder;
    asker->told = 0;
    asker->request = *request;
    if (conductor_holder(world.conductor, profile, &holder, &why) < 0) {
        take_down(asker, NULL, &why);
        return;
    }
    asker->waiter = (struct waiter){.request = &asker->request, .done = on_answer, .arg = asker};
    enum verdict verdict = conductor_get(world.conductor, holder, &asker->request, &asker->waiter, &entry, &why);
    if (verdict != VERDICT_FETCH)
        take_down(asker, verdict == VERDICT_SERVE ? entry : NULL, verdict == VERDICT_SERVE ? NULL : &why);
}

static inline void ask(struct asker *asker, const char *profile)
{
    static const struct request plain = {.min_valid_s = -1};
    ask_with(asker, profile, &plain);
}

/* Asks and runs until the answer. */
static inline void get(struct asker *asker, const char *profile)
{
    *asker = (struct asker){0};
    ask(asker, profile);
    for (int i = 0; i < 10 && !asker->told; i++)
        spin(0);
    assert_int_equal(1, asker->told);
}

static inline struct entry *entry_of(const char *profile)
{
    struct entry *entry = holder_of(profile)->entries;
    assert_non_null(entry);
    return entry;
}

/* As if the token had been fetched `ms` earlier. */
static inline void age(const char *profile, int64_t ms)
{
    struct entry *entry = entry_of(profile);
    entry->fetched_ms -= ms;
    entry->expires_ms -= ms;
    if (entry->renew_ms >= 0)
        entry->renew_ms -= ms;
    entry->asked_ms -= ms;
    conductor_plan(world.conductor, entry);
}

static inline void fail_with(enum failure_kind kind, enum failure_class class)
{
    failure_set(&world.failure, kind, class, "because");
}

static inline void configure(struct config *config)
{
    conductor_configure(world.conductor, config, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
