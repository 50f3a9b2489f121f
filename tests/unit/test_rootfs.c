/* rootfs/ of an image, from the archive to the node: layers made here, in a store in memory. */
#include "rootfs_test.h"

#include "images/images_web.h"
#include "images/rootfs/build.h"
#include "images/rootfs/rootfs.h"

#include <sys/sysmacros.h>

/* A layer from lines "<type> <path> [<text>]": f a file, d a folder, s a symbolic link, h a hard
 * link, c a device, p a fifo. */
static void make_layer(const char *lines, struct buf *out)
{
    char *text = strdup(lines), *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *path = line + 2, *rest = strchr(path, ' ');
        struct tar_member m = {path, 0, NULL, {0}, 0644, 0, 0, 1000};

        if (rest != NULL)
            *rest++ = 0;
        m.type = line[0] == 'f'   ? '0'
                 : line[0] == 'd' ? '5'
                 : line[0] == 's' ? '2'
                 : line[0] == 'h' ? '1'
                 : line[0] == 'c' ? '3'
                                  : '6';
        if (line[0] == 'f')
            m.content = slice_str(rest);
        else
            m.link = rest;
        if (line[0] == 'd')
            m.mode = 0755;
        tar_add(out, m);
    }
    tar_finish(out);
    free(text);
}

struct walk {
    struct images_test *t;
    struct op *op;
    char folder[600];
    struct buf *out;
};

static void walk_folder(struct images_test *t, const char *top, const char *path, struct buf *out);

static void print_node(struct images_test *t, struct op *op, const char *path,
                       const struct node_stat *st, struct buf *out)
{
    char content[200];
    struct node_file *f;
    const char *target;
    ssize_t n;

    switch (st->type) {
    case NODE_SYMLINK:
        assert_int_equal(images_tree.readlink(op, t->self, path, &target), 0);
        assert_int_equal(strlen(target), st->size_bytes);
        buf_printf(out, "->%s ", target);
        return;
    case NODE_CHAR:
        buf_printf(out, ":%u,%u ", major(st->device), minor(st->device));
        assert_int_equal(images_tree.open(op, t->self, path, NODE_READ, &f), -EINVAL);
        return;
    case NODE_FIFO:
        buf_add_str(out, "| ");
        return;
    default:
        assert_int_equal(images_tree.open(op, t->self, path, NODE_READ, &f), 0);
        n = f->ops->read(op, f, 0, content, sizeof content);
        assert_int_equal(n, st->size_bytes);
        assert_int_equal(f->size_bytes, st->size_bytes);
        f->ops->close(f);
        buf_printf(out, "=%.*s ", (int)n, content);
    }
}

static int walk_entry(void *ctx, const char *name, const struct node_stat *st)
{
    struct walk *w = ctx;
    char path[1000];
    struct node_stat again;

    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    buf_add_str(w->out, strstr(path, "/rootfs/") + 8);
    assert_int_equal(images_tree.stat(w->op, w->t->self, path, &again), 0);
    assert_memory_equal(&again, st, sizeof again);
    if (st->type != NODE_DIR) {
        print_node(w->t, w->op, path, st, w->out);
        return 0;
    }
    buf_add_str(w->out, "/ ");
    walk_folder(w->t, path, "", w->out);
    return 0;
}

static void walk_folder(struct images_test *t, const char *top, const char *path, struct buf *out)
{
    struct walk w = {.t = t, .out = out};
    struct op op;

    snprintf(w.folder, sizeof w.folder, "%s%s", top, path);
    op_init(&op, DOOR_MOUNT, t->web.who);
    w.op = &op;
    assert_int_equal(images_tree.list(&op, t->self, w.folder, walk_entry, &w), 0);
    op_done(&op);
}

