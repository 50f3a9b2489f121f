/* mirror_internal.h: what the files of the mirror share. */
#ifndef PACKAGES_MIRROR_INTERNAL_H
#define PACKAGES_MIRROR_INTERNAL_H

#include "base/buf.h"
#include "packages/mirror.h"
#include "packages/state.h"

#include <curl/curl.h>

#define MIRROR_PARTITION_MAX (PARTITION_MAX + sizeof MIRROR_PREFIX)
#define IDLE_MAX             8  /* handles of libcurl, which keep connections */
#define DOWNLOADS_MAX        8  /* at once */
#define WAITING_MAX          24 /* requests that wait for the network, of the server's workers */
#define VIA_MAX              1024
#define DOWN_MS              15000 /* so long an index that did not answer is not asked again */
/* The id in a record: does the page still list it? On disk. */
#define MIRROR_LISTED    "listed"
#define MIRROR_WITHDRAWN "withdrawn"

struct flight;
struct kept;
struct absent;
struct transfer;

struct mirror {
    struct packages *pk;
    char *base;           /* of the index, ends with '/' */
    char *origin;         /* "https://host:443" */
    char **allow;         /* patterns of normalised names; ends with NULL */
    char id[17];          /* in Via, so that a loop of mirrors is seen */
    struct kept *kept;
    bool closing;         /* atomic */
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t moved;
    CURL *idle[IDLE_MAX];
    size_t n_idle;
    struct flight *flights;     /* projects whose page is being asked for */
    struct absent *absent;      /* projects that are not there, for a while */
    struct transfer *transfers; /* files that are arriving */
    unsigned waiting, running;  /* requests that wait; threads */
    int64_t down_until_ms;      /* monotonic: it did not answer a moment ago */
    uint64_t fetched, failed;
};

/* One request to the index, or to where its files are. */
struct fetch {
    const char *url;
    const char *accept, *etag, *via; /* each may be NULL */
    uint64_t limit_bytes;
    bool page; /* compressed on the way, and with an end to the time it may take */
    /* Takes the body of a 200; a negative errno ends it. */
    int (*receive)(void *ctx, const void *bytes, size_t n);
    void *ctx;
    /* What came of it. */
    long status;
    struct buf type, new_etag, final_url;
    /* private */
    struct mirror *mirror;
    CURL *curl;
    uint64_t bytes;
    int result;
    bool strayed;
};
/* 0 with a status, whatever it is; a negative errno with a reason if there is no answer:
 * -EHOSTUNREACH, -ETIMEDOUT, -EFBIG, -EPERM (redirected to where it may not go), or receive's. */
int fetch_run(struct mirror *m, struct fetch *f, struct buf *why);
void fetch_done(struct fetch *f);
/* "https://host:443" of a URL. -EINVAL. */
int fetch_origin(const char *url, struct buf *out);
/* The URL that `relative` means on the page `base`. -EINVAL, also if it is not http or https. */
int fetch_join(const char *base, const char *relative, struct buf *out);

/* "packages/.mirror/<project>". */
struct slice mirror_partition(const char *project, char text[MIRROR_PARTITION_MAX]);
/* A request begins to wait for the network: -EBUSY if too many do. */
int mirror_enter(struct op *op, struct mirror *m);
void mirror_leave(struct mirror *m);
/* Was the request here before? -ENOENT. */
int mirror_check_via(struct op *op, const struct mirror *m, const char *via);
void mirror_forget_absent(struct mirror *m);

/* What is kept, since when nobody asked for it, and what goes by rule (mirror_kept.c). */
enum kept_part { KEPT_CONTENT, KEPT_METADATA, KEPT_PARTS }; /* the order is that on disk */
struct kept *kept_new(struct packages *pk); /* borrows; returns new */
void kept_free(struct kept *k);             /* writes what is noted; NULL is fine */
/* Holds a blob that is here now. */
int kept_hold(struct kept *k, const char *project, const char *file, enum kept_part part,
              const struct digest *digest, uint64_t bytes);
/* It was asked for. Does not wait for a disk. */
void kept_note(struct kept *k, const char *project, const char *file, enum kept_part part,
               const struct digest *digest, uint64_t bytes);
/* Lets go of what rules say may go; with dry_run only says what. `out` may be NULL. */
int kept_tidy(struct kept *k, struct op *op, bool dry_run, struct buf *out);

/* Tells why a fetch failed, and that the index is down if it is. */
int mirror_fail(struct op *op, struct mirror *m, int r, const struct fetch *f, const char *why);

#endif
