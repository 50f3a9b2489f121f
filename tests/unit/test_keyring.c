/* The barrier: what Vault's own tests of its barrier ask (aes_gcm), and how a store is unsealed. */
#include "base/file.h"
#include "secrets/lockmem.h"
#include "secrets/unseal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const uint8_t unseal_key[KEYRING_KEY_BYTES] = {1, 2, 3};
static const struct slice part = {"p", 1};

struct world {
    struct store *store;
    struct keyring *keyring;
    char folder[64];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct buf why = {0};

    assert_int_equal(store_open("mem:", NULL, &w->store, &why), 0);
    w->keyring = keyring_new(w->store);
    snprintf(w->folder, sizeof w->folder, "/tmp/keyring-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char path[128];

    snprintf(path, sizeof path, "%s/key", w->folder);
    unlink(path);
    rmdir(w->folder);
    keyring_free(w->keyring);
    store_close(w->store);
    free(w);
    return 0;
}

static struct buf encrypted(struct world *w, const char *key, const char *plain)
{
    struct buf out = {0};

    assert_int_equal(keyring_encrypt(w->keyring, part, slice_str(key), slice_str(plain), &out), 0);
    return out;
}

static int decrypts(struct world *w, const char *key, const struct buf *record, char *ret)
{
    memset(ret, 0, 256);
    return keyring_decrypt(w->keyring, part, slice_str(key), buf_slice(record), ret);
}

static void sealed_refuses_everything(void **state)
{
    struct world *w = *state;
    uint8_t blind[KEYRING_BLIND_BYTES];
    struct keyring_status status;
    struct buf out = {0};
    char text[256];

    assert_int_equal(keyring_exists(w->keyring), 0);
    assert_int_equal(keyring_unseal(w->keyring, unseal_key), -ENOENT);
    assert_true(keyring_is_sealed(w->keyring));
    assert_int_equal(keyring_encrypt(w->keyring, part, part, SLICE("x"), &out), -ESHUTDOWN);
    assert_int_equal(decrypts(w, "k", &out, text), -ESHUTDOWN);
    assert_int_equal(keyring_blind(w->keyring, part, 1, part, blind), -ESHUTDOWN);
    assert_int_equal(keyring_status(w->keyring, &status), -ESHUTDOWN);
    assert_int_equal(keyring_rotate(w->keyring), -ESHUTDOWN);
    buf_done(&out);
}

static void round_trip_and_uniqueness(void **state)
{
    struct world *w = *state;
    struct buf a, b;
    char text[256];

    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), 0);
    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), -EEXIST);
    a = encrypted(w, "k", "attack at dawn");
    b = encrypted(w, "k", "attack at dawn");
    assert_int_equal(a.len, strlen("attack at dawn") + KEYRING_OVERHEAD_BYTES);
    assert_int_equal(decrypts(w, "k", &a, text), 0);
    assert_string_equal(text, "attack at dawn");
    assert_false(slice_eq(buf_slice(&a), buf_slice(&b))); /* the same plaintext differs */
    assert_null(memmem(a.data, a.len, "attack", 6));
    buf_done(&a);
    buf_done(&b);
    a = encrypted(w, "k", "");
    assert_int_equal(decrypts(w, "k", &a, text), 0);
    buf_done(&a);
}

static void any_flipped_bit_is_seen(void **state)
{
    struct world *w = *state;
    struct buf a;
    char text[256];

    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), 0);
    a = encrypted(w, "k", "value");
    for (size_t i = 0; i < a.len; i++) {
        a.data[i] ^= 1;
        assert_int_equal(decrypts(w, "k", &a, text), -EIO);
        a.data[i] ^= 1;
    }
    for (size_t n = 0; n < a.len; n++)
        assert_int_equal(keyring_decrypt(w->keyring, part, SLICE("k"), slice_of(a.data, n), text),
                         -EIO);
    assert_int_equal(decrypts(w, "k", &a, text), 0);
    buf_done(&a);
}

