"""Little programs over cuda.core and the bindings, each of which breaks one rule of CUDA; and one that breaks none.

Each runs in a process of its own, which swallows the errors that the calls return: what the stand-in noticed must be in
its report. ``python broken_rules FOLDER`` writes one report per program.
"""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from rule_rig import RULES, Rig, breaks

BLOCKING_STREAM, NO_TIMING = 0, 2  # flags of streams and events


@breaks("")
def nothing(rig: Rig) -> None:
    host, memory = rig.page_locked(), rig.gpu_memory()
    rig.copy(memory, host)
    rig.launch(memory, memory + 2048)
    rig.copy(host, memory)
    graph = rig.capture(lambda: rig.copy(memory, host))
    executable = rig.call("cuGraphInstantiate", graph, 0)
    rig.call("cuGraphLaunch", executable, rig.stream.handle)
    rig.call("cuMemFreeAsync", memory, rig.stream.handle)
    rig.stream.sync()
    rig.call("cuGraphExecDestroy", executable)
    rig.call("cuGraphDestroy", graph)
    rig.call("cuMemFreeHost", host)


@breaks("the host touches memory of the GPU at 0x")
def the_host_reads_gpu_memory(rig: Rig) -> None:
    ctypes.string_at(rig.gpu_memory(), 1)


@breaks("allocation in a stream that is captured")
def memory_is_allocated_in_a_capture(rig: Rig) -> None:
    rig.capture(rig.gpu_memory)


@breaks("free in a stream that is captured")
def memory_is_freed_in_a_capture(rig: Rig) -> None:
    memory = rig.gpu_memory()
    rig.capture(lambda: rig.call("cuMemFreeAsync", memory, rig.stream.handle))


@breaks("cuMemHostAlloc while a stream is captured")
def page_locked_memory_is_allocated_while_capturing(rig: Rig) -> None:
    rig.capture(rig.page_locked)


@breaks("cuMemFreeHost while a stream is captured")
def page_locked_memory_is_freed_while_capturing(rig: Rig) -> None:
    host = rig.page_locked()
    rig.capture(lambda: rig.call("cuMemFreeHost", host))


@breaks("a stream is waited for while it is captured")
def a_captured_stream_is_waited_for(rig: Rig) -> None:
    rig.capture(lambda: rig.call("cuStreamSynchronize", rig.stream.handle))


@breaks("cuCtxSynchronize while a stream is captured")
def another_thread_waits_for_everything_while_capturing(rig: Rig) -> None:
    def wait() -> None:
        rig.device.set_current()
        rig.call("cuCtxSynchronize")

    rig.capture(lambda: rig.in_a_thread(wait))


@breaks("cuLibraryLoadData while a stream is captured")
def machine_code_is_loaded_while_capturing(rig: Rig) -> None:
    rig.capture(lambda: rig.transpose)


@breaks("kernel transpose is loaded while a stream is captured")
def a_kernel_is_first_launched_in_a_capture(rig: Rig) -> None:
    memory = rig.gpu_memory()
    assert rig.transpose.handle
    rig.capture(lambda: rig.launch(memory, memory + 2048))


@breaks("a captured stream waits for work outside of the capture")
def a_capture_depends_on_work_outside(rig: Rig) -> None:
    event, other = rig.call("cuEventCreate", NO_TIMING), rig.device.create_stream()
    rig.call("cuEventRecord", event, other.handle)
    rig.capture(lambda: rig.call("cuStreamWaitEvent", rig.stream.handle, event, 0))


@breaks("an event is waited for or asked that is recorded in a capture")
def an_event_of_a_capture_is_waited_for(rig: Rig) -> None:
    event = rig.call("cuEventCreate", NO_TIMING)

    def work() -> None:
        rig.call("cuEventRecord", event, rig.stream.handle)
        rig.call("cuEventSynchronize", event)

    rig.capture(work)


@breaks("work in the default stream while a blocking stream is captured")
def the_default_stream_is_used_while_a_blocking_one_is_captured(rig: Rig) -> None:
    blocking = rig.call("cuStreamCreateWithPriority", BLOCKING_STREAM, 0)
    event = rig.call("cuEventCreate", NO_TIMING)
    rig.capture(lambda: rig.call("cuEventRecord", event, 0), blocking)


@breaks("a capture is ended by another thread than has begun it")
def a_capture_is_ended_elsewhere(rig: Rig) -> None:
    rig.call("cuStreamBeginCapture", rig.stream.handle, rig.mode)
    rig.in_a_thread(lambda: rig.call("cuStreamEndCapture", rig.stream.handle))


@breaks("an asynchronous copy of pageable memory of the host")
def pageable_memory_is_copied(rig: Rig) -> None:
    pageable = ctypes.create_string_buffer(4096)
    rig.copy(rig.gpu_memory(), ctypes.addressof(pageable))


@breaks("an asynchronous copy of memory of the GPU that is not allocated")
def freed_memory_is_copied(rig: Rig) -> None:
    memory = rig.gpu_memory()
    rig.call("cuMemFreeAsync", memory, rig.stream.handle)
    rig.stream.sync()
    rig.copy(memory, rig.page_locked())


