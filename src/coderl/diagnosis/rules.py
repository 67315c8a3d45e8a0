"""Why a run went wrong: rules from facts to findings, each a small function with its threshold and the reason for it beside it.

A *cause* explains a fall of the pass rate, or a run that did nothing; a *weakness* is there whether or not it has done harm. Thresholds
were set on validation looks of small models (docs/diagnosis.md); a rule whose numbers were not logged says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from .facts import Facts
from .words import curve, percent, points


class Finding(NamedTuple):
    """One thing that is wrong: what, the numbers that say so, what to do next; `cause`: it explains what happened to the pass rate."""

    title: str
    evidence: str
    advice: str
    cause: bool


Rule = Callable[[Facts], Finding | None]

FAR = 0.15
"""KL to the start, nats a token, of an actor that has left what it knew: the default recipe ended at 0.02, the collapse at 2.2."""
FEW = 32
"""programs in an update, below which its gradient is mostly noise; CodeRL's author advises 256 (issue #29)"""
OFTEN = 0.5
"""share of updates whose gradient was cut to norm 1; beyond it the direction counts and the size does not, so the rate alone sets the step"""
FLOORLESS = 0.15
"""share of the signal's weight that pushes programs down; on Mini 0.20 with negative returns at full weight, 0.03 at a tenth"""
UNLEARNT = 2.0
"""growth of the cross-entropy on references, which is minimised: above it the steps undo more than they teach"""
SUNK = 0.0
"""L_rl; programs pushed up add to it and programs pushed down take from it, so below 0 the pushing down outweighs all else"""
CALM = 0.5
"""share of the start's entropy; below it the actor has stopped trying things"""
LESS = 0.15
"""fall of the share of distinct programs that comes with it"""
SILENT = 0.85
"""share of samples without a signal; 60 to 75 % is usual"""
LOPSIDED = 0.8
"""share of problems that are all failed, or all solved: the rest is too few to learn from"""
COIN = 0.6
"""AUC of a critic that can hardly tell a passing program from another"""
STILL = 0.002
"""KL to the start, nats a token, of an actor that has not moved"""
LEARNT = 0.02
"""cross-entropy on references, nats a token, when they are known by heart"""
VALID = 0.03
"""fall of the share of programs that do not run, which is worth a look"""
LONG = 1.5
"""growth of a greedy program's length"""


def fall(facts: Facts) -> float:
    """How far the last look is below the best one, as a share."""
    return max(look.greedy for look in facts.looks) - facts.looks[-1].greedy if facts.looks else 0.0


def harmed(facts: Facts) -> bool:
    """The actor got worse than it had been, by more than chance."""
    return len(facts.looks) > 1 and fall(facts) > facts.noise


def rate_too_high(facts: Facts) -> Finding | None:
    """Large steps on few programs: it fell, is far from its start or unlearnt what it is taught, and gradients were cut or updates hold few."""
    kl, clipped, each = facts.looks[-1].kl if facts.looks else None, facts.mean("gradient_clipped"), facts.programs_per_update
    taught = facts.ends("loss_ce")
    far, unlearnt = kl is not None and kl > FAR, taught is not None and taught[1] > UNLEARNT * taught[0]
    few, cut = each is not None and each < FEW, clipped is not None and clipped > OFTEN
    if not harmed(facts) or not (far or unlearnt) or not (few or cut):
        return None
    parts = [f"{kl:.2f} nats a token from the start (more than {FAR} is far)"] if far and kl is not None else []
    parts += [f"cross-entropy on the references went up from {taught[0]:.2f} to {taught[1]:.2f}"] if unlearnt and taught else []
    parts += [f"about {each:.0f} programs in an update (fewer than {FEW} are few)"] if few and each is not None else []
    parts += [f"the gradient was cut to norm 1 in {percent(clipped)} of the updates"] if cut and clipped is not None else []
    parts += [f"peak rate {facts.config['learning_rate']:g}"] if "learning_rate" in facts.config else []
    advice = "lower --learning-rate to a third, and let an update see more programs (--batch-tokens, --accumulate): about 256"
    return Finding("The rate is too high for such small batches" if few else "The rate is too high", "; ".join(parts), advice, True)