static void records_cannot_move(void **state)
{
    struct world *w = *state;
    struct buf a;
    char text[256];

    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), 0);
    a = encrypted(w, "ab", "value");
    assert_int_equal(decrypts(w, "ac", &a, text), -EIO);
    assert_int_equal(keyring_decrypt(w->keyring, SLICE("pa"), SLICE("b"), buf_slice(&a), text),
                     -EIO); /* the border between partition and key counts */
    assert_int_equal(keyring_decrypt(w->keyring, SLICE("q"), SLICE("ab"), buf_slice(&a), text),
                     -EIO);
    buf_done(&a);
}

static void rotation_keeps_old_readable(void **state)
{
    struct world *w = *state;
    struct keyring_status status;
    struct buf records[4];
    char text[256];

    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        records[i] = encrypted(w, "k", "value");
        assert_int_equal(keyring_rotate(w->keyring), 0);
    }
    assert_int_equal(keyring_status(w->keyring, &status), 0);
    assert_int_equal(status.term, 5);
    assert_int_equal(status.encryptions, 0);
    keyring_seal(w->keyring);
    assert_int_equal(decrypts(w, "k", &records[0], text), -ESHUTDOWN);
    assert_int_equal(keyring_unseal(w->keyring, unseal_key), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(decrypts(w, "k", &records[i], text), 0);
        assert_string_equal(text, "value");
        buf_done(&records[i]);
    }
}

static void wrong_key_stays_sealed(void **state)
{
    struct world *w = *state;
    uint8_t wrong[KEYRING_KEY_BYTES] = {9};
    uint8_t blind[2][KEYRING_BLIND_BYTES];

    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), 0);
    assert_int_equal(keyring_blind(w->keyring, part, 1, SLICE("name"), blind[0]), 0);
    keyring_seal(w->keyring);
    assert_int_equal(keyring_unseal(w->keyring, wrong), -EBADMSG);
    assert_true(keyring_is_sealed(w->keyring));
    assert_int_equal(keyring_unseal(w->keyring, unseal_key), 0);
    assert_int_equal(keyring_unseal(w->keyring, unseal_key), 0);
    assert_int_equal(keyring_blind(w->keyring, part, 1, SLICE("name"), blind[1]), 0);
    assert_memory_equal(blind[0], blind[1], KEYRING_BLIND_BYTES);
    assert_int_equal(keyring_blind(w->keyring, part, 2, SLICE("name"), blind[1]), 0);
    assert_memory_not_equal(blind[0], blind[1], KEYRING_BLIND_BYTES);
}

/* A store that fails while the keyring is made or rotated leaves the one before. */
static void faults_leave_the_old_keyring(void **state)
{
    struct world *w = *state;
    struct buf a;
    char text[256];

    store_fault(w->store, 0, EIO);
    assert_true(keyring_init(w->keyring, unseal_key, NULL) < 0);
    store_fault(w->store, 0, 0);
    assert_int_equal(keyring_exists(w->keyring), 0);
    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), 0);
    a = encrypted(w, "k", "value");
    store_fault(w->store, 0, ENOSPC);
    assert_true(keyring_rotate(w->keyring) < 0);
    store_fault(w->store, 0, 0);
    assert_int_equal(decrypts(w, "k", &a, text), 0);
    keyring_seal(w->keyring);
    assert_int_equal(keyring_unseal(w->keyring, unseal_key), 0);
    assert_int_equal(decrypts(w, "k", &a, text), 0);
    buf_done(&a);
}

