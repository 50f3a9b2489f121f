/* bench_targets PORT [SERIES]: answers GET on any loopback address of a port with a small
 * exposition, so that 127.0.x.y:PORT are as many targets as are wanted. One thread; a line of
 * requests and processor time each 10 s. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 4096

static char answer[1 << 20];
static size_t answer_len;
static unsigned long requests;

static void make_answer(unsigned series)
{
    char *body = malloc(64ul * (series + 1));
    size_t n = 0;

    for (unsigned i = 0; i < series; i++)
        n += (size_t)sprintf(body + n, "target_value{number=\"%u\"} %u\n", i, i * 7);
    answer_len = (size_t)snprintf(answer, sizeof answer,
                                  "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                                  "Content-Length: %zu\r\n\r\n%s",
                                  n, body);
    free(body);
}

static int listen_on(unsigned port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    at.sin_addr.s_addr = htonl(INADDR_ANY);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 16384) < 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void serve(int fd)
{
    char request[REQUEST_MAX];
    ssize_t n = read(fd, request, sizeof request);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            close(fd);
        return;
    }
    requests++;
    if (write(fd, answer, answer_len) != (ssize_t)answer_len)
        close(fd);
}

int main(int argc, char **argv)
{
    int listener = listen_on(argc > 1 ? (unsigned)atoi(argv[1]) : 9160);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    time_t said = time(NULL);
    int one = 1;

    make_answer(argc > 2 ? (unsigned)atoi(argv[2]) : 20);
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poll, events, 256, 1000);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                serve(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            }
        }
        if (time(NULL) - said >= 10) {
            said = time(NULL);
            printf("requests=%lu cpu_s=%.2f\n", requests, (double)clock() / CLOCKS_PER_SEC);
            fflush(stdout);
        }
    }
}
