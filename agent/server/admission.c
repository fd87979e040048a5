#include "server/admission.h"

#include "cleanup.h"
#include "limits.h"
#include "server/approval.h"
#include "server/peer.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>

struct admission {
    struct call *call;
    struct profile *profile; /* by whose rules; a reference */
    enum admission_kind kind;
    void (*next)(struct call *);
    bool granted;
    int process;             /* a pidfd, while it matters; -1 */
    struct admission **line; /* what leads to it while it waits in the line of server->admissions */
    struct admission *next_in_line;
    struct worker_job *job;
    struct question question;
};

static void leave_line(struct admission *admission)
{
    *admission->line = admission->next_in_line;
    if (admission->next_in_line)
        admission->next_in_line->line = admission->line;
    admission->line = NULL;
}

static void look_over(struct server *);

struct admission *admission_free(struct admission *admission)
{
    if (!admission)
        return NULL;
    struct server *server = admission->call->connection->server;
    if (admission->line)
        leave_line(admission);
    if (admission->job) {
        worker_cancel(admission->job);
        look_over(server);
    }
    question_withdraw(&admission->question);
    close_cleanup(&admission->process);
    profile_free(admission->profile);
    free(admission);
    return NULL;
}

bool admission_holds(const struct call *call)
{
    const struct admission *admission = call->admission;
    const struct profile *profile = call->holder->profile;
    return !profile_guarded(profile) ||
           (admission && admission->granted && strcmp(admission->profile->fingerprint, profile->fingerprint) == 0);
}

/* ---- ends ---- */

static void deny(struct admission *admission, const struct failure *why)
{
    struct call *call = admission->call;
    connection_audit_denied(call->connection, call->profile, call->application, why->reason);
    call_fail(call, why); /* and the admission goes with it */
}

