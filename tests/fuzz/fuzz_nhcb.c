/* Classic histograms as native ones; the format is chosen by the first byte. What comes out reads
 * again, with something beside lines of it only. */
#include "metrics/scrape/nhcb.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_again(enum exposition_format format, const struct protobuf_text *t)
{
    struct exposition *x = calloc(1, sizeof *x);
    size_t at = 0;
    int r;

    exposition_init(x, format, buf_slice(&t->text));
    while ((r = exposition_next(x)) > 0)
        if (at < t->n && t->marks[at].offset == (size_t)(x->start - t->text.data))
            at++;
    if (r < 0 || at != t->n)
        abort();
    exposition_done(x);
    free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum exposition_format format;
    struct protobuf_text none = {0};
    struct protobuf_text text;
    autobuf why = {0};

    if (size == 0)
        return 0;
    format = (data[0] & 1) != 0 ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
    if (nhcb_convert(format, slice_of(data + 1, size - 1), &none, (data[0] & 2) != 0, &text,
                     &why) == 0)
        read_again(format, &text);
    else if (why.len == 0)
        abort();
    protobuf_done(&text);
    return 0;
}
