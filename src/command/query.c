/* query.c: `infrafs query`: a table, lines that show the course, or what the query costs. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"
#include "command/client.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define SPARK_COLUMNS 60
#define NAME_COLUMNS  90 /* longer ones push the value to the right */

DEFINE_SCOPE(json_value, json_t, json_decref)

static void add_field(struct buf *form, const char *name, const char *value)
{
    if (form->len > 0)
        buf_add_char(form, '&');
    buf_add_str(form, name);
    buf_add_char(form, '=');
    percent_encode(form, slice_str(value), "");
}

/* The times of a range, up to now. */
static int add_range(struct buf *form, const char *range, const char *step)
{
    int64_t range_ms = 0;
    int64_t step_ms = 0;
    int64_t now_ms = clock_unix_ms();
    char text[32];

    if (duration_parse_ms(slice_str(range), &range_ms) < 0 || range_ms <= 0)
        return command_fail(EX_USAGE, "'%s' is not a duration, such as 1h or 1h30m", range);
    step_ms = range_ms / SPARK_COLUMNS < 1000 ? 1000 : range_ms / SPARK_COLUMNS;
    if (step != NULL && (duration_parse_ms(slice_str(step), &step_ms) < 0 || step_ms <= 0))
        return command_fail(EX_USAGE, "'%s' is not a duration, such as 30s", step);
    snprintf(text, sizeof text, "%.3f", (double)(now_ms - range_ms) / 1000);
    add_field(form, "start", text);
    snprintf(text, sizeof text, "%.3f", (double)now_ms / 1000);
    add_field(form, "end", text);
    snprintf(text, sizeof text, "%.3f", (double)step_ms / 1000);
    add_field(form, "step", text);
    return 0;
}

/* name{label="value", …} */
static void print_series(struct buf *out, const json_t *metric)
{
    const char *name = json_string_value(json_object_get(metric, "__name__"));
    const char *key;
    json_t *value;
    bool open = false;

    buf_add_str(out, name != NULL ? name : "");
    json_object_foreach((json_t *)(uintptr_t)metric, key, value)
    {
        if (strcmp(key, "__name__") == 0)
            continue;
        buf_printf(out, "%s%s=\"%s\"", open ? ", " : "{", key, json_string_value(value));
        open = true;
    }
    if (open)
        buf_add_char(out, '}');
    else if (name == NULL)
        buf_add_str(out, "{}");
}

/* The text of a sample: its value, or a histogram in short. */
static void print_sample(struct buf *out, const json_t *sample)
{
    const json_t *value = json_array_get(sample, 1);

    if (json_is_string(value)) {
        buf_add_str(out, json_string_value(value));
        return;
    }
    buf_printf(out, "histogram, count %s, sum %s, %zu buckets",
               json_string_value(json_object_get(value, "count")),
               json_string_value(json_object_get(value, "sum")),
               json_array_size(json_object_get(value, "buckets")));
}

static size_t widest(const json_t *result)
{
    size_t max = 0;
    size_t i;
    json_t *item;

    json_array_foreach(result, i, item)
    {
        autobuf name = {0};

        print_series(&name, json_object_get(item, "metric"));
        if (name.len > max && name.len <= NAME_COLUMNS)
            max = name.len;
    }
    return max;
}

static void print_vector(const json_t *result)
{
    int width = (int)widest(result);
    size_t i;
    json_t *item;

    json_array_foreach(result, i, item)
    {
        const json_t *sample = json_object_get(item, "value");
        autobuf name = {0};
        autobuf value = {0};

        print_series(&name, json_object_get(item, "metric"));
        print_sample(&value, sample != NULL ? sample : json_object_get(item, "histogram"));
        printf("%-*s  %s\n", width, name.data, value.data);
    }
}

static double value_at(const json_t *values, size_t i)
{
    const char *text = json_string_value(json_array_get(json_array_get(values, i), 1));

    return text != NULL ? strtod(text, NULL) : NAN;
}

/* One character of eight heights for each sample, or for several. */
static void print_spark(struct buf *out, const json_t *values, double min, double max)
{
    size_t n = json_array_size(values);
    size_t columns = n < SPARK_COLUMNS ? n : SPARK_COLUMNS;

    for (size_t c = 0; c < columns; c++) {
        double v = value_at(values, (c + 1) * n / columns - 1);
        double part = max > min ? (v - min) / (max - min) : 0;
        unsigned char block[] = {0xe2, 0x96, 0x81, 0};

        if (isnan(v) || isinf(v)) {
            buf_add_char(out, ' ');
            continue;
        }
        block[2] = (unsigned char)(0x81 + (int)(part * 7.999));
        buf_add_str(out, (const char *)block);
    }
}

/* On a terminal: the course of each series in one line. */
static void print_courses(const json_t *result)
{
    int width = (int)widest(result);
    size_t i;
    json_t *item;

    json_array_foreach(result, i, item)
    {
        const json_t *values = json_object_get(item, "values");
        size_t n = json_array_size(values);
        double min = INFINITY;
        double max = -INFINITY;
        autobuf name = {0};
        autobuf spark = {0};

        print_series(&name, json_object_get(item, "metric"));
        for (size_t k = 0; k < n; k++) {
            double v = value_at(values, k);

            min = v < min && !isinf(v) ? v : min;
            max = v > max && !isinf(v) ? v : max;
        }
        print_spark(&spark, values, min, max);
        if (n > 0)
            printf("%-*s  %s  %.6g … %.6g, last %s\n", width, name.data, spark.data, min, max,
                   json_string_value(json_array_get(json_array_get(values, n - 1), 1)));
        else
            printf("%-*s  %zu histograms\n", width, name.data,
                   json_array_size(json_object_get(item, "histograms")));
    }
}

