/* mltoken status: the agent in one line, and a table of profiles; or everything about one. */
#include "command.h"

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "text.h"
#include <errno.h>

enum { NAME, GRANT, STATE, WHO, LEFT, RENEWAL, LAST_ERROR, COLUMNS };
static const char *const titles[COLUMNS] = {"PROFILE", "GRANT", "STATE", "WHO", "LEFT", "RENEWAL", "LAST ERROR"};

struct list {
    json_object *profiles; /* an array of the agent's own objects */
    const char *wanted;    /* this one alone, or NULL */
};

static int keep(void *arg, json_object *parameters)
{
    struct list *list = arg;
    json_object *profile;
    const char *name;
    if (json_member(parameters, "profile", &profile) < 0) /* an agent without profiles */
        return 0;
    if (json_string(profile, "name", LIMIT_PROFILE_NAME, &name) < 0)
        return MLTOKEN_EPROTOCOL;
    if (list->wanted && strcmp(list->wanted, name) != 0)
        return 0;
    json_object_get(profile);
    json_object_object_del(parameters, "profile"); /* or it would be wiped with the reply */
    if (json_object_array_add(list->profiles, profile) < 0) {
        json_object_put(profile);
        return MLTOKEN_ENOMEM;
    }
    return 0;
}

/* An outsider's text, or "-" */
static void cell_text(json_object *profile, const char *member, char *to, size_t size)
{
    struct span text;
    if (json_bytes(profile, member, LIMIT_REPLY, &text) < 0 || text.length == 0)
        text = span_of("-");
    text_clean_into(to, size, text);
}

static void cell_left(json_object *profile, const char *member, char *to, size_t size)
{
    int64_t when;
    if (json_integer(profile, member, &when) < 0)
        (void)snprintf(to, size, "-");
    else if (when <= clock_wall_s())
        (void)snprintf(to, size, "%s", strcmp(member, "expiresAt") == 0 ? "expired" : "now");
    else
        text_duration(to, size, when - clock_wall_s());
}

#define CELL_SIZE 160

static void row(json_object *profile, char cells[static COLUMNS][CELL_SIZE])
{
    cell_text(profile, "name", cells[NAME], CELL_SIZE);
    cell_text(profile, "grant", cells[GRANT], CELL_SIZE);
    cell_text(profile, "state", cells[STATE], CELL_SIZE);
    cell_text(profile, "account", cells[WHO], 48);
    cell_left(profile, "expiresAt", cells[LEFT], CELL_SIZE);
    cell_left(profile, "refreshAt", cells[RENEWAL], CELL_SIZE);
    cell_text(profile, "lastError", cells[LAST_ERROR], CELL_SIZE);
}

/* In characters, not bytes; wide ones are rare in names and cost only the alignment */
static size_t width(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += (*text & 0xc0) != 0x80;
    return count;
}

static void put_row(struct buffer *to, const char *const cells[static COLUMNS], const size_t widths[static COLUMNS])
{
    for (size_t c = 0; c < COLUMNS; c++) {
        buffer_text(to, cells[c]);
        if (c + 1 < COLUMNS)
            buffer_format(to, "%*s", (int)(widths[c] - width(cells[c]) + 2), "");
    }
    buffer_byte(to, '\n');
}

static void table(struct buffer *to, json_object *profiles)
{
    size_t count = json_object_array_length(profiles), widths[COLUMNS];
    for (size_t c = 0; c < COLUMNS; c++)
        widths[c] = width(titles[c]);
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1)
            put_row(to, titles, widths);
        for (size_t i = 0; i < count; i++) {
            char cells[COLUMNS][CELL_SIZE];
            const char *pointers[COLUMNS];
            row(json_object_array_get_idx(profiles, i), cells);
            for (size_t c = 0; c < COLUMNS; c++) {
                pointers[c] = cells[c];
                if (width(cells[c]) > widths[c])
                    widths[c] = width(cells[c]);
            }
            if (pass == 1)
                put_row(to, pointers, widths);
        }
    }
}

static void say_unlocked(struct buffer *to, json_object *agent)
{
    json_object *counters;
    int64_t locked = 0;
    if (json_member(agent, "counters", &counters) < 0 || json_integer(counters, "lockedBytes", &locked) < 0 || locked)
        return;
    buffer_text(to,
                "secrets are not locked in memory and may be swapped: RLIMIT_MEMLOCK (a unit's LimitMEMLOCK=) is too "
                "small, 8M are enough\n");
}

/* Below the table: a person may be what is waited for. */
static void waits(struct buffer *to, json_object *profiles)
{
    for (size_t i = 0; i < json_object_array_length(profiles); i++) {
        json_object *profile = json_object_array_get_idx(profiles, i);
        char name[CELL_SIZE];
        struct span text;
        if (json_bytes(profile, "waiting", LIMIT_REPLY, &text) < 0 || text.length == 0)
            continue;
        cell_text(profile, "name", name, sizeof(name));
        buffer_format(to, "%s waits: ", name);
        text_clean(to, text, LIMIT_TEXT);
        buffer_byte(to, '\n');
    }
}

