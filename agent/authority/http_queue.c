#include "authority/http_queue.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <strings.h>

struct http_place {
    struct http_place *next, *previous; /* the ring */
    struct http_turn *first, *last;     /* waiting */
    size_t in_flight;
    char name[];
};

static struct http_place *find(const struct http_queue *queue, const char *name)
{
    struct http_place *place = queue->places;
    if (!place)
        return NULL;
    do {
        if (strcasecmp(place->name, name) == 0)
            return place;
        place = place->next;
    } while (place != queue->places);
    return NULL;
}

static struct http_place *add_place(struct http_queue *queue, const char *name)
{
    size_t size = strlen(name) + 1;
    struct http_place *place = calloc(1, sizeof(*place) + size);
    if (!place)
        return NULL;
    memcpy(place->name, name, size);
    if (queue->places) {
        place->next = queue->places;
        place->previous = queue->places->previous;
        place->previous->next = place->next->previous = place;
    } else {
        place->next = place->previous = queue->places = place;
    }
    return place;
}

static void drop_place(struct http_queue *queue, struct http_place *place)
{
    if (queue->places == place)
        queue->places = place->next == place ? NULL : place->next;
    place->previous->next = place->next;
    place->next->previous = place->previous;
    free(place);
}

static void unlink_turn(struct http_turn *turn)
{
    struct http_place *place = turn->place;
    if (turn->previous)
        turn->previous->next = turn->next;
    else
        place->first = turn->next;
    if (turn->next)
        turn->next->previous = turn->previous;
    else
        place->last = turn->previous;
    turn->next = turn->previous = NULL;
}

int http_queue_add(struct http_queue *queue, struct http_turn *turn, const char *name)
{
    struct http_place *place = find(queue, name);
    if (!place)
        place = add_place(queue, name);
    if (!place)
        return -ENOMEM;
    *turn = (struct http_turn){.place = place, .previous = place->last};
    if (place->last)
        place->last->next = turn;
    else
        place->first = turn;
    place->last = turn;
    return 0;
}

struct http_turn *http_queue_take(struct http_queue *queue)
{
    struct http_place *place = queue->places;
    if (!place || queue->in_flight >= LIMIT_HTTP_IN_FLIGHT)
        return NULL;
    do {
        struct http_turn *turn = place->first;
        if (turn && place->in_flight < LIMIT_HTTP_PER_HOST) {
            unlink_turn(turn);
            turn->in_flight = true;
            place->in_flight++;
            queue->in_flight++;
            queue->places = place->next;
            return turn;
        }
        place = place->next;
    } while (place != queue->places);
    return NULL;
}

void http_queue_remove(struct http_queue *queue, struct http_turn *turn)
{
    struct http_place *place = turn->place;
    if (!place)
        return;
    if (turn->in_flight) {
        place->in_flight--;
        queue->in_flight--;
    } else {
        unlink_turn(turn);
    }
    *turn = (struct http_turn){0};
    if (!place->first && place->in_flight == 0)
        drop_place(queue, place);
}
