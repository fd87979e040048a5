#include "acquire/verification.h"

#include "acquire/keeper.h"
#include "acquire/lock.h"
#include "authority/id_token.h"
#include "authority/url.h"
#include "cleanup.h"
#include "clock.h"
#include "dialect.h"
#include "grant/exchange.h"
#include "limits.h"
#include "text.h"
#include <errno.h>

struct verification {
    struct conductor *conductor;
    struct profile *profile; /* a reference */
    struct buffer ca_pem, jwt;
    char *audience, *nonce, *issuer, *jwks_uri;
    bool bearer;    /* a token for a service, not an id_token */
    bool refetched; /* the key set was fetched anew */
    struct worker_job *job;
    struct store_call *call;
    struct documents_wait *documents;
    verified_fn *verified;
    claims_fn *claims;
    void *arg;
};

static void finish(struct verification *verification, const struct identity *identity, json_object *claims,
                   const struct failure *why)
{
    if (verification->bearer)
        verification->claims(verification->arg, claims, why);
    else
        verification->verified(verification->arg, identity, claims, why);
    verification_cancel(verification);
}

static void fail(struct verification *verification, enum failure_kind kind, const char *reason)
{
    struct failure why;
    failure_set(&why, kind, CLASS_DEFINITE, "%s", reason);
    finish(verification, NULL, NULL, &why);
}

static void fail_error(struct verification *verification, int error)
{
    struct failure why;
    verification_failure(error, &why);
    finish(verification, NULL, NULL, &why);
}

void verification_failure(int error, struct failure *ret)
{
    if (error == -EACCES)
        lock_failure(ret);
    else
        failure_set(ret, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-error));
}

static void succeed(struct verification *verification, const struct id_token *token)
{
    struct identity identity = {0};
    text_clean_into(identity.issuer, sizeof(identity.issuer), span_of(token->issuer));
    text_clean_into(identity.subject, sizeof(identity.subject), span_of(token->subject ? token->subject : ""));
    text_clean_into(identity.account, sizeof(identity.account),
                    span_of(token->account ? token->account : identity.subject));
    finish(verification, &identity, token->claims, NULL);
}

static void fetch_keys(struct verification *, bool newer);

static void on_jwks(void *arg, int error, const struct jwks *jwks, const struct failure *why)
{
    struct verification *verification = arg;
    verification->documents = NULL;
    if (error) {
        finish(verification, NULL, NULL, why);
        return;
    }
    struct url authority;
    struct id_token_rules rules = {
        .issuer = verification->issuer,
        .audience = verification->audience,
        .nonce = verification->nonce,
        .policy = verification->profile->policy,
        .policy_chosen = verification->profile->base != NULL,
        .microsoft = verification->profile->authority && url_parse(verification->profile->authority, &authority) == 0 &&
                     url_is_entra(&authority),
        .now_s = clock_wall_s(),
        .leeway_s = LIMIT_LEEWAY_S / 2,
    };
    struct id_token token = {0};
    struct id_token_failure failure;
    struct span jwt = buffer_span(&verification->jwt);
    enum id_token_error wrong = verification->bearer ? id_token_verify_bearer(jwt, jwks, &rules, &token, &failure)
                                                     : id_token_verify(jwt, jwks, &rules, &token, &failure);
    if (wrong == ID_TOKEN_OK) {
        succeed(verification, &token);
        id_token_done(&token);
    } else if ((wrong == ID_TOKEN_NO_KEY || wrong == ID_TOKEN_SIGNATURE) && !verification->refetched) {
        verification->refetched = true;
        fetch_keys(verification, true);
    } else {
        char text[LIMIT_TEXT];
        id_token_explain(&failure, verification->bearer ? "token" : "id_token", text, sizeof(text));
        fail(verification, verification->bearer ? FAILURE_INVALID_TOKEN : FAILURE_AUTHORITY_REFUSED, text);
    }
}

static struct trust trust_of(const struct verification *verification)
{
    return (struct trust){.ca_pem = buffer_span(&verification->ca_pem), .proxy = verification->profile->proxy};
}

static void fetch_keys(struct verification *verification, bool newer)
{
    struct trust trust = trust_of(verification);
    int r = documents_jwks(verification->conductor->documents, verification->profile, verification->jwks_uri, &trust,
                           newer, on_jwks, verification, &verification->documents);
    if (r < 0)
        fail_error(verification, r);
}

static void on_metadata(void *arg, int error, const struct metadata *metadata, const struct failure *why)
{
    struct verification *verification = arg;
    verification->documents = NULL;
    if (error) {
        finish(verification, NULL, NULL, why);
        return;
    }
    if (!metadata->issuer || !metadata->jwks_uri) {
        fail(verification, FAILURE_NOT_SUPPORTED,
             "its signature cannot be checked: set authority, or authority and jwks_uri, so that issuer and keys are "
             "known");
        return;
    }
    verification->issuer = strdup(metadata->issuer);
    verification->jwks_uri = strdup(metadata->jwks_uri);
    if (!verification->issuer || !verification->jwks_uri)
        fail(verification, FAILURE_BUSY, "out of memory");
    else
        fetch_keys(verification, false);
}

static int fetch_metadata(struct verification *verification)
{
    struct trust trust = trust_of(verification);
    return documents_metadata(verification->conductor->documents, verification->profile,
                              profile_begins(verification->profile), &trust, on_metadata, verification,
                              &verification->documents);
}

/* ---- a bearer token: first by which user flow the profile's sign-in was ---- */

