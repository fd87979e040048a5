/* libmltoken: OAuth tokens from the user's own agent, mltoken-agent(1). See mltoken(3).
 *
 * A handle talks to one agent over its Unix socket. It carries one call at a time; calls of several threads on one
 * handle wait for each other (a deadline counts that wait too), and each leaves its words about a failure in the
 * handle, so a thread that wants its own words takes a handle of its own. A handle that is used after fork(2) makes a
 * new connection in the child. The library keeps no global state, writes no log, starts no thread, no process and no
 * agent, and installs no signal handler.
 *
 * Functions that can fail return 0 or a negative MLTOKEN_E... code. Strings that the library returns are UTF-8, free of
 * control characters, and belong to the object they came from. Times are seconds since 1970-01-01 UTC; 0 is "not
 * known". */
#ifndef MLTOKEN_H
#define MLTOKEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

typedef struct mltoken_handle mltoken_handle;
typedef struct mltoken_request mltoken_request;
typedef struct mltoken_token mltoken_token;
typedef struct mltoken_prompt mltoken_prompt;

/* Results. Values are never reused; new ones may come. */
#define MLTOKEN_EINVAL     (-1)  /* an argument is not valid */
#define MLTOKEN_ENOMEM     (-2)  /* out of memory */
#define MLTOKEN_ENOAGENT   (-3)  /* no agent listens at the socket */
#define MLTOKEN_EPEER      (-4)  /* the socket or its directory is another user's: nothing was sent */
#define MLTOKEN_ETIMEOUT   (-5)  /* the deadline passed */
#define MLTOKEN_ECLOSED    (-6)  /* the agent ended the connection before it answered */
#define MLTOKEN_EPROTOCOL  (-7)  /* the agent's answer makes no sense */
#define MLTOKEN_EOLDAGENT  (-8)  /* the agent does not know what was asked for, or would not honour it: it is older */
#define MLTOKEN_EINUSE     (-9)  /* another call is under way on this handle */
#define MLTOKEN_ESYSTEM    (-10) /* a system call failed: the reason is a detail */
#define MLTOKEN_ECANCELLED (-11) /* the prompt callback asked to stop */
/* ... and what the agent answers */
#define MLTOKEN_ENOSUCHPROFILE (-20)
#define MLTOKEN_ECONFIGURATION (-21) /* the profile's configuration is not valid */
#define MLTOKEN_ESECRETMISSING (-22)
#define MLTOKEN_ENOTSUPPORTED  (-23)
#define MLTOKEN_ELOGINREQUIRED (-24) /* a person must sign in: mltoken_login(), or `mltoken login PROFILE` */
#define MLTOKEN_ESIGNINFAILED  (-25)
#define MLTOKEN_EREFUSED       (-26) /* the authority refused; its own words are details */
#define MLTOKEN_EINVALIDTOKEN  (-27)
#define MLTOKEN_EUNREACHABLE   (-28) /* the authority does not answer; MLTOKEN_RETRY_AT: the next try */
#define MLTOKEN_ETOOSHORT      (-29) /* even a new token ends sooner than asked for */
#define MLTOKEN_ESTORE         (-30) /* the store of secrets is not available */
#define MLTOKEN_ELOCKED        (-31)
#define MLTOKEN_EDENIED        (-32)
#define MLTOKEN_EBUSY          (-33) /* the agent has too much to do */
#define MLTOKEN_EUNKNOWN       (-34) /* an error that this library does not know: MLTOKEN_NAME_OF_ERROR names it */

/* What a code means, in English, without a full stop. Never NULL; the text is constant. */
const char *mltoken_strerror(int code);

/* ---- the handle ---- */

