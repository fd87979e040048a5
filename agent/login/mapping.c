#include "login/mapping.h"

#include "cleanup.h"
#include "lines.h"
#include "login/qr_rows.h"
#include "text.h"
#include <stdio.h>
#include <sys/ioctl.h>

static bool is_dark(const char *rows, int width, int x, int y)
{
    return x >= 0 && y >= 0 && x < width && y < width && rows[y * (width + 1) + x] == '1';
}

/* Where the terminal can: dark on light whatever its colours are, two rows of modules to a line. */
static void show_picture(const char *address)
{
    static const char *const blocks[] = {" ", "\u2584", "\u2580", "\u2588"};
    _cleanup_buffer_ struct buffer rows = BUFFER(LIMIT_LINE / 2);
    const char *language = getenv("LC_ALL") ? getenv("LC_ALL") : getenv("LANG");
    struct winsize size;
    if (!language || !strcasestr(language, "utf") || ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 ||
        qr_rows(address, &rows) < 0)
        return;
    int width = (int)strcspn(rows.data, "\n");
    if (width + 8 > size.ws_col)
        return;
    for (int y = -4; y < width + 4; y += 2) {
        (void)fputs("\033[30;107m", stderr);
        for (int x = -4; x < width + 4; x++)
            (void)fputs(blocks[2 * is_dark(rows.data, width, x, y) + is_dark(rows.data, width, x, y + 1)], stderr);
        (void)fputs("\033[0m\n", stderr);
    }
}

static int show_prompt(void *arg, const struct prompt_step *prompt, int64_t life_s)
{
    char life[32];
    (void)arg;
    text_duration(life, sizeof(life), life_s);
    (void)fprintf(stderr, "To sign in, open  %s\nand enter the code  %s\n(within %s)\n", prompt->verification_uri,
                  prompt->user_code, life);
    show_picture(prompt->verification_uri_complete ? prompt->verification_uri_complete : prompt->verification_uri);
    return 0;
}

static int keep_quiet(void *arg)
{
    (void)arg;
    return 0;
}

static int show_failure(void *arg, enum failing failing, const char *text)
{
    char clean[LIMIT_PROBLEM];
    (void)arg;
    (void)failing;
    text_clean_into(clean, sizeof(clean), span_of(text));
    (void)fprintf(stderr, "mltoken-pam-login: %s\n", clean);
    return 0;
}

/* What a field of the map file may hold (pam/mapping.h). */
static bool is_word(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f)
            return false;
    return true;
}

/* Of Entra a person is one tenant's object: `sub` is another one for each client there. */
static int show_line(void *arg, struct buffer *said)
{
    const struct mapping *mapping = arg;
    const char *issuer = "", *subject = "", *tenant = "", *object = "",
               *user = mapping->wanted->user ? mapping->wanted->user : "USER";
    _cleanup_line_ struct line line = {0};
    int r = line_parse((struct span){said->data, said->length - 1}, &line);
    if (r == 0)
        r = line_text(&line, "issuer", &issuer);
    if (r == 0)
        r = line_text(&line, "sub", &subject);
    if (r < 0)
        return r;
    bool entra = line_text(&line, "tid", &tenant) == 0 && line_text(&line, "oid", &object) == 0;
    if (!is_word(issuer) || !is_word(user) || *user == '#' || !is_word(subject) ||
        (entra && (!is_word(tenant) || !is_word(object) || strchr(tenant, ',') || strchr(object, ','))))
        return show_failure(NULL, FAILING_INTERNAL, "the subject has characters that the map file has no room for");
    if (entra)
        (void)printf("%s tid:%s,oid:%s %s\n", issuer, tenant, object, user);
    else
        (void)printf("%s sub:%s %s\n", issuer, subject, user);
    return fflush(stdout) == 0 ? 0 : -1;
}

struct voice mapping_voice(struct mapping *mapping, const struct wanted *wanted)
{
    *mapping = (struct mapping){.wanted = wanted};
    return (struct voice){
        .prompt = show_prompt, .pending = keep_quiet, .done = show_line, .fail = show_failure, .arg = mapping};
}
