/* The inside of a handle. The connection (client.c) carries one call at a time: it owns the descriptor and both
 * buffers, and knows frames, not methods. What the methods mean is in get.c and login.c, which are built on
 * client_start() and client_step() like anything else; the mltoken command calls its other methods in the same way.
 *
 * Always: `fd` is -1 or a connection whose server is our own uid. `out` holds the whole call until the first byte of
 * its answer, so that it can be sent again on a new connection. All functions but client_enter() and
 * client_enter_by() are called with the lock held. */
#pragma once

#include "buffer.h"
#include "json.h"
#include "limits.h"
#include "mltoken.h"
#include "socket_path.h"
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#define CLIENT_AGAIN 1 /* nothing yet: wait for descriptor or timeout */

enum client_call { CALL_NONE, CALL_OTHER, CALL_GET, CALL_WATCH, CALL_LOGIN };

/* The last failure's words, cleaned (error.c). "" and 0 mean none. */
struct client_error {
    int code;
    char name[LIMIT_ERROR_NAME + 1];
    char profile[LIMIT_PROFILE_NAME + 1];
    char reason[LIMIT_TEXT], error[LIMIT_CODE], description[LIMIT_TEXT], correlation_id[LIMIT_CODE],
        trace_id[LIMIT_CODE];
    char secret[LIMIT_CODE], file[LIMIT_TEXT];
    char claims[LIMIT_CHALLENGE + 1]; /* LoginRequired: what the sign-in is to be asked for */
    int64_t line, retry_at, min_valid, expires_at;
};

struct mltoken_prompt {
    mltoken_prompt_kind kind;
    char *uri, *uri_complete, *user_code, *message, *name;
    char session[LIMIT_CODE + 1];
    int64_t expires_at;
};

struct mltoken_token {
    json_object *object; /* the only reference; every member that is read below was checked */
};

struct mltoken_handle {
    pthread_mutex_t lock; /* recursive: a prompt callback may ask for details */
    pid_t pid;            /* who may use `fd` */
    struct socket_path path;
    int fd;
    enum client_call call;
    bool more;
    bool reused;   /* the connection is older than this call */
    bool answered; /* a byte of the answer has come */
    struct buffer out, in;
    size_t sent;
    json_object *asked; /* the parameters of this or the last call: its reply is held against them */
    struct client_error error;
    mltoken_token *token; /* not taken yet */
    mltoken_prompt prompt;
    bool prompted;
    char *account;
};

void client_enter(mltoken_handle *);
/* The same for a call with a deadline, which the wait for another thread's call counts against: 0 or MLTOKEN_ETIMEOUT,
 * and then nothing of the handle may be touched. */
int client_enter_by(mltoken_handle *, int64_t deadline_ms);
void client_leave(mltoken_handle *);

/* Makes a connection unless there is one: 0, CLIENT_AGAIN (the agent's queue is full), MLTOKEN_ENOAGENT, _EPEER,
 * _ESYSTEM. */
int client_connect(mltoken_handle *);
/* Begins a call: `method` is a full name, `parameters` (may be NULL) are taken, also on failure. */
int client_start(mltoken_handle *, enum client_call, const char *method, json_object *parameters, bool more);
/* The next reply: 0, CLIENT_AGAIN or an error, which ends the call. *ret_parameters is an object of the caller's, for
 * json_wipe(). The call is over when not *ret_continues. */
int client_step(mltoken_handle *, json_object **ret_parameters, bool *ret_continues);
/* Waits until client_step() could do more: 0 or MLTOKEN_ETIMEOUT. The deadline is on CLOCK_BOOTTIME, in ms. */
int client_wait(mltoken_handle *, int64_t deadline_ms);
/* Both: the next reply or MLTOKEN_ETIMEOUT (the call is still under way then). */
int client_next(mltoken_handle *, int64_t deadline_ms, json_object **ret_parameters, bool *ret_continues);
/* Ends the call and closes the connection. */
void client_drop(mltoken_handle *);
/* Milliseconds of a timeout argument (0: `standard`) as a deadline; MLTOKEN_EINVAL. */
int client_deadline(int timeout_ms, int64_t standard_ms, int64_t *ret);

/* Remembers a failure of our own and returns its code. */
int client_fail(mltoken_handle *, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Remembers the failure that the agent answered with and returns its code. */
int client_refused(mltoken_handle *, const char *name, json_object *parameters);

/* A request's members for the method: profile alone, for sign-in, or all. NULL request: none. */
enum request_members { REQUEST_PROFILE, REQUEST_LOGIN, REQUEST_TOKEN };
int request_parameters(const mltoken_request *, enum request_members, json_object **ret);

/* Checks a Token object and takes it, also on failure. */
int token_new(mltoken_handle *, json_object *object, mltoken_token **ret);
/* The whole object as it came; the token's. */
json_object *token_object(const mltoken_token *);

/* What a reply of the call under way means. */
int get_event(mltoken_handle *, json_object *parameters, mltoken_event *ret);
int login_event(mltoken_handle *, json_object *parameters, mltoken_event *ret);
void prompt_clear(mltoken_prompt *);
