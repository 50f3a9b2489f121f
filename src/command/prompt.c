#include "command/prompt.h"

#include "base/scope.h"
#include "command/line.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sysexits.h>
#include <termios.h>

#define LIMIT 4096

/* One line from the terminal, not shown. */
static int ask(int tty, const char *prompt, struct buf *ret)
{
    struct termios before, silent;
    char c;
    int r = 0;

    if (tcgetattr(tty, &before) < 0)
        return -errno;
    silent = before;
    silent.c_lflag &= (tcflag_t) ~(ECHO | ECHOE | ECHOK);
    silent.c_lflag |= ECHONL;
    tcsetattr(tty, TCSAFLUSH, &silent);
    if (write(tty, prompt, strlen(prompt)) < 0)
        r = -errno;
    buf_reserve(ret, LIMIT);
    while (r == 0) {
        ssize_t n = read(tty, &c, 1);

        if (n <= 0) {
            r = n < 0 ? -errno : -ECANCELED;
            break;
        }
        if (c == '\n' || ret->len == LIMIT)
            break;
        buf_add_char(ret, c);
    }
    tcsetattr(tty, TCSAFLUSH, &before);
    return r;
}

static int ask_at_terminal(const char *prompt, struct buf *ret, struct buf *again)
{
    autoclose int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int r;

    if (tty < 0)
        return command_fail(EX_USAGE, "there is no terminal to ask at; give it on standard input "
                                      "(--password-stdin, --key-stdin)");
    r = ask(tty, prompt, ret);
    if (r == 0 && again != NULL)
        r = ask(tty, "The same again: ", again);
    return r < 0 ? command_fail(EX_NOINPUT, "it was not read: %s", strerror(-r)) : 0;
}

int prompt_once(const char *prompt, struct buf *ret)
{
    return ask_at_terminal(prompt, ret, NULL);
}

int prompt_twice(const char *prompt, struct buf *ret)
{
    struct buf again = {0};
    int r = ask_at_terminal(prompt, ret, &again);

    if (r == 0 && !slice_eq(buf_slice(ret), buf_slice(&again)))
        r = command_fail(EX_DATAERR, "the two passwords differ");
    buf_wipe(&again);
    return r;
}

int prompt_stdin(struct buf *ret)
{
    char bytes[512];
    ssize_t n;

    buf_reserve(ret, LIMIT + sizeof bytes);
    while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) > 0 && ret->len <= LIMIT)
        buf_add(ret, bytes, (size_t)n);
    explicit_bzero(bytes, sizeof bytes);
    if (n < 0)
        return command_fail(EX_NOINPUT, "standard input: %s", strerror(errno));
    if (ret->len > 0 && ret->data[ret->len - 1] == '\n')
        ret->len--;
    if (ret->len > 0 && ret->data[ret->len - 1] == '\r')
        ret->len--;
    return 0;
}
