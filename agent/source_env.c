#include "source.h"

#include "cleanup.h"
#include <strings.h>

static bool name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool source_env_allowed(struct span name)
{
    static const char *const prefixes[] = {"LD_",     "GLIBC_", "GCONV_",  "MALLOC_",  "SSL",     "OPENSSL",
                                           "CURL_",   "RES_",   "RESOLV_", "MLTOKEN_", "LISTEN_", "WATCHDOG_",
                                           "NOTIFY_", "ASAN_",  "LSAN_",   "UBSAN_",   "TSAN_"};
    static const char *const names[] = {"HOME",
                                        "PATH",
                                        "IFS",
                                        "ENV",
                                        "BASH_ENV",
                                        "SHELLOPTS",
                                        "TZ",
                                        "TZDIR",
                                        "TMPDIR",
                                        "LANG",
                                        "LC_ALL",
                                        "LANGUAGE",
                                        "LOCPATH",
                                        "NLSPATH",
                                        "HOSTALIASES",
                                        "LOCALDOMAIN",
                                        "DBUS_SESSION_BUS_ADDRESS"};
    static const char proxy[] = "_proxy";
    if (name.length == 0 || name.length > LIMIT_ENV_NAME || (name.data[0] >= '0' && name.data[0] <= '9'))
        return false;
    for (size_t i = 0; i < name.length; i++)
        if (!name_character(name.data[i]))
            return false;
    for (size_t i = 0; i < ELEMENTS(prefixes); i++)
        if (name.length >= strlen(prefixes[i]) && strncasecmp(name.data, prefixes[i], strlen(prefixes[i])) == 0)
            return false;
    for (size_t i = 0; i < ELEMENTS(names); i++)
        if (span_equals(name, span_of(names[i])))
            return false;
    size_t suffix = sizeof(proxy) - 1;
    return name.length < suffix || strncasecmp(name.data + name.length - suffix, proxy, suffix) != 0;
}
