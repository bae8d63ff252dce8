/* io/address, io/redis, against a private redis-server. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/address.h"
#include "io/redis.h"
#include "servers.h"

static char dir[] = "/tmp/study-redis-XXXXXX";
static char socket_path[64], address[80];
static pid_t server;

static void start_server(const char *appendonly, const char *password)
{
    char log[64];

    snprintf(log, sizeof(log), "%s/redis.log", dir);
    unlink(socket_path);
    server = server_start(log, (const char *const[]){"redis-server", "--port", "0", "--unixsocket",
                                                     socket_path, "--dir", dir, "--save", "",
                                                     "--appendonly", appendonly, "--requirepass",
                                                     password, NULL});
    assert_true(server > 0);
    assert_true(server_wait_path(socket_path));
}

static struct config *config_with(const char *const *names_values)
{
    struct config *c;
    struct error err;

    setenv("STUDY_REDIS_CONNECT_TIMEOUT", "300ms", 1);
    setenv("STUDY_REDIS_TIMEOUT", "300ms", 1);
    unsetenv("STUDY_REDIS_PASSWORD");
    unsetenv("STUDY_REDIS_ALLOW_UNSAFE");
    unsetenv("STUDY_REDIS_DB");
    for (; *names_values != NULL; names_values += 2) {
        setenv(names_values[0], names_values[1], 1);
    }
    if (!config_load(&c, NULL, &err)) {
        fail_msg("%s", err.text);
    }
    return c;
}

#define CONFIG(...) config_with((const char *const[]){__VA_ARGS__, NULL})

static struct redis *create(struct config *c, const char *where)
{
    struct redis *r;
    struct error err;

    if (!redis_create(&r, c, where, &err)) {
        fail_msg("%s", err.text);
    }
    return r;
}

static redisReply *command(struct redis *r, int argc, const char **argv)
{
    struct error err;
    redisReply *reply = NULL;

    for (int i = 0; i < 200 && reply == NULL; i++) {
        reply = redis_command(r, &err, argc, argv, NULL);
        if (reply == NULL && err.kind != ERROR_CONNECTION) {
            break;
        }
        if (reply == NULL) {
            server_sleep_ms(20);
        }
    }
    if (reply == NULL) {
        fail_msg("%s", err.text);
    }
    return reply;
}

#define COMMAND(r, ...)                                                                            \
    command(r, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                             \
            (const char *[]){__VA_ARGS__})

static void addresses(void **state)
{
    struct address a;
    struct error err;
    static const char *const bad[] = {"",       "host:",    "host:x", "host:65536", ":6379",
                                      "::1",    "[::1",     "[]:1",   "unix:",      "unix:x",
                                      "[::1]x", "host:1:2", "host:-1"};

    (void)state;
    assert_true(address_parse(&a, "redis.example", "6379", &err));
    assert_string_equal(a.host, "redis.example");
    assert_string_equal(a.port, "6379");
    assert_true(address_parse(&a, "10.0.0.1:7000", "6379", &err));
    assert_string_equal(a.port, "7000");
    assert_true(address_parse(&a, "[::1]:7000", "6379", &err));
    assert_string_equal(a.host, "::1");
    assert_true(address_parse(&a, "[fe80::1]", "6379", &err));
    assert_false(a.local);
    assert_true(address_parse(&a, "unix:/run/x.sock", "6379", &err));
    assert_true(a.local);
    assert_string_equal(a.host, "/run/x.sock");
    assert_false(address_parse(&a, "host", NULL, &err));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (address_parse(&a, bad[i], "6379", &err)) {
            fail_msg("accepted %s", bad[i]);
        }
        assert_int_equal(err.kind, ERROR_CONFIG);
    }
    char long_path[200] = "unix:/";
    memset(long_path + 6, 'x', 150);
    assert_false(address_parse(&a, long_path, "6379", &err));
}

static void commands_and_errors(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "sesame", "STUDY_REDIS_DB", "3");
    struct redis *r = create(c, address);
    struct error err;

    (void)state;
    assert_string_equal(redis_name(r), address);
    assert_int_equal(redis_fd(r), -1);
    redisReply *reply = COMMAND(r, "SET", "k", "v");
    assert_string_equal(reply->str, "OK");
    freeReplyObject(reply);
    assert_true(redis_fd(r) >= 0);
    assert_false(redis_is_unsafe(r));

    const char *argv[] = {"SET", "bin", "a\0b\r\n"};
    reply = redis_command(r, &err, 3, argv, (size_t[]){3, 3, 5});
    assert_non_null(reply);
    freeReplyObject(reply);
    reply = COMMAND(r, "GET", "bin");
    assert_int_equal(reply->len, 5);
    assert_memory_equal(reply->str, "a\0b\r\n", 5);
    freeReplyObject(reply);

    assert_null(redis_command(r, &err, 2, (const char *[]){"LPOP", "k"}, NULL));
    assert_int_equal(err.kind, ERROR_REMOTE);
    assert_string_equal(err.code, "WRONGTYPE");
    assert_null(redis_command(r, &err, 2, (const char *[]){"NOSUCH", "members text"}, NULL));
    assert_string_equal(err.code, "ERR");
    assert_null(strstr(err.text, "members text"));

    /* An error reply leaves the connection in use; the database is the one asked
     * for. */
    reply = COMMAND(r, "CLIENT", "INFO");
    assert_non_null(strstr(reply->str, " db=3 "));
    freeReplyObject(reply);

    size_t big = 3 << 20;
    char *blob = malloc(big);
    memset(blob, 'x', big);
    reply = redis_command(r, &err, 2, (const char *[]){"ECHO", blob}, (size_t[]){4, big});
    assert_non_null(reply);
    assert_int_equal(reply->len, big);
    freeReplyObject(reply);
    free(blob);
    redis_destroy(&r);
    assert_null(r);
    config_destroy(&c);
}

