"""`make demo`: runs the whole product with real servers on this machine.

Starts etcd and kube-apiserver and two "Macs" (agents with their own scratch and token, one behind an sshd, one behind
TLS), installs the Helm chart, runs the operator as a pod of its Deployment would, applies `examples/` and shows the job
and the run of a schedule until they end. Then a gateway lets a live caption and a spoken line through. All files are in
one folder, `.demo/`. With MODEL=whisper-tiny a real model transcribes people; model and recordings are fetched once
into the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psutil
import yaml
from rich.console import Console

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.moments import timestamp
from voxfleet_dev.chart import HelmFailed
from voxfleet_dev.chart_release import ChartRelease
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.demo_inputs import DemoModel, prepare
from voxfleet_dev.demo_progress import job_progress
from voxfleet_dev.demo_report import Report, gather
from voxfleet_dev.demo_speech import CAPTION_CLIP, CAPTIONS, DemoSpeech, gateway_values
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.mac import FleetTls, Mac
from voxfleet_dev.operator_process import OperatorProcess
from voxfleet_dev.processes import ChildFailed, exit_on_signals, free_port
from voxfleet_dev.sshd import generate_identity
from voxfleet_models.whisper_tiny.model import AnotherModel
from voxfleet_operator.reconcile.schedule.slot_job import job_name
from voxfleet_packages.fetch import PackageUnavailable

EXAMPLES = REPOSITORY / "examples"
KEEPER_FILE = "keeper.json"
SHELL_FILE = "env"
OF_LESSOR = ("billing", "availability")
"""What a demo's Mac has of the example's spec: the rest are addresses and keys."""
OPERATOR_NAMESPACE = "voxfleet-system"
NAMESPACE, JOB, SCHEDULE, CONTRACT = "speech", "nightly", "calls", "voice-commands"
TIMEOUT_SECONDS = 600.0
POLL_SECONDS = 0.5

console = Console(highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="Runs the example job on two Macs on this machine.")
    parser.add_argument("--keep", action="store_true", help="leave everything running and print how to use it")
    parser.add_argument("--stop", action="store_true", help="stop what an earlier --keep left running")
    parser.add_argument(
        "--model", type=_demo_model, default=DemoModel.COMMANDS, help=f"what transcribes: {', '.join(DemoModel)}"
    )
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".demo", help="where everything lives (.demo)")
    parser.add_argument("--keeper", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    exit_on_signals()
    try:
        folder = options.folder.resolve()
        if options.keeper:
            return run(folder, options.model, keep=True)
        stopped = stop_kept(folder)
        if options.stop:
            console.print("The demo has been stopped." if stopped else "No demo was left running.")
            return 0
        if stopped:
            _print("stopped the demo that KEEP=1 had left running")
        return run_kept(folder, options.model) if options.keep else run(folder, options.model, keep=False)
    except KeyboardInterrupt:
        console.print("Interrupted: everything that the demo started has been stopped.")
        return 130
    except (ChildFailed, HelmFailed, PackageUnavailable, AnotherModel) as error:
        console.print(str(error), style="red", markup=False)
        return 1


def _demo_model(name: str) -> DemoModel:
    try:
        return DemoModel(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"there is no {name}, only {' and '.join(DemoModel)}. Make takes it from MODEL, also from an exported"
            " variable: unset MODEL, or say make demo MODEL=whisper-tiny"
        ) from error


def run(folder: Path, model: DemoModel, *, keep: bool) -> int:
    """Runs the demo once; returns 0 when the job is Complete, its bill is proven and scratch is empty."""
    shutil.rmtree(folder, ignore_errors=True)
    job_model = prepare(model, folder / "shared", _print)
    started = time.monotonic()
    with ExitStack() as stack:
        control_plane, macs = _start_servers(stack, folder)
        _print(f"etcd, kube-apiserver and two Macs are up after {time.monotonic() - started:.0f} s")
        release = ChartRelease(control_plane, OPERATOR_NAMESPACE)
        gateway_port = free_port()
        control_plane.apply(EXAMPLES / "namespace.yaml")
        values = yaml.safe_load((EXAMPLES / "values.yaml").read_text())
        release.install({**values, "gateway": gateway_values(macs, NAMESPACE, gateway_port)})
        control_plane.kubectl("wait", "--for=condition=Established", "--all", "crd", "--timeout=30s")
        health_port = free_port()
        (folder / "archive").mkdir()  # as a volume has to be there
        flags = ("--progress-interval-seconds=1", f"--archive={_archive(folder)}", f"--health-port={health_port}")
        operator = stack.enter_context(release.pod(folder / "operator", *flags))
        _print("Helm has installed the chart; the operator runs under its ServiceAccount, with its rights alone")
        asked = datetime.now(UTC).replace(microsecond=0)
        _apply_examples(control_plane, macs, f"file://{folder}/shared", job_model, asked)
        _print("examples/ are applied: one Mac over SSH, one over HTTPS, a job, and a schedule with requestedAt")
        job = _follow(control_plane, operator, JOB)
        slot = _follow(control_plane, operator, job_name(SCHEDULE, asked))
        _print(f"the schedule's slot {timestamp(asked)} ran as {slot.metadata.name}")
        report = gather(control_plane, job, macs)
        stack.enter_context(release.gateway_pod(folder / "gateway", gateway_port))
        speech = DemoSpeech(control_plane, folder, NAMESPACE, CONTRACT)
        speech.apply()
        _print("two VoiceEndpoints are warm, one on each Mac, and a gateway runs under its own ServiceAccount")
        summary = folder / "summary.json"
        summary.write_text(json.dumps(report.summary(), indent=2) + "\n")
        report.print(console)
        heard = speech.caption(_print)
        speech.line(_print)
        _print(f"summary in {summary}; {time.monotonic() - started:.0f} s from start to end")
        if keep:
            shell_file = folder / SHELL_FILE
            shell_file.touch(mode=0o600)  # it holds a key
            shell_file.write_text(_exports(folder, control_plane, health_port, speech.key.text))
            _print_commands(control_plane, folder)
            keeper = psutil.Process()
            (folder / KEEPER_FILE).write_text(json.dumps({"pid": keeper.pid, "started": keeper.create_time()}))
            _close_output()
            threading.Event().wait()
    return 0 if heard and _as_promised(job, report) and is_true(slot.status.conditions, ConditionType.COMPLETE) else 1


def run_kept(folder: Path, model: DemoModel) -> int:
    """Runs the demo in a process of its own, which continues when this function returns."""
    argv = [sys.executable, "-m", "voxfleet_dev.demo", "--keeper", "--model", model, "--folder", str(folder)]
    keeper = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for line in keeper.stdout or ():  # ends when the keeper closes its output
            console.out(line.decode(), end="")
    except BaseException:
        keeper.send_signal(signal.SIGTERM)
        keeper.wait()
        raise
    return 0 if (folder / KEEPER_FILE).exists() else keeper.wait()


def stop_kept(folder: Path) -> bool:
    """Stops a demo that `--keep` left running; returns False when there is none."""
    try:
        kept = json.loads((folder / KEEPER_FILE).read_text())
        process = psutil.Process(kept["pid"])
        if process.create_time() != kept["started"]:
            return False
        process.terminate()
        process.wait(60)
    except (FileNotFoundError, psutil.NoSuchProcess):
        return False
    finally:
        (folder / KEEPER_FILE).unlink(missing_ok=True)
    return True


def _start_servers(stack: ExitStack, folder: Path) -> tuple[ControlPlane, list[Mac]]:
    control_plane = ControlPlane(folder / "control-plane")
    identity, shared = generate_identity(), f"file://{folder}/shared/"
    macs = [
        Mac("mac-a", folder / "mac-a", allow=[shared], identity_pem=identity, interactive_lanes=1),
        Mac("mac-c", folder / "mac-c", allow=[shared], tls=FleetTls.made(), interactive_lanes=1),
    ]
    parts: list[ControlPlane | Mac] = [control_plane, *macs]
    for part in parts:
        stack.callback(part.stop)
    with ThreadPoolExecutor(len(parts)) as pool:
        for result in [pool.submit(part.start) for part in parts]:
            result.result()
    return control_plane, macs


def _apply_examples(
    control_plane: ControlPlane, macs: Sequence[Mac], shared: str, job_model: dict[str, object], asked: datetime
) -> None:
    """Applies examples/ with this machine's addresses, keys and model in place of those of a real fleet."""
    for mac in macs:
        for secret in mac.secret_manifests(OPERATOR_NAMESPACE):
            control_plane.apply(secret)
        example = yaml.safe_load((EXAMPLES / f"{mac.name}.yaml").read_text())
        of_lessor = {field: example["spec"][field] for field in OF_LESSOR if field in example["spec"]}
        control_plane.apply({**example, "spec": {**mac.mac_agent_spec(), **of_lessor}})
    control_plane.apply(EXAMPLES / "namespace.yaml", EXAMPLES / "contract.yaml")
    job = yaml.safe_load((EXAMPLES / "job.yaml").read_text())
    job["spec"]["model"] = job_model
    job["spec"]["input"] = {"manifest": {"uri": f"{shared}/clips/manifest.jsonl"}}
    job["spec"]["output"] = {"uri": f"{shared}/results/"}
    control_plane.apply(job)
    schedule = yaml.safe_load((EXAMPLES / "nightly" / "schedule.yaml").read_text())
    template = {**job["spec"], "output": {"uri": f"{shared}/results/{{date}}/"}}
    schedule["metadata"] = {"name": SCHEDULE, "namespace": NAMESPACE}
    schedule["spec"] |= {"requestedAt": timestamp(asked), "jobTemplate": {"spec": template}}
    control_plane.apply(schedule)


