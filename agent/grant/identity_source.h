/* The platforms that give a program an identity, and how each is asked (WIRE section 6): a table, a way of asking in
 * each row. Which one it is, its variables in the agent's environment tell. Pure. */
#pragma once

#include "buffer.h"
#include "grant/grant.h"

#define IDENTITY_ARC_PROGRAM "/opt/azcmagent/bin/himds" /* where it is, the host is one of Azure Arc's */

enum identity_source {
    IDENTITY_SERVICE_FABRIC,
    IDENTITY_APP_SERVICE,
    IDENTITY_AZUREML,
    IDENTITY_ARC,
    IDENTITY_CLOUD_SHELL,
    IDENTITY_IMDS,
    IDENTITY_SOURCES, /* none of them is named: by what is there */
};

struct identity_way {
    const char *title;           /* for messages */
    const char *marks[3];        /* the variables by which it is known; none: only by what comes after the others */
    const char *endpoint;        /* the variable with its address ... */
    const char *usual;           /* ... and what it is without; NULL: the variable is needed */
    const char *path;            /* behind the address; NULL: nothing */
    const char *version;         /* api-version; NULL: none */
    const char *header, *secret; /* the header and the variable of its secret; NULL: none */
    const char *thumbprint;      /* the variable of its certificate's; NULL: none */
    /* what an identity's names are called there; NULL: it has none such, and why not */
    const char *client_id, *object_id, *mi_res_id, *alone;
    enum identity_source source;
    bool metadata; /* `Metadata: true` goes along */
    bool post;     /* a form, not a query */
};

/* What the key `source` may be, as a list for messages; and which one a word means (IDENTITY_SOURCES: none). */
#define IDENTITY_WORDS "auto, imds, app_service, azureml, service_fabric, arc or cloud_shell"
bool identity_source_read(const char *word, enum identity_source *ret);

/* The way by which a source is asked: of its two generations, the one whose variables are there. `source` may be
 * IDENTITY_SOURCES: then the first whose marks are all set, or NULL. */
const struct identity_way *identity_way_find(enum identity_source, environment_fn *);
/* What a profile's identity is asked for with, if it names one: false when the way has no such name. */
bool identity_way_name(const struct identity_way *, const struct profile *, const char **ret_name,
                       const char **ret_value);
/* The variable that is missing, or NULL. */
const char *identity_way_missing(const struct identity_way *, environment_fn *);
/* The address, without a query: 0; -EINVAL when it is none that this host's own service could have. */
int identity_way_address(const struct identity_way *, environment_fn *, struct buffer *ret);
struct span identity_value(environment_fn *, const char *name); /* {0}: not set, or empty */