static void wrong_password(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "open");
    struct redis *r = create(c, address);
    struct error err;

    (void)state;
    assert_false(redis_connect(r, &err));
    assert_int_equal(err.kind, ERROR_REMOTE);
    assert_string_equal(err.code, "WRONGPASS");
    assert_null(strstr(err.text, "open"));
    assert_false(redis_connect(r, &err)); /* the backoff */
    assert_int_equal(err.kind, ERROR_CONNECTION);
    assert_non_null(strstr(err.text, "next attempt in"));
    assert_true(redis_retry_in_ms(r) > 0);
    redis_destroy(&r);
    config_destroy(&c);
}

static void scripts(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "sesame");
    struct redis *r = create(c, address);
    struct redis_script script = {.name = "pair", .source = "return {KEYS[1], ARGV[1]}"};
    struct redis_script broken = {.name = "broken", .source = "return nosuch.x"};
    struct error err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        redisReply *reply =
            redis_eval(r, &script, &err, 1, 2, (const char *[]){"key", "arg"}, NULL);
        assert_non_null(reply);
        assert_int_equal(reply->elements, 2);
        assert_string_equal(reply->element[1]->str, "arg");
        freeReplyObject(reply);
        if (i == 1) {
            freeReplyObject(COMMAND(r, "SCRIPT", "FLUSH")); /* a restarted server */
        }
    }
    assert_int_equal(strlen(script.sha), 40);
    assert_null(redis_eval(r, &broken, &err, 0, 0, NULL, NULL));
    assert_int_equal(err.kind, ERROR_REMOTE);
    assert_non_null(strstr(err.text, "script broken"));
    redis_destroy(&r);
    config_destroy(&c);
}

static void several_in_one_write(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "sesame");
    struct redis *r = create(c, address);
    struct redis_script count = {.name = "count", .source = "return redis.call('INCR', KEYS[1])"};
    struct redis_script broken = {.name = "broken", .source = "return nosuch.x"};
    const char *key[] = {"counted"}, *get[] = {"GET", "counted"}, *llen[] = {"LLEN", "counted"};
    struct redis_request requests[] = {
        {.argc = 2, .argv = get},  {.script = &count, .nkeys = 1, .argc = 1, .argv = key},
        {.argc = 2, .argv = get},  {.script = &broken},
        {.argc = 2, .argv = llen},
    };
    size_t n = sizeof(requests) / sizeof(requests[0]);
    struct error err;

    (void)state;
    for (int i = 1; i <= 3; i++) {
        char number[8];

        assert_true(redis_pipeline(r, requests, n, &err));
        snprintf(number, sizeof(number), "%d", i);
        assert_int_equal(requests[0].reply->type, i == 1 ? REDIS_REPLY_NIL : REDIS_REPLY_STRING);
        assert_int_equal(requests[1].reply->integer, i);
        assert_string_equal(requests[2].reply->str, number); /* asked again behind the script */
        assert_false(redis_refused(r, &requests[2], &err));
        assert_true(redis_refused(r, &requests[3], &err));
        assert_int_equal(err.kind, ERROR_REMOTE);
        assert_non_null(strstr(err.text, "script broken"));
        assert_true(redis_refused(r, &requests[4], &err));
        assert_string_equal(err.code, "WRONGTYPE");
        redis_requests_clear(requests, n);
        assert_null(requests[0].reply);
        if (i == 2) {
            freeReplyObject(COMMAND(r, "SCRIPT", "FLUSH"));
        }
    }
    redis_destroy(&r);
    config_destroy(&c);
}

