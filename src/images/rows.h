/* rows.h: the rows of the images domain: keys and values, both ways. Pure.
 *
 * Partition "images/<repo>":
 *   t <tag>                  tag: where it points, since when
 *   m <digest>               manifest: type, size, and its bytes unless they are a blob
 *   b <digest>               link: the repository has this blob
 *   k <blob> <manifest>      the manifest needs the blob
 *   r <subject> <manifest>   the manifest refers to the subject; value: the descriptor, or empty
 *                            when it is too long for a row
 *   u <manifest>             when a tag last left it, or an index came to list it; a nonce
 * Partition "images":         <repo>: it exists (has had a manifest)
 * Partition "images-uploads": <stage id>: an upload under way
 * A digest in a key is a byte for the algorithm and its 32 or 64 bytes. Integers are big-endian. */
#ifndef IMAGES_ROWS_H
#define IMAGES_ROWS_H

#include "base/buf.h"
#include "base/digest.h"
#include "images/reference.h"
#include "store/blob.h"

#define PART_CATALOG      SLICE("images")
#define PART_UPLOADS      SLICE("images-uploads")
#define PART_REPOSITORIES SLICE("images/") /* the prefix of all repositories */

struct part {
    char text[sizeof "images/" + IMAGES_NAME_MAX];
    struct slice name;
};
/* The partition of a repository whose name is valid. Returns p->name, which points into p. */
struct slice part_of(const char *repo, struct part *p);

struct row_key {
    uint8_t bytes[1 + 2 * 65];
    size_t len;
};
static inline struct slice key_slice(const struct row_key *k)
{
    return slice_of(k->bytes, k->len);
}
struct row_key key_tag(struct slice tag);
struct row_key key_manifest(const struct digest *d);
struct row_key key_touch(const struct digest *d);
struct row_key key_link(const struct digest *d);
struct row_key key_need(const struct digest *blob,
                        const struct digest *manifest); /* manifest NULL: the prefix */
struct row_key key_referrer(const struct digest *subject,
                            const struct digest *manifest); /* NULL: the prefix */
struct row_key key_after(struct row_key prefix); /* the first key behind all with this prefix */
/* The digest at the end of a key of kind m, b, k, r or u; -EBADMSG if the row is damaged. */
int key_last_digest(struct slice key, struct digest *ret);
/* Both digests of a key of kind k or r. */
int key_digests(struct slice key, struct digest *ret_first, struct digest *ret_last);

struct tag_row {
    int64_t changed_unix_ms;
    struct digest manifest;
};
void tag_row_print(const struct tag_row *row, struct buf *out);
int tag_row_parse(struct slice value, struct tag_row *ret); /* -EBADMSG, as all here */

struct manifest_row {
    uint64_t revision; /* changes with each write, so that who read it notices */
    uint64_t size_bytes;
    int64_t pushed_unix_ms;
    uint64_t nonce; /* of the hold on its blob, if it is not inline */
    bool is_inline, is_index;
    struct slice media_type; /* borrowed, as `bytes` */
    struct slice bytes;
};
#define MANIFEST_INLINE_MAX (STORE_VALUE_MAX - 512)
void manifest_row_print(const struct manifest_row *row, struct buf *out);
int manifest_row_parse(struct slice value, struct manifest_row *ret);

#define LINK_NEEDED INT64_MAX /* expires_unix_ms of what a manifest needs */
struct link_row {
    uint64_t size_bytes;
    int64_t expires_unix_ms; /* unless a manifest needs it by then, it goes */
    uint64_t nonce;          /* of its hold */
};
#define LINK_ROW_BYTES 25
struct slice link_row_print(const struct link_row *row, uint8_t bytes[LINK_ROW_BYTES]);
int link_row_parse(struct slice value, struct link_row *ret);

struct upload_row {
    uint8_t algorithm;
    int64_t started_unix_ms;
    int64_t touched_unix_ms;
    struct slice repo, owner; /* borrowed */
};
void upload_row_print(const struct upload_row *row, struct buf *out);
int upload_row_parse(struct slice value, struct upload_row *ret);

/* Who holds a blob: "images/<repo>#<nonce>". Each hold has a nonce of its own, which the row that
 * needs it carries; so a hold that is given up never takes away one that is just being taken. The
 * upper half of a nonce names the life of the process that made it. */
#define HOLDER_MAX (sizeof(struct part) + 24)
struct holder {
    struct slice repo; /* borrowed */
    uint64_t nonce;
};
struct slice holder_print(const char *repo, uint64_t nonce, char text[HOLDER_MAX]);
int holder_parse(struct slice owner, struct holder *ret); /* -EINVAL: not one of ours */

#endif
