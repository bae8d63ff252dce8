/* base/options, base/config: every error tells file, line, key and range. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/options.h"

static char dir[] = "/tmp/study-unit-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[200];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void put(const char *name, struct str content)
{
    FILE *f = fopen(path_of(name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(content.data, 1, content.len, f), content.len);
    fclose(f);
}

static struct config *load_str(struct str content)
{
    struct config *c;
    struct error err;

    put("w.conf", content);
    if (!config_load(&c, path_of("w.conf"), &err)) {
        fail_msg("%s", err.text);
    }
    return c;
}

static struct config *load(const char *content)
{
    return load_str(str_of(content));
}

static void refuse_str(struct str content, const char *expected)
{
    struct config *c = (struct config *)1;
    struct error err;

    put("w.conf", content);
    if (config_load(&c, path_of("w.conf"), &err)) {
        fail_msg("accepted; expected: %s", expected);
    }
    assert_null(c);
    assert_int_equal(err.kind, ERROR_CONFIG);
    if (strstr(err.text, expected) == NULL) {
        fail_msg("got: %s\nexpected: %s", err.text, expected);
    }
}

static void refuse(const char *content, const char *expected)
{
    refuse_str(str_of(content), expected);
}

static int clean_environment(void **state)
{
    extern char **environ;
    char name[100];

    (void)state;
    for (char **e = environ; *e != NULL;) {
        if (strncmp(*e, "STUDY_", 6) == 0 || strncmp(*e, "SLACK_", 6) == 0 ||
            strncmp(*e, "OPENAI_", 7) == 0) {
            snprintf(name, sizeof(name), "%.*s", (int)strcspn(*e, "="), *e);
            unsetenv(name);
            e = environ;
        } else {
            e++;
        }
    }
    return 0;
}

static void defaults(void **state)
{
    struct config *c;
    struct error err;
    const char *const *servers;

    (void)state;
    if (!config_load(&c, NULL, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(config_list(c, "redis", "servers", &servers), 1);
    assert_string_equal(servers[0], "unix:/run/redis-study/redis.sock");
    assert_int_equal(config_int(c, "store", "lease"), 15000);
    assert_int_equal(config_int(c, "store", "batch_bytes"), 1 << 20);
    assert_int_equal(config_int(c, "privacy", "retention"), INT64_C(90) * 86400000);
    assert_true(config_int(c, "openai", "temperature") == INT64_MIN);
    assert_true(config_bool(c, "openai", "enabled"));
    assert_string_equal(config_secret(c, "redis", "password"), "");
    assert_null(config_slack_token(c, "T1"));
    assert_null(config_path(c));
    assert_string_equal(config_origin(c, "store", "lease"), "default");
    config_destroy(&c);
    assert_null(c);
}

/* Rows of a section together, no key twice, every range sayable. */
static void the_table_is_sound(void **state)
{
    char range[OPTION_RANGE_BYTES];

    (void)state;
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        bool ended = false;

        assert_ptr_equal(option_find(o->section, o->key), o);
        for (size_t j = i; j < options_count; j++) {
            bool same = strcmp(o->section, options[j].section) == 0;
            assert_false(same && ended);
            ended = ended || !same;
        }
        option_range(o, range);
        assert_true(strlen(range) > 3 && strlen(range) < sizeof(range) - 1);
        assert_true(strlen(o->help) > 5);
        assert_int_equal(o->help[strlen(o->help) - 1], '.');
    }
}

