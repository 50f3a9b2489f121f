/* quote.h: the text between quotes as expositions and PromQL have it. Pure. */
#ifndef BASE_QUOTE_H
#define BASE_QUOTE_H

#include "base/buf.h"

/* Appends s with \\, \" and \n for a backslash, a quote and a line's end (Prometheus text format,
 * label values), without the quotes; or with them. */
void quote_escape(struct buf *out, struct slice s);
void quote_put(struct buf *out, struct slice s);

#endif