static void waiting_for_later(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "sesame");
    struct redis *waiting = create(c, address), *other = create(c, address);
    const char *peek[] = {"BLMOVE", "l", "l", "LEFT", "LEFT", "0"};
    struct error err;

    (void)state;
    assert_true(redis_send(waiting, &err, 6, peek, NULL));
    assert_null(redis_receive(waiting, &err));
    assert_int_equal(err.kind, ERROR_NONE);
    assert_null(redis_command(waiting, &err, 1, (const char *[]){"PING"}, NULL));
    assert_int_equal(err.kind, ERROR_SYSTEM);
    assert_false(redis_send(waiting, &err, 6, peek, NULL));

    freeReplyObject(COMMAND(other, "RPUSH", "l", "x"));
    struct pollfd fd = {.fd = redis_fd(waiting), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 5000), 1);
    redisReply *reply = redis_receive(waiting, &err);
    assert_non_null(reply);
    assert_string_equal(reply->str, "x");
    freeReplyObject(reply);
    assert_null(redis_receive(waiting, &err));
    assert_int_equal(err.kind, ERROR_SYSTEM);

    reply = COMMAND(waiting, "LLEN", "l");
    assert_int_equal(reply->integer, 1);
    freeReplyObject(reply);
    redis_destroy(&waiting);
    redis_destroy(&other);
    config_destroy(&c);
}

static void time_limit_and_interrupt(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "sesame");
    struct redis *r = create(c, address);
    const char *block[] = {"BLPOP", "nothing", "0"};
    struct error err;
    int pipe_fds[2];

    (void)state;
    freeReplyObject(COMMAND(r, "PING"));
    assert_null(redis_command(r, &err, 3, block, NULL));
    assert_int_equal(err.kind, ERROR_TIMEOUT);
    assert_int_equal(redis_fd(r), -1);

    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    redis_set_interrupt(r, pipe_fds[0]);
    freeReplyObject(COMMAND(r, "PING"));
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    assert_null(redis_command(r, &err, 3, block, NULL));
    assert_int_equal(err.kind, ERROR_INTERRUPTED);

    /* What must be put in order before the end goes on without the interrupt, at
     * once. */
    redis_set_interrupt(r, -1);
    redisReply *reply = redis_command(r, &err, 1, (const char *[]){"PING"}, NULL);
    assert_non_null(reply);
    freeReplyObject(reply);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    redis_destroy(&r);
    config_destroy(&c);
}