static void values(void **state)
{
    struct config *c = load("\xef\xbb\xbf# a comment\n"
                            "; another\n"
                            "[redis]\n"
                            "servers = 10.0.0.1:6379\r\n"
                            "  [::1]:6380\n"
                            "\tunix:/x\n"
                            "user=\n"
                            "allow_unsafe: yes\n"
                            "\n"
                            "[openai]\n"
                            "temperature = 0.7\n"
                            "model = llama3:8b\n"
                            "[store]\n"
                            "lease = 10\n"
                            "poll = 250ms\n"
                            "batch_bytes = 64k\n"
                            "[schedule]\n"
                            "missed_window = 1d\n"
                            "[postgres]\n"
                            "conninfo = host=/run/x\n"
                            "  # between\n"
                            "  dbname=s\n"
                            "  application_name=y\n"
                            "[redis]\n"
                            "db = 3");
    const char *const *servers;

    (void)state;
    assert_int_equal(config_list(c, "redis", "servers", &servers), 3);
    assert_string_equal(servers[0], "10.0.0.1:6379");
    assert_string_equal(servers[1], "[::1]:6380");
    assert_string_equal(servers[2], "unix:/x");
    assert_string_equal(config_string(c, "redis", "user"), "");
    assert_true(config_bool(c, "redis", "allow_unsafe"));
    assert_int_equal(config_int(c, "openai", "temperature"), 700);
    assert_int_equal(config_int(c, "deliver", "quiet_from"), 22 * 60);
    assert_int_equal(config_int(c, "store", "lease"), 10000);
    assert_int_equal(config_int(c, "store", "poll"), 250);
    assert_int_equal(config_int(c, "store", "batch_bytes"), 65536);
    assert_int_equal(config_int(c, "schedule", "missed_window"), 86400000);
    assert_int_equal(config_int(c, "redis", "db"), 3);
    assert_string_equal(config_string(c, "postgres", "conninfo"),
                        "host=/run/x dbname=s application_name=y");
    assert_string_equal(config_origin(c, "store", "lease"), "w.conf:14");
    assert_string_equal(config_path(c), path_of("w.conf"));
    config_destroy(&c);
}

static void faults_of_the_file(void **state)
{
    char long_line[400] = "[log]\nfile = ";

    (void)state;
    refuse("[store]\nlease = 3m\n", "w.conf:2: [store] lease = 3m: expected 3s to 20s");
    refuse("[store]\n\n# x\nlease = 2s\n", "w.conf:4: [store] lease = 2s: expected 3s to 20s");
    refuse("[store]\nlease =\n", "w.conf:2: [store] lease = : expected");
    refuse("[store]\nlease = -3s\n", "expected 3s to 20s");
    refuse("[store]\nlease = 5 s\n", "expected 3s to 20s");
    refuse("[store]\nlease = 99999999999999999999s\n", "expected 3s to 20s");
    refuse("[store]\nbatch_bytes = 2m\n", "w.conf:2: [store] batch_bytes = 2m: expected 1k to 1m");
    refuse("[store]\nbatch_events = 0x10\n", "expected 1 to 512");
    refuse("[redis]\ndb = 65536\n", "w.conf:2: [redis] db = 65536: expected 0 to 65535");
    refuse("[redis]\nallow_unsafe = true\n", "[redis] allow_unsafe = true: expected yes or no");
    refuse("[redis]\nkey_prefix = a b\n", "expected 1 to 64 of A-Za-z0-9_.:-");
    refuse("[redis]\nkey_prefix = {a}\n", "expected 1 to 64 of");
    refuse("[redis]\nservers =\n", "w.conf:2: [redis] servers = : expected 1 to 16 items");
    refuse("[deliver]\nonly = U1,U2\n", "w.conf:2: [deliver] only = U1,U2: expected at most 200");
    refuse("[deliver]\nonly = U1 @kim\n", "w.conf:2: [deliver] only = U1 @kim: expected");
    refuse("[openai]\nstructured = xml\n", "expected json_schema, json_object or none");
    refuse("[openai]\ntemperature = 2.001\n", "expected 0 to 2, or empty");
    refuse("[openai]\ntemperature = 0.12345\n", "expected 0 to 2, or empty");
    refuse("[deliver]\nquiet_from = 24:00\n", "expected 00:00 to 23:59");
    refuse("[deliver]\nquiet_from = 8:00\n", "expected 00:00 to 23:59");
    refuse("[deliver]\nquiet_until = 08:60\n", "expected 00:00 to 23:59");
    refuse("[deliver]\nquiet_until = 0800\n", "expected 00:00 to 23:59");
    refuse("[deliver]\nquiet_until =\n", "expected 00:00 to 23:59");
    refuse("[openai]\ntemperature = hot\n", "expected 0 to 2, or empty");
    refuse("[openai]\nbase_url = ftp://x/\n", "[openai] base_url = ftp://x/: expected an http");
    refuse("[openai]\nbase_url = https:///v1\n", "expected an http");
    refuse("[openai]\nbase_url = https://u:p@host/v1\n", "without user");
    refuse("[digest]\nlanguage = KO\n", "expected ko or en");

    refuse("[store]\nleese = 3s\n", "w.conf:2: [store] has no key leese");
    refuse("[stores]\nlease = 3s\n", "w.conf:2: there is no section [stores]");
    refuse("lease = 3s\n", "w.conf:1: there is no section []");
    refuse("[store]\nlease = 5s\npoll = 1s\nlease = 6s\n",
           "w.conf:4: [store] lease is set again; first in line 2");
    refuse("[store]\nlease\n", "w.conf:2: neither [section] nor key = value");
    refuse("[store\nlease = 5s\n", "w.conf:1: neither [section] nor");
    refuse("[store]\nlease = 5s ; short\n", "w.conf:2: a comment must stand on a line of its own");
    refuse("[log]\nfile = /x\t;y\n", "w.conf:2: a comment must stand");
    refuse("[store]\n  lease = 5s\n", "w.conf:2: sections and keys start in the first column");
    refuse("[store]\nlease = 5s\n  poll = 1s\n",
           "w.conf:3: [store] lease: this key's value is one");
    refuse_str(STR("[log]\nfile = /a\0b\n"), "w.conf:2: longer than");
    refuse("[store]\nlease = 1s\npoll = 0\n[x]\ny = 1\n", "w.conf:2: [store] lease = 1s");
    refuse("[store]\nlease = 1s\npoll = 0\n[x]\ny = 1\n", "(and 2 more)");

    memset(long_line + strlen(long_line), 'x', 300);
    refuse(long_line, "w.conf:2: longer than 190 bytes");

    refuse("[postgres]\nconninfo = host=x password=y\n", "w.conf:2: [postgres] conninfo: the pass");
    refuse("[postgres]\nconninfo = postgres://u:p@h/d\n", "password_file");
    struct config *c = load("[postgres]\nconninfo = postgresql://u@h:5432/d\n");
    config_destroy(&c);
}

