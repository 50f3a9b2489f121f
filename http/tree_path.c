#include "http/tree_path.h"

#include <errno.h>

#define LINKS_MAX 16u

int url_tree_path(struct web_request *req, const char *url_path, const char **ret, bool *ret_folder)
{
    static const char prefix[] = "/tree/";
    size_t len;
    int r;

    if (strncmp(url_path, prefix, sizeof prefix - 1) != 0)
        return op_fail(req->op, EINVAL, "'%s' is not below /tree/", url_path);
    url_path += sizeof prefix - 1;
    len = strlen(url_path);
    *ret_folder = len == 0 || url_path[len - 1] == '/';
    if (len > 0 && *ret_folder)
        len--;
    r = tree_path_check(slice_of(url_path, len));
    if (r < 0)
        return op_fail(req->op, -r, "'%s' cannot be a path of the tree", req->path);
    *ret = op_strndup(req->op, url_path, len);
    return 0;
}

/* "../x" as seen from the folder of `link`, without dots; NULL if it leads out of the tree. */
static const char *join(struct op *op, const char *link, const char *target, const char *rest)
{
    const char *base = *target == '/' ? "" : path_folder(op, link);
    char *text = op_printf(op, "%s/%s/%s", base, target, rest);
    char *out = op_strdup(op, text);
    size_t n = 0;

    while (*text != 0) {
        size_t len;

        text += strspn(text, "/");
        len = strcspn(text, "/");
        if (len == 2 && text[0] == '.' && text[1] == '.') {
            char *slash = n > 0 ? memrchr(out, '/', n) : NULL;

            if (n == 0)
                return NULL;
            n = slash != NULL ? (size_t)(slash - out) : 0;
        } else if (len > 0 && !(len == 1 && text[0] == '.')) {
            if (n > 0)
                out[n++] = '/';
            memmove(out + n, text, len);
            n += len;
        }
        text += len;
    }
    out[n] = 0;
    return out;
}

/* If some part of the path is a symlink, replaces *path by where that leads. 1 if so, 0 if not. */
static int follow_one(struct tree *t, struct op *op, const char **path)
{
    const char *p = *path;

    while (*p != 0) {
        const char *end = strchrnul(p, '/');
        const char *part = op_strndup(op, *path, (size_t)(end - *path));
        const char *target;
        struct node_stat st;
        int r = tree_stat(t, op, part, &st);

        if (r < 0)
            return r;
        if (st.type == NODE_SYMLINK) {
            r = tree_readlink(t, op, part, &target);
            if (r < 0)
                return r;
            *path = join(op, part, target, end);
            return *path != NULL ? 1 : op_fail(op, ENOENT, "'%s' leads out of the tree", part);
        }
        p = *end == '/' ? end + 1 : end;
    }
    return 0;
}

int url_tree_follow(struct tree *t, struct op *op, const char **path, struct node_stat *ret)
{
    int r = tree_stat(t, op, *path, ret);

    if (r == 0 && ret->type != NODE_SYMLINK)
        return 0;
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        op_forgive(op);
        r = follow_one(t, op, path);
        if (r < 0)
            return r;
        if (r == 0)
            return tree_stat(t, op, *path, ret);
    }
    return op_fail(op, ELOOP, "too many symbolic links");
}
