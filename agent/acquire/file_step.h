/* STEP_READ: a file that the platform put there. The worker opens it, since a file may block. */
#pragma once

#include "acquire/flight.h"

/* Starts the flight's step; the answer goes to it. 0 or a negative errno. */
int file_step_start(struct flight *);
