/* trash.h: what was deleted and may still be had back: .infra/trash/<id>/<file>, until the grace
 * ends. */
#ifndef PACKAGES_TRASH_H
#define PACKAGES_TRASH_H

#include "packages/place.h"

/* node_ops of places in the trash. */
int trash_stat(struct op *op, struct packages *pk, const struct place *p, struct node_stat *ret);
int trash_list(struct op *op, struct packages *pk, const struct place *p, node_emit_fn *emit,
               void *ctx);
int trash_open(struct op *op, struct packages *pk, const struct place *p, struct node_file **ret);

/* Publishes a deleted file again, as it was. Needs the create right. -ENOENT; -EEXIST if a file has
 * its name now. */
int trash_restore(struct op *op, struct packages *pk, const struct place *p);

#endif
