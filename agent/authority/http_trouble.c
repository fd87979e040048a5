#include "authority/http_trouble.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

#define SHOWN 200 /* bytes of a proxy's address that a message repeats */

static const char *certificate_problem(const struct http_trouble *trouble, long verify)
{
    switch (verify) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "its certificate has expired; check also this machine's clock";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "its certificate is not valid yet; check this machine's clock";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return trouble->private_ca ? "its certificate was not issued by an authority in ca_file"
                                   : "its certificate was issued by an authority that this system "
                                     "does not trust; if that is a private one, set ca_file";
    case X509_V_ERR_APPLICATION_VERIFICATION:
        return "its certificate is not the one whose thumbprint was announced";
    default:
        return NULL;
    }
}

const char *http_trouble_refusal(const struct http_trouble *trouble)
{
    static const struct {
        const char *alert, *meaning;
    } alerts[] = {
        {"alert certificate expired", "the authority says that client_certificate has expired"},
        {"alert certificate revoked", "the authority says that client_certificate was revoked"},
        {"alert unknown ca",
         "the authority does not know who issued client_certificate: have it registered there, or put "
         "its issuers behind it in its file"},
    };
    static const char *const others[] = {"alert bad certificate", "alert unsupported certificate",
                                         "alert certificate unknown", "alert certificate required"};
    for (size_t i = 0; i < ELEMENTS(alerts); i++)
        if (strstr(trouble->words, alerts[i].alert))
            return alerts[i].meaning;
    for (size_t i = 0; i < ELEMENTS(others); i++)
        if (strstr(trouble->words, others[i]))
            return trouble->shows
                       ? "the authority does not take client_certificate: is it the one that is registered there?"
                       : "the authority asks for a client certificate: set client_auth = tls_client_auth and "
                         "client_certificate, and name the endpoints where it asks for one with the metadata too";
    return NULL;
}

static int tls_failure(const struct http_trouble *trouble, char *to, size_t size)
{
    long verify = 0;
    curl_easy_getinfo(trouble->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
    const char *problem = certificate_problem(trouble, verify);
    if (!problem && verify > X509_V_ERR_UNSPECIFIED) /* that one is libcurl's word for "not there yet" */
        problem = X509_verify_cert_error_string(verify);
    if (!problem && trouble->result == CURLE_PEER_FAILED_VERIFICATION)
        problem = "its certificate is for another host name";
    (void)snprintf(to, size, "no trusted TLS connection: %s", problem ? problem : trouble->words);
    return -EPROTO;
}

static int connect_failure(const struct http_trouble *trouble, char *to, size_t size)
{
    long error = 0;
    curl_easy_getinfo(trouble->easy, CURLINFO_OS_ERRNO, &error);
    (void)snprintf(to, size, "%s",
                   error == ECONNREFUSED ? "connection refused"
                   : error               ? strerrordesc_np((int)error)
                                         : trouble->words);
    return error == ECONNREFUSED ? -ECONNREFUSED : error == ETIMEDOUT ? -ETIMEDOUT : -EHOSTUNREACH;
}

static curl_off_t time_of(CURL *easy, CURLINFO info)
{
    curl_off_t time = 0;
    curl_easy_getinfo(easy, info, &time);
    return time;
}

bool http_trouble_sent(CURL *easy)
{
    return time_of(easy, CURLINFO_PRETRANSFER_TIME_T) > 0;
}

static int timeout_failure(const struct http_trouble *trouble, char *to, size_t size)
{
    const char *phase = "no answer";
    int64_t limit = trouble->timeout_ms;
    if (trouble->queued)
        phase = "too many other requests were under way";
    else if (time_of(trouble->easy, CURLINFO_NAMELOOKUP_TIME_T) == 0)
        phase = "its name was not resolved";
    else if (!http_trouble_sent(trouble->easy))
        phase = trouble->connected ? "TLS was not set up" : "no connection";
    if (trouble->result == CURLE_OPERATION_TIMEDOUT && limit > trouble->connect_ms && !http_trouble_sent(trouble->easy))
        limit = trouble->connect_ms;
    (void)snprintf(to, size, "%s within %.3g s", phase, (double)limit / 1000);
    return -ETIMEDOUT;
}

static int proxy_failure(const struct http_trouble *trouble, char *to, size_t size)
{
    long status = 0;
    curl_easy_getinfo(trouble->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (status)
        (void)snprintf(to, size, "the proxy %.*s refused the connection (%ld)", SHOWN, trouble->proxy, status);
    else
        (void)snprintf(to, size, "the proxy %.*s does not work: %s", SHOWN, trouble->proxy, trouble->words);
    return -EHOSTUNREACH;
}

/* The errno and the reason for a libcurl result. */
int http_trouble_describe(const struct http_trouble *trouble, char *to, size_t size)
{
    bool sent = http_trouble_sent(trouble->easy);
    if (trouble->proxy && !sent &&
        (trouble->result == CURLE_RECV_ERROR || trouble->result == CURLE_COULDNT_RESOLVE_PROXY ||
         trouble->result == CURLE_PROXY || trouble->result == CURLE_COULDNT_CONNECT))
        return proxy_failure(trouble, to, size);
    switch ((int)trouble->result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        (void)snprintf(to, size, "its name does not resolve");
        return -EHOSTUNREACH;
    case CURLE_COULDNT_CONNECT:
        return connect_failure(trouble, to, size);
    case CURLE_OPERATION_TIMEDOUT:
        return timeout_failure(trouble, to, size);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CERTPROBLEM:
        return tls_failure(trouble, to, size);
    case CURLE_FILESIZE_EXCEEDED:
        (void)snprintf(to, size, "its answer is longer than %d bytes, or its header than %d", LIMIT_RESPONSE,
                       LIMIT_RESPONSE_HEADERS);
        return -EMSGSIZE;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
        (void)snprintf(to, size, "it does not answer in HTTP");
        return -EBADMSG;
    case CURLE_OUT_OF_MEMORY:
        (void)snprintf(to, size, "out of memory");
        return -ENOMEM;
    default:
        (void)snprintf(to, size, "the connection was lost %s",
                       sent ? "before its whole answer came" : "before anything was sent");
        return -ENOTCONN;
    }
}