static void keyfile(void **state)
{
    struct world *w = *state;
    struct buf why = {0}, text = {0}, other = {0};
    char method[192], path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/key", w->folder);
    snprintf(method, sizeof method, "keyfile:%s", path);
    assert_int_equal(unseal_open(w->keyring, method, &why), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    keyring_seal(w->keyring);
    assert_int_equal(unseal_open(w->keyring, method, &why), 0); /* as after a restart */
    keyring_seal(w->keyring);

    assert_int_equal(file_read(path, 4096, &text), 0);
    for (size_t n = 0; n < text.len - 1; n += 7) { /* without its newline it is still whole */
        buf_clear(&why);
        assert_int_equal(file_replace(path, slice_of(text.data, n), 0600), 0);
        assert_true(unseal_open(w->keyring, method, &why) < 0);
        assert_non_null(strstr(why.data, path));
        assert_true(keyring_is_sealed(w->keyring));
    }
    buf_clear(&why);
    buf_add_slice(&other, buf_slice(&text));
    other.data[30] = other.data[30] == '0' ? '1' : '0';
    assert_int_equal(file_replace(path, buf_slice(&other), 0600), 0);
    assert_int_equal(unseal_open(w->keyring, method, &why), -EINVAL);
    assert_non_null(strstr(why.data, "checksum"));
    buf_clear(&why);
    assert_int_equal(
        file_replace(
            path, SLICE("1111111111111111111111111111111111111111111111111111111111111111"), 0600),
        0);
    assert_int_equal(unseal_open(w->keyring, method, &why), -EBADMSG);
    assert_non_null(strstr(why.data, "not the one of this store"));
    buf_clear(&why);
    unlink(path);
    assert_int_equal(unseal_open(w->keyring, method, &why),
                     -ENOENT); /* no new key for an old store */
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(file_replace(path, buf_slice(&text), 0600), 0);
    assert_int_equal(unseal_open(w->keyring, method, &why), 0);
    buf_done(&why);
    buf_done(&text);
    buf_done(&other);
}

static void credential(void **state)
{
    struct world *w = *state;
    struct buf why = {0};
    char path[128];

    unsetenv("CREDENTIALS_DIRECTORY");
    assert_int_equal(unseal_open(w->keyring, "credential:key", &why), -ENOENT);
    buf_clear(&why);
    setenv("CREDENTIALS_DIRECTORY", w->folder, 1);
    assert_int_equal(unseal_open(w->keyring, "credential:key", &why), -ENOENT);
    snprintf(path, sizeof path, "%s/key", w->folder);
    assert_int_equal(access(path, F_OK), -1); /* never made by us */
    assert_int_equal(
        file_replace(path,
                     SLICE("00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\n"),
                     0600),
        0);
    buf_clear(&why);
    assert_int_equal(unseal_open(w->keyring, "credential:key", &why), 0);
    keyring_seal(w->keyring);
    assert_int_equal(unseal_open(w->keyring, "credential:key", &why), 0);
    assert_int_equal(unseal_open(w->keyring, "credential:../key", &why), -ENOENT);
    buf_clear(&why);
    assert_int_equal(unseal_open(w->keyring, "pinfile:x", &why), -EINVAL);
    unsetenv("CREDENTIALS_DIRECTORY");
    buf_done(&why);
}

static void keys_cannot_be_read_by_others(void **state)
{
    static const char marker[] = "marker in hidden memory";
    char *p = lockmem_new(sizeof marker);
    char got[sizeof marker] = {0};
    int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

    (void)state;
    if (fd < 0 || !lockmem_is_hidden()) {
        if (fd >= 0)
            close(fd);
        lockmem_free(p, sizeof marker);
        skip();
    }
    memcpy(p, marker, sizeof marker);
    assert_int_equal(pread(fd, got, sizeof got, (off_t)(uintptr_t)p), -1);
    close(fd);
    lockmem_free(p, sizeof marker);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sealed_refuses_everything),
        TEST(round_trip_and_uniqueness),
        TEST(any_flipped_bit_is_seen),
        TEST(records_cannot_move),
        TEST(rotation_keeps_old_readable),
        TEST(wrong_key_stays_sealed),
        TEST(faults_leave_the_old_keyring),
        TEST(keyfile),
        TEST(credential),
        cmocka_unit_test(keys_cannot_be_read_by_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
