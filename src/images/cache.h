/* cache.h: prepared answers for manifests that are asked for again and again, by repository and
 * reference. Bounded; an entry is valid for one generation of its repository (images.h). */
#ifndef IMAGES_CACHE_H
#define IMAGES_CACHE_H

#include "web.h"

#define PAGE_CACHE_ENTRIES 4096u
#define PAGE_CACHE_BYTES   (16u << 20) /* of content */

struct page_cache;

struct page_cache *page_cache_new(void); /* returns new */
void page_cache_free(struct page_cache *c);
/* Returns a reference, or NULL. *ret_note: it was not said for a while that it was asked for
 * (used.h). Any thread; never waits long. */
struct web_page *page_cache_get(struct page_cache *c, const char *repo, const char *reference,
                                uint64_t generation, bool *ret_note);
/* Keeps a reference of its own. */
void page_cache_put(struct page_cache *c, const char *repo, const char *reference,
                    uint64_t generation, struct web_page *page);

#endif
