/* Clocks and jitter. None of these calls fails on a Linux that can run the rest of the program. */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static int64_t clock_us(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) != 0) {
        perror("clock_gettime");
        abort();
    }
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_boot_ms(void)
{
    return clock_us(CLOCK_BOOTTIME) / 1000;
}

int64_t clock_backoff_ms(unsigned attempt, int64_t base_ms, int64_t max_ms)
{
    int64_t whole = base_ms;

    for (unsigned i = 1; i < attempt && whole < max_ms; i++) {
        whole = whole > max_ms / 2 ? max_ms : whole * 2;
    }
    if (whole > max_ms) {
        whole = max_ms;
    }

    int64_t half = whole / 2;
    return half + (int64_t)(clock_random() % (uint64_t)(whole - half + 1));
}

uint64_t clock_random(void)
{
    uint64_t value;
    ssize_t n;

    do {
        n = getrandom(&value, sizeof(value), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(value)) {
        perror("getrandom");
        abort();
    }
    return value;
}

void clock_random_hex(char *out, int bytes)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t pool = 0;

    for (int i = 0; i < bytes; i++) {
        if (i % 8 == 0) {
            pool = clock_random();
        }
        *out++ = digits[pool >> 4 & 15];
        *out++ = digits[pool & 15];
        pool >>= 8;
    }
    *out = '\0';
}