/* Layers, the lowest first, and all that is to be seen. */
static const struct {
    const char *name, *layers[4], *want;
} merges[] = {
    {"one layer",
     {"d etc\nf etc/a 1\ns etc/b a\nc dev/null\np pipe\nf ./z/../top 2"},
     "dev/ dev/null:1,3 etc/ etc/a=1 etc/b->a pipe| top=2 "},
    {"replaced", {"f a 1\nf b 1", "f a 2"}, "a=2 b=1 "},
    {"whiteout", {"f a 1\nd d\nf d/x 1\nf b 1", "f .wh.a \nf .wh.d "}, "b=1 "},
    {"whiteout of nothing", {"f a 1", "f .wh.b "}, "a=1 "},
    {"whiteout and again", {"d d\nf d/x 1", "f .wh.d ", "d d\nf d/y 2"}, "d/ d/y=2 "},
    {"whiteout beside the new one", {"d d\nf d/x 1", "f .wh.d \nd d\nf d/y 2"}, "d/ d/y=2 "},
    {"whiteout behind the new one", {"d d\nf d/x 1", "d d\nf d/y 2\nf .wh.d "}, "d/ d/y=2 "},
    {"opaque", {"d d\nf d/x 1\nf e 1", "d d\nf d/.wh..wh..opq \nf d/y 2"}, "d/ d/y=2 e=1 "},
    {"opaque top", {"f a 1", "f .wh..wh..opq \nf b 2"}, "b=2 "},
    {"opaque in the middle",
     {"f d/x 1", "f d/.wh..wh..opq \nf d/y 2", "f d/z 3"},
     "d/ d/y=2 d/z=3 "},
    {"aufs's own", {"f .wh..wh.aufs x\nf .wh..wh.plnk/1 x\nf .wh..wh.orph/1 x\nf a 1"}, "a=1 "},
    {"folder over file", {"f d 1", "d d\nf d/x 2"}, "d/ d/x=2 "},
    {"file over folder", {"d d\nf d/x 1", "f d 2"}, "d=2 "},
    {"folder over file over folder", {"f d/x 1", "f d 2", "f d/y 3"}, "d/ d/y=3 "},
    {"link over folder", {"d d\nf d/x 1", "s d e"}, "d->e "},
    {"folder over link", {"s d e\nf e/x 1", "f d/x 2"}, "d/ d/x=2 e/ e/x=1 "},
    {"implied folders", {"f a/b/c 1", "f a/b/d 2"}, "a/ a/b/ a/b/c=1 a/b/d=2 "},
    {"twice in one layer",
     {"f a 1\nf a 2\nd b\nf b/x 1\nf b 3\nf c 1\nf c/y 4"},
     "a=2 b=3 c/ c/y=4 "},
    {"folder again in one layer", {"d a\nf a/x 1\nd a"}, "a/ a/x=1 "},
    {"hard link", {"f a 1\nh b a\nh d/c ./b"}, "a=1 b=1 d/ d/c=1 "},
    {"hard link stays when its target is replaced", {"f a 1\nh b a\nf a 2"}, "a=2 b=1 "},
    {"hard link to a lower layer", {"f a 1", "h b a"}, "a=1 b=1 "},
    {"hard link to what a higher layer has", {"f a 1", "h b a", "f a 2"}, "a=2 b=1 "},
    {"hard link ahead", {"h b a\nf a 1"}, "a=1 b=1 "},
    {"hard link to nothing", {"f a 1\nh b c"}, "a=1 "},
    {"hard link to itself", {"f a 1\nh a a\nh b b"}, "a=1 "},
    {"hard links in a ring", {"h a b\nh b a\nf c 1"}, "c=1 "},
    {"absolute and out of it",
     {"f /a 1\nf ../../b 2\nf x/../../c 3\ns l ../../etc/passwd\nh h /a"},
     "a=1 b=2 c=3 h=1 l->../../etc/passwd "},
    {"the top", {"d ./\nd .\nf ./a 1"}, "a=1 "},
    {"marks of nothing", {"f .wh. x\nf .wh.. x\nf .wh... x\nf .wh.d/a x\nf a 1"}, "a=1 "},
    {"nothing", {""}, ""},
    {"sorted by bytes", {"f b- 1\nf b 1\nf b.c 1\nf B 1"}, "B=1 b=1 b-=1 b.c=1 "},
    {"four", {"f a 1\nf b 1", "f .wh.a \nf c 2", "f a 3", "f .wh.c \nf d 4"}, "a=3 b=1 d=4 "},
};

static void layers_are_merged(void **state)
{
    struct images_test *t = *state;
    char folder[400];

    for (size_t i = 0; i < array_size(merges); i++) {
        struct buf tars[4] = {0}, packed[4] = {0}, out = {0};
        struct slice layers[4];
        size_t n = 0;

        for (; n < 4 && merges[i].layers[n] != NULL; n++) {
            make_layer(merges[i].layers[n], &tars[n]);
            if (n % 2 == 0)
                gzip_add(&packed[n], buf_slice(&tars[n]), 6);
            layers[n] = buf_slice(n % 2 == 0 ? &packed[n] : &tars[n]);
        }
        push_layers(t, "team/m", layers, n, folder);
        buf_add_str(&out, "");
        walk_folder(t, folder, "/rootfs", &out);
        if (out.len != strlen(merges[i].want) || memcmp(out.data, merges[i].want, out.len) != 0)
            fail_msg("%s: got '%.*s'", merges[i].name, (int)out.len, out.data);
        for (n = 0; n < 4; n++) {
            buf_done(&tars[n]);
            buf_done(&packed[n]);
        }
        buf_done(&out);
    }
}

static int stat_of(struct images_test *t, const char *folder, const char *path,
                   struct node_stat *ret)
{
    char whole[800];
    struct op op;
    int r;

    snprintf(whole, sizeof whole, "%s/rootfs%s%s", folder, path[0] != 0 ? "/" : "", path);
    op_init(&op, DOOR_MOUNT, t->web.who);
    r = images_tree.stat(&op, t->self, whole, ret);
    op_done(&op);
    return r;
}

