/* digest.h: content digests, streamed, through OpenSSL EVP (fetched once). */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/slice.h"

#include <sys/types.h>

enum digest_algorithm { DIGEST_SHA256 = 1, DIGEST_SHA512 = 2 }; /* stored on disk: never renumber */

/* Bytes beyond the algorithm's length are zero, so that digests compare with memcmp. */
struct digest {
    uint8_t algorithm; /* enum digest_algorithm */
    uint8_t bytes[64];
};

#define DIGEST_TEXT_MAX 136 /* "sha512:" + 128 hex + NUL */

size_t digest_length(enum digest_algorithm a);                     /* 32 or 64 bytes */
const char *digest_name(enum digest_algorithm a);                  /* "sha256" */
bool digest_eq(const struct digest *a, const struct digest *b);
/* "sha256:<64 hex, lower case>" (OCI image-spec, "Digests"). -EINVAL if it is not of that form or
 * of an algorithm that is not known. */
int digest_parse(struct slice text, struct digest *ret);
char *digest_print(const struct digest *d, char text[DIGEST_TEXT_MAX]); /* returns text */

/* A running hash. */
enum hash_kind { HASH_SHA256, HASH_SHA512, HASH_BLAKE2B_256, HASH_MD5 };
struct hash;
struct hash *hash_new(enum hash_kind kind);         /* returns new, never NULL */
void hash_free(struct hash *h);
void hash_update(struct hash *h, const void *data, size_t n);
size_t hash_final(struct hash *h, uint8_t ret[64]); /* length; the hash is then fresh again */
enum hash_kind hash_kind_of(enum digest_algorithm a);

void digest_of(enum digest_algorithm a, const void *data, size_t n, struct digest *ret);

#endif
