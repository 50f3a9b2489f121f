/* mirror_page.c: a project's page of the index behind, asked for when it is wanted and kept as
 * rows. Of requests for one project at once one asks, the others wait for it. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "base/simple_index.h"
#include "config.h"
#include "packages/mirror_internal.h"

#include <errno.h>
#include <uthash.h>

#define PAGE_BYTES_LIMIT (64u << 20)
#define FILES_MAX        50000
#define ABSENT_MAX       4096
#define URL_MAX          4096
#define STATE_KEY        ".state"
#define ACCEPT                                                                                     \
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "             \
    "text/html;q=0.1"

/* On disk. */
#define STATE_THERE 't'
#define STATE_GONE  'g'

struct state {
    int64_t asked_unix_ms;
    char kind; /* 0: never asked */
    const char *etag;
};

struct flight {
    char project[PROJECT_NAME_MAX + 1];
    UT_hash_handle hh;
};

struct absent {
    char project[PROJECT_NAME_MAX + 1];
    int64_t until_ms;
    UT_hash_handle hh;
};

/* The table's own order is that in which they came. Call with the lock held. */
static void drop_absent(struct mirror *m, struct absent *a)
{
    HASH_DEL(m->absent, a);
    free(a);
}

void mirror_forget_absent(struct mirror *m)
{
    while (m->absent != NULL)
        drop_absent(m, m->absent);
}

static void note_absent(struct mirror *m, const char *project, int64_t until_ms)
{
    struct absent *a;
    guard(&m->lock);

    HASH_FIND_STR(m->absent, project, a);
    if (a == NULL) {
        if (HASH_COUNT(m->absent) >= ABSENT_MAX)
            drop_absent(m, m->absent);
        a = xcalloc(1, sizeof *a);
        memcpy(a->project, project, strlen(project) + 1);
        HASH_ADD_STR(m->absent, project, a);
    }
    a->until_ms = until_ms;
}

static bool is_absent(struct mirror *m, const char *project)
{
    struct absent *a;
    guard(&m->lock);

    HASH_FIND_STR(m->absent, project, a);
    if (a != NULL && a->until_ms <= clock_monotonic_ms()) {
        drop_absent(m, a);
        a = NULL;
    }
    return a != NULL;
}

static void begin_flight(struct mirror *m, struct flight *f, const char *project)
{
    struct flight *other;
    guard(&m->lock);

    memcpy(f->project, project, strlen(project) + 1);
    for (;;) {
        HASH_FIND_STR(m->flights, project, other);
        if (other == NULL)
            break;
        pthread_cond_wait(&m->moved, &m->lock);
    }
    HASH_ADD_STR(m->flights, project, f);
}

static void end_flight(struct mirror *m, struct flight *f)
{
    guard(&m->lock);
    HASH_DEL(m->flights, f);
    pthread_cond_broadcast(&m->moved);
}

static int read_state(struct op *op, struct mirror *m, const char *project, struct state *ret)
{
    char text[MIRROR_PARTITION_MAX];
    struct store_value value = {0};
    int r = store_get(m->pk->store, mirror_partition(project, text), SLICE(STATE_KEY), &value);

    *ret = (struct state){.etag = ""};
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return op_fail(op, -r, "reading what is mirrored of '%s' failed", project);
    if (value.data.len >= 9)
        *ret = (struct state){
            .asked_unix_ms = (int64_t)be64_get(value.data.data),
            .kind = ((const char *)value.data.data)[8],
            .etag = op_strndup(op, (const char *)value.data.data + 9, value.data.len - 9),
        };
    store_value_release(&value);
    return 0;
}

static void put_state(struct store_batch *batch, char kind, struct slice etag)
{
    autobuf row = {0};
    uint8_t time[8];

    be64_put(time, (uint64_t)clock_unix_ms());
    buf_add(&row, time, sizeof time);
    buf_add_char(&row, kind);
    buf_add_slice(&row, etag);
    store_batch_put(batch, SLICE(STATE_KEY), buf_slice(&row));
}

static int write_state(struct op *op, struct mirror *m, const char *project, char kind,
                       struct slice etag)
{
    char text[MIRROR_PARTITION_MAX];
    struct store_batch *batch = store_batch_new(m->pk->store, mirror_partition(project, text));
    int r;

    put_state(batch, kind, etag);
    r = store_commit(batch, 0); /* lost in a crash: it is asked again */
    return r < 0 ? op_fail(op, -r, "keeping the page of '%s' failed: %s", project, strerror(-r))
                 : 0;
}

