/* metrics_move.c: samples in from a running Prometheus, and out into a file. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/proto.h"
#include "base/quote.h"
#include "base/scope.h"
#include "base/shim.h"
#include "base/yaml.h"
#include "command/remote_read.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define RANGE_DEFAULT "15d"
#define WRITE_BYTES   (4u << 20) /* of one remote write */
#define STALE_BITS    UINT64_C(0x7ff0000000000002) /* prometheus model/value: StaleNaN */
#define LABELS_MAX    128

DEFINE_SCOPE(document, json_t, json_decref)
DEFINE_SCOPE(yaml, struct yaml, yaml_free)

struct move {
    struct client from, to;
    struct yaml *outside; /* import: the labels that the server adds when it is read, or NULL */
    struct buf request;   /* import: a prometheus.WriteRequest that grows */
    FILE *out;            /* export */
    struct buf line;
    uint64_t pieces, samples, histograms, left_out;
};

/* What is asked for: the last --range, up to now. */
static int span_of(const struct command_line *line, const char *fallback, int64_t *ret_from_ms,
                   int64_t *ret_to_ms)
{
    const char *range = line_option(line, "range");
    int64_t range_ms = 0;

    if (range == NULL)
        range = fallback;
    *ret_to_ms = clock_unix_ms();
    *ret_from_ms = 0;
    if (range == NULL)
        return EX_OK;
    if (duration_parse_ms(slice_str(range), &range_ms) < 0 || range_ms <= 0)
        return command_fail(EX_USAGE, "'%s' is not a duration, such as 15d", range);
    *ret_from_ms = *ret_to_ms > range_ms ? *ret_to_ms - range_ms : 0;
    return EX_OK;
}

/* A label's name and value (prometheus.Label). */
static int read_label(struct slice in, struct slice *ret_name, struct slice *ret_value)
{
    struct proto_field f;
    int r;

    *ret_name = *ret_value = SLICE("");
    while ((r = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_BYTES)
            *ret_name = f.bytes;
        else if (f.number == 2 && f.wire == PROTO_BYTES)
            *ret_value = f.bytes;
    }
    return r;
}

/* Import. */

static int flush(struct move *m)
{
    autobuf packed = {0};
    struct slice body;
    int code;

    if (m->request.len == 0)
        return EX_OK;
    snappy_encode(buf_slice(&m->request), &packed);
    body = buf_slice(&packed);
    code = client_ask(&m->to, "POST", "/api/v1/write", &body);
    if (code == EX_OK) {
        buf_clear(&m->request);
        return EX_OK;
    }
    if (m->to.status == 400 && strstr(m->to.answer.data, "out of order") != NULL)
        return command_fail(
            EX_DATAERR,
            "there are newer samples of these series already; start the daemon with "
            "INFRAFS_METRICS_OUT_OF_ORDER_WINDOW=%s (or more) for the import, and run it again",
            RANGE_DEFAULT);
    return command_fail(code, "%s: %s (%ld)", m->to.address,
                        m->to.answer.len > 0 ? m->to.answer.data : "refused", m->to.status);
}

/* Does the server add this label to all it is read for? */
static bool is_outside(const struct move *m, struct slice label)
{
    struct slice name, value;

    if (m->outside == NULL || read_label(label, &name, &value) < 0)
        return false;
    for (size_t i = 0; i < m->outside->n_items; i++) {
        const struct yaml *y = m->outside->items[i];

        if (slice_eq(name, slice_str(y->key->text)) &&
            slice_eq(value, slice_of(y->text, y->text_len)))
            return true;
    }
    return false;
}

static int import_series(void *ctx, struct slice series)
{
    struct move *m = ctx;
    autobuf kept = {0};
    struct proto_field f;
    struct slice rest = series;
    int r;

    while ((r = proto_next(&rest, &f)) > 0) {
        if (f.wire != PROTO_BYTES || (f.number == 1 && is_outside(m, f.bytes)))
            continue;
        proto_put_bytes(&kept, (unsigned)f.number, f.bytes);
        m->samples += f.number == 2;
        m->histograms += f.number == 4;
    }
    if (r < 0)
        return command_fail(EX_PROTOCOL, "%s: a series is cut", m->from.address);
    m->pieces++;
    proto_put_bytes(&m->request, 1, buf_slice(&kept));
    return m->request.len >= WRITE_BYTES ? flush(m) : EX_OK;
}

/* global.external_labels of the server's configuration: remote read adds them to each series, and
 * the targets scraped here do not have them. */
