"""Evidence: which studies, checks and tests stand behind a claim."""

from pathlib import Path

from _pages import ABSENT, ROOT, results, studies


def evidence(claim: str) -> str:
    """Return the studies, the checks that hold and the tests of a claim."""
    from experiments.runner.claims import STATEMENTS, guards

    guarding = guards(ROOT / "tests").get(claim, [])
    if claim not in STATEMENTS and not guarding:
        raise LookupError(f"{claim} is neither in the ledger nor guarded by a test")
    bearing = [name for name, study in studies.every().items() if claim in study.claims]
    files = sorted({name.partition("::")[0] for name in guarding})
    relative = [f"`{Path(file).relative_to(ROOT).as_posix()}`" for file in files]
    rows = [row for row in results.rows() if row["claim"] == claim and row["measured"] is not None]
    held = sum(row["verdict"] == "holds" for row in rows)
    checks = f"{held} of {len(rows)} hold ([ledger](claims.md))" if rows else ABSENT
    if not bearing:
        checks = "none, no study bears on it"
    return (
        f"*Studies and figures:* {', '.join(map(studies.link, bearing)) or 'none'}. "
        f"*Checks:* {checks}. *Tests:* {len(guarding)}, named `test_{claim}_...`, in "
        f"{', '.join(relative) or 'no file'}."
    )
