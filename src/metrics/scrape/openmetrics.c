/* OpenMetrics 1.0 text: single blanks, no free comments, `# EOF` at the end. */
#include "base/utf8.h"
#include "metrics/scrape/exposition.h"

#include <errno.h>
#include <math.h>

/* A blank and then what is neither blank nor line break: its end; p itself if it is not there, with
 * the byte where it failed in *ret_at. */
static const char *word_end(const char *p, const char *end, const char **ret_at)
{
    const char *e = p + 1;

    *ret_at = p;
    if (p == end || *p != ' ')
        return p;
    *ret_at = e;
    while (e < end && *e != ' ' && *e != '\n')
        e++;
    return e > p + 1 ? e : p;
}

static int fail_in_braces(struct exposition *x, const char *expected, const char *p)
{
    const char *e = exposition_name_end(p, x->end, false);

    if (e != p)
        return exposition_fail(x, expected, p, e, "LNAME");
    if (p < x->end && *p == ',')
        return exposition_fail(x, expected, p, p + 1, "COMMA");
    if (p < x->end && *p == '=')
        return exposition_fail(x, expected, p, p + 1, "EQUAL");
    if (p < x->end && *p == '}')
        return exposition_fail(x, expected, p, p + 1, "BCLOSE");
    return exposition_fail(x, expected, p, p, "INVALID");
}

static int set_metric(struct exposition *x, struct slice name, bool quoted, const char *end)
{
    if (x->metric_set)
        return exposition_fail_text(x, end, "metric name already set");
    x->metric = name;
    x->metric_quoted = quoted;
    x->metric_set = true;
    return 0;
}

/* `exemplar`: the labels are only checked, and a bare string is no metric there. */
static int parse_label(struct exposition *x, bool exemplar)
{
    const char *name = x->p;
    const char *e = exposition_name_end(name, x->end, false);
    bool quoted = e == name;
    struct slice key;
    const char *p;

    if (quoted)
        e = exposition_quoted_end(name, x->end);
    if (e == name)
        return fail_in_braces(x, "expected label name", name);
    key = slice_of(name + quoted, (size_t)(e - name) - 2 * (size_t)quoted);
    if (quoted && !exemplar && e < x->end && (*e == ',' || *e == '}')) {
        x->p = e;
        return set_metric(x, key, true, e + 1);
    }
    if (e == x->end || *e != '=')
        return fail_in_braces(x, "expected equal", e);
    p = e + 1;
    e = exposition_quoted_end(p, x->end);
    if (e == p || memchr(p, '\n', (size_t)(e - p)) != NULL)
        return exposition_fail(x, "expected label value", p, p, "INVALID");
    if (!utf8_valid(slice_of(p, (size_t)(e - p)))) {
        buf_add_str(&x->why, "invalid UTF-8 label value: ");
        quote_go(&x->why, slice_of(p, (size_t)(e - p)));
        return -EINVAL;
    }
    x->p = e;
    if (exemplar)
        return 0;
    return exposition_add_label(x, key, quoted, slice_of(p + 1, (size_t)(e - p) - 2));
}

static int parse_labels(struct exposition *x, bool exemplar)
{
    bool first = true;

    while (x->p == x->end || *x->p != '}') {
        int r;

        if (!first) {
            if (x->p == x->end || *x->p != ',')
                return fail_in_braces(x, "expected comma or brace close", x->p);
            x->p++;
            if (x->p < x->end && *x->p == '}')
                break;
        }
        r = parse_label(x, exemplar);
        if (r < 0)
            return r;
        first = false;
    }
    x->p++;
    return 0;
}

/* " value" after `what`. */
static int parse_float(struct exposition *x, const char *expected, double *ret)
{
    const char *at = NULL;
    const char *e = word_end(x->p, x->end, &at);

    if (e == x->p)
        return exposition_fail(x, expected, x->p, at, "INVALID");
    if (value_parse(slice_of(x->p + 1, (size_t)(e - x->p) - 1), ret, &x->why) < 0)
        return exposition_fail_text(x, e, "%s", "");
    x->p = e;
    return 0;
}

