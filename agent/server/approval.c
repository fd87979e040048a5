#include "server/approval.h"

#include "cleanup.h"
#include "limits.h"
#include "server/pinentry.h"
#include <errno.h>
#include <stdio.h>

#define USUAL_PROGRAM "pinentry"

struct denial {
    char profile[LIMIT_PROFILE_NAME + 1];
    int64_t until_ms; /* 0: none */
};

struct approvals {
    struct loop *loop;
    struct worker *worker;
    approvals_program_fn *program;
    void *arg;
    int64_t timeout_ms;
    struct question questions; /* the ring's head: the longest waiting first */
    size_t count;
    struct question *asked; /* the one that a person sees */
    struct worker_job *job; /* its window */
    struct pinentry pinentry;
    struct pinentry_question shown;
    struct task task; /* asks the next */
    struct denial denials[LIMIT_DENIALS];
    size_t denial_count; /* so far: the oldest makes room */
};

static void ask_next(void *arg);

static void go_on(struct approvals *approvals)
{
    task_start(approvals->loop, &approvals->task, ask_next, approvals);
}

static void take_out(struct approvals *approvals, struct question *question)
{
    question->next->previous = question->previous;
    question->previous->next = question->next;
    approvals->count--;
    question->approvals = NULL;
}

/* Its window closes. */
static void close_window(struct approvals *approvals)
{
    worker_cancel(TAKE_PTR(approvals->job));
    pinentry_clear(&approvals->pinentry);
    approvals->asked = NULL;
    go_on(approvals);
}

/* ---- denials ---- */

static bool is_denied(const struct approvals *approvals, const char *profile)
{
    for (size_t i = 0; i < LIMIT_DENIALS; i++)
        if (approvals->denials[i].until_ms > loop_now(approvals->loop) &&
            strcmp(approvals->denials[i].profile, profile) == 0)
            return true;
    return false;
}

static void remember_denial(struct approvals *approvals, const char *profile)
{
    struct denial *denial = &approvals->denials[approvals->denial_count++ % LIMIT_DENIALS];
    denial->until_ms = loop_now(approvals->loop) + LIMIT_DENIAL_MS;
    (void)snprintf(denial->profile, sizeof(denial->profile), "%s", profile);
}

/* ---- answers ---- */

static void tell(struct approvals *approvals, struct question *question, const struct failure *denied)
{
    take_out(approvals, question);
    question->done(question->arg, denied);
}

/* Those that wait for the same profile hear it as well. What is told may end others: so from the start each time. */
static void tell_all(struct approvals *approvals, const char *profile, const struct failure *denied)
{
    struct question *question = approvals->questions.next;
    while (question != &approvals->questions) {
        bool same = strcmp(question->profile, profile) == 0;
        if (same)
            tell(approvals, question, denied);
        question = same ? approvals->questions.next : question->next;
    }
}

/* Where no window could come up, a no may be the program's own. */
static const char *doubt(const struct question *question)
{
    return getenv("DISPLAY") || getenv("WAYLAND_DISPLAY") || *question->terminal
               ? ""
               : " (there is nobody to ask here: the agent has no display, and the program is not in front of a "
                 "terminal)";
}

static void settle(struct approvals *approvals, enum pinentry_verdict verdict, const char *problem)
{
    struct question *question = approvals->asked;
    char profile[LIMIT_PROFILE_NAME + 1];
    struct failure why;
    memcpy(profile, question->profile, sizeof(profile));
    if (verdict == PINENTRY_DENIED)
        failure_set(&why, FAILURE_DENIED, CLASS_DEFINITE, "the use of profile %s was denied%s", profile,
                    doubt(question));
    else if (verdict == PINENTRY_TIMEOUT)
        failure_set(&why, FAILURE_DENIED, CLASS_DEFINITE, "nobody answered whether profile %s may be used%s", profile,
                    doubt(question));
    else
        failure_set(&why, FAILURE_DENIED, CLASS_DEFINITE,
                    "nobody could be asked whether profile %s may be used: %s: %s%s", profile,
                    approvals->program(approvals->arg) ? approvals->program(approvals->arg) : USUAL_PROGRAM, problem,
                    doubt(question));
    close_window(approvals);
    if (verdict == PINENTRY_DENIED || verdict == PINENTRY_TIMEOUT) {
        remember_denial(approvals, profile);
        tell_all(approvals, profile, &why);
    } else {
        tell(approvals, question, verdict == PINENTRY_ALLOWED ? NULL : &why);
    }
}