/* Makes a handle for the agent at `socket_path`, an absolute path, or, when it is NULL, at the usual place:
 * $MLTOKEN_SOCK, else a service account's /run/mltoken/NAME/agent.sock, else $XDG_RUNTIME_DIR/mltoken/agent.sock, else
 * /run/user/UID/mltoken/agent.sock, else /tmp/mltoken-UID/agent.sock. Nothing is opened yet: the first call connects,
 * and fails with MLTOKEN_ENOAGENT when nobody listens. A connection that the agent ended while it was idle is made anew
 * by itself. The server's user is checked before anything is sent, and for a usual place also who owns the directory:
 * MLTOKEN_EPEER. *ret_handle is the caller's, for mltoken_close(); on failure it is not touched. Fails with
 * MLTOKEN_EINVAL (relative or over-long path), MLTOKEN_ENOMEM. */
int mltoken_open(const char *socket_path, mltoken_handle **ret_handle);

/* Ends the connection and frees the handle; a call under way is cancelled. NULL is allowed. No other thread may be
 * using the handle. */
void mltoken_close(mltoken_handle *handle);

/* Ends the call under way, if there is one, by closing its connection: the agent then cancels a sign-in. For calls of
 * an event loop and for a watch; while another thread is inside mltoken_get(), mltoken_login() or mltoken_next(), this
 * waits for it. */
void mltoken_cancel(mltoken_handle *handle);

/* What more is known about the last failure on a handle. Texts hold the authority's own words, shortened and cleaned of
 * what could deceive a reader. They are valid until the next call on the handle. */
typedef enum mltoken_detail {
    MLTOKEN_NAME_OF_ERROR = 1, /* "org.mltoken.agent.LoginRequired" */
    MLTOKEN_PROFILE = 2,
    MLTOKEN_REASON = 3,
    MLTOKEN_ERROR = 4, /* the authority's error code, "invalid_client" */
    MLTOKEN_DESCRIPTION = 5,
    MLTOKEN_CORRELATION_ID = 6,
    MLTOKEN_TRACE_ID = 7,
    MLTOKEN_NAME = 8, /* which secret is missing; which member an old agent does not know */
    MLTOKEN_FILE = 9,
    MLTOKEN_LINE = 10,      /* number */
    MLTOKEN_RETRY_AT = 11,  /* number: when the agent tries again, epoch seconds */
    MLTOKEN_MIN_VALID = 12, /* number: seconds */
    MLTOKEN_EXPIRES_AT = 13 /* number: epoch seconds */
} mltoken_detail;

/* A text, or NULL when there is none. */
const char *mltoken_detail_text(const mltoken_handle *handle, mltoken_detail which);
/* A number, or 0 when there is none. */
uint64_t mltoken_detail_number(const mltoken_handle *handle, mltoken_detail which);

/* ---- what is asked for ---- */

/* A new request that asks for the default profile's token as configured. It is the caller's, for
 * mltoken_request_free(); it may be used any number of times. Fails with MLTOKEN_ENOMEM. */
int mltoken_request_new(mltoken_request **ret_request);
void mltoken_request_free(mltoken_request *request);

/* Each copies what it is given and fails with MLTOKEN_EINVAL (too long, control characters, not what it should be) or
 * MLTOKEN_ENOMEM; the request is then as before. A NULL text takes the setting back. */
int mltoken_request_profile(mltoken_request *request, const char *profile);
/* Adds one scope (no blanks in it); the first replaces the profile's own scopes. NULL goes back to these. */
int mltoken_request_scope(mltoken_request *request, const char *scope);
int mltoken_request_resource(mltoken_request *request, const char *resource); /* RFC 8707 */
int mltoken_request_audience(mltoken_request *request, const char *audience);
/* The claims parameter (OpenID Connect Core 5.5), a JSON object: what a resource's claims challenge asked for. */
int mltoken_request_claims(mltoken_request *request, const char *json);
/* How long the token must still live, in seconds; without it the profile's min_valid holds. */
int mltoken_request_min_valid(mltoken_request *request, uint64_t seconds);
/* Not 0: fetch a new token even if a good one is there, as after a 401 from a resource. */
int mltoken_request_refresh(mltoken_request *request, int refresh);
/* Which application asks: a hint that the agent shows as such. */
int mltoken_request_application(mltoken_request *request, const char *application);
/* Sign-in only: the user flow of Azure AD B2C to sign in by, in place of the profile's; what is signed in so is renewed
 * by it too. */
