#include "acquire/keeper.h"

#include "acquire/lock.h"
#include "acquire/lodging.h"
#include "authority/b2c.h"
#include "cleanup.h"
#include "json.h"
#include "log.h"
#include <stdio.h>

/* ---- a sign-in as text ---- */

static void put_string(struct buffer *to, const char *name, struct span text)
{
    if (!text.data)
        return;
    buffer_format(to, "%s\"%s\":", to->length > 1 ? "," : "", name);
    json_quote(to, text);
}

int credential_write(const struct credential *credential, struct secret **ret)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_SECRET);
    struct span token = credential->refresh_token ? secret_span(credential->refresh_token) : (struct span){0};
    buffer_byte(&text, '{');
    put_string(&text, "refresh_token", token);
    put_string(&text, "scope", span_of(credential->scope));
    put_string(&text, "issuer", span_of(credential->identity.issuer));
    put_string(&text, "subject", span_of(credential->identity.subject));
    put_string(&text, "account", span_of(credential->identity.account));
    if (*credential->policy)
        put_string(&text, "policy", span_of(credential->policy));
    if (credential->renew_by)
        buffer_format(&text, ",\"renew_by\":%lld", (long long)credential->renew_by);
    if (credential->ends_at)
        buffer_format(&text, ",\"ends_at\":%lld", (long long)credential->ends_at);
    if (credential->sending)
        put_string(&text, "sender", span_of(credential->sender));
    buffer_format(&text, ",\"unanswered\":%s,\"uncertain\":%s,\"steady\":%s}",
                  credential->unanswered ? "true" : "false", credential->uncertain ? "true" : "false",
                  credential->steady ? "true" : "false");
    return buffer_error(&text) ? buffer_error(&text) : secret_new(text.data, text.length, ret);
}

static int read_text(json_object *object, const char *name, char *to, size_t size)
{
    const char *text = "";
    if (json_string(object, name, size - 1, &text) == -EINVAL)
        return -EBADMSG;
    (void)snprintf(to, size, "%s", text);
    return 0;
}

int credential_read(const struct secret *secret, struct credential *ret)
{
    _cleanup_json_wipe_ json_object *object = NULL;
    struct span text = secret_span(secret), token = {0};
    struct credential credential = {0};
    const char *scope = NULL;
    if (json_parse(text.data, text.length, 2, &object) < 0 || !json_object_is_type(object, json_type_object))
        return -EBADMSG;
    int r = json_bytes(object, "refresh_token", LIMIT_SECRET, &token);
    if (r == -EINVAL || json_string(object, "scope", LIMIT_SECRET, &scope) == -EINVAL ||
        json_integer(object, "renew_by", &credential.renew_by) == -EINVAL ||
        json_integer(object, "ends_at", &credential.ends_at) == -EINVAL ||
        json_boolean(object, "unanswered", &credential.unanswered) == -EINVAL ||
        json_boolean(object, "uncertain", &credential.uncertain) == -EINVAL ||
        json_boolean(object, "steady", &credential.steady) == -EINVAL ||
        read_text(object, "policy", credential.policy, sizeof(credential.policy)) < 0 ||
        (*credential.policy && !b2c_is_policy(credential.policy)) ||
        read_text(object, "sender", credential.sender, sizeof(credential.sender)) < 0 ||
        read_text(object, "issuer", credential.identity.issuer, sizeof(credential.identity.issuer)) < 0 ||
        read_text(object, "subject", credential.identity.subject, sizeof(credential.identity.subject)) < 0 ||
        read_text(object, "account", credential.identity.account, sizeof(credential.identity.account)) < 0)
        return -EBADMSG;
    if (r == 0 && (r = secret_new(token.data, token.length, &credential.refresh_token)) < 0)
        return r;
    credential.sending = *credential.sender;
    credential.scope = scope ? strdup(scope) : NULL;
    if (scope && !credential.scope) {
        credential_clear(&credential);
        return -ENOMEM;
    }
    *ret = credential;
    return 0;
}

/* ---- asking the store ---- */

void keeper_failure(struct failure *why, const char *what, const struct store_result *result)
{
    failure_set(why, FAILURE_STORE_UNAVAILABLE, CLASS_UNREACHABLE, "%s: %s", what,
                result->reason ? result->reason : strerror(-result->error));
}

int keeper_note_sign_in(struct holder *holder, const struct credential *credential)
{
    char *policy = credential && *credential->policy ? strdup(credential->policy) : NULL;
    if (credential && !holder->identity)
        holder->identity = malloc(sizeof(credential->identity));
    holder->looked = !credential || (holder->identity && (policy || !*credential->policy));
    if (!holder->looked) { /* who it is must be known whole or not at all: the store says it again */
        free(policy);
        free(TAKE_PTR(holder->policy));
        free(TAKE_PTR(holder->identity));
        return -ENOMEM;
    }
    holder->renew_by = credential ? credential->renew_by : 0;
    holder->ends_at = credential ? credential->ends_at : 0;
    free(holder->policy);
    holder->policy = policy;
    if (credential)
        *holder->identity = credential->identity;
    else
        free(TAKE_PTR(holder->identity));
    return 0;
}

