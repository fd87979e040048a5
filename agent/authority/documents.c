#include "authority/documents.h"

#include "authority/answer.h"
#include "authority/jwk.h"
#include "authority/url.h"
#include "buffer.h"
#include "cleanup.h"
#include "clock.h"
#include "json.h"
#include "limits.h"
#include <errno.h>

#define ADDRESSES 3
#define SHOWN     200 /* bytes of an address that a message repeats */

/* One thing to fetch. Held by the cache's list, by each wait and by its own fetch: what the list has let go of still
 * answers those who wait for it. */
struct document {
    struct document *next, *previous; /* all of them, the newest first */
    struct documents *documents;      /* NULL: the cache is gone */
    unsigned holders;
    bool listed; /* may be found */
    bool is_jwks;
    unsigned char trust[TRUST_KEY_SIZE];
    char *addresses[ADDRESSES]; /* asked in turn; the first is the key */
    size_t count;
    /* the fetch that is under way */
    struct http_call *call;
    size_t place;
    struct buffer ca_pem, proxy; /* its trust, kept for the addresses that follow */
    bool allow_http;
    int64_t timeout_ms;
    /* what was found: one of both, or why nothing was */
    char *body;
    size_t length;
    struct jwks *jwks;
    struct failure missing;
    int64_t fetched_ms, due_ms; /* due: a newer one is fetched at the next asking */
    int64_t renewed_ms;         /* when a newer one was last fetched out of turn; 0: never */
};

struct documents_wait {
    struct documents_wait *next, *previous; /* all of them, in order */
    struct documents *documents;
    struct document *document; /* NULL: the profile says all */
    const struct profile *profile;
    documents_metadata_fn *metadata; /* one of both */
    documents_jwks_fn *jwks;
    void *arg;
    bool ready; /* will be told by its task */
    int error;
    struct failure why;
    struct task task;
};

struct documents {
    struct loop *loop;
    struct http *http;
    struct document *all;
    size_t count; /* listed */
    struct documents_wait *first, *last;
};

DEFINE_CLEANUP(struct metadata *, metadata_free)

/* ---- holding ------------------------------------------------------------------------------------------------------
 */

static void end_fetch(struct document *document)
{
    document->call = NULL;
    buffer_free(&document->ca_pem);
    buffer_free(&document->proxy);
}

static void forsake(struct document *document)
{
    struct documents *documents = document->documents;
    if (!documents)
        return;
    if (document->previous)
        document->previous->next = document->next;
    else
        documents->all = document->next;
    if (document->next)
        document->next->previous = document->previous;
    document->documents = NULL;
}

static void let_go(struct document *document)
{
    if (!document || --document->holders > 0)
        return;
    forsake(document);
    for (size_t i = 0; i < document->count; i++)
        free(document->addresses[i]);
    free(document->body);
    jwks_free(document->jwks);
    end_fetch(document);
    free(document);
}

static bool has_content(const struct document *document)
{
    return document->body || document->jwks;
}

static void unlist(struct document *document)
{
    if (!document->listed)
        return;
    document->listed = false;
    document->documents->count--;
    let_go(document);
}

static void list(struct documents *documents, struct document *document)
{
    struct document *oldest = NULL;
    for (struct document *d = documents->all; d && documents->count >= LIMIT_DOCUMENTS; d = d->next)
        if (d->listed)
            oldest = d;
    if (oldest)
        unlist(oldest);
    document->documents = documents;
    document->listed = true;
    document->holders++;
    documents->count++;
    document->next = documents->all;
    if (document->next)
        document->next->previous = document;
    documents->all = document;
}

/* ---- telling ------------------------------------------------------------------------------------------------------
 */

static void wait_free(struct documents_wait *wait)
{
    struct documents *documents = wait->documents;
    task_stop(&wait->task);
    if (wait->previous)
        wait->previous->next = wait->next;
    else
        documents->first = wait->next;
    if (wait->next)
        wait->next->previous = wait->previous;
    else
        documents->last = wait->previous;
    let_go(wait->document);
    free(wait);
}

/* What the document means to this profile: its own endpoints win, its own rules say where the others may be. */
static int read_metadata(struct documents_wait *wait, struct metadata **ret)
{
    _cleanup_(metadata_free_cleanup) struct metadata *metadata = NULL;
    struct document *document = wait->document;
    int r;
    if (document) {
        struct span body = {.data = document->body, .length = document->length};
        r = metadata_parse(wait->profile, body, &metadata, &wait->why);
        int64_t again = document->fetched_ms + LIMIT_METADATA_RETRY_MS;
        if (r < 0 && document->due_ms > again) /* it may be mended at the authority */
            document->due_ms = again;
        if (r < 0)
            return r;
    }
    return metadata_merge(wait->profile, metadata, ret);
}

