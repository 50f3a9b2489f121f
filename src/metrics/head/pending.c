/* Batches that are to be on disk before their senders hear of them. Who brings one while nobody
 * writes, writes: what waits, in its order, then one sync for all of it, and so on until nothing
 * waits. Who comes meanwhile only adds to what waits. */
#include "metrics/head/db_internal.h"

#define WAITING_MAX (4u << 20) /* samples; who brings more waits for room */

/* NULL: nothing waits, and nobody writes from now on. */
static struct db_pending *take_all(struct db *db)
{
    struct db_pending *first;

    guard(&db->pending_lock);
    first = db->pending;
    db->pending = NULL;
    db->pending_last = &db->pending;
    db->pending_samples = 0;
    db->pending_led = first != NULL;
    pthread_cond_broadcast(&db->pending_room);
    return first;
}

static void write_all(struct db *db, struct db_pending *first)
{
    int synced;

    for (struct db_pending *p = first; p != NULL; p = p->next)
        p->r = db_append_batch(db, &p->batch, &p->result);
    synced = db_sync(db); /* also of samples that were there already: their sync may have failed */
    for (struct db_pending *p = first; p != NULL;) {
        struct db_pending *next = p->next;

        p->done(p, p->r == 0 ? synced : p->r); /* p is no more */
        p = next;
    }
}

/* Does the caller write from now on? */
static bool add(struct db *db, struct db_pending *p)
{
    bool leads;

    guard(&db->pending_lock);
    while (db->pending_led && db->pending_samples > WAITING_MAX)
        pthread_cond_wait(&db->pending_room, &db->pending_lock);
    p->next = NULL;
    *db->pending_last = p;
    db->pending_last = &p->next;
    db->pending_samples += p->batch.n;
    leads = !db->pending_led;
    db->pending_led = true;
    return leads;
}

void db_append_durable(struct db *db, struct db_pending *p)
{
    if (!add(db, p))
        return;
    for (struct db_pending *first; (first = take_all(db)) != NULL;)
        write_all(db, first);
}