static int parse_seconds(struct exposition *x, int64_t *ret_ms)
{
    double s = 0;
    int r = parse_float(x, "expected timestamp or # symbol", &s);

    if (r < 0)
        return r;
    if (isnan(s) || isinf(s) || fabs(s) > 9e15) {
        buf_printf(&x->why, "invalid timestamp %s", isnan(s) ? "NaN" : s > 0 ? "+Inf" : "-Inf");
        return -EINVAL;
    }
    *ret_ms = (int64_t)(s * 1000);
    return 0;
}

static bool at_exemplar(const struct exposition *x)
{
    return x->end - x->p >= 4 && memcmp(x->p, " # {", 4) == 0;
}

/* ` # {labels} value [timestamp]` */
static int parse_exemplar(struct exposition *x)
{
    int r;

    x->p += 4;
    x->exemplar = slice_of(x->p, (size_t)(x->end - x->p));
    r = parse_labels(x, true);
    x->exemplar.len = (size_t)(x->p - (const char *)x->exemplar.data);
    if (r == 0)
        r = parse_float(x, "expected value after exemplar labels", &x->exemplar_value);
    x->exemplar_timed = r == 0 && x->p < x->end && *x->p == ' ';
    if (x->exemplar_timed)
        r = parse_seconds(x, &x->exemplar_ms);
    x->has_exemplar = r == 0;
    return r;
}

int openmetrics_exemplar(struct exposition *x, struct exposition_label *ret)
{
    const char *p = x->exemplar.data;
    const char *end = p + x->exemplar.len;
    const char *e = exposition_name_end(p, end, false);

    ret->quoted = e == p;
    if (ret->quoted)
        e = exposition_quoted_end(p, end);
    if (e == p || e == end)
        return 0; /* the brace alone */
    ret->name = slice_of(p + ret->quoted, (size_t)(e - p) - 2 * (size_t)ret->quoted);
    p = e + 1;
    e = exposition_quoted_end(p, end);
    ret->value = slice_of(p + 1, (size_t)(e - p) - 2);
    if (e < end && *e == ',')
        e++;
    x->exemplar = slice_of(e, (size_t)(end - e));
    return 1;
}

static int parse_suffix(struct exposition *x)
{
    int r;

    if (!x->is_known && !x->metric_set) {
        const char *at = NULL;

        return exposition_fail_text(x, word_end(x->p, x->end, &at), "metric name not set");
    }
    r = parse_float(x, "expected value after metric", &x->value);
    x->has_timestamp = x->has_exemplar = false;
    if (r == 0 && !at_exemplar(x) && x->p < x->end && *x->p == ' ') {
        r = parse_seconds(x, &x->timestamp_ms);
        x->has_timestamp = r == 0;
    }
    if (r == 0 && at_exemplar(x))
        r = parse_exemplar(x);
    if (r < 0)
        return r;
    if (x->p == x->end) {
        buf_add_str(&x->why, "data does not end with # EOF");
        return -EINVAL;
    }
    if (*x->p != '\n')
        return exposition_fail(x, "expected next entry after timestamp", x->p, x->p, "INVALID");
    x->p++;
    return EXPOSITION_SAMPLE;
}

static int parse_sample(struct exposition *x)
{
    const char *e = exposition_name_end(x->p, x->end, true);
    int r = 0;

    x->n_labels = 0;
    x->metric_set = false;
    x->is_known = false;
    if (e == x->p && *x->p != '{')
        return exposition_fail(x, "expected a valid start token", x->p, x->p, "INVALID");
    if (e != x->p)
        r = set_metric(x, slice_of(x->p, (size_t)(e - x->p)), false, e);
    x->p = e;
    if (r == 0 && e < x->end && *e == '{') {
        x->p = e + 1;
        r = parse_labels(x, false);
    }
    if (r < 0)
        return r;
    x->series = slice_of(x->start, (size_t)(x->p - x->start));
    return parse_suffix(x);
}