/* The keys, the issuer and what the token must say of itself are those of the flow that a person chose. */
static int take_flow(struct verification *verification, const char *policy)
{
    char problem[LIMIT_TEXT];
    struct profile *chosen = NULL;
    int r = policy && *policy ? dialect_with_policy(verification->profile, policy, &chosen, problem) : 0;
    if (chosen) {
        profile_free(verification->profile);
        verification->profile = chosen;
    }
    return r < 0 ? r : fetch_metadata(verification);
}

static void on_sign_in(void *arg, const struct store_result *result)
{
    struct verification *verification = arg;
    struct credential credential = {0};
    struct failure why;
    verification->call = NULL;
    if (result->error && result->error != STORE_MISSING && result->error != STORE_BOUND) {
        keeper_failure(&why, "by which user flow the sign-in was could not be read", result);
        finish(verification, NULL, NULL, &why);
        return;
    }
    if (!result->error)
        (void)credential_read(result->value, &credential); /* one that cannot be read counts as none */
    int r = take_flow(verification, credential.policy);
    credential_clear(&credential);
    if (r < 0)
        fail_error(verification, r);
}

/* Who has not used the sign-in since the agent began finds it in the store. */
static int find_flow(struct verification *verification)
{
    struct conductor *conductor = verification->conductor;
    const struct profile *profile = verification->profile;
    const struct holder *holder = cache_find(conductor->cache, profile->name);
    binding_text binding;
    struct store *store = NULL;
    if (!profile_is_b2c(profile) || !conductor_signs_in(profile))
        return fetch_metadata(verification);
    if (holder && holder->looked)
        return take_flow(verification, holder->policy);
    if (conductor->locked) /* a sign-in is read from nowhere now */
        return -EACCES;
    int r = binding_of(profile, buffer_span(&verification->ca_pem), binding);
    if (r == 0)
        r = stores_find(conductor->stores, profile->store, &store);
    if (r < 0)
        return r;
    const struct store_key key = {.profile = profile->name, .name = SECRET_REFRESH_TOKEN, .binding = binding};
    return store_get(store, &key, on_sign_in, verification, &verification->call);
}

static void on_ca_file(void *arg, const struct worker_result *result)
{
    struct verification *verification = arg;
    char text[LIMIT_TEXT];
    verification->job = NULL;
    if (result->error || buffer_append(&verification->ca_pem, result->output.data, result->output.length) < 0) {
        (void)snprintf(text, sizeof(text), "ca_file %s: %s", verification->profile->ca_file,
                       result->error ? result->problem : "it is too long");
        fail(verification, FAILURE_INVALID_CONFIGURATION, text);
        return;
    }
    int r = find_flow(verification);
    if (r < 0)
        fail_error(verification, r);
}

static struct verification *make(struct conductor *conductor, const struct profile *profile, struct span jwt,
                                 const char *audience, const char *nonce)
{
    struct verification *verification = calloc(1, sizeof(*verification));
    if (!verification)
        return NULL;
    verification->conductor = conductor;
    verification->profile = profile_ref((struct profile *)(uintptr_t)profile);
    verification->ca_pem = BUFFER(LIMIT_RESPONSE);
    verification->jwt = BUFFER(LIMIT_TOKEN);
    verification->audience = strdup(audience);
    verification->nonce = nonce ? strdup(nonce) : NULL;
    if (buffer_append(&verification->jwt, jwt.data, jwt.length) < 0 || !verification->audience ||
        (nonce && !verification->nonce)) {
        verification_cancel(verification);
        return NULL;
    }
    return verification;
}

int verification_start(struct conductor *conductor, const struct profile *profile, const struct trust *trust,
                       const struct verify_step *step, verified_fn *fn, void *arg, struct verification **ret)
{
    struct verification *verification =
        make(conductor, profile, span_of(step->id_token), profile->client_id, step->nonce);
    if (!verification)
        return -ENOMEM;
    verification->verified = fn;
    verification->arg = arg;
    int r = buffer_append(&verification->ca_pem, trust->ca_pem.data, trust->ca_pem.length);
    if (r == 0)
        r = fetch_metadata(verification);
    if (r < 0) {
        verification_cancel(verification);
        return r;
    }
    *ret = verification;
    return 0;
}

int verification_start_bearer(struct conductor *conductor, struct profile *profile, struct span jwt,
                              const char *audience, claims_fn *fn, void *arg, struct verification **ret)
{
    struct verification *verification = make(conductor, profile, jwt, audience, NULL);
    if (!verification)
        return -ENOMEM;
    verification->bearer = true;
    verification->claims = fn;
    verification->arg = arg;
    int r = profile->ca_file ? worker_read(conductor->worker, profile->ca_file, WORKER_PUBLIC_FILE, LIMIT_RESPONSE,
                                           LIMIT_COMMAND_MS, on_ca_file, verification, &verification->job)
                             : find_flow(verification);
    if (r < 0) {
        verification_cancel(verification);
        return r;
    }
    *ret = verification;
    return 0;
}

void verification_cancel(struct verification *verification)
{
    if (!verification)
        return;
    worker_cancel(verification->job);
    store_cancel(verification->call);
    documents_cancel(verification->documents);
    profile_free(verification->profile);
    buffer_free(&verification->ca_pem);
    buffer_free(&verification->jwt);
    free(verification->audience);
    free(verification->nonce);
    free(verification->issuer);
    free(verification->jwks_uri);
    free(verification);
}
