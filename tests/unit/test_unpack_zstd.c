/* A zstd stream of one frame is entered in its middle: whatever packed it, what comes from there on is
 * what comes from the start. */
#include "base/alloc.h"
#include "base/scope.h"
#include "images/rootfs/unpack.h"
#include "images/rootfs/zstd_offsets.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zstd.h>

#define TO_COMPARE 400000u /* bytes behind each point */

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Text, noise, zeros, copies from near and far. */
static void fill(struct buf *out, size_t n)
{
    uint64_t x = 88172645463325252u;

    buf_reserve(out, n + 70000);
    while (out->len < n) {
        uint64_t v = next(&x);
        size_t len = v >> 8 & 0xffff, back = (v >> 24 & 0xfffff) + 1;

        if (v % 8 == 0)
            for (size_t i = 0; i < len / 4; i++)
                buf_add_char(out, (char)(next(&x) >> 20));
        else if (v % 8 == 1)
            for (size_t i = 0; i < len; i++)
                buf_add_char(out, 0);
        else if (v % 8 < 4 && out->len > back)
            for (size_t i = 0; i < len / 8; i++)
                buf_add_char(out, out->data[out->len - back]);
        else
            for (size_t i = 0; i < 50; i++)
                buf_printf(out, "line %llu of %s\n", (unsigned long long)(next(&x) % 5000),
                           v % 3 ? "this" : "that file");
    }
    out->len = n;
}

struct packing {
    const char *name;
    int level, window_log, checksum;
    size_t flush; /* bytes after which a block ends early; 0: never */
    bool sized;   /* the frame says how long it is */
    size_t points_min;
};

static void pack(const struct packing *p, struct slice in, struct buf *out)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_inBuffer input = {in.data, 0, 0};
    ZSTD_outBuffer output;
    size_t left;

    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, p->level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, p->window_log);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, p->checksum);
    if (p->sized)
        ZSTD_CCtx_setPledgedSrcSize(c, in.len);
    buf_reserve(out, ZSTD_compressBound(in.len) + (1 << 20));
    output = (ZSTD_outBuffer){out->data + out->len, ZSTD_compressBound(in.len) + (1 << 20), 0};
    do {
        bool last;

        input.size = p->flush > 0 && in.len - input.pos > p->flush ? input.pos + p->flush : in.len;
        last = input.size == in.len;
        left = ZSTD_compressStream2(c, &output, &input, last ? ZSTD_e_end : ZSTD_e_flush);
        assert_false(ZSTD_isError(left));
    } while (left > 0 || input.pos < in.len);
    out->len += output.pos;
    ZSTD_freeCCtx(c);
}

static ssize_t read_slice(void *ctx, uint64_t offset, void *buf, size_t n)
{
    const struct slice *s = ctx;

    if (offset >= s->len)
        return 0;
    n = s->len - offset < n ? s->len - (size_t)offset : n;
    memcpy(buf, (const char *)s->data + offset, n);
    return (ssize_t)n;
}

static void compare(struct unpack *u, struct slice want, uint64_t at, size_t n, const char *name)
{
    static uint8_t piece[100000];

    while (n > 0 && at < want.len) {
        ssize_t got = unpack_next(u, piece, sizeof piece);

        if (got <= 0 || (uint64_t)got > want.len - at ||
            memcmp(piece, (const char *)want.data + at, (size_t)got) != 0)
            fail_msg("%s: at %llu: %zd, %s", name, (unsigned long long)at, got,
                     unpack_why(u) != NULL ? unpack_why(u) : "other bytes");
        at += (uint64_t)got;
        n -= (size_t)got < n ? (size_t)got : n;
    }
    if (at == want.len)
        assert_int_equal(unpack_next(u, piece, sizeof piece), 0);
}

