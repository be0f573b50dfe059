// Events: points in a stream that the host or another stream can wait for.

#include "stand_in.hpp"

struct Event {
    bool timing = true;
    bool recorded = false, captured = false, passed = false;
    uint64_t time = 0;
    Stream* stream = nullptr;
    uint64_t ticket = 0;
};
using EventPointer = std::shared_ptr<Event>;

static std::map<void*, EventPointer> events;
static uint64_t points;  // there is no clock: every event that is passed is one unit later than the one before

static EventPointer event_of(void* handle) {
    auto found = events.find(handle);
    if (found != events.end()) return found->second;
    violation(INVALID_HANDLE, "an event is used that was destroyed or never created");
    return nullptr;
}

static Result wait_for(const EventPointer& event) {
    if (event->passed || !stream_exists(event->stream)) return SUCCESS;
    return run_until(event->stream, event->ticket);
}

EXPORTED Result cuEventCreate(void** handle, unsigned flags) {
    LOCKED;
    NEED_CONTEXT;
    auto event = std::make_shared<Event>();
    event->timing = (flags & 2) == 0;
    *handle = event.get();
    events[event.get()] = event;
    return SUCCESS;
}

EXPORTED Result cuEventDestroy(void* handle) {
    LOCKED;
    return events.erase(handle) ? SUCCESS : violation(INVALID_HANDLE, "an event is destroyed twice");
}

EXPORTED Result cuEventRecordWithFlags(void* handle, void* stream_handle, unsigned) {
    LOCKED;
    EventPointer event = event_of(handle);
    Stream* stream = stream_of(stream_handle);
    if (!event || stream == nullptr) return INVALID_HANDLE;
    event->recorded = true;
    event->passed = false;
    event->stream = stream;
    event->captured = stream->capture != nullptr;
    if (event->captured) return SUCCESS;  // it stands for a point in the capture and makes no node
    Result result = enqueue(stream, RECORD_NODE, "event", [event] {
        event->passed = true;
        event->time = ++points;
        return SUCCESS;
    });
    event->ticket = stream->enqueued;
    return result;
}

EXPORTED Result cuEventRecord(void* handle, void* stream) { return cuEventRecordWithFlags(handle, stream, 0); }

// A capture may only depend on what is recorded in it: a replay cannot wait for work that was enqueued once.
EXPORTED Result cuStreamWaitEvent(void* stream_handle, void* handle, unsigned) {
    LOCKED;
    EventPointer event = event_of(handle);
    Stream* stream = stream_of(stream_handle);
    if (!event || stream == nullptr) return INVALID_HANDLE;
    if (!event->recorded) return SUCCESS;
    if (event->captured) {
        if (event->stream == stream) return SUCCESS;
        return violation(NOT_SUPPORTED, "a stream joins another's capture, which is not modelled");
    }
    if (stream->capture) {
        stream->invalidated = true;
        return violation(CAPTURE_ISOLATION, "a captured stream waits for work outside of the capture");
    }
    Event moment = *event;  // as recorded now; it may be recorded again
    return enqueue(stream, WAIT_NODE, "wait", [event, moment] {
        return stream_exists(moment.stream) ? run_until(moment.stream, moment.ticket) : SUCCESS;
    });
}

static Result must_not_be_captured(const EventPointer& event) {
    if (!event->captured) return SUCCESS;
    if (stream_exists(event->stream)) event->stream->invalidated = true;
    return violation(CAPTURED_EVENT, "an event is waited for or asked that is recorded in a capture");
}

EXPORTED Result cuEventQuery(void* handle) {
    LOCKED;
    EventPointer event = event_of(handle);
    if (!event) return INVALID_HANDLE;
    if (Result failed = must_not_be_captured(event)) return failed;
    return !event->recorded || event->passed ? SUCCESS : NOT_READY;
}

EXPORTED Result cuEventSynchronize(void* handle) {
    LOCKED;
    EventPointer event = event_of(handle);
    if (!event) return INVALID_HANDLE;
    if (Result failed = must_not_be_captured(event)) return failed;
    return event->recorded ? wait_for(event) : SUCCESS;
}

EXPORTED Result cuEventElapsedTime_v2(float* milliseconds, void* first, void* second) {
    LOCKED;
    EventPointer begin = event_of(first), end = event_of(second);
    if (!begin || !end || !begin->timing || !end->timing || !begin->recorded || !end->recorded) return INVALID_HANDLE;
    if (!begin->passed || !end->passed) return NOT_READY;
    *milliseconds = 0.001f * static_cast<float>(end->time - begin->time);
    return SUCCESS;
}

EXPORTED Result cuEventElapsedTime(float* milliseconds, void* first, void* second) {
    return cuEventElapsedTime_v2(milliseconds, first, second);
}

std::string events_alive() { return events.empty() ? "" : "events: " + std::to_string(events.size()); }
