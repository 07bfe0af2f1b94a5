"""Runs attacks one after the other with an ordinary client beside them, and keeps the figures."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from conformance.attacks.attack import Attack, Kind
from conformance.attacks.ordinary import Sample
from conformance.attacks.site import Client, Site, Target, ended_by, percentile

PROTOCOLS = ("gRPC", "REST")
LEAST_BOUND = 0.250  # seconds that an ordinary answer may take under attack, however fast it was before
SLOWER, LARGER = 5.0, 1.5  # times the undisturbed 99th percentile, times the undisturbed memory
LONGEST = 90.0  # seconds an attack may take beyond its own; one that is still at it hangs
SETTLE = 1.0  # seconds after an attack that still count as its time


@dataclasses.dataclass(frozen=True)
class Plan:
    """How hard to attack, and what to compare with; times in seconds.

    Attributes:
        seconds: how long an attack lasts that could go on for ever.
        scale: the share of the requests and connections that the attacks speak of.
        undisturbed: how long the ordinary client is watched before each attack.
        rate: its requests a second of each protocol.
        sigterm: how long the server may take to end.
        patience: after which the ordinary client gives up.
    """

    seconds: float = 4.0
    scale: float = 1.0
    undisturbed: float = 1.5
    rate: float = 20.0
    sigterm: float = 10.0
    patience: float = 10.0


@dataclasses.dataclass
class Result:
    """What an attack did to the server and to the ordinary client.

    Attributes:
        calm, attacked: 99th percentiles of the ordinary client in seconds, by protocol.
        asked, failed: its requests during the attack, and those without the right answer.
        calm_memory, first_memory, memory, size: bytes: undisturbed peak, what was held when the attack began,
            peak under attack, one request of the attack.
    """

    attack: Attack
    calm: dict[str, float] = dataclasses.field(default_factory=dict)
    attacked: dict[str, float] = dataclasses.field(default_factory=dict)
    asked: int = 0
    failed: int = 0
    calm_memory: int = 0
    first_memory: int = 0
    memory: int = 0
    size: int = 0
    seconds: float = 0.0
    answers: dict[str, int] = dataclasses.field(default_factory=dict)
    violations: list[str] = dataclasses.field(default_factory=list)

    def bound(self, protocol: str) -> float:
        return max(LEAST_BOUND, SLOWER * self.calm[protocol])

    @property
    def memory_bound(self) -> float:
        return LARGER * self.calm_memory + self.size

    @property
    def is_slow(self) -> bool:
        return any(self.attacked[protocol] > self.bound(protocol) for protocol in self.attacked)

    @property
    def is_large(self) -> bool:
        """What an attack before it has left behind is not put down to this one."""
        return self.memory > max(self.memory_bound, 1.02 * self.first_memory) > 0

    @property
    def passed(self) -> bool:
        return not (self.violations or self.failed or self.is_slow or self.is_large)

    def to_json(self) -> dict[str, object]:
        values = dataclasses.asdict(self) | {"kind": self.attack.kind, "attack": self.attack.title}
        return values | {"passed": self.passed, "slow": self.is_slow, "large": self.is_large}


def percentiles(samples: Sequence[Sample]) -> dict[str, float]:
    return {
        protocol: percentile((s.seconds for s in samples if s.protocol == protocol), 0.99)
        for protocol in PROTOCOLS
    }


class Field:
    """A server and the ordinary client beside it, for as long as the server lives."""

    def __init__(self, start: Callable[..., Target], kind: Kind, plan: Plan) -> None:
        self.plan = plan
        self.start = start
        self.target = start(models=kind.models, batching=kind.batching)
        try:
            self.client = Client(self.target, plan.rate, plan.patience)
        except BaseException:
            self.target.stop()
            raise
        warm_up(self.target, kind.models)
        self.target.watch.reset()
        self.undisturbed()
        self.target.watch.look()
        self.calm_memory = self.target.watch.peak

    def undisturbed(self) -> dict[str, float]:
        """The ordinary client's percentiles while nobody attacks; the rest of the machine shows in them."""
        begin = time.monotonic()
        time.sleep(self.plan.undisturbed)
        end = time.monotonic()
        self.wait_for_answers(begin, end)
        return percentiles([s for s in list(self.client.samples) if begin <= s.at <= end])

    def run(self, attack: Attack) -> Result:
        """One attack, and what it did."""
        return self.run_all([attack])

    def run_all(self, attacks: Sequence[Attack]) -> Result:
        """Attacks without a pause between them; the result is that of all of them, named after the first."""
        target, plan = self.target, self.plan
        result = Result(attacks[0], self.undisturbed(), calm_memory=self.calm_memory)
        target.watch.reset()
        result.first_memory = target.watch.peak
        begin = time.monotonic()
        for attack in attacks:
            if target.is_alive:
                strike(Site(target, plan.seconds, plan.scale, self.start), attack, result)
        time.sleep(SETTLE)
        end = time.monotonic()
        self.wait_for_answers(begin, end)
        samples = [s for s in list(self.client.samples) if begin <= s.at <= end]
        if target.is_alive:
            target.watch.look()
        result.attacked = percentiles(samples) if samples else {}
        result.asked = len(samples)
        failures = [s for s in samples if s.failure]
        result.failed = len(failures)
        result.memory = target.watch.peak
        result.violations += [f"the ordinary client, {s.protocol}: {s.failure}" for s in failures[:2]]
        if not samples:
            result.violations.append("the ordinary client got no answer")
        if not target.is_alive:
            how = "taken for too large and killed" if target.watch.killed else ended_by(target.popen.wait())
            result.violations.append(f"the server died: {how}")
        return result

    def wait_for_answers(self, begin: float, end: float) -> None:
        """Until requests due in a span are answered, as far as they will be."""
        due = int((end - begin) * self.plan.rate) * len(PROTOCOLS) - 2 * len(PROTOCOLS)
        last = end + 2 * self.plan.patience
        while self.target.is_alive and time.monotonic() < last:
            if sum(begin <= s.at <= end for s in list(self.client.samples)) >= due:
                return
            time.sleep(0.05)

    def close(self) -> str | None:
        """Ends the server with SIGTERM. Says what was wrong with that."""
        self.client.close()
        complaint = None
        if self.target.is_alive:
            status, seconds = self.target.end(self.plan.sigterm)
            if status is None:
                complaint = f"SIGTERM was not heard in {seconds:.0f} s"
            elif status != 0:
                complaint = f"after SIGTERM the server ended with {ended_by(status)}"
        self.target.stop()
        return complaint


