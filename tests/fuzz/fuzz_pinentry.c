/* libFuzzer: what a pinentry says, in pieces, and what is shown to it. What must hold: no crash; each piece is answered
 * with whole lines within Assuan's bound; nothing is allowed before the question was put; what was shown is one line
 * without control characters. The first byte tells how long pieces are, the second how much of the rest is shown. */
#include "buffer.h"
#include "server/assuan.h"
#include "server/pinentry.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            __builtin_trap();                                                                                          \
    } while (0)

static void check_lines(struct span lines)
{
    while (lines.length > 0) {
        const char *end = memchr(lines.data, '\n', lines.length);
        CHECK(end && end - lines.data <= ASSUAN_LINE);
        for (const char *at = lines.data; at < end; at++)
            CHECK((unsigned char)*at >= 0x20 && *at != 0x7f);
        lines.length -= (size_t)(end + 1 - lines.data);
        lines.data = end + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t piece = 1u + data[0], shown = data[1] < size - 2 ? data[1] : size - 2;
    char *text = strndup((const char *)data + 2, shown);
    CHECK(text);
    const struct pinentry_question question = {.program = text,
                                               .application = text,
                                               .profile = "p",
                                               .account = text,
                                               .terminal = "/dev/pts/1",
                                               .locale = "C",
                                               .pid = 1,
                                               .timeout_s = 60};
    struct pinentry pinentry = {.question = &question};
    enum pinentry_verdict verdict = PINENTRY_TALKS;
    bool asked = false;
    for (size_t at = 2 + shown; at < size && verdict == PINENTRY_TALKS; at += piece) {
        struct span bytes = {(const char *)data + at, size - at < piece ? size - at : piece};
        _cleanup_buffer_ struct buffer say = BUFFER(4096);
        verdict = pinentry_hear(&pinentry, bytes, &say);
        CHECK(verdict != PINENTRY_ALLOWED || asked);
        check_lines(buffer_span(&say));
        asked = asked || (say.length >= 8 && memcmp(say.data + say.length - 8, "CONFIRM\n", 8) == 0);
    }
    CHECK((verdict == PINENTRY_BROKEN) == (*pinentry.problem != '\0'));
    pinentry_clear(&pinentry);
    free(text);
    return 0;
}