static void tell(struct keeper *keeper, int error, const struct failure *why)
{
    secret_unref(keeper->value);
    keeper->value = NULL;
    credential_clear(&keeper->saving);
    keeper->fn(keeper->arg, error, why);
}

static struct store_key key_of(const struct keeper *keeper)
{
    return (struct store_key){.profile = keeper->profile->name,
                              .name = SECRET_REFRESH_TOKEN,
                              .binding = keeper->binding,
                              .quiet = keeper->quiet};
}

static int find_store(const struct keeper *keeper, struct store **ret)
{
    return stores_find(keeper->conductor->stores, keeper->lodged ? "memory" : keeper->profile->store, ret);
}

static int begin(struct keeper *keeper, keeper_fn *fn, void *arg, struct store **ret)
{
    keeper->fn = fn;
    keeper->arg = arg;
    return find_store(keeper, ret);
}

static void hold(struct keeper *keeper, struct credential *credential, uint64_t version)
{
    credential_clear(&keeper->held);
    keeper->held = *credential;
    keeper->has_held = true;
    keeper->version = version;
}

/* ---- loading ---- */

/* A mark of ours that we took for not kept, so that nothing was sent: it does not count. */
static void forget_unsent(struct keeper *keeper)
{
    struct credential *held = &keeper->held;
    if (!keeper->holder->unsent || strcmp(held->sender, keeper->conductor->self) != 0)
        return;
    held->unanswered = keeper->holder->unsent_repeat;
    held->uncertain = held->sending = false;
}

static void on_loaded(void *arg, const struct store_result *result)
{
    struct keeper *keeper = arg;
    struct credential credential;
    struct failure why;
    keeper->call = NULL;
    int r = result->error ? result->error : credential_read(result->value, &credential);
    keeper->version = result->version;
    if (r == STORE_BOUND && result->version == 0)
        keeper->version = STORE_ANY;
    if (r == -EBADMSG && !result->error) {
        log_event(LOG_LEVEL_WARNING, "a kept sign-in cannot be understood, so it counts as none", "PROFILE",
                  keeper->profile->name, NULL);
        r = STORE_MISSING;
    }
    if (r == 0) {
        hold(keeper, &credential, result->version);
        forget_unsent(keeper);
    } else {
        credential_clear(&keeper->held); /* of an earlier load */
        keeper->has_held = false;
    }
    if (r != 0 && r != STORE_MISSING && r != STORE_BOUND)
        keeper_failure(&why, "the sign-in could not be read", result);
    tell(keeper, r, &why);
}

static int get(struct keeper *keeper, store_fn *told, keeper_fn *fn, void *arg)
{
    struct store *store;
    struct store_key key = key_of(keeper);
    int r = begin(keeper, fn, arg, &store);
    return r < 0 ? r : store_get(store, &key, told, keeper, &keeper->call);
}

/* A token that could not be saved is newer than what the store has: it is saved first, and then used. When another
 * agent was faster, what that one put is held afterwards. */
int keeper_load(struct keeper *keeper, keeper_fn *fn, void *arg)
{
    struct credential copy;
    keeper->lodged = keeper->holder->lodged;
    if (!keeper->holder->unsaved)
        return get(keeper, on_loaded, fn, arg);
    int r = credential_copy(keeper->holder->unsaved, &copy);
    if (r < 0)
        return r;
    hold(keeper, &copy, keeper->holder->unsaved_version);
    return keeper_save(keeper, &keeper->held, false, fn, arg);
}

bool keeper_other_renews(struct keeper *keeper)
{
    struct holder *holder = keeper->holder;
    if (!keeper->has_held || !keeper->held.sending)
        return false;
    int64_t now = loop_now(keeper->conductor->loop);
    if (holder->awaited != keeper->version) {
        holder->awaited = keeper->version;
        holder->await_until_ms = now + LIMIT_RENEWAL_MS;
    }
    if (owner_may_live(keeper->held.sender, keeper->conductor->self) && now < holder->await_until_ms)
        return true;
    if (holder->await_until_ms)
        log_event(LOG_LEVEL_WARNING,
                  "an agent ended while it renewed this sign-in, and what it got is lost: its refresh token may have "
                  "been used",
                  "PROFILE", keeper->profile->name, NULL);
    holder->await_until_ms = 0; /* said once */
    return false;
}

