/* libFuzzer: any bytes as the record that mltoken-pam-import reads. What must hold: no crash; what is read is a call of
 * Import with every member of its type and within its bound. */
#include "import_record.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            __builtin_trap();                                                                                          \
    } while (0)

static void check_parameters(const struct import_record *record)
{
    const char *text;
    json_object *scopes;
    int64_t number;
    CHECK(json_string(record->parameters, "issuer", LIMIT_URL, &text) != -ENOENT);
    CHECK(json_member(record->parameters, "clientId", &scopes) == 0);
    CHECK(json_member(record->parameters, "idToken", &scopes) == 0);
    CHECK(json_array(record->parameters, "scopes", &scopes) == 0);
    CHECK(json_object_array_length(scopes) <= LIMIT_SCOPES);
    CHECK(json_integer(record->parameters, "expiresAt", &number) != 0 || number >= 0);
    CHECK(json_object_object_length(record->parameters) <= 7);
    CHECK(strlen(record->profile) <= LIMIT_PROFILE_NAME);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct import_record record;
    const char *wrong = NULL;
    char *bytes = malloc(size ? size : 1); /* of just this size, so that a step beyond is seen */
    CHECK(bytes);
    if (size > 0)
        memcpy(bytes, data, size);
    if (import_record_read((struct span){bytes, size}, 1000, &record, &wrong) == 0) {
        check_parameters(&record);
        import_record_free(&record);
    } else {
        CHECK(wrong);
    }
    free(bytes);
    return 0;
}
