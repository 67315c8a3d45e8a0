"""What happened in a run, in plain words: sentences made of its numbers. No judgement and no causes: those are in rules.py."""

from __future__ import annotations

from collections.abc import Sequence

from .facts import Facts, Look

OUTCOMES = {"compile_error": "compile errors", "runtime_error": "runtime errors", "failed_test": "failed tests"}


def what_happened(facts: Facts) -> list[str]:
    """Sentences on the pass rate and where it came from, signal, critic, steps, and how the actor writes; those without numbers are left out."""
    if facts.stage == "train-critic":
        return [critic_run(facts)] if facts.critic else []
    parts = (result(facts), moves(facts), choice(facts), signal(facts), critic(facts), steps(facts), writing(facts))
    return [sentence for sentence in parts if sentence]


def percent(share: float) -> str:
    """`61 %`; with a digit behind the point below 10 %."""
    return f"{100 * share:.1f} %" if abs(share) < 0.0995 and share else f"{100 * share:.0f} %"


def points(difference: float) -> str:
    """`+4.1 points`."""
    return f"{100 * difference:+.1f} points"


def result(facts: Facts) -> str:
    """How the pass rate went, and whether that is more than chance."""
    if not facts.looks:
        return "The pass rate is not known: the run had no --validation."
    first, last = facts.looks[0], facts.looks[-1]
    if len(facts.looks) == 1:
        return f"The only look at the validation problems: {percent(first.greedy)} of the greedy programs pass."
    verb = "stayed where it was" if abs(facts.change) < facts.noise else "rose" if facts.change > 0 else "fell"
    unit = "rounds" if facts.stage == "rounds" else "updates"
    of = f"{facts.problems} validation problems" if facts.problems else "the validation problems"
    return (
        f"Greedy pass@1 on {of} {verb}: {100 * first.greedy:.1f} % before, {100 * last.greedy:.1f} % after {last.step - first.step} {unit} "
        f"({points(facts.change)}; chance alone moves it by up to {100 * facts.noise:.1f})."
    )


def moves(facts: Facts) -> str:
    """Which outcomes gave and which took."""
    if len(facts.looks) < 2 or not facts.looks[0].outcomes or not facts.looks[-1].outcomes:
        return ""
    first, last = facts.looks[0], facts.looks[-1]
    changed = [(last.share(name) - first.share(name), words) for name, words in OUTCOMES.items()]
    shown = [
        f"{words} {'rose' if by > 0 else 'fell'} by {100 * abs(by):.1f}"
        for by, words in sorted(changed, key=lambda c: -abs(c[0]))
        if abs(by) >= 0.005
    ]
    if not shown:
        return "The shares of the outcomes are as before."
    because = "That is because " if abs(facts.change) >= facts.noise else "Behind it "
    return f"{because}{_listed(shown)} points."


def choice(facts: Facts) -> str:
    """Which look's actor was kept, where it is not the last one."""
    if facts.kept is None or not facts.looks or facts.kept == facts.looks[-1].step:
        return ""
    look = next((one for one in facts.looks if one.step == facts.kept), None)
    rate = f" ({100 * look.greedy:.1f} %)" if look else ""
    if facts.kept == 0:
        return f"No look was better than the start{rate}: OUT/actor is the actor that it began with."
    return f"OUT/actor is the actor of the best look, at update {facts.kept}{rate}; --keep last keeps the last."


def signal(facts: Facts) -> str:
    """How much of what was sampled could teach anything."""
    s = facts.signal
    if "zero" not in s:
        return ""
    parts = [f"{percent(s['zero'])} of the samples carried no signal"]
    if "none_pass" in s:
        parts.append(f"{percent(s['none_pass'])} of the problems had no sample that passes and {percent(s['all_pass'])} only such")
    if "negative" in s:
        parts.append(f"{percent(s['negative'])} of the weight pushes programs down")
    return "; ".join(parts) + "."


def critic(facts: Facts) -> str:
    """What the critic's values were worth."""
    s = facts.signal
    if "critic/accuracy" not in s:
        return ""
    auc = f"critic AUC {s['critic/auc']:.2f} (0.5 is a coin), " if "critic/auc" in s else "the critic is "
    value = f"; its mean value of a token is {s['value']:.2f}" if "value" in s else ""
    return (
        f"On these samples, many of which it learnt from: {auc}right on {percent(s['critic/accuracy'])} of the programs where always naming "
        f"the most frequent outcome is right on {percent(s['critic/majority'])}{value}."
    )


def critic_run(facts: Facts) -> str:
    """The result of a critic's own run."""
    c = facts.critic
    auc = f", AUC of passing {c['held_out/auc']:.2f}" if "held_out/auc" in c else ""
    return (
        f"On problems it was not trained on the critic is right on {percent(c.get('held_out/accuracy', 0.0))} of the programs{auc}; always naming "
        f"the most frequent outcome is right on {percent(c.get('held_out/majority', 0.0))}."
    )


def steps(facts: Facts) -> str:
    """How large and how many the steps were."""
    if not facts.updates:
        return ""
    each = f" of about {facts.programs_per_update:.0f} sampled programs" if facts.programs_per_update else ""
    rate = f", peak rate {facts.config['learning_rate']:g}" if "learning_rate" in facts.config else ""
    norm, clipped = facts.mean("gradient_norm"), facts.mean("gradient_clipped")
    size = f"; gradient norm {norm:.2f} on average" if norm is not None else ""
    cut = f", cut to 1 in {percent(clipped)} of them" if clipped is not None else ""
    return f"{facts.updates} updates{each}{rate}{size}{cut}."


def writing(facts: Facts) -> str:
    """How the actor writes now, beside how it wrote."""
    if len(facts.looks) < 2:
        return ""
    first, last = facts.looks[0], facts.looks[-1]
    parts = [f"the actor is {last.kl:.3f} nats a token from its start" if last.kl is not None else ""]
    parts += [
        _from_to("entropy", first.entropy, last.entropy, "{:.2f}", " nats a token"),
        _from_to("greedy programs", first.length, last.length, "{:.0f}", " tokens"),
    ]
    parts += [_from_to("distinct among a problem's drawn programs", _hundred(first.distinct), _hundred(last.distinct), "{:.0f}", " %")]
    shown = "; ".join(part for part in parts if part)
    return shown[:1].upper() + shown[1:] + "." if shown else ""


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _from_to(name: str, before: float | None, after: float | None, form: str, unit: str) -> str:
    return "" if before is None or after is None else f"{name} {form.format(before)} -> {form.format(after)}{unit}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def curve(looks: Sequence[Look]) -> str:
    """`30.5 -> 36.0 -> 12.5 %`."""
    return " -> ".join(f"{100 * look.greedy:.1f}" for look in looks) + " %"
