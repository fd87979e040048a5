#include "doctor.h"

#include "acquire/secret_source.h"
#include "authority/answer.h"
#include "authority/documents.h"
#include "authority/url.h"
#include "cleanup.h"
#include "clock.h"
#include "config.h"
#include "doctor_agent.h"
#include "doctor_guard.h"
#include "doctor_identity.h"
#include "doctor_pair.h"
#include "grant/grant.h"
#include "json.h"
#include "limits.h"
#include "store/lock_on.h"
#include "store/stores.h"
#include "text.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>

enum { EXIT_CONFIGURATION = 3, EXIT_NETWORK = 6 };

#define SKEW_S        60 /* clocks that differ by more make tokens look expired, or not valid yet */
#define RESOLVE_SHOWN 3

/* One visit. */
struct doctor {
    FILE *out;
    struct loop *loop;
    struct worker *worker;
    struct http *http;
    struct documents *documents;
    struct stores *stores;
    bool bad_configuration, bad_network;
    struct config *config;
    const struct profile *profile; /* at hand */
    const char *secret;            /* of it, at hand: its key */
    bool token;                    /* of it: the agent had one for the request at hand */
    struct buffer ca_pem;
    struct failure why; /* of the step at hand */
    int error;
    char **places; /* names and ports that were tested already, for other profiles */
    size_t place_count;
};

enum verdict { FINE, WARN, BAD_CONFIGURATION, BAD_NETWORK };

