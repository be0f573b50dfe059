// Streams: queues that run when somebody waits for them, or when a later piece of work has to see an earlier one.
//
// Work that is read, overwritten or freed before anybody waited for it gives wrong numbers, as on a GPU that is busy.

#include "stand_in.hpp"

static Stream legacy, per_thread;  // the default streams: handles 0 and 1, and 2
static std::set<Stream*> streams;
static Result lasting = SUCCESS;  // after a failure within work the context is lost: every later wait reports it

Stream* stream_of(void* handle) {
    auto number = reinterpret_cast<uintptr_t>(handle);
    if (number <= 1) return &legacy;
    if (number == 2) return &per_thread;
    if (streams.count(static_cast<Stream*>(handle))) return static_cast<Stream*>(handle);
    violation(INVALID_HANDLE, "a stream is used that was destroyed or never created");
    return nullptr;
}

bool stream_exists(const Stream* stream) {
    return stream == &legacy || stream == &per_thread || streams.count(const_cast<Stream*>(stream)) > 0;
}

Result run_until(Stream* stream, uint64_t ticket) {
    while (stream->done < ticket && !stream->queue.empty()) {
        TaskPointer task = std::move(stream->queue.front());
        stream->queue.pop_front();
        Result result;
        {
            DeviceMemoryOpen open;
            result = task->run();
        }
        ++stream->done;
        if (result != SUCCESS) lasting = result;
    }
    return lasting;
}

Result run_everything() {
    for (Stream* stream : streams) run_until(stream, stream->enqueued);
    run_until(&legacy, legacy.enqueued);
    return run_until(&per_thread, per_thread.enqueued);
}

const Task* task_waiting_for(Range range) {
    std::vector<Stream*> all(streams.begin(), streams.end());
    all.insert(all.end(), {&legacy, &per_thread});
    for (Stream* stream : all)
        for (const TaskPointer& task : stream->queue)
            for (Range touched : task->touches)
                if (touched.begin < range.begin + range.size && range.begin < touched.begin + touched.size)
                    return task.get();
    return nullptr;
}

// The legacy default stream waits for all blocking streams, and they for it: a capture of one of them cannot do that.
static Result order_with_legacy(Stream* stream) {
    if (stream == &legacy) {
        for (Stream* other : streams) {
            if (!other->blocking) continue;
            if (other->capture) {
                other->invalidated = true;
                return violation(CAPTURE_IMPLICIT, "work in the default stream while a blocking stream is captured");
            }
            run_until(other, other->enqueued);
        }
    } else if (stream->blocking) {
        run_until(&legacy, legacy.enqueued);
    }
    return SUCCESS;
}

Result enqueue(Stream* stream, NodeType type, const std::string& name, std::function<Result()> run,
               std::vector<Range> touches) {
    if (lasting != SUCCESS) return lasting;
    auto task = std::make_shared<Task>(Task{type, name, std::move(run), std::move(touches)});
    if (stream->capture) {
        if (stream->invalidated) return CAPTURE_INVALIDATED;
        stream->capture->nodes.push_back(std::move(task));
        return SUCCESS;
    }
    if (Result failed = order_with_legacy(stream)) return failed;
    stream->queue.push_back(std::move(task));
    ++stream->enqueued;
    return SUCCESS;
}

EXPORTED Result cuStreamCreateWithPriority(void** handle, unsigned flags, int) {
    LOCKED;
    NEED_CONTEXT;
    auto* stream = new Stream;
    stream->context = current_context();
    stream->blocking = (flags & 1) == 0;
    streams.insert(stream);
    *handle = stream;
    return SUCCESS;
}

EXPORTED Result cuStreamDestroy(void* handle) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (stream->capture) violation(CAPTURE_UNSUPPORTED, "a stream is destroyed while it is captured");
    run_until(stream, stream->enqueued);  // what is enqueued is still done
    streams.erase(stream);
    delete stream;
    return SUCCESS;
}

EXPORTED Result cuStreamGetCtx(void* handle, void** context) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    *context = stream->context == nullptr ? current_context() : stream->context;
    return SUCCESS;
}

EXPORTED Result cuStreamGetFlags(void* handle, unsigned* flags) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    *flags = stream->blocking ? 0 : 1;
    return SUCCESS;
}

EXPORTED Result cuStreamGetPriority(void*, int* priority) {
    *priority = 0;
    return SUCCESS;
}

EXPORTED Result cuStreamGetGreenCtx(void*, void** context) {
    *context = nullptr;
    return SUCCESS;
}

static Result must_not_capture(Stream* stream, const char* what) {
    if (!stream->capture) return SUCCESS;
    stream->invalidated = true;
    return violation(CAPTURE_UNSUPPORTED, "%s while it is captured: nothing of it has run yet", what);
}

EXPORTED Result cuStreamSynchronize(void* handle) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (Result failed = must_not_capture(stream, "a stream is waited for")) return failed;
    if (stream == &legacy)
        if (Result failed = order_with_legacy(stream)) return failed;
    return run_until(stream, stream->enqueued);
}

EXPORTED Result cuStreamQuery(void* handle) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (Result failed = must_not_capture(stream, "a stream is asked")) return failed;
    return stream->queue.empty() ? lasting : NOT_READY;
}

std::string streams_alive() { return streams.empty() ? "" : "streams: " + std::to_string(streams.size()); }

const std::set<Stream*>& all_streams() { return streams; }
bool is_legacy(const Stream* stream) { return stream == &legacy; }
