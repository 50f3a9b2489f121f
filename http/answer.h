/* answer.h: how an answer is put together; shared by the kinds of bodies. */
#ifndef HTTP_ANSWER_H
#define HTTP_ANSWER_H

#include "http/range.h"
#include "http/request.h"

/* A header the handler set, or NULL. */
const char *answer_header(const struct web_response *resp, const char *name);
bool answer_takes_gzip(const struct request *r);
/* The tag of the coded form: "x-gzip" for "x". In the op; NULL for none. */
const char *answer_coded_tag(struct request *r, const char *etag);
/* Has the client what would be sent? Then 304 is the answer, made with `sent_etag`. `size`: the bytes
 * that a 200 would have; MHD_SIZE_UNKNOWN: nobody knows. */
bool answer_not_modified(struct request *r, const char *etag, const char *sent_etag, uint64_t size);
/* Which part is asked for; sets status and headers. False: none of it is there, 416 is the answer. */
bool answer_part(struct request *r, uint64_t size, struct range *ret);
void answer_add_headers(struct MHD_Response *m, const struct web_response_header *h);
/* Must this connection be closed behind the answer? */
bool answer_closes(const struct request *r);
/* Finishes: adds the headers, sets r->response. Takes m; NULL: no body. */
void answer_respond(struct request *r, struct MHD_Response *m, const char *etag);

void answer_page(struct request *r);    /* prepared.c: WEB_PAGE */
void answer_content(struct request *r); /* content.c: WEB_BLOB and WEB_FILE */

#endif