def _follow(control_plane: ControlPlane, operator: OperatorProcess, name: str) -> AudioBatchJob:
    """Shows a job until it has ended and its usage is settled. Raises ChildFailed after ten minutes."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with job_progress(console) as show:
        while True:
            text = control_plane.kubectl("get", "audiobatchjob", name, "-n", NAMESPACE, "-o", "json")
            job = AudioBatchJob.load(json.loads(text))
            show(job)
            conditions = job.status.conditions
            ended = is_true(conditions, ConditionType.COMPLETE) or is_true(conditions, ConditionType.FAILED)
            if ended and job.status.usage.settled:
                return job
            if not operator.child.running or time.monotonic() > deadline:
                raise ChildFailed(
                    f"the job did not end; pending reason: {job.status.pending_reason}; "
                    f"conditions: {[item.dump() for item in conditions]}\n"
                    f"last lines of {operator.log}:\n{operator.child.log_tail()}"
                )
            time.sleep(POLL_SECONDS)


def _as_promised(job: AudioBatchJob, report: Report) -> bool:
    complete = is_true(job.status.conditions, ConditionType.COMPLETE)
    return complete and report.ledger_verified and report.scratch_residue_bytes == 0


def _archive(folder: Path) -> str:
    return (folder / "archive").as_uri()


def _exports(folder: Path, control_plane: ControlPlane, health_port: int, key: str) -> str:
    """For a shell: cluster, programs, ledger archive, clips, the operator's metrics, and a key of the endpoints."""
    programs = f"{Path(sys.executable).parent}:{control_plane.kubectl_path.parent}"
    values = {
        "KUBECONFIG": control_plane.kubeconfig,
        "KUBECACHEDIR": folder / "kubectl-cache",
        "VOXFLEET_ARCHIVE": _archive(folder),
        "SHARED": folder / "shared",
        "OPERATOR_METRICS": f"http://127.0.0.1:{health_port}/metrics",
        "VOXFLEET_API_KEY": key,
    }
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
    return "\n".join([*lines, f"export PATH={shlex.quote(programs)}:$PATH", ""])


