/* A small HTTP server over libmicrohttpd, polled by its owner: the status role's pages. */
#ifndef STUDY_IO_HTTPD_H
#define STUDY_IO_HTTPD_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

struct httpd;

/* Fills *body (limit set by the server) and the type for a GET of `path`; returns the status. */
typedef unsigned httpd_handler(void *arg, const char *path, struct text *body, const char **type);

/* listen: "host:port", "[v6]:port"; bounded connections and time-outs; GET and HEAD only. */
bool httpd_create(struct httpd **out, const char *listen, httpd_handler *handler, void *arg,
                  struct error *err);
void httpd_destroy(struct httpd **httpd);
unsigned httpd_port(const struct httpd *httpd); /* the one bound, for port 0 */
/* Serve what is ready, waiting at most timeout_ms; ends early when extra_fd is readable. */
void httpd_run(struct httpd *httpd, int timeout_ms, int extra_fd);

#endif
