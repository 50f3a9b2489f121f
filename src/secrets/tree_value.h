/* tree_value.h: a JSON value as the bytes of a file, and back.
 *
 * A string is its bytes. Bytes that are no UTF-8 are kept as base64, and their key is named beside
 * the object (kv.h). Every other value, and a string with half a surrogate pair, is its JSON text;
 * it keeps its type if what is written is text of that type (one newline behind it, which editors
 * add, is not counted), else it becomes a string. */
#ifndef SECRETS_TREE_VALUE_H
#define SECRETS_TREE_VALUE_H

#include "secrets/kv.h"
#include "secrets/object.h"

struct slice value_bytes(struct op *op, const struct kv_content *content, const struct member *m);
/* `old` (may be NULL) is what stands there. *ret_value is JSON text, in the op. */
void value_of_bytes(struct op *op, const struct member *old, bool old_is_binary, struct slice bytes,
                    struct slice *ret_value, bool *ret_binary);
bool value_is_binary(const struct kv_content *content, struct slice key);
/* Names in `to` the fields that were binary in `from` and have the same text still. */
int content_keep_binary(struct op *op, const struct kv_content *from, struct kv_content *to);
/* The content with `key` set to a value, or without it (value.len 0). */
void content_edit(struct op *op, const struct kv_content *content, const struct object *o,
                  struct slice key, struct slice value, bool binary, struct kv_content *ret);

#endif
