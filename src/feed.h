/* feed.h: what changed in the tree, told to the front ends, so that nothing in a domain calls up. */
#ifndef FEED_H
#define FEED_H

#include "op/op.h"

struct feed;

struct feed *feed_new(void);
void feed_free(struct feed *f);

/* A subscriber drops what it cached of the nodes. `wait`: it must have done so when it returns (an
 * HTTP answer goes out next); else it may queue. Called from any thread, also from one that serves
 * a FUSE request (then wait is false: waiting there would deadlock). */
typedef void feed_fn(void *ctx, const struct op_change *changes, bool wait, enum door door);
void feed_subscribe(struct feed *f, feed_fn *fn, void *ctx);
void feed_unsubscribe(struct feed *f, feed_fn *fn, void *ctx); /* no call is under way when it returns */

/* Does anybody subscribe? If not, publishing does not wait. */
bool feed_is_watched(struct feed *f);

/* Publishes op->changes and clears them. Front ends call it when an op has succeeded; background
 * work of a domain calls it for its own ops. */
void feed_publish(struct feed *f, struct op *op, bool wait);

#endif
