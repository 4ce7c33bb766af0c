"""The tutorial runs as printed, from `make demo KEEP=1` on; and in its demo five places say the same of one job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.fleet import wait_for_processes_to_end
from tests.e2e.test_demo import below
from tests.rig import job_figures
from tests.rig.console_page import Shell, Step, steps

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MachineHourStatement
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_dev.locations import REPOSITORY

PAGE = REPOSITORY / "docs" / "tutorials" / "from-nightly-batch-to-invoice.md"
MAKE = """#!/bin/sh
case "$*" in
"demo KEEP=1") exec {python} -m voxfleet_dev.demo --folder .demo --keep ;;
"demo-stop") exec {python} -m voxfleet_dev.demo --folder .demo --stop ;;
*) echo "no target: $*" >&2; exit 2 ;;
esac
"""
"""What the Makefile's targets run, with the demo's folder below the working one."""
DEMO_STARTS = 2
"""Steps until the shell knows the demo's cluster."""
DEMO_STOPS = 2
MACS = ("mac-a", "mac-c")
TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Walk:
    """A newcomer's shell in a folder like the checkout, with the demo running."""

    shell: Shell
    folder: Path
    steps: list[Step]

    @property
    def shared(self) -> Path:
        return self.folder / ".demo" / "shared"

    def run(self, command: str) -> str:
        output, code = self.shell.run(command, TIMEOUT_SECONDS)
        assert code == 0, f"{command}\n{output}"
        return output

    def scrape(self) -> str:
        """The operator's metrics."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.run("echo $OPERATOR_METRICS").strip(), timeout=TIMEOUT_SECONDS) as answer:
            text: bytes = answer.read()
            return text.decode()

    def job(self) -> AudioBatchJob:
        return AudioBatchJob.load(json.loads(self.run(f"kubectl get abj {JOB} -n {NAMESPACE} -o json")))

    def drain(self, drain: str, *macs: str) -> None:
        """`drain`: the spec's, as JSON; `null`: none. kubectl, because each start of voxfleet takes a second."""
        for mac in macs:
            self.run(f"""kubectl patch mac/{mac} --type=merge -p '{{"spec":{{"drain":{drain}}}}}'""")

    def statements(self) -> list[MachineHourStatement]:
        return [MachineHourStatement.load(item) for item in json.loads(self.run("kubectl get mhs -o json"))["items"]]

    def wait_until_all_is_counted(self) -> None:
        """Until the statements count as many rows of jobs as the jobs have; the demo's endpoints go on."""
        jobs = map(AudioBatchJob.load, json.loads(self.run(f"kubectl get abj -n {NAMESPACE} -o json"))["items"])
        rows = sum(job.status.usage.rows for job in jobs)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (found := sum(map(rows_of_jobs, self.statements()))) != rows:
            assert time.monotonic() < deadline, f"statements count {found} rows, not {rows}"
            time.sleep(POLL_SECONDS)

    def mac_at_work(self) -> str:
        """The Mac of the job's only Process shard, once it has delivered some clips."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not any((self.shared / JOB).rglob("part-*.jsonl")):
            assert time.monotonic() < deadline, self.run("kubectl get abj,ash,mac -A")
            time.sleep(POLL_SECONDS)
        shards = map(AudioShard.load, json.loads(self.run(f"kubectl get ash -n {NAMESPACE} -o json"))["items"])
        [shard] = [item for item in shards if item.spec.job_ref.name == JOB and item.spec.stage is Stage.PROCESS]
        assert shard.status.mac is not None
        return shard.status.mac


def rows_of_jobs(statement: MachineHourStatement) -> int:
    return statement.status.rows - sum(endpoint.rows for endpoint in statement.status.endpoints)


def environment(folder: Path) -> Mapping[str, str]:
    programs = folder / "programs"
    programs.mkdir()
    make = programs / "make"
    make.write_text(MAKE.format(python=sys.executable))
    make.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb", "COLUMNS": "120", "TZ": "UTC"}


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """`make demo KEEP=1` as the page has it, and at the end its `make demo-stop`."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    told = steps(PAGE)
    assert [step.command for step in told[:DEMO_STARTS]] == ["make demo KEEP=1", "source .demo/env"]
    assert [step.command for step in told[-DEMO_STOPS:]] == ["cd ../..", "make demo-stop"]
    with Shell(folder, environment(folder)) as shell:
        try:
            for step in told[:DEMO_STARTS]:
                shell.take(step)
            running = below(folder / ".demo")
            assert len(running) > 3, "the demo goes on when make returns"
            yield Walk(shell, folder, told[DEMO_STARTS:-DEMO_STOPS])
            shell.run(f"cd {folder}", TIMEOUT_SECONDS)
            shell.take(told[-1])
            wait_for_processes_to_end(running)
            assert below(folder / ".demo") == []
        finally:  # whatever became of the shell
            stop = [sys.executable, "-m", "voxfleet_dev.demo", "--folder", str(folder / ".demo"), "--stop"]
            subprocess.run(stop, check=False, capture_output=True)


