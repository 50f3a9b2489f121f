/* bytes.h: bytes in memory, read as a file is. */
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

static inline ssize_t bytes_read(void *ctx, uint64_t offset, void *buf, size_t n)
{
    const struct bytes *b = ctx;

    if (offset >= b->size)
        return 0;
    if (n > b->size - offset)
        n = b->size - (size_t)offset;
    memcpy(buf, b->data + offset, n);
    return (ssize_t)n;
}

#endif
