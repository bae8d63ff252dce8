/* io/httpd, asked by io/http. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "http_client.h"
#include "io/httpd.h"

static int given;

static unsigned page(void *arg, const char *path, struct text *body, const char **type)
{
    assert_ptr_equal(arg, &given);
    if (strcmp(path, "/json") == 0) {
        text_adds(body, "{}");
        *type = "application/json";
        return 200;
    }
    if (strcmp(path, "/large") == 0) {
        for (int i = 0; i < 4000; i++) {
            text_adds(body, "0123456789");
        }
        return 200;
    }
    return 404;
}

static struct http_response ask(struct httpd *httpd, struct http *http, const char *method,
                                const char *path)
{
    char url[100];
    struct error err;
    struct http_response r;

    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", httpd_port(httpd), path);
    struct http_request request = {method, url, NULL, 0, STR(""), false, NULL};
    assert_true(http_start(http, &request, &err));
    for (int i = 0; i < 2000; i++) {
        if (http_next(http, &r)) {
            return r;
        }
        httpd_run(httpd, 2, -1);
        assert_true(http_wait(http, NULL, 0, 2, &err));
    }
    fail_msg("no answer from httpd");
    return r;
}

static void status_pages(void **state)
{
    struct http *http = create(2, 5000);
    struct httpd *httpd, *second;
    struct error err;
    char listen[40];

    (void)state;
    assert_true(httpd_create(&httpd, "127.0.0.1:0", page, &given, &err));
    struct http_response r = ask(httpd, http, "GET", "/json");
    assert_int_equal(r.status, 200);
    assert_true(str_is(r.body, "{}"));
    assert_string_equal(http_header(http, "content-type"), "application/json");
    r = ask(httpd, http, "GET", "/large");
    assert_int_equal(r.body.len, 40000);
    r = ask(httpd, http, "GET", "/none");
    assert_int_equal(r.status, 404);
    r = ask(httpd, http, "POST", "/json");
    assert_int_equal(r.status, 405);
    assert_string_equal(http_header(http, "allow"), "GET, HEAD");

    snprintf(listen, sizeof(listen), "127.0.0.1:%u", httpd_port(httpd));
    assert_false(httpd_create(&second, listen, page, &given, &err));
    assert_non_null(strstr(err.text, listen));
    assert_false(httpd_create(&second, "nonsense", page, &given, &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_false(httpd_create(&second, "unix:/x", page, &given, &err));

    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    int64_t before = clock_boot_ms();
    httpd_run(httpd, 60000, fds[0]); /* ends early */
    assert_true(clock_boot_ms() - before < 60000);
    close(fds[0]);
    close(fds[1]);
    httpd_destroy(&httpd);
    assert_null(httpd);
    http_destroy(&http);
}

static int set_up(void **state)
{
    struct error err;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (!metrics_create(2, &err)) {
        return -1;
    }
    metrics_attach(0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    metrics_detach_all();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_pages),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