static int set_type(struct exposition *x)
{
    for (enum metric_type t = METRIC_UNKNOWN; t <= METRIC_STATESET; t++)
        if (slice_eq(x->text, slice_str(metric_type_name(t)))) {
            x->type = t;
            return EXPOSITION_TYPE;
        }
    buf_add_str(&x->why, "invalid metric type ");
    quote_go(&x->why, x->text);
    return -EINVAL;
}

static int check_unit(struct exposition *x)
{
    const char *name = x->name.data;
    size_t n = x->text.len;

    if (n > 0 && (x->name.len < n + 1 || memcmp(name + x->name.len - n, x->text.data, n) != 0 ||
                  name[x->name.len - n - 1] != '_')) {
        buf_add_str(&x->why, "unit ");
        quote_go(&x->why, x->text);
        buf_add_str(&x->why, " not a suffix of metric ");
        quote_go(&x->why, x->name);
        return -EINVAL;
    }
    return EXPOSITION_UNIT;
}

/* `# WORD name text`; x->p stands behind the blank after WORD. */
static int parse_metadata(struct exposition *x, const char *word)
{
    const char *eol = memchr(x->p, '\n', (size_t)(x->end - x->p));
    const char *e = exposition_name_end(x->p, x->end, true);
    bool quoted = e == x->p;
    autobuf expected = {0};

    if (quoted)
        e = exposition_quoted_end(x->p, x->end);
    if (e == x->p) {
        buf_printf(&expected, "expected metric name after %s", word);
        return exposition_fail(x, expected.data, x->p, x->p, "INVALID");
    }
    x->name = slice_of(x->p + quoted, (size_t)(e - x->p) - 2 * (size_t)quoted);
    if (eol == NULL || e > eol || *e != ' ') {
        buf_printf(&x->why, "expected text in %s", word);
        return -EINVAL;
    }
    x->text = slice_of(e + 1, (size_t)(eol - e) - 1);
    x->p = eol + 1;
    if (word[0] == 'T')
        return set_type(x);
    if (word[0] == 'U')
        return check_unit(x);
    if (!utf8_valid(x->text)) {
        buf_add_str(&x->why, "help text ");
        quote_go(&x->why, x->text);
        buf_add_str(&x->why, " is not a valid utf8 string");
        return -EINVAL;
    }
    return EXPOSITION_HELP;
}

static int end_of_data(struct exposition *x)
{
    x->p += x->p < x->end && *x->p == '\n';
    if (x->p == x->end)
        return EXPOSITION_END;
    buf_add_str(&x->why, "unexpected data after # EOF");
    return -EINVAL;
}

static int parse_comment(struct exposition *x)
{
    static const char *const words[] = {"HELP ", "TYPE ", "UNIT "};
    const char *p = x->p + 1;
    const char *at = p;

    if (p < x->end && *p == ' ') {
        size_t left;

        at = ++p;
        left = (size_t)(x->end - p);
        if (left >= 3 && memcmp(p, "EOF", 3) == 0) {
            x->p = p + 3;
            return end_of_data(x);
        }
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            size_t same = 0;

            while (same < left && words[i][same] != 0 && words[i][same] == p[same])
                same++;
            if (words[i][same] == 0) {
                char word[5] = {words[i][0], words[i][1], words[i][2], words[i][3], 0};

                x->p = p + same;
                return parse_metadata(x, word);
            }
            if (p + same > at)
                at = p + same;
        }
    }
    return exposition_fail(x, "expected a valid start token", x->start, at, "INVALID");
}

int openmetrics_next(struct exposition *x)
{
    if (x->p == x->end) {
        buf_add_str(&x->why, "data does not end with # EOF");
        return -EINVAL;
    }
    x->start = x->p;
    if (*x->p == '#')
        return parse_comment(x);
    if (x->known != NULL) {
        size_t n = x->known(x->known_ctx, x->p, (size_t)(x->end - x->p));

        if (n > 0) {
            x->series = slice_of(x->p, n);
            x->p += n;
            x->is_known = true;
            return parse_suffix(x);
        }
    }
    return parse_sample(x);
}
