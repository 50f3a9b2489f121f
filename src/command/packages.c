/* packages.c: the commands that change what the package index says. */
#include "base/json.h"
#include "base/scope.h"
#include "command/client.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* Of a release, "shop==1.0", or of a file. An empty or absent reason is none. */
static int change_yank(const struct command_line *line, bool yanked, const char *reason)
{
    const char *package = line->operands[0], *equals = strstr(package, "==");
    struct client c = {0};
    autobuf body = {0}, path = {0};
    struct json j;
    int code;

    json_init(&j, &body);
    json_object(&j);
    if (equals != NULL) {
        buf_printf(&path, "/simple/%.*s/", (int)(equals - package), package);
        json_key(&j, "versions");
        json_array(&j);
        json_str(&j, equals + 2);
        json_array_end(&j);
    } else {
        buf_printf(&path, "/packages/%s", package);
    }
    if (yanked && reason != NULL && reason[0] != 0)
        json_kstr(&j, "yanked", reason);
    else
        json_kbool(&j, "yanked", yanked);
    json_object_end(&j);
    code = client_open(line, &c);
    if (code == 0) {
        struct slice text = buf_slice(&body);

        code = client_ask(&c, "PATCH", path.data, &text);
    }
    client_close(&c);
    return code;
}

int run_yank(const struct command_line *line)
{
    return change_yank(line, true, line_option(line, "reason"));
}

int run_unyank(const struct command_line *line)
{
    return change_yank(line, false, NULL);
}

int run_project_status(const struct command_line *line)
{
    const char *reason = line_option(line, "reason");
    struct client c = {0};
    autobuf body = {0}, path = {0};
    struct json j;
    int code;

    json_init(&j, &body);
    json_object(&j);
    json_key(&j, "project-status");
    json_object(&j);
    json_kstr(&j, "status", line->operands[1]);
    if (reason != NULL)
        json_kstr(&j, "reason", reason);
    json_object_end(&j);
    json_object_end(&j);
    buf_printf(&path, "/simple/%s/", line->operands[0]);
    code = client_open(line, &c);
    if (code == 0) {
        struct slice text = buf_slice(&body);

        code = client_ask(&c, "PATCH", path.data, &text);
    }
    client_close(&c);
    return code;
}
