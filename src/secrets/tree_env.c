/* tree_env.c: a secret as lines that a shell and systemd's EnvironmentFile= read: KEY=value, quoted
 * where it must be; and as docker's --env-file has them, which knows no quotes. */
#include "base/json.h"
#include "base/utf8.h"
#include "secrets/tree_file.h"

#include <errno.h>

static bool is_plain(struct slice s)
{
    const char *p = s.data;

    for (size_t i = 0; i < s.len; i++) {
        bool plain = (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
                     (p[i] >= '0' && p[i] <= '9') ||
                     (p[i] != 0 && strchr("_./:@%+,=-", p[i]) != NULL);

        if (!plain)
            return false;
    }
    return true;
}

static bool is_env_key(struct slice s)
{
    const char *p = s.data;

    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)p[i] <= ' ' || p[i] == '=' || p[i] == '#' || p[i] == '\'' || p[i] == '"')
            return false;
    }
    return s.len > 0 && utf8_valid(s) && !slice_eq(s, SLICE("export"));
}

static void print_quoted(struct slice s, struct buf *out)
{
    const char *p = s.data;

    buf_add_char(out, '\'');
    for (size_t i = 0; i < s.len; i++) {
        if (p[i] == '\'')
            buf_add_str(out, "'\\''");
        else
            buf_add_char(out, p[i]);
    }
    buf_add_char(out, '\'');
}

/* A line that says which key is missing, and why. */
static void print_left_out(struct slice key, const char *why, struct buf *out)
{
    buf_printf(out, "# %s: \"", why);
    json_escape(out, key);
    buf_add_str(out, "\"\n");
}

void docker_env_print(struct op *op, const struct kv_content *content, const struct object *o,
                      struct buf *out)
{
    for (size_t i = 0; i < o->n; i++) {
        struct slice key = o->members[i].key, value = value_bytes(op, content, &o->members[i]);

        if (!is_env_key(key)) {
            print_left_out(key, "a key that is no name", out);
        } else if (value.len > 0 && (memchr(value.data, '\n', value.len) != NULL ||
                                     memchr(value.data, '\r', value.len) != NULL ||
                                     !utf8_valid(value))) {
            print_left_out(key, "a value that is no line of text", out);
        } else {
            buf_add_slice(out, key);
            buf_add_char(out, '=');
            buf_add_slice(out, value);
            buf_add_char(out, '\n');
        }
    }
}

void env_print(struct op *op, const struct kv_content *content, const struct object *o,
               struct buf *out)
{
    for (size_t i = 0; i < o->n; i++) {
        struct slice value = value_bytes(op, content, &o->members[i]);

        if (!is_env_key(o->members[i].key)) {
            print_left_out(o->members[i].key, "a key that is no name", out);
            continue;
        }
        buf_add_slice(out, o->members[i].key);
        buf_add_char(out, '=');
        if (is_plain(value))
            buf_add_slice(out, value);
        else
            print_quoted(value, out);
        buf_add_char(out, '\n');
    }
}

struct env_reader {
    const char *p, *end;
    unsigned line;
};

static void skip_line(struct env_reader *in)
{
    while (in->p < in->end && *in->p != '\n')
        in->p++;
}

static void skip_spaces(struct env_reader *in)
{
    while (in->p < in->end && (*in->p == ' ' || *in->p == '\t' || *in->p == '\r'))
        in->p++;
}

static int refuse(struct op *op, const struct env_reader *in, const char *why)
{
    return op_fail(op, EINVAL, "line %u: %s", in->line, why);
}

/* Behind the opening quote. In double quotes a backslash protects \ " $ ` and joins lines (POSIX
 * shell, 2.2.3); in single quotes nothing does. */
static int read_quoted(struct op *op, struct env_reader *in, char quote, struct buf *out)
{
    while (in->p < in->end && *in->p != quote) {
        if (quote == '"' && *in->p == '\\' && in->p + 1 < in->end &&
            strchr("\\\"$`\n", in->p[1]) != NULL) {
            in->p++;
            if (*in->p == '\n') {
                in->p++;
                in->line++;
                continue;
            }
        }
        in->line += *in->p == '\n';
        buf_add_char(out, *in->p++);
    }
    if (in->p == in->end)
        return refuse(op, in, "a quote is not closed");
    in->p++;
    return 0;
}

static int read_value(struct op *op, struct env_reader *in, struct buf *out)
{
    while (in->p < in->end && strchr(" \t\r\n", *in->p) == NULL) {
        char c = *in->p++;
        int r = 0;

        if (c == '\'' || c == '"')
            r = read_quoted(op, in, c, out);
        else if (c == '\\' && in->p < in->end)
            buf_add_char(out, *in->p++);
        else
            buf_add_char(out, c);
        if (r < 0)
            return r;
    }
    skip_spaces(in);
    if (in->p < in->end && *in->p == '#')
        skip_line(in);
    if (in->p < in->end && *in->p != '\n')
        return refuse(op, in, "a value with blanks needs quotes");
    return 0;
}

static int read_key(struct op *op, struct env_reader *in, struct slice *ret)
{
    const char *start;

    if (in->end - in->p > 7 && strncmp(in->p, "export ", 7) == 0) {
        in->p += 7;
        skip_spaces(in);
    }
    start = in->p;
    while (in->p < in->end && *in->p != '=' && *in->p != '\n')
        in->p++;
    *ret = slice_of(start, (size_t)(in->p - start));
    if (in->p == in->end || *in->p != '=' || !is_env_key(*ret))
        return refuse(op, in, "expected KEY=value");
    in->p++;
    return 0;
}

/* Adds one pair to the content, which begins as {}. */
static int add_pair(struct op *op, const struct place *p, struct slice key, struct slice bytes,
                    struct kv_content *content)
{
    const struct member *old = object_find(&p->object, key);
    bool old_binary = value_is_binary(&p->content, key), binary;
    struct kv_content next;
    struct object o;
    struct slice value;
    int r;

    if (old != NULL && slice_eq(value_bytes(op, &p->content, old), bytes)) {
        value = old->value;
        binary = old_binary;
    } else {
        value_of_bytes(op, old, old_binary, bytes, &value, &binary);
    }
    r = object_parse(op, content->text, &o);
    if (r < 0)
        return r;
    content_edit(op, content, &o, key, value, binary, &next);
    *content = next;
    return 0;
}

#define ENV_LINES 4096 /* the work grows with the square of the number of lines */

int env_parse(struct op *op, const struct place *p, struct slice text, struct kv_content *ret)
{
    struct env_reader in = {text.data, (const char *)text.data + text.len, 1};
    unsigned pairs = 0;
    int r = 0;

    *ret = (struct kv_content){.text = SLICE("{}")};
    while (r == 0 && in.p < in.end) {
        struct buf value = {0};
        struct slice key;

        skip_spaces(&in);
        if (in.p < in.end && *in.p != '\n' && *in.p != '#') {
            r = read_key(op, &in, &key);
            if (r == 0)
                r = read_value(op, &in, &value);
            if (r == 0 && ++pairs > ENV_LINES)
                r = refuse(op, &in, "too many lines; write @json instead");
            if (r == 0)
                r = add_pair(op, p, key, op_slice(op, buf_slice(&value)), ret);
            buf_wipe(&value);
        }
        skip_line(&in);
        in.p += in.p < in.end;
        in.line++;
    }
    return r;
}