static void a_closed_connection_is_made_anew(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "sesame");
    struct redis *r = create(c, address), *other = create(c, address);
    struct error err;

    (void)state;
    freeReplyObject(COMMAND(r, "PING"));
    freeReplyObject(COMMAND(other, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"));
    redisReply *reply = redis_command(r, &err, 1, (const char *[]){"PING"}, NULL);
    assert_non_null(reply);
    freeReplyObject(reply);
    redis_destroy(&r);
    redis_destroy(&other);
    config_destroy(&c);
}

static void unsafe_servers(void **state)
{
    struct error err;

    (void)state;
    struct config *admin = CONFIG("STUDY_REDIS_PASSWORD", "sesame");
    struct redis *r = create(admin, address);
    freeReplyObject(COMMAND(r, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru"));

    struct redis *strict = create(admin, address);
    assert_false(redis_connect(strict, &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.text, "evict"));
    redis_destroy(&strict);

    freeReplyObject(COMMAND(r, "CONFIG", "SET", "maxmemory-policy", "noeviction"));
    freeReplyObject(COMMAND(r, "CONFIG", "SET", "appendonly", "no"));
    strict = create(admin, address);
    assert_false(redis_connect(strict, &err));
    assert_non_null(strstr(err.text, "append-only"));
    redis_destroy(&strict);

    struct config *lax =
        CONFIG("STUDY_REDIS_PASSWORD", "sesame", "STUDY_REDIS_ALLOW_UNSAFE", "yes");
    struct redis *allowed = create(lax, address);
    assert_true(log_open("/dev/null", LOG_LEVEL_INFO, &err));
    assert_true(redis_connect(allowed, &err));
    assert_true(log_open(NULL, LOG_LEVEL_INFO, &err));
    assert_true(redis_is_unsafe(allowed));
    redis_destroy(&allowed);
    freeReplyObject(COMMAND(r, "CONFIG", "SET", "appendonly", "yes"));

    struct redis *before = create(admin, address);
    assert_true(redis_connect(before, &err));
    freeReplyObject(COMMAND(r, "REPLICAOF", "127.0.0.1", "1"));
    strict = create(admin, address);
    assert_false(redis_connect(strict, &err));
    assert_int_equal(err.kind, ERROR_CONNECTION);
    assert_non_null(strstr(err.text, "replica"));
    redis_destroy(&strict);

    /* Whoever was connected when it became one looks where the name leads now. */
    assert_null(redis_command(before, &err, 3, (const char *[]){"SET", "key", "value"}, NULL));
    assert_string_equal(err.code, "READONLY");
    assert_false(redis_connect(before, &err));
    assert_int_equal(err.kind, ERROR_CONNECTION);
    assert_non_null(strstr(err.text, "replica"));
    redis_destroy(&before);
    freeReplyObject(COMMAND(r, "REPLICAOF", "NO", "ONE"));
    redis_destroy(&r);
    config_destroy(&lax);
    config_destroy(&admin);
}

static void nobody_there(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_PASSWORD", "sesame");
    struct redis *r = create(c, "unix:/nonexistent/redis.sock");
    struct error err;

    (void)state;
    assert_false(redis_connect(r, &err));
    assert_int_equal(err.kind, ERROR_CONNECTION);
    assert_non_null(strstr(err.text, "unix:/nonexistent/redis.sock: connect: No such file"));
    redis_destroy(&r);

    /* A server that listens and never answers. */
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char mute[90];
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/mute", dir);
    snprintf(mute, sizeof(mute), "unix:%s/mute", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, 5), 0);
    r = create(c, mute);
    assert_false(redis_connect(r, &err));
    assert_int_equal(err.kind, ERROR_TIMEOUT);
    redis_destroy(&r);

    /* One that talks nonsense. */
    r = create(c, mute);
    int taken = accept(fd, NULL, NULL);
    assert_true(taken >= 0);
    close(taken);
    pid_t pid = fork();
    if (pid == 0) {
        int peer = accept(fd, NULL, NULL);
        _exit(write(peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28 ? 0 : 1);
    }
    assert_false(redis_connect(r, &err));
    assert_int_equal(err.kind, ERROR_CONNECTION);
    waitpid(pid, NULL, 0);
    redis_destroy(&r);
    close(fd);
    unlink(un.sun_path);
    config_destroy(&c);
}

static void tls_needs_a_hiredis_that_has_it(void **state)
{
    struct config *c = CONFIG("STUDY_REDIS_TLS", "yes");
    struct redis *r;
    struct error err;

    (void)state;
    unsetenv("STUDY_REDIS_TLS");
#ifndef STUDY_HIREDIS_SSL
    assert_false(redis_create(&r, c, "127.0.0.1:6379", &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.text, "[redis] tls = yes needs hiredis 1.0"));
#endif
    assert_true(redis_create(&r, c, "unix:/x", &err)); /* TLS is for hosts */
    redis_destroy(&r);
    config_destroy(&c);
}

#ifdef STUDY_HIREDIS_SSL

/* A CA, a certificate for the name "redis.test", and a server that asks us for
 * one. */
static void start_tls_server(pid_t *pid, char *port, size_t size)
{
    char command[2000], log[64], cert[64], key[64], ca[64];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(command, sizeof(command),
             "cd %s && exec >tls.log 2>&1 && openssl req -x509 -newkey rsa:2048 "
             "-nodes -days 2"
             " -subj /CN=ca -keyout ca.key -out ca.crt && openssl req -newkey "
             "rsa:2048 -nodes"
             " -subj /CN=redis -keyout s.key -out s.csr && printf "
             "'subjectAltName=DNS:redis.test' >"
             " ext && openssl x509 -req -in s.csr -CA ca.crt -CAkey ca.key "
             "-CAcreateserial -days 2"
             " -extfile ext -out s.crt",
             dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    close(fd);
    snprintf(port, size, "%u", ntohs(in.sin_port));
    snprintf(log, sizeof(log), "%s/redis-tls.log", dir);
    snprintf(cert, sizeof(cert), "%s/s.crt", dir);
    snprintf(key, sizeof(key), "%s/s.key", dir);
    snprintf(ca, sizeof(ca), "%s/ca.crt", dir);
    *pid = server_start(log, (const char *const[]){"redis-server",
                                                   "--port",
                                                   "0",
                                                   "--tls-port",
                                                   port,
                                                   "--bind",
                                                   "127.0.0.1",
                                                   "--dir",
                                                   dir,
                                                   "--save",
                                                   "",
                                                   "--appendonly",
                                                   "yes",
                                                   "--appenddirname",
                                                   "aof-tls",
                                                   "--tls-cert-file",
                                                   cert,
                                                   "--tls-key-file",
                                                   key,
                                                   "--tls-ca-cert-file",
                                                   ca,
                                                   NULL});
    assert_true(*pid > 0);
}

static void over_tls(void **state)
{
    static const char *const names[] = {"redis.test", "other.test", ""};
    char port[8], where[40], path[64];
    struct error err;
    pid_t pid;

    (void)state;
    start_tls_server(&pid, port, sizeof(port));
    snprintf(where, sizeof(where), "127.0.0.1:%s", port);
    setenv("STUDY_REDIS_TLS", "yes", 1);
    snprintf(path, sizeof(path), "%s/ca.crt", dir);
    setenv("STUDY_REDIS_TLS_CA_FILE", path, 1);
    snprintf(path, sizeof(path), "%s/s.crt", dir);
    setenv("STUDY_REDIS_TLS_CERT_FILE", path, 1);
    snprintf(path, sizeof(path), "%s/s.key", dir);
    setenv("STUDY_REDIS_TLS_KEY_FILE", path, 1);
    for (int i = 0; i < 3; i++) {
        struct config *c = CONFIG("STUDY_REDIS_TLS_NAME", names[i]);
        struct redis *r = create(c, where);
        bool connected = false;

        for (int n = 0; n < 200 && !(connected = redis_connect(r, &err)); n++) {
            if (strstr(err.text, "TLS") != NULL) {
                break;
            }
            server_sleep_ms(20);
        }
        if (connected != (i == 0)) {
            fail_msg("%s: %s", names[i], connected ? "connected" : err.text);
        }
        if (connected) {
            size_t big = 3 << 20;
            char *blob = malloc(big);
            memset(blob, 'x', big);
            redisReply *reply =
                redis_command(r, &err, 2, (const char *[]){"ECHO", blob}, (size_t[]){4, big});
            if (reply == NULL) {
                fail_msg("%s", err.text);
            }
            assert_int_equal(reply->len, big);
            freeReplyObject(reply);
            free(blob);
        } else {
            assert_non_null(strstr(err.text, "mismatch"));
        }
        redis_destroy(&r);
        config_destroy(&c);
    }

    struct config *c = CONFIG("STUDY_REDIS_TLS_CA_FILE", "/nonexistent");
    struct redis *r;
    assert_false(redis_create(&r, c, where, &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.text, "tls_ca_file"));
    config_destroy(&c);
    server_stop(&pid, SIGKILL);
    unsetenv("STUDY_REDIS_TLS");
    unsetenv("STUDY_REDIS_TLS_CA_FILE");
    unsetenv("STUDY_REDIS_TLS_CERT_FILE");
    unsetenv("STUDY_REDIS_TLS_KEY_FILE");
    unsetenv("STUDY_REDIS_TLS_NAME");
}

#endif

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    snprintf(socket_path, sizeof(socket_path), "%s/s", dir);
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    start_server("yes", "sesame");
    return 0;
}

static int tear_down(void **state)
{
    char rm[64];

    (void)state;
    server_stop(&server, SIGKILL);
    snprintf(rm, sizeof(rm), "rm -rf %s", dir);
    return system(rm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(commands_and_errors),
        cmocka_unit_test(wrong_password),
        cmocka_unit_test(scripts),
        cmocka_unit_test(several_in_one_write),
        cmocka_unit_test(waiting_for_later),
        cmocka_unit_test(time_limit_and_interrupt),
        cmocka_unit_test(a_closed_connection_is_made_anew),
        cmocka_unit_test(unsafe_servers),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(tls_needs_a_hiredis_that_has_it),
#ifdef STUDY_HIREDIS_SSL
        cmocka_unit_test(over_tls),
#endif
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
