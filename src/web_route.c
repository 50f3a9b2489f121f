#include "web_router.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <assert.h>
#include <errno.h>
#include <uthash.h>

#define SEGMENTS_MAX 16u
#define MANY_MAX     2u /* matching takes time in the path's length to this power */

enum segment_kind { LITERAL, ONE, MANY };

struct segment {
    enum segment_kind kind;
    const char *text; /* of a literal, or the parameter's name */
    size_t len;
};

struct pattern {
    struct segment segments[SEGMENTS_MAX];
    size_t n;
    size_t literal_bytes;
};

/* What a parameter took, until the whole pattern has matched. */
struct match {
    struct {
        const char *name;
        struct slice value;
    } params[WEB_PARAMS_MAX];
    size_t n;
};

/* Cuts the pattern in place; its segments point into `text`. */
static void pattern_compile(char *text, struct pattern *ret)
{
    size_t n_params = 0, n_many = 0;
    char *p = text;

    *ret = (struct pattern){0};
    assert(*p == '/');
    while (*p == '/') {
        struct segment *s = &ret->segments[ret->n++];

        assert(ret->n < SEGMENTS_MAX);
        *p++ = 0;
        s->text = p;
        s->len = strcspn(p, "/");
        p += s->len;
        if (s->text[0] != '{') {
            ret->literal_bytes += s->len + 1;
            continue;
        }
        assert(p[-1] == '}' && ++n_params <= WEB_PARAMS_MAX);
        p[-1] = 0;
        s->kind = ONE;
        s->text++;
        s->len -= 2;
        if (s->len > 3 && memcmp(s->text + s->len - 3, "...", 3) == 0) {
            s->kind = MANY;
            s->len -= 3;
            assert(++n_many <= MANY_MAX);
            text[s->text + s->len - text] = 0;
        }
    }
    (void)n_params;
    (void)n_many;
}

static void remember(struct match *m, const struct segment *s, const char *value, size_t len)
{
    m->params[m->n].name = s->text;
    m->params[m->n].value = slice_of(value, len);
    m->n++;
}

static bool match_rest(const struct pattern *p, size_t i, const char *path, struct match *m);

/* As many segments as fit: the longest first. */
static bool match_many(const struct pattern *p, size_t i, const char *path, struct match *m)
{
    const struct segment *s = &p->segments[i];
    size_t len = strlen(path), taken = m->n;

    if (len == 0)
        return false;
    if (i + 1 == p->n) {
        remember(m, s, path, len);
        return true;
    }
    for (const char *slash = memrchr(path, '/', len); slash != NULL && slash > path;
         slash = memrchr(path, '/', (size_t)(slash - path))) {
        m->n = taken;
        remember(m, s, path, (size_t)(slash - path));
        if (match_rest(p, i + 1, slash + 1, m))
            return true;
    }
    m->n = taken;
    return false;
}

/* Does `path`, which stands behind a slash, fit the segments from i on? */
static bool match_rest(const struct pattern *p, size_t i, const char *path, struct match *m)
{
    for (;; i++) {
        const struct segment *s = &p->segments[i];
        size_t len;

        if (s->kind == MANY)
            return match_many(p, i, path, m);
        len = (size_t)(strchrnul(path, '/') - path);
        if (s->kind == LITERAL ? len != s->len || memcmp(path, s->text, len) != 0 : len == 0)
            return false;
        if (s->kind == ONE)
            remember(m, s, path, len);
        path += len;
        if (i + 1 == p->n)
            return *path == 0;
        if (*path++ != '/')
            return false;
    }
}

static bool has_method(const char *methods, const char *method)
{
    size_t len = strlen(method);

    if (strcmp(methods, "*") == 0)
        return true;
    for (; *methods != 0; methods += strcspn(methods, ","), methods += *methods == ',')
        if (strncmp(methods, method, len) == 0 && (methods[len] == ',' || methods[len] == 0))
            return true;
    return false;
}

static bool takes_method(const struct route *r, const char *method)
{
    return has_method(r->methods, method) ||
           (strcmp(method, "HEAD") == 0 && has_method(r->methods, "GET"));
}

static void set_params(struct web_request *req, const struct match *m)
{
    for (size_t i = 0; i < WEB_PARAMS_MAX; i++)
        req->params[i] = (struct web_param){0};
    for (size_t i = 0; i < m->n; i++) {
        req->params[i].name = m->params[i].name;
        req->params[i].value = op_strndup(req->op, m->params[i].value.data, m->params[i].value.len);
    }
}

/* The methods that would be allowed, as they are found. */
static void allow(struct web_request *req, const struct route *r, const char **ret_allow)
{
    const char *before = *ret_allow;
    bool head = has_method(r->methods, "GET") && !has_method(r->methods, "HEAD");
    char *text = op_printf(req->op, "%s%s%s%s", before != NULL ? before : "",
                           before != NULL ? "," : "", r->methods, head ? ",HEAD" : "");

    *ret_allow = text;
}

