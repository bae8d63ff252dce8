/* io/http against a server of bad manners. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "http_client.h"
#include "servers.h"

static unsigned port;
static pid_t server;
static int *seen; /* shared: how often the server has taken a whole POST */

static int listen_on_loopback(unsigned *bound)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *bound = ntohs(in.sin_port);
    return fd;
}

/* Reads one request; its path, or "" at the end. Bodies are read by their Content-Length. */
static bool read_request(int fd, char *request, size_t size)
{
    size_t len = 0;
    char *end = NULL;

    while (len + 1 < size) {
        ssize_t n = read(fd, request + len, size - len - 1);
        if (n <= 0) {
            return false;
        }
        if (len == 0 && request[0] == 0x16) {
            return false; /* TLS, where none is spoken */
        }
        len += (size_t)n;
        request[len] = '\0';
        end = end != NULL ? end : strstr(request, "\r\n\r\n");
        if (end != NULL) {
            const char *header = strcasestr(request, "content-length:");
            size_t want = header != NULL && header < end ? strtoul(header + 15, NULL, 10) : 0;
            if (len - (size_t)(end + 4 - request) >= want) {
                *seen += strncmp(request, "POST", 4) == 0;
                return true;
            }
        }
    }
    return false;
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0) {
        _exit(0);
    }
}

static void serve_connection(int fd)
{
    char request[65536];

    while (read_request(fd, request, sizeof(request))) {
        const char *path = strchr(request, '/');
        if (strncmp(path, "/ok", 3) == 0) {
            say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Two: a\r\nX-Two: b\r\n\r\nok");
        } else if (strncmp(path, "/busy", 5) == 0) {
            say(fd, "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
        } else if (strncmp(path, "/echo", 5) == 0) {
            char head[128];
            const char *body = strstr(request, "\r\n\r\n") + 4;
            snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                     strlen(body));
            say(fd, head);
            say(fd, body);
        } else if (strncmp(path, "/big", 4) == 0) {
            say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            for (int i = 0; i < 1000; i++) {
                say(fd, "0123456789012345678901234567890123456789012345678901234567890123456789"
                        "012345678901234567890123456789");
            }
        } else if (strncmp(path, "/headers", 8) == 0) {
            say(fd, "HTTP/1.1 200 OK\r\n");
            for (int i = 0; i < 10000; i++) {
                say(fd, "X-Endless: 0123456789012345678901234567890123456789\r\n");
            }
        } else if (strncmp(path, "/stall", 6) == 0) {
            sleep(30);
        } else if (strncmp(path, "/half", 5) == 0) {
            say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            break;
        } else if (strncmp(path, "/nothing", 8) == 0) {
            break;
        } else if (strncmp(path, "/redirect", 9) == 0) {
            say(fd, "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
        } else if (strncmp(path, "/nonsense", 9) == 0) {
            say(fd, "SSH-2.0-OpenSSH\r\n");
            break;
        }
    }
    close(fd);
}

static void serve(int listener)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve_connection(fd);
            _exit(0);
        }
        close(fd);
    }
}

static void start(struct http *http, const char *method, const char *path, struct str body,
                  bool once, void *owner)
{
    char url[100];
    struct error err;
    struct http_header headers[] = {{"Content-Type", "application/json"}};

    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
    struct http_request request = {method, url, headers, 1, body, once, owner};
    assert_true(http_start(http, &request, &err));
}

static struct http_response get(struct http *http, const char *path)
{
    struct http_response response;

    start(http, "GET", path, STR_NULL, false, NULL);
    finish(http, &response);
    return response;
}

static struct http_response post(struct http *http, const char *path, bool once)
{
    struct http_response response;

    start(http, "POST", path, STR("{\"a\":1}"), once, NULL);
    finish(http, &response);
    return response;
}

