/* mirror.c: which names may come from the index behind, and the rows that keep its pages.
 *
 * A project's partition holds a record for each file its page has listed, as those of the team's
 * own files (record.c) with the URL; the id says whether the page still lists it. Its state is the
 * row of STATE_KEY: when it was asked, whether it was there, and the ETag. */
#include "packages/mirror.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/glob.h"
#include "base/scope.h"
#include "config.h"
#include "identity/identity.h"
#include "packages/mirror_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

static char **normal_patterns(char **names)
{
    char **patterns;
    size_t n = 0;

    while (names != NULL && names[n] != NULL)
        n++;
    patterns = xcalloc(n + 1, sizeof *patterns);
    for (size_t i = 0; i < n; i++) {
        patterns[i] = xstrdup(names[i]);
        for (char *c = patterns[i]; *c != 0; c++)
            *c = *c == '_' || *c == '.' ? '-' : (char)tolower((unsigned char)*c);
    }
    return patterns;
}

static void make_id(char id[17])
{
    uint8_t bytes[8];

    while (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        ;
    hex_encode(slice_of(bytes, sizeof bytes), id);
}

int mirror_new(struct packages *pk, struct mirror **ret, struct buf *why)
{
    const struct config *config = pk->env.config;
    struct mirror *m;
    autobuf base = {0}, origin = {0};

    *ret = NULL;
    if (config->packages_mirror == NULL)
        return 0;
    buf_add_str(&base, config->packages_mirror);
    if (base.data[base.len - 1] != '/')
        buf_add_char(&base, '/');
    if (fetch_origin(base.data, &origin) < 0) {
        buf_printf(why, "packages.mirror: '%s' is not a URL", config->packages_mirror);
        return -EINVAL;
    }
    if (config->packages_mirror_allow == NULL)
        log_line(LOG_WARN, NULL, "packages.mirror", "url=%s packages.mirror_allow=empty",
                 base.data);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    m = xcalloc(1, sizeof *m);
    m->pk = pk;
    m->base = buf_take(&base, NULL);
    m->origin = buf_take(&origin, NULL);
    m->allow = normal_patterns(config->packages_mirror_allow);
    m->kept = kept_new(pk);
    make_id(m->id);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->moved, NULL);
    *ret = m;
    return 0;
}

void mirror_free(struct mirror *m)
{
    if (m == NULL)
        return;
    __atomic_store_n(&m->closing, true, __ATOMIC_RELAXED);
    pthread_mutex_lock(&m->lock);
    while (m->running > 0)
        pthread_cond_wait(&m->moved, &m->lock);
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < m->n_idle; i++)
        curl_easy_cleanup(m->idle[i]);
    mirror_forget_absent(m);
    kept_free(m->kept);
    for (char **pattern = m->allow; *pattern != NULL; pattern++)
        free(*pattern);
    free(m->allow);
    free(m->base);
    free(m->origin);
    pthread_cond_destroy(&m->moved);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static bool is_allowed(const struct mirror *m, const char *project)
{
    for (char **pattern = m->allow; *pattern != NULL; pattern++)
        if (glob_match(slice_str(*pattern), slice_str(project)))
            return true;
    return false;
}

bool mirror_covers(struct op *op, struct packages *pk, const char *project)
{
    bool files;
    int r;

    if (pk->mirror == NULL || !is_allowed(pk->mirror, project))
        return false;
    r = project_get(op, pk, project, NULL, &files);
    op_forgive(op);
    return r == -ENOENT; /* a disk error is not "absent" */
}

struct slice mirror_partition(const char *project, char text[MIRROR_PARTITION_MAX])
{
    int n = snprintf(text, MIRROR_PARTITION_MAX, "packages/" MIRROR_PREFIX "%s", project);

    return slice_of(text, (size_t)n);
}

int mirror_enter(struct op *op, struct mirror *m)
{
    guard(&m->lock);
    if (m->waiting >= WAITING_MAX)
        return op_fail(op, EBUSY, "too many requests wait for the index behind this one");
    m->waiting++;
    return 0;
}

void mirror_leave(struct mirror *m)
{
    guard(&m->lock);
    m->waiting--;
}

int mirror_check_via(struct op *op, const struct mirror *m, const char *via)
{
    if (via == NULL)
        return 0;
    if (strlen(via) > VIA_MAX || strstr(via, m->id) != NULL)
        return op_fail(op, ENOENT, "this index and the one behind it mirror each other");
    return 0;
}

