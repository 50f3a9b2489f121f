/* tree_file.h: opening the files of a secret. */
#ifndef SECRETS_TREE_FILE_H
#define SECRETS_TREE_FILE_H

#include "secrets/tree_place.h"

/* A field: a reader has its bytes, a writer makes one new version at commit. */
int field_open(struct op *op, struct place *p, unsigned flags, struct node_file **ret);
/* @env, @json, @yaml, @meta. */
int alias_open(struct op *op, struct place *p, unsigned flags, struct node_file **ret);
/* @watch: a stream of lines, "VERSION live|deleted TIME", one after each change of the secret. */
int watch_open(struct op *op, struct place *p, struct node_file **ret);
/* What an alias reads as, in the op. */
int alias_render(struct op *op, struct place *p, struct slice *ret);
/* What was written to @json, @env or @yaml, as the content of the secret: its current one, if any,
 * is in p. -EINVAL with the reason. */
int alias_parse(struct op *op, const struct place *p, struct slice text, struct kv_content *ret);

/* tree_env.c: KEY=value lines, quoted as a shell does; tree_yaml.c: a map. Each appends, or fills
 * members; `binary` names values that are bytes. */
/* As docker run --env-file reads it: verbatim. */
void docker_env_print(struct op *op, const struct kv_content *content, const struct object *o,
                      struct buf *out);
void env_print(struct op *op, const struct kv_content *content, const struct object *o,
               struct buf *out);
int env_parse(struct op *op, const struct place *p, struct slice text, struct kv_content *ret);
void yaml_print(const struct object *o, struct buf *out);
int yaml_read(struct op *op, struct slice text, struct slice *ret);

/* Puts content as the next version of the secret, if it is still at p->version; durable. -EAGAIN.
 */
int secret_put(struct op *op, struct place *p, const struct kv_content *content);

#endif
