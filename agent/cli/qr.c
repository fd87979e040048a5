/* A QR code by half blocks. libqrencode is loaded here, when it is needed: linked, it would slow down each `get`. */
#include "command.h"

#include "buffer.h"
#include "cleanup.h"
#include <dlfcn.h>
#include <qrencode.h>
#include <sys/ioctl.h>

/* What people set; setlocale() would read files at each start for this one question. */
static bool utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static bool dark(const QRcode *code, int x, int y)
{
    return x >= 0 && y >= 0 && x < code->width && y < code->width && (code->data[y * code->width + x] & 1);
}

/* Dark on light whatever the terminal's colours are: two rows of modules to a line, and a quiet zone of four */
static void draw(struct buffer *to, const QRcode *code)
{
    static const char *const blocks[] = {" ", "\u2584", "\u2580", "\u2588"};
    for (int y = -4; y < code->width + 4; y += 2) {
        buffer_text(to, "\033[30;107m");
        for (int x = -4; x < code->width + 4; x++)
            buffer_text(to, blocks[2 * dark(code, x, y) + dark(code, x, y + 1)]);
        buffer_text(to, "\033[0m\n");
    }
}

typedef QRcode *encode_fn(const char *, int, QRecLevel, QRencodeMode, int);
typedef void free_fn(QRcode *);

/* How many columns the terminal has; 80 when it does not say. */
static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool qr_show(const char *text)
{
    const char *terminal = getenv("TERM");
    if (!utf8() || !terminal || strcmp(terminal, "dumb") == 0)
        return false;
    void *library = dlopen("libqrencode.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    encode_fn *encode = NULL;
    free_fn *release = NULL;
    *(void **)&encode = dlsym(library, "QRcode_encodeString");
    *(void **)&release = dlsym(library, "QRcode_free");
    QRcode *code = encode && release ? encode(text, 0, QR_ECLEVEL_L, QR_MODE_8, 1) : NULL;
    bool shown = code && code->width + 8 <= columns();
    if (shown) {
        _cleanup_buffer_ struct buffer picture = BUFFER(65536);
        draw(&picture, code);
        (void)fputs(picture.data ? picture.data : "", stderr);
    }
    if (code)
        release(code);
    (void)dlclose(library);
    return shown;
}
