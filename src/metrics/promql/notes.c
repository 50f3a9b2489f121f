#include "metrics/promql/notes.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "base/shim.h"

#include <math.h>
#include <stdio.h>

#define SHOWN_MAX 10 /* of each kind, as Prometheus' API does */

struct note {
    enum note_kind kind;
    char *text;
    struct span at;
    size_t times; /* NOTE_MONOTONICITY, NOTE_OVERLAP */
    /* NOTE_MONOTONICITY: */
    int64_t min_ms, max_ms;
    double lowest, highest, max_diff;
};

static struct note *find_or_add(struct evaluator *ev, enum note_kind kind, const char *text)
{
    for (size_t i = 0; i < ev->n_notes; i++)
        if (ev->notes[i].kind == kind && strcmp(ev->notes[i].text, text) == 0)
            return &ev->notes[i];
    if (ev->n_notes == ev->cap_notes) {
        ev->cap_notes = ev->cap_notes == 0 ? 8 : 2 * ev->cap_notes;
        ev->notes = xrealloc(ev->notes, ev->cap_notes * sizeof *ev->notes);
    }
    ev->notes[ev->n_notes] = (struct note){.kind = kind, .text = xstrdup(text)};
    return &ev->notes[ev->n_notes++];
}

/* A query over many metrics could leave as many notes; few are shown. */
#define NOTES_MAX 1000

void note_add(struct evaluator *ev, enum note_kind kind, struct span at, const char *format, ...)
{
    autobuf text = {0};
    va_list args;

    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    guard(&ev->lock);
    if (ev->n_notes < NOTES_MAX)
        find_or_add(ev, kind, text.data)->at = at;
}

void note_monotonicity(struct evaluator *ev, struct span at, struct slice name, int64_t ts_ms,
                       double lowest, double highest, double max_diff)
{
    autobuf text = {0};
    struct note *n;

    buf_add_str(&text, "input to histogram_quantile needed to be fixed for monotonicity (see "
                       "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                       "#histogram_quantile)");
    if (name.len > 0) {
        buf_add_str(&text, " for metric name ");
        quote_go(&text, name);
    }
    guard(&ev->lock);
    if (ev->n_notes >= NOTES_MAX)
        return;
    n = find_or_add(ev, NOTE_MONOTONICITY, text.data);
    if (n->times++ == 0) {
        *n = (struct note){NOTE_MONOTONICITY, n->text, at,      1,       ts_ms,
                           ts_ms,             lowest,  highest, max_diff};
        return;
    }
    n->min_ms = ts_ms < n->min_ms ? ts_ms : n->min_ms;
    n->max_ms = ts_ms > n->max_ms ? ts_ms : n->max_ms;
    n->lowest = lowest < n->lowest ? lowest : n->lowest;
    n->highest = highest > n->highest ? highest : n->highest;
    n->max_diff = max_diff > n->max_diff ? max_diff : n->max_diff;
}

void note_overlap(struct evaluator *ev, struct span at, struct slice name)
{
    autobuf text = {0};
    struct note *n;

    buf_add_str(&text,
                "sample has start time that overlaps with previous sample timestamp for metric ");
    quote_go(&text, name);
    guard(&ev->lock);
    if (ev->n_notes >= NOTES_MAX)
        return;
    n = find_or_add(ev, NOTE_OVERLAP, text.data);
    if (n->times++ == 0)
        n->at = at;
}

static bool is_warning(const struct note *n)
{
    return n->kind == NOTE_WARNING || n->kind == NOTE_OVERLAP;
}

static void print_seconds(struct buf *out, int64_t ts_ms)
{
    char text[CLOCK_TEXT_MAX];

    buf_add_str(out, clock_print_ns(ts_ms / 1000 * 1000000000, 0, text));
}

static void print_note(const struct evaluator *ev, const struct note *n, struct buf *out)
{
    char lowest[GO_TEXT_MAX];
    char highest[GO_TEXT_MAX];

    buf_printf(out, "PromQL %s: %s", is_warning(n) ? "warning" : "info", n->text);
    if (n->kind == NOTE_OVERLAP && n->times > 1)
        buf_printf(out, " (%zu occurrences)", n->times);
    if (n->kind == NOTE_MONOTONICITY) {
        buf_printf(out, ", from buckets %s to %s, with a max diff of %.2g, over %zu samples from ",
                   go_g(n->lowest, lowest), go_g(n->highest, highest), n->max_diff, n->times);
        print_seconds(out, n->min_ms);
        buf_add_str(out, " to ");
        print_seconds(out, n->max_ms);
    }
    buf_add_str(out, " (");
    promql_place(ev->text, n->at.start, out);
    buf_add_char(out, ')');
}

static void take_kind(struct evaluator *ev, bool warnings, char ***ret, size_t *ret_n)
{
    char **list = NULL;
    size_t n = 0;
    size_t omitted = 0;

    for (size_t i = 0; i < ev->n_notes; i++) {
        struct buf text = {0};

        if (is_warning(&ev->notes[i]) != warnings)
            continue;
        if (n == SHOWN_MAX) {
            omitted++;
            continue;
        }
        if (list == NULL)
            list = xcalloc(SHOWN_MAX + 1, sizeof *list);
        print_note(ev, &ev->notes[i], &text);
        list[n++] = buf_take(&text, NULL);
    }
    if (omitted > 0) {
        struct buf text = {0};

        buf_printf(&text, "%zu more %s annotations omitted", omitted,
                   warnings ? "warning" : "info");
        list[n++] = buf_take(&text, NULL);
    }
    *ret = list;
    *ret_n = n;
}

void notes_take(struct evaluator *ev, struct result *ret)
{
    take_kind(ev, true, &ret->warnings, &ret->n_warnings);
    take_kind(ev, false, &ret->infos, &ret->n_infos);
}

void notes_done(struct evaluator *ev)
{
    for (size_t i = 0; i < ev->n_notes; i++)
        free(ev->notes[i].text);
    free(ev->notes);
}

void note_ignored_in_range(struct evaluator *ev, struct span at, struct slice name)
{
    autobuf quoted = {0};

    quote_go(&quoted, name);
    note_add(ev, NOTE_INFO, at,
             "ignored histograms in a range containing both floats and histograms for metric name "
             "%s",
             quoted.data);
}

void note_mixed(struct evaluator *ev, struct span at, struct slice name)
{
    autobuf quoted = {0};

    quote_go(&quoted, name);
    note_add(ev, NOTE_WARNING, at, "encountered a mix of histograms and floats for metric name %s",
             quoted.data);
}

void note_mixed_schemas(struct evaluator *ev, struct span at, struct slice name)
{
    autobuf quoted = {0};

    quote_go(&quoted, name);
    note_add(ev, NOTE_WARNING, at,
             "vector contains a mix of histograms with exponential and custom buckets schemas for "
             "metric name %s",
             quoted.data);
}

void note_reconciled(struct evaluator *ev, struct span at, const char *operation)
{
    note_add(ev, NOTE_INFO, at, "mismatched custom buckets were reconciled during %s", operation);
}

void note_collision(struct evaluator *ev, struct span at, const char *operation)
{
    note_add(ev, NOTE_WARNING, at, "conflicting counter resets during histogram %s", operation);
}

void note_bad_quantile(struct evaluator *ev, struct span at, double q)
{
    char text[GO_TEXT_MAX];

    note_add(ev, NOTE_WARNING, at, "quantile value should be between 0 and 1, got %s",
             go_g(q, text));
}

/* The digits of the shortest form, without point, and the exponent of the first. */
static int shortest(double v, char digits[DOUBLE_TEXT_MAX], int *ret_exponent)
{
    char text[DOUBLE_TEXT_MAX];
    size_t len = double_print(fabs(v), text);
    int n = 0;
    int exponent = 0;
    int point = -1;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == 'e') {
            exponent = (int)strtol(text + i + 1, NULL, 10);
            break;
        }
        if (text[i] == '.')
            point = n;
        else
            digits[n++] = text[i];
    }
    exponent += (point >= 0 ? point : n) - 1;
    while (n > 1 && digits[0] == '0') {
        memmove(digits, digits + 1, (size_t)--n);
        exponent--;
    }
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (digits[0] == '0')
        exponent = 0;
    *ret_exponent = exponent;
    return n;
}

