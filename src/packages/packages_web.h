/* packages_web.h: the PyPI dialect: the simple index (PEP 503, 691), files, and uploads. */
#ifndef PACKAGES_PACKAGES_WEB_H
#define PACKAGES_PACKAGES_WEB_H

#include "packages/packages.h"
#include "web.h"

extern const struct route packages_routes[];

void packages_render(void *self, struct web_request *req, int err, struct web_response *resp);

/* Changes (packages_api.c). */
#define API_BODY_MAX (64u << 10)
int api_patch_file(struct web_request *req, struct web_response *resp);
int api_delete_file(struct web_request *req, struct web_response *resp);
int api_patch_project(struct web_request *req, struct web_response *resp);

/* Checks the name in the path and the right to see it. *ret is normalised, in the op. */
int packages_read_project(struct web_request *req, const char **ret);
/* PyPI's JSON API (packages_json.c). */
int api_project_json(struct web_request *req, struct web_response *resp);

/* What an installer would choose of a project, and what that says of itself. In the op. -ENOENT: it
 * has no files (packages_json.c). */
struct project_brief {
    const char *display, *version, *summary;
};
int project_brief(struct op *op, struct packages *pk, const char *project,
                  struct project_brief *ret);
/* `pip search` (packages_search.c). */
#define SEARCH_BODY_MAX (64u << 10)
int api_search(struct web_request *req, struct web_response *resp);

/* The upload's route (upload.c). */
int upload_begin(struct web_request *req);
int upload_data(struct web_request *req, const void *bytes, size_t n);
int upload_handle(struct web_request *req, struct web_response *resp);
void upload_end(struct web_request *req);

#endif
