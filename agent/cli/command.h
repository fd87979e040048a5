/* What the files of the mltoken command share. Each command is one function in one file; main.c wires them. Results go
 * to stdout through output.h, everything else to stderr; each function that returns an `int` exit code has said why. */
#pragma once

#include "client_internal.h"
#include "json.h"
#include "mltoken.h"
#include <stdbool.h>

enum exit_code { /* INTERFACE section 4 */
                 EXIT_DONE = 0,
                 EXIT_FAILED = 1,
                 EXIT_USAGE = 2,
                 EXIT_CONFIGURATION = 3,
                 EXIT_LOGIN = 4,
                 EXIT_REFUSED = 5,
                 EXIT_UNREACHABLE = 6,
                 EXIT_NO_AGENT = 7,
                 EXIT_LOCKED = 8,
                 EXIT_TOO_SHORT = 9,
                 EXIT_EXEC_FAILED = 125,
                 EXIT_NOT_EXECUTABLE = 126,
                 EXIT_NOT_FOUND = 127,
                 EXIT_INTERRUPTED = 130,
};

struct context {
    const char *socket; /* --socket, or NULL */
    bool json, quiet;
    bool no_start;          /* when no agent runs, none is started */
    mltoken_handle *handle; /* after context_open() */
};

int command_get(struct context *, int argc, char **argv);
int command_login(struct context *, int argc, char **argv);
int command_logout(struct context *, int argc, char **argv);
int command_status(struct context *, int argc, char **argv);
int command_show(struct context *, int argc, char **argv);
int command_verify(struct context *, int argc, char **argv);
int command_secret(struct context *, int argc, char **argv);
int command_rotate(struct context *, int argc, char **argv);
int command_lock(struct context *, int argc, char **argv);
int command_unlock(struct context *, int argc, char **argv);
int command_exec(struct context *, int argc, char **argv);
int command_config(struct context *, int argc, char **argv);
int command_log(struct context *, int argc, char **argv);
int command_doctor(struct context *, int argc, char **argv);

/* start.c: makes the handle and connects it, starting an agent if there is none. An exit code. */
int context_open(struct context *);
/* Runs the agent's program with one or two arguments, waits, and returns its exit status (or EXIT_FAILED). */
int agent_run(const char *option, const char *argument);

/* call.c: what most commands are, one call with one reply. What fails while it is put together is kept for call_run().
 */
struct call {
    const char *method;  /* with its interface */
    const char *failure; /* "cannot sign out" */
    const char *profile; /* which it is about, to be named in a complaint; or NULL */
    int64_t patience_ms; /* 0: LIMIT_CALL_MS */
    json_object *parameters;
    bool failed;
};
void call_text(struct call *, const char *name, const char *value); /* NULL puts nothing */
void call_flag(struct call *, const char *name, bool value);        /* false puts nothing */
/* Opens the agent, calls it, and says what went wrong. Takes the parameters, whatever comes. EXIT_DONE and *ret (for
 * json_wipe()), or an exit code. */
int call_run(struct context *, struct call *, json_object **ret);

/* One call with one reply. Takes `parameters` (NULL: none). 0 and *ret (for json_wipe()), or MLTOKEN_E... */
int agent_call(struct context *, const char *method, json_object *parameters, json_object **ret);
/* A call with `more`: `each` gets every reply; not 0 from it ends the call with that. */
typedef int reply_fn(void *arg, json_object *parameters);
int agent_call_more(struct context *, const char *method, json_object *parameters, reply_fn *each, void *arg);

/* login.c: signs in; the parts that a person sees go to stderr, replies with --json to stdout. An exit code. */
struct login {
    const mltoken_request *request;
    const char *profile; /* NULL: the default one */
    bool no_qr, browser;
    bool no_browser; /* it is elsewhere: the address at which it ends is typed here */
    bool switch_account;
    bool aside; /* for `get --login`: stdout is not ours */
};
int login_run(struct context *, const struct login *);

/* qr.c: shows `text` as a QR code on stderr; false when it cannot (no library, no UTF-8, too long). */
bool qr_show(const char *text);
