/* web_router.h: many tables of routes, compiled once: a request walks down the literal segments of
 * its path and meets only the patterns that stand there. For who serves; see web.h for patterns. */
#ifndef WEB_ROUTER_H
#define WEB_ROUTER_H

#include "web.h"

struct web_router;

struct web_router *web_router_new(void); /* returns new */
void web_router_free(struct web_router *r);
/* Adds a table that ends with {0}; it must outlive the router. `owner` comes back with its routes.
 * Of equal patterns the one that was added first wins. */
void web_router_add(struct web_router *r, const struct route *routes, void *owner);
/* Sets req->params and req->route. 0, -ENOENT, or -ENOTSUP with *ret_allow in the op. On -ENOTSUP
 * *ret_owner is that of the pattern that fits, on -ENOENT the owner of a route that shares the most
 * of the path's beginning, or NULL. */
int web_router_find(const struct web_router *r, struct web_request *req, void **ret_owner,
                    const char **ret_allow);

#endif
