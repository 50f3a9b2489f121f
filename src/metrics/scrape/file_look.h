/* file_look.h: whether files of the host changed, and whether they are whole.
 *
 * A look is taken before the files are read: an edit while they are read shows in the next look,
 * so that none is missed. A file that was written a moment ago may be cut to nothing or half
 * written. */
#ifndef METRICS_SCRAPE_FILE_LOOK_H
#define METRICS_SCRAPE_FILE_LOOK_H

#include <stdbool.h>
#include <stdint.h>

/* Of no file, if zeroed. */
struct file_look {
    uint64_t mark;    /* changes whenever one is edited, replaced, made or removed */
    int64_t whole_ms; /* Unix; when what was written last counts as whole */
};
void file_look_at(void *ctx, const char *file); /* adds a file; ctx: a struct file_look */
bool file_look_is_settling(int64_t whole_ms);   /* not whole yet */

#endif
