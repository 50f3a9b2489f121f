/* sidecar.h: what a client may upload beside a file: a signature, and attestations. Pure. */
#ifndef PACKAGES_SIDECAR_H
#define PACKAGES_SIDECAR_H

#include "base/buf.h"
#include "base/digest.h"

#define SIGNATURE_BYTES_MAX    (8u << 10)
#define ATTESTATIONS_BYTES_MAX (1u << 20)

/* Is it an armored OpenPGP signature? -EINVAL with a reason in why. */
int signature_check(struct slice text, struct buf *why);

/* What attestations must be about. */
struct attested {
    const char *file;            /* its name */
    const struct digest *digest; /* SHA-256 */
    const char *uploader;        /* who vouches that they came with the file */
};
/* From the uploaded JSON list to the provenance object that is served (PEP 740). Each attestation
 * must be whole, in base64 where base64 belongs, and state the very file; its certificate and its
 * signature are not verified. -EINVAL with a reason in why. */
int provenance_make(struct slice attestations, const struct attested *of, struct buf *out,
                    struct buf *why);

#endif
