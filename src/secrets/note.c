/* note.c: what the audit log is told of values. */
#include "identity/audit.h"
#include "secrets/secrets.h"
#include "secrets/tree_value.h"

void secrets_note_value(struct secrets *s, struct op *op, struct slice value)
{
    audit_note_values(s->audit, op, &value, 1);
}

void secrets_note_content(struct secrets *s, struct op *op, const struct kv_content *content)
{
    struct slice *values;
    struct object o;

    if (s->audit == NULL)
        return;
    if (object_parse(op, content->text, &o) < 0) {
        op_forgive(op); /* what is written is refused elsewhere, with the reason */
        return;
    }
    values = op_alloc(op, (o.n + 1) * sizeof *values);
    for (size_t i = 0; i < o.n; i++)
        values[i] = value_bytes(op, content, &o.members[i]);
    audit_note_values(s->audit, op, values, o.n);
}