static void say(struct doctor *, enum verdict, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void say(struct doctor *doctor, enum verdict verdict, const char *format, ...)
{
    static const char *const names[] = {
        [FINE] = "ok", [WARN] = "warn", [BAD_CONFIGURATION] = "FAIL", [BAD_NETWORK] = "FAIL"};
    char words[4 * LIMIT_TEXT], clean[4 * LIMIT_TEXT];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    text_clean_into(clean, sizeof(clean), span_of(words));
    (void)fprintf(doctor->out, "%-5s %s%s%s\n", names[verdict], doctor->profile ? doctor->profile->name : "",
                  doctor->profile ? ": " : "", clean);
    (void)fflush(doctor->out);
    doctor->bad_configuration |= verdict == BAD_CONFIGURATION;
    doctor->bad_network |= verdict == BAD_NETWORK;
}

static enum verdict verdict_of(const struct failure *why)
{
    return why->kind == FAILURE_AUTHORITY_UNREACHABLE ? BAD_NETWORK : BAD_CONFIGURATION;
}

/* ---- files and secrets ----------------------------------------------------------------------------------------------
 */

static void on_ca_file(void *arg, const struct worker_result *result)
{
    struct doctor *doctor = arg;
    const char *file = doctor->profile->ca_file;
    doctor->error = result->error;
    if (result->error)
        say(doctor, BAD_CONFIGURATION, "ca_file %s: %s", file, result->problem);
    else if (buffer_append(&doctor->ca_pem, result->output.data, result->output.length) < 0)
        doctor->error = -ENOMEM;
    else
        say(doctor, FINE, "ca_file %s can be read", file);
    loop_stop(doctor->loop, 0);
}

static int read_ca_file(struct doctor *doctor)
{
    struct worker_job *job;
    buffer_clear(&doctor->ca_pem);
    if (!doctor->profile->ca_file)
        return 0;
    int r = worker_read(doctor->worker, doctor->profile->ca_file, WORKER_PUBLIC_FILE, LIMIT_RESPONSE, LIMIT_COMMAND_MS,
                        on_ca_file, doctor, &job);
    if (r == 0)
        r = loop_run(doctor->loop);
    if (r < 0)
        say(doctor, BAD_CONFIGURATION, "ca_file %s: %s", doctor->profile->ca_file, strerror(-r));
    return r < 0 ? r : doctor->error;
}

static void on_token_file(void *arg, const struct worker_result *result)
{
    struct doctor *doctor = arg;
    doctor->error = result->error;
    if (result->error)
        failure_set(&doctor->why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "%s", result->problem);
    loop_stop(doctor->loop, 0);
}

/* A token that somebody else keeps: whether it is there just now. */
static void check_token_file(struct doctor *doctor, const char *key, const char *path)
{
    struct worker_job *job;
    if (!path)
        return;
    int r =
        worker_read(doctor->worker, path, WORKER_PUBLIC_FILE, LIMIT_JWS, LIMIT_COMMAND_MS, on_token_file, doctor, &job);
    if (r == 0)
        r = loop_run(doctor->loop);
    if (r == 0 && doctor->error == 0)
        say(doctor, FINE, "%s %s can be read", key, path);
    else
        say(doctor, BAD_CONFIGURATION, "%s %s: %s", key, path, r < 0 ? strerror(-r) : doctor->why.reason);
}

static void on_secret(void *arg, const struct worker_result *result)
{
    struct doctor *doctor = arg;
    struct span value;
    doctor->error = secret_source_result(doctor->secret, secret_source_of(doctor->profile, doctor->secret), result,
                                         &value, &doctor->why);
    loop_stop(doctor->loop, 0);
}

static void on_listed(void *arg, const struct store_result *result)
{
    struct doctor *doctor = arg;
    const struct profile *profile = doctor->profile;
    _cleanup_buffer_ struct buffer name = BUFFER(4 * LIMIT_TEXT);
    stores_describe(doctor->stores, profile->store, &name);
    const char *shown = name.data ? name.data : "";
    bool locked = result->error == STORE_LOCKED;
    if (result->error && !locked)
        say(doctor, BAD_CONFIGURATION, "store %s: %s%s", shown, result->reason,
            result->error == STORE_UNAVAILABLE ? "; start it, or choose another (store = file)"
            : result->error == STORE_FAILED ? "; try again, start what keeps it anew, or choose another (store = file)"
                                            : "");
    else if (locked || result->reason)
        say(doctor, WARN, "store %s: %s", stores_name(doctor->stores, profile->store), result->reason);
    else
        say(doctor, FINE, "store %s answers", shown);
    for (size_t i = 0; !result->error && i < SECRET_SOURCES; i++) {
        const char *secret = secret_source_name(i);
        bool found = false;
        if (secret_source_of(profile, secret)->kind != SOURCE_STORED)
            continue;
        for (size_t k = 0; k < result->item_count; k++)
            found |= strcmp(result->items[k].profile, profile->name) == 0 && strcmp(result->items[k].name, secret) == 0;
        if (found)
            say(doctor, FINE, "%s is stored", secret);
        else
            say(doctor, BAD_CONFIGURATION, "%s is not stored yet: mltoken secret set %s %s", secret, profile->name,
                secret);
    }
    loop_stop(doctor->loop, 0);
}

/* Where the profile keeps something, or would. */
static void check_store(struct doctor *doctor)
{
    const struct profile *profile = doctor->profile;
    struct store_call *call;
    struct store *store;
    bool noted = (profile->grant->ops & GRANT_ROTATE) && profile->parent; /* which slot is served */
    bool stored = (profile->grant->ops & GRANT_LOGIN) != 0 || noted;
    for (size_t i = 0; i < SECRET_SOURCES; i++)
        stored |= secret_source_of(profile, secret_source_name(i))->kind == SOURCE_STORED;
    if (!stored)
        return;
    int r = stores_find(doctor->stores, profile->store, &store);
    if (r == 0)
        r = store_list(store, profile->name, on_listed, doctor, &call);
    if (r == 0) {
        store_ask_nobody(call);
        r = loop_run(doctor->loop);
    }
    if (r < 0)
        say(doctor, BAD_CONFIGURATION, "store: %s", strerror(-r));
}

/* Whether it can be had, and not what it is. */
static void check_secret(struct doctor *doctor, const char *name)
{
    const struct source *source = secret_source_of(doctor->profile, name);
    struct worker_job *job = NULL;
    struct span value;
    if (source->kind == SOURCE_NONE || source->kind == SOURCE_STORED)
        return;
    doctor->error = 0;
    doctor->secret = name;
    int r = secret_source_read(doctor->worker, name, source, on_secret, doctor, &job, &value, &doctor->why);
    if (r == 0 && job)
        r = loop_run(doctor->loop);
    if (r == 0)
        r = doctor->error;
    bool here = source->kind != SOURCE_ENV && source->kind != SOURCE_CREDENTIAL;
    if (r == 0)
        say(doctor, FINE, "%s can be read", name);
    else
        say(doctor, here ? BAD_CONFIGURATION : WARN, "%s: %s%s", name, doctor->why.reason,
            here ? "" : " (looked for here; what counts is the environment that the agent was started with)");
}

/* ---- the way there --------------------------------------------------------------------------------------------------
 */

static bool was_tested(struct doctor *doctor, const char *place)
{
    for (size_t i = 0; i < doctor->place_count; i++)
        if (strcmp(doctor->places[i], place) == 0)
            return true;
    char **places = reallocarray(doctor->places, doctor->place_count + 1, sizeof(*places));
    if (!places)
        return false;
    doctor->places = places;
    places[doctor->place_count] = strdup(place);
    doctor->place_count += places[doctor->place_count] != NULL;
    return false;
}

static int resolve(struct doctor *doctor, const char *host, const char *port, struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV}, *list;
    _cleanup_buffer_ struct buffer shown = BUFFER(LIMIT_TEXT);
    size_t count = 0;
    int r = getaddrinfo(host, port, &hints, &list);
    if (r) {
        say(doctor, BAD_NETWORK, "the name %s does not resolve: %s; check the network, DNS and the spelling", host,
            gai_strerror(r));
        return -EHOSTUNREACH;
    }
    for (struct addrinfo *one = list; one; one = one->ai_next) {
        char text[64];
        if (++count <= RESOLVE_SHOWN &&
            getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0)
            buffer_format(&shown, "%s%s", count > 1 ? ", " : "", text);
    }
    if (count > RESOLVE_SHOWN)
        buffer_text(&shown, ", ...");
    if (!shown.data || strcmp(shown.data, host) != 0)
        say(doctor, FINE, "the name %s resolves to %s", host, shown.data ? shown.data : "?");
    *ret = list;
    return 0;
}

