// Runs CUDA kernels on a CPU, for the tests: every thread of a block is a fibre with its own stack, barriers and warp
// exchanges hand over to the next fibre. One block at a time. Fibres start through ucontext and then switch by
// longjmp, which, unlike swapcontext, makes no system call. Between two barriers warps and lanes run in an order that
// changes from phase to phase, and shared memory is filled with a pattern before each block: a barrier that is
// missing, or shared memory that is read before it is written, gives wrong results instead of lucky ones.

#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using std::max;
using std::min;

struct uint3 {
    unsigned int x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace shim {

constexpr unsigned int WARP_SIZE = 32;
constexpr size_t STACK = 64 * 1024;
constexpr int POISON = 0xff;  // a NaN as a float, -1 as an integer

enum class State { ready, at_barrier, in_warp, done };
enum Outcome { fine = 0, unknown_kernel = 1, deadlock = 2, divergent_barrier = 3 };

struct Fibre {
    ucontext_t start;
    jmp_buf resume;
    bool started;
    std::unique_ptr<char[]> stack;
    uint3 thread;
    State state;
    int place;  // source line of the barrier it waits at
    unsigned int index;
    unsigned int exchanges;  // warp exchanges done so far: odd and even ones use different slots
};

struct Warp {
    uint64_t slots[2][WARP_SIZE];
};

inline uint3 grid_size, block_size, block_index;
inline Fibre* running = nullptr;
inline std::vector<std::unique_ptr<Fibre>> pool;  // kept from block to block
inline size_t count = 0;                          // threads of the present block: the first of the pool
inline std::vector<Warp> warps;
inline std::vector<char> dynamic_memory;
inline jmp_buf scheduler;
inline void (*entry)() = nullptr;
inline uint64_t random_state = 1;
inline std::vector<int> observed;  // what the kernels of the last launch showed, block after block

inline uint64_t next_random() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

inline void hand_over(State state) {
    running->state = state;
    if (_setjmp(running->resume) == 0) _longjmp(scheduler, 1);
}

inline void barrier(int place) {
    running->place = place;
    hand_over(State::at_barrier);
}

// Everybody in the warp shows a value and then reads any lane's. The slots of two exchanges in a row are separate: a
// lane can be one exchange ahead of another, never two.
inline const uint64_t* exchange(uint64_t value) {
    uint64_t* slots = warps[running->index / WARP_SIZE].slots[running->exchanges++ % 2];
    slots[running->index % WARP_SIZE] = value;
    hand_over(State::in_warp);
    return slots;
}

template <class T>
T shuffle_xor(T value, int step) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    const uint64_t* slots = exchange(bits);
    std::memcpy(&value, &slots[running->index % WARP_SIZE ^ static_cast<unsigned int>(step)], sizeof value);
    return value;
}

inline unsigned int ballot(bool vote) {
    const uint64_t* slots = exchange(vote ? 1 : 0);
    unsigned int votes = 0;
    for (unsigned int lane = 0; lane < WARP_SIZE; ++lane) votes |= static_cast<unsigned int>(slots[lane] != 0) << lane;
    return votes;
}

inline void body() {
    for (;;) {
        entry();
        hand_over(State::done);
    }
}

#ifdef __ELF__
extern "C" char __start_shim_shared[] __attribute__((weak));
extern "C" char __stop_shim_shared[] __attribute__((weak));
#endif

inline void poison(unsigned int shared_bytes) {
    dynamic_memory.assign(shared_bytes + sizeof(float4), static_cast<char>(POISON));
#ifdef __ELF__
    if (__start_shim_shared != nullptr)
        std::memset(__start_shim_shared, POISON, static_cast<size_t>(__stop_shim_shared - __start_shim_shared));
#endif
}

// The mask of an exchange names all lanes: it is complete when each has come, and none may have returned.
inline bool finish_exchange(size_t warp) {
    size_t begin = warp * WARP_SIZE;
    size_t end = std::min(count, begin + WARP_SIZE);
    for (size_t i = begin; i < end; ++i)
        if (pool[i]->state != State::in_warp) return false;
    for (size_t i = begin; i < end; ++i) pool[i]->state = State::ready;
    return true;
}

// Wakes fibres whose barrier or exchange is complete. Threads that have returned do not take part, as on a device.
inline Outcome wake(bool& anything) {
    anything = false;
    bool all = true;
    const Fibre* first = nullptr;
    for (size_t i = 0; i < count; ++i) {
        if (pool[i]->state == State::done) continue;
        if (pool[i]->state != State::at_barrier) all = false;
        if (first == nullptr) first = pool[i].get();
    }
    if (first == nullptr) return fine;
    if (all) {
        for (size_t i = 0; i < count; ++i) {
            if (pool[i]->state == State::done) continue;
            if (pool[i]->place != first->place) return divergent_barrier;
            pool[i]->state = State::ready;
        }
        anything = true;
        return fine;
    }
    for (size_t warp = 0; warp < warps.size(); ++warp) anything = finish_exchange(warp) || anything;
    return anything ? fine : deadlock;
}

inline std::unique_ptr<Fibre> new_fibre() {
    auto fibre = std::make_unique<Fibre>();
    fibre->started = false;
    fibre->stack.reset(new char[STACK]);
    getcontext(&fibre->start);
    fibre->start.uc_stack.ss_sp = fibre->stack.get();
    fibre->start.uc_stack.ss_size = STACK;
    fibre->start.uc_link = nullptr;
    makecontext(&fibre->start, body, 0);
    return fibre;
}

inline void resume(Fibre& fibre) {
    running = &fibre;
    if (_setjmp(scheduler) != 0) return;
    if (fibre.started) _longjmp(fibre.resume, 1);
    fibre.started = true;
    setcontext(&fibre.start);
}

inline void shuffle(std::vector<size_t>& order) {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[next_random() % i]);
}

