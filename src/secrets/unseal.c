#include "secrets/unseal.h"

#include "base/codec.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PREFIX   "infrafs-unseal-1 "
#define HEX_LEN  (2 * KEYRING_KEY_BYTES)
#define SUM_LEN  8
#define LINE_LEN (sizeof PREFIX - 1 + HEX_LEN + 1 + SUM_LEN)
#define FILE_MAX 4096

/* libsodium's "interactive": an unseal is rare, but anybody may ask for one. */
#define PASSES     2u
#define MEMORY_KIB 65536u

static void checksum(const uint8_t *key, char ret[SUM_LEN + 1])
{
    struct digest d;

    digest_of(DIGEST_SHA256, key, KEYRING_KEY_BYTES, &d);
    hex_encode(slice_of(d.bytes, SUM_LEN / 2), ret);
}

static struct slice trimmed(struct slice s)
{
    const char *p = s.data;

    while (s.len > 0 && (p[s.len - 1] == '\n' || p[s.len - 1] == '\r' || p[s.len - 1] == ' '))
        s.len--;
    return s;
}

static int parse_line(struct slice s, uint8_t *ret, struct buf *why)
{
    char sum[SUM_LEN + 1];
    const char *hex = (const char *)s.data + sizeof PREFIX - 1;

    if (s.len != LINE_LEN) {
        buf_printf(why, "the key is cut: its line has %zu of %zu characters", s.len, LINE_LEN);
        return -EINVAL;
    }
    if (hex_decode(slice_of(hex, HEX_LEN), ret, KEYRING_KEY_BYTES) != KEYRING_KEY_BYTES ||
        hex[HEX_LEN] != ' ') {
        buf_add_str(why, "the key is damaged: not 64 hexadecimal digits");
        return -EINVAL;
    }
    checksum(ret, sum);
    if (memcmp(sum, hex + HEX_LEN + 1, SUM_LEN) != 0) {
        buf_add_str(why, "the key is damaged: its checksum differs");
        return -EINVAL;
    }
    return 0;
}

static bool parse_base64(struct slice s, uint8_t *ret)
{
    struct buf raw = {.limit_bytes = 256};
    bool ok = base64_decode(&raw, s) == 0 && raw.len == KEYRING_KEY_BYTES;

    if (ok)
        memcpy(ret, raw.data, KEYRING_KEY_BYTES);
    buf_wipe(&raw);
    return ok;
}

int unseal_parse(struct slice text, uint8_t ret[KEYRING_KEY_BYTES], struct buf *why)
{
    struct slice s = trimmed(text);

    if (slice_starts(s, SLICE("infrafs-unseal-")))
        return parse_line(s, ret, why);
    if (s.len == HEX_LEN && hex_decode(s, ret, KEYRING_KEY_BYTES) == KEYRING_KEY_BYTES)
        return 0;
    if (parse_base64(s, ret))
        return 0;
    buf_add_str(why, s.len == 0 ? "the key is empty" : "this is no unseal key");
    return -EINVAL;
}

static int read_key(const char *path, uint8_t *ret, struct buf *why)
{
    struct buf text = {0};
    autobuf reason = {0};
    int r = file_read(path, FILE_MAX, &text);

    if (r < 0)
        buf_printf(&reason, "%s", strerror(-r));
    else
        r = unseal_parse(buf_slice(&text), ret, &reason);
    if (r < 0)
        buf_printf(why, "unseal key '%s': %s", path, reason.data);
    buf_wipe(&text);
    return r;
}

