/* place.h: what a path of the packages' tree names. */
#ifndef PACKAGES_PLACE_H
#define PACKAGES_PLACE_H

#include "packages/packages.h"

#define TRASH_ROOT ".infra/trash"

enum place_kind {
    PLACE_ROOT,
    PLACE_ALL,           /* @all */
    PLACE_PROJECT,       /* <project> */
    PLACE_FILE,          /* <project>/<file>, <file>, @all/<file> */
    PLACE_METADATA,      /* <project>/@metadata */
    PLACE_METADATA_FILE, /* <project>/@metadata/<file> */
    PLACE_HTML,
    PLACE_JSON,
    PLACE_SUMS,
    PLACE_CONTENTS,   /* <project>/@contents, …/<file>, …/<file>/<inner> */
    PLACE_TRASH,      /* .infra/trash */
    PLACE_TRASH_ID,   /* .infra/trash/<id> */
    PLACE_TRASH_FILE, /* .infra/trash/<id>/<file> */
};

struct place {
    enum place_kind kind;
    const char *project; /* normalised; NULL: only the file's name says */
    const char *file;
    const char *inner; /* PLACE_CONTENTS: inside the archive; "": the archive */
    const char *id;    /* in the trash */
    bool alias;        /* below @all: not to be changed there */
};

/* -ENOENT also for what op's caller may not see. The strings are in the op. */
int package_place_parse(struct op *op, const char *path, struct place *ret);
/* The file at a PLACE_FILE or PLACE_METADATA_FILE, if op's caller may see it. */
int package_place_find(struct op *op, struct packages *pk, const struct place *p,
                       struct package_file *ret);
int package_place_absent(struct op *op, const char *path); /* -ENOENT, with the reason */
/* May op's caller see this project? */
bool project_visible(struct op *op, const char *project);

#endif
