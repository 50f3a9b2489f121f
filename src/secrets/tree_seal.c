/* tree_seal.c: `.infra/seal`: reads as the state, a line each, the first one "sealed" or "unsealed";
 * who writes `seal` there seals, and `unseal` opens again where no person is needed for it. */
#include "secrets/tree_seal.h"

#include "base/scope.h"
#include "identity/identity.h"
#include "secrets/seal.h"
#include "secrets/unseal.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define PATH       ".infra/seal"
#define WORD_BYTES 64u

bool tree_is_seal(const char *path)
{
    return strcmp(path, PATH) == 0;
}

static void print_state(struct secrets *s, struct buf *out)
{
    struct keyring_status status;

    guard(&s->lock);
    if (keyring_status(s->keyring, &status) == 0) {
        buf_printf(out, "unsealed\nterm %u\n", status.term);
        return;
    }
    buf_add_str(out, "sealed\n");
    if (s->sealed_why != NULL)
        buf_printf(out, "why %s\n", s->sealed_why);
}

int seal_stat(struct op *op, struct secrets *s, struct node_stat *ret)
{
    autobuf text = {0};

    print_state(s, &text);
    *ret = (struct node_stat){
        .type = NODE_FILE,
        .flags = NODE_VOLATILE | NODE_COMPUTED,
        .mode = identity_may(op, POLICY_UPDATE | POLICY_SUDO, "sys/seal") ? 0600 : 0400,
        .size_bytes = text.len,
    };
    return 0;
}

static int publish(struct op *op, void *ctx, struct slice content)
{
    struct secrets *s = ctx;
    const char *text = content.data;

    while (content.len > 0 && isspace((unsigned char)text[content.len - 1]))
        content.len--;
    if (slice_eq(content, SLICE("unseal")))
        return secrets_unseal_again(s, op);
    if (!slice_eq(content, SLICE("seal")))
        return op_fail(op, EINVAL, "write 'seal' or 'unseal'");
    secrets_seal(s);
    seal_forget(s);
    return 0;
}

int seal_open(struct op *op, struct secrets *s, unsigned flags, struct node_file **ret)
{
    struct node_buffer buffer = {
        .publish = publish,
        .ctx = s,
        .limit_bytes = WORD_BYTES,
        .flags = NODE_VOLATILE,
    };
    autobuf text = {0};
    int r;

    if ((flags & NODE_EXCL) != 0)
        return -EEXIST;
    if ((flags & NODE_WRITE) == 0) {
        print_state(s, &text);
        return node_bytes_open(buf_slice(&text), NODE_VOLATILE, ret);
    }
    r = identity_check(op, POLICY_UPDATE | POLICY_SUDO, "sys/seal");
    return r == 0 ? node_buffer_open(&buffer, ret) : r;
}
