#include "identity/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A policy that parses compiles, and answers for any path. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autobuf why = {0};
    struct policy *p = NULL;
    struct policy_set *set;

    if (policy_parse(slice_of(data, size), &p, &why) < 0)
        return 0;
    set = policy_set_new(&p, 1);
    policy_free(p);
    policy_set_rights(set, slice_of(data, size < 64 ? size : 64));
    policy_set_touches(set, slice_of(data, size < 64 ? size : 64));
    policy_set_rights(set, SLICE("secret/data/a/b/"));
    policy_set_touches(set, SLICE("secret//"));
    policy_set_unref(set);
    return 0;
}
