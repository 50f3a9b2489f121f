/* backup.c: everything in one tar, and back. The daemon copies its store as of one moment into
 * DATA/backups/NAME (links, where it can); here it is packed with the small files beside it. The
 * first entry says what it is, the last that it is whole. */
#include "base/clock.h"
#include "base/file.h"
#include "base/scope.h"
#include "command/client.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#define FIRST       "infrafs-backup"
#define LAST        "infrafs-backup-end"
#define FIRST_TEXT  "infrafs backup, format 1\n"
#define BLOCK_BYTES (1u << 20)

DEFINE_SCOPE(config, struct config, config_free)
DEFINE_SCOPE(folder, DIR, closedir)

struct packer {
    struct archive *archive;
    const struct config *config;
    const char *unseal; /* the keyfile, which stays out; or NULL */
    char *block;
    uint64_t files;
};

static int fail_archive(struct archive *a, const char *what)
{
    const char *why = archive_error_string(a);

    return command_fail(EX_IOERR, "%s: %s", what, why != NULL ? why : "unknown error");
}

static int put_header(struct packer *p, const char *name, int64_t size, time_t mtime)
{
    struct archive_entry *entry = archive_entry_new();
    int r;

    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0600);
    archive_entry_set_size(entry, size);
    archive_entry_set_mtime(entry, mtime, 0);
    r = archive_write_header(p->archive, entry);
    archive_entry_free(entry);
    return r == ARCHIVE_OK ? 0 : fail_archive(p->archive, name);
}

static int put_text(struct packer *p, const char *name, const char *text)
{
    int code = put_header(p, name, (int64_t)strlen(text), (time_t)(clock_unix_ms() / 1000));

    if (code == 0 && archive_write_data(p->archive, text, strlen(text)) < 0)
        code = fail_archive(p->archive, name);
    return code;
}

static int put_file(struct packer *p, const char *path, const char *name)
{
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    int64_t left;
    int code;

    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT ? 0 : command_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
    code = put_header(p, name, st.st_size, st.st_mtime);
    for (left = st.st_size; code == 0 && left > 0;) {
        ssize_t n = read(fd, p->block, left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES);

        if (n <= 0)
            return command_fail(EX_IOERR, "%s: %s", path, n < 0 ? strerror(errno) : "it was cut");
        if (archive_write_data(p->archive, p->block, (size_t)n) < 0)
            code = fail_archive(p->archive, name);
        left -= n;
    }
    p->files++;
    return code;
}

/* Of DATA itself: what is made anew, what is packed otherwise, and what opens secrets. */
static bool stays_out(const struct packer *p, const char *path, const char *name)
{
    static const char *const names[] = {"store",      "backups",    "snapshots", "scratch",
                                        "root-token", "unseal.key", "htpasswd",  "prometheus.yml"};

    for (size_t i = 0; i < array_size(names); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return name[0] == '.' || strncmp(name, "audit.log", 9) == 0 ||
           strncmp(name, "unseal.key", 10) == 0 ||
           (p->unseal != NULL && strcmp(path, p->unseal) == 0);
}

static int put_folder(struct packer *p, const char *path, const char *name, bool top)
{
    scope_cleanup(scope_folder) DIR *d = opendir(path);
    struct dirent *entry;
    int code = 0;

    if (d == NULL)
        return command_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
    while (code == 0 && (entry = readdir(d)) != NULL) {
        autofree char *child = NULL, *inside = NULL;
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (asprintf(&child, "%s/%s", path, entry->d_name) < 0 ||
            asprintf(&inside, "%s%s%s", name, name[0] != 0 ? "/" : "", entry->d_name) < 0)
            return command_fail(EX_OSERR, "no memory");
        if (top && stays_out(p, child, entry->d_name))
            continue;
        if (lstat(child, &st) < 0)
            continue; /* gone meanwhile */
        if (S_ISDIR(st.st_mode))
            code = put_folder(p, child, inside, false);
        else if (S_ISREG(st.st_mode))
            code = put_file(p, child, inside);
    }
    return code;
}

static int pack(struct packer *p, const char *copy)
{
    int code = put_text(p, FIRST, FIRST_TEXT);

    if (code == 0)
        code = put_folder(p, copy, "store", false);
    if (code == 0)
        code = put_folder(p, p->config->data, "", true);
    if (code == 0)
        code = put_file(p, p->config->users, "htpasswd");
    if (code == 0)
        code = put_file(p, p->config->prometheus, "prometheus.yml");
    return code == 0 ? put_text(p, LAST, "whole\n") : code;
}

static int pack_to(const struct config *config, const char *copy, int fd)
{
    struct packer p = {.config = config, .archive = archive_write_new()};
    int code = 0;

    if (strncmp(config->unseal, "keyfile:", 8) == 0)
        p.unseal = config->unseal + 8;
    p.block = malloc(BLOCK_BYTES);
    if (p.block == NULL || archive_write_set_format_pax_restricted(p.archive) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(p.archive, (int)BLOCK_BYTES) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(p.archive, 1) != ARCHIVE_OK ||
        archive_write_open_fd(p.archive, fd) != ARCHIVE_OK)
        code = fail_archive(p.archive, "the backup");
    if (code == 0)
        code = pack(&p, copy);
    if (archive_write_close(p.archive) != ARCHIVE_OK && code == 0)
        code = fail_archive(p.archive, "the backup");
    archive_write_free(p.archive);
    free(p.block);
    return code;
}

static int remove_node(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_node, 16, FTW_DEPTH | FTW_PHYS);
}

