/* A call: one method under way for one connection. It ends by its last reply, or when its connection closes: then what
 * it waits for is cancelled. Methods are in a table (methods.c); a method is one function that answers at once or
 * leaves something in the call that will. */
#pragma once

#include "acquire/errand.h"
#include "acquire/import.h"
#include "acquire/inquiry.h"
#include "acquire/lock.h"
#include "acquire/rotation.h"
#include "acquire/signin.h"
#include "acquire/verification.h"
#include "json.h"
#include "server/connection.h"

struct method;

struct call {
    struct connection *connection;
    const struct method *method;
    int64_t began_ms; /* CLOCK_BOOTTIME */
    bool more, oneway;
    bool waited; /* no token was there to be handed out at once */
    bool watching;
    bool remote;  /* show: the authority is asked */
    bool revoked; /* logout: of one at least */
    /* goes on when what was sent has been read, or after a yield; NULL: waits for something else */
    void (*resumed)(void *call);
    struct admission *admission; /* of a guarded profile */
    struct holder *holder;       /* of the profile that was asked for; valid while something below waits */
    char profile[LIMIT_PROFILE_NAME + 1];
    char application[LIMIT_APPLICATION + 1]; /* what the client calls itself */
    struct request request;
    struct waiter waiter;
    struct watcher watcher;
    struct login login;
    struct logout logout;
    struct rotation rotation;
    struct import import;
    struct inspection inspection;
    struct verification *verification;
    struct errand *errand;
    struct lock_call lock;
    struct failure *kept; /* logout: why a store could not forget; NULL: they all did */
    char **names;         /* logout: those that are left */
    size_t name_count;
    size_t position; /* list: the next profile */
    bool unwhole;    /* a member of the reply under way could not be put */
};

/* Begins the call that a whole message holds: 0, or -EBADMSG when it is garbage and the connection is to be closed. */
int call_begin(struct connection *, struct span message);
struct call *call_free(struct call *); /* cancels; always NULL */

/* Members of a reply under way. One that there is no memory for is remembered: the reply is not sent then, for it must
 * not lack anything silently. A NULL text and a negative time put nothing; values are taken, also on failure. */
void call_put(struct call *, json_object *, const char *name, json_object *value);
void call_put_text(struct call *, json_object *, const char *name, const char *text);
void call_put_integer(struct call *, json_object *, const char *name, int64_t value);
void call_put_time(struct call *, json_object *, const char *name, int64_t epoch_s);
void call_put_boolean(struct call *, json_object *, const char *name, bool value);
void call_add(struct call *, json_object *array, json_object *value);

/* Replies. Each takes its parameters' reference (NULL: none), and ends the call unless it continues. Without memory a
 * last reply is Busy, and where that has no room either, or more replies would follow, the connection ends. */
void call_reply(struct call *, json_object *parameters);
void call_continue(struct call *, json_object *parameters);
void call_error(struct call *, const char *name, json_object *parameters);
void call_invalid_parameter(struct call *, const char *parameter);
void call_fail(struct call *, const struct failure *); /* as an error of org.mltoken.agent */

/* ---- the table ---- */

enum parameter_type { PARAMETER_TEXT, PARAMETER_INTEGER, PARAMETER_BOOLEAN, PARAMETER_TEXTS };
struct parameter {
    const char *name;
    enum parameter_type type;
    size_t maximum; /* of a text */
    bool required;
};
struct method {
    const char *name;
    void (*run)(struct call *, json_object *parameters);
    bool needs_more;
    bool limited;      /* get.sock answers it too */
    bool while_locked; /* the others are answered with Locked then */
    struct parameter parameters[8];
};

/* The method by its full name; NULL. Also the service's own two. */
const struct method *method_find(const char *name);
bool method_interface_known(const char *name); /* of "INTERFACE.METHOD" */

void method_get_token(struct call *, json_object *);
void method_watch(struct call *, json_object *);
void method_login(struct call *, json_object *);
void method_answer(struct call *, json_object *);
void method_logout(struct call *, json_object *);
void method_list(struct call *, json_object *);
void method_show(struct call *, json_object *);
void method_verify(struct call *, json_object *);
void method_list_secrets(struct call *, json_object *);
void method_set_secret(struct call *, json_object *);
void method_move_secrets(struct call *, json_object *);
void method_rotate(struct call *, json_object *);
void method_import(struct call *, json_object *);
void method_lock(struct call *, json_object *);
void method_unlock(struct call *, json_object *);
void method_status(struct call *, json_object *);
void method_get_info(struct call *, json_object *);
void method_get_description(struct call *, json_object *);

/* Finds the profile that a call names: 0 with call->holder and call->profile set, or -1 after an error was replied. */
int call_holder(struct call *, json_object *parameters);