static const char *not_finite(double v)
{
    return isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf";
}

const char *go_f(double v, char text[GO_TEXT_MAX])
{
    char digits[DOUBLE_TEXT_MAX];
    char *p = text;
    int exponent = 0;
    int n;

    if (!isfinite(v))
        return not_finite(v);
    n = shortest(v, digits, &exponent);
    if (signbit(v))
        *p++ = '-';
    if (exponent < 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = -1; i > exponent; i--)
            *p++ = '0';
    }
    for (int i = 0; i < n; i++) {
        if (exponent >= 0 && i == exponent + 1)
            *p++ = '.';
        *p++ = digits[i];
    }
    for (int i = n; i <= exponent; i++)
        *p++ = '0';
    *p = '\0';
    return text;
}

/* strconv's 'g' with the shortest precision: an exponent below 1e-4 and from 1e+06 on. */
const char *go_g(double v, char text[GO_TEXT_MAX])
{
    char digits[DOUBLE_TEXT_MAX];
    char *p = text;
    int exponent = 0;
    int n;

    if (!isfinite(v))
        return not_finite(v);
    n = shortest(v, digits, &exponent);
    if (exponent >= -4 && exponent < 6)
        return go_f(v, text);
    if (signbit(v))
        *p++ = '-';
    *p++ = digits[0];
    if (n > 1) {
        *p++ = '.';
        memcpy(p, digits + 1, (size_t)n - 1);
        p += n - 1;
    }
    snprintf(p, 16, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
    return text;
}

const char *go_metric(double v, char text[GO_TEXT_MAX])
{
    const char *s = go_g(v, text);

    if (s == text && strpbrk(text, ".e") == NULL)
        strncat(text, ".0", GO_TEXT_MAX - strlen(text) - 1);
    return s;
}
