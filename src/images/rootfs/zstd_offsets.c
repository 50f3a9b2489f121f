#include "images/rootfs/zstd_offsets.h"

#include <errno.h>
#include <string.h>

/* RFC 8878, "Default Distributions", as a table description says them. */
const struct zstd_default zstd_literals = {
    20, {0x51, 0x10, 0x63, 0x8c, 0x31, 0xc6, 0x18, 0x63, 0x0c, 0x21,
         0xc4, 0x18, 0x63, 0x66, 0x66, 0x86, 0x46, 0x92, 0x04, 0x00}};
const struct zstd_default zstd_matches = {
    29, {0x21, 0x14, 0xc4, 0x18, 0x63, 0x8c, 0x21, 0x84, 0x10, 0x42, 0x08, 0x21, 0x84, 0x10, 0x42,
         0x08, 0x21, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x24, 0x09, 0x00, 0x00}};
const struct zstd_default zstd_offsets = {
    14, {0x20, 0x84, 0x10, 0x42, 0x66, 0x46, 0x44, 0x44, 0x44, 0x44, 0x24, 0x49, 0x02, 0x00}};

/* Bits behind the code of a length (RFC 8878, "Literals Length Codes", "Match Length Codes"). */
static const uint8_t literal_bits[36] = {
    [16] = 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t match_bits[53] = {
    [32] = 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static unsigned log_of(uint32_t v)
{
    return 31 - (unsigned)__builtin_clz(v);
}

/* Bits from the lowest of the first byte on; zeros behind the end. */
static uint32_t bits_at(const uint8_t *p, size_t n, size_t at, unsigned count)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < count; i++)
        if (at + i < 8 * n)
            v |= (uint32_t)(p[(at + i) / 8] >> (at + i) % 8 & 1) << i;
    return v;
}

ssize_t zstd_counts_read(const uint8_t *p, size_t n, struct zstd_counts *ret)
{
    size_t at = 4;
    int left;

    if (n == 0)
        return -EBADMSG;
    *ret = (struct zstd_counts){.log = 5 + (p[0] & 15u)};
    if (ret->log > ZSTD_LOG_MAX)
        return -EBADMSG;
    left = 1 << ret->log;
    while (left > 0 && ret->n < ZSTD_SYMBOLS_MAX) {
        unsigned bits = log_of((uint32_t)left + 1) + 1;
        uint32_t v = bits_at(p, n, at, bits), half = (UINT32_C(1) << (bits - 1)) - 1;
        uint32_t short_ones = (UINT32_C(1) << bits) - 1 - ((uint32_t)left + 1), repeat;

        if ((v & half) < short_ones) {
            at += bits - 1;
            v &= half;
        } else {
            at += bits;
            v -= v > half ? short_ones : 0;
        }
        ret->of[ret->n++] = (int16_t)((int)v - 1);
        left -= v == 0 ? 1 : (int)v - 1;
        while (v == 1) {
            repeat = bits_at(p, n, at, 2);
            at += 2;
            if (ret->n + repeat > ZSTD_SYMBOLS_MAX)
                return -EBADMSG;
            ret->n += repeat;
            v = repeat == 3;
        }
    }
    return left == 0 && at <= 8 * n ? (ssize_t)((at + 7) / 8) : -EBADMSG;
}

struct cell {
    uint8_t symbol, bits;
    uint16_t base;
};

struct decoder {
    unsigned log;
    uint32_t state;
    struct cell cells[1u << ZSTD_LOG_MAX];
};

