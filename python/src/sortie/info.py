"""What a server serves and how loaded it is."""

from __future__ import annotations

from dataclasses import dataclass

from .inputs import word_of
from .v1 import encoder_service_pb2, input_pb2, load_pb2, model_pb2


@dataclass(frozen=True)
class Limits:
    """The most a request may hold."""

    max_batch_tokens: int
    """Tokens in one batch on the device."""
    max_items: int
    """Items in one request."""
    max_message_bytes: int
    """Bytes of one message, either way."""
    max_text_bytes: int
    """Bytes of one text."""
    max_queue_tokens: int
    """Tokens that may wait in the queue."""


@dataclass(frozen=True)
class LoadReport:
    """The load of one model as it stands now. Tokens are of work, by ``ModelInfo.doubling_length``."""

    epoch: int
    """Grows when the process or its model restarts."""
    queue_wait_ms: float
    """Milliseconds until a request that arrives now would start."""
    busy: float
    """Share of the last second the device was at work, 0 to 1."""
    queued_tokens: int
    """Tokens admitted whose batch does not run yet."""
    running_tokens: int
    """Tokens in the batches that run."""
    a_ms: float
    """Fixed cost of a batch in milliseconds: T = a + b · tokens."""
    b_us: float
    """Cost of one token in microseconds."""
    knee_tokens: int
    """Tokens past which a larger batch is no faster per token."""
    rate_tokens_per_second: float
    """Tokens per second while full batches run back to back."""
    served_tokens_per_second: float
    """Tokens per second that ran, the average of the last five seconds."""
    overdue: float
    """Age of the running batch over its predicted duration."""
    state: str | None
    """``ready``, ``loading``, ``draining`` or ``failed``."""
    limits: Limits
    """What a request may hold."""
    replica: str
    """Name of the server process that answered."""


@dataclass(frozen=True)
class ModelInfo:
    """One model as it is served."""

    name: str
    """Name to ask for."""
    revision: str
    """Digest of its files, or the hub's commit."""
    model_type: str
    """``model_type`` of its config."""
    architecture: str
    """First entry of ``architectures`` in its config."""
    task: str | None
    """``rerank``, ``classify``, ``tag``, ``embed``, ``embed_sparse`` or ``late_interaction``."""
    rpcs: tuple[str, ...]
    """RPCs it answers, by name."""
    labels: tuple[str, ...]
    """Labels in output order; empty where there are none."""
    labels_in_request: bool
    """Whether ``tag`` finds what a request's own ``labels`` name."""
    multi_label: bool
    """Whether labels do not exclude one another."""
    max_length: int
    """Longest sequence in tokens, specials included."""
    doubling_length: int
    """Length in tokens at which a token takes twice the time of one in a short text; 0 where all take the same."""
    dimensions: int
    """Size of its vectors; 0 where it makes none."""
    pooling: str | None
    """Its own pooling."""
    normalize: bool
    """Whether its vectors are normalised by default."""
    prompts: dict[str, str]
    """Prompts that can be named, and their texts."""
    role_prompts: dict[str | None, str]
    """Prompts that go before texts where a request names none, by role; ``None`` for texts of none."""
    roles: tuple[str, ...]
    """Roles it takes; empty where it reads all texts alike."""
    vocab_size: int
    """Entries in its vocabulary."""
    engine: str
    """``native``, ``onnx`` or ``static``."""
    device: str
    """Execution provider and device: ``cpu``, ``cuda:0``."""
    precision: str
    """Number format of its weights on the device: ``f32``, ``f16``, ``bf16``, and on processors ``bf16x3`` and ``int8``."""
    problem_type: str
    """What the logits of its head mean; empty for other models."""
    model_activation: str | None
    """What the activation ``model`` does; ``None`` where it is refused."""
    query_length: int
    """Longest query in tokens; 0 where queries have no length of their own."""
    document_length: int
    """Longest document in tokens; 0 where documents have no length of their own."""
    truncation_side: str | None
    """Where its texts are cut."""
    late_similarity: str
    """``maxsim`` or ``meanmaxsim``; empty where it is no late-interaction model."""
    similarity: str
    """The similarity its folder names; empty where it names none."""
    experimental: bool
    """No judge but its published code has confirmed the numbers of its family."""
    state: str | None
    """``ready``, ``loading``, ``draining`` or ``failed``."""
    limits: Limits
    """What a request may hold."""


def limits(wire: load_pb2.Limits) -> Limits:
    """Limits as they came."""
    return Limits(
        max_batch_tokens=wire.max_batch_tokens,
        max_items=wire.max_items,
        max_message_bytes=wire.max_message_bytes,
        max_text_bytes=wire.max_text_bytes,
        max_queue_tokens=wire.max_queue_tokens,
    )


def load_report(wire: encoder_service_pb2.ProbeResponse) -> LoadReport:
    """A probe's answer."""
    report = wire.report
    return LoadReport(
        epoch=report.epoch,
        queue_wait_ms=report.queue_wait_ms,
        busy=report.busy,
        queued_tokens=report.queued_tokens,
        running_tokens=report.running_tokens,
        a_ms=report.a_ms,
        b_us=report.b_us,
        knee_tokens=report.knee_tokens,
        rate_tokens_per_second=report.rate_tokens_per_second,
        served_tokens_per_second=report.served_tokens_per_second,
        overdue=report.overdue,
        state=word_of(load_pb2.ModelState, "MODEL_STATE", report.state),
        limits=limits(report.limits),
        replica=wire.replica,
    )


def model_info(wire: model_pb2.ModelInfo) -> ModelInfo:
    """A model's description."""

    def role(number: int) -> str | None:
        word: str | None = word_of(input_pb2.Role, "ROLE", number)
        return word

    return ModelInfo(
        name=wire.name,
        revision=wire.revision,
        model_type=wire.model_type,
        architecture=wire.architecture,
        task=word_of(model_pb2.Task, "TASK", wire.task),
        rpcs=tuple(wire.rpcs),
        labels=tuple(wire.labels),
        labels_in_request=wire.labels_in_request,
        multi_label=wire.multi_label,
        max_length=wire.max_length,
        doubling_length=wire.doubling_length,
        dimensions=wire.dimensions,
        pooling=word_of(model_pb2.Pooling, "POOLING", wire.pooling),
        normalize=wire.normalize,
        prompts={prompt.name: prompt.text for prompt in wire.prompts},
        role_prompts={role(prompt.role): prompt.text for prompt in wire.role_prompts},
        roles=tuple(str(role(number)) for number in wire.roles),
        vocab_size=wire.vocab_size,
        engine=wire.engine,
        device=wire.device,
        precision=wire.precision,
        problem_type=wire.problem_type,
        model_activation=word_of(model_pb2.Activation, "ACTIVATION", wire.model_activation),
        query_length=wire.query_length,
        document_length=wire.document_length,
        truncation_side=word_of(input_pb2.TruncationSide, "TRUNCATION_SIDE", wire.truncation_side),
        late_similarity=wire.late_similarity,
        similarity=wire.similarity,
        experimental=wire.experimental,
        state=word_of(load_pb2.ModelState, "MODEL_STATE", wire.state),
        limits=limits(wire.limits),
    )
