"""What ends the work early: a loss of the lease or a stop cancels it, and the reason comes out of it, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from perseus.errors import LeaseLost, StaleEpoch, StopRequested
from perseus.instances.interruption import Interruption

Body = Callable[[], Awaitable[None]]


class Blocks:
    """An interruption, the losses it was told of, and work in a task of its own."""

    def __init__(self) -> None:
        self.losses: list[LeaseLost] = []
        self.interruption = Interruption(on_loss=self._lose)
        self.began = asyncio.Event()

    def stop(self, *, by: str = "ops") -> StopRequested:
        """Ask for a stop, as `Instance.request_stop` does."""
        reason = StopRequested(f"Stopped by {by}.", by=by)
        self.interruption.stop = reason
        self.interruption.cancel(reason)
        return reason

    def lose(self) -> LeaseLost:
        """Lose the lease, as the heartbeat says it."""
        loss = LeaseLost("The lease is lost.", reason="missing")
        self.interruption.lost = loss
        self.interruption.cancel(loss)
        return loss

    async def work(self, body: Body) -> None:
        """One block around `body`."""
        async with self.interruption.block():
            self.began.set()
            await body()

    async def begun(self, body: Body) -> asyncio.Task[None]:
        """The block in a task, waiting in its body."""
        task = asyncio.create_task(self.work(body))
        await self.began.wait()
        await asyncio.sleep(0)
        return task

    def _lose(self, loss: LeaseLost) -> None:
        self.losses.append(loss)
        self.interruption.lost = self.interruption.lost or loss
        self.interruption.cancel(loss)


@pytest.fixture
async def blocks() -> Blocks:
    """Nothing interrupted yet."""
    return Blocks()


async def forever() -> None:
    """Work that has no end of its own."""
    await asyncio.Event().wait()


async def test_undisturbed_work_ends_as_it_would(blocks: Blocks) -> None:
    """The block adds nothing where nothing happens."""
    await blocks.work(lambda: asyncio.sleep(0))
    with pytest.raises(KeyError, match="mine"):
        await blocks.work(lambda: failing(KeyError("mine")))
    assert blocks.losses == []


@pytest.mark.parametrize("kind", ["stop", "lose"])
async def test_interrupted_work_raises_the_reason_and_its_task_may_go_on(blocks: Blocks, kind: str) -> None:
    """Had the task stayed marked as cancelled, the next thing it waits for would end it."""

    async def tenure() -> tuple[BaseException, int]:
        with pytest.raises((StopRequested, LeaseLost)) as caught:
            await blocks.work(forever)
        await asyncio.sleep(0.001)
        task = asyncio.current_task()
        assert task is not None
        return caught.value, task.cancelling()

    task = asyncio.create_task(tenure())
    await blocks.began.wait()
    reason = getattr(blocks, kind)()
    assert await task == (reason, 0)


async def test_cancellation_from_outside_stays_one(blocks: Blocks) -> None:
    """Whoever cancels the process' own task must not be told that somebody stopped the exchange."""
    task = await blocks.begun(forever)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_cancellation_from_outside_wins_over_ours(blocks: Blocks, first: str) -> None:
    """Both in one moment: swallowing theirs would leave a task running that was told to end."""
    task = await blocks.begun(forever)
    for who in ("ours", "theirs") if first == "ours" else ("theirs", "ours"):
        if who == "ours":
            blocks.stop()
        else:
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_loss_outranks_a_stop(blocks: Blocks) -> None:
    """A stop lets the work end in order; after a loss nothing may be emitted any more."""
    task = await blocks.begun(forever)
    blocks.stop()
    loss = blocks.lose()
    with pytest.raises(LeaseLost) as caught:
        await task
    assert caught.value is loss


async def test_every_block_is_interrupted_once(blocks: Blocks) -> None:
    """A second cancellation would cut short the clean-up that the first one began."""
    cleaned: list[str] = []

    async def with_clean_up() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("all")

    task = await blocks.begun(with_clean_up)
    blocks.stop()
    await asyncio.sleep(0)
    loss = blocks.lose()
    with pytest.raises(LeaseLost) as caught:
        await task
    assert (caught.value, cleaned) == (loss, ["all"])


async def test_nested_blocks_raise_the_same_reason_and_may_clean_up_between(blocks: Blocks) -> None:
    """Phases lie within one another: one cancellation must go through them all, each free to await its own end."""
    seen: list[BaseException] = []

    async def nested() -> None:
        try:
            await blocks.work(forever)
        except StopRequested as stop:
            seen.append(stop)
            await asyncio.sleep(0.001)
            raise

    task = await blocks.begun(nested)
    stop = blocks.stop()
    with pytest.raises(StopRequested) as caught:
        await task
    assert (seen, caught.value) == ([stop], stop)


