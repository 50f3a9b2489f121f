/* reference.h: the grammar of what an OCI client names: repositories, tags, digests, chunks.
 * Pure: bytes in, struct out. */
#ifndef IMAGES_REFERENCE_H
#define IMAGES_REFERENCE_H

#include "base/digest.h"

#define IMAGES_NAME_MAX 255 /* of a repository; docker counts its host too */
#define IMAGES_TAG_MAX  128

/* OCI distribution-spec 1.1, "Pulling manifests": the name of a repository. */
bool repository_name_valid(struct slice name);
bool tag_valid(struct slice tag);

struct reference {
    bool is_digest;
    struct digest digest; /* if is_digest */
    struct slice tag;     /* else: borrowed */
};

/* A tag or a digest. -EILSEQ: it has the colon of a digest, but is none that is known; -EDOM: it is
 * no tag. */
int reference_parse(struct slice text, struct reference *ret);

/* "sha256-<hex>", a digest as a file name, both ways. -EINVAL. */
char *digest_file_name(const struct digest *d, char text[DIGEST_TEXT_MAX]); /* returns text */
int digest_file_parse(struct slice text, struct digest *ret);

/* The Content-Range of an upload's chunk: "START-END", both inclusive (OCI distribution-spec 1.1,
 * "Pushing a blob in chunks"; unlike RFC 9110 without unit and total, which are tolerated).
 * -EINVAL, also if END is before START. */
struct chunk_range {
    uint64_t start;
    uint64_t end;
};
int chunk_range_parse(struct slice text, struct chunk_range *ret);

#endif