/* What a page says, on its way into the rows. */
struct intake {
    struct mirror *m;
    const char *project, *page_url;
    struct store_batch *batch;
    struct seen {
        char name[PACKAGE_FILENAME_MAX + 1];
        UT_hash_handle hh;
    } * seen;
};

/* The reading of a file's name that makes it a file of the project: others cannot be slipped in. */
static bool read_name(const char *project, struct slice name, struct package_filename *ret)
{
    if (package_filename_parse(name, ret, NULL) < 0)
        return false;
    while (strcmp(ret->normal, project) != 0)
        if (!package_filename_next(ret))
            return false;
    return true;
}

static bool note_seen(struct intake *in, const char *name)
{
    struct seen *seen;

    HASH_FIND_STR(in->seen, name, seen);
    if (seen != NULL || HASH_COUNT(in->seen) >= FILES_MAX)
        return false;
    seen = xcalloc(1, sizeof *seen);
    memcpy(seen->name, name, strlen(name) + 1);
    HASH_ADD_STR(in->seen, name, seen);
    return true;
}

static void put_file(struct intake *in, const struct package_filename *name, const char *url,
                     const struct simple_file *f)
{
    struct version version;
    autobuf text = {0}, row = {0}, file = {0}, python = {0}, yanked = {0};
    struct package_file record;

    version_parse(name->version, &version);
    version_print(&version, &text);
    buf_add_slice(&file, name->text);
    buf_add_slice(&python, f->requires_python);
    buf_add_slice(&yanked, f->yanked);
    record = (struct package_file){
        .project = in->project,
        .name = file.data,
        .display = in->project,
        .version = text.data,
        .requires_python = python.len > 0 && python.len <= 2000 ? python.data : "",
        .uploader = "",
        .url = url,
        .id = MIRROR_LISTED,
        .kind = name->kind,
        .size_bytes = f->size_bytes,
        .uploaded_unix_ns = f->uploaded_unix_ns,
        .digest = f->sha256,
    };
    if (f->has_metadata) /* its size is not said */
        record.metadata = (struct package_part){1, f->metadata};
    if (f->is_yanked)
        record.yanked = yanked.len > 0 && yanked.len <= 1000 ? yanked.data : "";
    record_encode(&record, &row);
    store_batch_put(in->batch, name->text, buf_slice(&row));
}

/* Only what can be verified, and is a file of the project. */
static int take_file(void *ctx, const struct simple_file *f)
{
    struct intake *in = ctx;
    struct package_filename name;
    autobuf text = {0}, relative = {0}, url = {0};

    if (!f->has_sha256 || f->url.len > URL_MAX || f->name.len > PACKAGE_FILENAME_MAX)
        return 0;
    buf_add_slice(&text, f->name);
    buf_add_slice(&relative, f->url);
    if (strlen(text.data) != text.len || strlen(relative.data) != relative.len ||
        !read_name(in->project, buf_slice(&text), &name) ||
        fetch_join(in->page_url, relative.data, &url) < 0 || !note_seen(in, text.data))
        return 0;
    put_file(in, &name, url.data, f);
    return 0;
}

/* What the page does not list any more stays for who knows it by name (a lock file), unlisted. */
static int withdraw(struct op *op, struct intake *in)
{
    char text[MIRROR_PARTITION_MAX];
    struct store_scan *scan;
    struct slice key, value;
    int r = store_scan(in->m->pk->store, mirror_partition(in->project, text), SLICE(FIRST_FILE),
                       SLICE(""), 0, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        const char *name = op_strndup(op, key.data, key.len);
        struct package_file f;
        struct seen *seen;
        autobuf row = {0};

        HASH_FIND_STR(in->seen, name, seen);
        if (seen != NULL || record_decode(op, in->project, name, value, &f) < 0)
            continue;
        f.id = MIRROR_WITHDRAWN;
        record_encode(&f, &row);
        store_batch_put(in->batch, key, buf_slice(&row));
    }
    store_scan_free(scan);
    op_forgive(op);
    return r;
}

static void free_seen(struct intake *in)
{
    struct seen *seen, *next;

    HASH_ITER(hh, in->seen, seen, next) {
        HASH_DEL(in->seen, seen);
        free(seen);
    }
}

