/* Text for people. What came from outside (authorities, claims, hints) passes through text_clean() before it is shown
 * or logged: invalid UTF-8, control, bidirectional and invisible characters become visible escapes, and it is bounded.
 */
#pragma once

#include "buffer.h"
#include "span.h"
#include <stdint.h>

/* The first character of a text that is not empty: its length and value, or 0 when it is no valid UTF-8 (overlong forms
 * and surrogates are none). */
size_t text_decode(struct span text, uint32_t *ret);

/* How many bytes at its start are printable ASCII, which most texts are from end to end: eight are looked at at once.
 */
size_t text_plain(struct span text);

/* Appends `text` cleaned; what is beyond `maximum` input bytes becomes "...", cut between characters. */
void text_clean(struct buffer *, struct span text, size_t maximum);
/* The same into an array: always terminated; what does not fit becomes "...", cut between characters. */
void text_clean_into(char *to, size_t size, struct span text);
/* Appends JSON as it stands, but with control and bidirectional characters (legal inside JSON strings) as \uXXXX. */
void text_clean_json(struct buffer *, struct span json);

/* The candidate that is nearest to what was typed, or NULL when none is near (a third of the letters may be wrong). */
const char *text_nearest(const char *typed, const char *const *candidates, size_t count);

/* "47 min 10 s", "3 d 4 h": two units at most, for a life left. `to` needs 32 bytes. */
void text_duration(char *to, size_t size, int64_t seconds);