static void on_newer(void *arg, const struct store_result *result)
{
    struct keeper *keeper = arg;
    struct credential credential;
    keeper->call = NULL;
    bool newer = result->error == 0 && result->version != keeper->version;
    if (newer && credential_read(result->value, &credential) == 0) {
        hold(keeper, &credential, result->version);
        tell(keeper, 0, NULL);
        return;
    }
    tell(keeper, STORE_MISSING, NULL);
}

int keeper_newer(struct keeper *keeper, keeper_fn *fn, void *arg)
{
    return get(keeper, on_newer, fn, arg);
}

/* ---- saving ---- */

static bool same_token(const struct credential *a, const struct credential *b)
{
    if (!a->refresh_token || !b->refresh_token)
        return a->refresh_token == b->refresh_token;
    return span_equals(secret_span(a->refresh_token), secret_span(b->refresh_token));
}

static bool same_person(const struct credential *a, const struct credential *b)
{
    return strcmp(a->identity.issuer, b->identity.issuer) == 0 && strcmp(a->identity.subject, b->identity.subject) == 0;
}

static void saved(struct keeper *keeper, uint64_t version)
{
    keeper->version = version;
    keeper->marked = keeper->saving.sending;
    keeper->holder->unsent = false;
    holder_forget_unsaved(keeper->holder);
    if (keeper->any && keeper->lodged)
        lodging_begin(keeper->conductor, keeper->holder);
    else if (keeper->any)
        lodging_end(keeper->conductor, keeper->holder);
    tell(keeper, 0, NULL);
}

/* Another agent on the same store was there first. What it put is kept. */
static void conflict(struct keeper *keeper, const struct store_result *result)
{
    struct credential newer;
    struct failure why;
    if (!result->value || credential_read(result->value, &newer) < 0) {
        holder_forget_unsaved(keeper->holder);
        failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE,
                    result->version ? "somebody else signed in to this profile elsewhere, under other settings"
                                    : "somebody signed out of this profile elsewhere");
        tell(keeper, -ESTALE, &why);
        return;
    }
    bool ours = span_equals(secret_span(result->value), secret_span(keeper->value)); /* the answer to it was lost */
    bool rotated = keeper->has_held && !same_token(&keeper->held, &keeper->saving);
    bool person = same_person(&newer, &keeper->saving);
    holder_forget_unsaved(keeper->holder);
    if (ours) {
        credential_clear(&newer);
        saved(keeper, result->version);
        return;
    }
    log_event(LOG_LEVEL_INFO, "another agent renewed this sign-in; its refresh token is kept", "PROFILE",
              keeper->profile->name, NULL);
    hold(keeper, &newer, result->version);
    tell(keeper, rotated && person ? 0 : -EAGAIN, NULL);
}

/* Nothing is lost while the agent lives: but a mark that it is used up must not outlive what it was made for. */
static void remember_unsaved(struct keeper *keeper)
{
    struct holder *holder = keeper->holder;
    if (keeper->saving.sending) {
        holder->unsent = true;
        holder->unsent_repeat = keeper->saving.uncertain;
    }
    if (keeper->any || keeper->saving.sending || keeper->saving.uncertain || !keeper->saving.refresh_token)
        return;
    struct credential *copy = malloc(sizeof(*copy));
    if (!copy || credential_copy(&keeper->saving, copy) < 0) {
        free(copy);
        return;
    }
    holder_forget_unsaved(holder);
    holder->unsaved = copy;
    holder->unsaved_version = keeper->version;
    lock_unsaved(keeper->conductor, holder);
}

static int put(struct keeper *);

static void on_saved(void *arg, const struct store_result *result)
{
    struct keeper *keeper = arg;
    struct failure why;
    keeper->call = NULL;
    if (result->error == 0) {
        saved(keeper, result->version);
        return;
    }
    if (result->error == STORE_CONFLICT) {
        conflict(keeper, result);
        return;
    }
    if (result->error == STORE_FAILED && !keeper->again) { /* a program that died is started anew */
        keeper->again = true;
        if (put(keeper) == 0)
            return;
    }
    if (result->error == STORE_LOCKED && keeper->may_lodge && !keeper->lodged) {
        keeper->lodged = true;
        if (put(keeper) == 0)
            return;
    }
    remember_unsaved(keeper);
    keeper_failure(&why, "the sign-in could not be kept", result);
    tell(keeper, result->error, &why);
}

static int put(struct keeper *keeper)
{
    struct store *store;
    struct store_key key = key_of(keeper);
    int r = find_store(keeper, &store);
    return r < 0 ? r
                 : store_put(store, &key, keeper->value, keeper->any ? STORE_ANY : keeper->version, on_saved, keeper,
                             &keeper->call);
}

