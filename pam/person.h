/* A user of the system, as the user database tells. struct person owns its memory; the environment is not looked at. */
#pragma once

#include <sys/types.h>

struct person {
    uid_t uid;
    gid_t gid;
    char *name; /* as in the database */
};

/* 0, -ENOENT: there is none, -ENOMEM, or another negative errno: it cannot be told. */
int person_find(const char *name, struct person *ret);
void person_free(struct person *);

#define _cleanup_person_ __attribute__((cleanup(person_free)))