int mirror_fail(struct op *op, struct mirror *m, int r, const struct fetch *f, const char *why)
{
    bool down = r == -EHOSTUNREACH || r == -ETIMEDOUT || (r == 0 && f->status >= 500);
    bool ours = f->result < 0 && f->result != -EFBIG; /* it came, and could not be kept */
    autobuf text = {0};

    if (r < 0)
        buf_add_str(&text, why != NULL ? why : strerror(-r));
    else
        buf_printf(&text, "it answers %ld", f->status);
    /* without the query, which may be a key to the file */
    log_event(LOG_WARN, op, "packages.mirror", "url=%.*s error=%s", (int)strcspn(f->url, "?"),
              f->url, text.data);
    pthread_mutex_lock(&m->lock);
    __atomic_add_fetch(&m->failed, 1, __ATOMIC_RELAXED);
    if (down)
        m->down_until_ms = clock_monotonic_ms() + DOWN_MS;
    pthread_mutex_unlock(&m->lock);
    if (ours)
        return op_fail(op, -f->result, "what the index behind sent cannot be kept: %s", text.data);
    return op_fail(op, r == -ETIMEDOUT ? ETIMEDOUT : EHOSTUNREACH,
                   "the index behind this one failed: %s", text.data);
}

int mirror_each(struct op *op, struct packages *pk, const char *project,
                int (*f)(void *ctx, const struct package_file *file), void *ctx)
{
    char text[MIRROR_PARTITION_MAX];
    struct package_file file;
    struct store_scan *scan;
    struct slice key, value;
    int r = store_scan(pk->store, mirror_partition(project, text), SLICE(FIRST_FILE), SLICE(""), 0,
                       &scan);

    if (r < 0)
        return op_fail(op, -r, "reading what is mirrored of '%s' failed", project);
    project = op_strdup(op, project);
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        r = record_decode(op, project, op_strndup(op, key.data, key.len), value, &file);
        if (r == 0 && strcmp(file.id, MIRROR_LISTED) == 0)
            r = f(ctx, &file);
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

/* Of one project. -ENOENT. */
static int get_row(struct op *op, struct packages *pk, const char *project, const char *file,
                   struct package_file *ret)
{
    char text[MIRROR_PARTITION_MAX];
    struct store_value value = {0};
    int r = store_get(pk->store, mirror_partition(project, text), slice_str(file), &value);

    if (r == -ENOENT)
        return op_fail(op, ENOENT, "there is no file '%s'", file);
    if (r < 0)
        return op_fail(op, -r, "reading the record of '%s' failed", file);
    r = record_decode(op, op_strdup(op, project), op_strdup(op, file), value.data, ret);
    store_value_release(&value);
    return r;
}

int mirror_find(struct op *op, struct packages *pk, const char *file, const char *via,
                struct package_file *ret)
{
    struct package_filename parsed;
    int64_t until_ms;
    int r;

    if (pk->mirror == NULL || package_filename_parse(slice_str(file), &parsed, NULL) < 0)
        return op_fail(op, ENOENT, "there is no file '%s'", file);
    do {
        if (!mirror_covers(op, pk, parsed.normal) ||
            !identity_may(op, POLICY_READ, "packages/%s", parsed.normal))
            continue;
        r = get_row(op, pk, parsed.normal, file, ret);
        if (r != -ENOENT)
            return r;
        op_forgive(op); /* its page may not have been asked for yet */
        r = mirror_refresh(op, pk, parsed.normal, via, &until_ms);
        if (r == 0)
            r = get_row(op, pk, parsed.normal, file, ret);
        if (r != -ENOENT)
            return r;
        op_forgive(op);
    } while (package_filename_next(&parsed));
    return op_fail(op, ENOENT, "there is no file '%s'", file);
}

void mirror_asked(struct packages *pk, const struct package_file *f, bool metadata)
{
    struct blob_stat st;
    const struct digest *d = metadata ? &f->metadata.digest : &f->digest;

    if (pk->mirror != NULL && blob_stat(pk->store, d, &st) == 0)
        kept_note(pk->mirror->kept, f->project, f->name, metadata ? KEPT_METADATA : KEPT_CONTENT, d,
                  st.size_bytes);
}

int mirror_tidy(struct op *op, struct packages *pk, bool dry_run, struct buf *out)
{
    return pk->mirror != NULL ? kept_tidy(pk->mirror->kept, op, dry_run, out) : 0;
}

void mirror_metrics(const struct mirror *m, struct buf *out)
{
    uint64_t fetched, failed;

    if (m == NULL)
        return;
    fetched = __atomic_load_n(&m->fetched, __ATOMIC_RELAXED);
    failed = __atomic_load_n(&m->failed, __ATOMIC_RELAXED);
    buf_printf(out,
               "# HELP infrafs_packages_mirror_fetched_total Files fetched for the mirror.\n"
               "# TYPE infrafs_packages_mirror_fetched_total counter\n"
               "infrafs_packages_mirror_fetched_total %" PRIu64 "\n"
               "# HELP infrafs_packages_mirror_failed_total Requests of the mirror that failed.\n"
               "# TYPE infrafs_packages_mirror_failed_total counter\n"
               "infrafs_packages_mirror_failed_total %" PRIu64 "\n",
               fetched, failed);
}
