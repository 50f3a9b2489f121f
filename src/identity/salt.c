/* salt.c: the key of this installation, under which values and tokens are hashed. */
#include "base/file.h"
#include "base/scope.h"
#include "identity/state.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <sys/random.h>

/* Written beside and linked into place: a crash leaves no short one. */
static int make(const char *path, struct buf *why)
{
    uint8_t key[IDENTITY_KEY_BYTES];
    autofree char *temporary = NULL;
    autoclose int fd = -1;
    int r = 0;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        temporary = NULL;
        return -ENOMEM;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0 || getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
        r = -errno;
    if (r == 0)
        r = file_write_all(fd, slice_of(key, sizeof key));
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && link(temporary, path) < 0 && errno != EEXIST)
        r = -errno;
    if (fd >= 0)
        unlink(temporary);
    if (r == 0)
        r = file_sync_folder(path);
    if (r < 0)
        buf_printf(why, "%s: %s", path, strerror(-r));
    return r;
}

int salt_read(const char *data, uint8_t ret[IDENTITY_KEY_BYTES], struct buf *why)
{
    autofree char *path = NULL;
    autobuf key = {0};
    int r;

    if (asprintf(&path, "%s/salt", data) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    r = file_read(path, 4096, &key);
    if (r == -ENOENT) {
        r = make(path, why);
        if (r == 0)
            r = file_read(path, 4096, &key);
    }
    if (r == 0 && key.len != IDENTITY_KEY_BYTES)
        r = -EPROTO;
    if (r == 0)
        memcpy(ret, key.data, IDENTITY_KEY_BYTES);
    else if (why->len == 0)
        buf_printf(why, "%s: %s", path, r == -EPROTO ? "is not a salt of 32 bytes" : strerror(-r));
    return r;
}

void salt_hmac(const uint8_t key[IDENTITY_KEY_BYTES], struct slice value, uint8_t ret[32])
{
    unsigned len = 32;

    if (HMAC(EVP_sha256(), key, IDENTITY_KEY_BYTES, value.len > 0 ? value.data : (const void *)"",
             value.len, ret, &len) == NULL)
        abort();
}
