/* emulate.cc: threads of a block as fibers: each runs until it waits for others, at a barrier of the block or of its
 * warp. A block in which nobody can go on, because some threads wait at a barrier that others never reach, ends the
 * process with a message: on a device it would hang or go wrong. */
#include "gpu/emulate.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "gpu/emulate_launch.h"

emulated_index threadIdx, blockIdx, blockDim, gridDim;

namespace {

enum { MAX_THREADS = 1024, WARPS = MAX_THREADS / 32, STACK_BYTES = 256 << 10, SHARED_BYTES = 228 << 10 };

/* A meeting of threads: those that have arrived, and how often all have. */
struct meeting {
    unsigned arrived, alive, round;
};

struct fiber {
    jmp_buf state;
    ucontext_t context;
    bool made;
    emulated_index thread;
};

fiber fibers[MAX_THREADS];
unsigned char *stacks;
alignas(256) unsigned char shared[SHARED_BYTES];
uint64_t slots[2][MAX_THREADS];
meeting block_meeting, warps[WARPS];
void (*body)(const void *);
const void *argument;
unsigned n_threads, next_thread, n_done, progress;
fiber *current;
jmp_buf scheduler;

unsigned linear(const emulated_index &t) { return t.x + blockDim.x * (t.y + blockDim.y * t.z); }

void leave() {
    if (!_setjmp(current->state)) _longjmp(scheduler, 1);
    threadIdx = current->thread;
}

void release(meeting *m) {
    if (!m->arrived || m->arrived < m->alive) return;
    m->arrived = 0;
    m->round++;
    progress++;
}

void meet(meeting *m) {
    unsigned round = m->round;
    m->arrived++;
    release(m);
    while (m->round == round) leave();
}

/* A fiber takes threads as long as there are any that nobody has begun. */
void run_threads() {
    fiber *self = current;
    while (next_thread < n_threads) {
        unsigned i = next_thread++;
        self->thread = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        threadIdx = self->thread;
        progress++;
        body(argument);
        n_done++;
        block_meeting.alive--;
        release(&block_meeting);
        warps[i / 32].alive--;
        release(&warps[i / 32]);
    }
    self->thread.x = UINT32_MAX; /* has nothing to do */
    for (;;) leave();
}

void enter(fiber *f) {
    current = f;
    if (_setjmp(scheduler)) return;
    if (f->made) _longjmp(f->state, 1);
    f->made = true;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stacks + (size_t)(f - fibers) * STACK_BYTES;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = nullptr;
    makecontext(&f->context, run_threads, 0);
    setcontext(&f->context);
}

void run_block() {
    block_meeting = {0, n_threads, 0};
    for (unsigned w = 0; w < WARPS; w++)
        warps[w] = {0, w * 32 < n_threads ? std::min(32u, n_threads - w * 32) : 0, 0};
    next_thread = n_done = 0;
    unsigned used = 0;
    while (n_done < n_threads) {
        progress = 0;
        for (unsigned i = 0; i < used; i++)
            if (fibers[i].thread.x != UINT32_MAX) enter(&fibers[i]);
        while (next_thread < n_threads) {
            fibers[used].made = false;
            enter(&fibers[used++]);
        }
        if (!progress && n_done < n_threads) {
            fprintf(stderr, "emulated kernel: threads of a block wait at a barrier that others do not reach\n");
            abort();
        }
    }
}

}  // namespace

unsigned char *emulated_shared() { return shared; }
void emulated_barrier() { meet(&block_meeting); }

uint64_t emulated_shuffle(uint64_t value, unsigned lane) {
    unsigned i = linear(threadIdx), w = i / 32;
    uint64_t *slot = slots[warps[w].round & 1] + w * 32;
    slot[i % 32] = value;
    meet(&warps[w]);
    return slot[lane];
}

bool emulate_launch(void (*kernel)(const void *), const void *args, const unsigned grid[3], const unsigned block[3],
                    unsigned shared_bytes) {
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (!threads || threads > MAX_THREADS || shared_bytes > SHARED_BYTES || !grid[0] || !grid[1] || !grid[2] ||
        grid[1] > 65535 || grid[2] > 65535)
        return false;
    if (!stacks) stacks = static_cast<unsigned char *>(malloc((size_t)MAX_THREADS * STACK_BYTES));
    if (!stacks) return false;
    body = kernel;
    argument = args;
    n_threads = (unsigned)threads;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                memset(shared, 0xff, shared_bytes); /* NaN: nothing may count on what lies there */
                run_block();
            }
    return true;
}