/* Durable before the keyring is: a keyring whose key was lost in a power cut is lost as well. */
static int write_key(const char *path, const uint8_t *key, struct buf *why)
{
    char line[LINE_LEN + 2];
    char hex[HEX_LEN + 1], sum[SUM_LEN + 1];
    autoclose int fd = -1;
    int r = 0;

    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        r = -errno;
        buf_printf(why, "unseal key '%s' cannot be made: %s", path, strerror(-r));
        return r;
    }
    hex_encode(slice_of(key, KEYRING_KEY_BYTES), hex);
    checksum(key, sum);
    snprintf(line, sizeof line, PREFIX "%s %s\n", hex, sum);
    r = file_write_all(fd, slice_of(line, LINE_LEN + 1));
    explicit_bzero(line, sizeof line);
    explicit_bzero(hex, sizeof hex);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0)
        r = file_sync_folder(path);
    if (r < 0) {
        unlink(path);
        buf_printf(why, "unseal key '%s' cannot be written: %s", path, strerror(-r));
    }
    return r;
}

static void warn_if_open(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
        log_line(LOG_WARN, NULL, "secrets.keyfile_mode", "path=%s mode=%03o want=600", path,
                 st.st_mode & 0777);
}

static char *next_path(const char *path)
{
    char *ret;

    if (asprintf(&ret, "%s.new", path) < 0)
        abort();
    return ret;
}

/* After a crash between the two steps of a new key: whichever fits is the one. */
static int use_next_key(struct keyring *k, const char *path, uint8_t *key, struct buf *why)
{
    autofree char *next = next_path(path);
    int r = read_key(next, key, why);

    if (r == 0)
        r = keyring_unseal(k, key);
    if (r == 0 && (rename(next, path) < 0 || file_sync_folder(path) < 0))
        log_line(LOG_WARN, NULL, "secrets.keyfile_rename", "path=%s error=%s", path,
                 strerror(errno));
    return r;
}

static int make_keyring(struct keyring *k, const char *path, uint8_t *key, struct buf *why)
{
    int r;

    if (access(path, F_OK) == 0)
        r = read_key(path, key, why);
    else
        r = RAND_bytes(key, KEYRING_KEY_BYTES) == 1 ? write_key(path, key, why) : -EIO;
    return r == 0 ? keyring_init(k, key, NULL) : r;
}

static int unseal_keyring(struct keyring *k, const char *path, uint8_t *key, struct buf *why)
{
    autofree char *next = next_path(path);
    autobuf unused = {0};
    int r = read_key(path, key, why);

    if (r == 0)
        r = keyring_unseal(k, key);
    if (r == 0)
        unlink(next); /* of a change that did not happen */
    else if (access(next, F_OK) == 0 && use_next_key(k, path, key, &unused) == 0)
        r = 0;
    return r;
}

/* What is to be done, if it is no key that opens it. */
static int check_form(struct keyring *k, struct buf *why)
{
    struct keyring_form form = {0};
    int r = keyring_get_form(k, &form);

    if (r < 0 || form.threshold == 1) {
        if (r == 0 && form.kind == FORM_PASSPHRASE) {
            buf_add_str(why, "a passphrase opens this store; configure 'unseal: passphrase'");
            return -EINVAL;
        }
        return r;
    }
    buf_printf(why, "%u of %u shares open this store; configure 'unseal: shamir'", form.threshold,
               form.shares);
    return -EINVAL;
}

static int use_key(struct keyring *k, const char *path, bool may_make, struct buf *why)
{
    uint8_t key[KEYRING_KEY_BYTES];
    int exists = keyring_exists(k);
    int r = 0;

    if (exists < 0) {
        buf_add_str(why, "the keyring cannot be read from the store");
        return exists;
    }
    if (exists)
        r = check_form(k, why);
    if (r == 0 && !exists && may_make)
        r = make_keyring(k, path, key, why);
    else if (r == 0 && !exists)
        r = read_key(path, key, why);
    else if (r == 0)
        r = unseal_keyring(k, path, key, why);
    if (r == 0 && !exists && !may_make)
        r = keyring_init(k, key, NULL);
    explicit_bzero(key, sizeof key);
    if (r == -EBADMSG)
        buf_printf(why, "unseal key '%s' is not the one of this store", path);
    else if (r < 0 && why->len == 0)
        buf_printf(why, "keyring: %s", strerror(-r));
    if (r == 0)
        warn_if_open(path);
    return r;
}

