/* What `mltoken config new` knows of the systems that people meet, and of each grant with any authority. The first of a
 * name is what --from takes without --grant. Tests check that each one passes `config check`. */
#include "config_new.h"

#include "cleanup.h"

#define ENTRA        "https://login.microsoftonline.com"
#define OPENAI_SCOPE "https://cognitiveservices.azure.com/.default"
#define ML_SCOPE     "https://ml.azure.com/.default"

#define ENTRA_LINES                                                                                                    \
    {LINE_FIXED, FIELD_AUTHORITY, ENTRA, NULL},                                                                        \
    {                                                                                                                  \
        LINE_NEEDS, FIELD_TENANT, NULL, "its id or its domain"                                                         \
    }
#define CLIENT                                                                                                         \
    {                                                                                                                  \
        LINE_NEEDS, FIELD_CLIENT_ID, NULL, NULL                                                                        \
    }
#define PROOF                                                                                                          \
    {                                                                                                                  \
        LINE_PROOF, FIELD_CLIENT_SECRET, "stored", NULL                                                                \
    }
#define SECRET_GIVEN                                                                                                   \
    {                                                                                                                  \
        LINE_GIVEN, FIELD_CLIENT_SECRET, NULL, NULL                                                                    \
    }
#define USER                                                                                                           \
    {LINE_NEEDS, FIELD_USERNAME, NULL, NULL},                                                                          \
    {                                                                                                                  \
        LINE_MAY, FIELD_PASSWORD, "stored", NULL                                                                       \
    }

