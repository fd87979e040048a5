/* STEP_FILE: a token that somebody else keeps in a file, such as a projected one that is replaced in place: read anew
 * each time, by the worker. */
#pragma once

struct flight;

/* 0: the flight is answered; -ENOMEM. `key` says in messages what the file is for; both live as long as the flight. */
int token_file_start(struct flight *, const char *path, const char *key);