static void agent_line(struct buffer *to, const struct context *context, json_object *agent)
{
    char version[64], store[LIMIT_TEXT], since[TIME_SIZE];
    int64_t pid = 0, started = 0;
    bool locked = false;
    if (!agent) { /* get.sock does not tell */
        buffer_format(to, "agent at %s\n", context->handle->path.agent);
        return;
    }
    cell_text(agent, "version", version, sizeof(version));
    cell_text(agent, "store", store, sizeof(store));
    (void)json_integer(agent, "pid", &pid);
    (void)json_integer(agent, "startedAt", &started);
    output_time(since, started);
    (void)json_boolean(agent, "locked", &locked);
    buffer_format(to, "agent %s, %spid %lld, since %s, store %s, at %s\n", version, locked ? "locked, " : "",
                  (long long)pid, since, store, context->handle->path.agent);
    cell_text(agent, "lockOn", store, sizeof(store));
    if (strcmp(store, "-") != 0)
        buffer_format(to, "lock_on %s\n", store);
    say_unlocked(to, agent);
    if (strcmp(version, MLTOKEN_VERSION) != 0)
        remark(context->quiet, "mltoken: the running agent is version %s, this is %s: end it to run the new one",
               version, MLTOKEN_VERSION);
}

/* Every member the agent gave, known here or not */
static void everything(struct buffer *to, json_object *profile)
{
    json_object_object_foreach (profile, member, value) {
        if (!value)
            continue;
        char text[TIME_SIZE];
        size_t length = strlen(member);
        output_clean(to, member);
        buffer_text(to, ": ");
        if (length > 2 && strcmp(member + length - 2, "At") == 0 && json_object_is_type(value, json_type_int)) {
            output_time(text, json_object_get_int64(value));
            buffer_text(to, text);
        } else if (json_object_is_type(value, json_type_string)) {
            text_clean(to, (struct span){json_object_get_string(value), (size_t)json_object_get_string_len(value)},
                       LIMIT_URL);
        } else {
            output_clean(
                to, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        }
        buffer_byte(to, '\n');
    }
}

/* After the table, for they are no part of it. */
static void show_warnings(const struct context *context, json_object *profiles)
{
    for (size_t i = 0; i < json_object_array_length(profiles); i++) {
        json_object *profile = json_object_array_get_idx(profiles, i);
        char name[CELL_SIZE], warning[LIMIT_TEXT];
        struct span text;
        if (json_bytes(profile, "warning", LIMIT_TEXT, &text) < 0)
            continue;
        cell_text(profile, "name", name, sizeof(name));
        text_clean_into(warning, sizeof(warning), text);
        remark(context->quiet, "mltoken: %s: %s", name, warning);
    }
}

static int print(struct context *context, json_object *agent, const struct list *list)
{
    if (context->json) {
        _cleanup_json_ json_object *all = json_object_new_object();
        if (list->wanted)
            return output_json(json_object_array_get_idx(list->profiles, 0));
        if (!all || json_put(all, "agent", agent ? json_object_get(agent) : json_object_new_object()) < 0 ||
            json_put(all, "profiles", json_object_get(list->profiles)) < 0)
            return report(context, MLTOKEN_ENOMEM, "cannot show the status", NULL);
        return output_json(all);
    }
    struct buffer text = BUFFER((size_t)LIMIT_PROFILES * 1024);
    if (list->wanted) {
        everything(&text, json_object_array_get_idx(list->profiles, 0));
    } else {
        agent_line(&text, context, agent);
        if (json_object_array_length(list->profiles) > 0)
            table(&text, list->profiles), waits(&text, list->profiles);
        else
            remark(context->quiet, "there are no profiles yet; make one with: mltoken config new");
    }
    int r = output_write(&text);
    if (!list->wanted)
        show_warnings(context, list->profiles);
    return r;
}

int command_status(struct context *context, int argc, char **argv)
{
    const char *profile;
    const struct usage usage = {.command = "status",
                                .summary = "Shows the agent and its profiles, or everything about one."};
    int r = options_profile(context, &usage, argc, argv, &profile);
    if (r != OPTIONS_GO)
        return r;
    r = context_open(context);
    if (r != EXIT_DONE)
        return r;
    _cleanup_json_ json_object *agent = NULL, *profiles = json_object_new_array();
    struct list list = {.profiles = profiles, .wanted = profile};
    int error = profiles ? agent_call(context, MESSAGE_INTERFACE ".Status", NULL, &agent) : MLTOKEN_ENOMEM;
    if (error == 0 || error == MLTOKEN_EOLDAGENT || error == MLTOKEN_EDENIED) /* the latter two: get.sock */
        error = agent_call_more(context, MESSAGE_INTERFACE ".List", NULL, keep, &list);
    if (error == 0 && list.wanted && json_object_array_length(profiles) == 0) {
        context->handle->error = (struct client_error){.code = MLTOKEN_ENOSUCHPROFILE};
        error = MLTOKEN_ENOSUCHPROFILE;
    }
    if (error < 0)
        return report(context, error, "cannot show the status", list.wanted);
    return print(context, agent, &list);
}