def negatives_without_floor(facts: Facts) -> Finding | None:
    """Frozen programs are pushed down without end: it fell, much of the weight is negative, no clipped ratio bounds it (`clipped` is not logged).

    A cause where L_rl sank below 0; where it did not, or is not known, a weakness.
    """
    share, loss = facts.signal.get("negative"), facts.ends("loss_rl")
    if not harmed(facts) or share is None or share < FLOORLESS or any("clipped" in line for line in facts.steps):
        return None
    sunk = loss is not None and loss[1] < SUNK
    went = f"; L_rl went from {loss[0]:.2f} to {loss[1]:.2f}{', and has no floor' if sunk else ', not below 0'}" if loss else ""
    weight = f"; --negative-weight is {facts.config['negative_weight']:g}" if "negative_weight" in facts.config else ""
    return Finding(
        "Programs that the actor no longer writes are pushed down without a floor" if sunk else "Much of the signal pushes programs down",
        f"{percent(share)} of the weight is negative (more than {percent(FLOORLESS)} is much), on samples that are never drawn again{weight}{went}",
        "--negative-weight 0.1, or an algorithm with a clipped ratio (finetune grpo), or fresh samples (rounds)",
        sunk,
    )


def entropy_collapse(facts: Facts) -> Finding | None:
    """The actor has stopped trying things: entropy halved and its programs became alike."""
    if len(facts.looks) < 2:
        return None
    first, last = facts.looks[0], facts.looks[-1]
    if first.entropy is None or last.entropy is None or first.distinct is None or last.distinct is None:
        return None
    if last.entropy > CALM * first.entropy or first.distinct - last.distinct < LESS:
        return None
    return Finding(
        "The actor's programs have become alike",
        f"entropy {first.entropy:.2f} -> {last.entropy:.2f} nats a token; "
        f"distinct among a problem's programs {percent(first.distinct)} -> {percent(last.distinct)}",
        "pass@k of large k suffers, and the next round has no signal: fewer --epochs, a lower rate, a KL term (finetune grpo --kl-weight)",
        harmed(facts),
    )


def valid_but_wrong(facts: Facts) -> Finding | None:
    """Compile and runtime errors became failed tests and not passes: the return pays -0.3 instead of -1 for a program that merely runs."""
    if len(facts.looks) < 2 or not facts.looks[0].outcomes or not facts.looks[-1].outcomes:
        return None
    first, last = facts.looks[0], facts.looks[-1]
    invalid = first.share("compile_error", "runtime_error") - last.share("compile_error", "runtime_error")
    wrong = last.share("failed_test") - first.share("failed_test")
    if invalid < max(VALID, facts.noise) or wrong < invalid / 2 or facts.change > facts.noise:
        return None
    return Finding(
        "Programs run now, but they are wrong",
        f"programs that do not run: {points(-invalid)}; failed tests: {points(wrong)}; passes: {points(facts.change)}",
        "a program that merely runs is paid -0.3 instead of -1: learn from passes alone (finetune expert), "
        "or pay for each test that passes (finetune rltf)",
        facts.change < -facts.noise,
    )


def no_signal(facts: Facts) -> Finding | None:
    """Nearly all samples have the outcome that was to be expected, or nearly all problems are all failed or all solved."""
    s = facts.signal
    zero, none, every = s.get("zero", 0.0), s.get("none_pass", 0.0), s.get("all_pass", 0.0)
    if zero < SILENT and none < LOPSIDED and every < LOPSIDED:
        return None
    advice = "sample more programs for each problem, at a higher temperature"
    if none >= LOPSIDED:
        advice = "the problems are too hard for this actor: a longer warm start, easier problems, more samples for each"
    elif every >= LOPSIDED:
        advice = "the problems are too easy for this actor: harder ones"
    return Finding(
        "There is hardly any signal",
        f"{percent(zero)} of the samples teach nothing; {percent(none)} of the problems have no sample that passes, {percent(every)} only such",
        advice,
        abs(facts.change) < facts.noise and len(facts.looks) > 1,
    )


