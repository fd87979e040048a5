#include "secret.h"

#include "limits.h"
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* The arena is handed out in blocks of 64 bytes, first fit behind the last one, with one bit a block. It is locked with
 * MLOCK_ONFAULT: locked from the first touch, but an idle agent does not hold 4 MiB of memory for secrets it has not
 * got. */
enum { BLOCK = 64, BLOCKS = LIMIT_ARENA / BLOCK };

struct secret {
    size_t length;
    size_t blocks;
    size_t references;
    char bytes[];
};

static struct {
    char *base;
    size_t locked, used, next;
    uint8_t taken[BLOCKS / 8];
} arena;

static bool is_taken(size_t block)
{
    return arena.taken[block / 8] >> (block % 8) & 1;
}

static void mark(size_t first, size_t count, bool taken)
{
    for (size_t b = first; b < first + count; b++) {
        uint8_t bit = (uint8_t)(1u << (b % 8));
        arena.taken[b / 8] = (uint8_t)(taken ? arena.taken[b / 8] | bit : arena.taken[b / 8] & ~bit);
    }
}

int secret_arena_open(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *guarded = mmap(NULL, LIMIT_ARENA + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (guarded == MAP_FAILED)
        return -errno;
    if (mprotect(guarded + page, LIMIT_ARENA, PROT_READ | PROT_WRITE) < 0) {
        int error = -errno;
        munmap(guarded, LIMIT_ARENA + 2 * page);
        return error;
    }
    arena.base = guarded + page;
    (void)madvise(arena.base, LIMIT_ARENA, MADV_DONTDUMP);
    (void)madvise(arena.base, LIMIT_ARENA, MADV_WIPEONFORK);
    if (mlock2(arena.base, LIMIT_ARENA, MLOCK_ONFAULT) == 0)
        arena.locked = LIMIT_ARENA;
    return 0;
}

void secret_arena_close(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!arena.base)
        return;
    munmap(arena.base - page, LIMIT_ARENA + 2 * page); /* the kernel gives no page to others without clearing it */
    arena = (__typeof__(arena)){0};
}

size_t secret_arena_locked(void)
{
    return arena.locked;
}

size_t secret_arena_used(void)
{
    return arena.used * BLOCK;
}

/* The first of `count` free blocks in [from, to), or `to`. */
static size_t find(size_t from, size_t to, size_t count)
{
    size_t run = 0;
    for (size_t b = from; b < to; b++) {
        run = is_taken(b) ? 0 : run + 1;
        if (run == count)
            return b + 1 - count;
    }
    return to;
}

int secret_new(const char *bytes, size_t length, struct secret **ret)
{
    if (length > LIMIT_SECRET)
        return -EMSGSIZE;
    size_t count = (sizeof(struct secret) + length + BLOCK - 1) / BLOCK;
    size_t first = arena.base ? find(arena.next, BLOCKS, count) : BLOCKS;
    if (first == BLOCKS && arena.base)
        first = find(0, BLOCKS, count);
    if (first == BLOCKS)
        return -ENOMEM;
    mark(first, count, true);
    arena.next = first + count;
    arena.used += count;
    struct secret *secret = (struct secret *)(void *)(arena.base + first * BLOCK);
    *secret = (struct secret){.length = length, .blocks = count, .references = 1};
    if (length > 0)
        memcpy(secret->bytes, bytes, length);
    *ret = secret;
    return 0;
}

struct secret *secret_ref(struct secret *secret)
{
    secret->references++;
    return secret;
}

struct secret *secret_unref(struct secret *secret)
{
    if (!secret || --secret->references > 0)
        return NULL;
    size_t first = (size_t)((char *)secret - arena.base) / BLOCK, count = secret->blocks;
    explicit_bzero(secret, count * BLOCK);
    mark(first, count, false);
    arena.used -= count;
    return NULL;
}

struct span secret_span(const struct secret *secret)
{
    return (struct span){.data = secret->bytes, .length = secret->length};
}
