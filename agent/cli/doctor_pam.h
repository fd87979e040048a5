/* mltoken doctor --pam: whether people can sign in through pam_mltoken.so, and what to change where not. It reads what
 * the module reads, with the module's own readers (pam/settings.h, pam/mapping.h), and changes nothing. With --root it
 * looks at the tree of an image or a container: what only a running system can tell is then read from its files. */
#pragma once

#include "buffer.h"
#include "limits.h"
#include "settings.h"
#include "span.h"

#define PAM_PATH 4096

struct pam_visit {
    const char *root; /* "": this system */
    const char *user; /* whose way in is looked at; NULL: nobody's */
    bool bad, unreachable;
    bool unavailable_ignored; /* authinfo_unavail=ignore stands in the stack */
    const char *elsewhere;    /* another service than sshd whose auth line says nothing of cached; NULL: none */
    char config[LIMIT_PAM_VALUE + 1];
    struct settings settings; /* defaults and arguments; with pam.conf once it is known */
    bool known;
    uid_t helper_uid;
    gid_t helper_gid;
    bool has_helper;
};

enum pam_verdict { PAM_FINE, PAM_NOTE, PAM_BAD, PAM_UNREACHABLE };
/* One line: what was found, and for what is bad what to do. What comes from outside is cleaned. */
void pam_say(struct pam_visit *, enum pam_verdict, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A path of the system that is looked at. */
void pam_path(const struct pam_visit *, const char *path, char to[static PAM_PATH]);
/* A whole file of it, at most LIMIT_PAM_MAP bytes: 0 or a negative errno. */
int pam_read(const struct pam_visit *, const char *path, struct buffer *ret);
/* The next line, without blanks around it and its end; false at the end of the text. */
bool pam_line(struct span *text, struct span *ret);
/* The next word of a line; [a b] is one. */
bool pam_word(struct span *line, struct span *ret);

/* Each looks at one thing. */
void pam_check_stack(struct pam_visit *);
void pam_check_sshd(struct pam_visit *);
void pam_check_files(struct pam_visit *); /* sets `settings` */
void pam_check_person(struct pam_visit *);
void pam_check_authority(struct pam_visit *);

int doctor_pam(const char *root, const char *user); /* an exit code */
