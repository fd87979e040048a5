#include "login/mapping.h"

#include "cleanup.h"
#include "lines.h"
#include "text.h"
#include <stdio.h>

static int show_prompt(void *arg, const struct prompt_step *prompt, int64_t life_s)
{
    char life[32];
    (void)arg;
    text_duration(life, sizeof(life), life_s);
    (void)fprintf(stderr, "To sign in, open  %s\nand enter the code  %s\n(within %s)\n", prompt->verification_uri,
                  prompt->user_code, life);
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

/* The fields of the map file have no blanks in them, and its lines no comments behind them. */
static bool is_word(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f || *text == '#')
            return false;
    return true;
}

/* Of Entra a person is one tenant's object: `sub` is another one for each client there. */
static int show_line(void *arg, struct buffer *said)
{
    const struct mapping *mapping = arg;
    const char *issuer, *subject, *tenant, *object, *user = mapping->wanted->user ? mapping->wanted->user : "USER";
    _cleanup_line_ struct line line = {0};
    int r = line_parse((struct span){said->data, said->length - 1}, &line);
    if (r == 0)
        r = line_text(&line, "issuer", &issuer);
    if (r == 0)
        r = line_text(&line, "sub", &subject);
    if (r < 0)
        return r;
    bool entra = line_text(&line, "tid", &tenant) == 0 && line_text(&line, "oid", &object) == 0;
    if (!is_word(issuer) || !is_word(subject) || !is_word(user) || (entra && (!is_word(tenant) || !is_word(object))))
        return show_failure(NULL, FAILING_INTERNAL, "the subject has characters that the map file has no room for");
    if (entra)
        (void)printf("%s tid:%s;oid:%s %s\n", issuer, tenant, object, user);
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
