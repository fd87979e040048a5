/* The folders below /run/mltoken that are the module's alone: handoff (records) and rate (counts).
 * What always holds: such a folder is a real one, belongs to us, and nobody else can look into it; all files in it are
 * reached through its descriptor. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Opens RUN/NAME, and makes what is missing of it: 0, or a negative errno; -EPERM when somebody else made it. */
int place_open(const char *run, const char *name, int *ret_fd);
/* Removes files that were written longer than `age_s` ago, or that claim to be from the future. */
void place_sweep(int fd, int64_t age_s);
