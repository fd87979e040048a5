#include "acquire/lodging.h"

#include "acquire/flight.h"
#include "log.h"

static void look(void *arg);

static void look_later(struct conductor *conductor, struct holder *holder)
{
    holder->host = conductor;
    (void)timer_start(conductor->loop, &holder->lodging, loop_now(conductor->loop) + LODGING_LOOK_MS, look, holder);
}

static void look(void *arg)
{
    static const struct request plain = {.min_valid_s = -1};
    struct holder *holder = arg;
    struct conductor *conductor = holder->host;
    struct flight *flight;
    bool free = !conductor->locked && !holder->flights && !holder->gone && !holder->broken;
    if (!free || flight_new(conductor, holder, GRANT_SETTLE, &plain, &flight) < 0)
        look_later(conductor, holder);
}

void lodging_begin(struct conductor *conductor, struct holder *holder)
{
    if (!holder->lodged)
        log_event(LOG_LEVEL_INFO, "the store is locked: the sign-in is in memory alone, and goes there when it opens",
                  "PROFILE", holder->profile->name, NULL);
    holder->lodged = true;
    look_later(conductor, holder);
}

static void on_forgotten(void *arg, const struct store_result *result)
{
    (void)arg;
    (void)result;
}

void lodging_end(struct conductor *conductor, struct holder *holder)
{
    struct store *memory;
    struct store_call *call;
    timer_stop(&holder->lodging);
    if (!holder->lodged)
        return;
    holder->lodged = false;
    if (stores_find(conductor->stores, "memory", &memory) == 0)
        (void)store_drop(memory, holder->profile->name, SECRET_REFRESH_TOKEN, on_forgotten, NULL, &call);
}

static void give_way(struct flight *flight)
{
    struct holder *holder = flight->holder;
    struct failure why;
    log_event(LOG_LEVEL_WARNING,
              "another account is signed in in the store that has just opened: the one that was brought is dropped",
              "PROFILE", flight->profile->name, NULL);
    lodging_end(flight->conductor, holder);
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "another account is signed in in the store");
    conductor_drop(flight->conductor, holder, &why);
    conductor_forget_sign_in(flight->conductor, holder); /* it is read anew when it is asked for */
}

static void on_settled(void *arg, int error, const struct failure *why)
{
    struct flight *flight = arg;
    struct holder *holder = flight->holder;
    (void)why;
    if (error == 0) {
        log_event(LOG_LEVEL_INFO, "the sign-in that was in memory is in the store now", "PROFILE",
                  flight->profile->name, NULL);
        lodging_end(flight->conductor, holder);
    } else if (error == -EPERM) {
        give_way(flight);
    } else if (error == STORE_MISSING) {
        lodging_end(flight->conductor, holder);
    }
    flight_land(flight);
}

void lodging_settle(struct flight *flight)
{
    const struct holder *holder = flight->holder;
    bool wanted = holder->lodged && profile_same_binding(flight->profile, holder->profile);
    if (!wanted || keeper_settle(&flight->keeper, on_settled, flight) < 0)
        flight_land(flight);
}

void lodging_landed(struct flight *flight)
{
    if (flight->holder->lodged)
        look_later(flight->conductor, flight->holder);
}
