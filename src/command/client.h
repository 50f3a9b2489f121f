/* client.h: a running daemon, asked over HTTP. Private to src/command/. */
#ifndef COMMAND_CLIENT_H
#define COMMAND_CLIENT_H

#include "command/line.h"

#include <curl/curl.h>

struct client {
    CURL *curl;
    struct curl_slist *headers;
    char *address; /* without a slash at the end */
    char *mount;   /* where the daemon's tree is mounted here, or NULL */
    bool is_folder; /* the last answer was the listing of a folder of the tree */
    bool print;    /* a good answer goes to standard output as it comes */
    bool netrc;    /* a name and a password may come from ~/.netrc */
    bool too_large; /* the last answer was over what is taken, and is cut */
    bool quiet;    /* a refusal is not printed: `status` has it, and `answer` what was said */
    long status;   /* of the last answer */
    struct buf answer;
    struct buf token;
};

/* Finds the daemon and a token. An exit code; the reason was printed. Close it in any case. */
int client_open(const struct command_line *line, struct client *c);
/* Another server, with a token for it. */
int client_open_at(struct client *c, const char *address, const char *token);
void client_close(struct client *c);
/* A header that goes with each request from here on. */
void client_header(struct client *c, const char *header);
/* One request; `body` may be NULL, the path is percent-encoded here. An exit code; the reason was
 * printed. The answer is in c->answer unless it was printed. */
int client_ask(struct client *c, const char *method, const char *path, const struct slice *body);
/* A quiet GET with one number in the query. */
int client_ask_query(struct client *c, const char *path, const char *key, long value);
/* PUT of a whole file, from its beginning, streamed. */
int client_put(struct client *c, const char *path, FILE *file);
/* "/tree/" and a path of the tree, which may be written with the mount in front. Returns new. */
char *client_tree_path(const struct client *c, const char *path);
/* HEAD: is there something? Prints nothing. */
bool client_exists(struct client *c, const char *path);

#endif
