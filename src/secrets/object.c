#include "secrets/object.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>

/* A place in the text; `end` is behind the last byte. */
struct reader {
    const uint8_t *p, *end;
    const char *why; /* what was wrong at p */
};

static bool fail(struct reader *in, const char *why)
{
    in->why = why;
    return false;
}

static void skip_blanks(struct reader *in)
{
    while (in->p < in->end && (*in->p == ' ' || *in->p == '\n' || *in->p == '\t' || *in->p == '\r'))
        in->p++;
}

static bool skip_text(struct reader *in, const char *text)
{
    size_t n = strlen(text);

    if ((size_t)(in->end - in->p) < n || memcmp(in->p, text, n) != 0)
        return fail(in, "invalid character");
    in->p += n;
    return true;
}

static bool is_digit(const struct reader *in)
{
    return in->p < in->end && *in->p >= '0' && *in->p <= '9';
}

static bool skip_digits(struct reader *in)
{
    if (!is_digit(in))
        return fail(in, "invalid number");
    while (is_digit(in))
        in->p++;
    return true;
}

static bool skip_number(struct reader *in)
{
    if (*in->p == '-')
        in->p++;
    if (in->p < in->end && *in->p == '0')
        in->p++;
    else if (!skip_digits(in))
        return false;
    if (in->p < in->end && *in->p == '.') {
        in->p++;
        if (!skip_digits(in))
            return false;
    }
    if (in->p < in->end && (*in->p == 'e' || *in->p == 'E')) {
        in->p++;
        if (in->p < in->end && (*in->p == '+' || *in->p == '-'))
            in->p++;
        return skip_digits(in);
    }
    return true;
}

static bool skip_escape(struct reader *in)
{
    uint8_t c = in->p + 1 < in->end ? in->p[1] : 0;
    uint8_t code[2];

    if (c == 'u') {
        if (in->end - in->p < 6 || hex_decode(slice_of(in->p + 2, 4), code, 2) != 2)
            return fail(in, "invalid \\u escape");
        in->p += 6;
        return true;
    }
    if (c == 0 || strchr("\"\\/bfnrt", c) == NULL)
        return fail(in, "invalid escape");
    in->p += 2;
    return true;
}

static bool skip_string(struct reader *in)
{
    in->p++;
    while (in->p < in->end && *in->p != '"') {
        size_t n = 1;

        if (*in->p == '\\') {
            if (!skip_escape(in))
                return false;
            continue;
        }
        if (*in->p < 0x20)
            return fail(in, "control character in a string");
        if (*in->p >= 0x80)
            n = utf8_length(slice_of(in->p, (size_t)(in->end - in->p)));
        if (n == 0)
            return fail(in, "invalid UTF-8");
        in->p += n;
    }
    if (in->p == in->end)
        return fail(in, "unexpected end");
    in->p++;
    return true;
}

static bool skip_scalar(struct reader *in)
{
    switch (*in->p) {
    case '"':
        return skip_string(in);
    case 't':
        return skip_text(in, "true");
    case 'f':
        return skip_text(in, "false");
    case 'n':
        return skip_text(in, "null");
    default:
        return skip_number(in);
    }
}

static bool skip_key(struct reader *in)
{
    skip_blanks(in);
    if (in->p == in->end || *in->p != '"')
        return fail(in, "expected a key");
    if (!skip_string(in))
        return false;
    skip_blanks(in);
    return skip_text(in, ":");
}

/* After a value inside a container: moves to the next one, or closes containers that end here. */
static bool skip_ends(struct reader *in, char *open, unsigned *depth)
{
    while (*depth > 0) {
        char closer = open[*depth - 1] == '{' ? '}' : ']';

        skip_blanks(in);
        if (in->p == in->end)
            return fail(in, "unexpected end");
        if (*in->p == ',') {
            in->p++;
            return open[*depth - 1] != '{' || skip_key(in);
        }
        if (*in->p != closer)
            return fail(in, "invalid character");
        in->p++;
        --*depth;
    }
    return true;
}

/* Enters the container at p. Sets *ret_empty if it was passed already. */
static bool enter(struct reader *in, char *open, unsigned *depth, bool *ret_empty)
{
    char opener = (char)*in->p++;

    *ret_empty = false;
    skip_blanks(in);
    if (in->p < in->end && *in->p == (opener == '{' ? '}' : ']')) {
        in->p++;
        *ret_empty = true;
        return true;
    }
    if (*depth == OBJECT_DEPTH_MAX)
        return fail(in, "nested too deep");
    open[(*depth)++] = opener;
    return opener != '{' || skip_key(in);
}

