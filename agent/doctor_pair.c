#include "doctor_pair.h"

#include "authority/key_pair.h"
#include "cleanup.h"
#include "clock.h"

enum { SOON_DAYS = 30, DAY_S = 86400 };

struct visit {
    struct loop *loop;
    struct buffer *words;
    enum pair_verdict verdict;
};

static void on_pair(void *arg, const struct worker_result *result)
{
    struct visit *visit = arg;
    _cleanup_(key_pair_clear) struct key_pair pair = {0};
    if (result->error)
        buffer_text(visit->words, result->problem);
    else if (key_pair_parse(result->output, &pair) == 0) {
        int64_t days = (key_pair_ends_at(&pair) - clock_wall_s()) / DAY_S;
        visit->verdict = days < SOON_DAYS ? PAIR_ENDS_SOON : PAIR_GOOD;
        buffer_format(visit->words, "client_key belongs to client_certificate, which ends in %lld days%s",
                      (long long)days, days < SOON_DAYS ? ": have a new one issued and registered" : "");
    }
    loop_stop(visit->loop, 0);
}

enum pair_verdict pair_check(struct loop *loop, struct worker *worker, const struct profile *profile,
                             struct buffer *ret_words)
{
    struct visit visit = {.loop = loop, .words = ret_words, .verdict = PAIR_BAD};
    struct worker_job *job;
    buffer_clear(ret_words);
    if (!profile->client_certificate || profile->key_password.kind != SOURCE_NONE)
        return PAIR_NONE;
    int r = worker_pair(worker, profile->client_key ? profile->client_key : profile->client_certificate,
                        profile->client_certificate, (struct span){0}, LIMIT_COMMAND_MS, on_pair, &visit, &job);
    if (r == 0)
        r = loop_run(loop);
    if (r < 0)
        buffer_format(ret_words, "client_certificate: %s", strerror(-r));
    return r < 0 ? PAIR_BAD : visit.verdict;
}
