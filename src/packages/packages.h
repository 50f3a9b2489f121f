/* packages.h: Python packages: projects, and the release files in them. The rules; the PyPI dialect
 * is packages_web.c, the files are packages_tree.c.
 *
 * A release file is immutable once published. Its content is a blob; a row in its project's
 * partition says all that is known of it; the index is derived. All calls return 0 or a negative
 * errno with the reason in the op; any thread. */
#ifndef PACKAGES_PACKAGES_H
#define PACKAGES_PACKAGES_H

#include "domain.h"
#include "packages/filename.h"

struct packages;

extern const struct domain packages_domain;

/* What is served beside a file, in a blob of its own. */
struct package_part {
    uint64_t size_bytes; /* 0: there is none */
    struct digest digest;
};

/* All text is in the op. */
struct package_file {
    const char *project;         /* normalised */
    const char *name;            /* the file's */
    const char *display;         /* the project, as the metadata inside writes it */
    const char *version;         /* canonical */
    const char *requires_python; /* "": none */
    const char *uploader;
    const char *yanked; /* the reason, "" for none given; NULL: not yanked */
    const char *id;     /* of this publication; owns the blobs */
    const char *url;    /* where the mirror has it from; NULL: it is the team's */
    enum package_kind kind;
    uint64_t size_bytes;
    int64_t uploaded_unix_ns;
    struct digest digest;           /* SHA-256, the blob's */
    struct package_part metadata;   /* core metadata, as it is in the file */
    struct package_part signature;  /* OpenPGP, armored, as it was uploaded */
    struct package_part provenance; /* PEP 740 */
    struct slice row;               /* as it is stored: the guard of a change */
};

/* One file of a project (normalised). -ENOENT. */
int package_get(struct op *op, struct packages *pk, const char *project, const char *file,
                struct package_file *ret);
/* The same by the file's name alone. */
int package_find(struct op *op, struct packages *pk, const char *file, struct package_file *ret);
/* Every file of a project, by name, from one moment; f's non-zero result ends it and is returned.
 * -ENOENT: no such project. A project without files is one that was made as a folder. */
int package_each(struct op *op, struct packages *pk, const char *project,
                 int (*f)(void *ctx, const struct package_file *file), void *ctx);

/* Every project in order of its normalised name. `display`: as its first release wrote it. */
int project_each(struct op *op, struct packages *pk,
                 int (*f)(void *ctx, const char *project, const char *display, bool has_files),
                 void *ctx);
/* -ENOENT. *ret_display is in the op; may be NULL. */
int project_get(struct op *op, struct packages *pk, const char *project, const char **ret_display,
                bool *ret_has_files);
/* An empty project, as a folder. -EEXIST. And away with it: -ENOTEMPTY. */
int project_make(struct op *op, struct packages *pk, const char *project);
int project_remove(struct op *op, struct packages *pk, const char *project);

/* Takes a file away: the index is right when it returns, the content stays until the grace ends.
 * Needs the delete right. -ENOENT. */
int package_delete(struct op *op, struct packages *pk, const char *project, const char *file);
/* Marks a file as not to be chosen any more (PEP 592). NULL reason: takes the mark away. Needs the
 * update right. */
int package_yank(struct op *op, struct packages *pk, const char *project, const char *file,
                 const char *reason);

/* How a project stands (PEP 792). */
enum project_state {
    PROJECT_ACTIVE,
    PROJECT_ARCHIVED,    /* takes no new files */
    PROJECT_QUARANTINED, /* takes none, and offers none */
    PROJECT_DEPRECATED,
    PROJECT_STATES,
};
extern const char *const project_state_names[PROJECT_STATES + 1]; /* "active", …; ends with NULL */

struct project_status {
    enum project_state state;
    const char *reason; /* ""; in the op */
};
int project_status_get(struct op *op, struct packages *pk, const char *project,
                       struct project_status *ret);
/* Needs the update right. -ENOENT: no such project. */
int project_status_set(struct op *op, struct packages *pk, const char *project,
                       const struct project_status *status);
/* "archived", "archived: no longer built". -EINVAL. */
int project_status_parse(struct op *op, struct slice text, struct project_status *ret);
/* May new files come in? -EACCES. */
int project_takes_files(struct op *op, struct packages *pk, const char *project);
/* May its files be had? -EACCES. */
int project_offers_files(struct op *op, struct packages *pk, const char *project);

/* A file that is being published: written from its start to its end, checked, then visible whole.
 */
struct package_draft;

/* What a client says about a file beside sending it; NULL where it said nothing. */
struct package_claims {
    const char *name, *version;
    const char *filetype; /* "bdist_wheel" or "sdist" */
    const char *pyversion;
    const char *sha256, *blake2b, *md5; /* hex, any case */
    struct slice signature;             /* empty: none */
    struct slice attestations;          /* a JSON list (PEP 740); empty: none */
};

/* Digests beside SHA-256 that are computed while the content is written. One that is claimed and
 * was not computed is, at the price of reading the content again. */
enum package_hashes { PACKAGE_BLAKE2B = 1, PACKAGE_MD5 = 2 };

/* Checks the name and the create right on its project. Returns new. */
int package_draft_new(struct op *op, struct packages *pk, const char *file, unsigned hashes,
                      struct package_draft **ret);
void package_draft_free(struct package_draft *d); /* drops what was not published; NULL is fine */
uint64_t package_draft_size(const struct package_draft *d);
/* Reads back what was written. Short only at the end. */
ssize_t package_draft_read(struct package_draft *d, uint64_t offset, void *buf, size_t n);
/* Appends. -EINVAL as soon as the first bytes show that it cannot be what its name says; -EFBIG. */
int package_draft_write(struct op *op, struct package_draft *d, const void *bytes, size_t n);
/* Checks and publishes: durable and visible through every door when it returns. The same bytes
 * under the same name again succeed; -EEXIST other bytes; -EINVAL with what is wrong. The draft is
 * used up, whatever comes of it. */
int package_draft_publish(struct op *op, struct package_draft *d,
                          const struct package_claims *claims);

/* Gives back what was deleted longer ago than the grace, and what a crash left behind. Runs by
 * itself once a minute; *ret_n (may be NULL): how many files. */
int packages_reclaim(struct packages *pk, int64_t now_unix_ms, uint64_t *ret_n);

#endif