static int connect_one(const struct addrinfo *address)
{
    _cleanup_close_ int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    socklen_t length = sizeof(error);
    if (fd < 0)
        return -errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int r = poll(&poll_fd, 1, LIMIT_CONNECT_MS / 2);
    if (r <= 0)
        return r < 0 ? -errno : -ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? -errno : -error;
}

/* The first of a host's addresses that answers will do, as it does for libcurl. */
static int check_host(struct doctor *doctor, const char *what, const char *host, int port)
{
    char service[8], place[LIMIT_URL + 16];
    struct addrinfo *list;
    (void)snprintf(service, sizeof(service), "%d", port);
    (void)snprintf(place, sizeof(place), "%s:%d", host, port);
    if (was_tested(doctor, place))
        return 0;
    int r = resolve(doctor, host, service, &list);
    if (r < 0)
        return r;
    r = -EHOSTUNREACH;
    for (struct addrinfo *one = list; one && r < 0; one = one->ai_next)
        r = connect_one(one);
    freeaddrinfo(list);
    if (r < 0)
        say(doctor, BAD_NETWORK,
            "%s%s does not answer: %s; is it up, does a firewall or a missing proxy setting stand between?", what,
            place, strerror(-r));
    else
        say(doctor, FINE, "%s%s accepts connections", what, place);
    return r;
}

