/* tree_place.h: what a path of the tree names. */
#ifndef SECRETS_TREE_PLACE_H
#define SECRETS_TREE_PLACE_H

#include "identity/identity.h"
#include "secrets/object.h"
#include "secrets/secrets.h"
#include "secrets/tree_value.h"

enum place_kind {
    PLACE_ABSENT, /* nothing; `path` and `field` say what a new field here would be */
    PLACE_FOLDER,
    PLACE_FIELD,
    PLACE_DOCKER_ENV, /* @docker-env: to be read only */
    PLACE_ENV, /* @env, @json, @yaml: the whole secret */
    PLACE_JSON,
    PLACE_YAML,
    PLACE_META,
    PLACE_WATCH,     /* @watch: a line at each change */
    PLACE_VERSIONS,  /* @versions */
    PLACE_VERSION,   /* @versions/3 */
    PLACE_OLD_FIELD, /* @versions/3/key */
};

/* All in the op, but for the mount. */
struct place {
    struct secrets *s;
    struct mount *mount; /* a reference: place_done */
    enum place_kind kind;
    bool is_root;      /* the folder that holds all services */
    bool is_key;       /* named by @key: */
    const char *path;  /* in the mount: of the folder, or of the field's secret */
    const char *child; /* PLACE_ABSENT: the path of a new folder of this name; else NULL */
    struct slice field;
    bool has_folder; /* PLACE_FOLDER: a folder's row, not hidden */
    bool has_secret; /* the secret at `path` is there and can be read */
    struct kv_entry folder, secret;
    struct kv_version version; /* what content is of */
    struct kv_content content;
    struct object object;
    const struct member *member; /* of fields */
};

/* What the path names, which the caller may know of or not; where he has no right at all nobody
 * looks, and it is as if nothing were there. 0 (also PLACE_ABSENT), -EACCES sealed (with the
 * reason), -ENOENT: a name that means nothing. */
int place_find(struct op *op, struct secrets *s, const char *path, struct place *ret);
void place_done(struct place *p);
/* Reads the current content of the secret at p->path into it. -ENOENT: none can be read. */
int place_load(struct op *op, struct place *p);
/* The same for one version: -ENOENT deleted, -ENODATA destroyed. */
int place_load_version(struct op *op, struct place *p, uint32_t number);

bool place_is_whole(const struct place *p); /* @env, @docker-env, @json, @yaml */

/* Rights, as over HTTP, on secret/data/PATH. */
bool place_may(struct op *op, const char *path, unsigned rights);
/* May the caller make something at the path, or anything below it? */
bool place_may_add(struct op *op, const char *path);
/* May the caller know of the folder? */
bool place_is_visible(struct op *op, const char *path);
/* -ENOENT if the caller may not know of it. */
int place_check_visible(struct op *op, const struct place *p);
/* -EACCES with the reason. */
int place_check(struct op *op, const struct place *p, unsigned rights);

#endif
