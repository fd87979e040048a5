#include "token/failure.h"

#include "buffer.h"
#include "cleanup.h"
#include "text.h"
#include <stdarg.h>
#include <stdio.h>

void failure_set(struct failure *failure, enum failure_kind kind, enum failure_class class, const char *format, ...)
{
    char raw[2 * LIMIT_TEXT];
    va_list arguments;
    *failure = (struct failure){.kind = kind, .class = class, .retry_after_ms = -1, .retry_at = -1};
    va_start(arguments, format);
    (void)vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    text_clean_into(failure->reason, sizeof(failure->reason), span_of(raw));
}

const char *failure_name(enum failure_kind kind)
{
    static const char *const names[] = {
        [FAILURE_NONE] = "None",
        [FAILURE_NO_SUCH_PROFILE] = "NoSuchProfile",
        [FAILURE_INVALID_CONFIGURATION] = "InvalidConfiguration",
        [FAILURE_SECRET_MISSING] = "SecretMissing",
        [FAILURE_NOT_SUPPORTED] = "NotSupported",
        [FAILURE_LOGIN_REQUIRED] = "LoginRequired",
        [FAILURE_SIGN_IN_FAILED] = "SignInFailed",
        [FAILURE_AUTHORITY_REFUSED] = "AuthorityRefused",
        [FAILURE_INVALID_TOKEN] = "InvalidToken",
        [FAILURE_AUTHORITY_UNREACHABLE] = "AuthorityUnreachable",
        [FAILURE_TOKEN_TOO_SHORT] = "TokenTooShort",
        [FAILURE_STORE_UNAVAILABLE] = "StoreUnavailable",
        [FAILURE_LOCKED] = "Locked",
        [FAILURE_DENIED] = "Denied",
        [FAILURE_BUSY] = "Busy",
    };
    return (size_t)kind < ELEMENTS(names) ? names[kind] : names[FAILURE_NONE];
}

void failure_keep(struct failure **place, const struct failure *failure)
{
    if (!failure) {
        free(*place);
        *place = NULL;
        return;
    }
    if (!*place)
        *place = malloc(sizeof(*failure));
    if (*place)
        **place = *failure;
}
