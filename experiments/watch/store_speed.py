"""How fast verdicts get into a SQLite store, sustained, and how fast they come out again.

python experiments/watch/store_speed.py 100000
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from charter.store.database import open_store
from charter.store.verdicts import read_verdicts
from charter.store.writer import VerdictWriter

PROMPT = "How do I explain the tides to a child of six who has never seen the sea? " * 4


def row(n: int) -> dict[str, object]:
    layers = [{"name": name, "verdict": "allow", "score": 0.1, "ms": 1.5} for name in ("harm", "injection", "pii")]
    return {"id": f"r{n}", "verdict": "allow", "score": 0.1, "clauses": [], "layers": layers, "prompt": f"{n} {PROMPT}",
            "completion": PROMPT, "caller": f"u{n % 1000}", "embedding": [0.1] * 384}  # fmt: skip


if __name__ == "__main__":
    total = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        engine = open_store(f"sqlite:///{name}/charter.db")
        clock, processor = time.monotonic(), time.process_time()
        with VerdictWriter(engine, Path(name) / "spool") as writer:
            for start in range(0, total, 200):
                writer.put([row(n) for n in range(start, min(start + 200, total))])
            writer.flush()
        clock, processor = time.monotonic() - clock, time.process_time() - processor
        size = (Path(name) / "charter.db").stat().st_size
        reading = time.process_time()
        read = sum(1 for _ in read_verdicts(engine, newest=10_000))
        reading = time.process_time() - reading
        engine.dispose()
    print(json.dumps({
        "rows": total, "seconds": round(clock, 1), "processor_seconds": round(processor, 1),
        "rows_per_second": round(total / clock), "rows_per_processor_second": round(total / processor),
        "bytes_per_row": round(size / total), "newest_10000_read_in_processor_seconds": round(reading, 2), "read": read,
    }))  # fmt: skip
