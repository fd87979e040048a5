#include "acquire/signature.h"

#include "acquire/token_file.h"
#include "cleanup.h"
#include "clock.h"
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

enum { UUID_SIZE = 37 };

/* RFC 9562, version 4. */
static int new_uuid(char ret[static UUID_SIZE])
{
    uint8_t b[16];
    if (getrandom(b, sizeof(b), 0) != sizeof(b))
        return -EIO;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(ret, UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
                   b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return 0;
}

static void on_signed(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    struct answer given = {.error = result->error, .body = result->output};
    flight->job = NULL;
    if (result->error)
        failure_set(&given.why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "%s", result->problem);
    flight_answer(flight, &given);
}

/* Entra knows the client by its certificate's thumbprint: SHA-1 with RS256, SHA-256 with PS256 (WIRE section 1). */
static enum assertion_thumbprint thumbprint_of(const struct profile *profile)
{
    bool v1 = profile->dialect == DIALECT_ENTRA_V1, entra = v1 || profile->dialect == DIALECT_ENTRA;
    const char *algorithm = profile->assertion_alg;
    bool old = entra && (algorithm ? strcmp(algorithm, "RS256") == 0 : v1);
    return old ? ASSERTION_X5T : ASSERTION_X5T_S256;
}

int signature_start(struct flight *flight)
{
    const struct sign_step *step = &flight->step.sign;
    const struct profile *profile = flight->profile;
    const char *certificate = profile->client_certificate ? profile->client_certificate : "";
    const char *usual = profile->dialect == DIALECT_ENTRA_V1 ? "RS256" : "";
    char jti[UUID_SIZE];
    if (profile->client_assertion_file)
        return token_file_start(flight, profile->client_assertion_file, "client_assertion_file");
    int r = new_uuid(jti);
    if (r < 0)
        return r;
    const struct signer signer = {
        .key_path = profile->client_key ? profile->client_key : certificate,
        .certificate_path = certificate,
        .assertion = {.algorithm = profile->assertion_alg ? profile->assertion_alg : usual,
                      .audience = step->audience,
                      .client_id = profile->client_id ? profile->client_id : "",
                      .key_id = profile->assertion_kid ? profile->assertion_kid : "",
                      .jti = jti,
                      .issued_at = clock_wall_s(),
                      .thumbprint = thumbprint_of(profile),
                      .chain = profile->send_certificate},
    };
    return worker_sign(flight->conductor->worker, &signer, step->key_password, LIMIT_COMMAND_MS, on_signed, flight,
                       &flight->job);
}
