#include "token/tokens.h"

#include "cleanup.h"
#include <errno.h>

void tokens_clear(struct tokens *tokens)
{
    wipe_free(tokens->access_token);
    wipe_free(tokens->id_token);
    free(tokens->type);
    free(tokens->scope);
    free(tokens->account);
    secret_unref(tokens->refresh_token);
    *tokens = (struct tokens){.expires_in_s = -1, .refresh_in_s = -1, .refresh_life_s = -1};
}

void credential_clear(struct credential *credential)
{
    secret_unref(credential->refresh_token);
    free(credential->scope);
    *credential = (struct credential){0};
}

int credential_copy(const struct credential *from, struct credential *ret)
{
    struct credential copy = *from;
    copy.scope = from->scope ? strdup(from->scope) : NULL;
    if (from->scope && !copy.scope)
        return -ENOMEM;
    copy.refresh_token = from->refresh_token ? secret_ref(from->refresh_token) : NULL;
    *ret = copy;
    return 0;
}
