/* What one resource of Azure is asked to do, with the token of the profile's parent: Azure Resource Manager and the
 * model-management service before it (WIRE sections 4 and 5). The sub-machine of the grants that hand out what such a
 * resource has: it asks for PARENT, then HTTP; an operation that goes on behind its answer is looked after with WAIT
 * and HTTP until it has ended.
 *
 * The resource is the profile's `authority`, its whole address. The parent's token goes to that origin alone: an
 * operation that is said to be elsewhere is not looked for there. A token that is refused as such (401) is asked for
 * anew once.
 *
 * Owner: the grant's state. What was sent is wiped by arm_end(). */
#pragma once

#include "buffer.h"
#include "grant/grant.h"
#include "grant/slot.h"

struct json_object;

enum arm_kind { ARM_ENDPOINT, ARM_SERVICE, ARM_ACCOUNT, ARM_KINDS };
enum arm_action { ARM_LIST_KEYS, ARM_REGENERATE, ARM_TOKEN, ARM_ACTIONS };

struct arm_dialect {
    const char *what;                 /* for people */
    const char *actions[ARM_ACTIONS]; /* the last segment of an address; NULL: there is no such */
    const char *permission;           /* what an identity must be allowed, before the action; NULL: not known */
    const char *version;              /* api-version; NULL: none is sent */
    const char *keys[SLOTS];          /* members */
    const char *regenerate[SLOTS];    /* bodies */
    bool answers_keys;                /* to regenerating, at once */
};

/* By an address: NULL when it is none of them. */
const struct arm_dialect *arm_dialect_of(const char *authority, enum arm_kind *ret_kind);
/* What is wrong with a value of the key api_version, or NULL. */
const char *arm_check_version(const char *value);

struct arm {
    const struct profile *profile;
    const struct arm_dialect *dialect;
    enum arm_action action;
    enum { ARM_ASKING_PARENT, ARM_SENDING, ARM_WAITING, ARM_LOOKING } phase;
    bool refreshed; /* the parent was asked for a new token */
    int64_t began_ms;
    struct span content;
    struct buffer url, poll, authorization;
};

void arm_open(struct arm *, const struct profile *);
/* Begins an action. The body is JSON and must live on; empty for none. */
int arm_begin(struct arm *, enum arm_action, const char *body, const struct tick *, struct step *ret);
/* 0: *ret_done says whether it has ended well, then *ret_json is the answer's object, for json_wipe(), or NULL;
 * otherwise *ret is the next step, which may be FAIL. */
int arm_next(struct arm *, const struct answer *, const struct tick *, struct step *ret, struct json_object **ret_json,
             bool *ret_done);
void arm_end(struct arm *);
