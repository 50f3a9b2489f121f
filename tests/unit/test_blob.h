/* test_blob.h: content to store, and how it is written and checked. */
#ifndef TEST_BLOB_H
#define TEST_BLOB_H

#include "test_store.h"

/* Content that differs from every other seed's, and from itself at other offsets. */
static inline uint8_t *content_new(size_t n, uint64_t seed)
{
    uint8_t *bytes = malloc(n + 8);
    uint64_t x = seed * 2654435761u + 88172645463325252u;

    for (size_t i = 0; i < n; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(bytes + i, &x, 8);
    }
    return bytes;
}

static inline int stage_fill(struct blob_stage *stage, const uint8_t *bytes, size_t n, size_t step)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i += step)
        r = blob_stage_write(stage, bytes + i, n - i < step ? n - i : step);
    return r;
}

static inline struct blob_stage *stage_new(struct store *s, uint64_t hint)
{
    struct blob_stage *stage = NULL;

    assert_int_equal(blob_stage_begin(s, DIGEST_SHA256, hint, &stage), 0);
    return stage;
}

/* Stores content of n bytes made from seed. */
static inline struct digest blob_make(struct store *s, size_t n, uint64_t seed)
{
    uint8_t *bytes = content_new(n, seed);
    struct blob_stage *stage = stage_new(s, n);
    struct digest d;

    assert_int_equal(stage_fill(stage, bytes, n, 1 << 20), 0);
    assert_int_equal(blob_seal(stage, NULL, &d), 0);
    free(bytes);
    return d;
}

static inline void read_range(struct blob *b, const uint8_t *bytes, size_t from, size_t n)
{
    uint8_t *got = malloc(n + 1);
    size_t want = from >= blob_size(b) ? 0 : blob_size(b) - from < n ? blob_size(b) - from : n;

    assert_int_equal(blob_read(b, from, got, n), want);
    if (memcmp(got, bytes + from, want) != 0)
        fail_msg("%zu bytes at %zu differ", want, from);
    free(got);
}

static inline void blob_check(struct store *s, const struct digest *d, const uint8_t *bytes,
                              size_t n)
{
    struct blob *b = NULL;
    struct blob_stat st;

    assert_int_equal(blob_stat(s, d, &st), 0);
    assert_int_equal(st.size_bytes, n);
    assert_int_equal(blob_open(s, d, &b), 0);
    assert_int_equal(blob_size(b), n);
    assert_true(digest_eq(blob_digest(b), d));
    read_range(b, bytes, 0, n + 5);
    for (size_t at = 0; at <= n; at += n / 7 + 1)
        read_range(b, bytes, at, 70000);
    blob_close(b);
    assert_int_equal(blob_verify(s, d), 0);
}

#endif
