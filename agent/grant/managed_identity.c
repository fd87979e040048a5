/* A managed identity: the platform that this host is part of gives tokens to who runs on it (WIRE section 6). Which
 * platform it is, is told by the environment that the agent was started with; failing that by Azure Arc's own program;
 * else it can only be IMDS, which is asked whether it is there at all before anybody waits for a token.
 *
 * All of it happens on this host, by http where the platform has nothing else: never through a proxy. What passes is
 * asked again by the rules of each platform, but not for longer than a caller waits. */
#include "authority/url.h"
#include "cleanup.h"
#include "grant/exchange.h"
#include "grant/form.h"
#include "grant/identity_answer.h"
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define ARC_FOLDER "/var/opt/azcmagent/tokens/"
#define ARC_SUFFIX ".key"

enum {
    PROBE_MS = 1000,                     /* for IMDS to say anything, and to be connected to */
    REQUEST_MS = 10000,                  /* one request: a service of this host is near */
    GIVE_UP_MS = LIMIT_CALL_MS - 2000,   /* so that the reason comes before the caller goes */
    ARC_FILE = 4096,                     /* bytes of a challenge's file */
    ARC_PATH = sizeof(ARC_FOLDER) + 255, /* of its path */
};

struct managed_identity {
    const struct input *input;
    struct span resource;
    enum identity_source wanted;
    const struct identity_way *way; /* once it is known */
    enum { SEEKING_ARC, PROBING, ASKING, PAUSING, READING, PROVING } phase;
    bool fallback; /* nothing but IMDS was left */
    unsigned tries;
    int64_t started_ms;
    struct buffer url, body, authorization;
    char path[ARC_PATH], thumbprint[64];
    struct tokens tokens;
};

/* ---- settings ---- */

static const char *check_source(const char *value)
{
    enum identity_source source;
    return identity_source_read(value, &source) ? NULL : "is not known; it is " IDENTITY_WORDS;
}

static const char *check_object_id(const char *value)
{
    static const char known[] = "0123456789abcdefABCDEF-";
    return strlen(value) != 36 || value[strspn(value, known)] ? "is no object id, as in 11111111-2222-3333-4444-"
                                                                "555555555555"
                                                              : NULL;
}

static const char *check_mi_res_id(const char *value)
{
    for (const char *p = value; *p; p++)
        if (*p <= 0x20 || *p > 0x7e)
            return "holds a blank or a character outside ASCII";
    return value[0] == '/' ? NULL
                           : "is no resource id, as in /subscriptions/ID/resourceGroups/GROUP/providers/"
                             "Microsoft.ManagedIdentity/userAssignedIdentities/NAME";
}

static enum identity_source wanted_source(const struct profile *profile)
{
    enum identity_source source = IDENTITY_SOURCES;
    const char *word = profile_setting(profile, "source");
    if (word)
        (void)identity_source_read(word, &source);
    return source;
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length > tail && strcmp(text + length - tail, suffix) == 0;
}

static const char *check(const struct profile *profile)
{
    static const char *const reasons[] = {
        [IDENTITY_SERVICE_FABRIC] = "service_fabric gives an application the identity that the cluster was configured "
                                    "with: drop client_id, object_id and mi_res_id",
        [IDENTITY_ARC] = "arc has one identity, the system's own: drop client_id, object_id and mi_res_id",
        [IDENTITY_CLOUD_SHELL] = "cloud_shell gives tokens of the person who opened it: drop client_id, object_id and "
                                 "mi_res_id",
        [IDENTITY_AZUREML] = "azureml knows identities by client_id alone: drop object_id and mi_res_id",
        [IDENTITY_SOURCES] = NULL,
    };
    const char *object = profile_setting(profile, "object_id"), *resource = profile_setting(profile, "mi_res_id");
    enum identity_source source = wanted_source(profile);
    const char *name, *value;
    if (!profile->resource && !profile->scopes)
        return "needs resource, or scope = RESOURCE/.default";
    if (!profile->resource && (profile->scopes[1] || !has_suffix(profile->scopes[0], "/.default")))
        return "takes one scope, RESOURCE/.default: a managed identity's token is for one resource";
    if ((profile->client_id != NULL) + (object != NULL) + (resource != NULL) > 1)
        return "takes one of client_id, object_id and mi_res_id: each names the identity";
    if (profile->proxy)
        return "never goes through a proxy: drop proxy";
    if (profile->authority || profile->token_endpoint || profile->client_secret.kind != SOURCE_NONE)
        return "asks the platform of this host: drop authority, token_endpoint and client_secret";
    if (source != IDENTITY_SOURCES && source != IDENTITY_APP_SERVICE &&
        !identity_way_name(identity_way_find(source, NULL), profile, &name, &value))
        return reasons[source];
    return NULL;
}

