/* Templates of alerts, and files of rules that hold them: parsed and, where they parse, expanded. */
#include "metrics/rules/rule_file.h"
#include "metrics/rules/template.h"

static int answer(void *ctx, struct op *op, struct slice text, struct template_sample **ret,
                  size_t *ret_n, struct buf *why)
{
    static struct label labels[] = {{{"job", 3}, {"a", 1}}};

    (void)ctx;
    (void)why;
    *ret = op_alloc(op, sizeof **ret);
    (*ret)[0] = (struct template_sample){{labels, 1}, 1.5};
    *ret_n = text.len % 2;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct label labels[] = {{{"job", 3}, {"node", 4}}};
    struct template_env env = {
        .labels = {labels, 1}, .external_url = "http://h", .value = 2.5, .query = answer};
    struct slice text = slice_of(data, size);
    struct rule_groups groups = {0};
    struct buf out = {0}, why = {0};
    struct op op;

    op_init(&op, DOOR_INTERNAL, NULL);
    if (template_check(&op, "t", text, &why) == 0)
        (void)template_expand(&op, "t", &env, text, &out, &why);
    op_done(&op);
    buf_clear(&why);
    (void)rule_file_parse(text, "f.yml", &groups, &why);
    rule_groups_done(&groups);
    buf_done(&out);
    buf_done(&why);
    return 0;
}
