/* pages.h: the index pages: rendered once per change, kept in memory up to a limit. */
#ifndef PACKAGES_PAGES_H
#define PACKAGES_PAGES_H

#include "web.h"

struct packages;
struct pages;

enum page_kind { PAGE_HTML, PAGE_V1_HTML, PAGE_V1_JSON, PAGE_KINDS };
#define PAGE_BYTES_MAX (48u << 20) /* of all that are kept */

/* The Content-Type of each kind, which is also the name a client asks for it by. */
extern const char *const page_types[PAGE_KINDS + 1];

/* Watches the store, so that a page never outlives what it shows. */
int pages_new(struct packages *pk, struct pages **ret);
void pages_free(struct pages *p); /* NULL is fine */

/* The page of a project (normalised), or of all projects ("" as project). Returns a reference.
 * -ENOENT: no such project, or one without files. -EINPROGRESS: it must be rendered first, and the
 * caller may not wait for that. */
int pages_get(struct op *op, struct packages *pk, const char *project, enum page_kind kind,
              bool may_wait, struct web_page **ret);
/* The page of a project that comes from the mirror; the caller has seen that it may. May ask the
 * index behind; -EINPROGRESS as above, else as mirror_refresh. */
int pages_mirrored(struct op *op, struct packages *pk, const char *project, enum page_kind kind,
                   const char *via, bool may_wait, struct web_page **ret);
/* The same, if it is in memory, and fresh: else -EAGAIN. */
int pages_peek(struct packages *pk, const char *project, enum page_kind kind,
               struct web_page **ret);
int pages_peek_mirrored(struct packages *pk, const char *project, enum page_kind kind,
                        struct web_page **ret);

#endif