/* ---- failing ---- */

static int fail(struct step *ret, enum failure_kind kind, const char *words, const char *more)
{
    struct failure why;
    failure_set(&why, kind, kind == FAILURE_AUTHORITY_UNREACHABLE ? CLASS_UNREACHABLE : CLASS_DEFINITE, "%s%s", words,
                more);
    return step_fail(ret, &why);
}

/* Nobody looked for the variables when the agent was started: that may be all that is wrong. */
static const char *unseen(const struct managed_identity *self)
{
    environment_fn *environment = self->input->environment;
    bool seen = environment && environment("IDENTITY_ENDPOINT").data;
    return seen ? ""
                : "; the agent was started before this profile was configured, and did not keep the variables of its "
                  "environment that could name another place: start it anew";
}

static int fail_missing(const struct managed_identity *self, const char *variable, struct step *ret)
{
    struct failure why;
    failure_set(&why, FAILURE_SECRET_MISSING, CLASS_DEFINITE,
                "%s needs %s in the environment that the agent is started with; it was not there%s", self->way->title,
                variable, unseen(self));
    (void)snprintf(why.name, sizeof(why.name), "%s", variable);
    return step_fail(ret, &why);
}

/* IMDS could not be connected to, or said nothing. */
static int fail_nowhere(const struct managed_identity *self, const struct answer *answer, struct step *ret)
{
    struct failure why;
    const char *reason = answer->why.kind != FAILURE_NONE ? answer->why.reason : "IMDS does not answer";
    if (self->fallback)
        failure_set(&why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE,
                    "no managed identity here: IDENTITY_ENDPOINT and MSI_ENDPOINT were not in the agent's environment, "
                    "Azure Arc's agent is not installed, and IMDS: %s%s",
                    reason, unseen(self));
    else
        failure_set(&why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE,
                    "no managed identity here: IMDS: %s; is this a machine of Azure?", reason);
    return step_fail(ret, &why);
}

/* ---- asking ---- */

/* RESOURCE of a scope RESOURCE/.default; of what was asked for before what is configured. */
static int choose_resource(struct managed_identity *self, struct step *ret)
{
    const struct profile *profile = self->input->profile;
    const struct request *asked = input_request(self->input);
    const char *resource = asked->resource ? asked->resource : asked->scopes ? NULL : profile->resource;
    char *const *scopes = asked->scopes ? asked->scopes : profile->scopes;
    if (asked->claims || request_audience(asked, profile)) {
        (void)fail(ret, FAILURE_NOT_SUPPORTED, asked->claims ? "claims" : "an audience",
                   " cannot be asked for of a managed identity");
        return -ENOTSUP;
    }
    if (resource) {
        self->resource = span_of(resource);
        return 0;
    }
    if (!scopes || !scopes[0] || scopes[1] || !has_suffix(scopes[0], "/.default")) {
        (void)fail(ret, FAILURE_NOT_SUPPORTED, "a managed identity's token is for one resource: ask for one scope, ",
                   "RESOURCE/.default");
        return -ENOTSUP;
    }
    self->resource = (struct span){scopes[0], strlen(scopes[0]) - strlen("/.default")};
    return 0;
}

