/* buf.h: a byte buffer that grows up to a limit. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

/* Invariant: data is NULL or holds cap bytes, len < cap, and data[len] is 0.
 * A write that would pass limit_bytes sets `failed` and drops the bytes; so a caller may append
 * many times and look once. Zero-initialised is a valid, empty buffer without limit. */
struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t limit_bytes; /* 0: none */
    bool failed;
};

void buf_done(struct buf *b);                   /* frees; the buffer is empty and usable again */
void buf_wipe(struct buf *b);                   /* overwrites, then frees: for secrets */
void buf_clear(struct buf *b);                  /* keeps the memory */
void buf_reserve(struct buf *b, size_t n);      /* room for n more bytes */
void buf_add(struct buf *b, const void *data, size_t n);
void buf_add_slice(struct buf *b, struct slice s);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_u64(struct buf *b, uint64_t v);    /* decimal */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
char *buf_take(struct buf *b, size_t *ret_len); /* returns new: NUL-terminated, never NULL */

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->data, b->len);
}

#define autobuf __attribute__((cleanup(buf_done))) struct buf

#endif
