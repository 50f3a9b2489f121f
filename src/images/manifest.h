/* manifest.h: a manifest as bytes in, struct out: OCI image manifests and indexes, artifacts, and
 * Docker's schema 2 manifests and lists (OCI image-spec 1.1; docker distribution,
 * manifest-v2-2.md). */
#ifndef IMAGES_MANIFEST_H
#define IMAGES_MANIFEST_H

#include "base/buf.h"
#include "base/digest.h"

#define MANIFEST_BYTES_MAX       (4u << 20)
#define MANIFEST_DESCRIPTORS_MAX 10000u
#define MEDIA_TYPE_MAX           255u

#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_ARTIFACT    "application/vnd.oci.artifact.manifest.v1+json"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"

enum manifest_kind { MANIFEST_IMAGE, MANIFEST_INDEX };

/* Texts are borrowed from the manifest; NULL where the field is absent. */
struct descriptor {
    const char *media_type;
    const char *artifact_type;
    struct digest digest;
    uint64_t size_bytes;
    bool foreign;                            /* its content is not kept here (nondistributable) */
    const char *os, *architecture, *variant; /* of the platform */
    const void *json;                        /* private: for descriptor_print */
};

struct manifest {
    enum manifest_kind kind;
    const char *media_type; /* of the bytes, as they are served */
    const char
        *artifact_type; /* as referrers show it: its own, else an image's config's; or NULL */
    bool has_config, has_subject;
    struct descriptor config, subject;
    struct descriptor *items; /* layers or blobs; an index: its manifests */
    size_t n_items;
    void *json; /* private */
};

/* `content_type` as the client named it, with or without parameters; NULL or "" if it did not.
 * -EINVAL with the reason appended to why; -EFBIG above the limits. Returns new. */
int manifest_parse(struct slice bytes, const char *content_type, struct manifest **ret,
                   struct buf *why);
void manifest_free(struct manifest *m); /* NULL is fine */

/* Appends the descriptor that GET referrers shows of this manifest: with artifactType and the
 * annotations (OCI distribution-spec 1.1, "Listing Referrers"). */
void manifest_print_descriptor(const struct manifest *m, const struct digest *digest,
                               uint64_t size_bytes, struct buf *out);
/* Appends an item of an index as it stands there, as JSON. */
void descriptor_print(const struct descriptor *d, struct buf *out);

#endif