/* ---- the window ---- */

static void on_heard(void *arg, struct span bytes)
{
    struct approvals *approvals = arg;
    _cleanup_buffer_ struct buffer say = BUFFER(LIMIT_JOB_INPUT);
    enum pinentry_verdict verdict = pinentry_hear(&approvals->pinentry, bytes, &say);
    if (verdict == PINENTRY_TALKS && say.length > 0 && worker_say(approvals->job, buffer_span(&say)) < 0) {
        settle(approvals, PINENTRY_BROKEN, "it does not listen");
    } else if (verdict != PINENTRY_TALKS) {
        char problem[LIMIT_TEXT];
        memcpy(problem, approvals->pinentry.problem, sizeof(problem));
        settle(approvals, verdict, problem);
    }
}

static void on_ended(void *arg, const struct worker_result *result)
{
    struct approvals *approvals = arg;
    char problem[LIMIT_TEXT];
    approvals->job = NULL;
    (void)snprintf(problem, sizeof(problem), "%s", *result->problem ? result->problem : "it ended without an answer");
    settle(approvals, result->error == -ETIMEDOUT ? PINENTRY_TIMEOUT : PINENTRY_BROKEN, problem);
}

static const char *locale(void)
{
    const char *all = getenv("LC_ALL"), *usual = getenv("LANG");
    const char *value = all && *all ? all : usual ? usual : "";
    return strlen(value) <= LIMIT_CODE ? value : "";
}

static void ask_next(void *arg)
{
    struct approvals *approvals = arg;
    struct question *question = approvals->questions.next;
    if (approvals->asked || question == &approvals->questions)
        return;
    const char *configured = approvals->program(approvals->arg);
    char *argv[] = {(char *)(uintptr_t)(configured ? configured : USUAL_PROGRAM), NULL};
    approvals->asked = question;
    approvals->shown = (struct pinentry_question){.program = question->executable,
                                                  .application = question->application,
                                                  .profile = question->profile,
                                                  .account = question->account,
                                                  .terminal = question->terminal,
                                                  .locale = locale(),
                                                  .pid = question->pid,
                                                  .timeout_s = LIMIT_CONFIRM_S};
    approvals->pinentry = (struct pinentry){.question = &approvals->shown};
    int r = worker_talk(approvals->worker, argv, approvals->timeout_ms, on_heard, on_ended, approvals, &approvals->job);
    if (r < 0)
        settle(approvals, PINENTRY_BROKEN, strerror(-r));
}

/* ---- who asks ---- */

int approvals_ask(struct approvals *approvals, struct question *question, struct failure *why)
{
    if (is_denied(approvals, question->profile)) {
        failure_set(why, FAILURE_DENIED, CLASS_DEFINITE,
                    "the use of profile %s was denied less than %d s ago, and nobody is asked again so soon",
                    question->profile, LIMIT_DENIAL_MS / 1000);
        return -EACCES;
    }
    if (approvals->count >= LIMIT_QUESTIONS) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%d requests wait for a person's answer already",
                    LIMIT_QUESTIONS);
        return -EBUSY;
    }
    question->approvals = approvals;
    question->next = &approvals->questions;
    question->previous = approvals->questions.previous;
    question->previous->next = approvals->questions.previous = question;
    approvals->count++;
    go_on(approvals);
    return 0;
}

void question_withdraw(struct question *question)
{
    struct approvals *approvals = question->approvals;
    if (!approvals)
        return;
    take_out(approvals, question);
    if (approvals->asked == question)
        close_window(approvals);
}

int approvals_new(struct loop *loop, struct worker *worker, approvals_program_fn *program, void *arg,
                  int64_t timeout_ms, struct approvals **ret)
{
    struct approvals *approvals = calloc(1, sizeof(*approvals));
    if (!approvals)
        return -ENOMEM;
    approvals->loop = loop;
    approvals->worker = worker;
    approvals->program = program;
    approvals->arg = arg;
    approvals->timeout_ms = timeout_ms;
    approvals->questions.next = approvals->questions.previous = &approvals->questions;
    *ret = approvals;
    return 0;
}

struct approvals *approvals_free(struct approvals *approvals)
{
    if (!approvals)
        return NULL;
    while (approvals->questions.next != &approvals->questions)
        question_withdraw(approvals->questions.next);
    task_stop(&approvals->task);
    free(approvals);
    return NULL;
}
