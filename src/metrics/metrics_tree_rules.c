/* rules/<name>.yml: the own files of rules. */
#include "metrics/metrics_tree.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "metrics/rules/rules.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (8u << 20)

static bool is_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return name[0] != '.' && strchr(name, '/') == NULL && dot != NULL &&
           (strcmp(dot, ".yml") == 0 || strcmp(dot, ".yaml") == 0);
}

static const char *path_of(struct op *op, struct metrics *m, const char *name)
{
    return op_printf(op, "%s/%s", rules_folder(m->rules), name);
}

static int no_such(struct op *op, const char *name)
{
    return op_fail(op, ENOENT, "'metrics/rules/%s' does not exist", name);
}

static int stat_file(struct op *op, struct metrics *m, const char *name, struct node_stat *ret)
{
    struct stat st;

    if (!is_name(name) || stat(path_of(op, m, name), &st) < 0 || !S_ISREG(st.st_mode))
        return no_such(op, name);
    *ret = (struct node_stat){
        .type = NODE_FILE,
        .mode = 0644,
        .size_bytes = (uint64_t)st.st_size,
        .mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec,
    };
    return 0;
}

int tree_rules_stat(struct op *op, struct metrics *m, const char *name, struct node_stat *ret)
{
    if (name[0] != 0)
        return stat_file(op, m, name, ret);
    *ret = (struct node_stat){.type = NODE_DIR, .mtime_ns = m->started_unix_ms * 1000000};
    if (tree_may(op, POLICY_UPDATE)) {
        ret->flags = NODE_WRITABLE;
        ret->mode = 0755;
    }
    return 0;
}

int tree_rules_list(struct op *op, struct metrics *m, const char *name, node_emit_fn *emit,
                    void *ctx)
{
    DIR *dir;
    struct dirent *e;

    if (name[0] != 0)
        return op_fail(op, ENOTDIR, "'metrics/rules/%s' is a file", name);
    dir = opendir(rules_folder(m->rules));
    if (dir == NULL)
        return errno == ENOENT ? 0
                               : op_fail(op, errno, "cannot read '%s': %s", rules_folder(m->rules),
                                         strerror(errno));
    while ((e = readdir(dir)) != NULL) {
        struct node_stat st;

        if (!is_name(e->d_name))
            continue;
        if (stat_file(op, m, e->d_name, &st) == 0) {
            if (emit(ctx, e->d_name, &st) != 0)
                break;
        } else {
            op_forgive(op); /* removed meanwhile */
        }
    }
    closedir(dir);
    return 0;
}

struct draft {
    struct metrics *m;
    char *name;
};

static void draft_free(void *ctx)
{
    struct draft *d = ctx;

    free(d->name);
    free(d);
}

static int publish(struct op *op, void *ctx, struct slice content)
{
    struct draft *d = ctx;
    autobuf why = {0};
    int r = rules_write(d->m->rules, d->name, content, &why);

    if (r < 0)
        return op_fail(op, -r, "rules/%s is not valid, nothing is changed: %s", d->name,
                       why.len > 0 ? why.data : strerror(-r));
    op_changed(op, CHANGE_CONTENT | CHANGE_ENTRY, "/metrics/rules/%s", d->name);
    return 0;
}

static int open_draft(struct op *op, struct metrics *m, const char *name, unsigned flags,
                      bool exists, struct slice content, struct node_file **ret)
{
    struct draft *d;

    if (!tree_may(op, POLICY_UPDATE))
        return op_fail(op, EACCES, "no right to change 'metrics/rules/%s'", name);
    d = xcalloc(1, sizeof *d);
    *d = (struct draft){m, xstrdup(name)};
    return node_buffer_open(
        &(struct node_buffer){
            .publish = publish,
            .ctx = d,
            .free_ctx = draft_free,
            .initial = (flags & NODE_TRUNC) != 0 ? SLICE("") : content,
            .limit_bytes = FILE_BYTES_MAX,
            .dirty = !exists || (flags & NODE_TRUNC) != 0,
        },
        ret);
}

int tree_rules_open(struct op *op, struct metrics *m, const char *name, unsigned flags,
                    struct node_file **ret)
{
    autobuf content = {0};
    int r = -ENOENT;

    if (name[0] == 0)
        return op_fail(op, EISDIR, "'metrics/rules' is a folder");
    if (is_name(name))
        r = file_read(path_of(op, m, name), FILE_BYTES_MAX, &content);
    if (r < 0 && r != -ENOENT)
        return op_fail(op, -r, "cannot read 'metrics/rules/%s': %s", name, strerror(-r));
    if (r == -ENOENT && (flags & NODE_CREATE) == 0)
        return no_such(op, name);
    if (!is_name(name))
        return op_fail(op, EINVAL, "'%s' is no name for a file of rules: use NAME.yml", name);
    if (r == 0 && (flags & NODE_EXCL) != 0)
        return op_fail(op, EEXIST, "'metrics/rules/%s' exists", name);
    if ((flags & NODE_WRITE) == 0)
        return node_bytes_open(buf_slice(&content), 0, ret);
    return open_draft(op, m, name, flags, r == 0, buf_slice(&content), ret);
}

int tree_rules_remove(struct op *op, struct metrics *m, const char *name)
{
    struct node_stat st;
    int r = name[0] != 0 ? stat_file(op, m, name, &st) : -EISDIR;

    if (r < 0)
        return r == -EISDIR ? op_fail(op, EISDIR, "'metrics/rules' stays") : r;
    if (!tree_may(op, POLICY_UPDATE))
        return op_fail(op, EACCES, "no right to remove 'metrics/rules/%s'", name);
    r = rules_remove(m->rules, name);
    if (r < 0)
        return op_fail(op, -r, "cannot remove 'metrics/rules/%s': %s", name, strerror(-r));
    op_changed(op, CHANGE_ENTRY, "/metrics/rules/%s", name);
    return 0;
}
