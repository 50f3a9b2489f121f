#include "metrics/metrics_tree.h"

#include "base/codec.h"
#include "identity/identity.h"

#include <errno.h>
#include <sys/stat.h>

#define CONFIG_BYTES_MAX (8u << 20)

void tree_name_encode(struct buf *out, struct slice text)
{
    size_t start = out->len;
    const unsigned char *p = text.data;

    for (size_t i = 0; i < text.len; i++) {
        bool plain = p[i] > 0x20 && p[i] != 0x7f && p[i] != '/' && p[i] != '%' &&
                     !(i == 0 && (p[i] == '.' || p[i] == '@'));

        if (plain)
            buf_add_char(out, (char)p[i]);
        else
            buf_printf(out, "%%%02X", p[i]);
    }
    if (out->len - start > TREE_NAME_MAX) {
        size_t cut = start + TREE_NAME_MAX;

        while (cut > start && ((unsigned char)out->data[cut] & 0xc0) == 0x80)
            cut--; /* not inside a character */
        out->len = cut;
        buf_printf(out, "~%016" PRIx64, hash_bytes(text.data, text.len, 0));
    }
}

bool tree_may(struct op *op, unsigned rights)
{
    return identity_may(op, rights, "metrics/tree");
}

enum place {
    PLACE_ROOT,
    PLACE_CONFIG,
    PLACE_SERIES,
    PLACE_TARGETS,
    PLACE_PUSH,
    PLACE_QUERY,
    PLACE_RANGE,
    PLACE_RULES,
    PLACE_NONE
};

static const struct {
    const char *name;
    enum place place;
} PLACES[] = {
    {"prometheus.yml", PLACE_CONFIG},
    {"targets", PLACE_TARGETS},
    {"series", PLACE_SERIES},
    {"push", PLACE_PUSH},
    {"query", PLACE_QUERY},
    {"range", PLACE_RANGE},
    {"rules", PLACE_RULES},
};

/* path begins with "metrics". *ret_rest is what stands behind the place's name. */
static enum place place_of(const char *path, const char **ret_rest)
{
    const char *p = path + strlen("metrics");

    if (*p == 0)
        return PLACE_ROOT;
    p++;
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        size_t n = strlen(PLACES[i].name);

        if (strncmp(p, PLACES[i].name, n) != 0 || (p[n] != 0 && p[n] != '/'))
            continue;
        *ret_rest = p[n] == '/' ? p + n + 1 : p + n;
        if (PLACES[i].place == PLACE_CONFIG && p[n] != 0)
            return PLACE_NONE;
        return PLACES[i].place;
    }
    return PLACE_NONE;
}

static int no_such(struct op *op, const char *path)
{
    return op_fail(op, ENOENT, "'%s' does not exist", path);
}

/* Who may only read sees no passwords. */
static bool may_read_config(struct op *op, struct metrics *m)
{
    struct scraper_state state;
    bool may;

    scraper_state(m->scraper, &state);
    may = !state.jobs->has_secrets || tree_may(op, POLICY_UPDATE);
    jobs_unref(state.jobs);
    return may;
}

static void stat_config(struct op *op, struct metrics *m, struct node_stat *ret)
{
    struct stat st;

    *ret = (struct node_stat){.type = NODE_FILE, .mode = 0644};
    if (!may_read_config(op, m))
        ret->mode = 0640;
    if (stat(m->env.config->prometheus, &st) < 0)
        return;
    ret->size_bytes = (uint64_t)st.st_size;
    ret->mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
}

static int metrics_stat(struct op *op, void *self, const char *path, struct node_stat *ret)
{
    struct metrics *m = self;
    const char *rest = "";

    if (!tree_may(op, POLICY_READ))
        return no_such(op, path);
    switch (place_of(path, &rest)) {
    case PLACE_ROOT:
        *ret = (struct node_stat){.type = NODE_DIR, .mtime_ns = m->started_unix_ms * 1000000};
        if (tree_may(op, POLICY_UPDATE)) {
            ret->flags = NODE_WRITABLE;
            ret->mode = 0755;
        }
        return 0;
    case PLACE_CONFIG:
        stat_config(op, m, ret);
        return 0;
    case PLACE_SERIES:
        return tree_series_stat(op, m, rest, ret);
    case PLACE_TARGETS:
        return tree_targets_stat(op, m, rest, ret);
    case PLACE_PUSH:
        return tree_push_stat(op, m, rest, ret);
    case PLACE_QUERY:
        return tree_query_stat(op, m, rest, ret);
    case PLACE_RANGE:
        return tree_range_stat(op, m, rest, ret);
    case PLACE_RULES:
        return tree_rules_stat(op, m, rest, ret);
    case PLACE_NONE:
        break;
    }
    return no_such(op, path);
}

static int metrics_list(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx)
{
    struct metrics *m = self;
    const char *rest = "";

    if (!tree_may(op, POLICY_READ))
        return no_such(op, path);
    switch (place_of(path, &rest)) {
    case PLACE_ROOT:
        for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
            struct node_stat st;
            const char *name = op_printf(op, "%s/%s", path, PLACES[i].name);

            if (metrics_stat(op, self, name, &st) == 0 && emit(ctx, PLACES[i].name, &st) != 0)
                break;
        }
        return 0;
    case PLACE_CONFIG:
        return op_fail(op, ENOTDIR, "'%s' is a file", path);
    case PLACE_SERIES:
        return tree_series_list(op, m, rest, emit, ctx);
    case PLACE_TARGETS:
        return tree_targets_list(op, m, rest, emit, ctx);
    case PLACE_PUSH:
        return tree_push_list(op, m, rest, emit, ctx);
    case PLACE_RULES:
        return tree_rules_list(op, m, rest, emit, ctx);
    case PLACE_QUERY:
    case PLACE_RANGE:
        return 0; /* every query has a name here: there is no list of them */
    case PLACE_NONE:
        break;
    }
    return no_such(op, path);
}