def test_what_a_newcomer_copies_works_as_printed(walk: Walk) -> None:
    for step in walk.steps:
        walk.shell.take(step)


JOB, NAMESPACE, BILLING_KEY = "counted", "speech", "team-counted"
COPIES = 12
"""Of each clip that the contract takes, so that the Mac is called back in mid-shard."""
REFUSED = ("truncated", "wrong-checksum", "rate-8000")
APPLY = f"""kubectl apply -f - <<EOF
apiVersion: voxfleet.dev/v1alpha1
kind: AudioBatchJob
metadata: {{name: {JOB}, namespace: {NAMESPACE}}}
spec:
  contractRef: {{name: voice-commands}}
  model: {{builtin: {{name: commands}}}}
  input: {{manifest: {{uri: "file://$SHARED/clips/{JOB}.jsonl"}}}}
  output: {{uri: "file://$SHARED/{JOB}/"}}
  sharding: {{targetAudio: 2h}}
  billingKey: {BILLING_KEY}
EOF"""
BOOK = """lessors:
  - name: acme
    account: ACME-4711
    invoiceIssuer: Acme Mac Rentals
    currency: EUR
    rounding: {unit: "0.01", mode: HalfUp, at: Invoice}
    skus:
      - name: m4pro-48
        rates: [{from: 2020-01-01, listHourly: "2.40", contractedHourly: "1.95"}]
"""


def test_report_bill_export_cluster_and_metrics_say_the_same_of_a_job(walk: Walk) -> None:
    """Its first Mac is called back at work, so that no figure is 0."""
    shared, book = walk.shared, walk.folder / "book.yaml"
    book.write_text(BOOK)
    lines = [json.loads(line) for line in (shared / "clips" / "manifest.jsonl").read_text().splitlines()]
    refused = [line for line in lines if line["id"] in REFUSED]
    taken = [{**line, "id": f"{line['id']}-{copy}"} for copy in range(COPIES) for line in lines if line not in refused]
    copies = [*taken, *refused]
    (shared / "clips" / f"{JOB}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in copies))
    walk.drain("null", *MACS)
    before = job_figures.of_metrics(walk.scrape())
    walk.run(APPLY)
    first = walk.mac_at_work()
    walk.drain('{"mode":"ReturnAtNextClip"}', first)
    settled = "--for=jsonpath='{.status.usage.settled}'=true"
    walk.run(f"kubectl wait abj/{JOB} -n {NAMESPACE} {settled} --timeout=4m")
    walk.drain("{}", *MACS)
    job = walk.job()
    walk.wait_until_all_is_counted()
    months = f"--period $(date -u +%Y-%m) --price-book {book}"
    report = f"voxfleet report {JOB} -n {NAMESPACE} --price-book {book} --out {walk.folder}/report.html"
    walk.run(report)
    walk.run(f"voxfleet bill export {months} --format focus-1.2 --out {walk.folder}/bill.csv")
    of_report, report_cost = job_figures.of_report((walk.folder / "report.html").read_text())
    of_bill, bill_cost = job_figures.of_bill(
        walk.run(f"voxfleet bill show --by job -o json {months}"), f"{NAMESPACE}/{JOB}"
    )
    of_export, export_cost = job_figures.of_export((walk.folder / "bill.csv").read_text(), job.metadata.uid)

    of_job = job_figures.of_job(job)
    assert {
        "report.html": of_report,
        "bill show": of_bill,
        "the CSV": of_export,
        "kubectl get mhs": job_figures.of_statements(walk.statements(), BILLING_KEY),
        "the metrics": job_figures.of_metrics(walk.scrape()) - before,
    } == dict.fromkeys(("report.html", "bill show", "the CSV", "kubectl get mhs", "the metrics"), of_job)
    assert len(of_job.classes) == 3 and all(of_job.classes.values()) and of_job.clips == len(copies)
    assert job.status.clips.quarantined == len(REFUSED)
    assert report_cost == bill_cost == export_cost and report_cost["EUR"] > 0
