/* mltoken-store-file: secrets in sealed files, for hosts without a keyring. See store/protocol.h and sealed_vault.h. */
#include "buffer.h"
#include "cleanup.h"
#include "store/program.h"
#include "store/sealed_vault.h"
#include <errno.h>
#include <sodium.h>

static void fail(struct store_program *program, const struct trouble *trouble)
{
    store_answer_fail(program, trouble->kind ? trouble->kind : "denied", "%s",
                      trouble->kind ? trouble->reason : "the sealed files cannot be used");
}

static void answer(struct store_program *program, enum vault_result result, struct vault_item *item,
                   const struct trouble *trouble)
{
    switch (result) {
    case VAULT_OK:
        store_answer_ok(program, item->version, item->value);
        break;
    case VAULT_MISSING:
        store_answer_missing(program);
        break;
    case VAULT_BOUND:
        store_answer_bound(program, item->version);
        break;
    case VAULT_CONFLICT:
        store_answer_conflict(program, item->version, item->value);
        break;
    case VAULT_FAIL:
        fail(program, trouble);
        break;
    }
    vault_item_clear(item);
}

static void on_get(void *arg, const struct store_request *request, struct store_program *program)
{
    struct trouble trouble = {0};
    struct vault_item item = {0};
    enum vault_result result = vault_get(arg, request->profile, request->name, request->binding, &item, &trouble);
    answer(program, result, &item, &trouble);
}

static void on_put(void *arg, const struct store_request *request, struct store_program *program)
{
    struct trouble trouble = {0};
    struct vault_item item = {0};
    const uint64_t *expect = request->expects ? &request->expect : NULL;
    enum vault_result result =
        vault_put(arg, request->profile, request->name, request->binding, expect, request->value, &item, &trouble);
    answer(program, result, &item, &trouble);
}

static void on_drop(void *arg, const struct store_request *request, struct store_program *program)
{
    struct trouble trouble = {0};
    answer(program, vault_drop(arg, request->profile, request->name, &trouble), &(struct vault_item){0}, &trouble);
}

struct listing {
    struct buffer text;
    bool full;
};

/* The lines of one profile all together, or not in this answer. */
static bool on_listed(void *arg, const char *profile, const struct sealed_item *items, size_t count)
{
    struct listing *listing = arg;
    size_t before = listing->text.length;
    for (size_t i = 0; i < count; i++)
        (void)buffer_format(&listing->text, "%s\t%s\t%s\n", profile, items[i].name, items[i].binding);
    listing->full = buffer_error(&listing->text) < 0;
    if (listing->full)
        listing->text.length = before;
    return !listing->full;
}

static void on_list(void *arg, const struct store_request *request, struct store_program *program)
{
    struct trouble trouble = {0};
    struct listing listing = {.text = BUFFER(LIMIT_SECRET)};
    if (vault_list(arg, request->profile, request->after, on_listed, &listing, &trouble) == VAULT_FAIL)
        fail(program, &trouble);
    else if (listing.full)
        store_answer_more(program, buffer_span(&listing.text));
    else
        store_answer_ok(program, 0, buffer_span(&listing.text));
    buffer_free(&listing.text);
}

static void on_unlock(void *arg, const struct store_request *request, struct store_program *program)
{
    struct trouble trouble = {0};
    answer(program, vault_unlock(arg, request->fresh, request->value, &trouble), &(struct vault_item){0}, &trouble);
}

static void on_lock(void *arg, const struct store_request *request, struct store_program *program)
{
    struct vault *vault = arg;
    (void)request;
    keys_forget(&vault->keys);
    store_answer_ok(program, 0, (struct span){0});
}

static int complain(const char *what)
{
    (void)fprintf(stderr, "mltoken-store-file: %s\n", what);
    return EXIT_FAILURE;
}

int main(void)
{
    static const struct store_functions functions = {.name = "file",
                                                     .get = on_get,
                                                     .put = on_put,
                                                     .drop = on_drop,
                                                     .list = on_list,
                                                     .unlock = on_unlock,
                                                     .lock = on_lock};
    struct vault vault = {0};
    bool locked;
    struct store_program *program = store_program_new("file");
    if (!program)
        return complain(strerror(errno));
    if (sodium_init() < 0 || keys_new(&vault.keys, &locked) < 0)
        return complain("no memory");
    if (!locked)
        store_program_unlocked(program);
    int r = store_program_run(program, &functions, &vault);
    keys_free(&vault.keys);
    store_program_free(program);
    return r < 0 ? complain(strerror(-r)) : EXIT_SUCCESS;
}