static void print_points(const char *name, const json_t *samples)
{
    size_t i;
    json_t *sample;

    json_array_foreach(samples, i, sample)
    {
        char time[CLOCK_TEXT_MAX];
        autobuf value = {0};

        print_sample(&value, sample);
        clock_print_ns((int64_t)(json_number_value(json_array_get(sample, 0)) * 1e3) * 1000000, 3,
                       time);
        printf("%s  %s  %s\n", time, value.data, name);
    }
}

static void print_matrix(const json_t *result)
{
    size_t i;
    json_t *item;

    json_array_foreach(result, i, item)
    {
        autobuf name = {0};

        print_series(&name, json_object_get(item, "metric"));
        print_points(name.data, json_object_get(item, "values"));
        print_points(name.data, json_object_get(item, "histograms"));
    }
}

static void print_result(const json_t *data)
{
    const char *type = json_string_value(json_object_get(data, "resultType"));
    const json_t *result = json_object_get(data, "result");

    if (type != NULL && strcmp(type, "vector") == 0)
        print_vector(result);
    else if (type != NULL && strcmp(type, "matrix") == 0 && isatty(STDOUT_FILENO))
        print_courses(result);
    else if (type != NULL && strcmp(type, "matrix") == 0)
        print_matrix(result);
    else
        printf("%s\n", json_string_value(json_array_get(result, 1)));
}

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void print_node(const json_t *node, int depth)
{
    const json_t *below = json_object_get(node, "below");
    size_t i;
    json_t *child;

    printf("%10.3f  %10" JSON_INTEGER_FORMAT "  %8" JSON_INTEGER_FORMAT "  %*s%s%s\n",
           (double)number(node, "nanoseconds") / 1e6, number(node, "samples"),
           number(node, "series"), 2 * depth, "",
           json_string_value(json_object_get(node, "node")),
           json_is_true(json_object_get(node, "once")) ? "  (once, the same at every step)" : "");
    json_array_foreach(below, i, child) print_node(child, depth + 1);
}

static void print_explain(const json_t *data)
{
    const json_t *stats = json_object_get(data, "stats");
    const json_t *samples = json_object_get(stats, "samples");
    const json_t *timings = json_object_get(stats, "timings");

    printf("read %" JSON_INTEGER_FORMAT " samples of %" JSON_INTEGER_FORMAT
           " series, held %" JSON_INTEGER_FORMAT " at most, in %.1f MiB\n",
           number(samples, "samplesRead"), number(samples, "seriesTouched"),
           number(samples, "peakSamples"), (double)number(samples, "peakBytes") / (1 << 20));
    printf("waited %.3f ms, prepared %.3f ms, evaluated %.3f ms\n\n",
           json_number_value(json_object_get(timings, "execQueueTime")) * 1e3,
           json_number_value(json_object_get(timings, "queryPreparationTime")) * 1e3,
           json_number_value(json_object_get(timings, "innerEvalTime")) * 1e3);
    printf("%10s  %10s  %8s  %s\n", "ms", "samples", "series", "node");
    print_node(json_object_get(data, "explain"), 0);
}

static void print_notes(const json_t *answer, const char *key)
{
    size_t i;
    json_t *note;

    json_array_foreach(json_object_get(answer, key), i, note)
        fprintf(stderr, "%s\n", json_string_value(note));
}

static int print_answer(struct client *c, bool explain)
{
    json_error_t error;
    scope_cleanup(scope_json_value) json_t *answer =
        json_loadb(c->answer.data, c->answer.len, 0, &error);
    const json_t *data = json_object_get(answer, "data");

    if (data == NULL)
        return command_fail(EX_PROTOCOL, "%s did not answer as a Prometheus does", c->address);
    if (explain)
        print_explain(data);
    else
        print_result(data);
    print_notes(answer, "warnings");
    print_notes(answer, "infos");
    return EX_OK;
}

/* What the daemon says is wrong, without the JSON around it. */
static int print_refusal(const struct client *c, int code)
{
    json_error_t error;
    scope_cleanup(scope_json_value) json_t *answer =
        json_loadb(c->answer.len > 0 ? c->answer.data : "", c->answer.len, 0, &error);
    const char *reason = json_string_value(json_object_get(answer, "error"));

    if (reason == NULL)
        reason = c->answer.len > 0 ? c->answer.data : "refused";
    return command_fail(code, "%s", reason);
}

int run_query(const struct command_line *line)
{
    const char *range = line_option(line, "range");
    const char *step = line_option(line, "step");
    const char *time = line_option(line, "time");
    bool explain = line_option(line, "explain") != NULL;
    struct client c = {.quiet = true};
    autobuf form = {0};
    int code = 0;

    add_field(&form, "query", line->operands[0]);
    if (range != NULL)
        code = add_range(&form, range, step);
    else if (step != NULL)
        code = command_fail(EX_USAGE, "--step goes with --range");
    else if (time != NULL)
        add_field(&form, "time", time);
    if (explain) {
        add_field(&form, "explain", "1");
        add_field(&form, "stats", "all");
    }
    if (code == 0)
        code = client_open(line, &c);
    if (code == 0) {
        struct slice body = buf_slice(&form);

        code = client_ask(&c, "POST", range != NULL ? "/api/v1/query_range" : "/api/v1/query",
                          &body);
    }
    if (code == 0)
        code = print_answer(&c, explain);
    else if (c.status >= 400)
        code = print_refusal(&c, code);
    client_close(&c);
    return code;
}