def strike(site: Site, attack: Attack, result: Result) -> None:
    """Runs an attack on a thread that is left behind when it hangs."""
    begin = time.monotonic()

    def run() -> None:
        try:
            result.size = max(result.size, attack.run(site) or 0)
        except Exception as error:
            if not site.is_over:
                site.violated(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    end = begin + site.seconds + LONGEST
    while thread.is_alive() and time.monotonic() < end:
        thread.join(0.1)
        if site.is_over:
            break
    site.expect(not thread.is_alive() or site.is_over, f"the attack hangs for {LONGEST:g} s")
    result.seconds += time.monotonic() - begin
    result.answers = dict(sorted((Counter(result.answers) + site.answers).items()))
    for text, number in site.violations.items():
        result.violations.append(f"{attack.title}: {text}" + f" ({number} times)" * (number > 1))


def warm_up(target: Target, models: str) -> None:
    """What the attacks will use has been used once, so that memory counts from there."""
    for signature in ("", "tokenize", "encode", "pseudo_log_likelihood"):
        for model in ("mlm", "mlm_xla") if models == "all" else ("mlm",):
            target.predict(model, {"text": [b"the [MASK] sat"]}, signature=signature)
    target.predict("wide", {"x": [1.0]})
    target.post("/v1/models/wide:predict", {"instances": [1.0]})
    target.post("/v1/models/strings:predict", {"signature_name": "plain", "instances": ["a"]})


def run(kinds: Sequence[Kind], start: Callable[..., Target], plan: Plan) -> Iterator[Result]:
    """The results of every attack; a server that has died or hangs is replaced."""
    for kind in kinds:
        field: Field | None = None
        last: Result | None = None
        for attack in kind.attacks:
            if attack.own_server:
                yield alone(attack, start, plan)
                continue
            if field is None:
                field = Field(start, kind, plan)
            if last is not None:
                yield last
            last = field.run(attack)
            if last.violations:  # what it did to this server is not to be put down to the next attack
                last.violations += filter(None, [field.close()])
                field = None
        if field is not None and last is not None:
            last.violations += filter(None, [field.close()])
        if last is not None:
            yield last


def alone(attack: Attack, start: Callable[..., Target], plan: Plan) -> Result:
    """An attack that starts its own servers."""
    result = Result(attack)
    site = Site(None, plan.seconds, plan.scale, start)
    strike(site, attack, result)
    return result