@breaks("an asynchronous copy runs over memory of the GPU that is not allocated")
def memory_is_freed_before_another_stream_has_used_it(rig: Rig) -> None:
    memory, other = rig.gpu_memory(), rig.device.create_stream()
    rig.copy(memory, rig.page_locked(), other)
    rig.call("cuMemFreeAsync", memory, rig.stream.handle)
    rig.stream.sync()
    rig.call("cuStreamSynchronize", other.handle)


@breaks("page-locked memory is freed before an enqueued copy has used it")
def page_locked_memory_is_freed_too_early(rig: Rig) -> None:
    host = rig.page_locked()
    rig.copy(rig.gpu_memory(), host)
    rig.call("cuMemFreeHost", host)


@breaks("memory of the GPU is freed twice")
def memory_is_freed_twice(rig: Rig) -> None:
    memory = rig.gpu_memory()
    for _ in range(2):
        rig.call("cuMemFreeAsync", memory, rig.stream.handle)
    rig.call("cuStreamSynchronize", rig.stream.handle)


@breaks("kernel transpose is given memory that is freed")
def a_kernel_is_given_freed_memory(rig: Rig) -> None:
    memory, freed = rig.gpu_memory(), rig.gpu_memory()
    rig.call("cuMemFreeAsync", freed, rig.stream.handle)
    rig.launch(memory, freed)
    rig.call("cuStreamSynchronize", rig.stream.handle)


@breaks("behind an allocation of 64 bytes was written")
def a_kernel_writes_past_the_end(rig: Rig) -> None:
    memory, short, host = rig.gpu_memory(), rig.gpu_memory(64), rig.page_locked()
    ctypes.memset(host, 0, 4096)
    rig.copy(memory, host)
    rig.launch(memory, short)
    rig.call("cuMemFreeAsync", short, rig.stream.handle)
    rig.stream.sync()


@breaks("kernel transpose is launched with 60000 bytes of shared memory; it may have 49152")
def a_kernel_gets_more_shared_memory_than_it_asked_for(rig: Rig) -> None:
    memory = rig.gpu_memory()
    rig.launch(memory, memory + 2048, shared=60000)


@breaks("a kernel asks for more shared memory than there is")
def a_kernel_asks_for_more_shared_memory_than_there_is(rig: Rig) -> None:
    attribute = rig.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    rig.call("cuKernelSetAttribute", attribute, 300_000, rig.transpose.handle, 0)


@breaks("kernel transpose is launched with a grid or block that no GPU has")
def a_block_is_too_large(rig: Rig) -> None:
    memory = rig.gpu_memory()
    rig.launch(memory, memory + 2048, threads=2048)


@breaks("cuMemHostAlloc without a current context")
def a_thread_has_no_context(rig: Rig) -> None:
    rig.in_a_thread(rig.page_locked)


@breaks("cuCtxPopCurrent without a context")
def more_contexts_are_popped_than_pushed(rig: Rig) -> None:
    for _ in range(2):
        rig.call("cuCtxPopCurrent")


@breaks("a stream is used that was destroyed or never created")
def a_destroyed_stream_is_used(rig: Rig) -> None:
    stream = rig.call("cuStreamCreateWithPriority", BLOCKING_STREAM, 0)
    rig.call("cuStreamDestroy", stream)
    rig.call("cuStreamSynchronize", stream)


@breaks("an event is used that was destroyed or never created")
def a_destroyed_event_is_used(rig: Rig) -> None:
    event = rig.call("cuEventCreate", NO_TIMING)
    rig.call("cuEventDestroy", event)
    rig.call("cuEventRecord", event, rig.stream.handle)


@breaks("a graph was destroyed before its launch has run")
def a_graph_is_destroyed_too_early(rig: Rig) -> None:
    memory, host = rig.gpu_memory(), rig.page_locked()
    executable = rig.call("cuGraphInstantiate", rig.capture(lambda: rig.copy(memory, host)), 0)
    rig.call("cuGraphLaunch", executable, rig.stream.handle)
    rig.call("cuGraphExecDestroy", executable)
    rig.call("cuStreamSynchronize", rig.stream.handle)


@breaks("an asynchronous copy runs over memory of the GPU that is not allocated")
def a_graph_is_replayed_over_freed_memory(rig: Rig) -> None:
    memory, host = rig.gpu_memory(), rig.page_locked()
    executable = rig.call("cuGraphInstantiate", rig.capture(lambda: rig.copy(memory, host)), 0)
    rig.call("cuMemFreeAsync", memory, rig.stream.handle)
    rig.call("cuGraphLaunch", executable, rig.stream.handle)
    rig.call("cuStreamSynchronize", rig.stream.handle)


def run(program: Callable[[Rig], None]) -> None:
    try:
        program(Rig())
    except Exception:  # errors are the other half of what a broken rule does
        traceback.print_exc()


def main(folder: Path) -> None:
    import_module("numpy")
    import_module("cuda.core")  # once for all; nothing is asked of the driver before the processes part
    for name, (program, _) in RULES.items():
        report = folder / name
        report.touch()
        child = os.fork()
        if child == 0:
            os.environ["DRIVER_STAND_IN_REPORT"] = str(report)
            run(program)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
