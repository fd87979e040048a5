/* mltoken config new: a starting configuration, or one more profile in the one that is there. Nothing that stands in a
 * file is ever changed. */
#pragma once

#include "command.h"

#define CONFIG_PATH_SIZE 4096

/* 0 or -EINVAL after a complaint. */
int config_path(char *to, size_t size);

struct new_profile {
    const char *name, *grant, *authority, *client_id, *client_secret, *scope;
};

/* config_ask.c: fills in on a terminal what was not given, and checks everything. An exit code. */
int config_ask(struct new_profile *);
/* config_new.c */
int config_new(struct context *, int argc, char **argv);
