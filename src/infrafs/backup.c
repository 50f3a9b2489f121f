/* backup.c: `.infra/backup`: who writes a name there has a copy of the store in DATA/backups/NAME,
 * made of links to its files where it can be. `infrafs backup` packs and removes it. */
#include "base/scope.h"
#include "infrafs/infrafs.h"
#include "store/store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define NAME_MAX_BYTES 64u

static bool is_name(struct slice name)
{
    const char *p = name.data;

    if (name.len == 0 || name.len > NAME_MAX_BYTES || p[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (!isalnum((unsigned char)p[i]) && strchr("._-", p[i]) == NULL)
            return false;
    }
    return true;
}

int backup_make(struct infrafs *self, struct op *op, struct slice name)
{
    const char *folder = op_printf(op, "%s/backups", self->env.config->data), *path;
    const char *text = name.data;
    int r;

    while (name.len > 0 && isspace((unsigned char)text[name.len - 1]))
        name.len--;
    if (!is_name(name))
        return op_fail(op, EINVAL, "write a name of letters, digits, '.', '_' and '-', up to %u",
                       NAME_MAX_BYTES);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return op_fail(op, errno, "'%s': %s", folder, strerror(errno));
    path = op_printf(op, "%s/%.*s", folder, (int)name.len, text);
    r = store_checkpoint(self->env.store, path);
    if (r == -EEXIST)
        return op_fail(op, EEXIST, "'%s' exists", path);
    if (r < 0)
        return op_fail(op, -r, "the store could not be copied to '%s': %s", path, strerror(-r));
    log_event(LOG_INFO, op, "backup.made", "path=%s", path);
    return 0;
}

void backup_print(struct infrafs *self, struct buf *out)
{
    autofree char *folder = NULL;
    struct dirent *entry;
    DIR *d;

    if (asprintf(&folder, "%s/backups", self->env.config->data) < 0) {
        folder = NULL;
        return;
    }
    d = opendir(folder);
    if (d == NULL)
        return;
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.')
            buf_printf(out, "%s\n", entry->d_name);
    }
    closedir(d);
}
