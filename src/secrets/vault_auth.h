/* vault_auth.h: what the ways to log in share. */
#ifndef SECRETS_VAULT_AUTH_H
#define SECRETS_VAULT_AUTH_H

#include "identity/tokens.h"
#include "secrets/vault.h"

/* Answers with "auth" of a token; `token` is its text, "" where it is not told. */
void vault_answer_auth(struct web_request *req, struct web_response *resp,
                       const struct token_info *t, const char *token);
/* The same with warnings, NULL-terminated. */
void vault_answer_auth_warned(struct web_request *req, struct web_response *resp,
                              const struct token_info *t, const char *token,
                              const char *const *warnings);
/* What Vault warns of: policies that are not there, a ttl that was cut. In the op. */
const char *const *vault_token_warnings(struct web_request *req, const struct token_info *t,
                                        const struct token_wish *wish);

/* What is sent for a new token. Policies in lower case, without blanks around and empty ones: */
const char *const *token_clean_policies(struct op *op, const char *const *list);
/* A name of letters, digits and '-' alone: it stands in the audit log. */
const char *token_plain_name(struct op *op, const char *name);
/* An object whose values are strings: numbers and booleans become some. -EINVAL. */
int token_clean_meta(struct op *op, struct slice *meta);

/* The settings token_* of a user, of a role: kept as they were sent, members of one object. */

/* Are these settings possible? Vault's texts. */
int login_check(struct op *op, const struct object *o);
/* Those of `body` over those of `old` (may be empty), as text. `more` are further members to keep,
 * NULL-terminated. */
int login_merge(struct op *op, const struct object *old, const struct object *body,
                const char *const *more, struct buf *out);
/* The token that such settings give, from this mount. */
int login_wish(struct op *op, const struct object *o, struct mount *mount, struct token_wish *ret);
/* The mount's ttls alone. */
void login_mount_ttls(struct mount *mount, struct token_wish *ret);
/* May a login come from here? -EPERM. */
int login_check_address(struct op *op, const struct object *o);
/* Members token_… of an answer. */
void login_json(struct op *op, struct json *j, const struct object *o);

/* Who logs in: an entity of this mount, or of all mounts (user of the user file; mount NULL). */
const struct policy_entity *login_entity(struct secrets *s, struct op *op,
                                         const struct mount *mount, const char *name);

int64_t object_seconds(struct op *op, const struct object *o, const char *key);
int64_t object_number(struct op *op, const struct object *o, const char *key);
bool object_flag(const struct object *o, const char *key, bool standard);
/* A list as Vault shows it; `null_if_absent`: null, else []. */
void json_klist(struct op *op, struct json *j, const char *key, struct slice value,
                bool null_if_absent);
int object_list(struct op *op, const struct object *o, const char *key, const char *const **ret);
/* A duration that is there is one; a number is not negative. */
int object_check_seconds(struct op *op, const struct object *o, const char *key);

/* Rows that are objects, encrypted, keyed by a mount's id and a blinded name. */
struct vault_rows {
    struct slice part;
    uint8_t kind; /* for the blinding; of these rows alone */
};
#define VAULT_ROW_BYTES (KV_ID_BYTES + KEYRING_BLIND_BYTES)
int rows_key(struct secrets *s, const struct vault_rows *rows, const struct mount *mount,
             const char *name, uint8_t ret[VAULT_ROW_BYTES]);
/* -ENOENT. *ret_raw (may be NULL): the row as stored, for a guard. In the op. */
int rows_load(struct secrets *s, struct op *op, const struct vault_rows *rows,
              const struct mount *mount, const char *name, struct object *ret,
              struct slice *ret_raw);
/* Empty text: deletes. */
int rows_put(struct secrets *s, const struct vault_rows *rows, struct store_batch *batch,
             const struct mount *mount, const char *name, struct slice text);
int rows_store(struct secrets *s, const struct vault_rows *rows, const struct mount *mount,
               const char *name, struct slice text);
/* Every row of a mount; f's non-zero result ends it. */
int rows_each(struct secrets *s, struct op *op, const struct vault_rows *rows,
              const struct mount *mount, int (*f)(void *ctx, const struct object *o), void *ctx);
/* Answers with {"keys": [the "name" of each row]}, or -ENOENT without any. `is`: of those rows alone
 * whose "is" says so; NULL: of all. */
int rows_answer_names(struct web_request *req, struct web_response *resp,
                      const struct vault_rows *rows, const struct mount *mount, const char *is);
int rows_drop(struct secrets *s, const struct vault_rows *rows, const struct mount *mount);

#endif