static void answers(void **state)
{
    struct http *http = create(4, 5000);
    struct http_response r = get(http, "/ok");

    (void)state;
    assert_int_equal(r.fate, HTTP_ANSWERED);
    assert_int_equal(r.status, 200);
    assert_true(str_is(r.body, "ok"));
    assert_true(r.seconds > 0);
    assert_string_equal(http_header(http, "x-two"), "b");
    assert_string_equal(http_header(http, "X-Missing"), "");

    r = get(http, "/busy");
    assert_int_equal(r.status, 429);
    assert_string_equal(http_header(http, "retry-after"), "7");
    assert_string_equal(http_header(http, "x-two"), "");

    r = post(http, "/echo", false);
    assert_true(str_is(r.body, "{\"a\":1}"));
    r = post(http, "/echo", true);
    assert_true(str_is(r.body, "{\"a\":1}"));

    r = get(http, "/redirect"); /* not followed: a token goes nowhere else */
    assert_int_equal(r.status, 302);
    assert_false(http_next(http, &r));
    assert_string_equal(http_header(http, "location"), "");

    assert_true(metrics_sum(METRIC_HTTP_REQUESTS_TOTAL, "unit", "429") == 1);
    assert_true(metrics_sum(METRIC_HTTP_REQUEST_SECONDS, "unit", NULL) > 0);
    http_destroy(&http);
    assert_null(http);
}

