#include "packages/place.h"

#include "identity/identity.h"
#include "packages/filename.h"

#include <errno.h>

int package_place_absent(struct op *op, const char *path)
{
    return op_fail(op, ENOENT, "there is no '%s'", path);
}

bool project_visible(struct op *op, const char *project)
{
    return identity_may(op, POLICY_READ, "packages/%s", project) ||
           identity_may(op, POLICY_LIST, "packages/%s", project);
}

static int parse_computed(struct op *op, const char *path, const char *name, const char *rest,
                          struct place *p)
{
    bool leaf = rest[0] == 0;

    if (strcmp(name, "@metadata") == 0) {
        p->kind = leaf ? PLACE_METADATA : PLACE_METADATA_FILE;
        p->file = rest;
        return strchr(rest, '/') == NULL ? 0 : package_place_absent(op, path);
    }
    if (strcmp(name, "@contents") == 0) {
        p->kind = PLACE_CONTENTS;
        if (!leaf)
            p->inner = path_head(op, rest, &p->file);
        return 0;
    }
    if (leaf && strcmp(name, "@simple.html") == 0)
        p->kind = PLACE_HTML;
    else if (leaf && strcmp(name, "@simple.json") == 0)
        p->kind = PLACE_JSON;
    else if (leaf && strcmp(name, "@sha256sums") == 0)
        p->kind = PLACE_SUMS;
    else
        return package_place_absent(op, path);
    return 0;
}

static int parse_in_project(struct op *op, const char *path, const char *head, const char *rest,
                            struct place *p)
{
    char normal[PROJECT_NAME_MAX + 1];
    const char *name;

    if (!project_name_valid(slice_str(head)))
        return package_place_absent(op, path);
    project_name_normalise(slice_str(head), normal);
    p->project = op_strdup(op, normal);
    if (!project_visible(op, p->project))
        return package_place_absent(op, path);
    if (rest[0] == 0) {
        p->kind = PLACE_PROJECT;
        return 0;
    }
    rest = path_head(op, rest, &name);
    if (name[0] == '@')
        return parse_computed(op, path, name, rest, p);
    p->kind = PLACE_FILE;
    p->file = name;
    return rest[0] == 0 ? 0 : package_place_absent(op, path);
}

static int parse_trash(struct op *op, const char *path, struct place *ret)
{
    struct place p = {.kind = PLACE_TRASH};
    const char *rest = path + strlen(TRASH_ROOT);

    if (rest[0] == '/') {
        p.kind = PLACE_TRASH_ID;
        rest = path_head(op, rest + 1, &p.id);
        if (rest[0] != 0) {
            p.kind = PLACE_TRASH_FILE;
            p.file = rest;
        }
    }
    *ret = p;
    return p.file != NULL && strchr(p.file, '/') != NULL ? package_place_absent(op, path) : 0;
}

int package_place_parse(struct op *op, const char *path, struct place *ret)
{
    const char *head, *rest;
    struct place p = {0};
    int r = 0;

    if (path[0] == '.')
        return parse_trash(op, path, ret);
    rest = path_head(op, path, &head); /* "packages" */
    if (rest[0] == 0) {
        p.kind = PLACE_ROOT;
    } else {
        rest = path_head(op, rest, &head);
        p.alias = strcmp(head, "@all") == 0;
        if (p.alias && rest[0] == 0) {
            p.kind = PLACE_ALL;
        } else if (p.alias || (rest[0] == 0 && package_filename_looks(slice_str(head)))) {
            p.kind = PLACE_FILE;
            p.file = p.alias ? rest : head;
            r = strchr(p.file, '/') == NULL ? 0 : package_place_absent(op, path);
        } else {
            r = parse_in_project(op, path, head, rest, &p);
        }
    }
    if (r == 0)
        *ret = p;
    return r;
}

int package_place_find(struct op *op, struct packages *pk, const struct place *p,
                       struct package_file *ret)
{
    int r = p->project != NULL ? package_get(op, pk, p->project, p->file, ret)
                               : package_find(op, pk, p->file, ret);

    if (r == 0 && !project_visible(op, ret->project))
        return package_place_absent(op, p->file);
    return r;
}