int mltoken_request_policy(mltoken_request *request, const char *policy);
/* Sign-in only. Not 0: another account than the remembered one may sign in. */
int mltoken_request_switch_account(mltoken_request *request, int allowed);

/* ---- calls that wait ----
 * `timeout_ms` is a deadline for the whole call in milliseconds; 0 is the default, 30 s (for mltoken_login() 30
 * minutes). A negative one is MLTOKEN_EINVAL. After MLTOKEN_ETIMEOUT the call is cancelled. `request` may be NULL. Any
 * code above may be returned; *ret is only set on success. */

/* The token for a request. *ret_token is the caller's, for mltoken_free(). */
int mltoken_get(mltoken_handle *handle, const mltoken_request *request, int timeout_ms, mltoken_token **ret_token);

/* Called with what a person has to be shown; the prompt is valid during the call. It may come again, for instance with
 * a new code. Not 0 cancels the sign-in with MLTOKEN_ECANCELLED. It may use the handle's details, not start another
 * call. */
typedef int mltoken_prompt_fn(void *arg, const mltoken_prompt *prompt);
/* Signs a person in. Afterwards mltoken_account() tells who that is. */
int mltoken_login(mltoken_handle *handle, const mltoken_request *request, int timeout_ms, mltoken_prompt_fn *prompt,
                  void *arg);

/* Follows a profile's token: starts, then mltoken_next() gives the token as it is now and after that each renewal. Only
 * the request's profile counts. The watch takes the handle until mltoken_cancel() or an error. Does not wait; fails
 * with MLTOKEN_EINVAL, MLTOKEN_EINUSE, MLTOKEN_ENOMEM. */
int mltoken_watch(mltoken_handle *handle, const mltoken_request *request);
/* The next token of a watch, the caller's, for mltoken_free(). MLTOKEN_ETIMEOUT is no end: call it again. Without a
 * watch it fails with MLTOKEN_EINVAL. */
int mltoken_next(mltoken_handle *handle, int timeout_ms, mltoken_token **ret_token);

/* ---- the same for event loops ----
 * Start a call, then wait until mltoken_fd() is ready for mltoken_events() or mltoken_timeout() has passed, call
 * mltoken_process(), and so on until there is an event or an error. None of these waits. Ask for descriptor, events and
 * timeout anew after each mltoken_process(): a connection may have been made anew. Deadlines are yours:
 * mltoken_cancel(). */
typedef enum mltoken_event {
    MLTOKEN_NOTHING = 0,  /* not yet */
    MLTOKEN_TOKEN = 1,    /* mltoken_take() has it; after mltoken_start_get() the call is over */
    MLTOKEN_PROMPT = 2,   /* mltoken_shown() has it; the sign-in goes on */
    MLTOKEN_SIGNED_IN = 3 /* the sign-in is over */
} mltoken_event;

/* Each fails with MLTOKEN_EINVAL, MLTOKEN_EINUSE, MLTOKEN_ENOMEM; the request is not needed afterwards. */
int mltoken_start_get(mltoken_handle *handle, const mltoken_request *request);
int mltoken_start_login(mltoken_handle *handle, const mltoken_request *request);
/* The descriptor to wait for, the handle's own; -1 when there is none (wait for the timeout alone). */
int mltoken_fd(mltoken_handle *handle);
/* POLLIN or POLLOUT, as for poll(2); 0 when no call is under way. */
int mltoken_events(mltoken_handle *handle);
/* Milliseconds after which mltoken_process() must be called even if nothing is ready: 0 when the next answer is there
 * already, -1 when there is no such time. */
