/* op.h: one operation: who asks, scratch memory that dies with it, why it failed, what it changed.
 *
 * A front end opens an op for each FUSE call and HTTP request; background work opens its own. It
 * goes down through one domain into the store; results are integers, 0 or a negative errno. An op
 * belongs to one thread at a time. */
#ifndef OP_OP_H
#define OP_OP_H

#include "base/log.h"
#include "base/slice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <sys/types.h>

struct identity; /* identity/identity.h */

enum door { DOOR_INTERNAL, DOOR_HTTP, DOOR_MOUNT };

/* A node of the tree that this op changed, so that front ends drop what they cached of it. */
struct op_change {
    struct op_change *next;
    const char *path;    /* absolute in the tree, "/packages/foo/foo-1.0.tar.gz" */
    unsigned what;       /* enum op_change_what, or-ed */
};
enum op_change_what {
    CHANGE_CONTENT = 1,  /* bytes, size or attributes of the node */
    CHANGE_ENTRY = 2,    /* the node came, went or was replaced in its folder */
    CHANGE_SUBTREE = 4,  /* everything below it too */
};

struct op_chunk;
struct op {
    const struct identity *who;  /* borrowed; never NULL: the door decides before a domain sees it */
    enum door door;
    char id[37];                 /* request id, a UUID; made when first asked for: op_id() */
    const char *remote;          /* HTTP: the peer's address; else "" */
    uid_t uid;                   /* MOUNT: the caller; else (uid_t)-1 */
    gid_t gid;
    pid_t pid;                   /* MOUNT: 0 if in another pid namespace */
    int err;                     /* what op_fail set, negative; 0 */
    const char *why;             /* the reason, one line; NULL */
    struct op_change *changes;   /* newest first */
    bool limits_kept;            /* the request was held against what policies say of parameters */
    struct slice audit_values;   /* a JSON array: HMACs of the values that were handed over */
    bool wiped;                  /* the arena held a secret: it is overwritten before it is freed */
    /* private */
    struct op_chunk *chunk;
    size_t used;
};

void op_init(struct op *op, enum door door, const struct identity *who);
void op_done(struct op *op);       /* frees the arena */
const char *op_id(struct op *op);

/* Memory of the op; zeroed. Never NULL. For sizes with a fixed bound; content streams elsewhere. */
void *op_alloc(struct op *op, size_t n);
char *op_strdup(struct op *op, const char *s);
char *op_strndup(struct op *op, const void *s, size_t n);  /* NUL-terminated copy of n bytes */
char *op_printf(struct op *op, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct slice op_slice(struct op *op, struct slice s);      /* copy, with a NUL behind it */

/* Says why, once: the first reason stays. Returns -err (err is positive: ENOENT). Text: lower case,
 * no full stop, what failed first, subject in single quotes, no secret's value, the fix last. */
int op_fail(struct op *op, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *op_why(const struct op *op, int err); /* the reason, or strerror's text for err */
void op_forgive(struct op *op);                   /* forget the reason: the caller goes on */

/* Notes that a node changed. Front ends publish it when the op has succeeded. */
void op_changed(struct op *op, unsigned what, const char *path_format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_event(level, op, event, ...)                                                           \
    do {                                                                                           \
        if ((level) <= log_get_level())                                                            \
            log_line((level), (op) != NULL ? op_id(op) : NULL, (event), __VA_ARGS__);              \
    } while (0)

#endif