def _print_commands(control_plane: ControlPlane, folder: Path) -> None:
    clip = CAPTION_CLIP.relative_to(REPOSITORY)
    console.print(f"""
Everything goes on running; `make demo-stop` ends it.

  export KUBECONFIG={control_plane.kubeconfig}
  source {folder / SHELL_FILE}     (the same, the PATH, and a key of the endpoints; docs/tutorials goes on from there)

  {control_plane.kubectl_path} get abj,ash,abs,mac,mhs,vc,ve -A
  .venv/bin/voxfleet why {JOB} -n {NAMESPACE}     (or `kubectl voxfleet why`, with .venv/bin in the PATH)
  .venv/bin/voxfleet why abs/{SCHEDULE} -n {NAMESPACE}
  .venv/bin/voxfleet why ve/{CAPTIONS} -n {NAMESPACE}     (docs/how-to/serve-speech.md goes on from there)
  .venv/bin/voxfleet transcribe {clip} --endpoint {CAPTIONS} -n {NAMESPACE}     (after `source`)
  {control_plane.kubectl_path} explain audiobatchjob.spec
""")


def _close_output() -> None:
    """Closes our output, so that a reader of a pipe sees its end now and not when the demo stops."""
    console.file.flush()
    with Path(os.devnull).open("w") as nothing:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nothing.fileno(), stream.fileno())


def _print(text: str) -> None:
    console.print(f"demo: {text}")


if __name__ == "__main__":
    sys.exit(main())