bool unseal_by_people(const char *method)
{
    return strcmp(method, "shamir") == 0 || strcmp(method, "passphrase") == 0;
}

static int wait_for_people(struct keyring *k, const char *method, struct buf *why)
{
    struct keyring_form form;
    int r = keyring_get_form(k, &form);

    if (r == -ENOENT)
        buf_printf(why, "they are not initialized yet: %s",
                   strcmp(method, "shamir") == 0 ? "'bao operator init' makes the shares"
                                                 : "'infrafs unseal' sets the passphrase");
    else if (r < 0)
        buf_add_str(why, "the keyring cannot be read from the store");
    else if (form.kind == FORM_PASSPHRASE)
        buf_add_str(why, "a passphrase opens them: 'infrafs unseal'");
    else
        buf_printf(why, "%u of %u shares open them: 'bao operator unseal'", form.threshold,
                   form.shares);
    return r < 0 && r != -ENOENT ? r : -ENOKEY;
}

void unseal_passphrase_form(struct keyring_form *ret)
{
    *ret = (struct keyring_form){
        .kind = FORM_PASSPHRASE,
        .shares = 1,
        .threshold = 1,
        .passes = PASSES,
        .memory_kib = MEMORY_KIB,
    };
    randombytes_buf(ret->salt, sizeof ret->salt);
}

int unseal_passphrase_key(const struct keyring_form *form, struct slice passphrase,
                          uint8_t ret[KEYRING_KEY_BYTES])
{
    _Static_assert(sizeof form->salt == crypto_pwhash_SALTBYTES, "Argon2id's salt");
    if (form->passes < 1 || form->passes > 64 || form->memory_kib > 1024 * 1024)
        return -EINVAL;
    return crypto_pwhash(ret, KEYRING_KEY_BYTES, passphrase.data, passphrase.len, form->salt,
                         form->passes, (size_t)form->memory_kib * 1024,
                         crypto_pwhash_ALG_ARGON2ID13) == 0
               ? 0
               : -ENOMEM;
}

int unseal_keyfile_stage(struct op *op, const char *path, const uint8_t key[KEYRING_KEY_BYTES])
{
    autofree char *next = next_path(path);
    autobuf why = {0};
    int r;

    if (unlink(next) < 0 && errno != ENOENT)
        return op_fail(op, errno, "'%s': %s", next, strerror(errno));
    r = write_key(next, key, &why);
    return r < 0 ? op_fail(op, -r, "%s", why.data) : 0;
}

int unseal_keyfile_settle(struct op *op, const char *path, bool keep)
{
    autofree char *next = next_path(path);

    if (!keep)
        return unlink(next) < 0 ? -errno : 0;
    if (rename(next, path) < 0)
        return op_fail(op, errno, "'%s' could not be renamed to '%s': %s", next, path,
                       strerror(errno));
    return file_sync_folder(path);
}

int unseal_open(struct keyring *k, const char *method, struct buf *why)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    autofree char *path = NULL;

    if (strncmp(method, "keyfile:", 8) == 0)
        return use_key(k, method + 8, true, why);
    if (unseal_by_people(method))
        return wait_for_people(k, method, why);
    if (strncmp(method, "credential:", 11) != 0) {
        buf_printf(why, "unseal: '%s' is none of keyfile:PATH, credential:NAME, shamir, passphrase",
                   method);
        return -EINVAL;
    }
    if (folder == NULL || strchr(method + 11, '/') != NULL) {
        buf_printf(why,
                   "unseal: '%s' needs CREDENTIALS_DIRECTORY, which systemd sets for "
                   "LoadCredential=",
                   method);
        return -ENOENT;
    }
    if (asprintf(&path, "%s/%s", folder, method + 11) < 0)
        return -ENOMEM;
    return use_key(k, path, false, why);
}
