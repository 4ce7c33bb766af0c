"""Random lives of a schedule: changes of the clock, clocks that are set, an operator that is away, edits."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.schedule_objects import moment
from tests.unit.operator.decisions.schedule_world import KEY, ScheduleWorld

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import MAX_ACTIVE_JOBS, NEXT_RUNS
from voxfleet_api.moments import timestamp
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.schedule.decide import LONGEST_STEP_BACK
from voxfleet_operator.reconcile.schedule.slot_job import rule_of

SCHEDULES = ("0 * * * *", "*/20 * * * *", "30 2 * * *", "15 0,2 * * *", "0 */3 * * *", "@daily", "0 3 * * SUN")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Antarctica/Troll")
NIGHTS = tuple(
    moment(f"{day} 00:00")
    for day in ("2026-10-24", "2026-10-31", "2027-03-13", "2027-03-27", "2027-04-03", "2027-04-29", "2027-10-02")
)
"""Before the clock changes in one of the zones."""
SMALL_STEP = timedelta(hours=12)
FAR_AHEAD = timedelta(days=60)


class Life:
    """A world that checks itself after whatever happens to it."""

    def __init__(self, seed: int, night: datetime) -> None:
        self.random = Random(seed)  # noqa: S311 # a life that can be repeated, no secret
        self.world = ScheduleWorld(seed, **self._times(), **self._policy())
        world = self.world
        world.clock.ahead_seconds = (night - world.clock.now()).total_seconds()
        world.api.objects[KEY]["metadata"]["creationTimestamp"] = timestamp(night)
        self.since = night
        """The last slot that is decided, or when slots of the present times began to count."""
        self.peak = night
        """The latest time that the clock has shown while it was right."""
        self.known_times = self._present_times()
        self.was_far_ahead = False

    async def live(self) -> None:
        await self.look()
        for _ in range(12):
            self.world.api.lost_answers = self.random.choice([0.0, 0.0, 0.3])
            await self.random.choice(
                [
                    self.time_passes,
                    self.time_passes,
                    self.operator_is_away,
                    self.clock_is_set,
                    self.edited,
                    self.job_ends,
                ]
            )()
            await self.look()
        await self.runs_are_those_that_were_shown()

    # What happens.

    async def time_passes(self) -> None:
        end = self.world.clock.now() + timedelta(minutes=self.random.randint(1, 70))
        await self.world.wait_until(end)

    async def operator_is_away(self) -> None:
        self.world.clock.seconds += 60.0 * self.random.choice([1, 45, 300, 3000])
        self.world.start_operator()

    async def clock_is_set(self) -> None:
        """By some hours; once in a life, while it is right, by months, and a moment later it is right again."""
        clock = self.world.clock
        if not self.was_far_ahead and clock.now() >= self.peak and self.random.random() < 0.3:
            self.was_far_ahead = True
            peak = self.peak
            clock.ahead_seconds += FAR_AHEAD.total_seconds()
            self.world.queue.add(KEY)
            await self.look()
            clock.ahead_seconds -= FAR_AHEAD.total_seconds()
            self.peak = peak
        else:
            back = min(SMALL_STEP, SMALL_STEP - (self.peak - clock.now()))
            steps = (SMALL_STEP, -max(back, timedelta(0)))
            clock.ahead_seconds += self.random.random() * self.random.choice(steps).total_seconds()
        self.world.queue.add(KEY)  # as it looks every minute

    async def edited(self) -> None:
        change = self.random.choice([self._times, self._policy, self._request, self._suspension])
        self.world.edit(**change())

    async def job_ends(self) -> None:
        for job in self.world.jobs:
            if not has_ended(job) and self.random.random() < 0.7:
                self.world.end(job, self.random.choice(["Complete", "Failed"]), settled=self.random.random() < 0.8)

    # What must hold.

    async def look(self) -> None:
        world = self.world
        made, now = len(world.api.made), world.clock.now()
        running = [job for job in world.jobs if not has_ended(job)]
        await world.settle()
        schedule, spec = world.schedule, world.schedule.spec
        new = world.api.made[made:]
        assert len({slot for _, slot in world.api.made}) == len(world.api.made), "a slot has got two jobs"
        assert len(new) <= 2, "a storm"  # a slot and a request
        self._see(now)
        free = not running or spec.concurrency_policy != "Forbid"
        due = rule_of(schedule).latest(self.since, now)
        if due is not None and not spec.suspend:
            deadline = spec.starting_deadline_seconds
            if deadline is not None and (now - due).total_seconds() > deadline:
                self.since = due  # it is missed, whatever is edited later
            elif free and len(running) < MAX_ACTIVE_JOBS and not self._waits_for_a_request(new, due):
                assert due in {slot for _, slot in world.api.made}, f"{due} is lost"
                self.since = due
        if new:
            assert free and not spec.suspend
        if new and spec.concurrency_policy == "Replace":
            present = {job.metadata.name: job for job in world.jobs}
            assert all(present[job.metadata.name].spec.cancel for job in running)
        self._history_holds(schedule)
        self._status_is_true(schedule, now)

    def _waits_for_a_request(self, new: list[tuple[str, datetime]], due: datetime) -> bool:
        """What came before the slot starts before it, and Forbid lets nothing run beside it."""
        spec = self.world.schedule.spec
        asked = {slot for _, slot in new if timestamp(slot) == spec.requested_at}
        return spec.concurrency_policy == "Forbid" and any(slot < due for slot in asked)

    def _see(self, now: datetime) -> None:
        """What the operator knows since this pass."""
        if self.since - now > LONGEST_STEP_BACK:
            self.since = now
        if self._present_times() != self.known_times:
            self.known_times, self.since = self._present_times(), max(now, self.since)
        self.peak = max(self.peak, now)

    def _history_holds(self, schedule: AudioBatchSchedule) -> None:
        settled = [job for job in self.world.jobs if has_ended(job) and job.status.usage.settled]
        complete = [job for job in settled if is_true(job.status.conditions, ConditionType.COMPLETE)]
        assert len(complete) <= schedule.spec.successful_jobs_history_limit
        assert len(settled) - len(complete) <= schedule.spec.failed_jobs_history_limit

    def _status_is_true(self, schedule: AudioBatchSchedule, now: datetime) -> None:
        status = schedule.status
        running = [job.metadata.name for job in self.world.jobs if not has_ended(job)]
        assert [item.name for item in status.active] == running[:MAX_ACTIVE_JOBS]
        assert status.decided is not None
        after = max(now, datetime.fromisoformat(status.decided.until))
        wanted = () if schedule.spec.suspend else rule_of(schedule).upcoming(after, NEXT_RUNS)
        assert status.next_schedule_times == tuple(timestamp(slot) for slot in wanted)

    async def runs_are_those_that_were_shown(self) -> None:
        world = self.world
        world.api.lost_answers = 0.0
        world.edit(suspend=False, concurrencyPolicy="Allow", startingDeadlineSeconds=None, requestedAt=None)
        await world.settle()
        for _ in range(4):
            for job in world.jobs:
                world.end(job, "Complete")
            await world.settle()
            shown, made = world.schedule.status.next_schedule_times, len(world.api.made)
            due = datetime.fromisoformat(shown[0])
            world.clock.seconds += max(0.0, (due - world.clock.now()).total_seconds() - 200)
            await world.wait_until(due + timedelta(seconds=1))
            assert [timestamp(slot) for _, slot in world.api.made[made:]] == [shown[0]]

    # What is written.

    def _present_times(self) -> tuple[str, str]:
        spec = self.world.schedule.spec
        return spec.schedule, spec.time_zone

    def _times(self) -> dict[str, object]:
        return {"schedule": self.random.choice(SCHEDULES), "timeZone": self.random.choice(ZONES)}

    def _policy(self) -> dict[str, object]:
        return {
            "concurrencyPolicy": self.random.choice(["Allow", "Forbid", "Replace"]),
            "startingDeadlineSeconds": self.random.choice([None, 600, 7200]),
            "successfulJobsHistoryLimit": self.random.choice([0, 3]),
            "failedJobsHistoryLimit": self.random.choice([0, 1]),
        }

    def _request(self) -> dict[str, object]:
        seconds = self.random.randint(-100_000, 20_000)
        return {"requestedAt": timestamp((self.world.clock.now() + timedelta(seconds=seconds)).replace(second=7))}

    def _suspension(self) -> dict[str, object]:
        return {"suspend": not self.world.schedule.spec.suspend}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), night=st.sampled_from(NIGHTS))
async def test_no_slot_gets_two_jobs_and_none_is_lost_whatever_happens(seed: int, night: datetime) -> None:
    await Life(seed, night).live()
