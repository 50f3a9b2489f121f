/* The text format, by the grammar of Prometheus' lexer: blanks and tabs separate tokens, what a
 * line means is decided by its first token. */
#include "metrics/scrape/exposition.h"

#include "base/shim.h"
#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <strings.h>

void exposition_init(struct exposition *x, enum exposition_format format, struct slice body)
{
    *x = (struct exposition){.format = format, .p = body.data};
    if (x->p == NULL)
        x->p = "";
    x->end = x->p + body.len;
}

void exposition_done(struct exposition *x)
{
    buf_done(&x->why);
}

/* What was met runs from `token` to one byte past `at`, as Prometheus words it. At the end of a
 * text body there is always a line break. */
int exposition_fail(struct exposition *x, const char *expected, const char *token, const char *at,
                    const char *name)
{
    const char *e = at < x->end ? at + 1 : x->end;
    autobuf got = {0};
    autobuf seen = {0};

    buf_add(&got, token, (size_t)(e > token ? e - token : 0));
    buf_add(&seen, x->start, (size_t)(e - x->start));
    if (at >= x->end && x->format == EXPOSITION_TEXT) {
        buf_add_char(&got, '\n');
        buf_add_char(&seen, '\n');
    }
    buf_add_str(&x->why, expected);
    buf_add_str(&x->why, ", got ");
    quote_go(&x->why, buf_slice(&got));
    buf_printf(&x->why, " (\"%s\") while parsing: ", name);
    quote_go(&x->why, buf_slice(&seen));
    return -EINVAL;
}

/* "…reason… while parsing: <the entry up to end>" */
int exposition_fail_text(struct exposition *x, const char *end, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(&x->why, format, args);
    va_end(args);
    buf_add_str(&x->why, " while parsing: ");
    quote_go(&x->why, slice_of(x->start, (size_t)(end - x->start)));
    return -EINVAL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    return p;
}

static bool is_name_start(char c, bool colon)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':');
}

/* Past the name at p; p itself if there is none. */
const char *exposition_name_end(const char *p, const char *end, bool colon)
{
    if (p == end || !is_name_start(*p, colon))
        return p;
    while (p < end && (is_name_start(*p, colon) || (*p >= '0' && *p <= '9')))
        p++;
    return p;
}

/* Past the quoted string at p; p itself if there is none that ends. */
const char *exposition_quoted_end(const char *p, const char *end)
{
    const char *q = p + 1;

    if (p == end || *p != '"')
        return p;
    for (; q < end && *q != '"'; q++)
        if (*q == '\\')
            q++;
    return q < end ? q + 1 : p;
}

int exposition_add_label(struct exposition *x, struct slice name, bool quoted, struct slice value)
{
    if (x->n_labels == LABELS_MAX) {
        buf_printf(&x->why, "more than %d labels on one series", LABELS_MAX);
        return -EINVAL;
    }
    x->labels[x->n_labels++] = (struct exposition_label){name, value, quoted};
    return 0;
}

/* The token at p inside braces, named for an error. */
static int fail_in_labels(struct exposition *x, const char *expected, const char *p)
{
    const char *e = exposition_name_end(p, x->end, false);
    const char *name = "LNAME";

    if (e == p) {
        e = exposition_quoted_end(p, x->end);
        name = "QSTRING";
    }
    if (e == p && p < x->end) {
        const char *kinds = "}=,";
        const char *const names[] = {"BCLOSE", "EQUAL", "COMMA"};
        const char *kind = *p != 0 ? strchr(kinds, *p) : NULL;

        name = kind != NULL ? names[kind - kinds] : "INVALID";
        e = kind != NULL ? p + 1 : p;
    } else if (e == p) {
        name = "INVALID";
    }
    return exposition_fail(x, expected, p, e, name);
}

static int set_metric(struct exposition *x, struct slice name, bool quoted, const char *end)
{
    if (x->metric_set)
        return exposition_fail_text(x, end, "metric name already set");
    if (quoted)
        name = slice_of((const char *)name.data + 1, name.len - 2);
    x->metric = name;
    x->metric_quoted = quoted;
    x->metric_set = true;
    return 0;
}

