"""The cluster and the work that are simulated, and what is assumed of S3 and of Ray; every field is an argument."""

from dataclasses import dataclass

MIB, GIB = 2**20, 2**30

S3_WRITES, S3_READS = 3500.0, 5500.0
"""Requests per second that S3 gives each prefix at least
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html)."""

RAY_NODES, RAY_ACTORS, RAY_TASKS, RAY_GROUPS = 250, 10_000, 10_000, 1_000
"""Sizes that Ray is released with (https://github.com/ray-project/ray/blob/master/release/benchmarks/README.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A large cluster at work.

    Attributes:
        gpus: GPUs of the cluster.
        gpus_per_node: GPUs of each node.
        shards_bytes: Bytes of all shards of the source.
        image_bytes: Bytes of an encoded image.
        trials: Trials of one domain's study.
        trial_s: Median seconds of a trial.
        scenes: Scenes of the archive.
        scene_s: Median seconds that a GPU computes on a scene.
        scene_bytes: Bytes of an input scene.
        output_bytes: Bytes of an output.
        step_ms: Milliseconds of a step of pretraining.
        batch: Patches of a step and worker.
        decode_ms: Milliseconds to decode an image on one core.
        request_s: Seconds until the first byte of an answer of S3. AWS states 100 to 200 ms
            (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html).
        connection_bytes: Bytes per second of one connection. AWS states 85 to 90 MB/s
            (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html).
        node_bytes: Bytes per second of a node's network: 25 Gbit/s.
        task_us: Microseconds of the driver for a task of Ray: submitted, waited for, its result taken.
        spread: Standard deviation of the logarithm of all durations.
        seed: Seed of all random numbers.
    """

    gpus: int = 256
    gpus_per_node: int = 8
    shards_bytes: float = 10e12
    image_bytes: float = 500e3
    trials: int = 1000
    trial_s: float = 60.0
    scenes: int = 10_000_000
    scene_s: float = 10.0
    scene_bytes: float = 50e6
    output_bytes: float = 400e6
    step_ms: float = 8.0
    batch: int = 8
    decode_ms: float = 12.0
    request_s: float = 0.1
    connection_bytes: float = 85e6
    node_bytes: float = 3.1e9
    task_us: float = 300.0
    spread: float = 0.3
    seed: int = 0

    @property
    def nodes(self) -> int:
        """Nodes with GPUs."""
        return -(-self.gpus // self.gpus_per_node)
