"""Reports of jobs and months, as they could have been."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.ladder_table import LadderTable, LadderTier
from voxfleet_api.limit_checks import ContractLimits
from voxfleet_api.machine_time import MachineTime, MacTime
from voxfleet_api.results import Counts, FileRef
from voxfleet_report.distribution import distribution
from voxfleet_report.job_report import JobReport, ReportedClip, ReportedMachine
from voxfleet_report.month_report import BudgetLine, MonthReport, Part, Times

DIGEST = "sha256:" + "ab" * 32
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202evaw.live",
    "مكالمة-هاتفية.wav",
    "&lt;b&gt; </style><style>*{display:none}",
)


def job_report(clips: int = 5000, names: Sequence[str] = HOSTILE) -> JobReport:
    """`names`: of the quarantined clips."""
    milliseconds = [200 + 37 * number % 4999 for number in range(clips)]
    spread = distribution(milliseconds)
    fast = distribution([value // 40 for value in milliseconds])
    assert spread is not None and fast is not None
    return JobReport(
        namespace="calls",
        name="nightly-2026-11-29",
        uid="0a1b2c3d-1111-2222-3333-444455556666",
        task="Transcribe",
        billing_key="team-speech",
        contract_digest=DIGEST,
        model_digest=DIGEST,
        model="mlx-community/whisper-large-v3-turbo-asr-fp16",
        manifest_sha256="cd" * 32,
        clips=Counts(succeeded=clips, quarantined=len(names), failed=1),
        audio_milliseconds=91_234_567,
        timed_audio_milliseconds=90_000_000,
        infer_milliseconds=1_900_000,
        quarantined_audio_milliseconds=83_000,
        retries=31,
        failure_classes={"ChecksumMismatch": len(names), "Transport": 1},
        warnings={"NoAudibleSpeech": 4},
        quarantined=tuple(
            ReportedClip(
                index=7 * number,
                custom_id=text,
                failure_class="ChecksumMismatch",
                reason=f"the bytes of {text[:200]} are others than the manifest says; upload the clip again"[:256],
            )
            for number, text in enumerate(names[:200])
        ),
        failed=(ReportedClip(index=3, custom_id="a/long/path/" * 20, failure_class="Transport", reason="closed"),),
        times=dict.fromkeys(("latency", "own", "infer"), spread),
        rtf=fast,
        batch_sizes={"1": 80, "5": clips - 80},
        ladders=(_ladder(),),
        machines=(
            ReportedMachine(
                chip="Apple M4 Pro", memory_bytes=48 * 2**30, os="macOS 26.1", versions={"mlx": "0.32.4"}, attempts=50
            ),
        ),
        peak_rss_bytes=5 * 2**30,
        limits=ContractLimits(
            quarantined_clips=100,
            quarantined_percent=2,
            retries_per_hour=50,
            quarantined_minutes=30,
            infer_p95_milliseconds=700,
        ),
        machine_time=MachineTime(
            macs=tuple(
                MacTime(
                    mac=f"mac-{number:02d}",
                    productive_milliseconds=900_000 - number * 50_000,
                    retry_milliseconds=30_000 * number,
                    overhead_milliseconds=40_123,
                    rows=12,
                )
                for number in range(6)
            ),
            audio_milliseconds=91_000_000,
            open_attempts=2,
            unverified_attempts=0,
        ),
        files=(FileRef(path="results.jsonl", sha256="ef" * 32, size_bytes=12_345_678),),
    )


def month_report(macs: int = 40) -> MonthReport:
    night = Times(productive=200 * 3_600_000, retry=7_200_000, overhead=3_600_000, idle=90 * 3_600_000)
    nights = tuple(
        Part(f"2026-11-{day:02d}", night, costs=(("EUR", "412.50"), ("USD", "80.00"))) for day in range(1, 31)
    )
    whole = Times(**{kind: 30 * getattr(night, kind) for kind in ("productive", "retry", "overhead", "idle")})
    return MonthReport(
        month="2026-11",
        whole=Part("all", whole, estimated=5_400_000, costs=(("EUR", "12375.00"), ("USD", "2400.00"))),
        audio=10**10,
        clips=1_234_567,
        rows=900_000,
        corrections=1_000,
        unpriced_lines=2,
        nights=nights,
        payers=(Part("speech", whole, costs=(("EUR", "12375.00"),)), Part("research key-7", night)),
        macs=tuple(Part(f"mac-{number:02d}", Times(productive=10**8, retry=number * 10**5)) for number in range(macs)),
        budgets=(
            BudgetLine("billing key team-speech", 119 * 3_600_000, 120 * 3_600_000, 99, "Hold"),
            BudgetLine("namespace research", 50 * 3_600_000, 50 * 3_600_000, 100, "Warn"),
        ),
        price_book_digest=DIGEST,
    )


def _ladder() -> LadderTable:
    tiers = tuple(
        LadderTier(
            batch_size=size,
            peak_rss_bytes=(2 + size) * 2**29,
            audio_milliseconds=60_000,
            infer_milliseconds=12_000 // (size + 1),
            clip_p50_milliseconds=300 * size,
            clip_p95_milliseconds=350 * size,
        )
        for size in range(1, 9)
    )
    return LadderTable(
        model_digest=DIGEST,
        contract_digest=DIGEST,
        chip="Apple M4 Pro",
        versions={},
        sample_rate_hz=16000,
        memory_cap_bytes=24 * 2**30,
        tail_p95_milliseconds=2000,
        tiers=tiers,
        memory_knee=8,
        latency_knee=4,
        throughput_knee=5,
        chosen=5,
    )