static void attributes(void **state)
{
    struct images_test *t = *state;
    struct buf tar = {0};
    struct slice layer;
    struct node_stat st, other;
    char folder[400];
    struct op op;
    struct slice value;
    char path[800];

    pax_add(&tar, "uid", SLICE("3000000000"));
    pax_add(&tar, "gid", SLICE("70000"));
    pax_add(&tar, "mtime", SLICE("1500000000.25"));
    pax_add(&tar, "SCHILY.xattr.user.note", SLICE("a\0b"));
    pax_add(&tar, "SCHILY.xattr.security.capability", SLICE("\1\0\0\2cap"));
    pax_add(&tar, "SCHILY.xattr.trusted.overlay.opaque", SLICE("y"));
    tar_add(&tar, (struct tar_member){"bin", '0', NULL, SLICE("x"), 04755, 1, 2, 3});
    tar_add(&tar, (struct tar_member){"shadow", '0', NULL, SLICE("x"), 0, 0, 42, 7});
    tar_add(&tar, (struct tar_member){"dir", '5', NULL, {0}, 01777, 5, 6, 9});
    tar_add(&tar, (struct tar_member){"hard", '1', "bin", {0}, 0644, 0, 0, 0});
    pax_add(&tar, "mtime", SLICE("-1.5"));
    tar_add(&tar, (struct tar_member){"link", '2', "bin", {0}, 0644, 0, 0, 0});
    tar_finish(&tar);
    layer = buf_slice(&tar);
    push_layers(t, "team/a", &layer, 1, folder);

    assert_int_equal(stat_of(t, folder, "bin", &st), 0);
    assert_int_equal(st.type, NODE_FILE);
    assert_int_equal(st.mode, 04755);
    assert_int_equal(st.uid, 3000000000u);
    assert_int_equal(st.gid, 70000);
    assert_int_equal(st.mtime_ns, INT64_C(1500000000250000000));
    assert_int_equal(st.nlink, 2);
    assert_true(st.flags & NODE_IMMUTABLE);
    assert_int_equal(stat_of(t, folder, "hard", &other), 0);
    assert_memory_equal(&st, &other, sizeof st);
    assert_true(st.key != 0);
    assert_int_equal(stat_of(t, folder, "shadow", &st), 0);
    assert_int_equal(st.mode, 0);
    assert_true(st.flags & NODE_EXACT_MODE);
    assert_int_equal(st.gid, 42);
    assert_true(st.key != other.key);
    assert_int_equal(stat_of(t, folder, "dir", &st), 0);
    assert_int_equal(st.mode, 01777);
    assert_int_equal(st.mtime_ns, INT64_C(9000000000));
    assert_int_equal(stat_of(t, folder, "link", &st), 0);
    assert_int_equal(st.mtime_ns, INT64_C(-1500000000));
    assert_int_equal(stat_of(t, folder, "", &st), 0);
    assert_int_equal(st.type, NODE_DIR);
    assert_int_equal(st.mode, 0755);
    assert_int_equal(stat_of(t, folder, "none", &st), -ENOENT);
    assert_int_equal(stat_of(t, folder, "bin/x", &st), -ENOTDIR);

    op_init(&op, DOOR_MOUNT, t->web.who);
    snprintf(path, sizeof path, "%s/rootfs/hard", folder);
    assert_int_equal(images_tree.getxattr(&op, t->self, path, "user.note", &value), 0);
    assert_true(slice_eq(value, SLICE("a\0b")));
    assert_int_equal(images_tree.getxattr(&op, t->self, path, "security.capability", &value), 0);
    assert_true(slice_eq(value, SLICE("\1\0\0\2cap")));
    assert_int_equal(images_tree.getxattr(&op, t->self, path, "trusted.overlay.opaque", &value),
                     -ENODATA);
    assert_int_equal(images_tree.getxattr(&op, t->self, folder, "user.note", &value), -ENOTSUP);
    op_done(&op);
    buf_done(&tar);
}

