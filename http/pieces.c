#include "http/pieces.h"

#include "base/scope.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void pieces_init(struct pieces *p)
{
    *p = (struct pieces){0};
    pthread_mutex_init(&p->lock, NULL);
}

void pieces_done(struct pieces *p)
{
    pthread_mutex_destroy(&p->lock);
}

char *pieces_take(struct pieces *p, size_t size_bytes)
{
    void *piece;

    {
        guard(&p->lock);
        p->n_out++;
        piece = p->idle;
        if (piece != NULL)
            memcpy(&p->idle, piece, sizeof p->idle);
    }
    if (piece != NULL)
        return piece;
    piece = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED)
        abort(); /* as base/alloc.h does */
    return piece;
}

void pieces_give(struct pieces *p, char *piece, size_t size_bytes)
{
    void *surplus = NULL;

    if (piece == NULL)
        return;
    {
        guard(&p->lock);
        memcpy(piece, &p->idle, sizeof p->idle);
        p->idle = piece;
        if (--p->n_out == 0)
            surplus = take(p->idle);
    }
    while (surplus != NULL) {
        void *next;

        memcpy(&next, surplus, sizeof next);
        munmap(surplus, size_bytes);
        surplus = next;
    }
}
