/* kv.h: a KV mount: secrets with versions, in folders.
 *
 * A mount is one partition. Each folder has a random id; a row of a folder or a secret is keyed by
 * its parent's id and its blinded name, so moving a folder, however large, moves one row. Contents
 * are rows of the secret's id and the version. README.md has the layout.
 *
 * A secret's content is the JSON object its client wrote, byte for byte. Members whose value is no
 * UTF-8 (a file may hold any bytes) are strings of base64 in it, and named in `binary`.
 *
 * Paths are inside the mount: "app/db", no slash at either end; "" is its root. What is returned
 * lives in the op. Reads: 0, -ENOENT, -ESHUTDOWN (sealed), -EIO (damaged). Changes make a batch,
 * which the caller commits: over HTTP with the answer, else with kv_commit; if a guard fails
 * (-EAGAIN), somebody else was first, and the change is to be made again from its start. The calls
 * marked "at once" commit by themselves. Any thread. */
#ifndef SECRETS_KV_H
#define SECRETS_KV_H

#include "op/op.h"
#include "secrets/keyring.h"

#define KV_ID_BYTES       16
#define KV_MAX_VERSIONS   10   /* kept if neither secret nor mount say */
#define KV_VERSIONS_LIMIT 1000 /* the most that may be asked for */
#define KV_NAME_BYTES     1024 /* one component of a path */
#define KV_PATH_BYTES     4095
#define KV_CUSTOM_BYTES   36000 /* custom_metadata, as JSON */
#define KV_FIELDS_LIMIT   65536
#define KV_CONTENT_BYTES  (32u << 20)

struct kv;
struct kv_listings;

struct kv_config {
    uint32_t max_versions; /* 0: KV_MAX_VERSIONS */
    bool cas_required;
    bool metadata_cas_required;
    int64_t delete_after_ns; /* 0: never */
};

/* Lists of names that are kept in memory, of all mounts. They outlive a mount that is opened again:
 * what it had under way still counts. */
struct kv_listings *kv_listings_new(void);
void kv_listings_unref(struct kv_listings *l);
void kv_listings_forget(struct kv_listings *l); /* wiped: at a seal */

/* id: of the mount, also in its partition's name. Takes a reference to listings. Returns new. */
struct kv *kv_new(struct store *store, struct keyring *keyring, struct kv_listings *listings,
                  const uint8_t id[KV_ID_BYTES], const struct kv_config *config,
                  uint64_t field_limit_bytes);
void kv_free(struct kv *kv);
struct kv_config kv_get_config(struct kv *kv);
void kv_set_config(struct kv *kv, const struct kv_config *config);
int kv_drop(struct kv *kv);    /* all rows */
void kv_forget(struct kv *kv); /* names kept in memory: at a seal */

enum kv_kind { KV_FOLDER = 1, KV_SECRET = 2 };

enum kv_folder_flags {
    KV_KEPT = 1,   /* made by mkdir: it stays when it is empty */
    KV_HIDDEN = 2, /* removed from the tree, though deleted secrets are in it */
    KV_DYING = 4,  /* about to be removed if it is empty: whoever adds to it takes this back */
};

struct kv_version {
    uint32_t number;
    int64_t created_ns;
    int64_t deletion_ns; /* 0: none; may lie in the future */
    bool destroyed;
    uint16_t chunks; /* rows its content takes */
};

#define KV_ROW_KEY_BYTES (1 + KV_ID_BYTES + KEYRING_BLIND_BYTES)

/* A row of a folder: another folder, or a secret. */
struct kv_entry {
    enum kv_kind kind;
    uint8_t key[KV_ROW_KEY_BYTES];
    struct slice raw; /* the row as stored: the guard of a change */
    struct slice name;
    uint8_t id[KV_ID_BYTES];
    unsigned folder_flags; /* KV_FOLDER; enum kv_folder_flags */
    int64_t created_ns;
    /* KV_SECRET */
    int64_t updated_ns;
    uint32_t current, oldest; /* 0: no version yet; none dropped yet */
    uint32_t max_versions;    /* 0: the mount's */
    uint32_t metadata_version; /* how often its settings were written */
    bool cas_required, metadata_cas_required;
    bool is_protected;       /* content, name and life stay as they are: -EPERM */
    int64_t delete_after_ns; /* 0: the mount's */
    struct slice custom;     /* JSON object; empty: none */
    const uint8_t *versions; /* n_versions packed, ascending: kv_version_at */
    size_t n_versions;
};

void kv_version_at(const struct kv_entry *e, size_t i, struct kv_version *ret);
int kv_version_find(const struct kv_entry *e, uint32_t number,
                    struct kv_version *ret); /* 0: the current one */
bool kv_version_is_live(const struct kv_version *v);
bool kv_is_live(const struct kv_entry *e); /* its current version can be read */

struct kv_content {
    struct slice text;    /* the object */
    struct slice *binary; /* keys whose strings are base64 of bytes */
    size_t n_binary;
};