static int read_outside(struct move *m, struct yaml **ret_config)
{
    scope_cleanup(scope_document) json_t *answer = NULL;
    const char *text;
    autobuf why = {0};
    int code = client_ask(&m->from, "GET", "/api/v1/status/config", NULL);

    if (code != EX_OK)
        return code;
    answer = json_loadb(m->from.answer.data, m->from.answer.len, 0, NULL);
    text = json_string_value(json_object_get(json_object_get(answer, "data"), "yaml"));
    if (text == NULL || yaml_parse(slice_str(text), ret_config, &why) < 0)
        return command_fail(EX_PROTOCOL, "%s: its configuration cannot be read: %s",
                            m->from.address, why.data != NULL ? why.data : "there is none");
    m->outside = yaml_get(*ret_config, "global");
    if (m->outside != NULL)
        m->outside = yaml_get(m->outside, "external_labels");
    return EX_OK;
}

/* prometheus.MetricMetadata of one metric. */
static void put_metadata(struct buf *out, const char *metric, json_t *about)
{
    static const char *const types[] = {"unknown", "counter", "gauge",    "histogram",
                                        "gaugehistogram", "summary", "info", "stateset"};
    const char *type = json_string_value(json_object_get(about, "type"));
    const char *help = json_string_value(json_object_get(about, "help"));
    const char *unit = json_string_value(json_object_get(about, "unit"));
    autobuf message = {0};

    for (uint64_t i = 1; type != NULL && i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i]) == 0)
            proto_put_varint(&message, 1, i);
    proto_put_bytes(&message, 2, slice_str(metric));
    proto_put_bytes(&message, 4, slice_str(help != NULL ? help : ""));
    proto_put_bytes(&message, 5, slice_str(unit != NULL ? unit : ""));
    proto_put_bytes(out, 3, buf_slice(&message));
}

static int import_metadata(struct move *m)
{
    scope_cleanup(scope_document) json_t *answer = NULL;
    const char *metric;
    json_t *list;
    int code = client_ask(&m->from, "GET", "/api/v1/metadata", NULL);

    if (code != EX_OK)
        return code;
    answer = json_loadb(m->from.answer.data, m->from.answer.len, 0, NULL);
    json_object_foreach(json_object_get(answer, "data"), metric, list) {
        put_metadata(&m->request, metric, json_array_get(list, 0));
        if (m->request.len >= WRITE_BYTES && (code = flush(m)) != EX_OK)
            return code;
    }
    return flush(m);
}

static int open_source(struct move *m, const char *address)
{
    const char *token = getenv("SOURCE_TOKEN");

    if (strchr(address, '@') != NULL)
        return command_fail(EX_USAGE, "the URL holds a password; write it to ~/.netrc instead");
    m->from.netrc = token == NULL;
    return client_open_at(&m->from, address, token != NULL ? token : "");
}

int run_import_prometheus(const struct command_line *line)
{
    scope_cleanup(scope_yaml) struct yaml *config = NULL;
    struct move m = {0};
    int64_t from_ms, to_ms;
    int code = span_of(line, RANGE_DEFAULT, &from_ms, &to_ms);

    if (code == EX_OK)
        code = client_open(line, &m.to);
    if (code == EX_OK)
        code = open_source(&m, line->operands[0]);
    if (code == EX_OK && strcmp(m.from.address, m.to.address) == 0)
        code = command_fail(EX_USAGE,
                            "%s is where to import to; name it with --address or $INFRAFS_ADDR",
                            m.to.address);
    if (code == EX_OK)
        code = read_outside(&m, &config);
    if (code == EX_OK) {
        m.to.quiet = true;
        client_header(&m.to, "Content-Type: application/x-protobuf");
        client_header(&m.to, "Content-Encoding: snappy");
        client_header(&m.to, "X-Prometheus-Remote-Write-Version: 0.1.0");
        code = import_metadata(&m);
    }
    if (code == EX_OK)
        code = remote_read_walk(&m.from, from_ms, to_ms, import_series, &m);
    if (code == EX_OK)
        code = flush(&m);
    if (code == EX_OK)
        printf("%" PRIu64 " samples and %" PRIu64 " histograms\n", m.samples, m.histograms);
    client_close(&m.from);
    client_close(&m.to);
    buf_done(&m.request);
    return code;
}

/* Export, as OpenMetrics text: "name{label="value"} 1 1700000000.000". */

static bool is_plain_name(struct slice name)
{
    const char *p = name.data;

    for (size_t i = 0; i < name.len; i++)
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') || p[i] == '_' ||
              p[i] == ':' || (i > 0 && p[i] >= '0' && p[i] <= '9')))
            return false;
    return name.len > 0;
}

/* The labels of a series as a line begins with them; in braces with the name where the name is none
 * of the classic letters. */
