#include "acquire/secret_source.h"

#include "acquire/keeper.h"
#include "environment.h"
#include "limits.h"
#include <errno.h>
#include <stdio.h>

static const struct {
    const char *name;
    size_t offset;
} sources[SECRET_SOURCES] = {
    {"client_secret", offsetof(struct profile, client_secret)},
    {"password", offsetof(struct profile, password)},
    {"token", offsetof(struct profile, token)},
    {"token_secondary", offsetof(struct profile, token_secondary)},
    {"key_password", offsetof(struct profile, key_password)},
};

const char *secret_source_name(size_t index)
{
    return sources[index].name;
}

const struct source *secret_source_of(const struct profile *profile, const char *name)
{
    for (size_t i = 0; i < SECRET_SOURCES; i++)
        if (strcmp(name, sources[i].name) == 0)
            return (const struct source *)(const void *)((const char *)profile + sources[i].offset);
    return NULL;
}

const char *secret_source_kind(const struct source *source)
{
    static const char *const kinds[] = {
        [SOURCE_NONE] = "",           [SOURCE_FILE] = "file", [SOURCE_ENV] = "env", [SOURCE_CREDENTIAL] = "credential",
        [SOURCE_COMMAND] = "command", [SOURCE_STORED] = ""};
    return kinds[source->kind];
}

static int missing(struct failure *why, const char *name, const struct source *source, const char *problem)
{
    const char *kind = source->kind == SOURCE_STORED ? "stored" : secret_source_kind(source);
    bool program = source->kind == SOURCE_COMMAND; /* its arguments are the user's own business */
    failure_set(why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "%s%s%s: %s", kind,
                source->kind == SOURCE_NONE || source->kind == SOURCE_STORED ? "" : ":",
                program         ? source->argv[0]
                : source->value ? source->value
                                : "",
                problem);
    (void)snprintf(why->name, sizeof(why->name), "%s", name);
    return -ENOENT;
}

static int read_credential(struct worker *worker, const char *name, const struct source *source, worker_fn *fn,
                           void *arg, struct worker_job **ret, struct failure *why)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    char path[LIMIT_CONFIG_LINE];
    if (!directory)
        return missing(why, name, source,
                       "the agent was started without $CREDENTIALS_DIRECTORY (see LoadCredential= in systemd.exec(5))");
    int n = snprintf(path, sizeof(path), "%s/%s", directory, source->value);
    if (n < 0 || (size_t)n >= sizeof(path))
        return missing(why, name, source, "its path is too long");
    return worker_read(worker, path, WORKER_SECRET_FILE, LIMIT_SECRET, LIMIT_COMMAND_MS, fn, arg, ret);
}

int secret_source_read(struct worker *worker, const char *name, const struct source *source, worker_fn *fn, void *arg,
                       struct worker_job **ret, struct span *ret_value, struct failure *why)
{
    int r = 0;
    if (source->kind == SOURCE_ENV) {
        struct secret *value = environment_secret(source->value);
        if (!value)
            return missing(why, name, source,
                           "it was not in the agent's environment when it started (and named in its configuration); "
                           "start the agent anew with it");
        *ret_value = secret_span(value);
        if (ret_value->length == 0)
            return missing(why, name, source, "it is empty");
    } else if (source->kind == SOURCE_FILE) {
        r = worker_read(worker, source->value, WORKER_SECRET_FILE, LIMIT_SECRET, LIMIT_COMMAND_MS, fn, arg, ret);
    } else if (source->kind == SOURCE_CREDENTIAL) {
        r = read_credential(worker, name, source, fn, arg, ret, why);
    } else if (source->kind == SOURCE_COMMAND) {
        r = worker_run(worker, source->argv, LIMIT_SECRET, LIMIT_COMMAND_MS, fn, arg, ret);
    } else {
        r = missing(why, name, source, "the profile says nothing about it");
    }
    return r < 0 && r != -ENOENT ? missing(why, name, source, strerror(-r)) : r;
}

int secret_source_stored(const struct profile *profile, const char *name, const struct store_result *result,
                         struct span *ret_value, struct failure *why)
{
    if (result->error == 0) {
        *ret_value = secret_span(result->value);
        return 0;
    }
    if (result->error != STORE_MISSING && result->error != STORE_BOUND) {
        char what[LIMIT_SECRET_NAME + 32];
        (void)snprintf(what, sizeof(what), "%s could not be read", name);
        keeper_failure(why, what, result);
        return result->error;
    }
    failure_set(why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "%s; mltoken secret set %s %s stores it",
                result->error == STORE_BOUND ? "settings changed since it was stored" : "it is not stored yet",
                profile->name, name);
    (void)snprintf(why->name, sizeof(why->name), "%s", name);
    return -ENOENT;
}

int secret_source_result(const char *name, const struct source *source, const struct worker_result *result,
                         struct span *ret_value, struct failure *why)
{
    if (result->error)
        return missing(why, name, source, result->problem);
    struct span value = result->output;
    if (value.length && value.data[value.length - 1] == '\n')
        value.length--;
    if (value.length && value.data[value.length - 1] == '\r')
        value.length--;
    if (value.length == 0)
        return missing(why, name, source, "it is empty");
    if (memchr(value.data, '\0', value.length))
        return missing(why, name, source, "it holds a NUL byte, so it is not a text");
    *ret_value = value;
    return 0;
}