static const struct template templates[] = {
    {"azure-openai",
     "client_credentials",
     "Azure OpenAI and other Cognitive Services, with a service principal",
     {ENTRA_LINES, CLIENT, PROOF, {LINE_FIXED, FIELD_SCOPE, OPENAI_SCOPE, NULL}}},
    {"azure-openai",
     "device_code",
     "Azure OpenAI and other Cognitive Services, in a person's name",
     {ENTRA_LINES, CLIENT, SECRET_GIVEN, {LINE_FIXED, FIELD_SCOPE, OPENAI_SCOPE " offline_access", NULL}}},
    {"azure-openai",
     "static",
     "Azure OpenAI and other Cognitive Services, with one of the resource's keys",
     {{LINE_NEEDS, FIELD_TOKEN, "stored", NULL},
      {LINE_FIXED, FIELD_HEADER, "api-key: {token}", "keys go into a header of their own, not into Authorization"}}},
    {"azureml",
     "client_credentials",
     "Azure Machine Learning endpoints that take Entra tokens (authMode AADToken), with a service principal",
     {ENTRA_LINES, CLIENT, PROOF, {LINE_FIXED, FIELD_SCOPE, ML_SCOPE, NULL}}},
    {"azureml",
     "device_code",
     "Azure Machine Learning endpoints that take Entra tokens (authMode AADToken), in a person's name",
     {ENTRA_LINES, CLIENT, SECRET_GIVEN, {LINE_FIXED, FIELD_SCOPE, ML_SCOPE " offline_access", NULL}}},
    {"azure-openai",
     "azure_key",
     "Azure OpenAI or another Cognitive Service, with its keys from Azure",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "its whole address, from https://management.azure.com/subscriptions/ on"},
      {LINE_NEEDS, FIELD_PARENT, NULL, "a profile for https://management.azure.com/.default"}}},
    {"azureml",
     "azureml_key",
     "Azure Machine Learning online endpoint, with its keys from Azure",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "its whole address, from https://management.azure.com/subscriptions/ on"},
      {LINE_NEEDS, FIELD_PARENT, NULL, "a profile for https://management.azure.com/.default"}}},
    {"azureml",
     "azureml_token",
     "Azure Machine Learning online endpoint with tokens of its own (authMode AMLToken)",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "its whole address, from https://management.azure.com/subscriptions/ on"},
      {LINE_NEEDS, FIELD_PARENT, NULL, "a profile for https://management.azure.com/.default"}}},
    {"azureml",
     "static",
     "Azure Machine Learning endpoint with one of its keys",
     {{LINE_NEEDS, FIELD_TOKEN, "stored", NULL}}},
    {"azure-management",
     "client_credentials",
     "Azure Resource Manager, which lists the keys of endpoints and accounts",
     {ENTRA_LINES, CLIENT, PROOF, {LINE_FIXED, FIELD_SCOPE, "https://management.azure.com/.default", NULL}}},
    {"entra",
     "client_credentials",
     "Microsoft Entra ID, with a service principal",
     {ENTRA_LINES,
      CLIENT,
      PROOF,
      {LINE_NEEDS, FIELD_SCOPE, NULL, "one resource: its address or its application's id, and /.default"}}},
    {"workload-identity",
     "client_credentials",
     "An identity that AKS or another platform of Azure gives to a workload, by a federated assertion",
     {{LINE_FIXED, FIELD_AUTHORITY, "env:AZURE_AUTHORITY_HOST", "the platform sets these where the workload runs"},
      {LINE_FIXED, FIELD_TENANT, "env:AZURE_TENANT_ID", NULL},
      {LINE_FIXED, FIELD_CLIENT_ID, "env:AZURE_CLIENT_ID", NULL},
      {LINE_FIXED, FIELD_CLIENT_ASSERTION_FILE, "env:AZURE_FEDERATED_TOKEN_FILE", "read anew at each use"},
      {LINE_NEEDS, FIELD_SCOPE, NULL, "one resource: its address or its application's id, and /.default"}}},
    {"entra",
     "device_code",
     "Microsoft Entra ID, in a person's name",
     {ENTRA_LINES, CLIENT, SECRET_GIVEN, {LINE_NEEDS, FIELD_SCOPE, "openid offline_access", NULL}}},
    {"entra",
     "authorization_code",
     "Microsoft Entra ID, in a person's name, with the browser of this computer",
     {ENTRA_LINES, CLIENT, SECRET_GIVEN, {LINE_NEEDS, FIELD_SCOPE, "openid offline_access", NULL}}},
    {"entra",
     "password",
     "Microsoft Entra ID, with a user name and a password (not where a second factor is asked for)",
     {ENTRA_LINES, CLIENT, SECRET_GIVEN, USER, {LINE_NEEDS, FIELD_SCOPE, "openid offline_access", NULL}}},
    {"mlserver",
     "mlserver",
     "Machine Learning Server or R Server, with a local or LDAP account",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "the web node, with its port"}, USER}},
    {"mlserver-entra",
     "device_code",
     "Machine Learning Server that takes Entra tokens (version 1)",
     {{LINE_FIXED, FIELD_AUTHORITY, ENTRA, NULL},
      {LINE_FIXED, FIELD_DIALECT, "entra_v1", NULL},
      {LINE_NEEDS, FIELD_TENANT, NULL, "its id or its domain"},
      {LINE_NEEDS, FIELD_CLIENT_ID, NULL, "the native application's"},
      {LINE_NEEDS, FIELD_RESOURCE, NULL, "the web application's client id"}}},
    {"mlserver-entra",
     "password",
     "Machine Learning Server that takes Entra tokens (version 1), with a user name and a password",
     {{LINE_FIXED, FIELD_AUTHORITY, ENTRA, NULL},
      {LINE_FIXED, FIELD_DIALECT, "entra_v1", NULL},
      {LINE_NEEDS, FIELD_TENANT, NULL, "its id or its domain"},
      {LINE_NEEDS, FIELD_CLIENT_ID, NULL, "the native application's"},
      USER,
      {LINE_NEEDS, FIELD_RESOURCE, NULL, "the web application's client id"}}},
    {"b2c",
     "client_credentials",
     "Azure AD B2C, with a service principal",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "as in https://NAME.b2clogin.com/NAME.onmicrosoft.com"},
      {LINE_FIXED, FIELD_DIALECT, "b2c", NULL},
      {LINE_NEEDS, FIELD_POLICY, NULL, "any user flow will do"},
      CLIENT,
      PROOF,
      {LINE_NEEDS, FIELD_SCOPE, NULL, "as in https://NAME.onmicrosoft.com/APPLICATION/.default"}}},
    {"b2c",
     "password",
     "Azure AD B2C, with a local account's user name and password",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "as in https://NAME.b2clogin.com/NAME.onmicrosoft.com"},
      {LINE_FIXED, FIELD_DIALECT, "b2c", NULL},
      {LINE_NEEDS, FIELD_POLICY, NULL, "a user flow for resource owners (ROPC)"},
      CLIENT,
      USER}},
    {"b2c",
     "authorization_code",
     "Azure AD B2C, in a person's name, with the browser of this computer",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "as in https://NAME.b2clogin.com/NAME.onmicrosoft.com"},
      {LINE_FIXED, FIELD_DIALECT, "b2c", NULL},
      {LINE_NEEDS, FIELD_POLICY, NULL, NULL},
      CLIENT,
      SECRET_GIVEN,
      {LINE_NEEDS, FIELD_SCOPE, "openid offline_access", "an API's scopes go here, too"}}},
    {"managed_identity",
     "managed_identity",
     "The identity that Azure gives to a virtual machine, an application or a compute instance",
     {{LINE_GIVEN, FIELD_CLIENT_ID, NULL, "which one, if there are several"},
      {LINE_NEEDS, FIELD_RESOURCE, NULL, NULL}}},
    {"keycloak",
     "device_code",
     "Keycloak, in a person's name (the client allows the device grant)",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "as in https://HOST/realms/REALM"},
      CLIENT,
      SECRET_GIVEN,
      {LINE_NEEDS, FIELD_SCOPE, "openid offline_access", NULL}}},
    {"keycloak",
     "authorization_code",
     "Keycloak, in a person's name, with the browser of this computer",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "as in https://HOST/realms/REALM"},
      CLIENT,
      SECRET_GIVEN,
      {LINE_NEEDS, FIELD_SCOPE, "openid offline_access", NULL}}},
    {"keycloak",
     "client_credentials",
     "Keycloak, with a service account",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, "as in https://HOST/realms/REALM"},
      CLIENT,
      PROOF,
      {LINE_MAY, FIELD_SCOPE, NULL, NULL}}},
    {"scim",
     "static",
     "A bearer token for SCIM, made in a console and good until a date",
     {{LINE_NEEDS, FIELD_TOKEN, "stored", NULL},
      {LINE_MAY, FIELD_EXPIRES, NULL, "mltoken status warns 90, 30, 7 days and one day ahead"}}},
    {"client_credentials",
     "client_credentials",
     "A service, in its own name",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, NULL}, CLIENT, PROOF, {LINE_MAY, FIELD_SCOPE, NULL, NULL}}},
    {"device_code",
     "device_code",
     "A person, who signs in with a browser on any device",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, NULL}, CLIENT, SECRET_GIVEN, {LINE_MAY, FIELD_SCOPE, NULL, NULL}}},
    {"authorization_code",
     "authorization_code",
     "A person, who signs in with the browser of this computer",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, NULL}, CLIENT, SECRET_GIVEN, {LINE_MAY, FIELD_SCOPE, NULL, NULL}}},
    {"password",
     "password",
     "A user name and a password, for those who still must (RFC 9700 advises against it)",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, NULL}, CLIENT, SECRET_GIVEN, USER, {LINE_MAY, FIELD_SCOPE, NULL, NULL}}},
    {"token_exchange",
     "token_exchange",
     "Another profile's token, exchanged (RFC 8693)",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, NULL},
      CLIENT,
      PROOF,
      {LINE_NEEDS, FIELD_PARENT, NULL, NULL},
      {LINE_MAY, FIELD_SCOPE, NULL, NULL}}},
    {"jwt_bearer",
     "jwt_bearer",
     "Another profile's token as an assertion (RFC 7523)",
     {{LINE_NEEDS, FIELD_AUTHORITY, NULL, NULL},
      CLIENT,
      PROOF,
      {LINE_NEEDS, FIELD_PARENT, NULL, NULL},
      {LINE_MAY, FIELD_SCOPE, NULL, NULL}}},
    {"on_behalf_of",
     "on_behalf_of",
     "Another profile's token, on behalf of its person (Entra ID)",
     {ENTRA_LINES, CLIENT, PROOF, {LINE_NEEDS, FIELD_PARENT, NULL, NULL}, {LINE_NEEDS, FIELD_SCOPE, NULL, NULL}}},
    {"static",
     "static",
     "A key or bearer token that somebody else issued",
     {{LINE_NEEDS, FIELD_TOKEN, "stored", NULL},
      {LINE_MAY, FIELD_EXPIRES, NULL, NULL},
      {LINE_FIXED, FIELD_HEADER, "Authorization: Bearer {token}", "how a service wants it; keys: api-key: {token}"}}},
};

const struct template *template_at(size_t i)
{
    return i < ELEMENTS(templates) ? &templates[i] : NULL;
}

const struct template *template_find(const char *name, const char *grant)
{
    for (size_t i = 0; i < ELEMENTS(templates); i++)
        if ((!name || strcmp(templates[i].name, name) == 0) && (!grant || strcmp(templates[i].grant, grant) == 0))
            return &templates[i];
    return NULL;
}

const char *template_usual(void)
{
    return "device_code";
}

bool template_signs_in(const struct template *template)
{
    static const char *const grants[] = {"authorization_code", "device_code", "mlserver", "password"};
    for (size_t i = 0; i < ELEMENTS(grants); i++)
        if (strcmp(template->grant, grants[i]) == 0)
            return true;
    return false;
}
