/*
 * The notice board. One writer an entry but for `beat`, which is the process' own; a reader may see
 * an entry in the middle of a change and shows it so once: it is a display, nothing is decided by
 * it.
 */
#include "proc/board.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

struct entry {
    char role[16];
    int index;
    atomic_int pid;
    atomic_int state;
    _Atomic int64_t beat_ms; /* boot time */
};

static struct entry *board;
static int board_entries;
static struct entry *mine;

bool board_create(int entries, struct error *err)
{
    void *p = mmap(NULL, (size_t)entries * sizeof(struct entry), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return error_set_errno(err, "shared memory for the processes' states");
    }
    board = p;
    board_entries = entries;
    return true;
}

int board_size(void)
{
    return board_entries;
}

void board_set(int entry, const char *role, int index, enum board_state state, pid_t pid)
{
    struct entry *e = &board[entry];

    if (strncmp(e->role, role, sizeof(e->role)) != 0) {
        snprintf(e->role, sizeof(e->role), "%s", role);
    }
    e->index = index;
    if (pid != 0 && pid != atomic_load(&e->pid)) {
        atomic_store(&e->beat_ms, clock_boot_ms());
    }
    atomic_store(&e->pid, pid);
    atomic_store(&e->state, (int)state);
}

void board_attach(int entry)
{
    mine = &board[entry];
}

void board_beat(void)
{
    if (mine != NULL) {
        atomic_store_explicit(&mine->beat_ms, clock_boot_ms(), memory_order_relaxed);
    }
}

bool board_get(int entry, struct board_entry *out)
{
    const struct entry *e = &board[entry];
    enum board_state state = (enum board_state)atomic_load(&e->state);

    if (state == BOARD_FREE) {
        return false;
    }
    snprintf(out->role, sizeof(out->role), "%.*s", (int)sizeof(e->role) - 1, e->role);
    out->index = e->index;
    out->pid = atomic_load(&e->pid);
    out->state = state;
    out->silent_ms = clock_boot_ms() - atomic_load(&e->beat_ms);
    return true;
}
