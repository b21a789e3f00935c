"""Does the suite bite? Deliberate bugs, each in a copy of the tree, and the scenario that must find it.

python -m tests.faults.mutants
python -m tests.faults.mutants --mutant fence-not-stored --stack FOLDER
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.stack import running, up

ROOT = Path(__file__).parents[2]
_COPIED = ("schemas", "encoders", "streams", "deploy", "tests")
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Mutant:
    """A bug: in each file, a text that must be there once, and what is put in its place.

    ``scenario`` must find it; or a file of unit tests, for what no server shows.
    """

    name: str
    scenario: str
    patches: tuple[tuple[str, str, str], ...]


MUTANTS = (
    Mutant(
        "replayed-actions-count",
        "tests/unit/streams/state/test_action_update.py",
        (
            (
                "streams/state/action_update.py",
                "    if not table.offsets.apply_once(slot, source, offset, received_ms):\n",
                "    table.offsets.apply_once(slot, source, offset, received_ms)\n    if False:\n",
            ),
        ),
    ),
    Mutant(
        "refunds-count-like-purchases",
        "tests/unit/streams/state/test_action_update.py",
        (("streams/state/profile_update.py", "    signed = -vectors[known] if taken_back else", "    signed ="),),
    ),
    Mutant(
        "identity-without-items",
        "tests/unit/streams/state/test_profile_update.py",
        (("schemas/ids.py", "    mixed += items\n", ""),),
    ),
    Mutant(
        "orders-judged-line-by-line",
        "tests/unit/streams/pipeline/test_orders.py",
        (
            (
                "streams/state/profile_update_kernel.py",
                "        if not events.continues[event]:\n",
                "        if True:\n",
            ),
        ),
    ),
    Mutant(
        "former-ids-not-recognised",
        "tests/unit/streams/checkpoint/test_rows_with_orders.py",
        (
            (
                "streams/state/profile_update_kernel.py",
                "(seen[place] == id_) | (seen[place] == id_hash)",
                "seen[place] == id_",
            ),
        ),
    ),
    Mutant(
        "an-item-purchased-twice-takes-two-places",
        "tests/unit/streams/state/test_profile_update.py",
        (
            (
                "streams/state/profile_update_kernel.py",
                "times[last] != empty and items[last] != item:",
                "times[last] != empty:",
            ),
        ),
    ),
    Mutant(
        "spans-not-closed",
        "tests/unit/streams/state/test_applied_offsets.py",
        (
            (
                "streams/checkpoint/profile_rows.py",
                "    if state.partition_count != offsets.partition_count:\n",
                "    if False:\n",
            ),
        ),
    ),
    Mutant(
        "paths-of-two-releases",
        "tests/unit/streams/state/test_applied_offsets.py",
        (
            (
                "streams/state/applied_offsets.py",
                "self.column(slot, log) is not None:\n            return []",
                "not log.counts and not log.is_detour:\n            return []",
            ),
        ),
    ),
    Mutant(
        "paths-without-a-name",
        "tests/unit/streams/state/test_applied_offsets.py",
        (
            (
                "streams/kafka/log_id.py",
                'counts=f"{self.counts}>{partition_count}" if self.counts else str(partition_count)',
                'counts="1"',
            ),
        ),
    ),
    Mutant(
        "forgotten-in-the-order-of-reading",
        "tests/unit/streams/state/test_forgetting.py",
        (
            (
                "streams/state/profile_table.py",
                "(written > self.forgotten_ms[slot]) & (written != NO_TIMESTAMP)",
                "(written < 0)",
            ),
        ),
    ),
    Mutant(
        "late-term-for-an-old-count",
        "tests/unit/streams/checkpoint/test_handover.py",
        (
            (
                "streams/checkpoint/ownership.py",
                "            if await self._retry(partial(self._largest_count, count)) == count:\n",
                "            if True:\n",
            ),
        ),
    ),
    Mutant(
        "last-part-of-a-version-only",
        "tests/unit/streams/state/test_version_sums.py",
        (
            (
                "streams/checkpoint/profile_rows.py",
                "    if len(own) > 1:\n",
                "    if False:\n",
            ),
        ),
    ),
    Mutant(
        "row-of-a-newer-format",
        "upgrade",
        (("streams/checkpoint/stored_profile.py", "FORMAT = 1\n", "FORMAT = 2\n"),),
    ),
    Mutant(
        "newer-row-ends-the-worker",
        "tests/unit/streams/pipeline/test_profile_loader.py",
        (
            (
                "streams/pipeline/profile_loader.py",
                "            except (StateError, NewerState) as error:\n",
                "            except StateError as error:\n",
            ),
        ),
    ),
    Mutant(
        "begun-without-a-second-look",
        "tests/unit/streams/checkpoint/test_group_contract.py",
        (
            (
                "streams/checkpoint/group_contract.py",
                "                lowest = min(lowest, await self._lowest_owner(partition_count))\n",
                "",
            ),
        ),
    ),
    Mutant(
        "ack-before-the-write",
        "kill",
        (
            (
                "streams/checkpoint/checkpointer.py",
                "        self._batches += batches\n\n    def request",
                "        self._batches += batches\n        for batch in batches:\n            batch.ack()\n\n"
                "    def request",
            ),
        ),
    ),
    Mutant(
        "fence-not-stored",
        "kill",
        (
            (
                "streams/checkpoint/profile_rows.py",
                "    _write_applied_offsets(rows, snapshot)\n",
                '    rows.constant(_bytes("fences"), _bytes([]))\n',
            ),
        ),
    ),
    Mutant(
        "term-not-raised",
        "zombie",
        (("streams/stores/cassandra_store.py", "term = row[0] + 1", "term = row[0]"),),
    ),
    Mutant(
        "acked-under-a-newer-term",
        "zombie",
        (
            (
                "streams/checkpoint/ownership.py",
                " or replaced.get(partition) != self._last_term[partition]:\n",
                ":\n",
            ),
            (
                "streams/checkpoint/ownership.py",
                "        while self.epoch == epoch and self.current is None:\n"
                "            await self._ready.wait()\n"
                "        return self.current if self.epoch == epoch else None\n",
                "        while self.current is None:\n"
                "            await asyncio.sleep(0.01)\n"
                "        return self.current\n",
            ),
            (
                "streams/checkpoint/ownership.py",
                "        return self.current is not None and self.current.epoch == assignment.epoch\n",
                "        return self.current is not None\n",
            ),
            (
                "streams/checkpoint/ownership.py",
                "        owners = await self._store.owners(sorted(assignment.partitions))\n",
                "        return True\n",
            ),
        ),
    ),
    Mutant(
        "duplicate-ids-not-kept",
        "kill",
        (
            (
                "streams/checkpoint/profile_rows.py",
                'np.minimum(a["seen_count"], a["seen"].shape[1])',
                'np.zeros_like(a["seen_count"])',
            ),
        ),
    ),
    Mutant(
        "revoke-without-checkpoint",
        "stop",
        (
            (
                "streams/worker/worker.py",
                "    async def _hand_over(self, revoked: set[Any]) -> None:\n",
                "    async def _hand_over(self, revoked: set[Any]) -> None:\n"
                "        self.wiring.ownership.revoke()\n"
                "        return\n\n"
                "    async def _hand_over_as_it_was(self, revoked: set[Any]) -> None:\n",
            ),
        ),
    ),
    Mutant(
        "forgotten-with-the-fences",
        "forget",
        (
            (
                "streams/state/profile_table.py",
                "        self.forgotten[slot] = count == 0 and slot not in self.actions\n",
                "        self.applied_offsets[slot] = 0\n        self.forgotten[slot] = count == 0\n",
            ),
        ),
    ),
    Mutant(
        "other-versions-sums-dropped",
        "encoder-swap",
        (
            (
                "streams/checkpoint/profile_rows.py",
                "    others = [snapshot.other_sums.get(slot, ()) for slot in slots] if snapshot.other_sums else []\n",
                "    others: list[tuple[OtherSums, ...]] = []\n",
            ),
        ),
    ),
    Mutant(
        "recents-not-looked-up-again",
        "encoder-swap",
        (("streams/state/version_sums.py", "    table.rows[slots] = -1\n", ""),),
    ),
    Mutant(
        "gap-behind-a-refused-record",
        "tests/integration/test_rerouted_on_kafka.py",
        (("streams/emit/producer.py", '"enable.gapless.guarantee": True', '"enable.gapless.guarantee": False'),),
    ),
    Mutant(
        "first-records-not-awaited",
        "tests/integration/test_rerouted_on_kafka.py",
        (
            (
                "streams/emit/producer.py",
                "            if not self._rerouted.is_known(entry.partition):\n",
                "            if False:\n",
            ),
        ),
    ),
    Mutant(
        "too-large-for-rerouted",
        "tests/unit/streams/decode/test_decoder.py",
        (
            (
                "streams/decode/decoder.py",
                "            if size > self._max_rerouted_bytes:\n",
                "            if False:\n",
            ),
        ),
    ),
    Mutant(
        "judged-by-the-time-of-the-copy",
        "tests/unit/streams/decode/test_decoder.py",
        (("streams/decode/decoder.py", "            written[index] = time_ms\n", "            pass\n"),),
    ),
    Mutant(
        "tombstone-sent-once",
        "tests/unit/streams/checkpoint/test_handover.py",
        (
            (
                "streams/checkpoint/checkpointer.py",
                "            await asyncio.to_thread(self._emitter.recommend, user, None)\n",
                "            pass\n",
            ),
        ),
    ),
    Mutant(
        "withdrawals-acked-at-once",
        "tests/unit/streams/checkpoint/test_handover.py",
        (
            (
                "streams/pipeline/batch_pipeline.py",
                "                held = _batches_of_commands(decoded)\n",
                "                held = []\n",
            ),
        ),
    ),
    Mutant(
        "erased-row-without-expiry-not-known",
        "tests/unit/streams/checkpoint/test_handover.py",
        (("streams/checkpoint/profile_rows.py", "row.expires_s > 0 or is_erased(state)", "row.expires_s > 0"),),
    ),
    Mutant(
        "retention-of-one-input",
        "tests/unit/streams/kafka/test_retention.py",
        (
            (
                "streams/kafka/retention.py",
                "    if of_copies is None or None in lives:\n        return None\n",
                "    if of_copies is None:\n        return None\n    return of_copies\n",
            ),
        ),
    ),
    Mutant(
        "topic-ids-not-heeded",
        "recreate",
        (("streams/kafka/topic_ids.py", '        return self._ids.get(topic, "")\n', '        return ""\n'),),
    ),
    Mutant(
        "aborted-transactions-read",
        "transactions",
        (("streams/fetch/consumer_thread.py", '"read_committed"', '"read_uncommitted"'),),
    ),
    Mutant(
        "markers-not-passed",
        "transactions",
        (("streams/fetch/in_flight.py", "        if not batches and tp in self._moved:\n", "        if False:\n"),),
    ),
    Mutant(
        "short-assignment-kept",
        "tests/unit/streams/checkpoint/test_handover.py",
        (("streams/checkpoint/ownership.py", "                if not left_out:\n", "                if True:\n"),),
    ),
    Mutant(
        "late-commit-of-a-deleted-topic",
        "tests/unit/streams/fetch/test_batch_consumer.py",
        (
            (
                "streams/fetch/consumer_thread.py",
                "    if known and committed.metadata and committed.metadata != known:\n",
                "    if False:\n",
            ),
        ),
    ),
    Mutant(
        "deleted-records-jumped-over",
        "deleted",
        (
            (
                "streams/fetch/consumer_thread.py",
                '        consumer._auto_offset_reset = "none"\n',
                '        consumer._auto_offset_reset = "earliest"\n',
            ),
        ),
    ),
)


def make(mutant: Mutant, folder: Path) -> Path:
    """A copy of the tree with the bug in it."""
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)  # the settings of pytest
    for file, before, after in mutant.patches:
        path = folder / file
        text = path.read_text("utf-8")
        found = text.count(before)
        if found != 1:
            raise AssertionError(f"{mutant.name}: {file} holds {found} times, not once:\n{before}")
        path.write_text(text.replace(before, after), "utf-8")
    return folder


def try_out(mutant: Mutant, stack: Path, seed: int) -> dict[str, Any]:
    """Run the scenario on the mutant; says what of its result gave the bug away."""
    with tempfile.TemporaryDirectory(prefix=f"prefstream-{mutant.name}-") as temporary:
        folder = make(mutant, Path(temporary) / "tree")
        # `upgrade` takes the former release from git's history, which the copy lacks
        environment = {"GIT_DIR": str(ROOT / ".git"), **os.environ, "PYTHONPATH": str(folder)}
        if mutant.scenario.startswith("tests/"):
            command = [sys.executable, "-m", "pytest", "-q", mutant.scenario]
            tested = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=_TIMEOUT_S
            )
            failed = [line for line in tested.stdout.splitlines() if line.startswith("FAILED")]
            return {"mutant": mutant.name, "test": mutant.scenario, "caught": bool(failed), "problems": failed}
        command = [sys.executable, "-m", "tests.faults", "--scenario", mutant.scenario, "--quick", "--json"]
        done = subprocess.run(
            [*command, "--seed", str(seed), "--stack", str(stack)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    result = json.loads(done.stdout)
    keys = ("lost", "double_counted", "reprocessed", "states_compared", "max_state_error", "problems")
    figures = {key: result.get(key) for key in keys}
    return {"mutant": mutant.name, "scenario": mutant.scenario, "caught": not result["passed"], **figures}


def main(arguments: list[str] | None = None) -> int:
    """Try all mutants, or some; 0 only if each was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__)
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("--mutant", action="append", choices=names, help="one of them; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stack", type=Path, help="the folder of a stack that runs and is left running")
    given = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    caught = True
    with ExitStack() as ending:
        if given.stack:
            folder = up(given.stack, progress=say).folder
        else:
            temporary = ending.enter_context(tempfile.TemporaryDirectory(prefix="prefstream-mutants-"))
            folder = ending.enter_context(running(Path(temporary) / "stack", progress=say)).folder
        for mutant in MUTANTS:
            if mutant.name in (given.mutant or names):
                found = try_out(mutant, folder, given.seed)
                caught &= found["caught"]
                print(json.dumps(found), flush=True)
    return 0 if caught else 1


if __name__ == "__main__":
    sys.exit(main())
