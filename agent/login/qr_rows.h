/* A QR code as text, for whoever draws it: rows of 0 and 1 (a dark module) with "\n" between them, without the light
 * border that belongs around. */
#pragma once

#include "buffer.h"

/* 0; -ENOENT: libqrencode is not there; -EINVAL: no code holds the text; or the buffer's error. */
int qr_rows(const char *text, struct buffer *to);
