/* listing.h: a folder of the tree as JSON or HTML. */
#ifndef HTTP_LISTING_H
#define HTTP_LISTING_H

#include "tree.h"
#include "web.h"

/* JSON: {"path": "a/b", "entries": [{"name", "type": "file"|"folder"|"symlink", "size", "mtime"
 * (milliseconds), "target"}…], "writable"}, sorted by name; with "X-Node: folder", so that it is not
 * taken for a file that holds such text. `slash`: the URL ended in one; a browser is sent there
 * first, so that links of the HTML are relative to the folder. */
int listing_reply(struct tree *t, struct web_request *req, struct web_response *resp,
                  const char *path, bool slash);

#endif
