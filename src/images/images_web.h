/* images_web.h: the OCI distribution API's handlers, by what they serve; images_web.c has the table
 * of routes and the errors. */
#ifndef IMAGES_WEB_H
#define IMAGES_WEB_H

#include "images/state.h"
#include "web.h"

/* The repository of the request, checked: its name, and the right to do this in it. */
int web_repo(struct web_request *req, unsigned rights, const char **ret);
/* The same for who would push there: a mirror takes nothing. */
int web_repo_to_push(struct web_request *req, const char **ret);
/* Is `repo` the default mirror's, in place of a name that nobody has here? Then the caller may be
 * about to push to it, also where he did not log in yet or has a token to pull: a HEAD of a digest
 * asks what the repository itself has. */
bool web_may_be_new(struct web_request *req, const char *repo);
/* "?n=" (at most IMAGES_PAGE_MAX, also when absent) and "?last=" ("" when absent). */
int web_paging(struct web_request *req, size_t *ret_n, const char **ret_last);
/* Link: <path?n=N&last=LAST&extra>; rel="next". n 0 leaves it out; extra may be NULL. */
void web_next_link(struct web_request *req, struct web_response *resp, size_t n, const char *last,
                   const char *extra);
void web_set_digest(struct web_request *req, struct web_response *resp, const struct digest *d);

/* web_token.c: the WWW-Authenticate of a 401, and who trades a login for a token. */
void web_challenge(struct web_request *req, struct web_response *resp);
int token_get(struct web_request *req, struct web_response *resp);
int token_post(struct web_request *req, struct web_response *resp);

/* web_manifests.c */
int manifests_get(struct web_request *req, struct web_response *resp);
int manifests_put(struct web_request *req, struct web_response *resp);
int manifests_delete(struct web_request *req, struct web_response *resp);
int referrers_get(struct web_request *req, struct web_response *resp);

/* web_blobs.c */
int blobs_get(struct web_request *req, struct web_response *resp);
int blobs_delete(struct web_request *req, struct web_response *resp);

/* web_uploads.c */
int uploads_post_begin(struct web_request *req);
int uploads_chunk_begin(struct web_request *req);
int uploads_data(struct web_request *req, const void *bytes, size_t n);
void uploads_end(struct web_request *req);
int uploads_post(struct web_request *req, struct web_response *resp);
int uploads_patch(struct web_request *req, struct web_response *resp);
int uploads_put(struct web_request *req, struct web_response *resp);
int uploads_get(struct web_request *req, struct web_response *resp);
int uploads_delete(struct web_request *req, struct web_response *resp);
/* Where the session stands, on a 416 too. */
void uploads_status_headers(struct web_request *req, struct web_response *resp, const char *repo,
                            const char *id, uint64_t size_bytes);

/* images_tree.c */
extern const struct node_ops images_tree;

#endif
