#include "conversation.h"

#include "cleanup.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <strings.h>

static const struct pam_conv *find_conversation(pam_handle_t *pamh)
{
    const void *item = NULL;
    if (pam_get_item(pamh, PAM_CONV, &item) != PAM_SUCCESS || !item)
        return NULL;
    const struct pam_conv *conversation = item;
    return conversation->conv ? conversation : NULL;
}

static bool at_terminal(const pam_handle_t *pamh)
{
    static const char devices[] = "/dev/";
    const void *item = NULL;
    return pam_get_item(pamh, PAM_TTY, &item) == PAM_SUCCESS && item &&
           strncmp(item, devices, sizeof(devices) - 1) == 0;
}

int talk_check(pam_handle_t *pamh, int flags)
{
    /* who asks for silence has mostly a password at hand, and gives it to each prompt; sudo does, and has a person */
    bool asks = !((unsigned)flags & PAM_SILENT) || at_terminal(pamh);
    return find_conversation(pamh) && asks ? PAM_SUCCESS : PAM_CONV_ERR;
}

static int say_one(pam_handle_t *pamh, int style, const char *text, struct pam_response **ret)
{
    const struct pam_conv *conversation = find_conversation(pamh);
    const struct pam_message message = {.msg_style = style, .msg = text};
    const struct pam_message *messages[] = {&message};
    *ret = NULL;
    return conversation ? conversation->conv(1, messages, ret, conversation->appdata_ptr) : PAM_CONV_ERR;
}

static void forget(struct pam_response *response)
{
    if (response)
        response->resp = wipe_free(response->resp);
    free(response);
}

int talk_ask(pam_handle_t *pamh, const char *prompt)
{
    struct pam_response *response = NULL;
    int r = say_one(pamh, PAM_PROMPT_ECHO_OFF, prompt, &response);
    bool answered = r == PAM_SUCCESS && response && response->resp; /* without: the end of the terminal's input */
    if (r == PAM_SUCCESS)
        forget(response); /* else it is not known to be one */
    return answered ? PAM_SUCCESS : PAM_CONV_ERR;
}

void talk_tell(pam_handle_t *pamh, int flags, int style, const char *text)
{
    struct pam_response *response = NULL;
    if (!((unsigned)flags & PAM_SILENT) && say_one(pamh, style, text, &response) == PAM_SUCCESS)
        forget(response);
}

int prompt_write(const struct prompt_facts *facts, char to[static LIMIT_PAM_PROMPT + 1])
{
    /* short enough that the address has room */
    char user[36], service[20], machine[36], from[48];
    bool remote = facts->from && *facts->from;
    text_clean_into(user, sizeof(user), span_of(facts->user));
    text_clean_into(service, sizeof(service), span_of(facts->service));
    text_clean_into(machine, sizeof(machine), span_of(facts->machine));
    text_clean_into(from, sizeof(from), span_of(remote ? facts->from : "this machine"));
    int n = snprintf(to, LIMIT_PAM_PROMPT + 1,
                     "%sSign in as %s on %s (%s, from %s):\n  open  %s\n  code  %s\n"
                     "Never enter a code that someone sent you.\nPress Enter when you have signed in: ",
                     facts->again ? "Not signed in yet.\n" : "", user, machine, service, from, facts->uri, facts->code);
    return n < 0 || n > LIMIT_PAM_PROMPT ? -EMSGSIZE : 0;
}

static bool plain(const char *text, size_t most)
{
    struct span span = span_of(text);
    return span.length > 0 && span.length <= most && text_plain(span) == span.length;
}

static bool host_listed(struct span host, char *const *hosts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(hosts[i]) == host.length && strncasecmp(hosts[i], host.data, host.length) == 0)
            return true;
    return count == 0;
}

/* The host of an address, without port: what a browser takes it for, or else nothing. */
static struct span uri_host(const char *rest)
{
    struct span host = {rest, strcspn(rest, "/?#")};
    struct span port = {rest, strcspn(rest, ":")};
    for (size_t i = 0; i < host.length; i++) {
        char c = host.data[i];
        if (c == '@' || c == '\\' || c == '%')
            return (struct span){0};
    }
    if (*rest == '[') {
        const char *end = memchr(rest, ']', host.length);
        return end ? (struct span){rest, (size_t)(end - rest) + 1} : (struct span){0};
    }
    return port.length < host.length ? port : host;
}

const char *prompt_problem(const char *uri, const char *code, char *const *hosts, size_t host_count)
{
    static const char https[] = "https://";
    if (!plain(uri, LIMIT_PAM_PROMPT) || strchr(uri, ' '))
        return "the address is no plain text";
    if (strncasecmp(uri, https, sizeof(https) - 1) != 0)
        return "the address is not https";
    if (!plain(code, LIMIT_CODE))
        return "the code is no plain text";
    struct span host = uri_host(uri + sizeof(https) - 1);
    if (host.length == 0)
        return "the address has no plain host";
    return host_listed(host, hosts, host_count) ? NULL
                                                : "the address is of a host that verification_hosts does not name";
}

/* ---- QR codes ---- */

enum { QR_LEAST = 21, QR_MOST = 93, QR_QUIET = 2 }; /* above, a row would be longer than a message may be */

/* The side of the square, or 0. */
static size_t square_side(struct span rows)
{
    const char *end = rows.length > 0 ? memchr(rows.data, '\n', rows.length) : NULL;
    size_t side = end ? (size_t)(end - rows.data) : 0;
    if (side < QR_LEAST || side > QR_MOST || rows.length != side * (side + 1) - 1)
        return 0;
    for (size_t i = 0; i < rows.length; i++)
        if (i % (side + 1) == side ? rows.data[i] != '\n' : rows.data[i] != '0' && rows.data[i] != '1')
            return 0;
    return side;
}

/* Light is what a terminal of light letters draws; what is outside is light too. */
static bool is_light(struct span rows, size_t side, size_t row, size_t column)
{
    if (row < QR_QUIET || column < QR_QUIET || row >= side + QR_QUIET || column >= side + QR_QUIET)
        return true;
    return rows.data[(row - QR_QUIET) * (side + 1) + column - QR_QUIET] == '0';
}

void talk_draw(pam_handle_t *pamh, int flags, struct span rows)
{
    static const char *const halves[] = {" ", "\xe2\x96\x84", "\xe2\x96\x80", "\xe2\x96\x88"};
    size_t side = square_side(rows);
    for (size_t row = 0; side > 0 && row < side + 2 * QR_QUIET; row += 2) {
        char line[(QR_MOST + 2 * QR_QUIET) * 3 + 1];
        size_t used = 0;
        for (size_t column = 0; column < side + 2 * QR_QUIET; column++) {
            unsigned upper = is_light(rows, side, row, column), lower = is_light(rows, side, row + 1, column);
            const char *half = halves[upper << 1 | lower];
            size_t length = strlen(half);
            memcpy(line + used, half, length);
            used += length;
        }
        line[used] = '\0';
        talk_tell(pamh, flags, PAM_TEXT_INFO, line);
    }
}
