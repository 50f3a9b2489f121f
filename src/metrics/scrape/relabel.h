/* relabel.h: relabel_configs and metric_relabel_configs, all actions of Prometheus 3. */
#ifndef METRICS_SCRAPE_RELABEL_H
#define METRICS_SCRAPE_RELABEL_H

#include "metrics/labels.h"

enum relabel_action {
    RELABEL_REPLACE,
    RELABEL_KEEP,
    RELABEL_DROP,
    RELABEL_KEEPEQUAL,
    RELABEL_DROPEQUAL,
    RELABEL_HASHMOD,
    RELABEL_LABELMAP,
    RELABEL_LABELDROP,
    RELABEL_LABELKEEP,
    RELABEL_LOWERCASE,
    RELABEL_UPPERCASE,
    RELABEL_ACTIONS,
};
extern const char *const relabel_action_names[RELABEL_ACTIONS + 1]; /* ends with NULL */

struct regex;
struct relabel {
    enum relabel_action action;
    char **source_labels; /* NULL-terminated; or NULL */
    char *separator;      /* ";" */
    char *target_label;   /* "" where it is not given */
    char *replacement;    /* "$1" */
    char *regex_text;     /* "(.*)" */
    struct regex *regex;
    uint64_t modulus;
};

struct relabels {
    struct relabel *items;
    size_t n;
};
void relabels_done(struct relabels *r);

/* Applies all in order. False: dropped. New strings are the op's. */
bool relabel_apply(const struct relabels *r, struct label_builder *labels);

#endif
