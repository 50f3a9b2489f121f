#include "metrics/scrape/relabel.h"

#include "base/codec.h"
#include "base/digest.h"
#include "base/shim.h"
#include "base/utf8.h"

#include <stdlib.h>

const char *const relabel_action_names[RELABEL_ACTIONS + 1] = {
    "replace",  "keep",      "drop",      "keepequal", "dropequal", "hashmod",
    "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase", NULL,
};

void relabels_done(struct relabels *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct relabel *c = &r->items[i];

        for (char **l = c->source_labels; l != NULL && *l != NULL; l++)
            free(*l);
        free(c->source_labels);
        free(c->separator);
        free(c->target_label);
        free(c->replacement);
        free(c->regex_text);
        regex_free(c->regex);
    }
    free(r->items);
    *r = (struct relabels){0};
}

static struct slice source_value(const struct relabel *c, const struct label_builder *b,
                                 struct buf *room)
{
    if (c->source_labels == NULL || c->source_labels[0] == NULL)
        return SLICE("");
    if (c->source_labels[1] == NULL)
        return label_builder_get(b, slice_str(c->source_labels[0]));
    for (char **l = c->source_labels; *l != NULL; l++) {
        if (l != c->source_labels)
            buf_add_str(room, c->separator);
        buf_add_slice(room, label_builder_get(b, slice_str(*l)));
    }
    return buf_slice(room);
}

static void set_copy(struct label_builder *b, struct slice name, struct slice value)
{
    label_builder_set(b, op_slice(b->op, name), op_slice(b->op, value));
}

/* The target may be a template too; what is no label name changes nothing. */
static void replace(const struct relabel *c, struct label_builder *b, struct slice value)
{
    autobuf target = {0};
    autobuf text = {0};

    if (!regex_replace(c->regex, value, slice_str(c->target_label), &target))
        return;
    if (target.len == 0 || !utf8_valid(buf_slice(&target)))
        return;
    regex_replace(c->regex, value, slice_str(c->replacement), &text);
    set_copy(b, buf_slice(&target), buf_slice(&text));
}

static void hashmod(const struct relabel *c, struct label_builder *b, struct slice value)
{
    struct hash *h = hash_new(HASH_MD5);
    uint8_t digest[64];
    autobuf text = {0};

    hash_update(h, value.data, value.len);
    hash_final(h, digest);
    hash_free(h);
    buf_add_u64(&text, be64_get(digest + 8) % c->modulus);
    set_copy(b, slice_str(c->target_label), buf_slice(&text));
}

static void change_case(const struct relabel *c, struct label_builder *b, struct slice value)
{
    bool lower = c->action == RELABEL_LOWERCASE;
    struct slice copy = op_slice(b->op, value);
    char *p = (char *)(uintptr_t)copy.data;

    for (size_t i = 0; i < copy.len; i++) {
        if (lower && p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] + 32);
        if (!lower && p[i] >= 'a' && p[i] <= 'z')
            p[i] = (char)(p[i] - 32);
    }
    label_builder_set(b, slice_str(c->target_label), copy);
}

static void map_names(const struct relabel *c, struct label_builder *b)
{
    size_t n = b->labels.n;
    struct label *before = op_alloc(b->op, (n + 1) * sizeof *before);

    memcpy(before, b->labels.items, n * sizeof *before);
    for (size_t i = 0; i < n; i++) {
        autobuf name = {0};

        if (before[i].value.len > 0 &&
            regex_replace(c->regex, before[i].name, slice_str(c->replacement), &name) &&
            name.len > 0)
            set_copy(b, buf_slice(&name), before[i].value);
    }
}

static void drop_names(const struct relabel *c, struct label_builder *b, bool matching)
{
    for (size_t i = 0; i < b->labels.n; i++)
        if (regex_match(c->regex, b->labels.items[i].name) == matching)
            b->labels.items[i].value = SLICE("");
}

static bool apply_one(const struct relabel *c, struct label_builder *b)
{
    autobuf room = {0};
    struct slice value = source_value(c, b, &room);

    switch (c->action) {
    case RELABEL_REPLACE:
        replace(c, b, value);
        return true;
    case RELABEL_KEEP:
        return regex_match(c->regex, value);
    case RELABEL_DROP:
        return !regex_match(c->regex, value);
    case RELABEL_KEEPEQUAL:
        return slice_eq(label_builder_get(b, slice_str(c->target_label)), value);
    case RELABEL_DROPEQUAL:
        return !slice_eq(label_builder_get(b, slice_str(c->target_label)), value);
    case RELABEL_HASHMOD:
        hashmod(c, b, value);
        return true;
    case RELABEL_LOWERCASE:
    case RELABEL_UPPERCASE:
        change_case(c, b, value);
        return true;
    case RELABEL_LABELMAP:
        map_names(c, b);
        return true;
    case RELABEL_LABELDROP:
        drop_names(c, b, true);
        return true;
    case RELABEL_LABELKEEP:
        drop_names(c, b, false);
        return true;
    case RELABEL_ACTIONS:
        break;
    }
    return true;
}

bool relabel_apply(const struct relabels *r, struct label_builder *labels)
{
    for (size_t i = 0; i < r->n; i++)
        if (!apply_one(&r->items[i], labels))
            return false;
    return true;
}
