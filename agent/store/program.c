#include "store/program.h"

#include "buffer.h"
#include "cleanup.h"
#include "hardening.h"
#include "limits.h"
#include "store/protocol.h"
#include "text.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { ROOM = LIMIT_STORE_FRAME + 8, NUMBER = 24 };

struct store_program {
    struct buffer input, output; /* over memory of their own that never grows; see room() */
    char id[LIMIT_STORE_ID + 1];
    const char *note;
    bool locked;   /* all that holds secrets is locked */
    bool answered; /* the request at hand */
    int error;     /* of writing */
};

/* A buffer over pages of its own: buffer.c finds room enough, and so never moves it to the heap. */
static struct buffer room(bool *locked)
{
    void *pages = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return (struct buffer){.error = -ENOMEM};
    (void)madvise(pages, ROOM, MADV_DONTDUMP);
    if (mlock(pages, ROOM) < 0)
        *locked = false;
    return (struct buffer){.data = pages, .capacity = ROOM, .maximum = ROOM - 1};
}

static void room_free(struct buffer *buffer)
{
    if (buffer->data) {
        explicit_bzero(buffer->data, ROOM);
        (void)munmap(buffer->data, ROOM);
    }
    *buffer = (struct buffer){0};
}

static void room_wipe(struct buffer *buffer)
{
    explicit_bzero(buffer->data, ROOM);
    buffer->length = 0;
    buffer->error = 0;
}

struct store_program *store_program_new(const char *name)
{
    char title[16];
    int r = hardening_apply();
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    (void)snprintf(title, sizeof(title), "mltoken-%s", name);
    (void)prctl(PR_SET_NAME, title, 0, 0, 0);
    struct store_program *program = calloc(1, sizeof(*program));
    if (!program)
        return NULL;
    program->locked = true;
    program->input = room(&program->locked);
    program->output = room(&program->locked);
    if (program->input.error || program->output.error) {
        store_program_free(program);
        errno = ENOMEM;
        return NULL;
    }
    return program;
}

struct store_program *store_program_free(struct store_program *program)
{
    if (!program)
        return NULL;
    room_free(&program->input);
    room_free(&program->output);
    free(program);
    return NULL;
}

void store_program_unlocked(struct store_program *program)
{
    program->locked = false;
}

/* ---- out ---- */