static void names_of_all_kinds(void **state)
{
    struct images_test *t = *state;
    struct buf tar = {0}, record = {0};
    struct slice layer;
    struct node_stat st;
    char folder[400], name[256], path[600];

    memset(name, 'n', 255);
    name[255] = 0;
    pax_add(&tar, "path", slice_str(name));
    tar_add(&tar, (struct tar_member){"short", '0', NULL, SLICE("1"), 0644, 0, 0, 0});
    buf_printf(&record, "gnu/%.200s", name);
    buf_add_char(&record, 0);
    tar_add(&tar, (struct tar_member){"@", 'L', NULL, buf_slice(&record), 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"short", '0', NULL, SLICE("22"), 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"@", 'K', NULL, buf_slice(&record), 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"long-link", '2', "x", {0}, 0777, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"old/", 0, NULL, {0}, 0700, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"\xff\xfe", '0', NULL, SLICE("333"), 0644, 0, 0, 0});
    pax_add(&tar, "GNU.sparse.major", SLICE("1"));
    pax_add(&tar, "GNU.sparse.name", SLICE("sparse"));
    pax_add(&tar, "GNU.sparse.realsize", SLICE("1000000"));
    buf_clear(&record);
    buf_add_str(&record, "1\n5000\n3\n");
    while (record.len < 512)
        buf_add_char(&record, 0);
    buf_add_str(&record, "abc");
    tar_add(&tar, (struct tar_member){"GNUSparseFile.0/x", '0', NULL, buf_slice(&record), 0644, 0, 0,
                                      0});
    tar_add(&tar, (struct tar_member){"unknown", 'Z', NULL, SLICE("skip"), 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"last", '0', NULL, SLICE("4444"), 0644, 0, 0, 0});
    layer = buf_slice(&tar); /* without the blocks of zeros at the end */
    push_layers(t, "team/n", &layer, 1, folder);

    assert_int_equal(stat_of(t, folder, name, &st), 0);
    assert_int_equal(st.size_bytes, 1);
    snprintf(path, sizeof path, "gnu/%.200s", name);
    assert_int_equal(stat_of(t, folder, path, &st), 0);
    assert_int_equal(st.size_bytes, 2);
    assert_int_equal(stat_of(t, folder, "long-link", &st), 0);
    assert_int_equal(st.size_bytes, 204);
    assert_int_equal(stat_of(t, folder, "old", &st), 0);
    assert_int_equal(st.type, NODE_DIR);
    assert_int_equal(stat_of(t, folder, "\xff\xfe", &st), 0);
    assert_int_equal(st.size_bytes, 3);
    assert_int_equal(stat_of(t, folder, "sparse", &st), 0);
    assert_int_equal(st.size_bytes, 1000000);
    assert_int_equal(stat_of(t, folder, "unknown", &st), -ENOENT);
    assert_int_equal(stat_of(t, folder, "last", &st), 0);
    assert_int_equal(st.size_bytes, 4);
    buf_done(&record);
    buf_done(&tar);
}

/* Not all the same, and not without repetition. */
static void fill(struct buf *out, size_t n)
{
    uint64_t x = 88172645463325252u;

    buf_reserve(out, n);
    while (out->len < n) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if (x % 5 == 0 && out->len > 40000)
            buf_add(out, out->data + out->len - 20000 - x % 10000, 300);
        else
            buf_printf(out, "%016llx line of a file\n", (unsigned long long)x);
    }
    out->len = n;
}

static void pack(const char *how, struct slice tar, struct buf *out)
{
    bool members = strstr(how, "members") != NULL || strstr(how, "frames") != NULL;
    size_t piece = members ? tar.len / 7 + 1 : tar.len;

    if (strcmp(how, "plain") == 0) {
        buf_add_slice(out, tar);
        return;
    }
    while (tar.len > 0) {
        size_t n = tar.len < piece ? tar.len : piece;

        if (strstr(how, "zstd") != NULL)
            zstd_add(out, slice_of(tar.data, n));
        else
            gzip_add(out, slice_of(tar.data, n), strstr(how, "stored") != NULL ? 0 : 6);
        if (strcmp(how, "zstd frames") == 0)
            buf_add(out, "\x5a\x2a\x4d\x18\x04\0\0\0skip", 12);
        tar = slice_skip(tar, n);
    }
    if (strcmp(how, "gzip members, padded") == 0)
        buf_add(out, "\0\0\0\0\0\0\0\0\0", 9);
}

static void check_reads(struct images_test *t, const char *how, const char *path,
                        struct slice content)
{
    static uint8_t piece[300000];
    struct node_file *f;
    struct op op;
    uint64_t x = 12345;

    op_init(&op, DOOR_MOUNT, t->web.who);
    assert_int_equal(images_tree.open(&op, t->self, path, NODE_READ, &f), 0);
    for (int i = 0; i < 60; i++) {
        size_t at, n, want;

        x = x * 6364136223846793005u + 1442695040888963407u;
        at = (size_t)(x >> 20) % (content.len + 10);
        n = (size_t)(x >> 44) % sizeof piece;
        if (i > 40) /* and one after the other */
            at = (size_t)(i - 41) * sizeof piece, n = sizeof piece;
        want = at >= content.len ? 0 : content.len - at < n ? content.len - at : n;
        if (f->ops->read(&op, f, at, piece, n) != (ssize_t)want ||
            memcmp(piece, (const char *)content.data + at, want) != 0)
            fail_msg("%s: %zu bytes at %zu", how, n, at);
    }
    f->ops->close(f);
    op_done(&op);
}

