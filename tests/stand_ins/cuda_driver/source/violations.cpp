// Broken rules are kept, shown on stderr, and written to the file that DRIVER_STAND_IN_REPORT names: a program that
// swallows the error is found out all the same. Also: what is still alive.

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "stand_in.hpp"

std::recursive_mutex driver_lock;

static std::vector<std::string> lines;

static void tell(const std::string& line) {
    fprintf(stderr, "driver stand-in: %s\n", line.c_str());
    const char* path = getenv("DRIVER_STAND_IN_REPORT");
    FILE* report = path == nullptr ? nullptr : fopen(path, "a");
    if (report == nullptr) return;
    fprintf(report, "%s\n", line.c_str());
    fclose(report);
}

Result violation(Result code, const char* format, ...) {
    LOCKED;
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    lines.emplace_back(text);
    tell(lines.back());
    return code;
}

EXPORTED int stand_in_violations() {
    LOCKED;
    return static_cast<int>(lines.size());
}

EXPORTED const char* stand_in_violation(int index) {
    LOCKED;
    return lines.at(static_cast<size_t>(index)).c_str();
}

// One line: what exists and has not been destroyed or freed; empty where nothing does.
EXPORTED const char* stand_in_alive() {
    LOCKED;
    static std::string found;
    found.clear();
    for (const std::string& part : {memory_alive(), streams_alive(), graphs_alive(), events_alive()})
        if (!part.empty()) found += (found.empty() ? "" : ", ") + part;
    return found.c_str();
}