/* RFC 8878, "From Normalized Distribution to Decoding Tables". */
static void spread(const struct zstd_counts *counts, struct decoder *ret)
{
    uint32_t size = UINT32_C(1) << counts->log, high = size, at = 0;
    uint32_t step = (size >> 1) + (size >> 3) + 3;
    uint16_t next[ZSTD_SYMBOLS_MAX] = {0};

    ret->log = counts->log;
    for (unsigned i = 0; i < counts->n; i++)
        if (counts->of[i] == -1) {
            ret->cells[--high].symbol = (uint8_t)i;
            next[i] = 1;
        }
    for (unsigned i = 0; i < counts->n; i++)
        for (int k = 0; k < counts->of[i]; k++) {
            next[i] = (uint16_t)counts->of[i];
            ret->cells[at].symbol = (uint8_t)i;
            do
                at = (at + step) & (size - 1);
            while (at >= high);
        }
    for (uint32_t i = 0; i < size; i++) {
        struct cell *c = &ret->cells[i];
        uint32_t v = next[c->symbol]++;

        c->bits = (uint8_t)(counts->log - log_of(v));
        c->base = (uint16_t)((v << c->bits) - size);
    }
}

static int decoder_of(const struct zstd_table *t, struct decoder *ret)
{
    struct zstd_counts counts;

    memset(ret, 0, sizeof *ret);
    if (t->kind == ZSTD_TABLE_SYMBOL) {
        ret->cells[0].symbol = t->text[0];
        return 0;
    }
    if (t->kind != ZSTD_TABLE_TEXT || zstd_counts_read(t->text, t->len, &counts) < 0)
        return -EBADMSG;
    spread(&counts, ret);
    return 0;
}

/* Read from its end: the highest bit that is set is only a mark. */
struct backwards {
    const uint8_t *p;
    size_t n, left; /* bits; */
    bool over;      /* more than there are were asked for */
};

static uint32_t take_bits(struct backwards *b, unsigned count)
{
    uint64_t v = 0;
    size_t first;

    if (count > b->left) {
        b->over = true;
        return 0;
    }
    b->left -= count;
    first = b->left / 8;
    for (size_t i = 0; i < 5 && first + i < b->n; i++)
        v |= (uint64_t)b->p[first + i] << 8 * i;
    return (uint32_t)(v >> b->left % 8 & ((UINT64_C(1) << count) - 1));
}

static uint8_t symbol_of(const struct decoder *d)
{
    return d->cells[d->state].symbol;
}

static void move_on(struct decoder *d, struct backwards *b)
{
    const struct cell *c = &d->cells[d->state];

    d->state = (c->base + take_bits(b, c->bits)) & ((1u << ZSTD_LOG_MAX) - 1);
}

/* RFC 8878, "Repeat Offsets". What is not known stays so, wherever it moves. */
static void use_offset(uint32_t reps[3], uint32_t value, bool no_literals)
{
    unsigned which = value - 1 + no_literals;
    uint32_t offset;

    if (value > 3) {
        offset = value - 3;
        which = 3;
    } else if (which == 3) {
        offset = reps[0] > 1 ? reps[0] - 1 : reps[0];
    } else {
        offset = reps[which];
    }
    if (which > 1)
        reps[2] = reps[1];
    if (which > 0)
        reps[1] = reps[0];
    reps[0] = offset;
}

int zstd_offsets_follow(struct zstd_state *s, const uint8_t *p, size_t n, uint32_t count)
{
    struct backwards b = {.p = p, .n = n};
    struct decoder literals, offsets, matches;

    if (n == 0 || p[n - 1] == 0 || decoder_of(&s->literals, &literals) < 0 ||
        decoder_of(&s->offsets, &offsets) < 0 || decoder_of(&s->matches, &matches) < 0)
        return -EBADMSG;
    b.left = 8 * (n - 1) + log_of(p[n - 1]);
    literals.state = take_bits(&b, literals.log);
    offsets.state = take_bits(&b, offsets.log);
    matches.state = take_bits(&b, matches.log);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t code = symbol_of(&offsets), literal = symbol_of(&literals);
        uint8_t match = symbol_of(&matches);

        if (code > 31 || literal >= sizeof literal_bits || match >= sizeof match_bits)
            return -EBADMSG;
        use_offset(s->reps, (UINT32_C(1) << code) + take_bits(&b, code), literal == 0);
        take_bits(&b, match_bits[match]);
        take_bits(&b, literal_bits[literal]);
        if (i + 1 == count)
            break;
        move_on(&literals, &b);
        move_on(&matches, &b);
        move_on(&offsets, &b);
    }
    return b.over ? -EBADMSG : 0;
}