// Usually as far as the next barrier, whatever the other warps have done; now and then only to the next exchange.
inline void run_warp(size_t warp) {
    size_t begin = warp * WARP_SIZE;
    std::vector<size_t> lanes(std::min(count - begin, static_cast<size_t>(WARP_SIZE)));
    for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = begin + i;
    do {
        shuffle(lanes);
        for (size_t i : lanes)
            if (pool[i]->state == State::ready) resume(*pool[i]);
    } while (next_random() % 8 != 0 && finish_exchange(warp));
}

inline Outcome run_block(unsigned int shared_bytes) {
    poison(shared_bytes);
    count = static_cast<size_t>(block_size.x) * block_size.y * block_size.z;
    warps.resize((count + WARP_SIZE - 1) / WARP_SIZE);
    for (size_t i = 0; i < count; ++i) {
        if (i == pool.size()) pool.push_back(new_fibre());
        Fibre& fibre = *pool[i];
        fibre.index = static_cast<unsigned int>(i);
        fibre.thread = {fibre.index % block_size.x, fibre.index / block_size.x % block_size.y,
                        fibre.index / (block_size.x * block_size.y)};
        fibre.state = State::ready;
        fibre.exchanges = 0;
    }
    std::vector<size_t> order(warps.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (;;) {
        shuffle(order);
        for (size_t warp : order) run_warp(warp);
        bool woken = false;
        if (Outcome outcome = wake(woken); outcome != fine) {
            pool.clear();  // its fibres are stuck in the middle of the kernel
            return outcome;
        }
        if (!woken) return fine;  // all have returned
    }
}

template <class... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<P>*>(arguments[I])...);
}

template <class F>
struct Arity;
template <class... P>
struct Arity<void (*)(P...)> {
    static constexpr size_t value = sizeof...(P);
};

// The bytes of every parameter, and how many there are.
template <class... P>
int sizes_of_parameters(void (*)(P...), size_t* sizes) {
    int count = 0;
    ((sizes[count++] = sizeof(P)), ...);
    return count;
}

inline void** arguments_of_launch = nullptr;

template <auto kernel>
void call_with_arguments() {
    call(kernel, arguments_of_launch, std::make_index_sequence<Arity<decltype(kernel)>::value>());
}

inline Outcome launch(void (*with_arguments)(), uint3 grid, uint3 block, unsigned int shared_bytes, void** arguments,
                      uint64_t seed) {
    entry = with_arguments;
    arguments_of_launch = arguments;
    grid_size = grid;
    block_size = block;
    random_state = seed | 1;
    observed.clear();
    for (unsigned int z = 0; z < grid.z; ++z)
        for (unsigned int y = 0; y < grid.y; ++y)
            for (unsigned int x = 0; x < grid.x; ++x) {
                block_index = {x, y, z};
                if (Outcome outcome = run_block(shared_bytes); outcome != fine) return outcome;
            }
    return fine;
}

}  // namespace shim

// How many numbers the last launch showed, and the numbers (as many as fit).
extern "C" inline __attribute__((used)) int shim_observed(int* numbers, int room) {
    int size = static_cast<int>(shim::observed.size());
    for (int i = 0; i < size && i < room; ++i) numbers[i] = shim::observed[static_cast<size_t>(i)];
    return size;
}
