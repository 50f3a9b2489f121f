/* page.h: the web page, one file without anything from elsewhere. */
#ifndef HTTP_PAGE_H
#define HTTP_PAGE_H

#include "web.h"

/* Returns new. *ret_policy, new too (free it): the Content-Security-Policy under which its own script
 * and style run, and nothing else. */
struct web_page *page_new(char **ret_policy);

#endif