static int put_query(struct managed_identity *self)
{
    const struct identity_way *way = self->way;
    struct buffer *query = &self->body;
    const char *name, *value;
    buffer_clear(query);
    if (way->version)
        form_text(query, "api-version", way->version);
    form_pair(query, "resource", self->resource);
    (void)identity_way_name(way, self->input->profile, &name, &value);
    struct span given = value ? span_of(value) : (struct span){0};
    if (!value && way->source == IDENTITY_AZUREML) {
        name = way->client_id;
        given = identity_value(self->input->environment, "DEFAULT_IDENTITY_CLIENT_ID");
    }
    if (given.length > 0)
        form_pair(query, name, given);
    return buffer_error(query);
}

static int put_address(struct managed_identity *self, struct step *ret)
{
    const struct identity_way *way = self->way;
    buffer_clear(&self->url);
    int r = identity_way_address(way, self->input->environment, &self->url);
    if (r == -EINVAL) {
        (void)fail(ret, FAILURE_INVALID_CONFIGURATION, way->endpoint,
                   way->thumbprint ? " in the agent's environment is no address of https"
                                   : " in the agent's environment is neither https nor http to this host (loopback, "
                                     "169.254.0.0/16)");
        return -ENOTSUP;
    }
    if (r < 0)
        return r;
    r = put_query(self);
    if (r == 0 && !way->post) {
        buffer_byte(&self->url, '?');
        buffer_append(&self->url, self->body.data, self->body.length);
        r = buffer_error(&self->url);
        buffer_clear(&self->body);
    }
    if (r != -EMSGSIZE)
        return r;
    (void)fail(ret, FAILURE_NOT_SUPPORTED, "the resource is longer than an address can be", "");
    return -ENOTSUP;
}

static bool fits_header(struct span value)
{
    for (size_t i = 0; i < value.length; i++)
        if (value.data[i] < 0x20 || value.data[i] > 0x7e)
            return false;
    return true;
}

static void add_header(struct step *ret, const char *name, struct span value)
{
    ret->http.headers[ret->http.header_count++] = (struct header){name, value};
}

static int put_thumbprint(struct managed_identity *self, struct step *ret)
{
    struct span value = identity_value(self->input->environment, self->way->thumbprint);
    if (value.length == 0 || value.length >= sizeof(self->thumbprint) || memchr(value.data, '\0', value.length))
        return fail(ret, FAILURE_INVALID_CONFIGURATION, self->way->thumbprint, " is no thumbprint");
    memcpy(self->thumbprint, value.data, value.length);
    self->thumbprint[value.length] = '\0';
    ret->http.thumbprint = self->thumbprint;
    return 0;
}

/* The request as it stands in url and body; a probe has nothing that would get a token. */
static int send_request(struct managed_identity *self, const struct tick *tick, struct step *ret)
{
    const struct identity_way *way = self->way;
    int64_t left = self->started_ms + GIVE_UP_MS - tick->boot_ms;
    bool probe = self->phase == PROBING;
    int r = put_address(self, ret);
    if (r < 0)
        return r == -ENOTSUP ? 0 : r;
    struct span secret = way->secret ? identity_value(self->input->environment, way->secret) : (struct span){0};
    if (!fits_header(secret))
        return fail(ret, FAILURE_INVALID_CONFIGURATION, way->secret, " holds bytes that no header can carry");
    *ret = (struct step){.kind = STEP_HTTP, .http = {.method = way->post ? "POST" : "GET", .url = self->url.data}};
    ret->http.body = buffer_span(&self->body);
    ret->http.connect_ms = way->source == IDENTITY_IMDS ? PROBE_MS : 0;
    ret->http.timeout_ms = probe ? PROBE_MS : left < PROBE_MS ? PROBE_MS : left < REQUEST_MS ? left : REQUEST_MS;
    if (way->metadata && !probe)
        add_header(ret, "Metadata", span_of("true"));
    if (secret.length > 0)
        add_header(ret, way->header, secret);
    if (self->phase == PROVING)
        add_header(ret, "Authorization", buffer_span(&self->authorization));
    return way->thumbprint ? put_thumbprint(self, ret) : 0;
}

