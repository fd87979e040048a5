#include "environment.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>

static struct kept {
    struct kept *next;
    struct secret *secret; /* one of both */
    struct box *sealed;
    char *setting; /* the same, where the name may stand for a setting */
    char name[LIMIT_ENV_NAME + 1];
} * kept;

/* As AKS and other platforms of Azure set them; each stands for one key (config_profile.c). */
static bool is_setting(const char *name)
{
    static const char *const names[] = {"AZURE_AUTHORITY_HOST",
                                        "AZURE_TENANT_ID",
                                        "AZURE_CLIENT_ID",
                                        "AZURE_USERNAME",
                                        "AZURE_FEDERATED_TOKEN_FILE",
                                        "AZURE_CLIENT_CERTIFICATE_PATH"};
    for (size_t i = 0; i < ELEMENTS(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static int keep_one(char *entry)
{
    char *name = entry + strlen(ENVIRONMENT_VALUE), *value = strchr(name, '=');
    size_t length = value ? (size_t)(value - name) : 0;
    if (!value || length == 0 || length > LIMIT_ENV_NAME)
        return 0;
    value++;
    struct kept *one = calloc(1, sizeof(*one));
    int r = one ? secret_new(value, strlen(value), &one->secret) : -ENOMEM;
    if (r == 0) {
        memcpy(one->name, name, length);
        one->setting = is_setting(one->name) ? strdup(value) : NULL;
    }
    explicit_bzero(value, strlen(value));
    if (r < 0) {
        free(one);
        return r;
    }
    one->next = kept;
    kept = one;
    return 0;
}

int environment_keep(void)
{
    int first = 0;
    char **to = environ;
    for (char **from = environ; *from; from++) {
        if (strncmp(*from, ENVIRONMENT_VALUE, strlen(ENVIRONMENT_VALUE)) != 0) {
            *to++ = *from;
            continue;
        }
        int r = keep_one(*from);
        first = first ? first : r;
    }
    *to = NULL;
    return first;
}

struct secret *environment_secret(const char *name)
{
    for (struct kept *one = kept; one; one = one->next)
        if (strcmp(one->name, name) == 0)
            return one->secret;
    return NULL;
}

const char *environment_setting(const char *name)
{
    for (struct kept *one = kept; one; one = one->next)
        if (strcmp(one->name, name) == 0)
            return one->setting;
    return is_setting(name) ? getenv(name) : NULL; /* `config check` reads where its caller is */
}

struct span environment_value(const char *name)
{
    struct secret *secret = environment_secret(name);
    return secret ? secret_span(secret) : (struct span){0};
}

void environment_forget(void)
{
    while (kept) {
        struct kept *one = kept;
        kept = one->next;
        secret_unref(one->secret);
        box_free(one->sealed);
        free(one->setting);
        free(one);
    }
}

int environment_lock(struct seal *seal)
{
    int first = 0;
    for (struct kept *one = kept; one; one = one->next) {
        int r = one->secret ? seal_close_secret(seal, one->secret, &one->sealed) : 0;
        if (r == 0)
            one->secret = secret_unref(one->secret);
        first = first ? first : r;
    }
    return first;
}

int environment_unlock(struct seal_key *key)
{
    int first = 0;
    for (struct kept *one = kept; one; one = one->next) {
        int r = one->sealed ? seal_open_secret(key, one->sealed, &one->secret) : 0;
        if (r == 0)
            one->sealed = box_free(one->sealed);
        first = first ? first : r;
    }
    return first;
}