static int check_place(struct doctor *doctor, const char *what, const char *address)
{
    char host[LIMIT_URL + 1];
    struct url url;
    if (url_parse(address, &url) < 0) {
        say(doctor, what[0] ? WARN : BAD_CONFIGURATION, "%s%s is no plain address, and is not tested", what, address);
        return what[0] ? 0 : -EINVAL;
    }
    memcpy(host, url.host.data, url.host.length);
    host[url.host.length] = '\0';
    return check_host(doctor, what, host, url.port);
}

static struct trust trust_of(const struct doctor *doctor)
{
    return (struct trust){.ca_pem = buffer_span(&doctor->ca_pem), .proxy = doctor->profile->proxy};
}

static void check_clock(struct doctor *doctor, const struct answer *answer)
{
    int64_t theirs = answer_date(answer), skew = theirs - clock_wall_s();
    char text[32];
    if (theirs < 0)
        return;
    text_duration(text, sizeof(text), skew < 0 ? -skew : skew);
    if (skew > SKEW_S || skew < -SKEW_S)
        say(doctor, WARN,
            "this machine's clock is %s %s the authority's: set it (timedatectl set-ntp true), or tokens look %s", text,
            skew > 0 ? "behind" : "ahead of", skew > 0 ? "not valid yet" : "expired");
    else
        say(doctor, FINE, "the clock agrees with the authority's (%s apart)", text);
}

static void on_probe(void *arg, const struct answer *answer)
{
    struct doctor *doctor = arg;
    doctor->error = answer->error;
    if (answer->error)
        say(doctor, verdict_of(&answer->why), "%s", answer->why.reason);
    else
        check_clock(doctor, answer);
    loop_stop(doctor->loop, 0);
}

/* One public request, for what TLS and the clock have to say. */
static int probe(struct doctor *doctor, const char *address)
{
    struct http_step step = {.method = "GET", .url = address};
    struct http_request request = {
        .step = &step, .trust = trust_of(doctor), .allow_http = true, .timeout_ms = LIMIT_CONNECT_MS};
    struct http_call *call;
    char place[3 * LIMIT_URL];
    (void)snprintf(place, sizeof(place), "%s %s %s", address, doctor->profile->ca_file ? doctor->profile->ca_file : "",
                   doctor->profile->proxy ? doctor->profile->proxy : "");
    if (was_tested(doctor, place)) /* if it did not answer, its metadata will say so */
        return 0;
    int r = http_start(doctor->http, &request, on_probe, doctor, &call);
    if (r == 0)
        r = loop_run(doctor->loop);
    if (r < 0)
        say(doctor, BAD_CONFIGURATION, "%s: %s", address,
            r == -EINVAL ? "neither https nor http to a loopback literal" : strerror(-r));
    else if (doctor->error == 0 && strncmp(address, "https:", 6) == 0)
        say(doctor, FINE, "TLS is trusted%s", doctor->profile->ca_file ? " by ca_file" : "");
    return r < 0 ? r : doctor->error;
}

/* ---- the metadata ---- */

static void on_metadata(void *arg, int error, const struct metadata *metadata, const struct failure *why)
{
    struct doctor *doctor = arg;
    const struct profile *profile = doctor->profile;
    enum endpoint begins = profile_begins(profile);
    if (error)
        say(doctor, verdict_of(why), "%s", why->reason);
    else if (!metadata->token_endpoint)
        say(doctor, BAD_CONFIGURATION, "the authority names no token_endpoint: set it, or check authority");
    else if (!endpoint_announced(metadata, begins) && begins == ENDPOINT_AUTHORIZATION && metadata->misplaced)
        say(doctor, BAD_CONFIGURATION, "%s", metadata->misplaced->reason);
    else if (!endpoint_announced(metadata, begins))
        say(doctor, BAD_CONFIGURATION, "the authority names no %s: allow this grant there, or set it",
            endpoint_key(begins));
    else
        say(doctor, FINE, "%s; tokens come from %s",
            profile->authority ? "the metadata is the authority's" : "the endpoints are configured",
            metadata->token_endpoint);
    loop_stop(doctor->loop, 0);
}