static void what_was_not_sent(void **state)
{
    struct http *http = create(4, 1000);
    struct http_response r;
    struct error err;
    unsigned closed, mute;
    int fd = listen_on_loopback(&closed);
    char url[100];

    (void)state;
    close(fd);
    for (int i = 0; i < 2; i++) {
        snprintf(url, sizeof(url), "http%s://127.0.0.1:%u/", i == 0 ? "" : "s",
                 i == 0 ? closed : port);
        struct http_request request = {"POST", url, NULL, 0, STR("x"), true, NULL};
        assert_true(http_start(http, &request, &err));
        finish(http, &r);
        assert_int_equal(r.fate, HTTP_NOT_SENT);
        assert_string_equal(r.error.code, i == 0 ? "connect" : "tls");
    }
    /* TLS that never gets under way: nothing has left when the time is up. */
    int mute_fd = listen_on_loopback(&mute);
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", mute);
    struct http_request request = {"POST", url, NULL, 0, STR("x"), true, NULL};
    assert_true(http_start(http, &request, &err));
    finish(http, &r);
    assert_int_equal(r.fate, HTTP_NOT_SENT);
    assert_int_equal(r.error.kind, ERROR_TIMEOUT);
    close(mute_fd);

    request.url = "http://host.invalid/";
    assert_true(http_start(http, &request, &err));
    finish(http, &r);
    assert_int_equal(r.fate, HTTP_NOT_SENT);

    request.url = "file:///etc/passwd";
    assert_true(http_start(http, &request, &err));
    finish(http, &r);
    assert_int_equal(r.fate, HTTP_NOT_SENT);
    assert_int_equal(r.error.kind, ERROR_CONFIG);

    struct http_header split = {"Authorization", "Bearer x\r\nX-Other: y"};
    request = (struct http_request){"GET", "http://127.0.0.1/", &split, 1, STR_NULL, false, NULL};
    assert_false(http_start(http, &request, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_null(strstr(err.text, "Bearer"));
    assert_int_equal(http_active(http), 0);
    http_destroy(&http);
}

static void what_is_doubtful(void **state)
{
    static const char *const paths[] = {"/stall", "/half", "/nothing", "/nonsense"};
    struct http *http = create(4, 500);

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct http_response r = post(http, paths[i], true);
        if (r.fate != HTTP_DOUBTFUL) {
            fail_msg("%s: %d %s", paths[i], r.fate, r.error.text);
        }
        assert_string_equal(r.error.code, i == 0 ? "timeout" : "cut");
    }
    struct http_response r = get(http, "/big");
    assert_int_equal(r.fate, HTTP_DOUBTFUL);
    assert_string_equal(r.error.code, "too_large");
    assert_null(strstr(r.error.text, "0123"));
    r = get(http, "/headers");
    assert_int_equal(r.fate, HTTP_DOUBTFUL);
    r = get(http, "/ok"); /* and the next is well */
    assert_int_equal(r.fate, HTTP_ANSWERED);
    http_destroy(&http);
}

/* The server takes the request on a connection used before, and hangs up: libcurl by itself would
 * send it again. */
static void once_is_once(void **state)
{
    struct http *http = create(1, 2000);

    (void)state;
    *seen = 0;
    struct http_response r = post(http, "/ok", true);
    assert_int_equal(r.status, 200);
    assert_int_equal(*seen, 1);
    r = post(http, "/nothing", true);
    assert_int_equal(r.fate, HTTP_DOUBTFUL);
    assert_int_equal(*seen, 2);
    http_destroy(&http);
}

static void many_at_once(void **state)
{
    struct http *http = create(8, 10000);
    struct http_response r;
    int owners[100], counts[100] = {0};

    (void)state;
    for (int i = 0; i < 100; i++) {
        start(http, "POST", i % 10 == 0 ? "/nothing" : "/echo", STR("body"), true, &owners[i]);
    }
    assert_int_equal(http_active(http), 100);
    for (int i = 0; i < 100; i++) {
        finish(http, &r);
        ptrdiff_t n = (int *)r.owner - owners;
        assert_in_range(n, 0, 99);
        counts[n]++;
        assert_int_equal(r.fate, n % 10 == 0 ? HTTP_DOUBTFUL : HTTP_ANSWERED);
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(counts[i], 1);
    }
    assert_int_equal(http_active(http), 0);
    http_destroy(&http);
}

static void waiting_and_cancelling(void **state)
{
    struct http *http = create(4, 20000);
    struct http_response r;
    struct error err;
    int fds[3] = {-1, -1, -1}, owner, other;

    (void)state;
    assert_int_equal(pipe2(fds + 1, O_CLOEXEC), 0);
    start(http, "GET", "/stall", STR_NULL, false, &owner);
    start(http, "GET", "/stall", STR_NULL, false, &other);
    assert_true(http_wait(http, fds, 2, 10, &err)); /* comes back without anything to do */
    assert_int_equal(write(fds[2], "x", 1), 1);
    int64_t before = clock_boot_ms();
    for (int i = 0; i < 20; i++) { /* libcurl's own sockets may wake it first */
        assert_true(http_wait(http, fds, 2, 5000, &err));
    }
    assert_true(clock_boot_ms() - before < 20 * 5000);
    http_cancel(http, &owner);
    assert_int_equal(http_active(http), 1);
    assert_false(http_next(http, &r));
    http_destroy(&http); /* with one under way */
    close(fds[1]);
    close(fds[2]);
}

static pid_t nginx;
static char dir[] = "/tmp/study-http-XXXXXX";
static unsigned tls_port;

static void write_file(const char *name, const char *content)
{
    char path[100];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

/* nginx with TLS and HTTP/2; /protocol says what was spoken, /stall is passed to a server that
 * does not answer. */
static void start_nginx(void)
{
    char command[600], conf[2000], path[100], log[100];
    int fd = listen_on_loopback(&tls_port);

    close(fd);
    snprintf(
        command, sizeof(command),
        "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
        " subjectAltName=IP:127.0.0.1 -keyout key -out crt >openssl.log 2>&1",
        dir);
    assert_int_equal(system(command), 0);
    snprintf(conf, sizeof(conf),
             "daemon off; master_process off; pid %s/pid; error_log %s/error.log;"
             "events { worker_connections 256; }"
             "http { access_log %s/access.log; client_body_temp_path %s/t; proxy_temp_path %s/t;"
             " fastcgi_temp_path %s/t; uwsgi_temp_path %s/t; scgi_temp_path %s/t;"
             " server { listen 127.0.0.1:%u ssl http2; ssl_certificate crt;"
             " ssl_certificate_key key;"
             " location /protocol { return 200 \"$server_protocol $connection\"; }"
             " location / { proxy_pass http://127.0.0.1:%u; } } }",
             dir, dir, dir, dir, dir, dir, dir, dir, tls_port, port);
    write_file("conf", conf);
    snprintf(path, sizeof(path), "%s/conf", dir);
    snprintf(log, sizeof(log), "%s/nginx.log", dir);
    nginx = server_start(log, (const char *const[]){"nginx", "-p", dir, "-c", path, NULL});
    snprintf(path, sizeof(path), "%s/pid", dir);
    assert_true(server_wait_path(path));
}

static struct http_response tls(struct http *http, const char *method, const char *path)
{
    char url[100];
    struct error err;
    struct http_response r;

    snprintf(url, sizeof(url), "https://127.0.0.1:%u%s", tls_port, path);
    struct http_request request = {method, url, NULL, 0, STR("body"), true, NULL};
    assert_true(http_start(http, &request, &err));
    finish(http, &r);
    return r;
}

static void over_http2(void **state)
{
    struct http_limits limits = {.service = "unit",
                                 .user_agent = "unit/1",
                                 .max_connections = 4,
                                 .max_response = 50000,
                                 .connect_timeout_ms = 5000,
                                 .timeout_ms = 1000};
    char ca[100], url[100];
    struct http_response r;
    struct error err;

    (void)state;
    start_nginx();
    struct http *http = http_create(&limits, &err); /* without its CA */
    r = tls(http, "GET", "/protocol");
    assert_int_equal(r.fate, HTTP_NOT_SENT);
    assert_string_equal(r.error.code, "tls");
    http_destroy(&http);

    snprintf(ca, sizeof(ca), "%s/crt", dir);
    limits.ca_file = ca;
    http = http_create(&limits, &err);
    for (int i = 0; i < 200; i++) {
        r = tls(http, "GET", "/protocol");
        if (r.fate == HTTP_ANSWERED) {
            break;
        }
        server_sleep_ms(20);
    }
    assert_int_equal(r.status, 200);
    assert_true(str_starts(r.body, "HTTP/2.0 "));

    r = tls(http, "POST", "/echo");
    assert_true(str_is(r.body, "body"));
    r = tls(http, "POST", "/stall"); /* it left, and nothing came back */
    assert_int_equal(r.fate, HTTP_DOUBTFUL);
    assert_string_equal(r.error.code, "timeout");
    r = tls(http, "POST", "/nothing"); /* nginx says so */
    assert_int_equal(r.status, 502);

    /* Many at once travel on few connections. */
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/echo", tls_port);
    for (int i = 0; i < 60; i++) {
        struct http_request request = {"POST", url, NULL, 0, STR("x"), true, NULL};
        assert_true(http_start(http, &request, &err));
    }
    for (int i = 0; i < 60; i++) {
        finish(http, &r);
        assert_int_equal(r.status, 200);
    }

    /* A kept connection whose server has gone. */
    server_stop(&nginx, SIGKILL);
    r = tls(http, "POST", "/protocol");
    assert_true(r.fate == HTTP_NOT_SENT || r.fate == HTTP_DOUBTFUL);
    r = tls(http, "POST", "/protocol");
    assert_int_equal(r.fate, HTTP_NOT_SENT);
    http_destroy(&http);
}

static int set_up(void **state)
{
    struct error err;
    int listener = listen_on_loopback(&port);

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(dir) == NULL || !metrics_create(2, &err)) {
        return -1;
    }
    metrics_attach(0);
    seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    server = fork();
    if (server == 0) {
        serve(listener);
    }
    close(listener);
    return server > 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    metrics_detach_all();
    server_stop(&nginx, SIGKILL);
    char rm[64];
    snprintf(rm, sizeof(rm), "rm -rf %s", dir);
    return munmap(seen, sizeof(*seen)) != 0 || system(rm) != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),          cmocka_unit_test(what_was_not_sent),
        cmocka_unit_test(what_is_doubtful), cmocka_unit_test(once_is_once),
        cmocka_unit_test(many_at_once),     cmocka_unit_test(waiting_and_cancelling),
        cmocka_unit_test(over_http2),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
