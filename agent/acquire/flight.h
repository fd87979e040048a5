/* A flight: one run of a grant's machine, from its first step to DONE or FAIL. It holds its own reference to the
 * profile it began with; when the configuration changes meanwhile, it flies on (a rotated refresh token must not be
 * lost), but what it brings is not put under the new settings. */
#pragma once

#include "acquire/keeper.h"
#include "acquire/parent.h"
#include "grant/grant.h"

struct login;
struct logout;
struct inspection;
struct rotation;
struct import;
struct redirect;

struct flight {
    struct conductor *conductor;
    struct holder *holder;
    struct profile *profile;
    struct profile *chosen; /* its copy for the user flow that a person chose; NULL: it is as it is */
    uint64_t generation;
    struct entry *entry; /* ACQUIRE: where the token goes; NULL when the entry was dropped meanwhile */
    enum grant_op op;
    bool serial; /* uses the refresh token: one at a time for a holder */
    bool running;
    bool sent;           /* the authority may have seen the refresh token: its answer must not be lost */
    struct flight *next; /* of the same holder, in order */
    struct request request;
    struct waiter waiters;         /* a ring */
    int64_t since_ms;              /* when it was asked for */
    uint64_t sign_in;              /* of the holder: as the credential was read; REVOKE: as it was asked for */
    int64_t sent_ms, sent_wall_ms; /* when its last exchange began: a token's life counts from there */
    struct timer patience;
    bool recheck; /* ACQUIRE: it begins only if what was refused was replaced on disk since */

    struct login *login;           /* LOGIN: who is told */
    bool switch_account;           /* LOGIN: it may be another person */
    struct logout *logout;         /* REVOKE: who is told; NULL when they have gone */
    struct rotation *rotation;     /* ROTATE: the same */
    struct inspection *inspection; /* INSPECT: the same */
    struct import *import;         /* IMPORT: the same */
    struct parcel *parcel;         /* IMPORT: what was brought */
    bool same_person;              /* IMPORT: she was signed in before */
    struct secret *inspected;      /* INSPECT: the token in question, with a NUL */

    void *state; /* the machine's; NULL before start() */
    struct input input;
    struct step step;
    struct keeper keeper;    /* of the sign-in, and what is held of it */
    bool bound;              /* there is one, but for other settings */
    bool checked, forgotten; /* ACQUIRE: whether the store has a newer one; REVOKE: the store was told */
    unsigned restarts;       /* with a newer one */
    struct failure kept;     /* REVOKE: why the store still has it */
    struct buffer ca_pem;
    struct secret *pair; /* PAIR: the client's, until the next HTTP has begun */

    /* what the present step waits for */
    struct http_call *http;
    struct documents_wait *documents;
    struct worker_job *job;
    struct file_step file;     /* that the job reads, where it is a token's */
    struct store_call *stored; /* a secret of the profile */
    struct verification *verification;
    struct redirect *redirect; /* of a sign-in with a browser, until it has come back */
    struct parent_wait parent;
    struct timer timer;
    struct task task;
    struct answer later;  /* an answer that is given from a task */
    struct secret *typed; /* an answer to ASK, or the environment's to SECRET, until it has been given */
};

/* Makes a flight and puts it at the end of its holder's queue; it starts by itself when it may. -ENOMEM. */
int flight_new(struct conductor *, struct holder *, enum grant_op, const struct request *, struct flight **ret);
/* Starts those of a holder that may. */
void flight_start_next(struct holder *);
/* Ends it at whatever step it is, and starts who waited for it. */
void flight_free(struct flight *);
/* ---- between the files of a flight ---- */

/* The settings that its machine runs by. What the store keeps is bound to the profile's own. */
static inline const struct profile *flight_settings(const struct flight *flight)
{
    return flight->chosen ? flight->chosen : flight->profile;
}

/* The first thing of a flight whose turn it is; a task's function. */
void flight_begin(void *arg);
/* Tells who is to be told of its end, and ends it. */
void flight_land(struct flight *);
/* Ends the machine and wipes its state, if there is one. */
void flight_end_machine(struct flight *);
/* What a step that is taken in a file of its own brought. */
void flight_answer(struct flight *, const struct answer *);
/* The same from the loop, where the step was taken at once. What is given lives as long as the flight's step. */
void flight_answer_later(struct flight *, struct span body, int error, const struct failure *why);
void flight_give_later(struct flight *, const struct answer *);
/* Whether nobody waits for it: then no window is opened. */
bool flight_is_quiet(const struct flight *);
/* Whether somebody came while the store was asked quietly, and it said that it is locked. */
bool flight_may_ask_now(const struct flight *, int error);
bool flight_is_sign_in(const struct flight *);
/* The machine's first step. */
void flight_start_machine(struct flight *);
/* In place of the next step: FAIL, with a reason or for an errno of our own. */
void flight_fail(struct flight *, const struct failure *);
void flight_fail_internal(struct flight *, int error);
/* flight_secret.c */
void flight_take_secret(struct flight *);
/* flight_credential.c: SAVE; and whether a sign-in that was refused is looked for in the store, since another agent may
 * have renewed it: then the flight goes on. */
void flight_take_save(struct flight *);
bool flight_check_newer(struct flight *);
/* Ends all of a holder's flights; nobody is told. The holder itself may be gone afterwards. */
void flight_free_all(struct holder *);