static int keep_page(struct op *op, struct mirror *m, const char *project, struct slice page,
                     const struct fetch *f)
{
    char text[MIRROR_PARTITION_MAX];
    struct intake in = {
        .m = m,
        .project = project,
        .page_url = f->final_url.data,
        .batch = store_batch_new(m->pk->store, mirror_partition(project, text)),
    };
    autobuf why = {0};
    int r = simple_index_files(page, f->type.data, take_file, &in, &why);

    if (r == 0)
        r = withdraw(op, &in);
    free_seen(&in);
    if (r < 0) {
        store_batch_free(in.batch);
        return op_fail(op, EHOSTUNREACH, "the index behind this one sent a page that is none: %s",
                       why.len > 0 ? why.data : strerror(-r));
    }
    put_state(in.batch, STATE_THERE, buf_slice(&f->new_etag));
    r = store_commit(in.batch, STORE_DURABLE);
    return r < 0 ? op_fail(op, -r, "keeping the page of '%s' failed: %s", project, strerror(-r))
                 : 0;
}

static int take_page(void *ctx, const void *bytes, size_t n)
{
    buf_add(ctx, bytes, n);
    return 0;
}

static int settle_page(struct op *op, struct mirror *m, const char *project,
                       const struct state *was, const struct fetch *f, struct slice page)
{
    int64_t refresh_ms = m->pk->env.config->packages_mirror_refresh_ms;

    if (f->status == 200)
        return keep_page(op, m, project, page, f);
    if (f->status == 304 && was->kind == STATE_THERE)
        return write_state(op, m, project, STATE_THERE, slice_str(was->etag));
    if (f->status == 404 || f->status == 410) {
        if (was->kind != 0)
            write_state(op, m, project, STATE_GONE, SLICE(""));
        else
            note_absent(m, project, clock_monotonic_ms() + refresh_ms);
        op_forgive(op);
        return op_fail(op, ENOENT, "there is no project '%s', here or in the index behind",
                       project);
    }
    return mirror_fail(op, m, 0, f, NULL);
}

static int ask(struct op *op, struct mirror *m, const char *project, const struct state *was,
               const char *via)
{
    autobuf url = {0}, page = {0}, why = {0};
    struct fetch f = {
        .accept = ACCEPT,
        .etag = was->kind == STATE_THERE ? was->etag : NULL,
        .via = via,
        .limit_bytes = PAGE_BYTES_LIMIT,
        .page = true,
        .receive = take_page,
        .ctx = &page,
    };
    int r;

    buf_printf(&url, "%s%s/", m->base, project);
    f.url = url.data;
    r = fetch_run(m, &f, &why);
    r = r < 0 ? mirror_fail(op, m, r, &f, why.data)
              : settle_page(op, m, project, was, &f, buf_slice(&page));
    fetch_done(&f);
    return r;
}

static bool is_down(struct mirror *m)
{
    guard(&m->lock);
    return m->down_until_ms > clock_monotonic_ms();
}

/* Alone with the project. */
static int refresh(struct op *op, struct mirror *m, const char *project, const char *via,
                   int64_t *ret_until_ms)
{
    int64_t refresh_ms = m->pk->env.config->packages_mirror_refresh_ms, left_ms;
    struct state was;
    int r = read_state(op, m, project, &was);

    if (r < 0)
        return r;
    left_ms = was.kind != 0 ? was.asked_unix_ms + refresh_ms - clock_unix_ms() : 0;
    if (left_ms > refresh_ms)
        left_ms = 0; /* the clock was put back */
    *ret_until_ms = clock_monotonic_ms() + left_ms;
    if (left_ms > 0 && was.kind == STATE_THERE)
        return 0;
    if (left_ms > 0 || is_absent(m, project))
        return op_fail(op, ENOENT, "there is no project '%s', here or in the index behind",
                       project);
    if (is_down(m))
        r = op_fail(op, EHOSTUNREACH, "the index behind this one did not answer a moment ago");
    else
        r = ask(op, m, project, &was, via);
    *ret_until_ms = clock_monotonic_ms() + (r == 0 ? refresh_ms : DOWN_MS);
    if (r < 0 && r != -ENOENT && was.kind == STATE_THERE) {
        op_forgive(op);
        return 0; /* what is kept is served */
    }
    return r;
}

int mirror_refresh(struct op *op, struct packages *pk, const char *project, const char *via,
                   int64_t *ret_until_ms)
{
    struct mirror *m = pk->mirror;
    struct flight flight;
    int r = mirror_check_via(op, m, via);

    if (r == 0)
        r = mirror_enter(op, m);
    if (r < 0)
        return r;
    begin_flight(m, &flight, project);
    r = refresh(op, m, project, via, ret_until_ms);
    end_flight(m, &flight);
    mirror_leave(m);
    return r;
}
