/* libqrencode is loaded here, when it is needed: it need not be there. */
#include "login/qr_rows.h"

#include <dlfcn.h>
#include <errno.h>
#include <qrencode.h>

typedef QRcode *encode_fn(const char *, int, QRecLevel, QRencodeMode, int);
typedef void free_fn(QRcode *);

static int write_rows(const QRcode *code, struct buffer *to)
{
    for (int y = 0; y < code->width; y++) {
        if (y > 0)
            buffer_byte(to, '\n');
        for (int x = 0; x < code->width; x++)
            buffer_byte(to, code->data[y * code->width + x] & 1 ? '1' : '0');
    }
    return buffer_error(to);
}

int qr_rows(const char *text, struct buffer *to)
{
    void *library = dlopen("libqrencode.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return -ENOENT;
    encode_fn *encode = NULL;
    free_fn *release = NULL;
    *(void **)&encode = dlsym(library, "QRcode_encodeString");
    *(void **)&release = dlsym(library, "QRcode_free");
    QRcode *code = encode && release ? encode(text, 0, QR_ECLEVEL_L, QR_MODE_8, 1) : NULL;
    int r = code ? write_rows(code, to) : -EINVAL;
    if (code)
        release(code);
    (void)dlclose(library);
    return r;
}
