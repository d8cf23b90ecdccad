"""Executions: walk the steps of a `Call` around the wait for its executor, for synchronous and asynchronous callers.

Every call leaves exactly one of `action.denied`, `approval.requested`, `action.executed`, `action.failed`. PROTOCOL: Execute.
"""

from __future__ import annotations

from cra.execution.call import Call, Outcome
from cra.execution.idempotency import Entry


def execute(call: Call) -> Outcome:
    """Run a call for a synchronous caller."""
    while isinstance(step := call.admit(), Entry):
        settled = step.wait(call.patience)
        if settled is None:
            call.refuse_in_flight()
        if settled.kind != "abandoned":
            return call.replay(step, settled)
    try:
        if call.runtime.options.fail_closed:
            call.confirm(step.timeout_seconds)
        call.check_open()
        try:
            result = call.runtime.threads.call(
                step.executor.function, step.parameters, step.timeout_seconds, step.executor.way
            )
        except Exception as error:
            call.failed(error)
        return call.succeeded(result)
    except BaseException:
        call.interrupted()
        raise


async def aexecute(call: Call) -> Outcome:
    """Run a call for a caller on an event loop."""
    import asyncio

    asks_others = call.runtime.asks_others
    while isinstance(step := await asyncio.to_thread(call.admit) if asks_others else call.admit(), Entry):
        settled = await step.wait_async(call.patience)
        if settled is None:
            call.refuse_in_flight()
        if settled.kind != "abandoned":
            return call.replay(step, settled)
    try:
        if call.runtime.options.fail_closed:
            await asyncio.to_thread(call.confirm, step.timeout_seconds)
        call.check_open()
        try:
            result = await call.runtime.threads.acall(
                step.executor.function, step.parameters, step.timeout_seconds, step.executor.way
            )
        except Exception as error:
            call.failed(error)
        return call.succeeded(result)
    except BaseException:
        call.interrupted()
        raise
