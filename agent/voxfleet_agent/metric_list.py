"""Every metric of the agent. docs/reference/metrics.md is made from it, and a test compares it with a scrape."""

from __future__ import annotations

from voxfleet_shared.metric_specs import MetricSpec, counter, gauge, histogram

CLIP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)

READY = gauge("voxfleet_agent_ready", "1 when attempts are admitted.")
ATTEMPTS = gauge("voxfleet_agent_attempts", "Attempts known here, by state.", "state")
FAILED_ATTEMPTS = gauge("voxfleet_agent_failed_attempts", "Failed attempts known here, by class.", "class")
LANES = gauge("voxfleet_agent_lanes", "Lanes of a pool.", "pool", "kind")
FREE_LANES = gauge("voxfleet_agent_free_lanes", "Lanes of a pool that nobody holds.", "pool", "kind")
ENDPOINT_LANES = gauge("voxfleet_agent_endpoint_lanes", "Lanes of endpoints, by state.", "state")
OPEN_SESSIONS = gauge("voxfleet_agent_open_sessions", "Sessions that are open in lanes of endpoints.")
SCRATCH_RESERVED = gauge("voxfleet_agent_scratch_reserved_bytes", "Scratch in use.")
SCRATCH_QUOTA = gauge("voxfleet_agent_scratch_quota_bytes", "Scratch allowed.")
QUARANTINE_BYTES = gauge("voxfleet_agent_quarantine_bytes", "Retained for contracts' retainFor; never part of scratch.")
QUARANTINED_CLIPS = gauge("voxfleet_agent_quarantined_clips", "Clips that are retained.")

CLIPS = counter("voxfleet_agent_clips_total", "Clips with a durable row, by what became of them.", "status")
AUDIO_SECONDS = counter("voxfleet_agent_audio_seconds_total", "Audio of the clips that succeeded.")
CLIP_SECONDS = histogram(
    "voxfleet_agent_clip_latency_seconds",
    "A clip's own latency: fetch, decoding, inference of its batch and writing, without the wait behind other clips.",
    buckets=CLIP_BUCKETS,
)
CLIP_PART_SECONDS = histogram(
    "voxfleet_agent_clip_part_latency_seconds",
    "The parts of a clip's latency: fetch, decode, wait, infer, write.",
    "part",
    buckets=CLIP_BUCKETS,
)

LANE_RING_BYTES = gauge(
    "voxfleet_agent_lane_ring_bytes", "Size of the ring of decoded audio. Of the latest attempt.", "lane"
)
LANE_RING_HIGH_WATER = gauge(
    "voxfleet_agent_lane_ring_high_water_bytes", "Most of the ring that was filled. Of the latest attempt.", "lane"
)
LANE_PEAK_RSS = gauge(
    "voxfleet_agent_lane_peak_rss_bytes", "Most memory of the lane's process. Of the latest attempt.", "lane"
)
LANE_METAL_PEAK = gauge(
    "voxfleet_agent_lane_metal_peak_bytes",
    "Most GPU memory of the lane's process, where there is Metal. Of the latest attempt.",
    "lane",
)
LANE_BATCH_SIZE = gauge("voxfleet_agent_lane_batch_size", "Clips of one batch. Of the latest attempt.", "lane")
LANE_UNDERRUNS = counter(
    "voxfleet_agent_lane_ring_underruns_total", "Times that the model waited for decoded audio.", "lane"
)
LANE_UNDERRUN_CAUSES = counter(
    "voxfleet_agent_lane_ring_underruns_by_cause_total",
    "Times that the model waited for decoded audio, by what kept it: Disk, Decode or Scheduling.",
    "lane",
    "cause",
)
LANE_RESETS = counter("voxfleet_agent_lane_ring_resets_total", "Times that decoded audio was dropped.", "lane", "cause")
LANE_RESTARTS = counter(
    "voxfleet_agent_lane_restarts_total", "Times that the lane's process was replaced.", "lane", "cause"
)

LANE_SLOWDOWN = gauge(
    "voxfleet_agent_lane_slowdown_ratio",
    "Time of inference beside what the lane's ladder measured, over the last minutes: 1 is as measured. Absent without"
    " enough clips like those of the ladder.",
    "lane",
)
LANE_CONTENDED = gauge(
    "voxfleet_agent_lane_contended", "1 while a lane works so slowly that somebody else must use its Mac.", "lane"
)

LANE_PAUSED = gauge(
    "voxfleet_agent_lane_paused", "1 while a lane for batches stands still for sessions on its Mac.", "lane"
)
LANE_PAUSED_SECONDS = counter(
    "voxfleet_agent_lane_paused_seconds_total", "Time for which a lane for batches stood still for sessions.", "lane"
)
LANE_LONG_STEPS = counter(
    "voxfleet_agent_lane_long_steps_total",
    "Steps of batches that took longer than an endpoint's yield.quantum, while a pause waited for them.",
    "lane",
)
EVICTIONS = counter(
    "voxfleet_agent_evictions_total",
    "Shards that went back for sessions on this Mac: Burn, their turns were late; Memory, it ran short.",
    "cause",
)

METRICS: tuple[MetricSpec, ...] = tuple(item for item in list(vars().values()) if isinstance(item, MetricSpec))
