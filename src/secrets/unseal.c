#include "secrets/unseal.h"

#include "base/codec.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/scope.h"
#include "op/op.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PREFIX   "infrafs-unseal-1 "
#define HEX_LEN  (2 * KEYRING_KEY_BYTES)
#define SUM_LEN  8
#define LINE_LEN (sizeof PREFIX - 1 + HEX_LEN + 1 + SUM_LEN)
#define FILE_MAX 4096

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
static int make_key(const char *path, uint8_t *ret, struct buf *why)
{
    char line[LINE_LEN + 2];
    char hex[HEX_LEN + 1], sum[SUM_LEN + 1];
    autoclose int fd = -1;
    int r = 0;

    if (RAND_bytes(ret, KEYRING_KEY_BYTES) != 1)
        return -EIO;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        r = -errno;
        buf_printf(why, "unseal key '%s' cannot be made: %s", path, strerror(-r));
        return r;
    }
    hex_encode(slice_of(ret, KEYRING_KEY_BYTES), hex);
    checksum(ret, sum);
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

static int use_key(struct keyring *k, const char *path, bool may_make, struct buf *why)
{
    uint8_t key[KEYRING_KEY_BYTES];
    int exists = keyring_exists(k);
    int r;

    if (exists < 0) {
        buf_add_str(why, "the keyring cannot be read from the store");
        return exists;
    }
    if (exists == 0 && may_make && access(path, F_OK) < 0)
        r = make_key(path, key, why);
    else
        r = read_key(path, key, why);
    if (r == 0)
        r = exists ? keyring_unseal(k, key) : keyring_init(k, key);
    explicit_bzero(key, sizeof key);
    if (r == -EBADMSG)
        buf_printf(why, "unseal key '%s' is not the one of this store", path);
    else if (r < 0 && why->len == 0)
        buf_printf(why, "keyring: %s", strerror(-r));
    if (r == 0)
        warn_if_open(path);
    return r;
}

int unseal_open(struct keyring *k, const char *method, struct buf *why)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    autofree char *path = NULL;

    if (strncmp(method, "keyfile:", 8) == 0)
        return use_key(k, method + 8, true, why);
    if (strncmp(method, "credential:", 11) != 0) {
        buf_printf(why, "unseal: '%s' is neither keyfile:PATH nor credential:NAME", method);
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
