/* What the tests of io/http and io/httpd ask with. */
#ifndef STUDY_UNIT_HTTP_CLIENT_H
#define STUDY_UNIT_HTTP_CLIENT_H

#include "unit.h"

#include "io/http.h"

static inline struct http *create(int connections, int64_t timeout_ms)
{
    struct http_limits limits = {.service = "unit",
                                 .user_agent = "unit/1",
                                 .max_connections = connections,
                                 .max_response = 50000,
                                 .connect_timeout_ms = 2000,
                                 .timeout_ms = timeout_ms};
    struct error err;
    struct http *http = http_create(&limits, &err);

    assert_non_null(http);
    return http;
}

static inline void finish(struct http *http, struct http_response *response)
{
    struct error err;

    for (int i = 0; i < 1000; i++) {
        if (http_next(http, response)) {
            return;
        }
        assert_true(http_active(http) > 0);
        assert_true(http_wait(http, NULL, 0, 1000, &err));
    }
    fail_msg("did not end");
}

#endif