/* Every way to pack a layer gives the same bytes, wherever one reads. */
static void random_reads(void **state)
{
    static const char *const ways[] = {
        "plain",       "gzip", "gzip members", "gzip members, padded",
        "gzip stored", "zstd", "zstd frames",
    };
    struct images_test *t = *state;
    struct buf content = {0}, tar = {0};
    char folder[400], path[600];

    fill(&content, 6 << 20);
    tar_add(&tar, (struct tar_member){"first", '0', NULL, SLICE("1"), 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"big", '0', NULL, buf_slice(&content), 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"last", '0', NULL, SLICE("the end"), 0644, 0, 0, 0});
    tar_finish(&tar);
    for (size_t i = 0; i < array_size(ways); i++) {
        struct buf packed = {0};
        struct slice layer;

        pack(ways[i], buf_slice(&tar), &packed);
        layer = buf_slice(&packed);
        push_layers(t, "team/r", &layer, 1, folder);
        snprintf(path, sizeof path, "%s/rootfs/last", folder);
        check_reads(t, ways[i], path, SLICE("the end"));
        snprintf(path, sizeof path, "%s/rootfs/big", folder);
        check_reads(t, ways[i], path, buf_slice(&content));
        buf_done(&packed);
    }
    buf_done(&tar);
    buf_done(&content);
}

static int add_name(void *ctx, const char *name, const struct node_stat *st)
{
    (void)st;
    buf_printf(ctx, "%s ", name);
    return 0;
}

/* What listing rootfs says; the reason in `why`. */
static int list_top(struct images_test *t, const char *folder, struct buf *out, char why[300])
{
    char path[500];
    struct op op;
    int r;

    buf_clear(out);
    snprintf(path, sizeof path, "%s/rootfs", folder);
    op_init(&op, DOOR_MOUNT, t->web.who);
    r = images_tree.list(&op, t->self, path, add_name, out);
    snprintf(why, 300, "%s", r < 0 ? op_why(&op, r) : "");
    op_done(&op);
    return r;
}

static void tar_of_one(struct buf *out, struct tar_member m)
{
    tar_add(out, m);
    tar_finish(out);
}

static void bad_layers(void **state)
{
    static const char nul_in_path[] = "12 path=a\0b\n";
    struct images_test *t = *state;
    char long_name[257], long_path[4200], folder[400], why[300];
    struct buf out = {0};
    struct {
        const char *what;
        int err;
        const char *why;
        struct buf layer;
    } cases[] = {
        {.what = "text", .err = EBADMSG, .why = "not a tar header"},
        {.what = "cut", .err = EBADMSG, .why = "cut short"},
        {.what = "sum", .err = EBADMSG, .why = "not a tar header"},
        {.what = "number", .err = EBADMSG, .why = "damaged"},
        {.what = "long name", .err = EFBIG, .why = "longer than 255"},
        {.what = "long path", .err = EFBIG, .why = "longer than 4095"},
        {.what = "pax", .err = EBADMSG, .why = "pax header"},
        {.what = "nul", .err = EBADMSG, .why = "bad 'path'"},
        {.what = "gzip cut", .err = EBADMSG, .why = "gzip stream is cut short"},
        {.what = "gzip damaged", .err = EBADMSG, .why = "gzip stream is damaged"},
        {.what = "zstd cut", .err = EBADMSG, .why = "zstd stream is cut short"},
        {.what = "zstd damaged", .err = EBADMSG, .why = "zstd stream is damaged"},
        {.what = "folder link", .err = EBADMSG, .why = "hard link to a folder"},
        {.what = "record", .err = EFBIG, .why = "more than 1 MiB"},
    };
    struct buf tar = {0}, big = {0};

    memset(long_name, 'a', 256);
    long_name[256] = 0;
    for (size_t i = 0; i < 4198; i++)
        long_path[i] = i % 10 == 9 ? '/' : 'a';
    long_path[4198] = 0;
    fill(&big, 300000);
    tar_of_one(&tar, (struct tar_member){"a", '0', NULL, buf_slice(&big), 0644, 0, 0, 0});

    memset(big.data, 'x', 2000);
    buf_add(&cases[0].layer, big.data, 2000);
    buf_add(&cases[1].layer, tar.data, 5000);
    buf_add(&cases[2].layer, tar.data, tar.len);
    cases[2].layer.data[5] ^= 1;
    buf_add(&cases[3].layer, tar.data, tar.len);
    cases[3].layer.data[124] = 'z';
    tar_sum(cases[3].layer.data);
    pax_add(&cases[4].layer, "path", slice_str(long_name));
    tar_of_one(&cases[4].layer, (struct tar_member){"a", '0', NULL, {0}, 0644, 0, 0, 0});
    pax_add(&cases[5].layer, "path", slice_str(long_path));
    tar_of_one(&cases[5].layer, (struct tar_member){"a", '0', NULL, {0}, 0644, 0, 0, 0});
    tar_of_one(&cases[6].layer, (struct tar_member){"p", 'x', NULL, SLICE("99 a=b\n"), 0, 0, 0, 0});
    tar_of_one(&cases[7].layer,
               (struct tar_member){"p", 'x', NULL, slice_of(nul_in_path, 12), 0, 0, 0, 0});
    gzip_add(&cases[8].layer, buf_slice(&tar), 6);
    cases[8].layer.len -= 20;
    gzip_add(&cases[9].layer, buf_slice(&tar), 6);
    memset(cases[9].layer.data + 5000, 0xff, 100);
    zstd_add(&cases[10].layer, buf_slice(&tar));
    cases[10].layer.len -= 20;
    zstd_add(&cases[11].layer, buf_slice(&tar));
    memset(cases[11].layer.data + 4, 0xff, 100);
    make_layer("d d\nh h d", &cases[12].layer);
    buf_reserve(&big, (1 << 20) + 1);
    memset(big.data, 'x', (1 << 20) + 1);
    big.len = (1 << 20) + 1;
    tar_of_one(&cases[13].layer, (struct tar_member){"L", 'L', NULL, buf_slice(&big), 0, 0, 0, 0});

    for (size_t i = 0; i < array_size(cases); i++) {
        struct slice layer = buf_slice(&cases[i].layer);

        push_layers(t, "team/b", &layer, 1, folder);
        for (int again = 0; again < 2; again++) { /* the second time from its row */
            int r = list_top(t, folder, &out, why);

            if (r != -cases[i].err || strstr(why, cases[i].why) == NULL ||
                strstr(why, "layer sha256:") == NULL)
                fail_msg("%s: %d, %s", cases[i].what, r, why);
        }
        buf_done(&cases[i].layer);
    }
    buf_done(&out);
    buf_done(&tar);
    buf_done(&big);
}

