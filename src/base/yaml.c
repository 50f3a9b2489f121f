#include "base/yaml.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#define DEPTH_MAX 32u
#define NODES_MAX 200000u     /* aliases included: a "billion laughs" ends here */
#define TEXT_MAX  (32u << 20) /* the same for the bytes of all scalars together */

struct anchor {
    struct anchor *next;
    char *name;
    const struct yaml *value;
};

struct reader {
    yaml_parser_t parser;
    struct buf *why;
    struct anchor *anchors; /* newest first: a name may be given again */
    size_t nodes, text_bytes;
};

static int read_value(struct reader *r, yaml_event_t *event, unsigned depth, struct yaml **ret);

static int fail_at(struct reader *r, yaml_mark_t mark, const char *reason)
{
    if (r->why->len == 0)
        buf_printf(r->why, "line %zu, column %zu: %s", mark.line + 1, mark.column + 1, reason);
    return -EINVAL;
}

/* A reader error (bad UTF-8) has an offset, but no line. */
static int fail_parser(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem != NULL ? p->problem : "is not YAML";
    yaml_mark_t mark = p->problem_mark;

    if (p->error == YAML_READER_ERROR) {
        const unsigned char *text = p->input.string.start;
        size_t end = (size_t)(p->input.string.end - text);

        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < p->problem_offset && i < end; i++) {
            mark.column = text[i] == '\n' ? 0 : mark.column + 1;
            mark.line += text[i] == '\n';
        }
    }
    return fail_at(r, mark, problem);
}

static int next_event(struct reader *r, yaml_event_t *event)
{
    return yaml_parser_parse(&r->parser, event) ? 0 : fail_parser(r);
}

static struct yaml *new_node(enum yaml_kind kind, unsigned line, unsigned column)
{
    struct yaml *y = xcalloc(1, sizeof *y);

    y->kind = kind;
    y->line = line;
    y->column = column;
    return y;
}

static int charge(struct reader *r, yaml_mark_t mark, size_t text_bytes)
{
    r->nodes++;
    r->text_bytes += text_bytes;
    if (r->nodes > NODES_MAX || r->text_bytes > TEXT_MAX)
        return fail_at(r, mark, "the document is too large once its aliases are expanded");
    return 0;
}

static void append(struct yaml *list, struct yaml *item)
{
    if ((list->n_items & (list->n_items - 1)) == 0) /* full at each power of two */
        list->items = xrealloc(list->items,
                               (list->n_items > 0 ? 2 * list->n_items : 1) * sizeof *list->items);
    list->items[list->n_items++] = item;
}

static void remember(struct reader *r, const yaml_char_t *name, const struct yaml *value)
{
    struct anchor *a;

    if (name == NULL)
        return;
    a = xmalloc(sizeof *a);
    a->name = xstrdup((const char *)name);
    a->value = value;
    a->next = r->anchors;
    r->anchors = a;
}

static int copy_value(struct reader *r, yaml_mark_t mark, const struct yaml *from, unsigned depth,
                      struct yaml **ret)
{
    struct yaml *y;
    int e = charge(r, mark, from->text_len);

    if (e == 0 && depth > DEPTH_MAX)
        e = fail_at(r, mark, "nested too deeply");
    if (e < 0)
        return e;
    y = new_node(from->kind, from->line, from->column);
    *ret = y;
    y->quoted = from->quoted;
    if (from->text != NULL)
        y->text = xmemdup(from->text, from->text_len);
    y->text_len = from->text_len;
    for (size_t i = 0; e == 0 && i < from->n_items; i++) {
        struct yaml *item = NULL;

        e = copy_value(r, mark, from->items[i], depth + 1, &item);
        if (item != NULL)
            append(y, item);
        if (e == 0 && from->items[i]->key != NULL)
            e = copy_value(r, mark, from->items[i]->key, depth + 1, &item->key);
    }
    return e;
}

