#include "http/server.h"

static const struct route routes[] = {
    {0},
};

const struct domain http_domain = {.name = "tree", .routes = routes};
