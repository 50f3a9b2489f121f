/* metrics_tree.h: for the files of the tree below metrics/. */
#ifndef METRICS_METRICS_TREE_H
#define METRICS_METRICS_TREE_H

#include "metrics/metrics.h"

#define TREE_NAME_MAX 200 /* longer names are cut and end in a hash */

/* A text as one name of the tree: '/', '%' and control bytes are percent-encoded. */
void tree_name_encode(struct buf *out, struct slice text);
bool tree_may(struct op *op, unsigned rights);

/* series/<metric>/<labels>; path is what stands behind "series", "" for the folder itself. */
int tree_series_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret);
int tree_series_list(struct op *op, struct metrics *m, const char *path, node_emit_fn *emit,
                     void *ctx);
int tree_series_read(struct op *op, struct metrics *m, const char *path, struct buf *ret);

/* targets/<job>/<instance> */
int tree_targets_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret);
int tree_targets_list(struct op *op, struct metrics *m, const char *path, node_emit_fn *emit,
                      void *ctx);
int tree_targets_read(struct op *op, struct metrics *m, const char *path, struct buf *ret);
/* Makes a target, or gives one that was made here other labels. */
int tree_targets_write(struct op *op, struct metrics *m, const char *path, unsigned flags,
                       struct node_file **ret);
int tree_targets_remove(struct op *op, struct metrics *m, const char *path);

/* push/<name>.prom */
int tree_push_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret);
int tree_push_list(struct op *op, struct metrics *m, const char *path, node_emit_fn *emit,
                   void *ctx);
int tree_push_read(struct op *op, struct metrics *m, const char *path, struct buf *ret);
int tree_push_write(struct op *op, struct metrics *m, const char *path, unsigned flags,
                    struct node_file **ret);
int tree_push_remove(struct op *op, struct metrics *m, const char *path);

/* rules/<name>.yml */
int tree_rules_stat(struct op *op, struct metrics *m, const char *name, struct node_stat *ret);
int tree_rules_list(struct op *op, struct metrics *m, const char *name, node_emit_fn *emit,
                    void *ctx);
int tree_rules_open(struct op *op, struct metrics *m, const char *name, unsigned flags,
                    struct node_file **ret);
int tree_rules_remove(struct op *op, struct metrics *m, const char *name);

/* query/<promql>, range/<duration>[:<step>]/<promql>. Their folders list nothing. */
int tree_query_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret);
int tree_query_read(struct op *op, struct metrics *m, const char *path, struct buf *ret);
int tree_range_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret);
int tree_range_read(struct op *op, struct metrics *m, const char *path, struct buf *ret);

#endif