static int read_alias(struct reader *r, const yaml_event_t *event, unsigned depth,
                      struct yaml **ret)
{
    for (struct anchor *a = r->anchors; a != NULL; a = a->next)
        if (strcmp(a->name, (const char *)event->data.alias.anchor) == 0)
            return copy_value(r, event->start_mark, a->value, depth, ret);
    return fail_at(r, event->start_mark, "this alias has no anchor before it");
}

static bool is_null(const char *text, size_t len)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    for (size_t i = 0; i < array_size(words); i++)
        if (len == strlen(words[i]) && memcmp(text, words[i], len) == 0)
            return true;
    return false;
}

static int check_tag(struct reader *r, yaml_mark_t mark, const yaml_char_t *tag)
{
    static const char *const known[] = {
        "!",           YAML_STR_TAG,  YAML_INT_TAG, YAML_FLOAT_TAG,
        YAML_BOOL_TAG, YAML_NULL_TAG, YAML_SEQ_TAG, YAML_MAP_TAG,
    };

    if (tag == NULL)
        return 0;
    for (size_t i = 0; i < array_size(known); i++)
        if (strcmp((const char *)tag, known[i]) == 0)
            return 0;
    return fail_at(r, mark, "this tag is not known");
}

static int read_scalar(struct reader *r, const yaml_event_t *event, struct yaml **ret)
{
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;
    size_t len = event->data.scalar.length;
    struct yaml *y;
    int e = check_tag(r, event->start_mark, event->data.scalar.tag);

    if (e == 0)
        e = charge(r, event->start_mark, len);
    if (e < 0)
        return e;
    y = new_node(YAML_SCALAR, (unsigned)event->start_mark.line + 1,
                 (unsigned)event->start_mark.column + 1);
    *ret = y;
    y->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
                (tag != NULL && strcmp(tag, YAML_STR_TAG) == 0);
    if (y->quoted || !is_null(text, len)) {
        y->text = xmemdup(text, len);
        y->text_len = len;
    }
    remember(r, event->data.scalar.anchor, y);
    return 0;
}

static int read_key(struct reader *r, const yaml_event_t *event, struct yaml **ret)
{
    const struct yaml *key;
    int e;

    if (event->type == YAML_ALIAS_EVENT)
        e = read_alias(r, event, 0, ret);
    else if (event->type == YAML_SCALAR_EVENT)
        e = read_scalar(r, event, ret);
    else
        return fail_at(r, event->start_mark, "a key must be a plain name");
    if (e < 0)
        return e;
    key = *ret;
    if (key->kind != YAML_SCALAR)
        return fail_at(r, event->start_mark, "a key must be a plain name");
    if (key->text == NULL) { /* `null: x` names a key "null" */
        (*ret)->text = event->type == YAML_SCALAR_EVENT
                           ? xmemdup(event->data.scalar.value, event->data.scalar.length)
                           : xstrdup("null");
        (*ret)->text_len = strlen((*ret)->text);
    }
    if (!key->quoted && strcmp(key->text, "<<") == 0)
        return fail_at(r, event->start_mark, "merge keys ('<<') are not supported");
    if (strlen(key->text) != key->text_len)
        return fail_at(r, event->start_mark, "a key holds a NUL byte");
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct yaml *x = *(struct yaml *const *)a, *y = *(struct yaml *const *)b;
    int r = strcmp(x->key->text, y->key->text);

    if (r == 0)
        r = x->key->line < y->key->line ? -1 : x->key->line > y->key->line;
    return r != 0 ? r : (x->key->column < y->key->column ? -1 : x->key->column > y->key->column);
}

static int check_duplicates(struct reader *r, const struct yaml *map)
{
    autofree struct yaml **sorted = xmemdup(map->items, map->n_items * sizeof *sorted);

    if (map->n_items < 2)
        return 0;
    qsort(sorted, map->n_items, sizeof *sorted, compare_keys);
    for (size_t i = 1; i < map->n_items; i++)
        if (strcmp(sorted[i - 1]->key->text, sorted[i]->key->text) == 0)
            return yaml_fail(sorted[i]->key, r->why, "key '%s' was given before, in line %u",
                             sorted[i]->key->text, sorted[i - 1]->key->line);
    return 0;
}