static void tell_metadata(struct documents_wait *wait)
{
    _cleanup_(metadata_free_cleanup) struct metadata *metadata = NULL;
    documents_metadata_fn *fn = wait->metadata;
    void *arg = wait->arg;
    int error = wait->error ? wait->error : read_metadata(wait, &metadata);
    struct failure why = wait->why;
    if (error && why.kind == FAILURE_NONE)
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-error));
    wait_free(wait);
    fn(arg, error, metadata, error ? &why : NULL);
}

static void tell_jwks(struct documents_wait *wait)
{
    struct document *document = wait->document;
    documents_jwks_fn *fn = wait->jwks;
    struct failure why = wait->why;
    void *arg = wait->arg;
    int error = wait->error;
    document->holders++;
    wait_free(wait);
    fn(arg, error, error ? NULL : document->jwks, error ? &why : NULL);
    let_go(document);
}

static void on_tell(void *arg)
{
    struct documents_wait *wait = arg;
    if (wait->metadata)
        tell_metadata(wait);
    else
        tell_jwks(wait);
}

static void settle(struct documents_wait *wait, int error, const struct failure *why)
{
    wait->ready = true;
    wait->error = error;
    if (error)
        wait->why = *why;
    task_start(wait->documents->loop, &wait->task, on_tell, wait);
}

/* The end of a fetch. A document that is there outlives the failure to fetch a newer one. */
static void finish(struct document *document, int error, const struct failure *why)
{
    end_fetch(document);
    if (error && has_content(document)) {
        document->due_ms = clock_boot_ms() + LIMIT_METADATA_RETRY_MS;
        error = 0;
    }
    for (struct documents_wait *wait = document->documents->first; wait; wait = wait->next)
        if (wait->document == document && !wait->ready)
            settle(wait, error, why);
    let_go(document);
}

/* ---- fetching -----------------------------------------------------------------------------------------------------
 */

static void on_answer(void *arg, const struct answer *answer);

static void fetch(struct document *document)
{
    struct http_step step = {
        .method = "GET",
        .url = document->addresses[document->place],
        .headers = {{.name = "Accept",
                     .value = span_of(document->is_jwks ? "application/json, application/jwk-set+json"
                                                        : "application/json")}},
        .header_count = 1,
    };
    struct http_request request = {
        .step = &step,
        .trust = {.ca_pem = buffer_span(&document->ca_pem), .proxy = document->proxy.data},
        .allow_http = document->allow_http,
        .timeout_ms = document->timeout_ms,
    };
    struct failure why;
    int r = http_start(document->documents->http, &request, on_answer, document, &document->call);
    if (r == 0)
        return;
    failure_set(&why, r == -EINVAL ? FAILURE_INVALID_CONFIGURATION : FAILURE_BUSY,
                r == -EINVAL ? CLASS_DEFINITE : CLASS_UNREACHABLE, "cannot ask %.*s: %s", SHOWN, step.url,
                r == -EINVAL ? "not a plain https address" : strerror(-r));
    finish(document, r, &why);
}

static bool is_object(struct span text)
{
    _cleanup_json_ json_object *json = NULL;
    return json_parse(text.data, text.length, LIMIT_RESPONSE_DEPTH, &json) == 0 &&
           json_object_is_type(json, json_type_object);
}

/* "There is no such document here": go on to the next address. A redirect is how sign-in pages say it. */
static bool is_elsewhere(const struct answer *answer)
{
    switch (answer->status) {
    case 200:
        return !is_object(answer->body);
    case 400:
    case 401:
    case 403:
    case 404:
    case 405:
    case 410:
        return true;
    default:
        return answer->status >= 300 && answer->status < 400;
    }
}

/* An answer that says nothing about the document: throttled, broken, being restarted. */
static void trouble(const struct document *document, const struct answer *answer, struct failure *ret)
{
    struct tick tick = {.boot_ms = clock_boot_ms(), .wall_s = clock_wall_s()};
    failure_set(ret, FAILURE_AUTHORITY_UNREACHABLE, answer->status == 429 ? CLASS_THROTTLED : CLASS_UNREACHABLE,
                "%.*s answered with HTTP status %d", SHOWN, document->addresses[document->place], answer->status);
    ret->retry_after_ms = answer_retry_after_ms(answer, &tick);
}

static void keep(struct document *document, int64_t age_ms)
{
    document->fetched_ms = clock_boot_ms();
    document->due_ms = document->fetched_ms + age_ms;
    document->missing = (struct failure){0};
}