/* One `name="value"` or bare `"metric"`; x->p stands before it and is moved behind it. */
static int parse_label(struct exposition *x)
{
    const char *name = x->p;
    const char *name_end = exposition_name_end(name, x->end, false);
    bool quoted = false;
    const char *p;
    const char *e;

    if (name_end == name) {
        name_end = exposition_quoted_end(name, x->end);
        quoted = true;
    }
    if (name_end == name)
        return fail_in_labels(x, "expected label name", name);
    p = skip_blanks(name_end, x->end);
    if (quoted && p < x->end && (*p == ',' || *p == '}')) {
        x->p = p;
        return set_metric(x, slice_of(name, (size_t)(name_end - name)), true, p + 1);
    }
    if (p == x->end || *p != '=')
        return fail_in_labels(x, "expected equal", p);
    p = skip_blanks(p + 1, x->end);
    e = exposition_quoted_end(p, x->end);
    if (e == p)
        return exposition_fail(x, "expected label value", p, p < x->end && *p == '"' ? x->end : p,
                               "INVALID");
    if (!utf8_valid(slice_of(p, (size_t)(e - p)))) {
        buf_add_str(&x->why, "invalid UTF-8 label value: ");
        quote_go(&x->why, slice_of(p, (size_t)(e - p)));
        return -EINVAL;
    }
    x->p = e;
    return exposition_add_label(
        x, slice_of(name + quoted, (size_t)(name_end - name) - 2 * (size_t)quoted), quoted,
        slice_of(p + 1, (size_t)(e - p) - 2));
}

/* From behind the opening brace to behind the closing one. */
static int parse_labels(struct exposition *x)
{
    x->p = skip_blanks(x->p, x->end);
    while (x->p == x->end || *x->p != '}') {
        int r = parse_label(x);

        if (r < 0)
            return r;
        x->p = skip_blanks(x->p, x->end);
        if (x->p < x->end && *x->p == ',')
            x->p = skip_blanks(x->p + 1, x->end);
    }
    x->p++;
    return 0;
}

static int parse_timestamp(struct exposition *x)
{
    const char *p = x->p;
    int64_t ts = 0;

    while (p < x->end && *p >= '0' && *p <= '9') {
        if (__builtin_mul_overflow(ts, 10, &ts) || __builtin_add_overflow(ts, *p - '0', &ts)) {
            while (p < x->end && *p >= '0' && *p <= '9')
                p++;
            return exposition_fail_text(x, p,
                                        "strconv.ParseInt: parsing \"%.*s\": value out of range",
                                        (int)(p - x->p), x->p);
        }
        p++;
    }
    if (p == x->p)
        return exposition_fail(x, "expected timestamp or new record", p, p, "INVALID");
    x->has_timestamp = true;
    x->timestamp_ms = ts;
    p = skip_blanks(p, x->end);
    if (p < x->end && *p != '\n')
        return exposition_fail(x, "expected next entry after timestamp", p, p, "INVALID");
    x->p = p < x->end ? p + 1 : p;
    return EXPOSITION_SAMPLE;
}

/* Behind the series text: the value, perhaps a timestamp, the end of the line. */
static int parse_value(struct exposition *x)
{
    const char *p = skip_blanks(x->p, x->end);
    const char *e = p;

    while (e < x->end && *e != ' ' && *e != '\n' && *e != '\t' && *e != '{')
        e++;
    if (!x->is_known && !x->metric_set)
        return exposition_fail_text(x, e, "metric name not set");
    if (e == p)
        return exposition_fail(x, "expected value after metric", p,
                               p < x->end && *p == '{' ? p + 1 : p,
                               p < x->end && *p == '{' ? "BOPEN" : "INVALID");
    if (value_parse(slice_of(p, (size_t)(e - p)), &x->value, &x->why) < 0)
        return exposition_fail_text(x, e, "%s", "");
    x->has_timestamp = false;
    x->p = skip_blanks(e, x->end);
    if (x->p < x->end && *x->p != '\n')
        return parse_timestamp(x);
    x->p += x->p < x->end;
    return EXPOSITION_SAMPLE;
}

