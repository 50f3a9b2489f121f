/* token_batch.c: tokens that are not stored: "b." and their record, sealed by whoever has the keys.
 * They cannot be renewed or revoked; they end with their parent. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "identity/token_rows.h"
#include "identity/token_state.h"

#include <errno.h>

bool token_is_batch(struct slice text)
{
    return slice_starts(text, SLICE(BATCH_PREFIX));
}

int token_batch_make(struct tokens *t, struct op *op, const struct token_info *info,
                     const char **ret_text)
{
    struct buf record = {0}, sealed = {0}, text = {0};
    struct token_sealer sealer;
    int r;

    pthread_mutex_lock(&t->write_lock);
    sealer = t->sealer;
    pthread_mutex_unlock(&t->write_lock);
    token_record_print(info, &record);
    r = sealer.seal != NULL ? sealer.seal(sealer.ctx, buf_slice(&record), &sealed) : -ESHUTDOWN;
    buf_wipe(&record);
    if (r == 0) {
        buf_add_str(&text, BATCH_PREFIX);
        base64url_encode(&text, buf_slice(&sealed));
        if (text.len > TEXT_MAX)
            r = op_fail(op, EINVAL, "a batch token would be larger than %u bytes; give it less "
                                    "metadata", TEXT_MAX);
        else
            *ret_text = op_strndup(op, text.data, text.len);
    }
    buf_done(&sealed);
    buf_wipe(&text);
    return r;
}

static int decode_url(struct slice text, struct buf *out)
{
    autobuf plain = {0};

    for (size_t i = 0; i < text.len; i++) {
        char c = ((const char *)text.data)[i];

        if (c == '+' || c == '/' || c == '=')
            return -EINVAL;
        buf_add_char(&plain, (char)(c == '-' ? '+' : c == '_' ? '/' : c));
    }
    while (plain.len % 4 != 0)
        buf_add_char(&plain, '=');
    return base64_decode(out, buf_slice(&plain));
}

static int check_parent(struct tokens *t, const char *parent)
{
    struct token_record record;
    int r;

    if (parent[0] == 0 || strcmp(parent, ID_ROOT) == 0)
        return 0;
    r = token_record_load(t->ids->store, parent, &record);
    if (r == 0) {
        if (record.info.expire_unix_ms != 0 && record.info.expire_unix_ms <= clock_unix_ms())
            r = -ENOENT;
        token_record_done(&record);
    }
    return r;
}

int token_batch_open(struct tokens *t, struct op *op, struct slice text, struct token_info *ret)
{
    struct token_record record;
    struct buf sealed = {0}, plain = {0};
    int r = decode_url(slice_skip(text, strlen(BATCH_PREFIX)), &sealed);

    op->wiped = true;
    if (r == 0)
        r = t->sealer.open != NULL ? t->sealer.open(t->sealer.ctx, buf_slice(&sealed), &plain)
                                   : -ESHUTDOWN;
    if (r == 0)
        r = token_record_parse(buf_slice(&plain), "", &record);
    if (r == 0) {
        token_record_copy(op, &record.info, ret);
        token_record_done(&record);
        if (!ret->batch || ret->expire_unix_ms <= clock_unix_ms())
            r = -EPERM;
        else
            r = check_parent(t, ret->parent);
    }
    buf_done(&sealed);
    buf_wipe(&plain);
    if (r == -ESHUTDOWN)
        return r;
    return r < 0 ? token_bad(op) : 0;
}