def weak_critic(facts: Facts) -> Finding | None:
    """The critic says no more than the most frequent outcome does, or can hardly tell a pass."""
    s = {name.partition("/")[2]: value for source in (facts.signal, facts.critic) for name, value in source.items() if "/" in name}
    if "accuracy" not in s:
        return None
    worse, coin = s["accuracy"] <= s.get("majority", 0.0), s.get("auc", 1.0) < COIN
    if not (worse or coin):
        return None
    auc = f"; AUC {s['auc']:.2f} (0.5 is a coin)" if "auc" in s else ""
    return Finding(
        "The critic says little",
        f"right on {percent(s['accuracy'])}, always the most frequent outcome on {percent(s.get('majority', 0.0))}{auc}",
        "train it longer or on more samples, without references if they tilt it towards passing; or leave it out (no --scores): --variant A",
        False,
    )


def references_by_heart(facts: Facts) -> Finding | None:
    """Over-fitting: the cross-entropy on references is next to nothing or still falling in a warm start, and the pass rate fell."""
    warm = facts.stage == "warm-start"
    loss = facts.ends("loss" if warm else "loss_ce")
    if not harmed(facts) or loss is None or loss[1] >= loss[0] or (loss[1] > LEARNT and not warm):
        return None
    return Finding(
        "The references are learnt by heart",
        f"their cross-entropy fell from {loss[0]:.3f} to {loss[1]:.3f} nats a token while the pass rate went {curve(facts.looks)}",
        "stop earlier (fewer --updates or --epochs), more references, or a smaller model",
        True,
    )


def before_the_plateau(facts: Facts) -> Finding | None:
    """The warm start was still rising: its last look is above the one two before by more than chance."""
    looks = facts.looks if facts.stage == "warm-start" else facts.origin
    of_start = facts._replace(looks=looks)
    if len(looks) < 3 or looks[-1].greedy - looks[-3].greedy <= of_start.noise:
        return None
    return Finding(
        "The warm start had not reached its plateau",
        f"its looks went {curve(looks)}",
        "more cross-entropy alone may give as much as RL: warm-start with more --updates first, and compare with it at equal cost",
        False,
    )


def hardly_moved(facts: Facts) -> Finding | None:
    """The steps were too small to change anything."""
    last = facts.looks[-1] if len(facts.looks) > 1 else None
    if last is None or last.kl is None or last.kl > STILL or abs(facts.change) > facts.noise:
        return None
    value = facts.signal.get("value", 1.0)
    shrunk = not facts.config.get("scaled", True) and value < 0.5
    why = f"; token values of {value:.2f} on average shrink the step and --no-scaled leaves them so" if shrunk else ""
    return Finding(
        "The actor has hardly moved",
        f"{last.kl:.4f} nats a token from the start after {last.step} updates{why}",
        "leave --no-scaled out" if shrunk else "a higher --learning-rate, or more --epochs",
        True,
    )


def running_on(facts: Facts) -> Finding | None:
    """Programs became much longer: an actor that no longer ends them."""
    if len(facts.looks) < 2 or not facts.looks[0].length or not facts.looks[-1].length:
        return None
    before, after = facts.looks[0].length, facts.looks[-1].length
    if after < LONG * before:
        return None
    return Finding(
        "Programs run on",
        f"a greedy program has {after:.0f} tokens, at the start {before:.0f}; the limit is {facts.config.get('max_program_tokens', 'not known')}",
        "look at some of them (`coderl sample`): repeating or never ending is what is left of an actor that went too far; see the other findings",
        False,
    )


RULES: Mapping[str, Rule] = {
    "steps too large": rate_too_high,
    "negative weights": negatives_without_floor,
    "entropy": entropy_collapse,
    "valid but wrong": valid_but_wrong,
    "signal": no_signal,
    "critic": weak_critic,
    "references": references_by_heart,
    "plateau of the warm start": before_the_plateau,
    "steps too small": hardly_moved,
    "length": running_on,
}


def findings(facts: Facts) -> list[Finding]:
    """What is wrong, causes first. A fall that no rule explains is a finding too; a healthy run has none."""
    found = [finding for rule in RULES.values() if (finding := rule(facts))]
    if harmed(facts) and not any(f.cause for f in found):
        found.append(_unexplained(facts))
    return sorted(found, key=lambda f: not f.cause)


def _unexplained(facts: Facts) -> Finding:
    best = max(facts.looks, key=lambda look: (look.greedy, look.step))
    return Finding(
        "The pass rate fell, and none of the rules says why",
        f"{curve(facts.looks)}, the best at step {best.step}; checked: {', '.join(RULES)}",
        "read programs of before and after (`coderl report`); try half the --learning-rate and half the --epochs, one at a time",
        True,
    )
