#include "server/audit.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { SLOTS = LIMIT_AUDIT_RECORDS, NOWHERE = 0 /* links hold a slot plus one */ };

struct process {
    pid_t pid;
    uint64_t start;
    char executable[LIMIT_AUDIT_EXECUTABLE + 1];
};

struct record {
    uint64_t serial; /* 0: free */
    uint64_t start, repeats, fetched;
    char *executable;
    char *denied; /* why; NULL: tokens were handed out */
    uint32_t chain, pending;
    pid_t pid;
    bool recent; /* used again since the hand last came by */
    char profile[LIMIT_PROFILE_NAME + 1];
    char application[LIMIT_APPLICATION + 1];
};

struct audit {
    audit_tell_fn *tell;
    void *arg;
    int64_t interval_ms, due_ms;
    uint64_t serial;
    uint32_t hand, pending;
    uint32_t buckets[SLOTS];
    struct record records[SLOTS];
};

/* ---- processes ---- */

uint64_t audit_start_of(const char *stat)
{
    const char *at = strrchr(stat, ')'); /* the name before it may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || at[1] < '0' || at[1] > '9')
        return 0;
    return strtoull(at + 1, NULL, 10);
}

static uint64_t read_start(pid_t pid)
{
    char path[48], text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return audit_start_of(text);
}

static void read_process(pid_t pid, struct process *ret)
{
    char path[48];
    *ret = (struct process){.pid = pid, .executable = "?"};
    if (pid <= 0)
        return;
    ret->start = read_start(pid);
    (void)snprintf(path, sizeof(path), "/proc/%ld/exe", (long)pid);
    ssize_t n = readlink(path, ret->executable, LIMIT_AUDIT_EXECUTABLE);
    if (n > 0)
        ret->executable[n] = '\0';
    else
        (void)snprintf(ret->executable, sizeof(ret->executable), "?");
}

/* ---- records ---- */

static void say(struct audit *audit, const struct record *record, uint64_t count, uint64_t fetched, bool first)
{
    const struct audit_line line = {.profile = record->profile,
                                    .executable = record->executable ? record->executable : "?",
                                    .application = record->application[0] ? record->application : NULL,
                                    .pid = record->pid,
                                    .count = count,
                                    .fetched = fetched,
                                    .first = first,
                                    .denied = record->denied};
    audit->tell(audit->arg, &line);
}

static void say_repeats(struct audit *audit, struct record *record)
{
    if (record->repeats)
        say(audit, record, record->repeats, record->fetched, false);
    record->repeats = record->fetched = 0;
}

static uint32_t *bucket_of(struct audit *audit, const char *profile, pid_t pid)
{
    uint32_t hash = 2166136261u ^ (uint32_t)pid; /* FNV-1a */
    for (; *profile; profile++)
        hash = (hash ^ (unsigned char)*profile) * 16777619u;
    return &audit->buckets[(hash ^ hash >> 16) % SLOTS];
}

static void unlink_from(struct audit *audit, uint32_t *link, uint32_t slot, bool pending)
{
    while (*link != NOWHERE && *link != slot + 1)
        link = pending ? &audit->records[*link - 1].pending : &audit->records[*link - 1].chain;
    if (*link != NOWHERE)
        *link = pending ? audit->records[slot].pending : audit->records[slot].chain;
}

static void drop(struct audit *audit, uint32_t slot)
{
    struct record *record = &audit->records[slot];
    if (record->serial == 0)
        return;
    if (record->repeats)
        unlink_from(audit, &audit->pending, slot, true);
    say_repeats(audit, record);
    unlink_from(audit, bucket_of(audit, record->profile, record->pid), slot, false);
    free(record->executable);
    free(record->denied);
    *record = (struct record){.serial = 0};
}

/* The hand of a clock: who was used again since it last came by stays for another round. */
static uint32_t make_room(struct audit *audit)
{
    for (uint32_t passed = 0; passed < SLOTS && audit->records[audit->hand].recent; passed++) {
        audit->records[audit->hand].recent = false;
        audit->hand = (audit->hand + 1) % SLOTS;
    }
    uint32_t slot = audit->hand;
    audit->hand = (audit->hand + 1) % SLOTS;
    drop(audit, slot);
    return slot;
}

/* Whether a record is of this kind of use. */
static bool is_of(const struct record *record, const struct audit_use *use)
{
    return !record->denied == !use->denied && strcmp(record->profile, use->profile) == 0;
}

static struct record *find(struct audit *audit, const struct process *process, const struct audit_use *use)
{
    uint32_t link = *bucket_of(audit, use->profile, process->pid);
    for (struct record *record; link != NOWHERE; link = record->chain) {
        record = &audit->records[link - 1];
        if (record->pid == process->pid && record->start == process->start && is_of(record, use) &&
            strcmp(record->executable ? record->executable : "?", process->executable) == 0)
            return record;
    }
    return NULL;
}

static void add(struct audit *audit, struct audit_place *place, const struct process *process,
                const struct audit_use *use)
{
    uint32_t slot = make_room(audit);
    struct record *record = &audit->records[slot];
    uint32_t *bucket = bucket_of(audit, use->profile, process->pid);
    *record =
        (struct record){.serial = ++audit->serial, .start = process->start, .pid = process->pid, .chain = *bucket};
    (void)snprintf(record->profile, sizeof(record->profile), "%s", use->profile);
    (void)snprintf(record->application, sizeof(record->application), "%s", use->application ? use->application : "");
    record->executable = strdup(process->executable); /* NULL: shown as not known */
    record->denied = use->denied ? strdup(use->denied) : NULL;
    *bucket = slot + 1;
    *place = (struct audit_place){.serial = record->serial, .slot = slot};
    say(audit, record, 1, use->fetched, true);
}

static void repeat(struct audit *audit, struct record *record, bool fetched, int64_t now_ms)
{
    record->recent = true;
    record->fetched += fetched;
    if (record->repeats++ > 0)
        return;
    if (audit->pending == NOWHERE)
        audit->due_ms = now_ms + audit->interval_ms;
    record->pending = audit->pending;
    audit->pending = (uint32_t)(record - audit->records) + 1;
}

/* A connection that takes turns between profiles does not read /proc each time. */
static void note_elsewhere(struct audit *audit, struct audit_place *place, const struct audit_use *use, int64_t now_ms)
{
    struct process process;
    const struct record *last = &audit->records[place->slot];
    if (place->serial && last->serial == place->serial && last->executable) {
        process = (struct process){.pid = last->pid, .start = last->start};
        (void)snprintf(process.executable, sizeof(process.executable), "%s", last->executable);
    } else {
        read_process(use->pid, &process);
    }
    struct record *record = find(audit, &process, use);
    if (!record) {
        add(audit, place, &process, use);
        return;
    }
    *place = (struct audit_place){.serial = record->serial, .slot = (uint32_t)(record - audit->records)};
    repeat(audit, record, use->fetched, now_ms);
}

void audit_note(struct audit *audit, struct audit_place *place, const struct audit_use *use, int64_t now_ms)
{
    struct record *record = &audit->records[place->slot];
    if (place->serial && record->serial == place->serial && is_of(record, use))
        repeat(audit, record, use->fetched, now_ms);
    else
        note_elsewhere(audit, place, use, now_ms);
}

int64_t audit_due_ms(const struct audit *audit)
{
    return audit->pending == NOWHERE ? -1 : audit->due_ms;
}

static void tell_all(struct audit *audit)
{
    while (audit->pending != NOWHERE) {
        struct record *record = &audit->records[audit->pending - 1];
        audit->pending = record->pending;
        say_repeats(audit, record);
    }
}

void audit_tell(struct audit *audit, int64_t now_ms)
{
    if (audit->pending != NOWHERE && now_ms >= audit->due_ms)
        tell_all(audit);
}

int audit_new(int64_t interval_ms, audit_tell_fn *tell, void *arg, struct audit **ret)
{
    struct audit *audit = calloc(1, sizeof(*audit));
    if (!audit)
        return -ENOMEM;
    audit->interval_ms = interval_ms;
    audit->tell = tell;
    audit->arg = arg;
    *ret = audit;
    return 0;
}

struct audit *audit_free(struct audit *audit)
{
    if (!audit)
        return NULL;
    tell_all(audit);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        free(audit->records[slot].executable);
        free(audit->records[slot].denied);
    }
    free(audit);
    return NULL;
}