/* Walks through it; enters at each point. How many there were. */
static size_t enter_everywhere(const char *name, struct slice packed, struct slice want)
{
    struct unpack_source source = {read_slice, &packed, packed.len};
    struct unpack *walk = unpack_new(&source, UNPACK_ZSTD, NULL, (struct slice){0}, true);
    static uint8_t piece[256 << 10];
    uint64_t at = 0;
    size_t points = 0;
    ssize_t got;

    while ((got = unpack_next(walk, piece, sizeof piece)) != 0) {
        struct unpack_point point;
        struct buf window = {0};
        struct unpack *u;

        if (got > 0) {
            assert_memory_equal(piece, (const char *)want.data + at, got);
            at += (uint64_t)got;
        }
        if (got < 0 && got != -EAGAIN)
            fail_msg("%s: %s", name, unpack_why(walk));
        if (!unpack_at_point(walk, &point))
            continue;
        assert_int_equal(point.out, at);
        unpack_window(walk, &window);
        assert_true(window.len <= UNPACK_STATE_MAX);
        u = unpack_new(&source, UNPACK_ZSTD, &point, buf_slice(&window), false);
        compare(u, want, at, points % 4 == 0 ? SIZE_MAX : TO_COMPARE, name);
        unpack_free(u);
        buf_done(&window);
        points++;
    }
    assert_int_equal(at, want.len);
    unpack_free(walk);
    return points;
}

static void one_frame(void **state)
{
    static const struct packing cases[] = {
        {"fast", 1, 17, 1, 0, false, 6},
        {"negative", -7, 17, 0, 0, false, 6},
        {"usual", 3, 18, 1, 0, false, 3},
        {"usual, sized", 3, 18, 1, 0, true, 3},
        {"lazy", 9, 16, 0, 0, false, 6},
        {"best", 17, 17, 1, 0, false, 6},
        {"small window", 3, 10, 1, 0, false, 6},
        {"many blocks", 3, 16, 1, 3000, false, 6},
        {"odd blocks", 12, 17, 0, 70001, false, 6},
        {"window too large for it", 3, 24, 1, 0, false, 0},
    };
    struct buf plain = {0};

    (void)state;
    fill(&plain, 8 << 20);
    for (size_t i = 0; i < array_size(cases); i++) {
        struct buf packed = {0};
        size_t points;

        pack(&cases[i], buf_slice(&plain), &packed);
        points = enter_everywhere(cases[i].name, buf_slice(&packed), buf_slice(&plain));
        if (points < cases[i].points_min)
            fail_msg("%s: %zu points", cases[i].name, points);
        buf_done(&packed);
    }
    buf_done(&plain);
}

/* Frames of all kinds behind one another, and what is to be skipped. */
static void many_frames(void **state)
{
    static const struct packing a = {"", 3, 17, 1, 0, false, 0}, b = {"", 1, 17, 0, 0, true, 0};
    struct buf plain = {0}, packed = {0};

    (void)state;
    fill(&plain, 4 << 20);
    for (size_t i = 0; i < 4; i++) {
        pack(i % 2 ? &a : &b, slice_of(plain.data + (i << 20), 1 << 20), &packed);
        buf_add(&packed, "\x5a\x2a\x4d\x18\x04\0\0\0skip", 12);
    }
    assert_true(enter_everywhere("frames", buf_slice(&packed), buf_slice(&plain)) >= 4);
    buf_done(&plain);
    buf_done(&packed);
}

/* The descriptions of the default tables are those of the format. */
static void defaults(void **state)
{
    static const int16_t literals[] = {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
                                       2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
    static const int16_t offsets[] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
                                      1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};
    struct zstd_counts counts;

    (void)state;
    assert_int_equal(zstd_counts_read(zstd_literals.text, zstd_literals.len, &counts), 20);
    assert_int_equal(counts.n, array_size(literals));
    assert_memory_equal(counts.of, literals, sizeof literals);
    assert_int_equal(zstd_counts_read(zstd_offsets.text, zstd_offsets.len, &counts), 14);
    assert_int_equal(counts.n, array_size(offsets));
    assert_memory_equal(counts.of, offsets, sizeof offsets);
    assert_int_equal(zstd_counts_read(zstd_matches.text, zstd_matches.len, &counts), 29);
    assert_int_equal(counts.n, 53);
    assert_int_equal(counts.log, 6);
    assert_int_equal(zstd_counts_read(zstd_matches.text, 12, &counts), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(one_frame),
        cmocka_unit_test(many_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
