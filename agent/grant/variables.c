#include "grant/variables.h"

#include <stddef.h>

static const char *const identity[] = {
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "DEFAULT_IDENTITY_CLIENT_ID",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    NULL,
};

const struct grant_variables grant_variables[] = {{"managed_identity", identity}, {NULL, NULL}};
