#include "wiping.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

void *wiping_malloc(size_t size)
{
    return malloc(size);
}

void *wiping_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

void wiping_free(void *block)
{
    if (block)
        explicit_bzero(block, malloc_usable_size(block));
    free(block);
}

void *wiping_realloc(void *block, size_t size)
{
    size_t have = block ? malloc_usable_size(block) : 0;
    if (!block)
        return malloc(size);
    if (size == 0) {
        wiping_free(block);
        return NULL;
    }
    if (size <= have && size >= have / 2) /* the rest of the block is wiped when it is freed */
        return block;
    void *moved = malloc(size);
    if (!moved)
        return NULL;
    memcpy(moved, block, have < size ? have : size);
    wiping_free(block);
    return moved;
}

char *wiping_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size > 0 ? malloc(size) : NULL;
}

static void *openssl_realloc(void *block, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return wiping_realloc(block, size);
}

static void openssl_free(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    wiping_free(block);
}

int wiping_openssl(void)
{
    return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1 ? 0 : -EBUSY;
}
