/* The two clocks. Everything that waits uses CLOCK_BOOTTIME (suspend counts, setting the clock does not);
 * wall time is only for what is shown or compared with a token's own claims. */
#pragma once

#include <stdint.h>
#include <time.h>

static inline int64_t clock_boot_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Epoch seconds, UTC. */
static inline int64_t clock_wall_s(void)
{
    return (int64_t)time(NULL);
}

/* The same in milliseconds, for those who must tell where in its second they are. */
static inline int64_t clock_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