static int ask(struct managed_identity *self, const struct tick *tick, struct step *ret)
{
    self->phase = ASKING;
    return send_request(self, tick, ret);
}

/* The platform is known. */
static int begin(struct managed_identity *self, const struct identity_way *way, const struct tick *tick,
                 struct step *ret)
{
    const char *name, *value, *missing = identity_way_missing(way, self->input->environment);
    self->way = way;
    if (missing)
        return fail_missing(self, missing, ret);
    if (!identity_way_name(way, self->input->profile, &name, &value)) {
        struct failure why;
        failure_set(&why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                    "this host's identity comes from %s, which %s: drop what names another, or set source", way->title,
                    way->alone);
        return step_fail(ret, &why);
    }
    if (!self->fallback)
        return ask(self, tick, ret);
    self->phase = PROBING;
    return send_request(self, tick, ret);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct managed_identity *self = state;
    if (op != GRANT_ACQUIRE)
        return -EINVAL;
    self->input = input;
    self->started_ms = tick->boot_ms;
    self->wanted = wanted_source(input->profile);
    self->url = BUFFER(LIMIT_URL);
    self->body = BUFFER(LIMIT_FORM);
    self->authorization = BUFFER(ARC_FILE + sizeof("Basic "));
    if (choose_resource(self, ret) < 0)
        return 0;
    const struct identity_way *way = identity_way_find(self->wanted, input->environment);
    if (way)
        return begin(self, way, tick, ret);
    self->phase = SEEKING_ARC;
    *ret = (struct step){.kind = STEP_READ, .read = {.path = IDENTITY_ARC_PROGRAM}};
    return 0;
}

/* ---- Arc's challenge ---- */

/* `Basic realm=PATH`, where PATH must be a file of the one folder, which only root and the platform write to: what
 * answers on that port cannot have us read and send it another. */
static bool read_challenge(const struct answer *answer, char path[static ARC_PATH])
{
    static const char start[] = "Basic realm=";
    const size_t length = sizeof(start) - 1, folder = sizeof(ARC_FOLDER) - 1, suffix = sizeof(ARC_SUFFIX) - 1;
    struct span value;
    if (!answer_header(answer, "WWW-Authenticate", &value) || value.length <= length ||
        strncasecmp(value.data, start, length) != 0)
        return false;
    struct span named = {value.data + length, value.length - length};
    if (named.length > 2 && named.data[0] == '"' && named.data[named.length - 1] == '"')
        named = (struct span){named.data + 1, named.length - 2};
    if (named.length <= folder + suffix || named.length >= ARC_PATH || memcmp(named.data, ARC_FOLDER, folder) != 0 ||
        memcmp(named.data + named.length - suffix, ARC_SUFFIX, suffix) != 0)
        return false;
    for (size_t i = folder; i < named.length; i++)
        if (named.data[i] == '/' || named.data[i] <= 0x20 || named.data[i] > 0x7e)
            return false;
    memcpy(path, named.data, named.length);
    path[named.length] = '\0';
    return true;
}

static int take_challenge(struct managed_identity *self, const struct answer *answer, struct step *ret)
{
    struct failure why;
    if (!read_challenge(answer, self->path)) {
        failure_refused(&why, "challenge",
                        "Azure Arc's challenge names no file " ARC_FOLDER "NAME" ARC_SUFFIX
                        ": it is not answered. Is what listens there Azure Arc's agent?");
        return step_fail(ret, &why);
    }
    self->phase = READING;
    *ret = (struct step){.kind = STEP_READ, .read = {.path = self->path, .maximum = ARC_FILE}};
    return 0;
}

