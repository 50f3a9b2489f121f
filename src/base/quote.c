#include "base/quote.h"

void quote_escape(struct buf *out, struct slice s)
{
    const char *p = s.data;

    for (size_t i = 0; i < s.len; i++) {
        if (p[i] == '\\' || p[i] == '"')
            buf_add_char(out, '\\');
        if (p[i] == '\n')
            buf_add_str(out, "\\n");
        else
            buf_add_char(out, p[i]);
    }
}

void quote_put(struct buf *out, struct slice s)
{
    buf_add_char(out, '"');
    quote_escape(out, s);
    buf_add_char(out, '"');
}
