/* pieces.h: the large pieces that streamed bodies are filled into, shared by all uploads. Out of the
 * heap, which many of them, coming and going between smaller things, leave full of holes. Any
 * thread. */
#ifndef HTTP_PIECES_H
#define HTTP_PIECES_H

#include <pthread.h>
#include <stddef.h>

struct pieces {
    pthread_mutex_t lock; /* guards: what follows */
    void *idle;           /* list: each begins with a pointer to the next */
    size_t n_out;
};

void pieces_init(struct pieces *p);
void pieces_done(struct pieces *p); /* all have been given back */
char *pieces_take(struct pieces *p, size_t size_bytes); /* always of one size */
/* NULL is fine. When none is out any more, the system has them all back. */
void pieces_give(struct pieces *p, char *piece, size_t size_bytes);

#endif