static int put_series(struct buf *out, struct slice series)
{
    struct slice names[LABELS_MAX], values[LABELS_MAX], metric = SLICE("");
    struct proto_field f;
    size_t n = 0;
    int r;
    bool plain, first = true;

    while ((r = proto_next(&series, &f)) > 0) {
        if (f.number != 1 || f.wire != PROTO_BYTES)
            continue;
        if (n == LABELS_MAX || read_label(f.bytes, &names[n], &values[n]) < 0)
            return -EINVAL;
        if (slice_eq(names[n], SLICE("__name__")))
            metric = values[n];
        else
            n++;
    }
    plain = is_plain_name(metric);
    if (plain)
        buf_add_slice(out, metric);
    if (!plain || n > 0)
        buf_add_char(out, '{');
    if (!plain) {
        quote_put(out, metric);
        first = false;
    }
    for (size_t i = 0; i < n; i++, first = false) {
        if (!first)
            buf_add_char(out, ',');
        if (is_plain_name(names[i]))
            buf_add_slice(out, names[i]);
        else
            quote_put(out, names[i]);
        buf_add_char(out, '=');
        quote_put(out, values[i]);
    }
    if (!plain || n > 0)
        buf_add_char(out, '}');
    buf_add_char(out, ' ');
    return r;
}

/* prometheus.Sample: value and time. */
static int put_sample(struct move *m, struct slice in, size_t head)
{
    char text[DOUBLE_TEXT_MAX];
    struct proto_field f;
    int64_t ts_ms = 0;
    uint64_t bits = 0;
    double value;
    int r;

    while ((r = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_FIXED64)
            bits = f.value;
        else if (f.number == 2 && f.wire == PROTO_VARINT)
            ts_ms = (int64_t)f.value;
    }
    if (r < 0 || bits == STALE_BITS) {
        m->left_out += bits == STALE_BITS;
        return r;
    }
    memcpy(&value, &bits, sizeof value);
    m->line.len = head;
    if (isnan(value))
        buf_add_str(&m->line, "NaN");
    else if (isinf(value))
        buf_add_str(&m->line, value > 0 ? "+Inf" : "-Inf");
    else
        buf_add(&m->line, text, double_print(value, text));
    buf_printf(&m->line, " %" PRId64 ".%03" PRId64 "\n", ts_ms / 1000, ts_ms % 1000);
    m->samples++;
    return fwrite(m->line.data, 1, m->line.len, m->out) == m->line.len ? 0 : -EIO;
}

static int export_series(void *ctx, struct slice series)
{
    struct move *m = ctx;
    struct proto_field f;
    size_t head;
    int r;

    buf_clear(&m->line);
    r = put_series(&m->line, series);
    head = m->line.len;
    while (r == 0 && (r = proto_next(&series, &f)) > 0) {
        r = 0;
        if (f.number == 2 && f.wire == PROTO_BYTES)
            r = put_sample(m, f.bytes, head);
        else if (f.number == 4)
            m->histograms++;
    }
    m->pieces++;
    if (r == -EIO)
        return command_fail(EX_IOERR, "writing: %s", strerror(errno));
    return r < 0 ? command_fail(EX_PROTOCOL, "%s: a series is cut", m->from.address) : EX_OK;
}

/* Everything is on the disk before the file has its name. */
static int finish(FILE *out, const char *part, const char *path, int code)
{
    if (code == EX_OK && (fputs("# EOF\n", out) < 0 || fflush(out) != 0))
        code = command_fail(EX_IOERR, "%s: %s", path, strerror(errno));
    if (code == EX_OK && part != NULL && (fsync(fileno(out)) != 0 || rename(part, path) != 0))
        code = command_fail(EX_IOERR, "%s: %s", path, strerror(errno));
    if (part != NULL) {
        fclose(out);
        if (code != EX_OK)
            remove(part);
    }
    return code;
}

int run_export_prometheus(const struct command_line *line)
{
    const char *path = line->operands[0];
    autofree char *part = NULL;
    struct move m = {.out = stdout};
    int64_t from_ms, to_ms;
    int code = span_of(line, NULL, &from_ms, &to_ms);

    if (code == EX_OK)
        code = client_open(line, &m.from);
    if (code == EX_OK && strcmp(path, "-") != 0) {
        if (asprintf(&part, "%s.part", path) < 0)
            abort();
        m.out = fopen(part, "we");
        if (m.out == NULL)
            code = command_fail(EX_CANTCREAT, "%s: %s", part, strerror(errno));
    }
    if (code == EX_OK)
        code = remote_read_walk(&m.from, from_ms, to_ms, export_series, &m);
    if (m.out != NULL)
        code = finish(m.out, part, path, code);
    if (code == EX_OK)
        fprintf(stderr, "%" PRIu64 " samples; left out, as the format has no place for them: %" PRIu64
                " marks of staleness, %" PRIu64 " native histograms\n",
                m.samples, m.left_out, m.histograms);
    client_close(&m.from);
    buf_done(&m.line);
    return code;
}