static ssize_t read_slice(void *ctx, uint64_t offset, void *buf, size_t n)
{
    struct slice *s = ctx;

    if (offset >= s->len)
        return 0;
    n = s->len - offset < n ? s->len - (size_t)offset : n;
    memcpy(buf, (const char *)s->data + offset, n);
    return (ssize_t)n;
}

static int count_bytes(void *ctx, const void *bytes, size_t n)
{
    (void)bytes;
    *(size_t *)ctx += n;
    return 0;
}

static int build(struct slice layer, struct layer_limits limits, bool stop, struct buf *why)
{
    struct unpack_source source = {read_slice, &layer, layer.len};
    size_t written = 0;
    struct layer_index_sink sink = {.write = count_bytes, .ctx = &written};
    int r;

    buf_clear(why);
    r = layer_index_build(&source, &limits, &stop, &sink, why);
    assert_int_equal(written, sink.offset);
    buf_add_str(why, "");
    return r;
}

/* Each limit at what the layer needs, and one below that. */
static void limits(void **state)
{
    struct buf tar = {0}, packed = {0}, zeros = {0}, why = {0};
    struct layer_limits l = layer_limits;
    struct slice layer;

    (void)state;
    buf_reserve(&zeros, 3 << 20);
    memset(zeros.data, 0, 3 << 20);
    zeros.len = 3 << 20;
    tar_add(&tar, (struct tar_member){"d/a", '0', NULL, {0}, 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"d/b", '2', "target", {0}, 0644, 0, 0, 0});
    tar_add(&tar, (struct tar_member){"zeros", '0', NULL, buf_slice(&zeros), 0644, 0, 0, 0});
    tar_finish(&tar);
    gzip_add(&packed, buf_slice(&tar), 9);
    layer = buf_slice(&packed);
    assert_int_equal(build(layer, l, false, &why), 0);
    assert_int_equal(build(layer, l, true, &why), -ECANCELED);

    l.entries = 3;
    assert_int_equal(build(layer, l, false, &why), 0);
    l.entries = 2;
    assert_int_equal(build(layer, l, false, &why), -EFBIG);
    assert_non_null(strstr(why.data, "more than 2 entries"));
    l = layer_limits;
    l.texts_bytes = 18; /* "d", "a", "b", "target" are kept when "zeros" comes */
    assert_int_equal(build(layer, l, false, &why), 0);
    l.texts_bytes = 13;
    assert_int_equal(build(layer, l, false, &why), -EFBIG);
    assert_non_null(strstr(why.data, "names and links"));
    l = layer_limits;
    l.free_bytes = tar.len;
    l.ratio = 2;
    assert_int_equal(build(layer, l, false, &why), 0);
    l.free_bytes = 1 << 20;
    assert_int_equal(build(layer, l, false, &why), -EFBIG);
    assert_non_null(strstr(why.data, "more than 2 times its size"));
    l = layer_limits;
    l.block_bytes = 2 << 20;
    assert_int_equal(build(layer, l, false, &why), -EFBIG);
    assert_non_null(strstr(why.data, "one block"));
    buf_done(&tar);
    buf_done(&packed);
    buf_done(&zeros);
    buf_done(&why);
}