static void flush(struct store_program *program)
{
    struct buffer *output = &program->output;
    for (size_t done = 0; done < output->length && !program->error;) {
        ssize_t n = write(STDOUT_FILENO, output->data + done, output->length - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            program->error = n == 0 ? -EIO : -errno;
    }
    room_wipe(output);
}

static void say(struct store_program *program, const struct store_field *fields, size_t count, struct span value)
{
    int r = store_frame_write(&program->output, fields, count, value);
    if (r < 0)
        program->error = r;
    else
        flush(program);
}

static void answer(struct store_program *program, const char *result, uint64_t version, bool more, struct span value)
{
    char number[NUMBER];
    if (program->answered)
        return;
    (void)snprintf(number, sizeof(number), "%" PRIu64, version);
    const struct store_field fields[] = {{"id", program->id},
                                         {"result", result},
                                         {"version", version > 0 || strcmp(result, "conflict") == 0 ? number : NULL},
                                         {"more", more ? "1" : NULL},
                                         {"reason", program->note}};
    program->answered = true;
    say(program, fields, ELEMENTS(fields), value);
}

void store_note(struct store_program *program, const char *note)
{
    program->note = note;
}

void store_answer_ok(struct store_program *program, uint64_t version, struct span value)
{
    answer(program, "ok", version, false, value);
}

void store_answer_more(struct store_program *program, struct span value)
{
    answer(program, "ok", 0, true, value);
}

void store_answer_missing(struct store_program *program)
{
    answer(program, "missing", 0, false, (struct span){0});
}

void store_answer_bound(struct store_program *program, uint64_t version)
{
    answer(program, "bound", version, false, (struct span){0});
}

void store_answer_conflict(struct store_program *program, uint64_t version, struct span value)
{
    answer(program, "conflict", version, false, value);
}

static void say_reason(struct store_program *program, const char *result, const char *kind, const char *reason)
{
    char clean[LIMIT_STORE_REASON + 1];
    text_clean_into(clean, sizeof(clean), span_of(reason ? reason : ""));
    const struct store_field fields[] = {
        {"id", program->id}, {"result", result}, {"kind", kind}, {"reason", reason ? clean : NULL}};
    say(program, fields, ELEMENTS(fields), (struct span){0});
}

void store_answer_fail(struct store_program *program, const char *kind, const char *format, ...)
{
    char reason[LIMIT_STORE_REASON + 1];
    va_list arguments;
    if (program->answered)
        return;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    program->answered = true;
    say_reason(program, "fail", kind, reason);
}

void store_answer_watching(struct store_program *program, const char *reason)
{
    program->answered = true;
    say_reason(program, "ok", NULL, *reason ? reason : NULL);
}

void store_say_event(struct store_program *program, const char *event, const char *reason)
{
    char clean[LIMIT_STORE_REASON + 1] = "";
    text_clean_into(clean, sizeof(clean), span_of(reason ? reason : ""));
    const struct store_field fields[] = {{"event", event}, {"reason", *clean ? clean : NULL}};
    say(program, fields, ELEMENTS(fields), (struct span){0});
}

void store_say_waiting(struct store_program *program, const char *reason)
{
    if (!program->answered)
        say_reason(program, "waiting", NULL, reason);
}

/* ---- in ---- */

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool is_made_of(const char *text, const char *characters, size_t least, size_t most)
{
    size_t length = strspn(text, characters);
    return !text[length] && length >= least && length <= most;
}

static const char *take(const struct store_frame *frame, const char *key, const char *characters, size_t least,
                        size_t most, bool *ok)
{
    const char *text = store_frame_text(frame, key);
    if (text && !is_made_of(text, characters, least, most))
        *ok = false;
    return text;
}

/* Words with a blank between them. One that is not known here is left out: later ones may know more. */
static bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; at && *at; at += strspn(at, " ")) {
        size_t here = strcspn(at, " ");
        if (here == length && memcmp(at, word, length) == 0)
            return true;
        at += here;
    }
    return false;
}

/* What the frame says; false when something is not of its form. */
static bool read_request(const struct store_frame *frame, struct store_request *ret)
{
    bool ok = true;
    const char *fresh, *events, *ask;
    struct store_request request = {.value = frame->value};
    request.profile = take(frame, "profile", LOWER UPPER DIGITS "._-", 1, LIMIT_PROFILE_NAME, &ok);
    request.after = take(frame, "after", LOWER UPPER DIGITS "._-", 1, LIMIT_PROFILE_NAME, &ok);
    request.name = take(frame, "name", LOWER DIGITS "._-", 1, LIMIT_SECRET_NAME, &ok);
    request.binding = take(frame, "binding", DIGITS "abcdef", LIMIT_BINDING, LIMIT_BINDING, &ok);
    request.expects = store_frame_text(frame, "expect") != NULL;
    if (store_frame_number(frame, "expect", 0, &request.expect) < 0)
        ok = false;
    fresh = take(frame, "new", "1", 1, 1, &ok);
    request.fresh = fresh != NULL;
    ask = take(frame, "ask", LOWER, 1, LIMIT_SECRET_NAME, &ok);
    request.quiet = ask && strcmp(ask, "no") == 0;
    events = take(frame, "events", LOWER " ", 1, LIMIT_TEXT, &ok);
    request.suspend = has_word(events, "suspend");
    request.session = has_word(events, "session");
    *ret = request;
    return ok;
}