/* To FILE.part, which gets its name when it is whole and on disk. */
static int pack_file(const struct config *config, const char *copy, const char *file)
{
    autofree char *part = NULL;
    int fd, code;

    if (strcmp(file, "-") == 0)
        return pack_to(config, copy, STDOUT_FILENO);
    if (asprintf(&part, "%s.part", file) < 0)
        return command_fail(EX_OSERR, "no memory");
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return command_fail(EX_CANTCREAT, "%s: %s", part, strerror(errno));
    code = pack_to(config, copy, fd);
    if (code == 0 && fsync(fd) < 0)
        code = command_fail(EX_IOERR, "%s: %s", part, strerror(errno));
    close(fd);
    if (code == 0 && (rename(part, file) < 0 || file_sync_folder(file) < 0))
        code = command_fail(EX_IOERR, "%s: %s", file, strerror(errno));
    if (code != 0)
        unlink(part);
    return code;
}

int run_backup(const struct command_line *line)
{
    int code = EX_CONFIG;
    scope_cleanup(scope_config) struct config *config = command_config(line, &code);
    autofree char *name = NULL, *copy = NULL;
    struct client c = {0};
    struct slice word;

    if (config == NULL)
        return code;
    if (asprintf(&name, "%lld-%d", (long long)clock_unix_ms(), (int)getpid()) < 0 ||
        asprintf(&copy, "%s/backups/%s", config->data, name) < 0)
        return command_fail(EX_OSERR, "no memory");
    word = slice_str(name);
    code = client_open(line, &c);
    if (code == 0)
        code = client_ask(&c, "PUT", "/tree/.infra/backup", &word);
    client_close(&c);
    if (code == 0 && access(copy, R_OK | X_OK) < 0)
        code =
            command_fail(EX_NOINPUT, "%s: %s; is this the daemon's data folder (--data, --config)?",
                         copy, strerror(errno));
    if (code == 0)
        code = pack_file(config, copy, line->operands[0]);
    remove_tree(copy);
    return code;
}

/* A path of the archive that stays inside: no "..", not absolute, not empty. */
static bool is_inside(const char *name)
{
    if (name == NULL || name[0] == 0 || name[0] == '/')
        return false;
    while (*name != 0) {
        size_t n = strcspn(name, "/");

        if (n == 0 || (n == 1 && name[0] == '.') || (n == 2 && strncmp(name, "..", 2) == 0))
            return false;
        name += n + (name[n] == '/');
    }
    return true;
}