static void deny_saying(struct admission *admission, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void deny_saying(struct admission *admission, const char *format, ...)
{
    char words[2 * LIMIT_TEXT];
    struct failure why;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    failure_set(&why, FAILURE_DENIED, CLASS_DEFINITE, "%s", words);
    deny(admission, &why);
}

/* The rules may have changed meanwhile: then by the new ones. */
static void grant(struct admission *admission)
{
    struct call *call = admission->call;
    struct failure why;
    admission->granted = true;
    close_cleanup(&admission->process);
    admission->process = -1;
    if (conductor_holder(call->connection->server->conductor, call->profile, &call->holder, &why) < 0)
        call_fail(call, &why);
    else if (admission_holds(call))
        admission->next(call);
    else
        admission_begin(call, admission->kind, admission->next);
}

/* ---- a person ---- */

static bool is_alive(const struct admission *admission)
{
    struct pollfd fd = {.fd = admission->process, .events = POLLIN};
    return poll(&fd, 1, 0) == 0;
}

/* What was shown must still be who gets it. */
static bool is_unchanged(const struct admission *admission)
{
    char executable[LIMIT_AUDIT_EXECUTABLE + 1];
    if (admission->process < 0)
        return true; /* nothing was known, and nothing else was shown */
    peer_executable(admission->question.pid, executable);
    return is_alive(admission) && strcmp(executable, admission->question.executable) == 0;
}

static void on_answer(void *arg, const struct failure *denied)
{
    struct admission *admission = arg;
    if (denied)
        deny(admission, denied);
    else if (!is_unchanged(admission))
        deny_saying(admission, "the program that asked for profile %s is gone, or has become another one",
                    admission->profile->name);
    else
        grant(admission);
}

/* From here on its pid means this process, or nothing: false when the call has ended. */
static bool hold_process(struct admission *admission)
{
    pid_t pid = admission->call->connection->pid;
    if (pid <= 0 || admission->process >= 0)
        return true;
    admission->process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (admission->process >= 0)
        return true;
    if (errno == ESRCH)
        deny_saying(admission, "the program that asked for profile %s is gone", admission->profile->name);
    else
        deny_saying(admission, "the agent cannot look at the program that asks for profile %s: %s",
                    admission->profile->name, strerror(errno));
    return false;
}

static void ask(struct admission *admission)
{
    const struct call *call = admission->call;
    struct question *question = &admission->question;
    struct failure why;
    if (admission->kind == ADMIT_LOOK || !admission->profile->confirm) {
        grant(admission);
        return;
    }
    if (!hold_process(admission))
        return;
    *question = (struct question){.pid = call->connection->pid, .done = on_answer, .arg = admission};
    peer_executable(question->pid, question->executable);
    if (!peer_terminal(question->pid, question->terminal))
        question->terminal[0] = '\0';
    memcpy(question->application, call->application, sizeof(question->application));
    memcpy(question->profile, call->profile, sizeof(question->profile));
    const struct identity *identity = call->holder->identity;
    (void)snprintf(question->account, sizeof(question->account), "%s", identity ? identity->account : "");
    if (approvals_ask(call->connection->server->approvals, question, &why) < 0)
        deny(admission, &why);
}

/* ---- a program ---- */

static void on_compared(void *arg, const struct worker_result *result)
{
    struct admission *admission = arg;
    struct call *call = admission->call;
    const char *name = admission->profile->name;
    char executable[LIMIT_AUDIT_EXECUTABLE + 1];
    struct failure why;
    admission->job = NULL;
    look_over(call->connection->server);
    peer_executable(call->connection->pid, executable);
    if (result->error)
        deny_saying(admission, "it could not be found out whether allow of profile %s names %s: %s", name, executable,
                    *result->problem ? result->problem : strerror(-result->error));
    else if (result->verdict == EXECUTABLE_GONE || !is_alive(admission))
        deny_saying(admission, "the program that asked for profile %s is gone", name);
    else if (result->verdict == EXECUTABLE_UNREADABLE)
        deny_saying(
            admission,
            "the agent may not see which program asks (process %ld), and profile %s has allow; see: mltoken doctor",
            (long)call->connection->pid, name);
    else if (result->verdict != EXECUTABLE_SAME)
        deny_saying(admission, "%s is not among the programs that allow of profile %s names", executable, name);
    else if (conductor_holder(call->connection->server->conductor, call->profile, &call->holder, &why) < 0)
        call_fail(call, &why);
    else
        ask(admission);
}

static void compare(struct admission *admission)
{
    struct server *server = admission->call->connection->server;
    if (admission->call->connection->pid <= 0) {
        deny_saying(admission, "the program that asks for profile %s is not of this system, and the profile has allow",
                    admission->profile->name);
        return;
    }
    if (!hold_process(admission))
        return;
    int r = worker_compare(server->conductor->worker, admission->call->connection->pid, admission->profile->allow,
                           LIMIT_COMPARE_MS, on_compared, admission, &admission->job);
    if (r < 0)
        deny_saying(admission, "it could not be found out which program asks for profile %s: %s",
                    admission->profile->name, strerror(-r));
    else
        server->looks++;
}

/* As many at once as leave descriptors and the worker to others; the rest wait in order. */
static void look_next(void *arg)
{
    struct server *server = arg;
    while (server->looks < LIMIT_LOOKS && server->admissions) {
        struct admission *admission = server->admissions;
        leave_line(admission);
        compare(admission);
    }
}

static void look_over(struct server *server)
{
    server->looks--;
    task_start(server->loop, &server->look_task, look_next, server);
}

static void wait_in_line(struct admission *admission)
{
    struct server *server = admission->call->connection->server;
    struct admission **end = &server->admissions;
    while (*end)
        end = &(*end)->next_in_line;
    *end = admission;
    admission->line = end;
    task_start(server->loop, &server->look_task, look_next, server);
}

void admission_begin(struct call *call, enum admission_kind kind, void (*next)(struct call *))
{
    call->admission = admission_free(call->admission);
    if (admission_holds(call)) {
        next(call);
        return;
    }
    struct admission *admission = calloc(1, sizeof(*admission));
    if (!admission) {
        connection_end(call->connection);
        return;
    }
    *admission = (struct admission){
        .call = call, .profile = profile_ref(call->holder->profile), .kind = kind, .next = next, .process = -1};
    call->admission = admission;
    if (call->oneway)
        deny_saying(admission, "nobody is asked for a token that nobody wants back");
    else if (admission->profile->allow)
        wait_in_line(admission);
    else
        ask(admission);
}
