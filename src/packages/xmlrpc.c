#include "packages/xmlrpc.h"

#include "base/scope.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>

#define DEPTH_MAX 16

struct element {
    struct slice name;
    struct slice member; /* of a `member`: what its `name` said */
    bool has_children;
};

struct reader {
    char *at, *end;
    struct element open[DEPTH_MAX]; /* the root first */
    size_t depth;
    bool root_seen;
    struct slice text; /* of the innermost element, decoded */
    struct xmlrpc_call *call;
    const char *why;
};

static int refuse(struct reader *r, const char *why)
{
    r->why = why;
    return -EINVAL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s)
{
    const char *from = s.data;

    while (s.len > 0 && is_blank(from[s.len - 1]))
        s.len--;
    while (s.len > 0 && is_blank(*from)) {
        from++;
        s.len--;
    }
    return slice_of(from, s.len);
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

static bool starts(const struct reader *r, const char *with)
{
    size_t n = strlen(with);

    return (size_t)(r->end - r->at) >= n && memcmp(r->at, with, n) == 0;
}

/* XML 1.0, section 2.2 "Characters". */
static bool is_char(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0xd7ff) ||
           (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

/* At "&#": the digits behind it and the semicolon. */
static int read_number(struct reader *r, char **to)
{
    int base = starts(r, "&#x") ? 16 : 10;
    uint32_t c = 0;
    int digits = 0;

    for (r->at += base == 16 ? 3 : 2; r->at < r->end && digits < 8; r->at++, digits++) {
        char d = *r->at;
        uint32_t value = d >= '0' && d <= '9'   ? (uint32_t)(d - '0')
                         : d >= 'a' && d <= 'f' ? (uint32_t)(d - 'a' + 10)
                         : d >= 'A' && d <= 'F' ? (uint32_t)(d - 'A' + 10)
                                                : 16;

        if (value >= (uint32_t)base)
            break;
        c = c * (uint32_t)base + value;
    }
    if (digits == 0 || !starts(r, ";") || !is_char(c))
        return refuse(r, "a reference to a character is not one");
    r->at++;
    *to = utf8_put(*to, c); /* never longer than the reference */
    return 0;
}

static int read_reference(struct reader *r, char **to)
{
    static const struct {
        const char *text;
        char c;
    } known[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};

    if (starts(r, "&#"))
        return read_number(r, to);
    for (size_t i = 0; i < array_size(known); i++)
        if (starts(r, known[i].text)) {
            r->at += strlen(known[i].text);
            *(*to)++ = known[i].c;
            return 0;
        }
    return refuse(r, "only the five entities of XML itself are read");
}

/* Up to the next tag. */
static int read_text(struct reader *r)
{
    char *from = r->at, *to = r->at;
    int e = 0;

    while (e == 0 && r->at < r->end && *r->at != '<') {
        if (*r->at == '&')
            e = read_reference(r, &to);
        else if ((unsigned char)*r->at < ' ' && !is_blank(*r->at))
            e = refuse(r, "a control character stands in it");
        else
            *to++ = *r->at++;
    }
    if (e < 0)
        return e;
    r->text = slice_of(from, (size_t)(to - from));
    if (trim(r->text).len > 0 && (r->depth == 0 || r->open[r->depth - 1].has_children))
        return refuse(r, "text stands beside elements");
    return 0;
}

static bool is(const struct element *e, const char *name)
{
    return slice_eq(e->name, slice_str(name));
}

/* An element without others inside it ends. */
static int take_text(struct reader *r, const struct element *e)
{
    struct element *parent = r->depth > 0 ? &r->open[r->depth - 1] : NULL;
    struct slice text = trim(r->text), member = {0};

    if (parent == NULL)
        return 0;
    if (is(e, "methodName") && r->depth == 1)
        r->call->method = text;
    else if (is(e, "name") && is(parent, "member"))
        parent->member = text;
    /* XML-RPC: "If no type is indicated, the type is string." */
    if (!is(e, "string") && !is(e, "value"))
        return 0;
    for (size_t i = r->depth; i-- > 0 && member.len == 0;)
        if (is(&r->open[i], "member"))
            member = r->open[i].member;
    if (r->call->n == XMLRPC_STRINGS_MAX)
        return refuse(r, "it hands over too many strings");
    r->call->strings[r->call->n++] = (struct xmlrpc_string){member, text};
    return 0;
}

static int close_element(struct reader *r, struct slice name)
{
    struct element e;
    int result = 0;

    if (r->depth == 0 || !slice_eq(r->open[r->depth - 1].name, name))
        return refuse(r, "an element ends that did not begin");
    e = r->open[--r->depth];
    if (!e.has_children)
        result = take_text(r, &e);
    r->text = (struct slice){0};
    return result;
}

static int open_element(struct reader *r, struct slice name)
{
    if (r->depth == DEPTH_MAX)
        return refuse(r, "elements are nested too deep");
    if (r->depth == 0 && (r->root_seen || !slice_eq(name, SLICE("methodCall"))))
        return refuse(r, "it is not one methodCall");
    if (r->depth > 0 && trim(r->text).len > 0)
        return refuse(r, "text stands beside elements");
    if (r->depth > 0)
        r->open[r->depth - 1].has_children = true;
    r->root_seen = true;
    r->open[r->depth++] = (struct element){.name = name};
    r->text = (struct slice){0};
    return 0;
}

/* At '<'. */
static int read_tag(struct reader *r)
{
    bool closes = starts(r, "</"), empty;
    struct slice name;
    char *from;
    int e;

    from = r->at += closes ? 2 : 1;
    while (r->at < r->end && is_name(*r->at))
        r->at++;
    name = slice_of(from, (size_t)(r->at - from));
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
    empty = !closes && starts(r, "/>");
    if (name.len == 0 || (!empty && !starts(r, ">")))
        return refuse(r, "only elements without attributes are read");
    r->at += empty ? 2 : 1;
    if (closes)
        return close_element(r, name);
    e = open_element(r, name);
    return e == 0 && empty ? close_element(r, name) : e;
}

/* "<?xml version='1.0'?>", if it is there. */
static int skip_declaration(struct reader *r)
{
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
    if (!starts(r, "<?xml"))
        return 0;
    while (r->at < r->end && !starts(r, "?>"))
        r->at++;
    if (r->at == r->end)
        return refuse(r, "it ends too early");
    r->at += 2;
    return 0;
}

int xmlrpc_parse(char *text, size_t n, struct xmlrpc_call *ret, const char **ret_why)
{
    struct reader r = {.at = text, .end = text + n, .call = ret};
    int e = 0;

    *ret = (struct xmlrpc_call){0};
    if (!utf8_valid(slice_of(text, n)))
        e = refuse(&r, "it is not UTF-8");
    if (e == 0)
        e = skip_declaration(&r);
    while (e == 0 && r.at < r.end)
        e = *r.at == '<' ? read_tag(&r) : read_text(&r);
    if (e == 0 && (r.depth > 0 || !r.root_seen))
        e = refuse(&r, "it ends too early");
    if (e == 0 && ret->method.len == 0)
        e = refuse(&r, "it names no method");
    *ret_why = r.why;
    return e;
}
