/*
 * Counts the calls of malloc() and its relations that a process makes, for bench soak,
 * which preloads this into nginx. The count is the first eight bytes of a file that the
 * process has mapped, $MALLOC_COUNT_FILE and its process id, so that the benchmark reads
 * it before and after a load without a word to nginx.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

/* Until there is a file, and without one. */
static _Atomic uint64_t nowhere;
static _Atomic uint64_t *count = &nowhere;

static void open_file(void)
{
    const char *base = getenv("MALLOC_COUNT_FILE");
    char path[4096];
    void *map;
    int fd;

    count = &nowhere;
    if (base == NULL || snprintf(path, sizeof(path), "%s.%d", base, (int)getpid()) >= (int)sizeof(path)) {
        return;
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return;
    }
    if (ftruncate(fd, sizeof(uint64_t)) == 0) {
        map = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) {
            count = map;
        }
    }
    close(fd);
}

/* nginx' workers are forked: each gets a file of its own. */
__attribute__((constructor)) static void start(void)
{
    open_file();
    pthread_atfork(NULL, NULL, open_file);
}

static void one(void)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
    one();
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    one();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    one();
    return __libc_realloc(p, size);
}

void *memalign(size_t alignment, size_t size)
{
    one();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    one();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *p;

    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) {
        return EINVAL;
    }
    one();
    p = __libc_memalign(alignment, size);
    if (p == NULL) {
        return ENOMEM;
    }
    *out = p;
    return 0;
}
