/* libFuzzer: any bytes as a frame of the store protocol. What must hold: no crash; what is read lies inside of the
 * frame, has each key once, and is read the same when it is written again. */
#include "buffer.h"
#include "limits.h"
#include "store/protocol.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            __builtin_trap();                                                                                          \
    } while (0)

static void check_again(const struct store_frame *frame)
{
    _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_STORE_FRAME + 4);
    struct store_frame again;
    CHECK(store_frame_write(&buffer, frame->fields, frame->count, frame->value) == 0);
    ssize_t length = store_frame_find(&buffer);
    CHECK(length == (ssize_t)buffer.length);
    CHECK(store_frame_read(buffer.data, (size_t)length, &again) == 0);
    CHECK(again.count == frame->count && span_equals(again.value, frame->value));
    for (size_t i = 0; i < again.count; i++)
        CHECK(strcmp(again.fields[i].text, store_frame_text(frame, again.fields[i].key)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_frame frame;
    uint64_t number;
    _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_STORE_FRAME + 100);
    if (buffer_append(&buffer, data, size) < 0)
        return 0;
    ssize_t found = store_frame_find(&buffer);
    CHECK(found < 0 || (found >= 4 && (size_t)found <= size));
    if (size < 4 || size - 4 > LIMIT_STORE_FRAME)
        return 0;
    char *bytes = malloc(size); /* of just this size, so that a step beyond is seen */
    CHECK(bytes);
    memcpy(bytes, data, size);
    if (store_frame_read(bytes, size, &frame) == 0) {
        CHECK(frame.count <= STORE_FIELDS && frame.value.data >= bytes &&
              frame.value.data + frame.value.length == bytes + size);
        for (size_t i = 0; i < frame.count; i++) {
            CHECK(store_frame_text(&frame, frame.fields[i].key) == frame.fields[i].text);
            (void)store_frame_number(&frame, frame.fields[i].key, 1, &number);
        }
        check_again(&frame);
    }
    free(bytes);
    return 0;
}
