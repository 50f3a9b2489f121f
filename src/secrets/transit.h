/* transit.h: keys that never leave, and what is done with them.
 *
 * A key is a row of its settings and a row for each version (partition "secrets/transit"; key =
 * the mount's id, the blinded name, the version, 0 for the settings), encrypted as all else; both
 * change in one batch. Nothing is cached: what was read lives in the op, which is wiped.
 *
 * Formats are those of OpenBao 2.7.2 (sdk/helper/keysutil): "vault:vN:" and base64 of
 * nonce, ciphertext, tag; keys derived by HKDF-SHA256 with the context as info; convergent nonces
 * of version 3, HMAC-SHA256 over the plaintext under the second half of the derived bytes. */
#ifndef SECRETS_TRANSIT_H
#define SECRETS_TRANSIT_H

#include "secrets/vault.h"

#include <openssl/evp.h>

#define TRANSIT_PART         SLICE("secrets/transit")
#define TRANSIT_ROW_BYTES    (KV_ID_BYTES + KEYRING_BLIND_BYTES + 4)
#define TRANSIT_VERSIONS_MAX 10000

enum transit_family { TRANSIT_AEAD, TRANSIT_ED25519, TRANSIT_ECDSA, TRANSIT_RSA, TRANSIT_HMAC };

struct transit_type {
    const char *name;
    enum transit_family family;
    int number;     /* in OpenBao's backups */
    int key_bytes;  /* AEAD */
    int bits;       /* RSA, and the curve of ECDSA */
    const char *shown; /* "P-256" */
};
const struct transit_type *transit_type_find(const char *name); /* NULL */
const struct transit_type *transit_type_numbered(int64_t number);

struct transit_key {
    const char *name;
    const struct transit_type *type;
    bool derived, convergent, exportable, plaintext_backup, deletion_allowed, imported;
    bool imported_rotation; /* of an imported one: rotate is allowed, and makes it one of ours */
    int64_t min_decryption, min_encryption, min_available, latest;
    int64_t auto_rotate_s, key_size;
    uint8_t row[TRANSIT_ROW_BYTES];
    struct slice raw; /* the row as stored: the guard of a change; empty: new */
};

struct transit_version {
    int64_t number, created_ns;
    struct slice key;      /* AEAD: the key; ed25519: seed and public key; else PKCS #8 in DER */
    struct slice hmac_key;
    EVP_PKEY *pkey;        /* of transit_version_open; freed by transit_version_done */
};
void transit_version_done(struct transit_version *v);

/* -ENOENT without a reason: there is none. Rotates it first where its period is over. */
int transit_load(struct kv_request *q, const char *name, struct transit_key *ret);
int transit_load_version(struct kv_request *q, const struct transit_key *k, int64_t number,
                         struct transit_version *ret);
/* Makes the first or the next version, and commits. -EAGAIN: somebody else was first. */
int transit_rotate(struct kv_request *q, struct transit_key *k);
/* The same with a version that was made elsewhere; sets its number and time. */
int transit_add(struct kv_request *q, struct transit_key *k, struct transit_version *v);
int transit_save(struct kv_request *q, const struct transit_key *k);  /* the settings */
int transit_delete(struct kv_request *q, const struct transit_key *k);
/* Replaces all of a key by these versions. */
int transit_put(struct kv_request *q, const struct transit_key *k, struct transit_version *versions,
                size_t n);
int transit_trim(struct kv_request *q, const struct transit_key *k, int64_t from, int64_t to);
int transit_key_row(struct kv_request *q, const char *name, uint8_t ret[TRANSIT_ROW_BYTES]);
/* Names of the mount's keys, sorted, in the op. */
int transit_names(struct kv_request *q, const char ***ret, size_t *ret_n);
int transit_drop(struct secrets *s, const struct mount *mount); /* all rows of a mount */
/* Does this mount make a key that encrypt asks for and that is not there? */
int transit_upsert_allowed(struct kv_request *q, bool *ret);
int transit_set_upsert(struct kv_request *q, bool allowed);

/* The private key (or, of ed25519, the key pair) as OpenSSL's. -EIO. */
int transit_version_open(const struct transit_key *k, struct transit_version *v);
/* A new key of the type, as it is stored. */
int transit_generate(struct op *op, const struct transit_key *k, struct transit_version *ret);

/* "vault:v3:…" split. `what` names it in the error: "ciphertext", "signature", "HMAC". */
int transit_split(struct op *op, const struct transit_key *k, const char *text, const char *what,
                  int64_t *ret_version, const char **ret_rest);
/* Go's text for what is no base64. Decodes into the op. */
int transit_base64(struct op *op, const char *prefix, struct slice text, struct slice *ret);

struct transit_cipher {
    const struct transit_key *key;
    const struct transit_version *version;
    struct slice context, aad;
};
int transit_encrypt(struct op *op, const struct transit_cipher *c, struct slice plain,
                    struct buf *out);
int transit_decrypt(struct op *op, const struct transit_cipher *c, struct slice sealed,
                    struct slice *ret);
int transit_check_context(struct op *op, const struct transit_key *k, struct slice context);

struct transit_signing {
    const struct transit_key *key;
    struct transit_version *version;
    struct slice context;
    const char *hash;      /* "sha2-256", "none" */
    const char *algorithm; /* "pss", "pkcs1v15" */
    bool prehashed, jws;
    int salt; /* RSA_PSS_SALTLEN_*, or bytes; 0: auto */
};
int transit_sign(struct op *op, const struct transit_signing *s, struct slice input,
                 struct slice *ret, struct slice *ret_public);
int transit_verify(struct op *op, const struct transit_signing *s, struct slice input,
                   struct slice signature, bool *ret);
/* "sha2-256" and its sisters; NULL: not one of them. `sha1` where that is allowed. */
const EVP_MD *transit_digest(const char *name, bool with_sha1);
int transit_hmac(struct op *op, struct slice key, const EVP_MD *md, struct slice input,
                 struct slice *ret);
/* The public part: PEM, or base64 for ed25519. `context` derives it. */
int transit_public(struct op *op, const struct transit_key *k, struct transit_version *v,
                   struct slice context, const char **ret);

int transit_handle(struct kv_request *q); /* everything below the mount */
int transit_data(struct kv_request *q, const char *verb, const char *rest);
int transit_signatures(struct kv_request *q, const char *verb, const char *rest);
int transit_export(struct kv_request *q, const char *rest);
int transit_wrapping_key(struct kv_request *q);
int transit_import(struct kv_request *q, const char *name);
int transit_import_version(struct kv_request *q, const char *name);
/* auto_rotate_period of a body; unchanged if it is not there. */
int transit_read_period(struct op *op, const struct object *body, int64_t *ret_s);
int transit_backup(struct kv_request *q, const char *name);
int transit_restore(struct kv_request *q, const char *name);
/* A backup's JSON. k->name stays if it is set. -EINVAL with the reason. */
int transit_backup_parse(struct op *op, struct slice text, struct transit_key *k,
                         struct transit_version **ret, size_t *ret_n);
void transit_json(struct kv_request *q, struct json *j, const struct transit_key *k, int *ret);
int transit_answer_key(struct kv_request *q, const struct transit_key *k);
/* A member that is base64: decoded, in the op. Empty if it is absent. */
int transit_member(struct op *op, const struct object *o, const char *key, const char *prefix,
                   struct slice *ret);

#endif