static int parse_sample(struct exposition *x)
{
    const char *e = exposition_name_end(x->p, x->end, true);
    int r;

    x->n_labels = 0;
    x->metric_set = false;
    x->is_known = false;
    if (e == x->p && *x->p != '{')
        return exposition_fail(x, "expected a valid start token", x->p, x->p, "INVALID");
    if (e != x->p) {
        r = set_metric(x, slice_of(x->p, (size_t)(e - x->p)), false, e);
        if (r < 0)
            return r;
    }
    x->p = e;
    x->series = slice_of(x->start, (size_t)(e - x->start));
    e = skip_blanks(e, x->end);
    if (e < x->end && *e == '{') {
        x->p = e + 1;
        r = parse_labels(x);
        if (r < 0)
            return r;
        x->series.len = (size_t)(x->p - x->start);
    }
    return parse_value(x);
}

static int set_type(struct exposition *x)
{
    static const struct {
        const char *word;
        enum metric_type type;
    } words[] = {{"counter", METRIC_COUNTER},
                 {"gauge", METRIC_GAUGE},
                 {"histogram", METRIC_HISTOGRAM},
                 {"summary", METRIC_SUMMARY},
                 {"untyped", METRIC_UNKNOWN}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_eq(x->text, slice_str(words[i].word))) {
            x->type = words[i].type;
            return EXPOSITION_TYPE;
        }
    buf_add_str(&x->why, "invalid metric type ");
    quote_go(&x->why, x->text);
    return -EINVAL;
}

/* `# HELP name text` and `# TYPE name word`; x->p stands behind the word HELP or TYPE. */
static int parse_metadata(struct exposition *x, bool is_type, const char *eol)
{
    const char *name = skip_blanks(x->p, eol);
    const char *e = exposition_name_end(name, eol, true);
    bool quoted = false;

    if (e == name) {
        e = exposition_quoted_end(name, eol);
        quoted = true;
    }
    if (e == name)
        return exposition_fail(
            x, is_type ? "expected metric name after TYPE" : "expected metric name after HELP",
            name, name, "INVALID");
    x->name = slice_of(name + quoted, (size_t)(e - name) - 2 * (size_t)quoted);
    e = skip_blanks(e, eol);
    x->text = slice_of(e, (size_t)(eol - e));
    x->p = eol < x->end ? eol + 1 : eol;
    if (is_type)
        return set_type(x);
    if (!utf8_valid(x->text)) {
        buf_add_str(&x->why, "help text ");
        quote_go(&x->why, x->text);
        buf_add_str(&x->why, " is not a valid utf8 string");
        return -EINVAL;
    }
    return EXPOSITION_HELP;
}

/* A line that begins with '#': an entry, 0 for a comment. */
static int parse_comment(struct exposition *x)
{
    const char *eol = memchr(x->p, '\n', (size_t)(x->end - x->p));
    const char *p = x->p + 1;

    if (eol == NULL)
        eol = x->end;
    if (p < eol && is_blank(*p)) {
        p = skip_blanks(p, eol);
        if (eol - p > 4 && is_blank(p[4])) {
            x->p = p + 5;
            if (memcmp(p, "HELP", 4) == 0)
                return parse_metadata(x, false, eol);
            if (memcmp(p, "TYPE", 4) == 0)
                return parse_metadata(x, true, eol);
        }
    }
    x->p = eol < x->end ? eol + 1 : eol;
    return 0;
}

int exposition_next(struct exposition *x)
{
    int r;

    if (x->format == EXPOSITION_OPENMETRICS)
        return openmetrics_next(x);
    while (x->p < x->end) {
        if (*x->p == '\n' || is_blank(*x->p)) {
            x->p++;
            continue;
        }
        x->start = x->p;
        if (*x->p == '#') {
            r = parse_comment(x);
            if (r != 0)
                return r;
            continue;
        }
        if (x->known != NULL) {
            size_t n = x->known(x->known_ctx, x->p, (size_t)(x->end - x->p));

            if (n > 0) {
                x->series = slice_of(x->p, n);
                x->p += n;
                x->is_known = true;
                return parse_value(x);
            }
        }
        return parse_sample(x);
    }
    return EXPOSITION_END;
}

/* Escapes \\ \" \n; any other stays as it is. */
static struct slice unescape(struct op *op, struct slice s, bool quotes)
{
    const char *p = s.data;
    char *out;
    size_t n = 0;

