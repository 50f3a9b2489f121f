/* hash.h: for tables in memory. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A quick 64-bit hash; not for keys that an enemy chooses against others, only against himself. */
uint64_t hash_bytes(const void *data, size_t n, uint64_t seed);

#endif
