/* vault_find.c: sys/find, for `infrafs find`: secrets by their names, their fields' names and, if
 * asked for, their values. Nothing is found that the caller could not read. The word comes in the
 * body: it may be a value, and paths are logged. */
#include "base/scope.h"
#include "secrets/tree_name.h"
#include "secrets/tree_place.h"
#include "secrets/vault.h"

#include <ctype.h>
#include <errno.h>

#define MATCHES_MAX 10000u
#define DEPTH_MAX   256u
#define WORD_MAX    1024u

struct search {
    struct secrets *s;
    struct mount *mount;
    const struct identity *who;
    char word[WORD_MAX + 1]; /* in lower case */
    size_t len;
    bool values;
    struct json *out;
    unsigned found;
};

/* Letters of ASCII count whatever their case. */
static bool has_word(const struct search *q, struct slice text)
{
    const char *p = text.data;

    for (size_t i = 0; i + q->len <= text.len; i++) {
        size_t k = 0;

        while (k < q->len && tolower((unsigned char)p[i + k]) == (unsigned char)q->word[k])
            k++;
        if (k == q->len)
            return true;
    }
    return false;
}

static void add_match(struct search *q, struct op *op, const char *path, struct slice field,
                      const char *where)
{
    const char *shown = tree_node_path(op, path);
    const char *name = field.data != NULL ? tree_field_name(op, field) : "";

    if (shown == NULL || name == NULL || q->found == MATCHES_MAX)
        return;
    q->found++;
    json_object(q->out);
    json_kstr(q->out, "path", op_printf(op, "%s%s%s", shown, field.data != NULL ? "/" : "", name));
    json_kstr(q->out, "where", where);
    json_object_end(q->out);
}

static void search_fields(struct search *q, struct op *op, const char *path,
                          const struct kv_entry *secret)
{
    struct kv_version version;
    struct kv_content content = {0};
    struct object o = {0};

    if (kv_version_find(secret, 0, &version) < 0 ||
        kv_read(op, q->mount->kv, secret, &version, &content) < 0 ||
        object_parse(op, content.text, &o) < 0)
        return; /* written or deleted meanwhile */
    for (size_t i = 0; i < o.n; i++) {
        if (has_word(q, o.members[i].key))
            add_match(q, op, path, o.members[i].key, "name");
        else if (q->values && has_word(q, value_bytes(op, &content, &o.members[i])))
            add_match(q, op, path, o.members[i].key, "value");
    }
}

static void search_entry(struct search *q, const char *path, const struct kv_entry *e, bool again)
{
    struct op op;

    op_init(&op, DOOR_INTERNAL, q->who);
    op.wiped = true;
    if (place_is_visible(&op, path)) {
        if (!again && has_word(q, e->name))
            add_match(q, &op, path, slice_of(NULL, 0), "name");
        if (e->kind == KV_SECRET && place_may(&op, path, POLICY_READ))
            search_fields(q, &op, path, e);
    }
    op_done(&op);
}

static int search_folder(struct search *q, const char *path, unsigned depth)
{
    struct kv_entry *list = NULL;
    struct op op;
    size_t n = 0;
    int r;

    op_init(&op, DOOR_INTERNAL, q->who);
    r = kv_list(&op, q->mount->kv, path, &list, &n);
    for (size_t i = 0; r == 0 && i < n && q->found < MATCHES_MAX; i++) {
        const struct kv_entry *e = &list[i];
        const char *child = op_printf(&op, "%s%s%.*s", path, path[0] != 0 ? "/" : "",
                                      (int)e->name.len, (const char *)e->name.data);
        bool again = i > 0 && slice_eq(list[i - 1].name, e->name) && kv_is_live(&list[i - 1]);

        if (e->kind == KV_FOLDER ? (e->folder_flags & KV_HIDDEN) != 0 : !kv_is_live(e))
            continue;
        search_entry(q, child, e, again);
        if (e->kind == KV_FOLDER && depth < DEPTH_MAX)
            r = search_folder(q, child, depth + 1);
    }
    op_done(&op);
    return r == -ENOENT ? 0 : r;
}

static int read_question(struct web_request *req, struct search *q)
{
    struct object body;
    struct slice word;
    int r = vault_body(req, &body);

    if (r < 0)
        return r;
    if (value_string(req->op, object_value(&body, "word"), &word) < 0 || word.len == 0 ||
        word.len > WORD_MAX)
        return op_fail(req->op, EINVAL, "'word' is a string of 1 to %u bytes", WORD_MAX);
    for (size_t i = 0; i < word.len; i++)
        q->word[i] = (char)tolower(((const unsigned char *)word.data)[i]);
    q->len = word.len;
    value_boolean(object_value(&body, "values"), &q->values);
    return 0;
}

int sys_find(struct web_request *req, struct web_response *resp)
{
    struct search q = {.s = req->self, .who = req->op->who};
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0 && req->op->who->kind == IDENTITY_ANONYMOUS)
        r = identity_check(req->op, POLICY_UPDATE, "sys/find");
    if (r == 0)
        r = read_question(req, &q);
    if (r < 0)
        return r;
    q.mount = secrets_tree_mount(q.s);
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_key(&a.json, "matches");
    json_array(&a.json);
    q.out = &a.json;
    r = q.mount != NULL ? search_folder(&q, "", 0) : 0;
    json_array_end(&a.json);
    json_kbool(&a.json, "truncated", q.found == MATCHES_MAX);
    json_object_end(&a.json);
    mount_unref(q.mount);
    explicit_bzero(q.word, sizeof q.word);
    vault_answer_end(&a, resp, 200);
    return r;
}