    if (s.len == 0 || memchr(p, '\\', s.len) == NULL)
        return s;
    out = op_alloc(op, s.len);
    for (size_t i = 0; i < s.len; i++) {
        if (p[i] == '\\' && i + 1 < s.len &&
            (p[i + 1] == '\\' || p[i + 1] == 'n' || (quotes && p[i + 1] == '"'))) {
            i++;
            out[n++] = p[i] == 'n' ? '\n' : p[i];
        } else {
            out[n++] = p[i];
        }
    }
    return slice_of(out, n);
}

struct slice exposition_help(const struct exposition *x, struct op *op)
{
    return unescape(op, x->text, x->format == EXPOSITION_OPENMETRICS);
}

/* Prometheus 3: bucket bounds and quantiles of declared histograms and summaries are one spelling.
 */
static struct slice normalise(struct exposition *x, struct op *op, struct label l)
{
    bool bound = (x->type == METRIC_HISTOGRAM && slice_eq(l.name, SLICE("le"))) ||
                 (x->type == METRIC_SUMMARY && slice_eq(l.name, SLICE("quantile")));
    autobuf ignored = {0};
    char text[40];
    double v = 0;
    size_t n;

    if (!bound || value_parse(l.value, &v, &ignored) < 0)
        return l.value;
    n = value_print_openmetrics(v, text);
    return op_slice(op, slice_of(text, n));
}

int exposition_labels(struct exposition *x, struct op *op, struct labels *ret)
{
    struct labels l = {.items = op_alloc(op, (x->n_labels + 1) * sizeof *l.items)};
    const struct label *twice;

    l.items[l.n].name = LABEL_NAME;
    l.items[l.n++].value = x->metric_quoted ? unescape(op, x->metric, true) : x->metric;
    for (size_t i = 0; i < x->n_labels; i++) {
        struct label label = {.name = x->labels[i].name, .value = x->labels[i].value};

        if (x->labels[i].quoted)
            label.name = unescape(op, label.name, true);
        else if (slice_eq(label.name, LABEL_NAME))
            return exposition_fail_text(x, x->p, "metric name already set");
        label.value = normalise(x, op, (struct label){label.name, unescape(op, label.value, true)});
        l.items[l.n++] = label;
    }
    if (l.items[0].value.len == 0 || !utf8_valid(l.items[0].value)) {
        buf_add_str(&x->why, "invalid metric name");
        return -EINVAL;
    }
    labels_sort(&l);
    twice = labels_duplicate(&l);
    if (twice != NULL) {
        buf_printf(&x->why, "label name \"%.*s\" is not unique: invalid sample",
                   (int)twice->name.len, (const char *)twice->name.data);
        return -EINVAL;
    }
    ret->items = l.items;
    ret->n = 0;
    for (size_t i = 0; i < l.n; i++)
        if (l.items[i].value.len > 0)
            ret->items[ret->n++] = l.items[i];
    return 0;
}

struct labels exposition_exemplar(struct exposition *x, struct op *op)
{
    struct labels l = {.items = op_alloc(op, (LABELS_MAX + 1) * sizeof *l.items)};
    struct exposition_label label;

    while (l.n < LABELS_MAX && openmetrics_exemplar(x, &label) > 0)
        if (label.value.len > 0)
            l.items[l.n++] = (struct label){unescape(op, label.name, label.quoted),
                                            unescape(op, label.value, true)};
    labels_sort(&l);
    if (labels_duplicate(&l) != NULL)
        l.n = 0;
    return l;
}

int exposition_format_of(const char *content_type, enum exposition_format *ret, struct buf *why)
{
    size_t n = content_type != NULL ? strcspn(content_type, ";") : 0;

    while (n > 0 && isspace((unsigned char)content_type[n - 1]))
        n--;
    if (n == 0) {
        buf_add_str(why, "non-compliant scrape target sending blank Content-Type and no "
                         "fallback_scrape_protocol specified for target");
        return -EINVAL;
    }
    if (n == 10 && strncasecmp(content_type, "text/plain", n) == 0) {
        *ret = EXPOSITION_TEXT;
        return 0;
    }
    if (n == 28 && strncasecmp(content_type, "application/openmetrics-text", n) == 0) {
        *ret = EXPOSITION_OPENMETRICS;
        return 0;
    }
    buf_add_str(why, "received unsupported Content-Type ");
    quote_go(why, slice_str(content_type));
    buf_add_str(why, " and no fallback_scrape_protocol specified for target");
    return -EINVAL;
}