static int unpack_file(struct archive *a, const char *target, const char *name)
{
    autofree char *path = NULL, *folder = NULL;
    autoclose int fd = -1;

    if (asprintf(&path, "%s/%s", target, name) < 0 || (folder = strdup(path)) == NULL)
        return command_fail(EX_OSERR, "no memory");
    *strrchr(folder, '/') = 0;
    if (file_make_folders(folder, 0700) < 0)
        return command_fail(EX_CANTCREAT, "%s: %s", folder, strerror(errno));
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return command_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
    if (archive_read_data_into_fd(a, fd) != ARCHIVE_OK)
        return fail_archive(a, name);
    return fsync(fd) < 0 ? command_fail(EX_IOERR, "%s: %s", path, strerror(errno)) : 0;
}

static int check_first(struct archive *a, const char *file)
{
    struct archive_entry *entry;
    char text[sizeof FIRST_TEXT] = "";

    if (archive_read_next_header(a, &entry) != ARCHIVE_OK ||
        strcmp(archive_entry_pathname(entry), FIRST) != 0)
        return command_fail(EX_DATAERR, "%s is no backup of infrafs", file);
    if (archive_read_data(a, text, sizeof text) != (la_ssize_t)strlen(FIRST_TEXT) ||
        strcmp(text, FIRST_TEXT) != 0)
        return command_fail(EX_DATAERR, "%s is a backup of another format", file);
    return 0;
}

static int unpack(struct archive *a, const char *file, const char *target)
{
    struct archive_entry *entry;
    int code = check_first(a, file), r;

    while (code == 0 && (r = archive_read_next_header(a, &entry)) != ARCHIVE_EOF) {
        const char *name = r == ARCHIVE_OK ? archive_entry_pathname(entry) : NULL;

        if (r != ARCHIVE_OK)
            return fail_archive(a, file);
        if (name != NULL && strcmp(name, LAST) == 0)
            return 0;
        if (!is_inside(name) || archive_entry_filetype(entry) != AE_IFREG)
            return command_fail(EX_DATAERR, "%s holds '%s', which no backup has", file,
                                name != NULL ? name : "");
        code = unpack_file(a, target, name);
    }
    return code == 0 ? command_fail(EX_DATAERR, "%s is cut: its end is missing", file) : code;
}

static int check_empty(const char *path)
{
    scope_cleanup(scope_folder) DIR *d = opendir(path);
    struct dirent *entry;

    if (d == NULL)
        return errno == ENOENT ? 0 : command_fail(EX_NOPERM, "%s: %s", path, strerror(errno));
    while ((entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return command_fail(EX_CANTCREAT, "%s is not empty: it holds '%s'", path,
                                entry->d_name);
    }
    return 0;
}

/* Beside the data folder first, then renamed over it: it is there whole, or not. */
int run_restore(const struct command_line *line)
{
    int code = EX_CONFIG;
    scope_cleanup(scope_config) struct config *config = command_config(line, &code);
    const char *file = line->operands[0];
    struct archive *a = archive_read_new();
    autofree char *part = NULL;

    if (config == NULL) {
        archive_read_free(a);
        return code;
    }
    code = check_empty(config->data);
    if (asprintf(&part, "%s.restored", config->data) < 0)
        code = command_fail(EX_OSERR, "no memory");
    archive_read_support_format_tar(a);
    if (code == 0 && archive_read_open_filename(a, strcmp(file, "-") == 0 ? NULL : file,
                                                BLOCK_BYTES) != ARCHIVE_OK)
        code = fail_archive(a, file);
    if (code == 0) {
        remove_tree(part);
        if (file_make_folders(part, 0700) < 0)
            code = command_fail(EX_CANTCREAT, "%s: %s", part, strerror(errno));
        if (code == 0)
            code = unpack(a, file, part);
        if (code == 0 && rename(part, config->data) < 0)
            code = command_fail(EX_CANTCREAT, "%s: %s", config->data, strerror(errno));
        if (code == 0 && file_sync_folder(config->data) < 0)
            code = command_fail(EX_IOERR, "%s: %s", config->data, strerror(errno));
        if (code != 0)
            remove_tree(part);
    }
    archive_read_free(a);
    if (code == 0)
        printf("%s is restored; put back what unseals its secrets, then start infrafs\n",
               config->data);
    return code;
}
