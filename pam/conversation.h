/* What a person is told and asked, through the application's conversation.
 * What always holds: all that a person must know to sign in stands in one prompt of at most LIMIT_PAM_PROMPT bytes,
 * because ssh shows other texts too late or never; texts from outside are cleaned; an application that cannot ask, or a
 * person who is gone, is a PAM_CONV_ERR at once. Answers are wiped, not read. */
#pragma once

#include "limits.h"
#include "span.h"
#include <security/pam_modules.h>

/* PAM_SUCCESS when somebody can be asked: with PAM_SILENT, only at a terminal of this machine. */
int talk_check(pam_handle_t *, int flags);
/* Shows `prompt` and waits for Enter: PAM_SUCCESS or PAM_CONV_ERR. */
int talk_ask(pam_handle_t *, const char *prompt);
/* Tells a line, if it can be; `style` is PAM_TEXT_INFO or PAM_ERROR_MSG. */
void talk_tell(pam_handle_t *, int flags, int style, const char *text);

struct prompt_facts {
    const char *user, *service, *machine;
    const char *from; /* the host that the person comes from, or NULL or "": this one */
    const char *uri, *code;
    bool again; /* it was shown before */
};

/* 0; -EMSGSIZE when address and code do not fit: they are never cut. */
int prompt_write(const struct prompt_facts *, char to[static LIMIT_PAM_PROMPT + 1]);
/* The address is https, plain, and of one of `hosts` when there are any; the code is plain. NULL, or what is wrong. */
const char *prompt_problem(const char *uri, const char *code, char *const *hosts, size_t host_count);

/* Tells a QR code, line by line: `rows` as the helper sends them, "0" and "1" with "\n" between. Nothing when it is no
 * square of that form. */
void talk_draw(pam_handle_t *, int flags, struct span rows);
