/* What mltoken-pam-login was asked for on its command line, which holds no secret: every user of the host can read it.
 * The module writes it; a person does for --map. */
#pragma once

#include "limits.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wanted_what {
    WANTED_SIGN_IN, /* for the module, by lines (lines.h) */
    WANTED_MAP,     /* for a person at a terminal: a line of the map file */
    WANTED_VERIFY,  /* for the module: is this token what it says it is? */
};

/* Borrowed from argv. */
struct wanted {
    enum wanted_what what;
    const char *config;  /* the file */
    const char *profile; /* NULL: the only one */
    int64_t wait_ms;
    const char *claims[LIMIT_LOGIN_CLAIMS]; /* each once */
    size_t claim_count;
    const char *hosts[LIMIT_HOSTS + 1]; /* where people may be sent, NULL-terminated; none: anywhere by https */
    size_t host_count;
    const char *user; /* MAP: whose line it is to be; NULL: to be filled in */
    bool debug, qr;   /* qr: the address is told as a picture too */
};

/* 0; 1: what was asked for was printed (--help); -EINVAL, and `problem` says what is wrong. */
int wanted_read(char *const argv[], struct wanted *ret, char problem[static LIMIT_TEXT]);
