#include "uri.h"

#include "cleanup.h"
#include <arpa/inet.h>
#include <errno.h>

static const char *after_scheme(const char *uri)
{
    if (strncasecmp(uri, "https://", 8) == 0)
        return uri + 8;
    return strncasecmp(uri, "http://", 7) == 0 ? uri + 7 : NULL;
}

int uri_host(const char *uri, char *to, size_t size)
{
    const char *start = after_scheme(uri);
    if (!start)
        return -EINVAL;
    size_t length = strcspn(start, "/?#\\");
    if (memchr(start, '@', length)) /* "https://login.example.org@evil.example" */
        return -EINVAL;
    if (*start == '[') {
        const char *end = memchr(start, ']', length);
        if (!end || (end + 1 < start + length && end[1] != ':'))
            return -EINVAL;
        start++;
        length = (size_t)(end - start);
    } else {
        const char *colon = memchr(start, ':', length);
        length = colon ? (size_t)(colon - start) : length;
    }
    if (length == 0 || length >= size)
        return -EINVAL;
    memcpy(to, start, length);
    to[length] = '\0';
    return 0;
}

static bool loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool plain(const char *uri)
{
    for (const char *p = uri; *p; p++)
        if (*p <= 0x20 || *p >= 0x7f || *p == '\\') /* browsers read \ as /, others do not */
            return false;
    return true;
}

bool uri_is_here(const char *uri)
{
    char host[256];
    return plain(uri) && strncasecmp(uri, "http://", 7) == 0 && uri_host(uri, host, sizeof(host)) == 0 &&
           (loopback(host) || strcmp(host, "localhost") == 0);
}

bool uri_is_safe(const char *uri)
{
    char host[256];
    if (!plain(uri))
        return false;
    if (uri_host(uri, host, sizeof(host)) < 0)
        return false;
    return strncasecmp(uri, "https://", 8) == 0 || loopback(host);
}
