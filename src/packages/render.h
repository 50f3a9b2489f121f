/* render.h: the text of the index pages, from the rows as they are now. */
#ifndef PACKAGES_RENDER_H
#define PACKAGES_RENDER_H

#include "packages/pages.h"

/* Appends the page of a project (normalised). -ENOENT: no such project, or one without files.
 * `mirrored`: what is kept of the index behind. */
int render_project(struct op *op, struct packages *pk, const char *project, bool mirrored,
                   enum page_kind kind, struct buf *out);
/* Appends the page of all projects; `filtered`: of those that op's caller may read. */
int render_root(struct op *op, struct packages *pk, enum page_kind kind, bool filtered,
                struct buf *out);
/* Appends "<sha256>  <file>" of every file of a project, as sha256sum -c reads it. */
int render_sums(struct op *op, struct packages *pk, const char *project, struct buf *out);

#endif
