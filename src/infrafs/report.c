/* report.c: how the daemon is, for a person, for a probe, and as metrics. */
#include "base/clock.h"
#include "base/file.h"
#include "base/scope.h"
#include "base/shim.h"
#include "infrafs/infrafs.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

int report_health(struct infrafs *self, struct buf *why)
{
    struct store_value value = {0};
    int r = store_get(self->env.store, SLICE("identity/policies"), SLICE("team"), &value);

    store_value_release(&value);
    if (r == -ENOENT)
        r = 0;
    if (r < 0)
        buf_printf(why, "the store does not answer: %s", strerror(-r));
    else if (self->env.daemon->tree == NULL) {
        r = -EAGAIN;
        buf_add_str(why, "starting");
    }
    return r;
}

static void print_bytes(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t i = 0;

    while (value >= 1024 && i + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        i++;
    }
    buf_printf(out, i == 0 ? "%.0f %s" : "%.1f %s", value, units[i]);
}

void report_status(struct infrafs *self, struct buf *out)
{
    const struct daemon *daemon = self->env.daemon;
    int64_t up_s = (clock_unix_ms() - daemon->started_unix_ms) / 1000;
    struct store_usage usage = {0};
    autobuf why = {0};

    if (report_health(self, &why) == 0)
        buf_printf(out, "infrafs " INFRAFS_VERSION ": ok, up %lldd %02lld:%02lld:%02lld\n",
                   (long long)(up_s / 86400), (long long)(up_s / 3600 % 24),
                   (long long)(up_s / 60 % 60), (long long)(up_s % 60));
    else
        buf_printf(out, "infrafs " INFRAFS_VERSION ": %s\n", why.data);
    if (store_usage(self->env.store, &usage) == 0) {
        buf_add_str(out, "store: ");
        print_bytes(out, usage.live_bytes);
        buf_printf(out, " on disk, %llu blobs of ", (unsigned long long)usage.blobs);
        print_bytes(out, usage.blob_bytes);
        buf_add_str(out, "; ");
        print_bytes(out, usage.disk_free_bytes);
        buf_add_str(out, " of ");
        print_bytes(out, usage.disk_bytes);
        buf_add_str(out, " free\n");
    }
    for (size_t i = 0; i < daemon->n_domains; i++)
        if (daemon->domains[i].domain->status != NULL)
            daemon->domains[i].domain->status(daemon->domains[i].self, out);
}

static void metric(struct buf *out, const char *name, const char *type, const char *help,
                   double value)
{
    char text[DOUBLE_TEXT_MAX];

    double_print(value, text);
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %s\n", name, help, name, type, name, text);
}

static unsigned count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the folder's own */
}

/* Sizes in pages: /proc/self/statm, proc(5). */
static void read_memory(double *ret_virtual, double *ret_resident)
{
    autobuf text = {0};
    char *end;
    double page = (double)sysconf(_SC_PAGESIZE);

    *ret_virtual = *ret_resident = 0;
    if (file_read("/proc/self/statm", 4096, &text) < 0)
        return;
    *ret_virtual = (double)strtoull(text.data, &end, 10) * page;
    *ret_resident = (double)strtoull(end, NULL, 10) * page;
}

/* The names are those every Prometheus client library has. */
static void process_metrics(struct infrafs *self, struct buf *out)
{
    struct rusage usage;
    struct rlimit files;
    double size, resident;

    getrusage(RUSAGE_SELF, &usage);
    metric(out, "process_cpu_seconds_total", "counter", "CPU time used, user and system.",
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    read_memory(&size, &resident);
    metric(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident);
    metric(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.", size);
    metric(out, "process_open_fds", "gauge", "Open file descriptors.", count_descriptors());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        metric(out, "process_max_fds", "gauge", "Most file descriptors allowed.",
               (double)files.rlim_cur);
    metric(out, "process_start_time_seconds", "gauge", "Start, in seconds since 1970.",
           (double)self->env.daemon->started_unix_ms / 1000);
}

static void store_metrics(struct infrafs *self, struct buf *out)
{
    struct store_usage usage = {0};
    struct blob_reaped total;

    if (store_usage(self->env.store, &usage) == 0) {
        metric(out, "infrafs_store_bytes", "gauge", "What the store takes on disk.",
               (double)usage.live_bytes);
        metric(out, "infrafs_disk_free_bytes", "gauge", "Free on the volume of the data.",
               (double)usage.disk_free_bytes);
        metric(out, "infrafs_disk_size_bytes", "gauge", "Size of the volume of the data.",
               (double)usage.disk_bytes);
        metric(out, "infrafs_blobs", "gauge", "Blobs that are stored.", (double)usage.blobs);
        metric(out, "infrafs_blob_bytes", "gauge", "Bytes of the blobs that are stored.",
               (double)usage.blob_bytes);
    }
    pthread_mutex_lock(&self->lock);
    total = self->total;
    pthread_mutex_unlock(&self->lock);
    metric(out, "infrafs_reaped_blobs_total", "counter", "Blobs freed since the start.",
           (double)total.blobs);
    metric(out, "infrafs_reaped_bytes_total", "counter", "Bytes of the blobs freed.",
           (double)total.bytes);
}

void report_metrics(struct infrafs *self, struct buf *out)
{
    const struct daemon *daemon = self->env.daemon;

    buf_add_str(out, "# HELP infrafs_build_info The version that runs.\n"
                     "# TYPE infrafs_build_info gauge\n"
                     "infrafs_build_info{version=\"" INFRAFS_VERSION "\"} 1\n");
    process_metrics(self, out);
    store_metrics(self, out);
    scrub_metrics(self, out);
    for (size_t i = 0; i < daemon->n_domains; i++)
        if (daemon->domains[i].domain->metrics != NULL)
            daemon->domains[i].domain->metrics(daemon->domains[i].self, out);
}