static void take_metadata(struct document *document, const struct answer *answer)
{
    char *body = malloc(answer->body.length);
    struct failure why;
    if (!body) {
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
        finish(document, -ENOMEM, &why);
        return;
    }
    memcpy(body, answer->body.data, answer->body.length);
    free(document->body);
    document->body = body;
    document->length = answer->body.length;
    keep(document, LIMIT_METADATA_AGE_MS);
    finish(document, 0, NULL);
}

static void take_jwks(struct document *document, const struct answer *answer)
{
    struct jwks *jwks = NULL;
    struct failure why = {0};
    int r = answer->status == 200 ? jwks_parse(answer->body, &jwks) : -EBADMSG;
    if (r < 0) {
        failure_set(&why, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "the key set %.*s is unusable (HTTP status %d)",
                    SHOWN, document->addresses[0], answer->status);
        (void)snprintf(why.error, sizeof(why.error), "invalid_key_set");
        finish(document, r, &why);
        return;
    }
    jwks_free(document->jwks);
    document->jwks = jwks;
    keep(document, LIMIT_JWKS_AGE_MS);
    finish(document, 0, NULL);
}

static void not_found(struct document *document, const struct answer *answer)
{
    struct failure why;
    failure_set(
        &why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
        "no metadata document where OpenID and RFC 8414 put it, at last %.*s (HTTP status %d): check authority, or set "
        "token_endpoint",
        SHOWN, document->addresses[document->place], answer->status);
    if (!has_content(document)) {
        document->missing = why;
        document->due_ms = clock_boot_ms() + LIMIT_METADATA_RETRY_MS;
    }
    finish(document, -ENOENT, &why);
}

static void on_answer(void *arg, const struct answer *answer)
{
    struct document *document = arg;
    struct failure why = answer->why;
    document->call = NULL;
    why.uncertain = false; /* asking twice does no harm */
    if (answer->error) {
        finish(document, answer->error, &why);
    } else if (!document->is_jwks && is_elsewhere(answer)) {
        if (document->place + 1 == document->count) {
            not_found(document, answer);
        } else {
            document->place++;
            fetch(document);
        }
    } else if (answer->status == 429 || answer->status >= 500 || (!document->is_jwks && answer->status != 200)) {
        trouble(document, answer, &why);
        finish(document, -EAGAIN, &why);
    } else if (document->is_jwks) {
        take_jwks(document, answer);
    } else {
        take_metadata(document, answer);
    }
}

static int start_fetch(struct document *document, const struct profile *profile, const struct trust *trust)
{
    struct url authority;
    bool has_authority = url_parse(profile->authority, &authority) == 0;
    document->ca_pem = BUFFER(trust->ca_pem.length);
    document->proxy = BUFFER(LIMIT_CONFIG_LINE);
    buffer_append(&document->ca_pem, trust->ca_pem.data, trust->ca_pem.length);
    buffer_text(&document->proxy, trust->proxy ? trust->proxy : "");
    if (buffer_error(&document->ca_pem) || buffer_error(&document->proxy)) {
        end_fetch(document);
        return -ENOMEM;
    }
    document->allow_http = !has_authority || !authority.https; /* still to literal loopback addresses only */
    document->timeout_ms = profile->timeout_ms > 0 ? profile->timeout_ms : LIMIT_HTTP_MS;
    document->place = 0;
    document->holders++;
    fetch(document);
    return 0;
}

/* ---- asking -------------------------------------------------------------------------------------------------------
 */

static struct document *find(const struct documents *documents, const char *address, bool is_jwks,
                             const unsigned char *trust)
{
    for (struct document *document = documents->all; document; document = document->next)
        if (document->listed && document->is_jwks == is_jwks && strcmp(document->addresses[0], address) == 0 &&
            memcmp(document->trust, trust, TRUST_KEY_SIZE) == 0)
            return document;
    return NULL;
}

/* Takes the addresses, also on failure. */
static int find_or_make(struct documents *documents, char *addresses[ADDRESSES], size_t count, bool is_jwks,
                        const struct trust *trust, struct document **ret)
{
    unsigned char key[TRUST_KEY_SIZE];
    int r = trust_key(trust, key);
    struct document *document = r == 0 ? find(documents, addresses[0], is_jwks, key) : NULL;
    if (r < 0 || document || !(document = calloc(1, sizeof(*document)))) {
        for (size_t i = 0; i < count; i++)
            free(addresses[i]);
        *ret = document;
        return r < 0 || document ? r : -ENOMEM;
    }
    document->is_jwks = is_jwks;
    memcpy(document->trust, key, sizeof(key));
    memcpy(document->addresses, addresses, count * sizeof(*addresses));
    document->count = count;
    list(documents, document);
    *ret = document;
    return 0;
}

