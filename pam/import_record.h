/* The hand-off record as a call of the agent's Import. Pure. It was written by the module and passed on by it; what is
 * in it came from the authority, so each text is still only text here: the agent checks what it means. */
#pragma once

#include "json.h"
#include "limits.h"
#include "lines.h"
#include <sys/types.h>

struct import_record {
    char profile[LIMIT_PROFILE_NAME + 1]; /* "": the record names none */
    char issuer[LIMIT_URL + 1];
    json_object *parameters; /* of Import, without the profile; for json_wipe() */
};

/* All of `text`: the line `record`, the line `done`, and nothing else. 0, -ENOMEM, or -EBADMSG with *ret_wrong naming
 * what is not as it must be. */
int import_record_read(struct span text, uid_t uid, struct import_record *ret, const char **ret_wrong);
void import_record_free(struct import_record *);

#define _cleanup_import_record_ __attribute__((cleanup(import_record_free)))