int keeper_save(struct keeper *keeper, const struct credential *credential, bool any, keeper_fn *fn, void *arg)
{
    keeper->fn = fn;
    keeper->arg = arg;
    keeper->any = any;
    keeper->again = false;
    keeper->lodged = keeper->lodged && !any; /* a new one is for the store itself */
    int r = credential_copy(credential, &keeper->saving);
    (void)snprintf(keeper->saving.sender, sizeof(keeper->saving.sender), "%s",
                   r == 0 && credential->sending ? keeper->conductor->self : "");
    if (r == 0)
        r = credential_write(&keeper->saving, &keeper->value);
    if (r == 0)
        r = put(keeper);
    if (r < 0) {
        secret_unref(keeper->value);
        keeper->value = NULL;
        credential_clear(&keeper->saving);
    }
    return r;
}

/* ---- dropping ---- */

static int drop(struct keeper *, const char *name);

/* What cannot be read cannot be taken apart either: it goes as a whole, or nobody could ever sign in again. */
static void on_dropped(void *arg, const struct store_result *result)
{
    struct keeper *keeper = arg;
    struct failure why;
    keeper->call = NULL;
    if (result->error == -EBADMSG && !keeper->again) {
        log_event(LOG_LEVEL_WARNING, "all that is stored for this profile is removed, for it cannot be read", "PROFILE",
                  keeper->profile->name, "REASON", result->reason, NULL);
        keeper->again = true;
        if (drop(keeper, NULL) == 0)
            return;
    }
    if (result->error)
        keeper_failure(&why, "the sign-in is still in the store", result);
    tell(keeper, result->error, &why);
}

static int drop(struct keeper *keeper, const char *name)
{
    struct store *store;
    int r = begin(keeper, keeper->fn, keeper->arg, &store);
    return r < 0 ? r : store_drop(store, keeper->profile->name, name, on_dropped, keeper, &keeper->call);
}

int keeper_drop(struct keeper *keeper, keeper_fn *fn, void *arg)
{
    keeper->fn = fn;
    keeper->arg = arg;
    keeper->again = false;
    keeper->lodged = false; /* a lodger has gone already */
    return drop(keeper, SECRET_REFRESH_TOKEN);
}

/* ---- from memory to the store ---- */

static void on_moved(void *arg, const struct store_result *result)
{
    struct keeper *keeper = arg;
    struct failure why;
    keeper->call = NULL;
    if (result->error)
        keeper_failure(&why, "the sign-in could not be kept", result);
    tell(keeper, result->error, &why);
}

static bool is_other(const struct keeper *keeper, const struct secret *there)
{
    struct credential credential;
    if (credential_read(there, &credential) < 0)
        return false;
    bool other = *credential.identity.subject && !same_person(&credential, &keeper->saving);
    credential_clear(&credential);
    return other;
}

static void on_opened(void *arg, const struct store_result *result)
{
    struct keeper *keeper = arg;
    struct failure why;
    int error = result->error == STORE_MISSING || result->error == STORE_BOUND ? 0 : result->error;
    keeper->call = NULL;
    if (error == 0 && result->error == 0 && is_other(keeper, result->value))
        error = -EPERM;
    keeper->version = result->error == STORE_BOUND && result->version == 0 ? STORE_ANY : result->version;
    struct store *store;
    struct store_key key = key_of(keeper);
    if (error == 0)
        error = find_store(keeper, &store);
    if (error == 0)
        error = store_put(store, &key, keeper->value, keeper->version, on_moved, keeper, &keeper->call);
    if (error == 0)
        return;
    if (result->error)
        keeper_failure(&why, "the store cannot be asked", result);
    else
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-error));
    tell(keeper, error, &why);
}

static void on_lodger(void *arg, const struct store_result *result)
{
    struct keeper *keeper = arg;
    struct failure why;
    int error = result->error ? result->error : credential_read(result->value, &keeper->saving);
    keeper->call = NULL;
    keeper->lodged = false;
    if (error == 0) {
        keeper->value = secret_ref(result->value);
        error = get(keeper, on_opened, keeper->fn, keeper->arg);
    }
    if (error == 0)
        return;
    keeper_failure(&why, "the sign-in in memory could not be read", &(struct store_result){.error = error});
    tell(keeper, error, &why);
}

int keeper_settle(struct keeper *keeper, keeper_fn *fn, void *arg)
{
    keeper->lodged = keeper->quiet = true;
    return get(keeper, on_lodger, fn, arg);
}

void keeper_end(struct keeper *keeper)
{
    if (keeper->call && keeper->saving.sending) { /* the mark will be there, and nothing is sent */
        keeper->holder->unsent = true;
        keeper->holder->unsent_repeat = keeper->saving.uncertain;
    }
    store_cancel(keeper->call);
    keeper->call = NULL;
    secret_unref(keeper->value);
    keeper->value = NULL;
    credential_clear(&keeper->held);
    credential_clear(&keeper->saving);
}
