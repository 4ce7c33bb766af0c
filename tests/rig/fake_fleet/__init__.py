"""A fleet of fake Macs: enough of them, and jobs large enough, to measure the control plane with.

Real: each Mac's HTTP server and its checks, the supervisor with leases, admission and state machine, the journal in an
SQLite file of its own, the chain of signed machine-hours, scratch, storage, the parts of a shard, and Finalize, which
refuses a job unless each clip has exactly one row. The operator is the product's process but for its dialer, which
needs no SSH.

Not real: lanes have no child, no clip is opened or fetched, nothing is decoded or heard. Plan takes each clip's length
from the settings, Process sleeps for each clip and then writes the row that a Mac would have written, 64 at a time. No
evidence of quarantined clips is written, no run.json, and an attempt takes over nothing of an earlier one. All Macs
share one process and with it one processor, so how fast they are says nothing about Macs.

    with FakeFleet(folder, macs=4) as fleet:
        fleet.submit("job", clips=1000)
        job = fleet.ended("job")
"""

from tests.rig.fake_fleet.fleet import FakeFleet as FakeFleet
