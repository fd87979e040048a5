#include "token/cache.h"

#include "cleanup.h"
#include "json.h"
#include <errno.h>

enum { BUCKETS = 4096 };

struct cache {
    uint64_t epoch;
    size_t holders, entries;
    struct holder *buckets[BUCKETS];
};

static size_t bucket(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash % BUCKETS;
}

int cache_new(struct cache **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? 0 : -ENOMEM;
}

struct cache *cache_free(struct cache *cache)
{
    if (!cache)
        return NULL;
    for (size_t i = 0; i < BUCKETS; i++)
        while (cache->buckets[i])
            cache_remove(cache, cache->buckets[i]);
    free(cache);
    return NULL;
}

struct holder *cache_find(const struct cache *cache, const char *profile)
{
    struct holder *holder = cache->buckets[bucket(profile)];
    while (holder && strcmp(holder->profile->name, profile) != 0)
        holder = holder->chain;
    return holder;
}

int cache_add(struct cache *cache, struct profile *profile, struct holder **ret)
{
    struct holder *holder = calloc(1, sizeof(*holder));
    if (!holder)
        return -ENOMEM;
    struct holder **place = &cache->buckets[bucket(profile->name)];
    holder->profile = profile_ref(profile);
    holder->chain = *place;
    *place = holder;
    cache->holders++;
    *ret = holder;
    return 0;
}

void cache_remove(struct cache *cache, struct holder *holder)
{
    struct holder **place = &cache->buckets[bucket(holder->profile->name)];
    while (*place != holder)
        place = &(*place)->chain;
    *place = holder->chain;
    while (holder->entries)
        holder_drop_entry(cache, holder->entries);
    cache->holders--;
    profile_free(holder->profile);
    free(holder->identity);
    free(holder->policy);
    free(holder->refused);
    holder_forget_unsaved(holder);
    timer_stop(&holder->lodging);
    free(holder->signed_out);
    free(holder->challenge);
    free(holder);
}

void holder_challenge(struct holder *holder, const char *claims)
{
    free(holder->challenge);
    holder->challenge = claims ? strdup(claims) : NULL;
}

uint64_t cache_epoch(const struct cache *cache)
{
    return cache->epoch;
}

void cache_new_epoch(struct cache *cache)
{
    cache->epoch++;
}

int cache_holders(const struct cache *cache, struct holder ***ret, size_t *ret_count)
{
    size_t count = 0;
    struct holder **holders = calloc(cache->holders + 1, sizeof(struct holder *));
    if (!holders)
        return -ENOMEM;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct holder *holder = cache->buckets[i]; holder; holder = holder->chain)
            holders[count++] = holder;
    *ret = holders;
    *ret_count = count;
    return 0;
}

