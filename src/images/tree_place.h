/* tree_place.h: what a path below images/ names, and what is inside the folder of a manifest. */
#ifndef IMAGES_TREE_PLACE_H
#define IMAGES_TREE_PLACE_H

#include "images/state.h"
#include "node.h"

enum place_kind {
    PLACE_NAME,      /* a folder, a repository, or a tag in one: `name` */
    PLACE_TAGS,      /* <repo>/@tags */
    PLACE_TAG,       /* <repo>/@tags/<rest>, or <repo>:<rest> as docker writes it */
    PLACE_MANIFESTS, /* <repo>/@manifests */
    PLACE_MANIFEST,  /* <repo>/@manifests/<digest>[/<rest>] */
    PLACE_OCI,       /* <repo>/@oci[/<rest>] */
    PLACE_BLOBS,     /* @blobs */
    PLACE_ALGORITHM, /* @blobs/<algorithm> */
    PLACE_BLOB,      /* @blobs/<algorithm>/<hex> */
};

struct place {
    enum place_kind kind;
    const char *name; /* what stands before an @: a repository; "" at the top */
    const char *rest;
    const char *to_repo;  /* a tag: the way from its folder to the repository's, "" or "…/" */
    struct digest digest; /* MANIFEST, BLOB; ALGORITHM: only its algorithm */
};

/* Pure. -ENOENT: nothing can be there. */
int place_parse(struct op *op, const char *path, struct place *ret);

/* A folder or file that only pushes change. */
void node_fixed(enum node_type type, uint64_t size_bytes, int64_t unix_ms, struct node_stat *ret);

/* Inside <repo>/@manifests/<digest>/, `rest` "" for the folder itself. The repository may be read.
 */
int manifest_node_stat(struct op *op, struct images *im, const struct place *p,
                       struct node_stat *ret);
int manifest_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                       void *ctx);
int manifest_node_open(struct op *op, struct images *im, const struct place *p,
                       struct node_file **ret);
int manifest_node_readlink(struct op *op, struct images *im, const struct place *p,
                           const char **ret);

/* @blobs. */
int blob_node_stat(struct op *op, struct images *im, const struct place *p, struct node_stat *ret);
int blob_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                   void *ctx);
int blob_node_open(struct op *op, struct images *im, const struct place *p, struct node_file **ret);

/* <repo>/@oci, an OCI image layout. The repository may be read. */
int layout_node_stat(struct op *op, struct images *im, const struct place *p,
                     struct node_stat *ret);
int layout_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                     void *ctx);
int layout_node_open(struct op *op, struct images *im, const struct place *p,
                     struct node_file **ret);

/* tree_xattr.c: members of node_ops. */
int tree_node_getxattr(struct op *op, void *self, const char *path, const char *name,
                       struct slice *ret);
int tree_node_listxattr(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx);

#endif
