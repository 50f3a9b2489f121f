/* xmlrpc.h: the call of an XML-RPC client, as far as `pip search` needs it: the method's name and the
 * strings that are handed over. Pure. */
#ifndef PACKAGES_XMLRPC_H
#define PACKAGES_XMLRPC_H

#include "base/slice.h"

#define XMLRPC_STRINGS_MAX 32

struct xmlrpc_string {
    struct slice member; /* of the innermost struct it is in; empty: in none */
    struct slice text;   /* without blanks around it */
};

/* Slices point into the text that was parsed. */
struct xmlrpc_call {
    struct slice method;
    struct xmlrpc_string strings[XMLRPC_STRINGS_MAX];
    size_t n;
};

/* Decodes in place: text is used up. Elements, text, the five entities of XML itself and characters
 * by number; what else XML may hold (declarations of a document's type, other entities, attributes,
 * comments, sections) no client of XML-RPC sends, and it is refused. -EINVAL, with a reason. */
int xmlrpc_parse(char *text, size_t n, struct xmlrpc_call *ret, const char **ret_why);

#endif
