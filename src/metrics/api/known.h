/* known.h: series by the bytes of their labels as a sender writes them, so that labels which came
 * before need not be read again. Told apart by a keyed 64-bit hash. Any thread. */
#ifndef METRICS_API_KNOWN_H
#define METRICS_API_KNOWN_H

#include "metrics/head/index.h"

struct known;
struct known *known_new(void);
void known_free(struct known *k);
uint64_t known_hash(const struct known *k, struct slice labels);
uint32_t known_find(struct known *k, uint64_t hash); /* SERIES_NONE */
void known_check(struct known *k,
                 uint64_t forgotten); /* db_forgotten: all begins anew if it changed */
void known_add(struct known *k, uint64_t hash, uint32_t ref);

#endif
