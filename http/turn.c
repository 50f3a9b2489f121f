#include "http/request.h"

#include "base/scope.h"

/* So many have the turn at once: while one waits for the disk the next makes its batch. */
#define TURNS 2u

static void give(struct request *r)
{
    r->has_turn = true;
    pool_submit(r->http->workers, request_run_job, r);
}

void turn_take(struct request *r)
{
    struct turns *t = &r->http->turns;
    guard(&t->lock);

    r->next = NULL;
    if (t->taken == TURNS) {
        *t->last = r;
        t->last = &r->next;
        return;
    }
    t->taken++;
    give(r);
}

void turn_pass(struct request *r)
{
    struct turns *t = &r->http->turns;
    struct request *next;
    guard(&t->lock);

    r->has_turn = false;
    next = t->first;
    if (next == NULL) {
        t->taken--;
        return;
    }
    t->first = next->next;
    if (t->first == NULL)
        t->last = &t->first;
    give(next);
}