static struct documents_wait *wait_new(struct documents *documents, const struct profile *profile, void *arg)
{
    struct documents_wait *wait = calloc(1, sizeof(*wait));
    if (!wait)
        return NULL;
    wait->documents = documents;
    wait->profile = profile;
    wait->arg = arg;
    wait->previous = documents->last;
    if (documents->last)
        documents->last->next = wait;
    else
        documents->first = wait;
    documents->last = wait;
    return wait;
}

/* Answers from what is there, joins the fetch that is under way, or starts one. */
static int attend(struct documents_wait *wait, struct document *document, const struct trust *trust, bool newer)
{
    int64_t now = clock_boot_ms();
    wait->document = document;
    document->holders++;
    if (document->call)
        return 0;
    if (has_content(document) && now < document->due_ms && !newer) {
        settle(wait, 0, NULL);
        return 0;
    }
    if (document->missing.kind != FAILURE_NONE && now < document->due_ms) {
        settle(wait, -ENOENT, &document->missing);
        return 0;
    }
    return start_fetch(document, wait->profile, trust);
}

/* Whether the profile alone names whatever may be asked for. Entra's shared tenants have no issuer of their own. */
static bool says_all(const struct profile *profile, enum endpoint needed)
{
    struct url authority;
    if (!profile->authority)
        return true;
    if (url_parse(profile->authority, &authority) == 0 && url_is_entra(&authority))
        return false;
    return profile->token_endpoint && profile->jwks_uri && endpoint_configured(profile, needed);
}

int documents_metadata(struct documents *documents, const struct profile *profile, enum endpoint needed,
                       const struct trust *trust, documents_metadata_fn *fn, void *arg, struct documents_wait **ret)
{
    char *addresses[ADDRESSES] = {0};
    struct document *document;
    struct documents_wait *wait = wait_new(documents, profile, arg);
    if (!wait)
        return -ENOMEM;
    wait->metadata = fn;
    if (says_all(profile, needed)) {
        settle(wait, 0, NULL);
        *ret = wait;
        return 0;
    }
    int count = metadata_addresses(profile, addresses, ADDRESSES);
    if (count == -EINVAL) {
        struct failure why;
        failure_set(&why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                    "authority is neither a plain https address nor http to a literal loopback one");
        settle(wait, -EINVAL, &why);
        *ret = wait;
        return 0;
    }
    int r = count < 0 ? count : find_or_make(documents, addresses, (size_t)count, false, trust, &document);
    if (r == 0)
        r = attend(wait, document, trust, false);
    if (r < 0)
        wait_free(wait);
    else
        *ret = wait;
    return r;
}

int documents_jwks(struct documents *documents, const struct profile *profile, const char *uri,
                   const struct trust *trust, bool newer, documents_jwks_fn *fn, void *arg, struct documents_wait **ret)
{
    struct document *document;
    char *addresses[ADDRESSES] = {strdup(uri)};
    struct documents_wait *wait = wait_new(documents, profile, arg);
    if (!wait || !addresses[0]) {
        free(addresses[0]);
        if (wait)
            wait_free(wait);
        return -ENOMEM;
    }
    wait->jwks = fn;
    int r = find_or_make(documents, addresses, 1, true, trust, &document);
    if (r == 0) {
        int64_t now = clock_boot_ms();
        newer = newer && (!document->renewed_ms || now - document->renewed_ms >= LIMIT_JWKS_REFETCH_MS);
        if (newer)
            document->renewed_ms = now;
        r = attend(wait, document, trust, newer);
    }
    if (r < 0)
        wait_free(wait);
    else
        *ret = wait;
    return r;
}

void documents_cancel(struct documents_wait *wait)
{
    if (wait)
        wait_free(wait);
}

void documents_forget(struct documents *documents)
{
    for (struct document *document = documents->all, *next; document; document = next) {
        next = document->next;
        unlist(document);
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------
 */

int documents_new(struct loop *loop, struct http *http, struct documents **ret)
{
    struct documents *documents = calloc(1, sizeof(*documents));
    if (!documents)
        return -ENOMEM;
    documents->loop = loop;
    documents->http = http;
    *ret = documents;
    return 0;
}

struct documents *documents_free(struct documents *documents)
{
    if (!documents)
        return NULL;
    while (documents->first)
        wait_free(documents->first);
    documents_forget(documents);
    while (documents->all) { /* under way, or being told */
        struct document *document = documents->all;
        forsake(document);
        if (!document->call)
            continue;
        http_cancel(document->call);
        end_fetch(document);
        let_go(document);
    }
    free(documents);
    return NULL;
}