static int publish_config(struct op *op, void *ctx, struct slice content)
{
    struct metrics *m = ctx;
    autobuf why = {0};
    int r = scraper_write(m->scraper, content, &why);

    if (r < 0)
        return op_fail(op, -r, "prometheus.yml is not valid, the one before stays in force: %s",
                       why.len > 0 ? why.data : strerror(-r));
    op_changed(op, CHANGE_CONTENT, "/metrics/prometheus.yml");
    op_changed(op, CHANGE_SUBTREE, "/metrics/targets");
    return 0;
}

static int open_config(struct op *op, struct metrics *m, unsigned flags, struct node_file **ret)
{
    autobuf content = {0};
    int r = scraper_read(m->scraper, &content);

    if (r < 0)
        return op_fail(op, -r, "cannot read '%s': %s", m->env.config->prometheus, strerror(-r));
    if ((flags & NODE_EXCL) != 0)
        return op_fail(op, EEXIST, "'metrics/prometheus.yml' exists");
    if ((flags & (NODE_READ | NODE_WRITE)) != NODE_WRITE && !may_read_config(op, m))
        return op_fail(op, EACCES,
                       "'metrics/prometheus.yml' holds passwords; only who may change "
                       "it may read it");
    if ((flags & NODE_WRITE) == 0)
        return node_bytes_open(buf_slice(&content), 0, ret);
    if (!tree_may(op, POLICY_UPDATE))
        return op_fail(op, EACCES, "no right to change 'metrics/prometheus.yml'");
    return node_buffer_open(
        &(struct node_buffer){
            .publish = publish_config,
            .ctx = m,
            .initial = (flags & NODE_TRUNC) != 0 ? SLICE("") : buf_slice(&content),
            .limit_bytes = CONFIG_BYTES_MAX,
            .dirty = (flags & NODE_TRUNC) != 0,
        },
        ret);
}

static int metrics_open_node(struct op *op, void *self, const char *path, unsigned flags,
                             struct node_file **ret)
{
    struct metrics *m = self;
    const char *rest = "";
    autobuf text = {0};
    int r = -ENOENT;
    enum place place = place_of(path, &rest);

    if (!tree_may(op, POLICY_READ))
        return no_such(op, path);
    if (place == PLACE_CONFIG)
        return open_config(op, m, flags, ret);
    if (place == PLACE_RULES)
        return tree_rules_open(op, m, rest, flags, ret);
    if (place == PLACE_TARGETS && (flags & NODE_WRITE) != 0)
        return tree_targets_write(op, m, rest, flags, ret);
    if (place == PLACE_PUSH && (flags & NODE_WRITE) != 0)
        return tree_push_write(op, m, rest, flags, ret);
    if (place == PLACE_SERIES)
        r = tree_series_read(op, m, rest, &text);
    else if (place == PLACE_TARGETS)
        r = tree_targets_read(op, m, rest, &text);
    else if (place == PLACE_PUSH)
        r = tree_push_read(op, m, rest, &text);
    else if ((place == PLACE_QUERY || place == PLACE_RANGE) && (flags & NODE_WRITE) != 0)
        return op_fail(op, EROFS, "'%s' can only be read", path);
    else if (place == PLACE_QUERY)
        r = tree_query_read(op, m, rest, &text);
    else if (place == PLACE_RANGE)
        r = tree_range_read(op, m, rest, &text);
    if (r == -ENOENT && (flags & NODE_CREATE) != 0)
        return op_fail(op, EROFS, "'%s' cannot be made here", path);
    if (r == -ENOENT)
        return no_such(op, path);
    if (r == 0 && (flags & NODE_WRITE) != 0)
        return op_fail(op, EROFS, "'%s' can only be read", path);
    return r < 0 ? r
                 : node_bytes_open(buf_slice(&text), place == PLACE_PUSH ? 0 : NODE_VOLATILE, ret);
}

static int metrics_unlink(struct op *op, void *self, const char *path)
{
    const char *rest = "";
    enum place place = place_of(path, &rest);

    if (!tree_may(op, POLICY_READ))
        return no_such(op, path);
    if (place == PLACE_TARGETS)
        return tree_targets_remove(op, self, rest);
    if (place == PLACE_PUSH)
        return tree_push_remove(op, self, rest);
    if (place == PLACE_RULES)
        return tree_rules_remove(op, self, rest);
    if (place == PLACE_CONFIG)
        return op_fail(op, EPERM, "'%s' cannot be removed; write an empty one", path);
    return op_fail(op, EROFS, "'%s' cannot be removed", path);
}

/* touch, cp -p: there is nothing to keep, and nothing wrong with it. */
static int metrics_setattr(struct op *op, void *self, const char *path, const mode_t *mode,
                           const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns)
{
    struct node_stat st;
    const char *rest = "";
    int r = metrics_stat(op, self, path, &st);

    (void)mode;
    (void)uid;
    (void)gid;
    (void)mtime_ns;
    if (r < 0)
        return r;
    if (place_of(path, &rest) == PLACE_SERIES || st.type != NODE_FILE)
        return op_fail(op, EROFS, "'%s' can only be read", path);
    return tree_may(op, POLICY_UPDATE) ? 0 : op_fail(op, EACCES, "no right to change '%s'", path);
}

const struct node_ops metrics_tree = {
    .stat = metrics_stat,
    .list = metrics_list,
    .open = metrics_open_node,
    .unlink = metrics_unlink,
    .setattr = metrics_setattr,
};
