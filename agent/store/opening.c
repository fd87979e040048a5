#include "store/opening.h"

void opening_forget(struct opening *opening)
{
    opening->passphrase = secret_unref(opening->passphrase);
    opening->sealed = box_free(opening->sealed);
}

int opening_keep(struct opening *opening, struct secret *passphrase)
{
    struct secret *kept = secret_ref(passphrase);
    opening_forget(opening);
    int r = opening->seal ? seal_close_secret(opening->seal, kept, &opening->sealed) : 0;
    if (r == 0 && !opening->seal)
        opening->passphrase = secret_ref(kept);
    secret_unref(kept);
    return r;
}

int opening_lock(struct opening *opening, struct seal *seal)
{
    opening->seal = seal;
    if (!seal)
        opening_forget(opening);
    return opening->passphrase ? opening_keep(opening, opening->passphrase) : 0;
}

int opening_unlock(struct opening *opening, struct seal_key *key)
{
    opening->seal = NULL;
    int r = opening->sealed ? seal_open_secret(key, opening->sealed, &opening->passphrase) : 0;
    if (r == 0)
        opening->sealed = box_free(opening->sealed);
    return r;
}

struct secret *opening_due(const struct opening *opening)
{
    return opening->told ? NULL : opening->passphrase;
}
