/* What went wrong with a request, as an errno and in words that say what to do. Pure but for what libcurl remembers of
 * the transfer. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_trouble {
    CURL *easy;
    CURLcode result;   /* never CURLE_OK */
    const char *words; /* libcurl's error buffer */
    const char *proxy; /* NULL: none */
    int64_t timeout_ms, connect_ms;
    bool queued;     /* it never started */
    bool connected;  /* TLS had begun */
    bool private_ca; /* certificates are from ca_file */
    bool shows;      /* the client's certificate */
};

/* Whether a byte of the request may have left: true once a connection stood, TLS and proxy included. */
bool http_trouble_sent(CURL *easy);
/* What a server says of the client's certificate, or of there being none, or NULL. A TLS alert of this kind means that
 * no request was taken, also where TLS 1.3 lets the client send one before it hears. */
const char *http_trouble_refusal(const struct http_trouble *);
/* The negative errno of http.h, and the reason without its host. */
int http_trouble_describe(const struct http_trouble *, char *to, size_t size);