int mltoken_timeout(mltoken_handle *handle);
/* Does what can be done at once: 0 and *ret_event, or any code above; an error ends the call. MLTOKEN_EINVAL when no
 * call was started. */
int mltoken_process(mltoken_handle *handle, mltoken_event *ret_event);
/* The token of the last MLTOKEN_TOKEN, for mltoken_free(); MLTOKEN_EINVAL when there is none. */
int mltoken_take(mltoken_handle *handle, mltoken_token **ret_token);
/* The prompt of the last MLTOKEN_PROMPT, or NULL; valid until the next mltoken_process(). */
const mltoken_prompt *mltoken_shown(mltoken_handle *handle);
/* Who signed in with the last sign-in on this handle, or NULL when the authority did not say; the handle's, valid until
 * its next sign-in. */
const char *mltoken_account(mltoken_handle *handle);

/* ---- tokens ---- */

/* Overwrites the token's bytes and frees it. NULL is allowed. */
void mltoken_free(mltoken_token *token);
const char *mltoken_token_value(const mltoken_token *token);  /* bytes 0x21 to 0x7E only; never NULL */
const char *mltoken_token_header(const mltoken_token *token); /* "Authorization: Bearer ..."; never NULL */
const char *mltoken_token_type(const mltoken_token *token);   /* "Bearer"; never NULL */
uint64_t mltoken_token_expires_at(const mltoken_token *token);
uint64_t mltoken_token_refresh_at(const mltoken_token *token); /* when the agent will renew it by itself */
const char *mltoken_token_profile(const mltoken_token *token); /* never NULL */
/* NULL when it has none. */
const char *mltoken_token_account(const mltoken_token *token);
const char *mltoken_token_resource(const mltoken_token *token);
const char *mltoken_token_audience(const mltoken_token *token);
size_t mltoken_token_scopes(const mltoken_token *token); /* how many there are */
/* NULL when there are not so many. */
const char *mltoken_token_scope(const mltoken_token *token, size_t index);

/* ---- prompts ---- */

/* What a person is to do. More kinds may come; show the message for one that you do not know. */
typedef enum mltoken_prompt_kind {
    MLTOKEN_PROMPT_OTHER = 0,
    MLTOKEN_PROMPT_DEVICE = 1,  /* open the URI anywhere, type the code (RFC 8628) */
    MLTOKEN_PROMPT_BROWSER = 2, /* open the URI in a browser on this host; or the complete one in a browser elsewhere,
                                   and give the address at which that ends to mltoken_answer() */
    MLTOKEN_PROMPT_SECRET = 3   /* ask for mltoken_prompt_name(), without echo, and give it to mltoken_answer() */
} mltoken_prompt_kind;

mltoken_prompt_kind mltoken_prompt_kind_of(const mltoken_prompt *prompt);
/* Each is NULL when the authority gave none. Check the URI before you open it: it is the authority's. */
const char *mltoken_prompt_uri(const mltoken_prompt *prompt);
const char *
mltoken_prompt_uri_complete(const mltoken_prompt *prompt); /* of a device: with the code in it, for a QR code */
const char *mltoken_prompt_user_code(const mltoken_prompt *prompt);
const char *mltoken_prompt_message(const mltoken_prompt *prompt);
uint64_t mltoken_prompt_expires_at(const mltoken_prompt *prompt);
const char *mltoken_prompt_name(const mltoken_prompt *prompt);    /* of what a person is to type: "password" */
const char *mltoken_prompt_session(const mltoken_prompt *prompt); /* for mltoken_answer(); never NULL */

/* Gives what a person typed to the sign-in that showed the prompt. `handle` must be another one: that of the sign-in
 * is in use. The string is not kept. MLTOKEN_EDENIED: it is not where this sign-in's browser ended; the sign-in goes on
 * and takes another. */
int mltoken_answer(mltoken_handle *handle, const char *session, const char *value, int timeout_ms);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
