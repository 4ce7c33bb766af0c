"""How often each detector of speech calls a correct transcript short, and how many halves it misses.

    .venv/bin/python -m voxfleet_hearing [--espeak 400]

Espeak-ng speaks random clips, which the built-in model transcribes; of these, the correct transcripts count. People
speak in recordings out of packages, which Whisper tiny.en transcribes; what it writes counts as correct. Each
transcript is judged as it is, and cut to the first half of its words. For music and noises, none is correct. Models and
recordings are fetched once into the cache; the whole takes some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from voxfleet_dev.mac import agent_environment
from voxfleet_hearing.cases import Case, espeak_cases, half, people, soundless_cases, spoken_cases, telephone_prompts
from voxfleet_hearing.detectors import Detectors
from voxfleet_hearing.verdicts import CALLS_SHORT, Verdict
from voxfleet_models.whisper_tiny.model import AnotherModel, whisper_tiny
from voxfleet_packages.fetch import PackageUnavailable


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="voxfleet_hearing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--espeak", type=int, default=400, help="how many clips espeak-ng speaks")
    options = parser.parse_args(arguments)
    detectors = Detectors()
    try:
        model = whisper_tiny()
        sets = {
            "people": list(spoken_cases(model, people(), detectors)),
            "telephone prompts": list(spoken_cases(model, telephone_prompts(), detectors)),
            "espeak-ng": list(espeak_cases(options.espeak, detectors)) if options.espeak else [],
            "music and noises": list(soundless_cases(detectors)),
        }
    except (AnotherModel, PackageUnavailable) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    for line in report(sets, detectors):
        print(line, flush=True)
    took = detectors.milliseconds_per_second()
    print("processor time a second of audio:", ", ".join(f"{name} {spent:.1f} ms" for name, spent in took.items()))
    return 0


def report(sets: dict[str, list[Case]], detectors: Detectors) -> Iterator[str]:
    yield f"{'set':18} {'clips':>5}  {'detector':22} {'correct, called short':>21} {'halves missed':>14}"
    for name, cases in sets.items():
        halved = [(case, cut) for case in cases if (cut := half(case.transcript)) is not None]
        for way, short in CALLS_SHORT.items():
            wrong = [case.name for case in cases if short(case, case.transcript, detectors)]
            found = sum(short(case, cut, detectors) for case, cut in halved)
            missed = f"{len(halved) - found} of {len(halved)}" if halved else "-"
            yield f"{name:18} {len(cases):5}  {way:22} {len(wrong):21} {missed:>14}  {', '.join(wrong[:8])}"
        verdicts = {case.name: Verdict(case, case.transcript, detectors) for case in cases}
        asked = sum(verdict.asked_seconds > 0 for verdict in verdicts.values())
        unspoken = [name for name, verdict in verdicts.items() if verdict.judgement.unspoken]
        repeated = [name for name, verdict in verdicts.items() if verdict.judgement.repeated]
        yield (
            f"{'':26}Silero is asked about {asked}; NoAudibleSpeech: {', '.join(unspoken) or 'none'};"
            f" RepeatedText: {', '.join(repeated) or 'none'}"
        )


if __name__ == "__main__":
    environment = agent_environment()
    # The agent's BLAS must be loaded before MLX's own.
    if environment.get("LD_PRELOAD") != os.environ.get("LD_PRELOAD"):
        command = [sys.executable, "-m", "voxfleet_hearing", *sys.argv[1:]]
        os.execve(sys.executable, command, environment)  # noqa: S606 - this command again
    sys.exit(main())