/* An artifact has no rootfs; nobody may look who may not pull; a layer that is gone is told. */
static void who_sees_it(void **state)
{
    struct images_test *t = *state;
    struct buf tar = {0}, out = {0};
    struct slice layer;
    struct node_stat st;
    char folder[400], why[300], digest[DIGEST_TEXT_MAX], target[500];
    struct op op;

    make_layer("f a 1", &tar);
    layer = buf_slice(&tar);
    push_layers(t, "team/w", &layer, 1, folder);
    assert_int_equal(list_top(t, folder, &out, why), 0);
    assert_string_equal(out.data, "a ");
    t->web.who = &t->reader;
    assert_int_equal(stat_of(t, folder, "a", &st), 0);
    t->web.who = &t->nobody;
    assert_int_equal(stat_of(t, folder, "a", &st), -ENOENT);
    assert_int_equal(stat_of(t, folder, "", &st), -ENOENT);
    assert_int_equal(list_top(t, folder, &out, why), -ENOENT);
    t->web.who = &t->root;
    op_init(&op, DOOR_MOUNT, t->web.who);
    assert_int_equal(images_tree.list(&op, t->self, folder, add_name, &out), 0);
    assert_non_null(strstr(out.data, "rootfs "));
    op_done(&op);
    snprintf(target, sizeof target, "/v2/team/w/blobs/%s", digest_text(layer, digest));
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    assert_int_equal(list_top(t, folder, &out, why), -ENOENT);
    assert_non_null(strstr(why, digest));
    assert_int_equal(stat_of(t, folder, "a", &st), -ENOENT);
    buf_done(&tar);
    buf_done(&out);
}

/* The index lives as long as its layer, over restarts, and no longer. */
static void index_and_layer(void **state)
{
    struct images_test *t = *state;
    struct buf tar = {0}, out = {0};
    struct slice layer;
    struct store_usage before, after;
    struct blob_reaped reaped;
    char folder[400], why[300], target[500];

    make_layer("f a 1", &tar);
    layer = buf_slice(&tar);
    push_layers(t, "team/i", &layer, 1, folder);
    assert_int_equal(store_usage(t->store, &before), 0);
    assert_int_equal(list_top(t, folder, &out, why), 0);
    assert_int_equal(store_usage(t->store, &after), 0);
    assert_int_equal(after.blobs, before.blobs + 1);
    images_test_reopen(t);
    assert_int_equal(blob_reap(t->store, 0, false, &reaped), 0);
    assert_int_equal(list_top(t, folder, &out, why), 0);
    assert_string_equal(out.data, "a ");
    assert_int_equal(store_usage(t->store, &after), 0);
    assert_int_equal(after.blobs, before.blobs + 1);

    snprintf(target, sizeof target, "/v2/team/i/manifests/%s", strstr(folder, "sha256-"));
    strstr(target, "sha256-")[6] = ':';
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    links_sweep_repo(t->im, "team/i", clock_unix_ms() + 100 * LINK_IDLE_MS);
    assert_int_equal(blob_reap(t->store, 0, false, &reaped), 0);
    rootfs_rest(t->im->rootfs, INT64_MAX);
    rootfs_sweep(t->im->rootfs);
    assert_int_equal(blob_reap(t->store, 0, false, &reaped), 0);
    assert_int_equal(store_usage(t->store, &after), 0);
    assert_int_equal(after.blobs, 0);
    assert_int_equal(list_top(t, folder, &out, why), -ENOENT);
    buf_done(&tar);
    buf_done(&out);
}

/* At the end of the daemon a look at a layer fails, and leaves nothing that says so later. */
static void stopping(void **state)
{
    struct images_test *t = *state;
    struct buf tar = {0}, out = {0};
    struct slice layer;
    char folder[400], why[300];

    make_layer("f a 1", &tar);
    layer = buf_slice(&tar);
    push_layers(t, "team/s", &layer, 1, folder);
    images_domain.stopping(t->self);
    assert_int_equal(list_top(t, folder, &out, why), -ECANCELED);
    images_test_reopen(t);
    assert_int_equal(list_top(t, folder, &out, why), 0);
    assert_string_equal(out.data, "a ");
    buf_done(&tar);
    buf_done(&out);
}

/* The daemon was killed when the index had its row and nobody held it yet: it is reaped, and made
 * anew; then it is held. */
