"""run.json is read by agents of another version, so what it holds is what they can read."""

from __future__ import annotations

from voxfleet_agent.stages.process.run_record_file import told_readings
from voxfleet_api.run_record import LaneReadings

READINGS = LaneReadings(ring_underruns=3, ring_underruns_by_cause={"Disk": 2, "Decode": 1})
OLD_FIELDS = {"ringBytes", "ringHighWaterBytes", "ringUnderruns", "ringResets", "peakRssBytes", "restarts", "batchSize"}


def test_a_fleets_run_json_has_nothing_that_older_agents_would_refuse() -> None:
    assert set(told_readings(READINGS, one_machine=False).dump()) == OLD_FIELDS
    assert told_readings(READINGS, one_machine=False).ring_underruns == 3


def test_a_run_on_one_machine_tells_underruns_by_cause() -> None:
    assert told_readings(READINGS, one_machine=True).dump()["ringUnderrunsByCause"] == {"Disk": 2, "Decode": 1}


def test_readings_of_other_versions_can_be_read() -> None:
    assert LaneReadings.load({"ringUnderruns": 3}).ring_underruns_by_cause is None
    newer = {"ringUnderrunsByCause": {"Disk": 1, "Weather": 2}, "fanSpeed": 7}
    assert LaneReadings.load(newer).ring_underruns_by_cause == {"Disk": 1, "Weather": 2}
