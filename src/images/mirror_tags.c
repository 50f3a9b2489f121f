/* Tags of another registry's repository: its list, asked for now and then, with what is kept here. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "images/mirror_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#define LISTS_MAX     256u         /* that are remembered */
#define TAGS_MAX      100000u      /* of one repository */
#define BODY_MAX      (4u << 20)   /* of one page */
#define PAGES_MAX     200u
#define FIRST_PAGE    "n=1000"
#define TRY_AGAIN_MS  10000

struct tag_list {
    UT_hash_handle hh;
    int64_t until_ms; /* monotonic */
    bool known;       /* the other registry has said what it has */
    struct buf names; /* each with its NUL */
    char repo[];
};

/* Guarded by m->lock, as what it returns. */
static struct tag_list *list_of(struct mirror *m, const char *repo)
{
    struct tag_list *l;
    size_t n = strlen(repo);

    HASH_FIND_STR(m->tags, repo, l);
    if (l != NULL)
        return l;
    if (HASH_COUNT(m->tags) >= LISTS_MAX)
        mirror_tags_forget(m);
    l = xcalloc(1, sizeof *l + n + 1);
    memcpy(l->repo, repo, n + 1);
    HASH_ADD_KEYPTR(hh, m->tags, l->repo, n, l);
    return l;
}

void mirror_tags_forget(struct mirror *m)
{
    struct tag_list *l, *next;

    HASH_ITER(hh, m->tags, l, next) {
        HASH_DEL(m->tags, l);
        buf_done(&l->names);
        free(l);
    }
}

/* What is behind "?" in the address of the next page (RFC 8288; distribution-spec, "Listing Tags"). */
static const char *next_query(struct op *op, const char *link)
{
    const char *end = strchr(link, '>'), *mark = strchr(link, '?');

    if (link[0] != '<' || end == NULL || mark == NULL || mark > end ||
        strstr(end, "rel=\"next\"") == NULL)
        return NULL;
    for (const char *p = mark; p < end; p++)
        if (*p <= ' ' || *p == '#' || *p == '"')
            return NULL;
    return op_strndup(op, mark + 1, (size_t)(end - mark - 1));
}

/* Appends the tags of a page. How many; -EHOSTUNREACH: it is none. */
static int take_page(const struct buf *body, struct buf *names)
{
    json_t *json = json_loadb(body->data != NULL ? body->data : "", body->len, 0, NULL), *tag;
    json_t *tags = json_object_get(json, "tags");
    int r = json_is_array(tags) || json_is_null(tags) ? (int)json_array_size(tags) : -EHOSTUNREACH;
    size_t i;

    json_array_foreach(tags, i, tag) {
        struct slice name = {json_string_value(tag), json_string_length(tag)};

        if (name.data == NULL || !tag_valid(name))
            continue;
        buf_add_slice(names, name);
        buf_add_char(names, 0);
    }
    json_decref(json);
    return r;
}

/* 0; -ENOENT: there is no such repository; -EHOSTUNREACH. */
static int fetch(struct op *op, struct mirror *m, const char *repo, struct buf *names)
{
    const char *query = FIRST_PAGE;
    size_t n = 0;

    for (unsigned page = 0; query != NULL && page < PAGES_MAX && n < TAGS_MAX; page++) {
        struct upstream_request *rq = op_alloc(op, sizeof *rq);
        autobuf why = {0};
        int r;

        *rq = (struct upstream_request){.repo = mirror_repo_there(op, m, repo),
                                        .path = "tags/list",
                                        .query = query,
                                        .accept = "application/json",
                                        .body_max = BODY_MAX};
        r = upstream_ask(m->upstream, rq, &why);
        if (r == 0 && rq->status == 404)
            r = -ENOENT;
        else if (r == 0)
            r = rq->status == 200 ? take_page(&rq->body, names) : -EHOSTUNREACH;
        buf_done(&rq->body);
        if (r < 0 && r != -ENOENT)
            log_event(LOG_WARN, op, "mirror.failed", "repo=%s tags status=%ld why=%s", repo,
                      rq->status, why.len > 0 ? why.data : "no list");
        if (r < 0)
            return r == -ENOENT ? r : -EHOSTUNREACH;
        n += (size_t)r;
        query = next_query(op, rq->link);
    }
    return 0;
}

/* Those that were remembered, in the op. True: they need not be asked for again. */
static bool recall(struct op *op, struct mirror *m, const char *repo, struct slice *ret,
                   bool *ret_known)
{
    struct tag_list *l;

    guard(&m->lock);
    l = list_of(m, repo);
    *ret = op_slice(op, buf_slice(&l->names));
    *ret_known = l->known;
    return l->until_ms > clock_monotonic_ms();
}

/* What was asked: `names` is taken over unless it failed. */
static void remember(struct mirror *m, const char *repo, int result, struct buf *names)
{
    struct tag_list *l;

    guard(&m->lock);
    l = list_of(m, repo);
    l->until_ms = clock_monotonic_ms() +
                  (result == -EHOSTUNREACH ? TRY_AGAIN_MS : mirror_fresh_ms(m));
    if (result == -EHOSTUNREACH)
        return;
    l->known = result == 0;
    buf_done(&l->names);
    l->names = *names;
    *names = (struct buf){0};
}

bool mirror_tags_are_fresh(struct op *op, struct mirror *m, const char *repo)
{
    struct slice names;
    bool known;

    return recall(op, m, repo, &names, &known);
}

struct gather {
    struct op *op;
    struct buf *out;
};

static int add_here(void *ctx, const struct tag_view *tag)
{
    struct gather *g = ctx;

    buf_add_slice(g->out, tag->name);
    buf_add_char(g->out, 0);
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, each once. */
static const char *const *sort(struct op *op, struct slice names, size_t *ret_n)
{
    const char **list, *end = (const char *)names.data + names.len;
    size_t n = 0, kept = 0;

    for (const char *p = names.data; p < end; p += strlen(p) + 1)
        n++;
    list = op_alloc(op, (n + 1) * sizeof *list);
    n = 0;
    for (const char *p = names.data; p < end; p += strlen(p) + 1)
        list[n++] = p;
    qsort(list, n, sizeof *list, by_text);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(list[kept - 1], list[i]) != 0)
            list[kept++] = list[i];
    *ret_n = kept;
    return list;
}

int mirror_tags(struct op *op, struct images *im, struct mirror *m, const char *repo,
                const char *const **ret, size_t *ret_n)
{
    struct buf names = {0};
    struct slice there;
    struct gather g = {op, &names};
    bool known;
    int asked = 0, r = 0;

    if (!recall(op, m, repo, &there, &known)) {
        asked = fetch(op, m, repo, &names);
        remember(m, repo, asked, &names);
        buf_clear(&names);
        recall(op, m, repo, &there, &known);
    }
    if (!known)
        r = images_check_repo(op, im, repo);
    if (r == -ENXIO && asked == -EHOSTUNREACH)
        r = mirror_failed(op, m, repo, "there is no list of tags", 0);
    buf_add_slice(&names, there);
    if (r == 0)
        r = tag_each(op, im, repo, "", add_here, &g);
    if (r == 0)
        *ret = sort(op, op_slice(op, buf_slice(&names)), ret_n);
    buf_done(&names);
    return r;
}