int kv_path_check(struct op *op, const char *path);
int kv_find(struct op *op, struct kv *kv, const char *path, struct kv_entry *ret); /* a secret */
int kv_find_folder(struct op *op, struct kv *kv, const char *path, struct kv_entry *ret);
/* Finds the secret and a version of it (0: the current one), and reads that if it is live, else
 * content is empty. */
int kv_get(struct op *op, struct kv *kv, const char *path, uint32_t number,
           struct kv_entry *ret_secret, struct kv_version *ret_version, struct kv_content *ret);
/* -ESTALE: the secret has changed since it was found, and this version is gone. */
int kv_read(struct op *op, struct kv *kv, const struct kv_entry *secret,
            const struct kv_version *version, struct kv_content *ret);
/* The names in a folder, sorted; of a secret and a folder of one name the secret comes first. */
struct kv_name {
    struct slice name;
    enum kv_kind kind;
};
int kv_names(struct op *op, struct kv *kv, const char *path, struct kv_name **ret, size_t *ret_n);
/* The entries of a folder, sorted by name. -ENOENT if there is no such folder. */
int kv_list(struct op *op, struct kv *kv, const char *path, struct kv_entry **ret, size_t *ret_n);

/* Its content was handed out. Does not wait. */
void kv_note_read(struct kv *kv, const uint8_t id[KV_ID_BYTES]);
/* 0: never, or before a daemon was killed that had not noted it yet. */
int kv_last_read(struct kv *kv, const uint8_t id[KV_ID_BYTES], int64_t *ret_unix_s);

/* A new version. cas: the version it must follow, -1 if it may be any. *ret is NULL, or a batch of
 * this mount to add to, so that two secrets change at once. ret_version may be NULL.
 * -EINVAL with Vault's text: cas does not match or is missing. -EFBIG: a limit. */
int kv_put(struct op *op, struct kv *kv, const char *path, const struct kv_content *content,
           int64_t cas, struct store_batch **ret, struct kv_version *ret_version);
/* The same for who has read the secret at version `current` (0: there was none) and made the
 * content of it: -EAGAIN if somebody came between. */
int kv_replace(struct op *op, struct kv *kv, const char *path, const struct kv_content *content,
               uint32_t current, struct store_batch **ret);
enum kv_fate { KV_DELETE, KV_UNDELETE, KV_DESTROY };
/* n 0: the current version. *ret is NULL if nothing changes. */
int kv_doom(struct op *op, struct kv *kv, const char *path, enum kv_fate fate,
            const uint32_t *versions, size_t n, struct store_batch **ret);

struct kv_change {
    bool set_max_versions, set_cas_required, set_delete_after, set_custom, set_protected;
    bool set_metadata_cas_required;
    bool checks_cas; /* refused if metadata_cas is required or does not fit */
    bool has_metadata_cas;
    int64_t metadata_cas; /* the metadata_version that it must follow */
    uint32_t max_versions;
    bool cas_required, metadata_cas_required, is_protected;
    int64_t delete_after_ns;
    struct slice custom; /* checked by kv_custom_check; empty removes it */
};
/* The secret's settings; makes it if it is not there. -EINVAL with OpenBao's text: metadata_cas does
 * not match, or is missing. */
int kv_configure(struct op *op, struct kv *kv, const char *path, const struct kv_change *change,
                 struct store_batch **ret);
/* Vault's rules: up to 64 keys of 128 bytes, values are strings of up to 512. */
int kv_custom_check(struct op *op, struct slice *text); /* and makes each value a string */
/* -EPERM with the reason if it is protected. */
int kv_check_unprotected(struct op *op, const struct kv_entry *secret);
/* At once: the secret with all versions is gone, and folders that only it kept. */
int kv_remove(struct op *op, struct kv *kv, const char *path);
/* At once, but not in one batch: the same for all below the path as well. */
int kv_remove_all(struct op *op, struct kv *kv, const char *path);

/* At once. -EEXIST if the folder is there (and not hidden). */
int kv_mkdir(struct op *op, struct kv *kv, const char *path);
/* At once: a folder without visible folders and live secrets goes; one with deleted secrets is
 * hidden. -ENOTEMPTY, -ENOENT. */
int kv_rmdir(struct op *op, struct kv *kv, const char *path);
/* At once, atomic: the folder and the secret of that path, whichever exist, get another path. The
 * target may be a folder that kv_rmdir would remove, and a secret that is not live; else -EEXIST,
 * -ENOTEMPTY. Versions stay. */
int kv_rename(struct op *op, struct kv *kv, const char *from, const char *to);

/* After a try that ended in r: shall it be made again? Sleeps a little first, longer each time, so
 * that of many who want the same row each has its turn. *tries begins at 0. */
bool kv_again(int r, unsigned *tries);
/* Durable. Takes the batch; NULL does nothing. */
int kv_commit(struct store_batch *batch);

#endif
