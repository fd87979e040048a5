#include "grant/grant.h"

#include "cleanup.h"
#include <strings.h>

static const struct grant *const table[] = {
    &grant_authorization_code, &grant_azure_key,    &grant_azureml_key, &grant_azureml_token,
    &grant_client_credentials, &grant_device_code,  &grant_jwt_bearer,  &grant_managed_identity,
    &grant_mlserver,           &grant_on_behalf_of, &grant_password,    &grant_static,
    &grant_token_exchange,
};

const struct grant *grant_find(const char *name)
{
    for (size_t i = 0; i < ELEMENTS(table); i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

const struct grant *grant_speaking(enum dialect dialect)
{
    for (size_t i = 0; dialect != DIALECT_AUTO && i < ELEMENTS(table); i++)
        if (table[i]->dialect == dialect)
            return table[i];
    return NULL;
}

const char *const *grant_names(size_t *ret_count)
{
    static const char *names[ELEMENTS(table)];
    for (size_t i = 0; i < ELEMENTS(table); i++)
        names[i] = table[i]->name;
    *ret_count = ELEMENTS(table);
    return names;
}

bool answer_header(const struct answer *answer, const char *name, struct span *ret)
{
    size_t length = strlen(name);
    struct span rest = answer->headers;
    while (rest.length > 0) {
        const char *end = memchr(rest.data, '\n', rest.length);
        size_t line = end ? (size_t)(end - rest.data) : rest.length;
        if (line > length && rest.data[length] == ':' && strncasecmp(rest.data, name, length) == 0) {
            struct span value = {rest.data + length + 1, line - length - 1};
            *ret = span_trim(value);
            return true;
        }
        size_t taken = end ? line + 1 : line;
        rest.data += taken;
        rest.length -= taken;
    }
    return false;
}