static void check_metadata(struct doctor *doctor)
{
    struct trust trust = trust_of(doctor);
    struct documents_wait *wait;
    int r = documents_metadata(doctor->documents, doctor->profile, profile_begins(doctor->profile), &trust, on_metadata,
                               doctor, &wait);
    if (r == 0)
        r = loop_run(doctor->loop);
    if (r < 0)
        say(doctor, BAD_CONFIGURATION, "metadata: %s", strerror(-r));
}

/* Whoever may have its tokens should be able to. */
static void check_guards(struct doctor *doctor)
{
    const struct profile *profile = doctor->profile;
    _cleanup_buffer_ struct buffer words = BUFFER(4 * LIMIT_TEXT);
    if (profile->confirm) {
        bool fine = guard_check_pinentry(doctor->config, &words);
        say(doctor, fine ? FINE : BAD_CONFIGURATION, "%s", words.data);
    }
    if (profile->parent) {
        bool broken, sound = guard_check_parent(doctor->config, profile, &words, &broken);
        say(doctor, sound ? FINE : broken ? BAD_CONFIGURATION : WARN, "%s", words.data);
    }
    if (!profile->allow)
        return;
    bool fine = guard_check_allow(profile, &words);
    say(doctor, fine ? FINE : WARN, "%s", words.data);
    pid_t agent = guard_agent();
    if (agent > 0) {
        fine = guard_check_agent(agent, &words);
        say(doctor, fine ? FINE : BAD_CONFIGURATION, "%s", words.data);
    }
}

/* ---- Machine Learning Server ---- */

/* How it is as a whole, and which of its parts are not well. "green" is how 9.0.1 says pass. */
static void say_node(struct doctor *doctor, json_object *json, const char *status)
{
    _cleanup_buffer_ struct buffer parts = BUFFER(LIMIT_TEXT);
    json_object *components = NULL;
    bool good = strcmp(status, "pass") == 0 || strcmp(status, "green") == 0;
    if (json_member(json, "components", &components) == 0 && json_object_is_type(components, json_type_object)) {
        json_object_object_foreach (components, name, part) {
            const char *said = NULL;
            if (json_string(part, "statusCode", LIMIT_CODE, &said) == 0 && strcmp(said, "pass") != 0 &&
                strcmp(said, "green") != 0)
                buffer_format(&parts, "%s%s is %s", parts.length ? ", " : "; ", name, said);
        }
    }
    say(doctor,
        strcmp(status, "fail") == 0 ? BAD_NETWORK
        : good                      ? FINE
                                    : WARN,
        "the web node says of itself: %s%s", status, parts.data && !buffer_error(&parts) ? parts.data : "");
}

/* GET /status says how the node and its parts are, to who has a token. */
static void on_node(void *arg, const struct answer *answer)
{
    struct doctor *doctor = arg;
    _cleanup_json_ json_object *json = NULL;
    const char *status = NULL;
    (void)json_parse(answer->body.data, answer->body.length, LIMIT_RESPONSE_DEPTH, &json);
    (void)json_string(json, "statusCode", LIMIT_CODE, &status);
    if (answer->error)
        say(doctor, verdict_of(&answer->why), "%s", answer->why.reason);
    else if (answer->status == 401 && doctor->token)
        say(doctor, WARN,
            "the web node answers, and does not take the token that the agent has: mltoken get %s "
            "--refresh; where it goes on with several web nodes, they need one certificate to sign tokens with",
            doctor->profile->name);
    else if (answer->status == 401)
        say(doctor, FINE,
            "the web node answers, and asks for a sign-in as it should (with a token at hand it would say how it is)");
    else if (answer->status == 200 && status)
        say_node(doctor, json, status);
    else
        say(doctor, WARN, "%s/status answered %d: is it the address of a Machine Learning Server, without a path?",
            doctor->profile->authority, answer->status);
    loop_stop(doctor->loop, 0);
}

