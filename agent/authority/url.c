#include "authority/url.h"

#include "cleanup.h"
#include "limits.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <strings.h>

#define PORT_MAXIMUM  65535
#define PORT_DIGITS   5
#define LABEL_MAXIMUM 63 /* RFC 1035 section 2.3.4 */
#define HOST_MAXIMUM  253

/* ctype.h asks the locale; these do not. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool text_of(struct span span, char *to, size_t size)
{
    if (span.length >= size)
        return false;
    if (span.length > 0)
        memcpy(to, span.data, span.length);
    to[span.length] = '\0';
    return true;
}

static bool is_ipv6(struct span host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    return text_of(host, text, sizeof(text)) && inet_pton(AF_INET6, text, &address) == 1;
}

static bool is_ipv4(struct span host)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    return text_of(host, text, sizeof(text)) && inet_pton(AF_INET, text, &address) == 1;
}

static bool label_is_plain(struct span label)
{
    if (label.length == 0 || label.length > LABEL_MAXIMUM)
        return false;
    for (size_t i = 0; i < label.length; i++)
        if (!is_digit(label.data[i]) && !is_letter(label.data[i]) && label.data[i] != '-' && label.data[i] != '_')
            return false;
    return label.data[0] != '-' && label.data[label.length - 1] != '-';
}

/* Readers take a host that ends in a number for an IPv4 address in shorthand (127.1), octal (0177.0.0.1), hexadecimal
 * or one decimal number (WHATWG URL section 3.5): only four plain decimals are read alike by all. */
static bool label_is_number(struct span label)
{
    if (label.length >= 2 && label.data[0] == '0' && (label.data[1] == 'x' || label.data[1] == 'X'))
        return true;
    for (size_t i = 0; i < label.length; i++)
        if (!is_digit(label.data[i]))
            return false;
    return true;
}

static bool host_is_plain(struct span host)
{
    struct span label = {.data = host.data};
    if (host.length == 0 || host.length > HOST_MAXIMUM)
        return false;
    for (size_t i = 0; i <= host.length; i++) {
        if (i < host.length && host.data[i] != '.') {
            label.length++;
            continue;
        }
        if (!label_is_plain(label))
            return false;
        if (i < host.length)
            label = (struct span){.data = host.data + i + 1};
    }
    return !label_is_number(label) || is_ipv4(host);
}

static bool is_path_character(char c)
{
    return is_letter(c) || is_digit(c) || (c != '\0' && strchr("-._~!$&'()*+,;=:@/%", c));
}

/* Escapes are two hexadecimal digits, and never stand for a control character. */
static bool escapes_are_plain(struct span text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] != '%')
            continue;
        if (text.length - i < 3)
            return false;
        int high = hex_value(text.data[i + 1]), low = hex_value(text.data[i + 2]);
        if (high < 2 || low < 0 || (high == 7 && low == 15))
            return false;
    }
    return true;
}

/* "." and "..", also escaped: some readers fold them away, others do not. */
static bool is_dots(const char *segment, size_t length)
{
    size_t dots = 0;
    for (size_t i = 0; i < length; dots++) {
        if (segment[i] == '.')
            i++;
        else if (length - i >= 3 && segment[i] == '%' && segment[i + 1] == '2' && (segment[i + 2] | 0x20) == 'e')
            i += 3;
        else
            return false;
    }
    return dots == 1 || dots == 2;
}

static bool path_is_plain(struct span path)
{
    size_t start = 1;
    for (size_t i = 0; i < path.length; i++)
        if (!is_path_character(path.data[i]))
            return false;
    for (size_t i = 1; i <= path.length; i++) {
        if (i < path.length && path.data[i] != '/')
            continue;
        if (is_dots(path.data + start, i - start))
            return false;
        start = i + 1;
    }
    return escapes_are_plain(path);
}

static bool query_is_plain(struct span query)
{
    for (size_t i = 0; i < query.length; i++)
        if (!is_path_character(query.data[i]) && query.data[i] != '?')
            return false;
    return escapes_are_plain(query);
}

/* What stands between "://" and the path: host, [IPv6], and a port. */
static bool read_authority(const char *text, size_t length, struct url *url)
{
    const char *end = text + length, *after = text;
    if (length > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', length);
        if (!close)
            return false;
        url->host = (struct span){.data = text + 1, .length = (size_t)(close - text - 1)};
        if (!is_ipv6(url->host))
            return false;
        after = close + 1;
    } else {
        while (after < end && *after != ':')
            after++;
        url->host = (struct span){.data = text, .length = (size_t)(after - text)};
        if (!host_is_plain(url->host))
            return false;
    }
    if (after == end)
        return true;
    if (*after++ != ':' || after == end || end - after > PORT_DIGITS || *after == '0')
        return false;
    for (url->port = 0; after < end; after++) {
        if (!is_digit(*after))
            return false;
        url->port = url->port * 10 + (*after - '0');
    }
    return url->port <= PORT_MAXIMUM;
}

int url_parse(const char *text, struct url *ret)
{
    struct url url = {0};
    size_t length = text ? strnlen(text, LIMIT_URL + 1) : 0, host_length;
    if (length == 0 || length > LIMIT_URL)
        return -EINVAL;
    if (strncmp(text, "https://", 8) == 0)
        url = (struct url){.https = true, .port = 443};
    else if (strncmp(text, "http://", 7) == 0)
        url = (struct url){.https = false, .port = 80};
    else
        return -EINVAL;
    text += url.https ? 8 : 7;
    host_length = strcspn(text, "/?");
    if (!read_authority(text, host_length, &url))
        return -EINVAL;
    text += host_length;
    url.path = (struct span){.data = text, .length = strcspn(text, "?")};
    text += url.path.length;
    url.query = *text == '?' ? span_of(text + 1) : (struct span){.data = text};
    if (!path_is_plain(url.path) || !query_is_plain(url.query))
        return -EINVAL;
    *ret = url;
    return 0;
}

static bool host_equals(struct span host, const char *name)
{
    return strlen(name) == host.length && strncasecmp(host.data, name, host.length) == 0;
}

bool url_same_host(const struct url *a, const struct url *b)
{
    return a->host.length == b->host.length && strncasecmp(a->host.data, b->host.data, a->host.length) == 0;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
    return a->https == b->https && a->port == b->port && url_same_host(a, b);
}

bool url_is_loopback(const struct url *url)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr four;
    struct in6_addr six;
    if (!text_of(url->host, text, sizeof(text)))
        return false;
    if (inet_pton(AF_INET, text, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, text, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

bool url_is_link_local(const struct url *url)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr four;
    return text_of(url->host, text, sizeof(text)) && inet_pton(AF_INET, text, &four) == 1 &&
           ntohl(four.s_addr) >> 16 == (169u << 8 | 254u);
}

bool url_is_localhost(const struct url *url)
{
    return host_equals(url->host, "localhost");
}

bool url_host_in(const struct url *url, char *const *hosts)
{
    for (; hosts && *hosts; hosts++)
        if (host_equals(url->host, *hosts))
            return true;
    return false;
}

bool url_is_entra(const struct url *url)
{
    static const char *const hosts[] = {
        "login.microsoftonline.com",
        "login.microsoft.com",
        "login.windows.net",
        "sts.windows.net",
        "login.microsoftonline.us",
        "login.usgovcloudapi.net",
        "login.partner.microsoftonline.cn",
        "login.chinacloudapi.cn",
        "sts.chinacloudapi.cn",
    };
    for (size_t i = 0; i < ELEMENTS(hosts); i++)
        if (host_equals(url->host, hosts[i]))
            return url->https && url->port == 443;
    return false;
}
