/* libFuzzer: any bytes as the lines of a helper, in pieces of any size. What must hold: no crash; what is read does not
 * depend on how the bytes came; nothing is read behind a line that is none; each line is within its limits, and written
 * again it is what it was. */
#include "cleanup.h"
#include "limits.h"
#include "lines.h"
#include <stdint.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            __builtin_trap();                                                                                          \
    } while (0)

static void check_line(const struct line *line, struct buffer *again)
{
    CHECK(line->word && strlen(line->word) <= LIMIT_LINE_NAME && line->count <= LIMIT_LINE_FIELDS);
    line_begin(again, line->word);
    for (size_t i = 0; i < line->count; i++) {
        const struct line_field *field = &line->fields[i];
        CHECK(strlen(field->name) <= LIMIT_LINE_NAME && field->value.length <= LIMIT_LINE);
        CHECK(field->value.data[field->value.length] == '\0' && line_find(line, field->name));
        const char *text;
        int64_t number;
        (void)line_text(line, field->name, &text);
        (void)line_number(line, field->name, &number);
        line_put(again, field->name, field->value);
    }
    CHECK(line_end(again) == 0);
}

/* What was read, written again; pieces of `step` bytes. */
static int read_all(const uint8_t *data, size_t size, size_t step, struct buffer *again)
{
    _cleanup_lines_ struct lines lines = LINES;
    for (size_t i = 0; i < size; i += step) {
        int r = lines_feed(&lines, data + i, size - i < step ? size - i : step);
        for (struct line line; r == 0;) {
            r = lines_next(&lines, &line);
            if (r == 0)
                break;
            if (r > 0) {
                check_line(&line, again);
                line_free(&line);
                r = 0;
            }
        }
        if (r < 0) {
            struct line none;
            CHECK(lines_next(&lines, &none) == r && lines_feed(&lines, "pending\n", 8) == r);
            return r;
        }
    }
    return lines_partial(&lines) ? 1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t step = data[0] % 64 + 1u;
    _cleanup_buffer_ struct buffer one = BUFFER(4 * LIMIT_LINE);
    _cleanup_buffer_ struct buffer two = BUFFER(4 * LIMIT_LINE);
    int r = read_all(data + 1, size - 1, step, &one);
    CHECK(read_all(data + 1, size - 1, LIMIT_LINE_CHUNK, &two) == r);
    CHECK(span_equals(buffer_span(&one), buffer_span(&two)));
    /* all of it was read: it is what it was, but for a line that is not ended */
    CHECK(one.length <= size - 1 && (one.length == 0 || memcmp(one.data, data + 1, one.length) == 0));
    return 0;
}