async def test_several_tasks_are_interrupted_together(blocks: Blocks) -> None:
    """A feed may be active in more than one task."""
    tasks = [await blocks.begun(forever) for _ in range(3)]
    stop = blocks.stop()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [stop] * 3


async def test_task_that_asks_for_the_stop_is_not_cancelled_by_it(blocks: Blocks) -> None:
    """A feed may stop itself; cancelling it in the middle of asking would lose the stop."""

    async def asks() -> None:
        blocks.stop()
        await asyncio.sleep(0.001)

    await blocks.work(asks)


async def test_swallowed_cancellation_still_ends_the_block_with_the_reason(blocks: Blocks) -> None:
    """A library that catches everything must not turn a lost lease into a normal end."""

    async def swallows() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            return

    async def tenure() -> int:
        with pytest.raises(LeaseLost):
            await blocks.work(swallows)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(tenure())
    await blocks.began.wait()
    blocks.lose()
    assert await task == 0


async def test_cancellation_that_comes_with_the_last_answer_ends_the_block(blocks: Blocks) -> None:
    """The work's last wait is over and its task about to run when the stop comes: it must not hit the code after."""
    done = asyncio.get_running_loop().create_future()
    task = await blocks.begun(lambda: done)
    done.set_result(None)
    stop = blocks.stop()
    with pytest.raises(StopRequested) as caught:
        await task
    assert caught.value is stop


async def test_error_while_being_interrupted_is_the_reasons_cause(blocks: Blocks) -> None:
    """A socket that fails to close must neither hide that the lease is lost nor be forgotten."""

    async def fails_to_close() -> None:
        try:
            await forever()
        finally:
            raise OSError("close failed")

    task = await blocks.begun(fails_to_close)
    loss = blocks.lose()
    with pytest.raises(LeaseLost) as caught:
        await task
    assert caught.value is loss
    assert isinstance(caught.value.__cause__, OSError)
    assert task.cancelling() == 0


async def test_group_is_interrupted_with_all_its_tasks(blocks: Blocks) -> None:
    """A feed's tasks live in a group: none of them may outlive the tenure."""
    ended: list[int] = []

    async def child(number: int) -> None:
        try:
            await forever()
        finally:
            ended.append(number)

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(child(number))

    task = await blocks.begun(group)
    await asyncio.sleep(0)
    stop = blocks.stop()
    with pytest.raises(StopRequested) as caught:
        await task
    assert caught.value is stop
    assert sorted(ended) == [0, 1, 2]


@pytest.mark.parametrize("together_with", ["nothing", "another error"])
async def test_loss_found_in_a_group_is_told_and_raised_as_such(blocks: Blocks, together_with: str) -> None:
    """A refused write deep in a group of groups is the first to know of a loss: everybody else must hear it."""
    loss = StaleEpoch("The store refused a write.", reason="taken", epoch=7)

    async def group() -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(inner())
            if together_with == "another error":
                outer.create_task(failing(OSError("socket")))

    async def inner() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(failing(loss))
            tasks.create_task(forever())

    bystander = await blocks.begun(forever)
    with pytest.raises(StaleEpoch) as caught:
        await blocks.work(group)
    assert caught.value is loss
    assert blocks.losses == [loss]
    with pytest.raises(StaleEpoch):
        await bystander


async def test_other_errors_of_a_group_pass_unchanged(blocks: Blocks) -> None:
    """Without an interruption the feed's own failure is what has to be seen."""

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(failing(OSError("socket")))
            tasks.create_task(forever())

    with pytest.raises(ExceptionGroup) as caught:
        await blocks.work(group)
    assert [str(error) for error in caught.value.exceptions] == ["socket"]
    assert blocks.losses == []


async def test_group_that_fails_while_being_interrupted_raises_the_reason(blocks: Blocks) -> None:
    """A child's clean-up error must not turn a stop into a crash."""

    async def fails_to_close() -> None:
        try:
            await forever()
        finally:
            raise OSError("close failed")

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails_to_close())

    task = await blocks.begun(group)
    await asyncio.sleep(0)
    stop = blocks.stop()
    with pytest.raises(StopRequested) as caught:
        await task
    assert caught.value is stop
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_block_within_a_timeout_of_the_feeds_own_is_not_mistaken_for_it(blocks: Blocks) -> None:
    """`asyncio.timeout` is a cancellation too: it stays the feed's own business, and a stop is no timeout."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await forever()

    task = await blocks.begun(bounded)
    stop = blocks.stop()
    with pytest.raises(StopRequested) as caught:
        await task
    assert caught.value is stop

    async def too_late() -> None:
        async with asyncio.timeout(0.001):
            await forever()

    fresh = Blocks()
    with pytest.raises(TimeoutError):
        await fresh.work(too_late)


async def failing(error: Exception) -> None:
    """Fail with this."""
    raise error
