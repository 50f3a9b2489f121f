/* Versions, specifiers, names and file names. What is printed must parse again, to an equal. */
#include "base/scope.h"
#include "packages/filename.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct package_filename name;
    struct version version, again;
    autobuf out = {0}, why = {0};

    specifiers_valid(text);
    if (version_parse(text, &version) == 0) {
        version_print(&version, &out);
        /* Canonical text may be longer than the limit of what is read. */
        if (out.len <= VERSION_TEXT_MAX &&
            (version_parse(buf_slice(&out), &again) < 0 || version_cmp(&version, &again) != 0))
            abort();
    }
    if (package_filename_parse(text, &name, &why) == 0)
        while (package_filename_next(&name))
            ;
    return 0;
}
