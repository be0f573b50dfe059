// Recording a stream into a graph, and what must not happen meanwhile.

#include "stand_in.hpp"

enum Mode { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };

bool anything_captures() {
    for (const Stream* stream : all_streams())
        if (stream->capture) return true;
    return false;
}

bool spoils_a_capture(const char* call) {
    for (Stream* stream : all_streams()) {
        if (!stream->capture || stream->mode == RELAXED) continue;
        if (stream->mode == THREAD_LOCAL && !pthread_equal(stream->thread, pthread_self())) continue;
        stream->invalidated = true;
        violation(CAPTURE_UNSUPPORTED, "%s while a stream is captured", call);
        return true;
    }
    return false;
}

EXPORTED Result cuStreamBeginCapture(void* handle, int mode) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (is_legacy(stream)) return violation(CAPTURE_UNSUPPORTED, "the default stream cannot be captured");
    if (stream->capture) return violation(INVALID_VALUE, "a stream is captured twice at a time");
    stream->capture = std::make_unique<Graph>();
    stream->invalidated = false;
    stream->mode = mode;
    stream->thread = pthread_self();
    return SUCCESS;
}

EXPORTED Result cuStreamEndCapture(void* handle, void** graph) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    *graph = nullptr;
    if (!stream->capture) return violation(INVALID_VALUE, "a capture is ended that has not begun");
    if (stream->mode != RELAXED && !pthread_equal(stream->thread, pthread_self()))
        return violation(CAPTURE_WRONG_THREAD, "a capture is ended by another thread than has begun it");
    std::unique_ptr<Graph> recorded = std::move(stream->capture);
    if (stream->invalidated) return CAPTURE_INVALIDATED;
    *graph = new_graph(std::move(recorded));
    return SUCCESS;
}

EXPORTED Result cuStreamIsCapturing(void* handle, int* status) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    *status = !stream->capture ? 0 : stream->invalidated ? 2 : 1;
    return SUCCESS;
}

EXPORTED Result cuStreamGetCaptureInfo(void* handle, int* status, unsigned long long* id, void** graph, void**, void**,
                                       size_t* dependencies) {
    LOCKED;
    if (Result failed = cuStreamIsCapturing(handle, status)) return failed;
    if (id != nullptr) *id = 1;
    if (graph != nullptr) *graph = stream_of(handle)->capture.get();
    if (dependencies != nullptr) *dependencies = 0;
    return SUCCESS;
}

EXPORTED Result cuThreadExchangeStreamCaptureMode(int*) { return NOT_SUPPORTED; }
