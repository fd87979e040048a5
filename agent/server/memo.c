#include "server/memo.h"

#include "cleanup.h"

enum { MEMOS = 64, LONGEST = 256 };

struct memo {
    uint64_t epoch; /* of the cache when it was noted */
    size_t length;  /* 0: nothing */
    char message[LONGEST];
    struct entry *entry;
    int64_t min_valid_s;
    char application[LIMIT_APPLICATION + 1];
};

struct memo *memos_new(void)
{
    return calloc(MEMOS, sizeof(struct memo));
}

static struct memo *place_of(struct server *server, struct span message)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < message.length; i++)
        hash = (hash ^ (unsigned char)message.data[i]) * 16777619u;
    return &server->memos[hash % MEMOS];
}

bool memo_serve(struct connection *connection, struct span message)
{
    struct server *server = connection->server;
    connection->message = message;
    if (message.length == 0 || message.length > LONGEST)
        return false;
    struct memo *memo = place_of(server, message);
    if (memo->length != message.length || memo->epoch != cache_epoch(server->conductor->cache) ||
        memcmp(memo->message, message.data, message.length) != 0)
        return false;
    struct request request = {.min_valid_s = memo->min_valid_s};
    if (!conductor_hit(server->conductor, memo->entry, &request))
        return false;
    connection_audit(connection, memo->entry->holder->profile->name, memo->application, false);
    connection_send(connection, buffer_span(&memo->entry->reply));
    return true;
}

void memo_note(struct call *call, struct entry *entry)
{
    struct server *server = call->connection->server;
    struct span message = call->connection->message;
    if (call->oneway || call->request.refresh || message.length == 0 || message.length > LONGEST)
        return;
    struct memo *memo = place_of(server, message);
    *memo = (struct memo){.epoch = cache_epoch(server->conductor->cache),
                          .length = message.length,
                          .entry = entry,
                          .min_valid_s = call->request.min_valid_s};
    memcpy(memo->message, message.data, message.length);
    memcpy(memo->application, call->application, sizeof(memo->application));
}
