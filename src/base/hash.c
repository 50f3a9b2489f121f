#include "base/hash.h"

#include <string.h>

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t r = (__uint128_t)a * b;

    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

static uint64_t read8(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* The multiply-and-fold of wyhash, eight bytes at a time. */
uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = seed ^ 0xa0761d6478bd642full;
    size_t left = n;

    for (; left >= 16; left -= 16, p += 16)
        h = mix(read8(p) ^ 0xe7037ed1a0b428dbull, read8(p + 8) ^ h);
    if (left >= 8) {
        h = mix(read8(p) ^ 0x8ebc6af09c88c6e3ull, h ^ 0x589965cc75374cc3ull);
        p += 8;
        left -= 8;
    }
    if (left > 0) {
        uint64_t tail = 0;

        memcpy(&tail, p, left);
        h = mix(tail ^ 0x1d8e4e27c47d124full, h ^ 0xeb44accab455d165ull);
    }
    return mix(h ^ n, 0xa0761d6478bd642full);
}