/* A line just short enough is read whole. */
static void the_longest_line(void **state)
{
    char content[400] = "[log]\nfile = /";

    (void)state;
    size_t line = strlen(content) - 6;
    memset(content + strlen(content), 'x', 190 - line);
    struct config *c = load(content);
    assert_int_equal(strlen(config_string(c, "log", "file")), 190 - strlen("file = "));
    config_destroy(&c);
}

static void files_that_cannot_be_read(void **state)
{
    struct config *c;
    struct error err;

    (void)state;
    assert_false(config_load(&c, path_of("none.conf"), &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.text, "none.conf: No such file"));
    assert_false(config_load(&c, dir, &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.text, "Is a directory"));
}

static void secrets(void **state)
{
    struct config *c;
    char blob[9000];

    (void)state;
    put("pw", STR("se cr\xc3\xa9t\r\n"));
    c = load("[redis]\npassword_file = pw\n"); /* relative to the file */
    assert_string_equal(config_secret(c, "redis", "password"), "se cr\xc3\xa9t");
    assert_string_equal(config_origin(c, "redis", "password"), "secret file");
    config_destroy(&c);

    refuse("[redis]\npassword = x\n", "w.conf:2: [redis] password: a secret stands in a file");
    refuse("[redis]\npassword_file = nope\n", "w.conf:2: [redis] password_file: ");
    refuse("[redis]\npassword_file = nope\n", "No such file");
    refuse("[redis]\nuser_file = x\n", "has no key user_file");
    put("pw", STR("\n"));
    refuse("[redis]\npassword_file = pw\n", "empty");
    put("pw", STR("a\nb\n"));
    refuse("[redis]\npassword_file = pw\n", "control character");
    put("pw", STR("a\0b"));
    refuse("[redis]\npassword_file = pw\n", "control character");
    put("pw", STR(" a\n"));
    refuse("[redis]\npassword_file = pw\n", "blank at its edge");
    memset(blob, 'x', sizeof(blob));
    put("pw", (struct str){blob, sizeof(blob)});
    refuse("[redis]\npassword_file = pw\n", "too long");
    put("pw", (struct str){blob, 513});
    refuse("[redis]\npassword_file = pw\n", "the secret is not at most 512 bytes");
    refuse("[redis]\npassword_file = .\n", "Is a directory");
}

