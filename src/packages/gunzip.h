/* gunzip.h: a gzip file (RFC 1952) as a stream of bytes, strict to its end: sums and lengths are
 * checked, nothing may follow the last member, and what unpacks out of all proportion is refused.
 */
#ifndef PACKAGES_GUNZIP_H
#define PACKAGES_GUNZIP_H

#include "packages/zip.h"

/* What may come out before it counts as a bomb: this much in any case, and beyond it so many times
 * the packed size. */
#define GUNZIP_FREE      (64ull << 20)
#define GUNZIP_RATIO_MAX 100
#define GUNZIP_MAX       (8ull << 30)

struct gunzip;
struct gunzip *gunzip_new(const struct zip_source *source); /* returns new; copies source */
void gunzip_free(struct gunzip *g);
/* The next bytes, lent until the next call: how many, 0 at the end, -EINVAL damaged, cut or a bomb
 * (gunzip_why says which), or what reading said. */
ssize_t gunzip_next(struct gunzip *g, const void **ret);
const char *gunzip_why(const struct gunzip *g); /* NULL: nothing was refused */

#endif