int web_route(const struct route *routes, struct web_request *req, const struct route **ret,
              const char **ret_allow)
{
    const struct route *best = NULL;
    size_t best_bytes = 0;
    struct match kept;

    *ret_allow = NULL;
    for (const struct route *r = routes; r->pattern != NULL; r++) {
        struct match m = {0};
        struct pattern p;
        const char *path = r->flags & ROUTE_RAW ? req->raw_path : req->path;

        pattern_compile(op_strdup(req->op, r->pattern), &p);
        if (!match_rest(&p, 0, path + 1, &m))
            continue;
        if (!takes_method(r, req->method)) {
            allow(req, r, ret_allow);
        } else if (best == NULL || p.literal_bytes > best_bytes) {
            best = r;
            best_bytes = p.literal_bytes;
            kept = m;
        }
    }
    if (best == NULL)
        return *ret_allow != NULL ? -ENOTSUP : -ENOENT;
    set_params(req, &kept);
    req->route = best;
    *ret = best;
    return 0;
}

/* The router: a trie of the literal segments that patterns begin with. */
struct entry {
    struct entry *next; /* best first: most literal text, then order */
    const struct route *route;
    void *owner;
    char *text;
    struct pattern pattern;
};

struct place {
    const char *segment;
    UT_hash_handle hh;
    struct place *below;
    struct entry *entries; /* those whose first parameter, or whose end, is here */
    void *owner;           /* whoever added the first route at or below */
};

struct web_router {
    struct place top;
    bool has_raw;
};

struct web_router *web_router_new(void)
{
    return xcalloc(1, sizeof(struct web_router));
}

static void free_place(struct place *place)
{
    struct place *child, *next_child;

    while (place->entries != NULL) {
        struct entry *e = place->entries;

        place->entries = e->next;
        free(e->text);
        free(e);
    }
    HASH_ITER (hh, place->below, child, next_child) {
        HASH_DEL(place->below, child);
        free_place(child);
        free(child);
    }
}

void web_router_free(struct web_router *r)
{
    if (r == NULL)
        return;
    free_place(&r->top);
    free(r);
}

static struct place *place_below(struct place *place, const struct segment *s, void *owner)
{
    struct place *child;

    HASH_FIND(hh, place->below, s->text, s->len, child);
    if (child != NULL)
        return child;
    child = xcalloc(1, sizeof *child);
    child->segment = s->text;
    child->owner = owner;
    HASH_ADD_KEYPTR(hh, place->below, child->segment, s->len, child);
    return child;
}

static void add(struct web_router *r, const struct route *route, void *owner)
{
    struct entry *e = xcalloc(1, sizeof *e), **at;
    struct place *place = &r->top;

    e->route = route;
    e->owner = owner;
    e->text = xstrdup(route->pattern);
    pattern_compile(e->text, &e->pattern);
    for (size_t i = 0; i < e->pattern.n && e->pattern.segments[i].kind == LITERAL; i++)
        place = place_below(place, &e->pattern.segments[i], owner);
    for (at = &place->entries; *at != NULL; at = &(*at)->next)
        if ((*at)->pattern.literal_bytes < e->pattern.literal_bytes)
            break;
    e->next = *at;
    *at = e;
    r->has_raw = r->has_raw || route->flags & ROUTE_RAW;
}

void web_router_add(struct web_router *r, const struct route *routes, void *owner)
{
    for (; routes->pattern != NULL; routes++)
        add(r, routes, owner);
}

struct search {
    struct web_request *req;
    const struct entry *best;
    struct match match;
    const struct entry *refused; /* fits, but not with this method */
    const char *allow;
    void *owner;
    size_t depth; /* of owner */
};

static void search_place(struct search *s, const struct place *place, const char *path, bool raw)
{
    for (const struct entry *e = place->entries; e != NULL; e = e->next) {
        struct match m = {0};

        if (s->best != NULL && s->best->pattern.literal_bytes >= e->pattern.literal_bytes)
            return;
        if (!!(e->route->flags & ROUTE_RAW) != raw || !match_rest(&e->pattern, 0, path + 1, &m))
            continue;
        if (takes_method(e->route, s->req->method)) {
            s->best = e;
            s->match = m;
            return;
        }
        if (s->refused == NULL)
            s->refused = e;
        allow(s->req, e->route, &s->allow);
    }
}

static void search(struct search *s, const struct web_router *r, const char *path, bool raw)
{
    const struct place *place = &r->top;
    const char *p = path;
    size_t depth = 0;

    while (place != NULL) {
        struct place *next = NULL;

        search_place(s, place, path, raw);
        if (place->owner != NULL && depth > s->depth) {
            s->owner = place->owner;
            s->depth = depth;
        }
        if (*p == '/') {
            size_t len = (size_t)(strchrnul(p + 1, '/') - (p + 1));

            HASH_FIND(hh, place->below, p + 1, len, next);
            p += 1 + len;
            depth++;
        }
        place = next;
    }
}

int web_router_find(const struct web_router *r, struct web_request *req, void **ret_owner,
                    const char **ret_allow)
{
    struct search s = {.req = req};

    search(&s, r, req->path, false);
    if (r->has_raw)
        search(&s, r, req->raw_path, true);
    *ret_allow = s.allow;
    *ret_owner = s.owner;
    if (s.best == NULL && s.refused == NULL)
        return -ENOENT;
    *ret_owner = (s.best != NULL ? s.best : s.refused)->owner;
    if (s.best == NULL)
        return -ENOTSUP;
    set_params(req, &s.match);
    req->route = s.best->route;
    return 0;
}