static const struct op {
    const char *name;
    size_t offset;
    bool profile, secret, binding, value, events; /* what it cannot do without */
} ops[] = {
    {"get", offsetof(struct store_functions, get), true, true, true, false, false},
    {"put", offsetof(struct store_functions, put), true, true, true, true, false},
    {"drop", offsetof(struct store_functions, drop), true, false, false, false, false},
    {"list", offsetof(struct store_functions, list), false, false, false, false, false},
    {"unlock", offsetof(struct store_functions, unlock), false, false, false, true, false},
    {"lock", offsetof(struct store_functions, lock), false, false, false, false, false},
    {"watch", offsetof(struct store_functions, watch), false, false, false, false, true},
};

static const char *find_fault(const struct op *op, const struct store_request *request)
{
    if ((op->profile && !request->profile) || (op->secret && !request->name) || (op->binding && !request->binding))
        return "a field is missing";
    if (op->events && !request->suspend && !request->session)
        return "events names none that is known";
    if (op->value && request->value.length == 0)
        return "the value is missing";
    if (request->value.length > LIMIT_SECRET)
        return "the value is too long";
    return NULL;
}

static void dispatch(struct store_program *program, const struct store_frame *frame,
                     const struct store_functions *functions, void *arg)
{
    struct store_request request;
    const struct op *op = NULL;
    const char *wanted = store_frame_text(frame, "op");
    for (size_t i = 0; wanted && i < ELEMENTS(ops) && !op; i++)
        if (strcmp(wanted, ops[i].name) == 0)
            op = &ops[i];
    store_function *const *function =
        op ? (store_function *const *)(const void *)((const char *)functions + op->offset) : NULL;
    if (wanted && strcmp(wanted, "ping") == 0) {
        store_answer_ok(program, 0, (struct span){0});
        return;
    }
    if (!function || !*function) {
        store_answer_fail(program, "unsupported", "the %s store does not know how to %.32s", functions->name,
                          wanted ? wanted : "(nothing)");
        return;
    }
    const char *fault = read_request(frame, &request) ? find_fault(op, &request) : "a field is not of its form";
    if (fault) {
        store_answer_fail(program, "invalid", "the %s store cannot %s: %s", functions->name, op->name, fault);
        return;
    }
    (*function)(arg, &request, program);
    if (!program->answered)
        store_answer_fail(program, "denied", "the %s store gave no answer", functions->name);
}

/* The length of the next frame, which is whole; 0 at the end of the stream; a negative errno. */
static ssize_t read_frame(struct store_program *program, const struct store_functions *functions, void *arg)
{
    struct buffer *input = &program->input;
    for (;;) {
        ssize_t length = store_frame_find(input);
        if (length != -EAGAIN)
            return length;
        if (functions->wait)
            functions->wait(arg);
        ssize_t n = read(STDIN_FILENO, input->data + input->length, input->maximum - input->length);
        if (n == 0)
            return input->length > 0 ? -EBADMSG : 0;
        if (n > 0)
            input->length += (size_t)n;
        else if (errno != EINTR)
            return -errno;
    }
}

static int serve(struct store_program *program, size_t length, const struct store_functions *functions, void *arg)
{
    struct store_frame frame;
    int r = store_frame_read(program->input.data, length, &frame);
    if (r < 0)
        return r;
    const char *id = store_frame_text(&frame, "id");
    if (!id || !is_made_of(id, LOWER UPPER DIGITS "_-", 1, LIMIT_STORE_ID))
        return -EBADMSG;
    memcpy(program->id, id, strlen(id) + 1);
    program->answered = false;
    program->note = NULL;
    dispatch(program, &frame, functions, arg);
    buffer_consume(&program->input, length);
    return program->error;
}

int store_program_run(struct store_program *program, const struct store_functions *functions, void *arg)
{
    const struct store_field hello[] = {
        {"hello", "1"}, {"name", functions->name}, {"memory", program->locked ? "locked" : "unlocked"}};
    say(program, hello, ELEMENTS(hello), (struct span){0});
    for (int r = program->error;;) {
        if (r < 0)
            return r;
        ssize_t length = read_frame(program, functions, arg);
        if (length <= 0)
            return (int)length;
        r = serve(program, (size_t)length, functions, arg);
    }
}