/* One item of a list, or key and value of a map; `event` is its first. *ret_end at the end. */
static int read_item(struct reader *r, struct yaml *into, unsigned depth, bool *ret_end)
{
    yaml_event_t event = {0};
    struct yaml *key = NULL, *value = NULL;
    int e = next_event(r, &event);

    if (e == 0 && (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT)) {
        *ret_end = true;
        yaml_event_delete(&event);
        return 0;
    }
    if (e == 0 && into->kind == YAML_MAP) {
        e = read_key(r, &event, &key);
        yaml_event_delete(&event);
        if (e == 0)
            e = next_event(r, &event);
    }
    if (e == 0)
        e = read_value(r, &event, depth + 1, &value);
    yaml_event_delete(&event);
    if (value == NULL) {
        yaml_free(key);
        return e;
    }
    value->key = key;
    append(into, value);
    return e;
}

static int read_collection(struct reader *r, const yaml_event_t *event, unsigned depth,
                           struct yaml **ret)
{
    bool is_map = event->type == YAML_MAPPING_START_EVENT;
    bool end = false;
    struct yaml *y;
    int e = check_tag(r, event->start_mark,
                      is_map ? event->data.mapping_start.tag : event->data.sequence_start.tag);

    if (e == 0 && depth > DEPTH_MAX)
        e = fail_at(r, event->start_mark, "nested too deeply");
    if (e == 0)
        e = charge(r, event->start_mark, 0);
    if (e < 0)
        return e;
    y = new_node(is_map ? YAML_MAP : YAML_LIST, (unsigned)event->start_mark.line + 1,
                 (unsigned)event->start_mark.column + 1);
    *ret = y;
    while (e == 0 && !end)
        e = read_item(r, y, depth, &end);
    if (e == 0 && is_map)
        e = check_duplicates(r, y);
    if (e == 0) /* only now: a value cannot contain itself */
        remember(r, is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor,
                 y);
    return e;
}

/* Sets *ret also on failure, if there is something to free. */
static int read_value(struct reader *r, yaml_event_t *event, unsigned depth, struct yaml **ret)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r, event, ret);
    case YAML_ALIAS_EVENT:
        return read_alias(r, event, depth, ret);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return read_collection(r, event, depth, ret);
    default:
        return fail_at(r, event->start_mark, "a value is missing");
    }
}

static int read_stream(struct reader *r, struct yaml **ret)
{
    bool seen = false;

    for (;;) {
        yaml_event_t event = {0};
        yaml_event_type_t type;
        int e = next_event(r, &event);

        if (e < 0)
            return e;
        type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && seen) {
            e = fail_at(r, event.start_mark, "a second document begins here; one is expected");
        } else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
                   type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT) {
            e = read_value(r, &event, 1, ret);
            seen = true;
        }
        yaml_event_delete(&event);
        if (e < 0 || type == YAML_STREAM_END_EVENT)
            return e;
    }
}

int yaml_parse(struct slice text, struct yaml **ret, struct buf *why)
{
    struct buf reason = {0};
    struct reader r = {.why = &reason};
    struct yaml *tree = NULL;
    int e;

    if (!yaml_parser_initialize(&r.parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&r.parser, text.len > 0 ? text.data : (const void *)"", text.len);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    e = read_stream(&r, &tree);
    yaml_parser_delete(&r.parser);
    while (r.anchors != NULL) {
        struct anchor *a = r.anchors;

        r.anchors = a->next;
        free(a->name);
        free(a);
    }
    buf_add_slice(why, buf_slice(&reason));
    buf_done(&reason);
    if (e == 0 && tree != NULL && tree->kind == YAML_SCALAR && tree->text == NULL) {
        yaml_free(tree); /* `~`, or comments only */
        tree = NULL;
    }
    if (e < 0)
        yaml_free(tree);
    else
        *ret = tree;
    return e;
}

void yaml_free(struct yaml *y)
{
    if (y == NULL)
        return;
    for (size_t i = 0; i < y->n_items; i++)
        yaml_free(y->items[i]);
    yaml_free(y->key);
    free(y->items);
    free(y->text);
    free(y);
}
