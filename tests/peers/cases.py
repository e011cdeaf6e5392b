"""Cases beside each other, with a line for each."""
import concurrent.futures
import os
import time

# Every deadline of what must come is so many times longer: they are only there so that a case ends. What must be quick is
# measured where it is asserted.
PATIENCE = float(os.environ.get("PATIENCE", "2"))
# What failed gets a second go when all others are over (.ci/run); that is told.
ONCE_MORE = os.environ.get("ONCE_MORE") == "1"


def run_cases(names, work, jobs, alone=()):
    """`work(name)` for each, so many at once, those in `alone` after the others; True if all did.

    `work` raises what went wrong, or returns why the case was skipped.
    """
    def go(name):
        began = time.monotonic()
        try:
            skipped = work(name)
            return True, f"skipped {name}: {skipped}" if skipped else f"ok      {name} ({time.monotonic() - began:.1f} s)"
        except Exception as error:  # noqa: BLE001 - the next case is still worth running
            return False, f"{name} ({time.monotonic() - began:.1f} s): {type(error).__name__}: {error}"

    def tell(name, good, words):
        if not good:
            again.append((name, words))
        if good or ONCE_MORE:
            print(words if good else f"again   {words}", flush=True)
        else:
            print(f"FAILED  {words}", flush=True)

    again = []
    # They mostly wait, each for a printer of its own.
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        ahead = [name for name in names if name not in alone]
        for name, (good, words) in zip(ahead, pool.map(go, ahead)):
            tell(name, good, words)
    for name in names:
        if name in alone:
            tell(name, *go(name))
    failed = len(again)
    if ONCE_MORE:
        failed = 0
        for name in [name for name, _ in again]:
            good, words = go(name)
            failed += not good
            print(f"{words} at the second go" if good else f"FAILED  {words}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed", flush=True)
    return not failed
