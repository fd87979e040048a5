#include "login/wanted.h"

#include "cleanup.h"
#include "lines.h"
#include "text.h"
#include <errno.h>

static const char usage[] = "usage: mltoken-pam-login --map [--config FILE] [--profile NAME] [--user NAME]\n"
                            "Signs you in and prints your line of the map file of pam_mltoken(8), which has the "
                            "options that the module uses.\n";

enum option { CONFIG, PROFILE, MAX_WAIT, CLAIM, HOST, USER, MAP, VERIFY, QR, DEBUG, HELP };
static const char *const names[] = {"--config", "--profile", "--max-wait", "--claim", "--verification-host",
                                    "--user",   "--map",     "--verify",   "--qr",    "--debug",
                                    "--help"};

static int complain(char problem[static LIMIT_TEXT], const char *option, const char *what)
{
    char clean[LIMIT_CODE];
    text_clean_into(clean, sizeof(clean), span_of(option));
    (void)snprintf(problem, LIMIT_TEXT, "%s: %s", clean, what);
    return -EINVAL;
}

static int add_claim(struct wanted *wanted, const char *name, char problem[static LIMIT_TEXT])
{
    if (!line_claim_sound(name))
        return complain(problem, name, "is no name of a claim: " LINE_CLAIM_FORM);
    for (size_t i = 0; i < wanted->claim_count; i++)
        if (strcmp(wanted->claims[i], name) == 0)
            return 0;
    if (wanted->claim_count == ELEMENTS(wanted->claims))
        return complain(problem, name, "is one claim too many");
    wanted->claims[wanted->claim_count++] = name;
    return 0;
}

static int add_host(struct wanted *wanted, const char *name, char problem[static LIMIT_TEXT])
{
    if (!*name || strlen(name) > LIMIT_HOST)
        return complain(problem, name, "is no name of a host");
    if (wanted->host_count == ELEMENTS(wanted->hosts) - 1)
        return complain(problem, name, "is one host too many");
    wanted->hosts[wanted->host_count++] = name;
    return 0;
}

static int set_wait(struct wanted *wanted, const char *text, char problem[static LIMIT_TEXT])
{
    size_t length = strspn(text, "0123456789");
    long seconds = length > 0 && length <= 6 && !text[length] ? strtol(text, NULL, 10) : 0;
    if (seconds < 1 || seconds > LIMIT_LOGIN_WAIT_S)
        return complain(problem, "--max-wait", "is a number of seconds from 1 to 3600");
    wanted->wait_ms = seconds * 1000;
    return 0;
}

static int set(struct wanted *wanted, enum option option, const char *value, char problem[static LIMIT_TEXT])
{
    switch (option) {
    case CONFIG:
        wanted->config = value;
        return 0;
    case PROFILE:
        wanted->profile = value;
        return 0;
    case USER:
        wanted->user = value;
        return 0;
    case MAX_WAIT:
        return set_wait(wanted, value, problem);
    case CLAIM:
        return add_claim(wanted, value, problem);
    case HOST:
        return add_host(wanted, value, problem);
    case MAP:
        wanted->what = WANTED_MAP;
        return 0;
    case VERIFY:
        wanted->what = WANTED_VERIFY;
        return 0;
    case QR:
        wanted->qr = true;
        return 0;
    case DEBUG:
        wanted->debug = true;
        return 0;
    case HELP:
        (void)fputs(usage, stdout);
        return 1;
    }
    return -EINVAL;
}

int wanted_read(char *const argv[], struct wanted *ret, char problem[static LIMIT_TEXT])
{
    struct wanted wanted = {.config = MLTOKEN_SYSCONFDIR "/mltoken/pam.conf"};
    for (char *const *arg = argv[0] ? argv + 1 : argv; *arg; arg++) {
        size_t option = 0;
        while (option < ELEMENTS(names) && strcmp(*arg, names[option]) != 0)
            option++;
        if (option == ELEMENTS(names))
            return complain(problem, *arg, "unknown option");
        bool valued = option < MAP;
        if (valued && !arg[1])
            return complain(problem, *arg, "needs a value");
        arg += valued;
        int r = set(&wanted, (enum option)option, *arg, problem);
        if (r != 0)
            return r;
    }
    if (!wanted.wait_ms)
        wanted.wait_ms = (wanted.what == WANTED_MAP ? LIMIT_DEVICE_CODE_S : DEFAULT_LOGIN_WAIT_S) * 1000L;
    *ret = wanted;
    return 0;
}