static void check_node(struct doctor *doctor, const char *address)
{
    _cleanup_buffer_ struct buffer bearer = BUFFER(LIMIT_TOKEN + sizeof("Bearer "));
    struct http_step step = {.method = "GET", .url = address};
    doctor->token = doctor_bearer(doctor->profile, &bearer);
    if (doctor->token)
        step.headers[step.header_count++] = (struct header){"Authorization", buffer_span(&bearer)};
    struct http_request request = {
        .step = &step, .trust = trust_of(doctor), .allow_http = true, .timeout_ms = LIMIT_CONNECT_MS};
    struct http_call *call;
    int r = http_start(doctor->http, &request, on_node, doctor, &call);
    if (r == 0)
        r = loop_run(doctor->loop);
    if (r < 0)
        say(doctor, BAD_CONFIGURATION, "%s: %s", address, strerror(-r));
}

/* The address of the profile's first request that anybody may make; malloc'd, NULL: none. */
static char *public_place(const struct profile *profile)
{
    char *address = NULL;
    if (profile->dialect == DIALECT_MLSERVER)
        return asprintf(&address, "%s/status", profile->authority) < 0 ? NULL : address;
    if (profile->grant->bare)
        return strdup(profile->authority);
    if (profile->authority && metadata_addresses(profile, &address, 1) == 1)
        return address;
    return profile->token_endpoint ? strdup(profile->token_endpoint) : NULL;
}

static void check_identity(struct doctor *doctor)
{
    _cleanup_buffer_ struct buffer words = BUFFER(4 * LIMIT_TEXT);
    _cleanup_free_ char *address = NULL;
    bool fine = doctor_identity(doctor->profile, &words, &address);
    say(doctor, fine ? FINE : WARN, "%s", words.data ? words.data : "out of memory");
    if (address)
        (void)check_place(doctor, "", address);
}

static void check_pair(struct doctor *doctor)
{
    static const enum verdict verdicts[] = {
        [PAIR_GOOD] = FINE, [PAIR_ENDS_SOON] = WARN, [PAIR_BAD] = BAD_CONFIGURATION};
    _cleanup_buffer_ struct buffer words = BUFFER(4 * LIMIT_TEXT);
    enum pair_verdict found = pair_check(doctor->loop, doctor->worker, doctor->profile, &words);
    if (found != PAIR_NONE)
        say(doctor, verdicts[found], "%s", words.data ? words.data : "client_certificate cannot be read");
}

static void check_profile(struct doctor *doctor, const struct profile *profile)
{
    doctor->profile = profile;
    if (profile->problem) { /* said already, with the file and the line */
        doctor->profile = NULL;
        return;
    }
    if (profile->grant->warning)
        say(doctor, WARN, "grant = %s %s", profile->grant->name, profile->grant->warning);
    if (profile->grant->local)
        check_identity(doctor);
    check_guards(doctor);
    for (size_t i = 0; i < SECRET_SOURCES; i++)
        check_secret(doctor, secret_source_name(i));
    check_pair(doctor);
    check_token_file(doctor, "subject_token_file", profile->subject_token_file);
    check_token_file(doctor, "actor_token_file", profile->actor_token_file);
    check_token_file(doctor, "client_assertion_file", profile->client_assertion_file);
    check_store(doctor);
    _cleanup_free_ char *place = public_place(profile);
    bool reached = read_ca_file(doctor) == 0 && place &&
                   (!profile->proxy || check_place(doctor, "the proxy ", profile->proxy) == 0) &&
                   (profile->proxy || check_place(doctor, "", place) == 0) && probe(doctor, place) == 0;
    if (reached && profile->dialect == DIALECT_MLSERVER)
        check_node(doctor, place);
    else if (reached && !profile->grant->bare)
        check_metadata(doctor);
    doctor->profile = NULL;
}

/* ---- lock_on ---- */

static void on_event(void *arg, const char *why)
{
    (void)arg, (void)why;
}