static void environment(void **state)
{
    struct config *c;

    (void)state;
    setenv("STUDY_STORE_LEASE", "7s", 1);
    setenv("STUDY_REDIS_SERVERS", "a:1 b:2", 1);
    setenv("STUDY_REDIS_PASSWORD", "direct", 1);
    setenv("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1", 1);
    setenv("OPENAI_API_KEY", "", 1);
    setenv("SLACK_API_URL", "http://vendor/", 1);
    setenv("STUDY_TEST_ANYTHING", "not ours", 1);
    c = load("[store]\nlease = 9s\n[slack]\napi_url = http://file/\n");
    const char *const *servers;
    assert_int_equal(config_int(c, "store", "lease"), 7000);
    assert_string_equal(config_origin(c, "store", "lease"), "environment");
    assert_int_equal(config_list(c, "redis", "servers", &servers), 2);
    assert_string_equal(config_secret(c, "redis", "password"), "direct");
    assert_string_equal(config_string(c, "openai", "base_url"), "http://127.0.0.1:8080/v1");
    assert_string_equal(config_string(c, "slack", "api_url"),
                        "http://file/"); /* file over vendor */
    assert_string_equal(config_origin(c, "openai", "api_key"), "default");
    config_destroy(&c);

    setenv("STUDY_STORE_LEASE", "7m", 1);
    refuse("", "STUDY_STORE_LEASE = 7m: expected 3s to 20s");
    refuse("[store]\nlease = 1s\npoll = 0\n", "w.conf:3: [store] poll"); /* what counts, in order */
    unsetenv("STUDY_STORE_LEASE");

    setenv("STUDY_REDIS_SERVRS", "x", 1);
    refuse("", "environment: STUDY_REDIS_SERVRS names no setting");
    unsetenv("STUDY_REDIS_SERVRS");

    unsetenv("STUDY_REDIS_PASSWORD");
    put("pw2", STR("from file"));
    setenv("STUDY_REDIS_PASSWORD_FILE", path_of("pw2"), 1);
    c = load("[redis]\npassword_file = nope\n");
    assert_string_equal(config_secret(c, "redis", "password"), "from file");
    config_destroy(&c);
    setenv("STUDY_REDIS_PASSWORD_FILE", "/nonexistent", 1);
    refuse("", "STUDY_REDIS_PASSWORD_FILE: /nonexistent: No such file");
    clean_environment(NULL);

    setenv("OPENAI_BASE_URL", "nonsense", 1);
    refuse("", "OPENAI_BASE_URL = nonsense: expected an http");
    clean_environment(NULL);
}

static void tokens(void **state)
{
    struct config *c;

    (void)state;
    mkdir(path_of("tokens"), 0700);
    put("tokens/T1", STR("xoxb-1\n"));
    put("tokens/T0ABC", STR("xoxb-0"));
    put("tokens/E9", STR("xoxb-9"));
    put("tokens/.hidden", STR("x"));
    setenv("SLACK_BOT_TOKEN", "xoxb-default", 1);
    c = load("[slack]\ntoken_dir = tokens\n");
    assert_string_equal(config_slack_token(c, "T1"), "xoxb-1");
    assert_string_equal(config_slack_token(c, "T0ABC"), "xoxb-0");
    assert_string_equal(config_slack_token(c, "E9"), "xoxb-9");
    assert_string_equal(config_slack_token(c, "T2"), "xoxb-default");
    assert_string_equal(config_slack_token(c, NULL), "xoxb-default");
    config_destroy(&c);
    unsetenv("SLACK_BOT_TOKEN");

    c = load("[slack]\ntoken_dir = tokens\n");
    assert_null(config_slack_token(c, "T2"));
    config_destroy(&c);

    put("tokens/notes.txt", STR("x"));
    refuse("[slack]\ntoken_dir = tokens\n", "w.conf:2: [slack] token_dir: ");
    refuse("[slack]\ntoken_dir = tokens\n", "notes.txt: the name is not a team id");
    unlink(path_of("tokens/notes.txt"));
    put("tokens/T1", STR(""));
    refuse("[slack]\ntoken_dir = tokens\n", "T1: empty");
    refuse("[slack]\ntoken_dir = missing\n", "missing: No such file");
}

static int make_dir(void **state)
{
    clean_environment(state);
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"w.conf",    "pw",           "pw2",           "tokens/T1",
                                        "tokens/E9", "tokens/T0ABC", "tokens/.hidden"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlink(path_of(names[i]));
    }
    rmdir(path_of("tokens"));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),         cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(values),           cmocka_unit_test(faults_of_the_file),
        cmocka_unit_test(the_longest_line), cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(secrets),          cmocka_unit_test(environment),
        cmocka_unit_test(tokens),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
