#include "metrics/api/chunk_bits.h"

void bits_put(struct bits *b, uint64_t v, unsigned n)
{
    while (n > 0) {
        unsigned part;
        uint64_t piece;

        if (b->free == 0) {
            buf_add_char(b->out, 0);
            b->free = 8;
        }
        part = n < b->free ? n : b->free;
        piece = v >> (n - part) & ((1u << part) - 1);
        b->out->data[b->out->len - 1] |= (char)(piece << (b->free - part));
        b->free -= part;
        n -= part;
    }
}

bool bits_fit(int64_t v, unsigned n)
{
    return v >= -((INT64_C(1) << (n - 1)) - 1) && v <= INT64_C(1) << (n - 1);
}

void bits_put_xor(struct bits *b, uint64_t difference, struct bits_window *w)
{
    unsigned leading;
    unsigned trailing;

    if (difference == 0) {
        bits_put(b, 0, 1);
        return;
    }
    leading = (unsigned)__builtin_clzll(difference);
    trailing = (unsigned)__builtin_ctzll(difference);
    if (leading > 31) /* it has 5 bits */
        leading = 31;
    bits_put(b, 1, 1);
    if (w->set && leading >= w->leading && trailing >= w->trailing) {
        bits_put(b, 0, 1);
        bits_put(b, difference >> w->trailing, 64 - w->leading - w->trailing);
        return;
    }
    *w = (struct bits_window){leading, trailing, true};
    bits_put(b, 1, 1);
    bits_put(b, leading, 5);
    bits_put(b, (64 - leading - trailing) & 63, 6); /* 64 is written as 0 */
    bits_put(b, difference >> trailing, 64 - leading - trailing);
}

/* The sizes of chunkenc/varbit.go: so many ones and a zero, but for the last, say which. */
static const unsigned sizes[] = {0, 3, 6, 9, 12, 18, 25, 56, 64};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void put_sized(struct bits *b, uint64_t v, unsigned which)
{
    if (which < SIZES - 1)
        bits_put(b, (1u << (which + 1)) - 2, which + 1);
    else
        bits_put(b, 0xff, 8);
    bits_put(b, v, sizes[which]);
}

void bits_put_int(struct bits *b, int64_t v)
{
    unsigned which = v == 0 ? 0 : 1;

    while (which > 0 && which < SIZES - 1 && !bits_fit(v, sizes[which]))
        which++;
    put_sized(b, (uint64_t)v, which);
}

void bits_put_uint(struct bits *b, uint64_t v)
{
    unsigned which = 0;

    while (which < SIZES - 1 && v >> sizes[which] != 0)
        which++;
    put_sized(b, v, which);
}