static void on_listening(void *arg)
{
    const struct doctor *doctor = arg;
    loop_stop(doctor->loop, 0);
}

/* Whether there is somebody to listen to. */
static void check_lock_on(struct doctor *doctor, const struct config *config)
{
    const struct lock_on_functions functions = {.lock = on_event, .changed = on_listening, .arg = doctor};
    _cleanup_buffer_ struct buffer words = BUFFER(4 * LIMIT_TEXT);
    struct lock_on *lock_on = NULL;
    if (!config->lock_on_suspend && !config->lock_on_session)
        return;
    int r = lock_on_new(doctor->loop, doctor->stores, &functions, &lock_on);
    if (r == 0) {
        lock_on_configure(lock_on, config->lock_on_suspend, config->lock_on_session);
        r = loop_run(doctor->loop);
    }
    bool listens = r == 0 && lock_on_describe(lock_on, &words);
    say(doctor, listens ? FINE : BAD_CONFIGURATION, "lock_on %s%s", words.data ? words.data : strerror(-r),
        listens ? "" : "; without systemd-logind lock by hand: mltoken lock");
    lock_on_free(lock_on);
}

/* ---- all of it ---- */

static void check_all(struct doctor *doctor, struct config *config, const char *name)
{
    const struct profile *profile = name ? config_profile(config, name) : NULL;
    doctor->config = config;
    for (size_t i = 0; i < config->problem_count; i++) /* of a profile that was not asked about: only told */
        say(doctor, profile && !profile->problem ? WARN : BAD_CONFIGURATION, "%s", config->problems[i]);
    if (config->file_count == 0)
        say(doctor, BAD_CONFIGURATION, "there is no configuration yet: mltoken config new");
    else if (name && !profile)
        say(doctor, BAD_CONFIGURATION, "there is no profile %s: mltoken status lists them", name);
    else if (config->problem_count == 0)
        say(doctor, FINE, "the configuration is well formed, profiles: %zu", config->profile_count);
    check_lock_on(doctor, config);
    for (; profile; profile = !profile->problem && profile->parent ? config_profile(config, profile->parent) : NULL)
        check_profile(doctor, profile);
    for (size_t i = 0; !name && i < config->profile_count; i++)
        check_profile(doctor, config_at(config, i));
}

static int set_up(struct doctor *doctor)
{
    int r = loop_new(&doctor->loop);
    if (r == 0)
        r = worker_new(doctor->loop, &doctor->worker);
    if (r == 0)
        r = http_new(doctor->loop, &doctor->http);
    if (r == 0)
        r = documents_new(doctor->loop, doctor->http, &doctor->documents);
    if (r == 0)
        r = stores_new(doctor->loop, &(struct stores_options){0}, &doctor->stores);
    return r;
}

static void tear_down(struct doctor *doctor)
{
    documents_free(doctor->documents);
    http_free(doctor->http);
    stores_free(doctor->stores);
    worker_free(doctor->worker);
    loop_free(doctor->loop);
    buffer_free(&doctor->ca_pem);
    for (size_t i = 0; i < doctor->place_count; i++)
        free(doctor->places[i]);
    free(doctor->places);
}

int doctor_run(FILE *out, const char *profile)
{
    struct doctor doctor = {.out = out, .ca_pem = BUFFER(LIMIT_RESPONSE)};
    struct config *config = NULL;
    int r = set_up(&doctor);
    if (r == 0)
        r = config_load(NULL, &config);
    if (r == 0)
        r = config_read_on(config, SIZE_MAX);
    if (r == 0)
        r = stores_set_key_file(doctor.stores, config->key_file);
    if (r == 0)
        check_all(&doctor, config, profile);
    config_free(config);
    tear_down(&doctor);
    if (r < 0)
        (void)fprintf(out, "FAIL  cannot start: %s\n", strerror(-r));
    return r < 0 ? 1 : doctor.bad_configuration ? EXIT_CONFIGURATION : doctor.bad_network ? EXIT_NETWORK : 0;
}