static void index_without_hold(void **state)
{
    struct images_test *t = *state;
    struct buf tar = {0}, out = {0};
    struct slice layer, key, value;
    struct store_scan *scan;
    struct digest index = {0};
    struct blob_reaped reaped;
    char folder[400], why[300], owner[200], digest[DIGEST_TEXT_MAX];

    make_layer("f a 1", &tar);
    layer = buf_slice(&tar);
    push_layers(t, "team/h", &layer, 1, folder);
    assert_int_equal(list_top(t, folder, &out, why), 0);
    assert_int_equal(store_scan(t->store, SLICE("images-layers"), (struct slice){0},
                                (struct slice){0}, 0, &scan),
                     0);
    assert_int_equal(store_scan_next(scan, &key, &value), 1);
    index.algorithm = ((const uint8_t *)value.data)[2];
    memcpy(index.bytes, (const uint8_t *)value.data + 3, value.len - 3);
    store_scan_free(scan);
    snprintf(owner, sizeof owner, "images-layers#%s", digest_text(layer, digest));
    assert_int_equal(blob_release(t->store, &index, slice_str(owner)), 0);
    images_test_reopen(t);
    assert_int_equal(blob_reap(t->store, 0, false, &reaped), 0);
    assert_int_equal(reaped.blobs, 1);
    assert_int_equal(list_top(t, folder, &out, why), 0);
    assert_string_equal(out.data, "a ");
    assert_int_equal(blob_reap(t->store, 0, false, &reaped), 0);
    assert_int_equal(reaped.blobs, 0);
    buf_done(&tar);
    buf_done(&out);
}

/* An index that was lost is made anew. */
static void lost_index(void **state)
{
    struct images_test *t = *state;
    struct buf tar = {0}, out = {0};
    struct slice layer;
    char folder[400], why[300];

    make_layer("f a 1", &tar);
    layer = buf_slice(&tar);
    push_layers(t, "team/l", &layer, 1, folder);
    assert_int_equal(list_top(t, folder, &out, why), 0);
    for (int i = 0; i < 2; i++) {
        struct slice key, value;
        struct store_scan *scan;
        struct store_batch *batch = store_batch_new(t->store, SLICE("images-layers"));

        assert_int_equal(store_scan(t->store, SLICE("images-layers"), (struct slice){0},
                                    (struct slice){0}, 0, &scan),
                         0);
        assert_int_equal(store_scan_next(scan, &key, &value), 1);
        if (i == 0)
            store_batch_delete(batch, key);
        else
            store_batch_put(batch, key, SLICE("\1\1\1damaged"));
        store_scan_free(scan);
        assert_int_equal(store_commit(batch, 0), 0);
        images_test_reopen(t);
        assert_int_equal(list_top(t, folder, &out, why), 0);
        assert_string_equal(out.data, "a ");
    }
    buf_done(&tar);
    buf_done(&out);
}

struct reader {
    struct images_test *t;
    const char *folder;
    struct slice content;
    bool good;
};

static void *read_all(void *arg)
{
    struct reader *r = arg;
    static __thread uint8_t piece[256 << 10];
    struct node_file *f;
    char path[600];
    struct op op;
    size_t at = 0;

    snprintf(path, sizeof path, "%s/rootfs/big", r->folder);
    op_init(&op, DOOR_MOUNT, r->t->web.who);
    if (images_tree.open(&op, r->t->self, path, NODE_READ, &f) == 0) {
        while (at < r->content.len) {
            ssize_t n = f->ops->read(&op, f, at, piece, sizeof piece);

            if (n <= 0 || memcmp(piece, (const char *)r->content.data + at, (size_t)n) != 0)
                break;
            at += (size_t)n;
        }
        f->ops->close(f);
    }
    r->good = at == r->content.len;
    op_done(&op);
    return NULL;
}

/* All ask at once for what nobody has looked at. */
static void many_readers(void **state)
{
    struct images_test *t = *state;
    struct buf content = {0}, tar = {0}, packed[2] = {0};
    char folder[400];

    fill(&content, 3 << 20);
    tar_add(&tar, (struct tar_member){"big", '0', NULL, buf_slice(&content), 0644, 0, 0, 0});
    tar_finish(&tar);
    gzip_add(&packed[0], buf_slice(&tar), 1);
    zstd_add(&packed[1], buf_slice(&tar));
    for (int k = 0; k < 2; k++) {
        struct reader readers[8];
        pthread_t threads[8];
        struct slice layer = buf_slice(&packed[k]);

        push_layers(t, "team/t", &layer, 1, folder);
        for (int i = 0; i < 8; i++) {
            readers[i] = (struct reader){t, folder, buf_slice(&content), false};
            assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readers[i]), 0);
        }
        for (int i = 0; i < 8; i++) {
            pthread_join(threads[i], NULL);
            assert_true(readers[i].good);
        }
        buf_done(&packed[k]);
    }
    buf_done(&tar);
    buf_done(&content);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, images_test_setup, images_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(layers_are_merged), TEST(attributes), TEST(names_of_all_kinds), TEST(random_reads),
        TEST(bad_layers),        TEST(limits),     TEST(who_sees_it),        TEST(index_and_layer),
        TEST(lost_index),        TEST(stopping),   TEST(index_without_hold), TEST(many_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