size_t cache_entries(const struct cache *cache)
{
    return cache->entries;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

/* Parts are joined by a byte that none of them can hold. */
static char *variant_of(const struct request *request, const struct profile *profile)
{
    _cleanup_free_ char *scopes = scopes_join(request_scopes(request, profile));
    _cleanup_buffer_ struct buffer key = BUFFER(LIMIT_REQUEST);
    if (!scopes || buffer_format(&key, "%s\n%s\n%s\n%s", scopes, or_empty(request_resource(request, profile)),
                                 or_empty(request_audience(request, profile)), or_empty(request->claims)) < 0)
        return NULL;
    return buffer_take(&key);
}

static bool same(const char *a, const char *b)
{
    return strcmp(or_empty(a), or_empty(b)) == 0;
}

/* The request of nearly every call: the profile's own. */
static bool is_plain(const struct request *request)
{
    return !request->scopes && !request->resource && !request->audience && !request->claims;
}

static void to_front(struct holder *holder, struct entry **place)
{
    struct entry *entry = *place;
    *place = entry->next;
    entry->next = holder->entries;
    holder->entries = entry;
}

static struct entry *older(struct entry *oldest, const struct holder *holder)
{
    for (struct entry *entry = holder->entries; entry; entry = entry->next)
        if (!entry->flight && !entry->landing && !entry->watchers && (!oldest || entry->asked_ms <= oldest->asked_ms))
            oldest = entry;
    return oldest;
}

/* Makes room when there is none: the least recently asked for goes, of this profile when it has its share. */
static int make_room(struct cache *cache, struct holder *holder)
{
    struct entry *oldest = NULL;
    if (holder->entry_count >= LIMIT_CACHE_PER_PROFILE) {
        oldest = older(NULL, holder);
    } else if (cache->entries >= LIMIT_CACHE_ENTRIES) {
        for (size_t i = 0; i < BUCKETS; i++)
            for (struct holder *other = cache->buckets[i]; other; other = other->chain)
                oldest = older(oldest, other);
    } else {
        return 0;
    }
    if (!oldest)
        return -EBUSY;
    holder_drop_entry(cache, oldest);
    return 0;
}

/* What amounts to the profile's own request is kept as such: then the hot path finds it. */
static bool amounts_to_plain(const char *variant, const struct profile *profile)
{
    static const struct request plain = {.min_valid_s = -1};
    _cleanup_free_ char *own = variant_of(&plain, profile);
    return own && strcmp(own, variant) == 0;
}

static int make_entry(struct cache *cache, struct holder *holder, const struct request *request, char *variant,
                      struct entry **ret)
{
    int r = make_room(cache, holder);
    struct entry *entry = r < 0 ? NULL : calloc(1, sizeof(*entry));
    if (!entry || request_copy(request, &entry->request) < 0) {
        free(entry);
        free(variant);
        return r < 0 ? r : -ENOMEM;
    }
    entry->request.refresh = false;
    entry->request.min_valid_s = -1;
    if (amounts_to_plain(variant, holder->profile))
        request_clear(&entry->request);
    entry->holder = holder;
    entry->variant = variant;
    entry->reply = BUFFER(LIMIT_REPLY);
    entry->next = holder->entries;
    holder->entries = entry;
    holder->entry_count++;
    cache->entries++;
    *ret = entry;
    return 0;
}

int holder_entry(struct cache *cache, struct holder *holder, const struct request *request, struct entry **ret)
{
    if (holder->entries && is_plain(request) && is_plain(&holder->entries->request)) {
        *ret = holder->entries;
        return 0;
    }
    _cleanup_free_ char *variant = variant_of(request, holder->profile);
    if (!variant)
        return -ENOMEM;
    for (struct entry **place = &holder->entries; *place; place = &(*place)->next) {
        if (same((*place)->variant, variant)) {
            to_front(holder, place);
            *ret = holder->entries;
            return 0;
        }
    }
    return make_entry(cache, holder, request, TAKE_PTR(variant), ret);
}

void holder_drop_entry(struct cache *cache, struct entry *entry)
{
    struct entry **place = &entry->holder->entries;
    while (*place != entry)
        place = &(*place)->next;
    *place = entry->next;
    entry->holder->entry_count--;
    cache->entries--;
    cache->epoch++;
    timer_stop(&entry->timer);
    entry_forget_token(entry);
    entry_forget_failure(entry);
    request_clear(&entry->request);
    free(entry->variant);
    free(entry);
}

void entry_forget_token(struct entry *entry)
{
    buffer_free(&entry->reply);
    entry->value = wipe_free(entry->value);
    free(entry->account);
    entry->account = NULL;
    entry->sealed = box_free(entry->sealed);
    entry->expires_ms = 0;
}

void entry_forget_failure(struct entry *entry)
{
    free(entry->failed);
    entry->failed = NULL;
    entry->failures = 0;
}

/* How long a token must still live to be of use to anybody. */
static int64_t usable_ms(const struct entry *entry)
{
    return entry->life_ms < 10000 ? entry->life_ms / 10 : 1000;
}

enum verdict entry_judge(const struct entry *entry, const struct request *request, int64_t now_ms,
                         struct failure *ret_failure, bool *ret_alive)
{
    int64_t left = entry->reply.length ? entry->expires_ms - now_ms : 0;
    int64_t need = renewal_min_valid_ms(entry->holder->profile, request->min_valid_s, entry->life_ms);
    bool usable = left > 0 && left >= usable_ms(entry);
    bool alive = usable && request->min_valid_s < 0 && !request->refresh;
    *ret_alive = alive;
    if (usable && left >= need && !request->refresh)
        return VERDICT_SERVE;
    if (!request->refresh && usable && now_ms - entry->fetched_ms < LIMIT_REFUSAL_MS && entry->life_ms < need &&
        entry_too_short(entry, request, now_ms, ret_failure))
        return VERDICT_REFUSE; /* it was just fetched, and the next one would live no longer */
    if (entry->failed && now_ms < entry->failed_until_ms) {
        if (alive)
            return VERDICT_SERVE;
        *ret_failure = *entry->failed;
        return VERDICT_REFUSE;
    }
    return VERDICT_FETCH;
}

bool entry_too_short(const struct entry *entry, const struct request *request, int64_t now_ms, struct failure *ret)
{
    int64_t left = entry->expires_ms - now_ms, life_s = entry->life_ms / 1000;
    if (request->min_valid_s < 0 ||
        left >= renewal_min_valid_ms(entry->holder->profile, request->min_valid_s, entry->life_ms))
        return false;
    if (life_s < request->min_valid_s)
        failure_set(ret, FAILURE_TOKEN_TOO_SHORT, CLASS_DEFINITE,
                    "a new token of this authority lives %lld s, and %lld s were asked for", (long long)life_s,
                    (long long)request->min_valid_s);
    else /* it would have done, but for the way it came */
        failure_set(
            ret, FAILURE_TOKEN_TOO_SHORT, CLASS_DEFINITE,
            "a new token of this authority lives %lld s, of which %lld s were left when it had come, and %lld s "
            "were asked for",
            (long long)life_s, (long long)(left > 0 ? left / 1000 : 0), (long long)request->min_valid_s);
    ret->min_valid_s = request->min_valid_s;
    ret->expires_at = entry->expires_at;
    return true;
}

/* ---- the reply: written here, for json-c's rendering grows by copies that nobody wipes ---- */

static void put_name(struct buffer *to, const char *name)
{
    bool first = to->length > 0 && to->data[to->length - 1] == '{';
    buffer_text(to, first ? "\"" : ",\"");
    buffer_text(to, name);
    buffer_text(to, "\":");
}

/* NULL puts nothing, as json_put_text() does. */
static void put_text(struct buffer *to, const char *name, const char *text)
{
    if (!text)
        return;
    put_name(to, name);
    json_quote(to, span_of(text));
}

static void put_time(struct buffer *to, const char *name, int64_t epoch_s)
{
    if (epoch_s < 0)
        return;
    put_name(to, name);
    buffer_format(to, "%lld", (long long)epoch_s);
}

/* The header line: the profile's template with the token in place of {token}. */
static int put_header(struct buffer *to, const char *template, const char *value)
{
    static const char mark[] = "{token}";
    const char *at = strstr(template, mark);
    _cleanup_buffer_ struct buffer header = BUFFER(LIMIT_TOKEN + LIMIT_CONFIG_LINE);
    if (!at) /* the configuration has seen to it that there is one */
        return -EINVAL;
    buffer_append(&header, template, (size_t)(at - template));
    buffer_text(&header, value);
    buffer_text(&header, at + strlen(mark));
    put_name(to, "header");
    json_quote(to, buffer_span(&header));
    return buffer_error(&header);
}

static void put_scopes(struct buffer *to, const struct entry *entry, const char *granted)
{
    char **split = NULL;
    if (granted && scopes_parse(granted, &split) < 0)
        split = NULL;
    char *const *scopes = split ? split : request_scopes(&entry->request, entry->holder->profile);
    put_name(to, "scopes");
    buffer_byte(to, '[');
    for (size_t i = 0; scopes && scopes[i]; i++) {
        if (i > 0)
            buffer_byte(to, ',');
        json_quote(to, span_of(scopes[i]));
    }
    buffer_byte(to, ']');
    scopes_free(split);
}

static int build_reply(struct entry *entry, const struct tokens *tokens, struct buffer *reply)
{
    const struct holder *holder = entry->holder;
    const struct profile *profile = holder->profile;
    buffer_text(reply, "{\"parameters\":{\"token\":{");
    put_text(reply, "profile", profile->name);
    put_text(reply, "value", tokens->access_token);
    put_text(reply, "type", tokens->type ? tokens->type : "Bearer");
    int r = put_header(reply, profile->header, tokens->access_token);
    put_time(reply, "expiresAt", entry->expires_at);
    put_time(reply, "refreshAt", entry->refresh_at);
    put_scopes(reply, entry, tokens->scope);
    put_text(reply, "resource", request_resource(&entry->request, profile));
    put_text(reply, "audience", request_audience(&entry->request, profile));
    put_text(reply, "account", holder->identity ? holder->identity->account : tokens->account);
    buffer_text(reply, "}}}");
    buffer_byte(reply, '\0');
    return r < 0 ? r : buffer_error(reply);
}

int entry_put(struct entry *entry, struct tokens *tokens, int64_t now_ms, int64_t wall_s, uint16_t random)
{
    if (tokens->expires_in_s <= 0) /* the grants give each token a life, and refuse those without */
        return -EINVAL;
    int64_t life_ms = (tokens->expires_in_s < LIMIT_LIFETIME_S ? tokens->expires_in_s : LIMIT_LIFETIME_S) * 1000;
    int64_t renew_ms = renewal_after_ms(entry->holder->profile, life_ms, tokens->refresh_in_s, random);
    /* where nothing ends, a share of the life says nothing: it is read again when the grant says */
    if (tokens->endless && tokens->refresh_in_s > 0 && renew_ms > tokens->refresh_in_s * 1000)
        renew_ms = tokens->refresh_in_s * 1000;
    int64_t expires_at = entry->expires_at, refresh_at = entry->refresh_at;
    int64_t told_s = tokens->expires_in_s < LIMIT_END_S ? tokens->expires_in_s : LIMIT_END_S;
    entry->expires_at = tokens->endless ? -1 : wall_s + told_s;
    entry->refresh_at = renew_ms < 0 ? -1 : wall_s + renew_ms / 1000;
    _cleanup_buffer_ struct buffer reply = BUFFER(LIMIT_REPLY + 1);
    int r = build_reply(entry, tokens, &reply);
    if (r < 0) { /* the old one stays as it was */
        entry->expires_at = expires_at;
        entry->refresh_at = refresh_at;
        return r;
    }
    entry_forget_token(entry);
    entry_forget_failure(entry);
    entry->reply = reply;
    reply = BUFFER(0);
    entry->value = TAKE_PTR(tokens->access_token);
    entry->account = TAKE_PTR(tokens->account);
    entry->slot = tokens->slot;
    entry->fetched_ms = now_ms;
    entry->life_ms = life_ms;
    entry->expires_ms = now_ms + life_ms;
    entry->renew_ms = renew_ms < 0 ? -1 : now_ms + renew_ms;
    return 0;
}

int entry_fail(struct entry *entry, const struct failure *failure, bool remember, int64_t now_ms, int64_t wall_s,
               uint16_t random)
{
    entry->failures++;
    int64_t wait_ms = renewal_backoff_ms(failure, entry->failures, random);
    entry->failed_until_ms = remember ? now_ms + wait_ms : now_ms;
    entry->retry_ms = now_ms + (failure->class == CLASS_DEFINITE ? LIMIT_BACKOFF_MS : wait_ms);
    if (!entry->failed && !(entry->failed = malloc(sizeof(*entry->failed))))
        return -ENOMEM;
    *entry->failed = *failure;
    if (remember && failure->class != CLASS_DEFINITE)
        entry->failed->retry_at = wall_s + (wait_ms + 999) / 1000;
    return 0;
}

int64_t entry_renew_ms(const struct entry *entry, int64_t now_ms)
{
    bool wanted =
        entry->watchers || entry->holder->identity || now_ms - entry->asked_ms < renewal_idle_ms(entry->life_ms);
    if (!entry->reply.length || !wanted || entry->renew_ms < 0)
        return -1;
    if (!entry->failures)
        return entry->renew_ms;
    if (entry->failed && entry->failed->kind == FAILURE_LOGIN_REQUIRED)
        return -1;
    if (entry->failed && entry->failed->kind == FAILURE_AUTHORITY_REFUSED && entry->failed->class == CLASS_DEFINITE &&
        !entry->watchers)
        return -1; /* whoever asks next tries again; nobody asking, nobody does */
    return entry->retry_ms;
}

/* ---- the lock ---- */

int entry_lock(struct entry *entry, struct seal *seal)
{
    if (!entry->reply.length)
        return 0;
    struct box *sealed;
    int r = seal_close(seal, buffer_span(&entry->reply), span_of(entry->value), &sealed);
    if (r < 0) {
        entry_forget_token(entry);
        return r;
    }
    entry->sealed = box_free(entry->sealed);
    entry->sealed = sealed;
    entry->reply_sealed = entry->reply.length;
    buffer_free(&entry->reply);
    entry->value = wipe_free(entry->value);
    return 0;
}

int entry_unlock(struct entry *entry, struct seal_key *key, int64_t now_ms)
{
    char *plain = NULL;
    size_t length = 0;
    if (!entry->sealed)
        return 0;
    if (entry->expires_ms <= now_ms) {
        entry_forget_token(entry);
        return 0;
    }
    int r = seal_open(key, entry->sealed, &plain, &length);
    if (r < 0)
        return r;
    r = buffer_append(&entry->reply, plain, entry->reply_sealed);
    entry->value = r == 0 ? strdup(plain + entry->reply_sealed) : NULL;
    explicit_bzero(plain, length);
    free(plain);
    if (!entry->value) {
        buffer_free(&entry->reply);
        return -ENOMEM;
    }
    entry->sealed = box_free(entry->sealed);
    return 0;
}

int holder_lock_unsaved(struct holder *holder, struct seal *seal)
{
    struct secret *token = holder->unsaved ? holder->unsaved->refresh_token : NULL;
    int r = token ? seal_close_secret(seal, token, &holder->unsaved_sealed) : 0;
    if (token && r == 0)
        holder->unsaved->refresh_token = secret_unref(token);
    return r;
}

int holder_unlock_unsaved(struct holder *holder, struct seal_key *key)
{
    struct box *sealed = holder->unsaved_sealed;
    int r = sealed ? seal_open_secret(key, sealed, &holder->unsaved->refresh_token) : 0;
    if (r == 0)
        holder->unsaved_sealed = box_free(sealed);
    return r;
}

void holder_forget_unsaved(struct holder *holder)
{
    if (holder->unsaved)
        credential_clear(holder->unsaved);
    free(holder->unsaved);
    holder->unsaved = NULL;
    holder->unsaved_sealed = box_free(holder->unsaved_sealed);
}
