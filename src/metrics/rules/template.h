/* template.h: the templates of alerts: labels and annotations, in the language of Go's text/template
 * with Prometheus' functions (prometheus/template/template.go). */
#ifndef METRICS_RULES_TEMPLATE_H
#define METRICS_RULES_TEMPLATE_H

#include "metrics/labels.h"

/* One sample of the answer to {{ query "…" }}. */
struct template_sample {
    struct labels labels;
    double value;
};

struct template_env {
    struct labels labels;          /* {{ $labels }} */
    struct labels external_labels; /* {{ $externalLabels }} */
    const char *external_url;      /* {{ $externalURL }} */
    double value;                  /* {{ $value }} */
    const char *histogram;         /* the value as text if it is a native histogram; else NULL */
    int64_t now_ms;                /* of the evaluation */
    /* Answers an instant query; what it returns lives in the op. A negative errno with the reason in
     * why. */
    int (*query)(void *ctx, struct op *op, struct slice text, struct template_sample **ret,
                 size_t *ret_n, struct buf *why);
    void *ctx;
};

/* Does it parse? -EINVAL with the reason in why ("template: NAME:1: …"). */
int template_check(struct op *op, const char *name, struct slice text, struct buf *why);
/* Appends the text. -EINVAL with the reason in why; what was appended is then to be dropped. */
int template_expand(struct op *op, const char *name, const struct template_env *env,
                    struct slice text, struct buf *out, struct buf *why);

#endif