static int take_file(struct managed_identity *self, const struct answer *answer, const struct tick *tick,
                     struct step *ret)
{
    struct failure why;
    if (answer->error) {
        failure_set(&why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "Azure Arc's challenge: %s%s",
                    answer->why.kind != FAILURE_NONE ? answer->why.reason : strerror(-answer->error),
                    answer->error == -EACCES ? "; only root and members of the group himds can (usermod -aG himds "
                                               "USER, then log in anew)"
                                             : "");
        (void)snprintf(why.name, sizeof(why.name), "challenge");
        return step_fail(ret, &why);
    }
    struct span value = answer->body;
    if (value.length > 0 && value.data[value.length - 1] == '\n') /* it would end the header line */
        value.length--;
    if (value.length == 0 || !fits_header(value))
        return fail(ret, FAILURE_SECRET_MISSING,
                    "Azure Arc's challenge: what is in its file cannot be sent: ", self->path);
    buffer_clear(&self->authorization);
    buffer_text(&self->authorization, "Basic ");
    if (buffer_append(&self->authorization, value.data, value.length) < 0)
        return buffer_error(&self->authorization);
    self->phase = PROVING;
    return send_request(self, tick, ret);
}

/* ---- answers ---- */

static int take_answer(struct managed_identity *self, const struct answer *answer, const struct tick *tick,
                       struct step *ret)
{
    const struct identity_way *way = self->way;
    struct failure why;
    int64_t again;
    if (way->source == IDENTITY_ARC && self->phase == ASKING && !answer->error && answer->status == 401)
        return take_challenge(self, answer, ret);
    buffer_clear(&self->authorization);
    if (way->source == IDENTITY_IMDS && answer->error && !answer->maybe_sent)
        return fail_nowhere(self, answer, ret);
    if (identity_answer(way, self->input->profile, answer, tick, self->tries, &self->tokens, &again, &why)) {
        *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &self->tokens}};
        return 0;
    }
    if (again < 0 || tick->boot_ms + again >= self->started_ms + GIVE_UP_MS) {
        if (again >= 0 && why.retry_after_ms < again)
            why.retry_after_ms = again;
        return step_fail(ret, &why);
    }
    self->tries++;
    self->phase = PAUSING;
    *ret = (struct step){.kind = STEP_WAIT, .wait_ms = again};
    return 0;
}

/* Docker Desktop answers 403 in the place of what it cannot reach. */
static bool is_there(const struct answer *answer)
{
    return !answer->error && !(answer->status == 403 && answer->body.length > 0 &&
                               memmem(answer->body.data, answer->body.length, "unreachable", strlen("unreachable")));
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct managed_identity *self = state;
    switch (self->phase) {
    case SEEKING_ARC:
        self->fallback = answer->error != 0;
        return begin(self, identity_way_find(self->fallback ? IDENTITY_IMDS : IDENTITY_ARC, self->input->environment),
                     tick, ret);
    case PROBING:
        return is_there(answer) ? ask(self, tick, ret) : fail_nowhere(self, answer, ret);
    case PAUSING:
        return ask(self, tick, ret);
    case READING:
        return take_file(self, answer, tick, ret);
    case ASKING:
    case PROVING:
        return take_answer(self, answer, tick, ret);
    }
    return -EINVAL;
}

static void end(void *state)
{
    struct managed_identity *self = state;
    buffer_free(&self->url);
    buffer_free(&self->body);
    buffer_free(&self->authorization);
    tokens_clear(&self->tokens);
}

static const char *const required[] = {NULL};

static const struct key keys[] = {
    {.name = "source", .check = check_source},
    {.name = "object_id", .check = check_object_id},
    {.name = "mi_res_id", .check = check_mi_res_id},
    {0},
};

const struct grant grant_managed_identity = {
    .name = "managed_identity",
    .ops = GRANT_ACQUIRE,
    .local = true,
    .state_size = sizeof(struct managed_identity),
    .required = required,
    .keys = keys,
    .check = check,
    .start = start,
    .next = next,
    .end = end,
};
