#include "images/rootfs/zstd_state.h"

#include "images/rootfs/zstd_offsets.h"

#include <errno.h>
#include <string.h>

#define FRAME_MAGIC      UINT32_C(0xfd2fb528)
#define DICTIONARY_MAGIC UINT32_C(0xec30a437)
#define SKIP_MAGIC       UINT32_C(0x184d2a50) /* and the fifteen above */
#define FRAME_ID         1u                   /* of the dictionaries: no frame names it */

enum block_type { BLOCK_RAW, BLOCK_RLE, BLOCK_COMPRESSED };
enum table_mode { MODE_PREDEFINED, MODE_RLE, MODE_FSE, MODE_REPEAT };

static uint64_t le_get(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

static void le32_put(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static void set_text(struct zstd_table *t, const uint8_t *p, size_t n)
{
    t->kind = n <= sizeof t->text ? ZSTD_TABLE_TEXT : ZSTD_TABLE_NONE;
    t->len = n <= sizeof t->text ? n : 0;
    memcpy(t->text, p, t->len);
}

int zstd_state_begin(struct zstd_state *s, const uint8_t *p, size_t n, uint64_t *ret_skip)
{
    static const unsigned id_bytes[] = {0, 1, 2, 4}, size_bytes[] = {0, 2, 4, 8};
    bool single;
    unsigned id, size, len;
    uint64_t base;

    *ret_skip = 0;
    if (n < 8)
        return 0;
    if ((le_get(p, 4) & 0xfffffff0) == SKIP_MAGIC) {
        *ret_skip = 8 + le_get(p + 4, 4);
        return 8;
    }
    if (le_get(p, 4) != FRAME_MAGIC)
        return -EBADMSG;
    single = (p[4] & 0x20) != 0;
    id = id_bytes[p[4] & 3];
    size = single && p[4] >> 6 == 0 ? 1 : size_bytes[p[4] >> 6];
    len = 5 + !single + id + size;
    if (n < len)
        return 0;
    *s = (struct zstd_state){.has_checksum = (p[4] & 4) != 0, .reps = {1, 4, 8}};
    if (single) {
        s->window_bytes = le_get(p + len - size, size) + (size == 2 ? 256 : 0);
    } else {
        base = UINT64_C(1) << (10 + (p[5] >> 3));
        s->window_bytes = base + base / 8 * (p[5] & 7);
    }
    return (int)len;
}

size_t zstd_state_block_size(const uint8_t header[3], bool *ret_last)
{
    uint32_t v = (uint32_t)le_get(header, 3);

    *ret_last = (v & 1) != 0;
    return 3 + ((v >> 1 & 3) == BLOCK_RLE ? 1 : v >> 3);
}

/* The Huffman description at the head of compressed literals (RFC 8878, "Huffman Tree Description"). */
static int take_huffman(struct zstd_state *s, const uint8_t *p, size_t n)
{
    size_t len;

    if (n == 0)
        return -EBADMSG;
    len = 1 + (p[0] < 128 ? p[0] : (p[0] - 127u + 1) / 2);
    if (len > n)
        return -EBADMSG;
    set_text(&s->huffman, p, len);
    return 0;
}

/* Reads along over the literals of a block: how long their section is. */
static ssize_t take_literals(struct zstd_state *s, const uint8_t *p, size_t n)
{
    static const unsigned plain_head[] = {1, 2, 1, 3}, packed_head[] = {3, 3, 4, 5};
    unsigned type, format, head, bits;
    uint64_t v, len;
    int r = 0;

    if (n == 0)
        return -EBADMSG;
    type = p[0] & 3;
    format = p[0] >> 2 & 3;
    head = type < 2 ? plain_head[format] : packed_head[format];
    if (n < head)
        return -EBADMSG;
    v = le_get(p, head);
    if (type < 2) {
        len = v >> (format == 0 || format == 2 ? 3 : 4);
        len = type == 1 ? 1 : len;
    } else {
        bits = format < 2 ? 10 : format == 2 ? 14 : 18;
        len = v >> (4 + bits) & ((UINT64_C(1) << bits) - 1);
    }
    if (len > n - head)
        return -EBADMSG;
    if (type == 2)
        r = take_huffman(s, p + head, (size_t)len);
    return r < 0 ? r : (ssize_t)(head + len);
}

/* One of the three tables of a block: how many bytes describe it. */
static ssize_t take_table(struct zstd_table *t, enum table_mode mode,
                          const struct zstd_default *fallback, const uint8_t *p, size_t n)
{
    struct zstd_counts counts;
    ssize_t len = 0;

    switch (mode) {
    case MODE_PREDEFINED:
        set_text(t, fallback->text, fallback->len);
        break;
    case MODE_RLE:
        len = n > 0 ? 1 : -EBADMSG;
        if (n > 0)
            *t = (struct zstd_table){.kind = ZSTD_TABLE_SYMBOL, .len = 1, .text = {p[0]}};
        break;
    case MODE_FSE:
        len = zstd_counts_read(p, n, &counts);
        if (len > 0)
            set_text(t, p, (size_t)len);
        break;
    default:
        break;
    }
    return len;
}

/* How many sequences a block has; how long that is said. */
static ssize_t take_count(const uint8_t *p, size_t n, uint32_t *ret)
{
    if (n == 0)
        return -EBADMSG;
    *ret = p[0];
    if (p[0] < 128)
        return 1;
    if (n < 3)
        return -EBADMSG;
    if (p[0] < 255) {
        *ret = (p[0] - 128u) * 256 + p[1];
        return 2;
    }
    *ret = p[1] + 256u * p[2] + 0x7f00;
    return 3;
}

static int take_sequences(struct zstd_state *s, const uint8_t *p, size_t n)
{
    struct zstd_table *tables[] = {&s->literals, &s->offsets, &s->matches};
    const struct zstd_default *defaults[] = {&zstd_literals, &zstd_offsets, &zstd_matches};
    uint32_t count = 0;
    ssize_t len = take_count(p, n, &count);
    size_t at = len > 0 ? (size_t)len : 0;
    uint8_t modes;

    if (len < 0 || count == 0)
        return (int)(len < 0 ? len : 0);
    if (at >= n)
        return -EBADMSG;
    modes = p[at++];
    for (unsigned i = 0; i < 3; i++) {
        len = take_table(tables[i], (enum table_mode)(modes >> (6 - 2 * i) & 3), defaults[i],
                         p + at, n - at);
        if (len < 0)
            return (int)len;
        at += (size_t)len;
    }
    return s->follows ? zstd_offsets_follow(s, p + at, n - at, count) : 0;
}

int zstd_state_block(struct zstd_state *s, const uint8_t *p, size_t n)
{
    ssize_t len;

    if ((p[0] >> 1 & 3) != BLOCK_COMPRESSED)
        return 0;
    len = take_literals(s, p + 3, n - 3);
    return len < 0 ? (int)len : take_sequences(s, p + 3 + len, n - 3 - (size_t)len);
}

void zstd_state_follow(struct zstd_state *s, bool follow)
{
    if (follow && !s->follows)
        memset(s->reps, 0, sizeof s->reps);
    s->follows = follow;
}

bool zstd_state_is_known(const struct zstd_state *s, uint64_t window_bytes)
{
    const struct zstd_table *tables[] = {&s->literals, &s->offsets, &s->matches};

    for (unsigned i = 0; i < 3; i++)
        if (!s->follows || s->reps[i] == 0 || s->reps[i] > window_bytes ||
            tables[i]->kind == ZSTD_TABLE_SYMBOL)
            return false;
    return true;
}

static void add_table(struct buf *out, const struct zstd_table *t,
                      const struct zstd_default *fallback)
{
    if (t->kind == ZSTD_TABLE_TEXT)
        buf_add(out, t->text, t->len);
    else
        buf_add(out, fallback->text, fallback->len); /* none has been: none is repeated */
}

void zstd_state_dictionary(const struct zstd_state *s, struct slice window, struct buf *out)
{
    /* Two symbols of one bit. */
    static const struct zstd_default some_huffman = {2, {0x80, 0x10}};
    uint8_t bytes[12];

    le32_put(bytes, DICTIONARY_MAGIC);
    le32_put(bytes + 4, FRAME_ID);
    buf_add(out, bytes, 8);
    add_table(out, &s->huffman, &some_huffman);
    add_table(out, &s->offsets, &zstd_offsets);
    add_table(out, &s->matches, &zstd_matches);
    add_table(out, &s->literals, &zstd_literals);
    for (unsigned i = 0; i < 3; i++)
        le32_put(bytes + 4 * i, s->reps[i]);
    buf_add(out, bytes, sizeof bytes);
    buf_add_slice(out, window);
}

void zstd_state_head(uint64_t window_bytes, uint8_t ret[ZSTD_STATE_HEAD_BYTES])
{
    unsigned exponent = 10, eighths;

    while (exponent < 40 && UINT64_C(2) << exponent <= window_bytes)
        exponent++;
    eighths = window_bytes <= UINT64_C(1) << exponent
                  ? 0
                  : (unsigned)(((window_bytes - (UINT64_C(1) << exponent)) +
                                (UINT64_C(1) << (exponent - 3)) - 1) >>
                               (exponent - 3));
    if (eighths == 8) {
        exponent++;
        eighths = 0;
    }
    le32_put(ret, FRAME_MAGIC);
    ret[4] = 0;
    ret[5] = (uint8_t)((exponent - 10) << 3 | eighths);
}