/* One value of any depth, without recursion: its depth is the client's. */
static bool skip_value(struct reader *in)
{
    char open[OBJECT_DEPTH_MAX];
    unsigned depth = 0;

    do {
        bool done = true;

        skip_blanks(in);
        if (in->p == in->end)
            return fail(in, "unexpected end");
        if (*in->p == '{' || *in->p == '[') {
            if (!enter(in, open, &depth, &done))
                return false;
        } else if (!skip_scalar(in)) {
            return false;
        }
        if (done && !skip_ends(in, open, &depth))
            return false;
    } while (depth > 0);
    return true;
}

static struct reader reader_of(struct slice text)
{
    return (struct reader){text.data, (const uint8_t *)text.data + text.len, NULL};
}

bool value_is_valid(struct slice text)
{
    struct reader in = reader_of(text);

    if (text.len == 0 || !skip_value(&in))
        return false;
    skip_blanks(&in);
    return in.p == in.end;
}

struct slice value_trim(struct slice text)
{
    struct reader in = reader_of(text);

    skip_blanks(&in);
    while (in.end > in.p && strchr(" \n\t\r", in.end[-1]) != NULL && in.end[-1] != 0)
        in.end--;
    return slice_of(in.p, (size_t)(in.end - in.p));
}

static int refuse(struct op *op, const struct reader *in, struct slice text)
{
    return op_fail(op, EINVAL, "failed to decode JSON input: %s at byte %zu", in->why,
                   (size_t)(in->p - (const uint8_t *)text.data));
}

static void add_member(struct op *op, struct object *o, size_t *cap, struct member m)
{
    if (o->n == *cap) {
        struct member *more;

        *cap = *cap > 0 ? *cap * 2 : 8;
        more = op_alloc(op, *cap * sizeof *more);
        if (o->n > 0)
            memcpy(more, o->members, o->n * sizeof *more);
        o->members = more;
    }
    o->members[o->n++] = m;
}

static int read_member(struct op *op, struct reader *in, struct slice text, struct member *ret)
{
    const uint8_t *start;

    skip_blanks(in);
    start = in->p;
    if (!skip_key(in)) /* also checks that a string is there */
        return refuse(op, in, text);
    for (const uint8_t *p = in->p; p > start; p--) {
        if (p[-1] == '"') {
            ret->key = slice_of(start, (size_t)(p - start));
            break;
        }
    }
    if (value_string(op, ret->key, &ret->key) < 0)
        return op_fail(op, EINVAL, "failed to decode JSON input: a key is not UTF-8");
    skip_blanks(in);
    start = in->p;
    if (!skip_value(in))
        return refuse(op, in, text);
    ret->value = slice_of(start, (size_t)(in->p - start));
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    return slice_cmp((*(struct member *const *)a)->key, (*(struct member *const *)b)->key);
}

static int refuse_duplicates(struct op *op, const struct object *o)
{
    struct member **sorted;

    if (o->n < 2)
        return 0;
    sorted = op_alloc(op, o->n * sizeof(struct member *));
    for (size_t i = 0; i < o->n; i++)
        sorted[i] = &o->members[i];
    qsort(sorted, o->n, sizeof(struct member *), compare_keys);
    for (size_t i = 1; i < o->n; i++) {
        if (slice_eq(sorted[i - 1]->key, sorted[i]->key))
            return op_fail(op, EINVAL, "failed to decode JSON input: a key is there twice");
    }
    return 0;
}

int object_parse(struct op *op, struct slice text, struct object *ret)
{
    struct object o = {0};
    struct reader in = reader_of(text);
    const uint8_t *start;
    size_t cap = 0;
    int r;

    skip_blanks(&in);
    start = in.p;
    if (in.p == in.end || *in.p != '{') {
        in.why = in.p == in.end ? "unexpected end" : "expected an object";
        return refuse(op, &in, text);
    }
    in.p++;
    skip_blanks(&in);
    if (in.p < in.end && *in.p == '}') {
        in.p++;
    } else {
        bool more = true;

        while (more) {
            struct member m = {0};

            r = read_member(op, &in, text, &m);
            if (r < 0)
                return r;
            add_member(op, &o, &cap, m);
            skip_blanks(&in);
            more = in.p < in.end && *in.p == ',';
            if (!more && !skip_text(&in, "}"))
                return refuse(op, &in, text);
            in.p += more;
        }
    }
    o.text = slice_of(start, (size_t)(in.p - start));
    skip_blanks(&in);
    if (in.p != in.end) {
        in.why = "something behind the object";
        return refuse(op, &in, text);
    }
    r = refuse_duplicates(op, &o);
    if (r == 0)
        *ret = o;
    return r;
}
