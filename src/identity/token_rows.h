/* token_rows.h: tokens in the store. Private to token*.c.
 *
 * Rows of the partition identity/tokens: "t/<id>" the record (JSON), "a/<accessor>" its id,
 * "c/<parent>/<id>" the children, "e/<expiry, 16 hex digits of ms>/<id>" what ends when,
 * "l/<lease>" its id. All rows of a token change in one batch. */
#ifndef IDENTITY_TOKEN_ROWS_H
#define IDENTITY_TOKEN_ROWS_H

#include "identity/state.h"
#include "identity/tokens.h"

#include <jansson.h>

#define TOKEN_PARTITION SLICE("identity/tokens")

/* A record read back: `info` borrows from `json`. */
struct token_record {
    json_t *json;
    const char **policies;
    const char **cidrs;
    char *meta;
    struct token_info info;
};

void token_record_print(const struct token_info *t, struct buf *out);
/* `json` as printed; -EPROTO. */
int token_record_parse(struct slice json, const char *id, struct token_record *ret);
/* -ENOENT; -EPROTO if the row is damaged. */
int token_record_load(struct store *s, const char *id, struct token_record *ret);
void token_record_done(struct token_record *r);
void token_record_copy(struct op *op, const struct token_info *from, struct token_info *ret);

void token_rows_put(struct store_batch *b, const struct token_info *t, int64_t old_expire_unix_ms);
void token_rows_delete(struct store_batch *b, const struct token_info *t);
/* The row of a child whose parent goes, so that it becomes an orphan. */
int token_rows_orphan(struct store *s, struct store_batch *b, const char *child);

/* The id of an accessor, in the op. -ENOENT. */
int token_rows_by_accessor(struct store *s, struct op *op, const char *accessor, const char **ret);
/* The id behind a lease, in the op. -ENOENT. */
int token_rows_by_lease(struct store *s, struct op *op, const char *lease, const char **ret);
/* Ids that stand below a prefix of keys, at their end; f's non-zero result ends it. */
int token_rows_each(struct store *s, const char *prefix, const char *end,
                    int (*f)(void *ctx, const char *id), void *ctx);

#endif
