#include "acquire/browse.h"

#include "acquire/redirect.h"
#include "acquire/signin.h"
#include "grant/redirect_answer.h"
#include <errno.h>

int browse_listen(struct flight *flight)
{
    const struct listen_step *step = &flight->step.listen;
    struct failure why;
    browse_end(flight);
    int r = redirect_open(flight->conductor->loop, step->port, step->localhost, &flight->redirect, &why);
    if (r == 0)
        flight_answer_later(flight, span_of(redirect_uri(flight->redirect)), 0, NULL);
    else
        flight_answer_later(flight, (struct span){0}, r, &why);
    return 0;
}

static void on_back(void *arg, struct secret *query, const struct failure *why)
{
    struct flight *flight = arg;
    if (query) {
        (void)login_type(flight, query);
        return;
    }
    struct answer given = {.error = -EPERM, .why = *why};
    browse_end(flight);
    flight_answer(flight, &given);
}

static void on_late(void *arg)
{
    struct flight *flight = arg;
    struct answer given = {.error = -ETIMEDOUT};
    browse_end(flight);
    flight_answer(flight, &given);
}

int browse_start(struct flight *flight)
{
    const struct browse_step *step = &flight->step.browse;
    struct loop *loop = flight->conductor->loop;
    if (!flight->login || !flight->redirect)
        return -EINVAL;
    int r = redirect_expect(flight->redirect, step->address, step->state, on_back, flight);
    if (r == 0)
        r = timer_start(loop, &flight->timer, loop_now(loop) + step->wait_ms, on_late, flight);
    if (r < 0)
        return r;
    const struct prompt_step prompt = {.browser = true,
                                       .verification_uri = redirect_page(flight->redirect),
                                       .verification_uri_complete = step->address,
                                       .expires_at = step->expires_at};
    flight->login->prompted(flight->login->arg, &prompt); /* last, for who is told may cancel */
    return 0;
}

bool browse_accepts(const struct flight *flight, struct span typed)
{
    return redirect_answer_is_for(typed, flight->step.browse.state);
}

void browse_end(struct flight *flight)
{
    flight->redirect = redirect_close(flight->redirect);
    if (flight->step.kind == STEP_BROWSE)
        timer_stop(&flight->timer);
}
