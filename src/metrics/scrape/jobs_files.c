/* Other files that prometheus.yml names: relative to its folder; those of scrape_config_files hold
 * jobs too. */
#include "base/alloc.h"
#include "base/file.h"
#include "metrics/scrape/jobs_read.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>

#define FILE_BYTES_MAX (8u << 20)

static void resolve(const char *folder, char **path)
{
    struct buf joined = {0};

    if (folder == NULL || *path == NULL || (*path)[0] == 0 || (*path)[0] == '/')
        return;
    buf_printf(&joined, "%s/%s", folder, *path);
    free(*path);
    *path = buf_take(&joined, NULL);
}

void jobs_resolve(const char *folder, char **paths)
{
    for (; paths != NULL && *paths != NULL; paths++)
        resolve(folder, paths);
}

void job_resolve(const char *folder, struct job *j)
{
    char **const files[] = {&j->password_file, &j->username_file, &j->credentials_file,
                            &j->ca_file,       &j->cert_file,     &j->key_file};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        resolve(folder, files[i]);
    jobs_resolve(folder, j->sd_files);
    for (size_t i = 0; i < j->n_http_sd; i++)
        job_resolve(folder, j->http_sd[i]);
}

/* A star only in the last part, as Prometheus has it for all its patterns of files. */
int job_patterns(const struct yaml *list, const char *key, char ***ret, struct buf *why)
{
    int r = job_strings(list, ret, why);

    for (char **p = *ret; r == 0 && p != NULL && *p != NULL; p++) {
        const char *name = strrchr(*p, '/') != NULL ? strrchr(*p, '/') + 1 : *p;

        if ((*p)[0] == 0 || (strchr(*p, '*') != NULL && strchr(name, '*') == NULL))
            return yaml_fail(list, why,
                             "\"%s\" is not a valid path pattern for %s: a file, or a pattern in "
                             "its last part",
                             *p, key);
    }
    return r;
}

static int read_file(const char *file, struct jobs *all, struct buf *why)
{
    static const char *const keys[] = {"scrape_configs", NULL};
    struct yaml *y = NULL;
    autobuf text = {0};
    autobuf reason = {0};
    int r = file_read(file, FILE_BYTES_MAX, &text);

    if (r < 0)
        buf_printf(&reason, "%s", strerror(-r));
    else
        r = yaml_parse(buf_slice(&text), &y, &reason);
    if (r == 0 && y != NULL)
        r = yaml_check_map(y, keys, &reason);
    if (r == 0 && y != NULL)
        r = jobs_read(job_value(y, "scrape_configs"), all, &reason);
    yaml_free(y);
    if (r < 0)
        buf_printf(why, "%s: %s", file, reason.data);
    return r < 0 ? -EINVAL : 0;
}

int jobs_read_files(const struct yaml *top, struct jobs *all, struct buf *why)
{
    int r = job_patterns(job_value(top, "scrape_config_files"), "scrape_config_files",
                         &all->config_files, why);

    if (r < 0 || all->folder == NULL)
        return r;
    jobs_resolve(all->folder, all->config_files);
    for (char **p = all->config_files; r == 0 && p != NULL && *p != NULL; p++) {
        glob_t found = {0};

        if (glob(*p, 0, NULL, &found) == 0)
            for (size_t i = 0; i < found.gl_pathc && r == 0; i++)
                r = read_file(found.gl_pathv[i], all, why);
        globfree(&found);
    }
    return r;
}

char **jobs_included(struct slice text, const char *folder)
{
    struct yaml *y = NULL;
    char **patterns = NULL;
    autobuf why = {0};

    if (yaml_parse(text, &y, &why) == 0 && y != NULL && y->kind == YAML_MAP &&
        job_patterns(job_value(y, "scrape_config_files"), "", &patterns, &why) == 0)
        jobs_resolve(folder, patterns);
    yaml_free(y);
    return patterns;
}

void sd_files_each(char **patterns, void (*f)(void *ctx, const char *file), void *ctx)
{
    for (char **pattern = patterns; pattern != NULL && *pattern != NULL; pattern++) {
        glob_t found = {0};

        if (glob(*pattern, GLOB_NOSORT, NULL, &found) == 0)
            for (size_t i = 0; i < found.gl_pathc; i++)
                f(ctx, found.gl_pathv[i]);
        globfree(&found);
    }
}

struct sd_reading {
    struct target_groups *groups;
    bool failed;
};

static void read_sd_file(void *ctx, const char *file)
{
    struct sd_reading *reading = ctx;
    size_t before = reading->groups->n;
    autobuf text = {0};
    autobuf why = {0};
    int r = file_read(file, 64 * FILE_BYTES_MAX, &text);

    if (r == 0 && text.len == 0) { /* as who rewrites it in place leaves it for a moment */
        r = -EINVAL;
        buf_add_str(&why, "the file is empty; a list without targets is '[]'");
    }
    if (r == 0)
        r = target_groups_parse(buf_slice(&text), reading->groups, &why);
    if (r < 0) {
        reading->failed = true;
        log_line(LOG_ERROR, NULL, "metrics.targets.refused", "file=%s why=%s", file,
                 why.len > 0 ? why.data : strerror(-r));
    }
    for (size_t i = before; i < reading->groups->n; i++)
        pairs_add(&reading->groups->items[i].labels, "__meta_filepath", file);
}

int sd_files_read(const struct job *j, struct target_groups *ret)
{
    struct sd_reading reading = {ret, false};

    sd_files_each(j->sd_files, read_sd_file, &reading);
    return reading.failed ? -EINVAL : 0;
}
