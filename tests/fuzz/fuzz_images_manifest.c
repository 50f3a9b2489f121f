/* Manifests, and with them the names of images. The first byte chooses what else is said of them.
 */
#include "images/manifest.h"
#include "images/reference.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const types[] = {NULL, MEDIA_OCI_MANIFEST, MEDIA_OCI_INDEX,
                                        "application/json; charset=utf-8"};
    struct digest digest = {.algorithm = DIGEST_SHA256};
    struct manifest *m = NULL;
    struct chunk_range range;
    struct reference ref;
    struct buf out = {0};
    struct slice text;

    if (n == 0)
        return 0;
    text = slice_of(data + 1, n - 1);
    repository_name_valid(text);
    reference_parse(text, &ref);
    digest_file_parse(text, &digest);
    if (chunk_range_parse(text, &range) == 0 && range.end < range.start)
        abort();
    if (manifest_parse(text, types[data[0] & 3], &m, &out) == 0) {
        manifest_print_descriptor(m, &digest, n, &out);
        for (size_t i = 0; m->kind == MANIFEST_INDEX && i < m->n_items; i++)
            descriptor_print(&m->items[i], &out);
    } else if (out.len == 0) {
        abort(); /* a refusal says why */
    }
    manifest_free(m);
    buf_done(&out);
    return 0;
}
