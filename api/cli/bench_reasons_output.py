"""Print what ``whyrank bench reasons`` measured."""

from api.cli.output import console
from eval import EvidenceBench, Mean, ReasonsBench


def _show_mean(label: str, found: Mean | None, unit: str = "") -> None:
    if found and found.mean is not None:
        told = f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f}) {unit}, {found.users} users"
        _say(f"  {label:<40} {told.replace(' ,', ',')}")


def show_evidence(result: EvidenceBench) -> None:
    """Print the figures of evidence."""
    _say(f"{result.reasons} reasons for {result.users} users, without an LLM")
    _say(f"  {'that cite history':<40} {result.with_evidence:.0%}")
    _show_mean("connected with all that they cite", result.connected)
    _show_mean("  with random liked items", result.connected_random)
    _show_mean("of the score, goes with the cited items", result.cited_drop)
    _show_mean("  with random liked items", result.random_drop)
    if result.drop_ratio is not None:
        _say(f"  {'the first divided by the second':<40} {result.drop_ratio:.2f}")
    _say(f"  {'different items among those a list cites':<40} {result.cited_once:.0%}")
    _say(f"  {'different openings in a list':<40} {result.openings:.1f}")
    _say(f"  {'words of a sentence':<40} {result.words:.0f}")


def show_reasons(result: ReasonsBench) -> None:
    """Print the figures of written reasons."""
    _say(f"{result.reasons} reasons for {result.users} users, {result.prompt}, {result.model}")
    _say(f"  {'first sentences that pass the check':<40} {result.grounded_before:.0%}")
    _say(f"  {'shown as the LLM wrote them':<40} {result.from_llm:.0%}")
    for fault, share in result.refusals.items():
        _say(f"    refused for {fault:<26} {share:.2f} per reason")
    for checked, label in (
        (result.check, "sentences that the check was developed on"),
        (result.check_unseen, "sentences that the check was not developed on"),
    ):
        if checked:
            _say(f"  {label}: {checked.sentences}, {checked.grounded} of them grounded")
            _say(f"    {'what passes is grounded':<38} {checked.precision:.0%}")
            _say(f"    {'what is grounded passes':<38} {checked.recall:.0%}")
    if look := result.second_look:
        _say(f"  second look at {look.looked_at} sentences whose words the check does not know")
        _say(f"    {'what passes is grounded':<38} {look.precision:.0%}")
        _say(f"    {'what is grounded passes':<38} {look.recall:.0%}, without it {look.recall_without:.0%}")
        if look.margin is None:
            _say("    no better than none: leave it off")
        else:
            _say(f'    [llm.second_look] model = "{result.model}", margin = {look.margin:.2f}')
    if result.distinct is not None:
        _say(f"  {'different among users, for one item':<40} {result.distinct:.0%}")
    _show_mean("connected with all that they cite", result.connected)
    _say(f"  {'different openings in a list':<40} {result.openings:.1f}")
    _say(f"  {'words of a reason':<40} {result.words:.0f}")
    _show_mean("cited history less random: retrieval score", result.history_drop, "of it")
    _show_mean("cited history less random: LLM score", result.llm_drop, "nats")
    tokens = f"{result.prompt_tokens_per_reason:.0f} ({result.cached_share:.0%} cached)"
    _say(f"  {'tokens per reason':<40} {tokens}, {result.written_tokens_per_reason:.0f} written")


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False)
