/* bench_store.c: what the store does alone; not run by ctest.
 *
 *   bench_store [DIR] [MIB]      DIR: where (default: a fresh folder under /tmp); MIB: size of the
 *                                large blob (default 1024)
 *
 * Build: cmake --build --preset release -- bench_store */
#include "base/clock.h"
#include "store/blob.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITERS 64
#define STEP    (256u << 10)

struct point {
    double wall_s, cpu_s;
};

static struct point now(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (struct point){
        .wall_s = (double)clock_unix_ns() / 1e9,
        .cpu_s = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                 (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
    };
}

static long resident_kib(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    long kib = -1;

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        sscanf(line, "VmRSS: %ld", &kib);
    if (f != NULL)
        fclose(f);
    return kib;
}

static void check(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(-r));
    exit(1);
}

static void say(const char *what, struct point from, double amount, const char *unit)
{
    struct point to = now();
    double wall = to.wall_s - from.wall_s, cpu = to.cpu_s - from.cpu_s;

    printf("%-36s %10.0f %s/s   %8.3f CPU s/1024 %s   rss %ld KiB\n", what, amount / wall, unit,
           cpu / amount * 1024, unit, resident_kib());
}

static struct store *store;
static unsigned puts_each;

static void *writer(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < puts_each; i++) {
        struct store_batch *b = store_batch_new(store, SLICE("bench/kv"));
        char key[32], value[200];

        snprintf(key, sizeof key, "%04u/%08u", me, i);
        memset(value, 'v', sizeof value);
        store_batch_put(b, slice_str(key), slice_of(value, sizeof value));
        check(store_commit(b, STORE_DURABLE), "commit");
    }
    return NULL;
}

static void bench_puts(unsigned threads, unsigned each)
{
    pthread_t t[WRITERS];
    struct point from = now();
    char what[64];

    puts_each = each;
    for (unsigned i = 0; i < threads; i++)
        check(-pthread_create(&t[i], NULL, writer, (void *)(uintptr_t)i), "thread");
    for (unsigned i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    snprintf(what, sizeof what, "durable put, %u writers", threads);
    say(what, from, threads * each, "puts");
}

static void bench_gets(unsigned n)
{
    struct point from = now();

    for (unsigned i = 0; i < n; i++) {
        struct store_value v;
        char key[32];

        snprintf(key, sizeof key, "%04u/%08u", i % WRITERS, i / WRITERS % puts_each);
        check(store_get(store, SLICE("bench/kv"), slice_str(key), &v), "get");
        store_value_release(&v);
    }
    say("get", from, n, "gets");
}

static char *content(size_t n)
{
    char *bytes = malloc(n);
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i + 8 <= n; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(bytes + i, &x, 8);
    }
    return bytes;
}

static struct digest bench_push(const char *bytes, size_t n, size_t step, const char *what)
{
    struct blob_stage *stage = NULL;
    struct point from = now();
    struct digest d;

    check(blob_stage_begin(store, DIGEST_SHA256, 0, &stage), "begin");
    for (size_t i = 0; i < n; i += step)
        check(blob_stage_write(stage, bytes + i, n - i < step ? n - i : step), "write");
    check(blob_seal(stage, NULL, &d), "seal");
    say(what, from, (double)n / (1 << 20), "MiB");
    return d;
}

static void *drain(void *arg)
{
    static char bytes[1 << 20];

    while (read(*(int *)arg, bytes, sizeof bytes) > 0)
        ;
    return NULL;
}

static void lend_to(struct blob *b, int fd, const char *what)
{
    uint64_t size = blob_size(b), at = 0;
    struct point from = now();

    while (at < size) {
        size_t n = size - at < (4u << 20) ? (size_t)(size - at) : 4u << 20;
        struct blob_loan loan;
        ssize_t sent;

        check(blob_lend(b, at, n, &loan), "lend");
        sent = writev(fd, loan.iov, (int)loan.n_iov);
        blob_unlend(&loan);
        check(sent > 0 ? 0 : -EIO, "writev");
        at += (uint64_t)sent;
    }
    say(what, from, (double)size / (1 << 20), "MiB");
}

static void bench_pull(const struct digest *d)
{
    struct blob *b = NULL;
    int pair[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pthread_t reader;
    struct point from;
    char *bytes = malloc(STEP);

    check(blob_open(store, d, &b), "open");
    lend_to(b, null, "lend, writev to /dev/null");
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
    check(-pthread_create(&reader, NULL, drain, &pair[1]), "thread");
    lend_to(b, pair[0], "lend, writev to a socket (+ reader)");
    lend_to(b, pair[0], "the same again");
    close(pair[0]);
    pthread_join(reader, NULL);
    close(pair[1]);
    from = now();
    for (uint64_t at = 0; at < blob_size(b); at += STEP)
        check((int)blob_read(b, at, bytes, STEP), "read");
    say("blob_read", from, (double)blob_size(b) / (1 << 20), "MiB");
    blob_close(b);
    close(null);
    free(bytes);
}

static void bench_stages(const char *bytes, unsigned n, size_t each)
{
    struct blob_stage *stages[WRITERS];
    struct point from = now();
    struct digest d;

    for (unsigned i = 0; i < n; i++)
        check(blob_stage_begin(store, DIGEST_SHA256, each, &stages[i]), "begin");
    for (size_t at = 0; at < each; at += STEP)
        for (unsigned i = 0; i < n; i++) {
            uint64_t seed = i + 1;

            if (at == 0)
                check(blob_stage_write(stages[i], &seed, sizeof seed), "write");
            check(blob_stage_write(stages[i], bytes + at, STEP), "write");
        }
    say("64 interleaved uploads, before sealing", from, (double)(n * each) / (1 << 20), "MiB");
    for (unsigned i = 0; i < n; i++)
        check(blob_seal(stages[i], NULL, &d), "seal");
    say("64 interleaved uploads, sealed", from, (double)(n * each) / (1 << 20), "MiB");
}

static void bench_small(unsigned n)
{
    struct point from = now();
    char bytes[10240] = {0};

    for (unsigned i = 0; i < n; i++) {
        struct digest d;

        memcpy(bytes, &i, sizeof i);
        check(blob_put(store, DIGEST_SHA256, bytes, sizeof bytes, &d), "put");
    }
    say("blob_put of 10 KiB, one by one", from, n, "blobs");
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/bench-store-XXXXXX", url[4096];
    size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
    struct store_options options = {.reserve_bytes = 1 << 20};
    struct buf why = {0};
    struct blob_reaped reaped;
    struct digest d;
    char *bytes = content(mib << 20);

    if (argc <= 1 && mkdtemp(dir) == NULL)
        check(-errno, dir);
    snprintf(url, sizeof url, "rocks:%s", argc > 1 ? argv[1] : dir);
    printf("resident before open: %ld KiB\n", resident_kib());
    check(store_open(url, &options, &store, &why), "open");
    printf("resident after open: %ld KiB\n", resident_kib());
    bench_puts(1, 2000);
    bench_puts(WRITERS, 1000);
    bench_gets(200000);
    bench_small(2000);
    d = bench_push(bytes, mib << 20, 1 << 20, "push, in steps of 1 MiB");
    bench_pull(&d);
    check(blob_reap(store, 0, false, &reaped), "reap");
    d = bench_push(bytes, mib << 20, 64 << 10, "push, in steps of 64 KiB");
    bench_stages(bytes, WRITERS, 16 << 20);
    check(blob_reap(store, 0, false, &reaped), "reap");
    store_close(store);
    free(bytes);
    printf("the store is in %s\n", url);
    return 0;
}
