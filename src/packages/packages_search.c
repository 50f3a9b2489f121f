/* packages_search.c: `pip search`, an XML-RPC call as PyPI had it (docs.pypi.org, "XML-RPC
 * methods"), at /pypi and, where pypiserver has it, at /RPC2. The team's own projects, by name. */
#include "base/scope.h"
#include "base/utf8.h"
#include "identity/identity.h"
#include "packages/packages_web.h"
#include "packages/state.h"
#include "packages/xmlrpc.h"

#include <errno.h>

#define HITS_MAX 100 /* as many as PyPI told */

struct search {
    struct op *op;
    const char *words[XMLRPC_STRINGS_MAX]; /* folded */
    size_t n_words;
    bool any; /* one of the words is enough; else all of them */
    const char *exact;
    const char *hits[HITS_MAX]; /* beside the exact one */
    size_t n;
};

/* As names are compared: lower case, and one dash for each run of `-_.`. */
static const char *fold(struct op *op, struct slice word)
{
    char *folded = op_alloc(op, word.len + 1), *to = folded;
    const char *from = word.data;

    for (size_t i = 0; i < word.len; i++) {
        char c = from[i];

        if (c == '_' || c == '.')
            c = '-';
        if (c == '-' && to > folded && to[-1] == '-')
            continue;
        *to++ = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return folded;
}

/* What is looked for in names; without a word for them, the first there is, as pypiserver has it. */
static void choose_words(struct search *s, const struct xmlrpc_call *call)
{
    for (size_t i = 0; i < call->n; i++) {
        const struct xmlrpc_string *it = &call->strings[i];

        if (slice_eq(it->member, SLICE("name")))
            s->words[s->n_words++] = fold(s->op, it->text);
        else if (it->member.len == 0 && slice_eq(it->text, SLICE("or")))
            s->any = true;
    }
    if (s->n_words == 0 && call->n > 0)
        s->words[s->n_words++] = fold(s->op, call->strings[0].text);
}

static bool matches(const struct search *s, const char *project)
{
    size_t found = 0;

    for (size_t i = 0; i < s->n_words; i++)
        found += strstr(project, s->words[i]) != NULL;
    return found > 0 && (s->any || found == s->n_words);
}

static int try_project(void *ctx, const char *project, const char *display, bool has_files)
{
    struct search *s = ctx;

    (void)display;
    if (!has_files || !matches(s, project) ||
        !identity_may(s->op, POLICY_READ, "packages/%s", project))
        return 0;
    for (size_t i = 0; i < s->n_words; i++)
        if (s->exact == NULL && strcmp(project, s->words[i]) == 0) {
            s->exact = op_strdup(s->op, project);
            return 0;
        }
    if (s->n < array_size(s->hits))
        s->hits[s->n++] = op_strdup(s->op, project);
    return 0;
}

/* What XML cannot hold is left out. */
static void xml_text(struct buf *out, const char *s)
{
    struct slice rest = slice_str(s);

    while (rest.len > 0) {
        const char *c = rest.data;
        size_t n = utf8_length(rest);

        if (n == 1 && *c == '<')
            buf_add_str(out, "&lt;");
        else if (n == 1 && *c == '>')
            buf_add_str(out, "&gt;");
        else if (n == 1 && *c == '&')
            buf_add_str(out, "&amp;");
        else if (n == 1 && (unsigned char)*c < ' ')
            buf_add_char(out, ' ');
        else if (n > 0 && !(n == 3 && memcmp(c, "\xef\xbf", 2) == 0 && (uint8_t)c[2] >= 0xbe))
            buf_add(out, c, n);
        rest = slice_skip(rest, n > 0 ? n : 1);
    }
}

static void xml_member(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "<member><name>%s</name><value><string>", name);
    xml_text(out, text);
    buf_add_str(out, "</string></value></member>\n");
}

/* A project that went in the meantime, or whose files are held back, is left out. In an op of its
 * own: a project may have thousands of files. */
static int add_hit(struct web_request *req, const char *project, size_t ordering, struct buf *out)
{
    struct packages *pk = req->self;
    struct project_brief brief;
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, req->op->who);
    r = project_offers_files(&op, pk, project);
    if (r == 0)
        r = project_brief(&op, pk, project, &brief);
    if (r == 0) {
        buf_add_str(out, "<value><struct>\n");
        xml_member(out, "name", brief.display);
        xml_member(out, "version", brief.version);
        xml_member(out, "summary", brief.summary);
        buf_printf(out,
                   "<member><name>_pypi_ordering</name><value><int>%zu</int></value></member>\n"
                   "</struct></value>\n",
                   ordering);
    } else if (r != -ENOENT && r != -EACCES) {
        r = op_fail(req->op, -r, "%s", op_why(&op, r));
    } else {
        r = 0;
    }
    op_done(&op);
    return r;
}

static int search(struct web_request *req, const struct xmlrpc_call *call, struct buf *out)
{
    struct search s = {.op = req->op};
    size_t ordering = 0;
    int r;

    choose_words(&s, call);
    r = project_each(req->op, req->self, try_project, &s);
    buf_add_str(out, "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n"
                     "<value><array><data>\n");
    if (r == 0 && s.exact != NULL)
        r = add_hit(req, s.exact, ordering++, out);
    for (size_t i = 0; r == 0 && i < s.n && ordering < HITS_MAX; i++)
        r = add_hit(req, s.hits[i], ordering++, out);
    buf_add_str(out, "</data></array></value>\n</param>\n</params>\n</methodResponse>\n");
    return r;
}

/* A fault is an answer: the client shows its text. -32601: "requested method not found" (XML-RPC,
 * "Specification for Fault Code Interoperability"). */
static void no_method(struct buf *out)
{
    buf_add_str(out, "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>\n"
                     "<member><name>faultCode</name><value><int>-32601</int></value></member>\n");
    xml_member(out, "faultString", "there is no such method, only search; the index is at /simple/");
    buf_add_str(out, "</struct></value>\n</fault>\n</methodResponse>\n");
}

int api_search(struct web_request *req, struct web_response *resp)
{
    struct xmlrpc_call call;
    const char *why = NULL;
    autobuf out = {0};
    char *text;
    int r = 0;

    /* Who is not known hears that first. */
    if (!identity_touches(req->op->who, SLICE("packages/")))
        return identity_check(req->op, POLICY_LIST, "packages/");
    text = op_strndup(req->op, req->body.data, req->body.len);
    if (xmlrpc_parse(text, req->body.len, &call, &why) < 0)
        return op_fail(req->op, EINVAL, "the body is no call of XML-RPC: %s", why);
    if (slice_eq(call.method, SLICE("search")))
        r = search(req, &call, &out);
    else
        no_method(&out);
    if (r < 0)
        return r;
    web_reply_buf(req, resp, 200, "text/xml", &out);
    web_set_header(req, resp, "Cache-Control", "private, no-cache");
    return 0;
}
