import sys, tempfile, time, logging
from pathlib import Path
from dataclasses import replace
from consumer.broker import EmbeddedKafka
from tests.faults.rig import Rig
from tests.faults.scenarios import SCENARIOS


def main():
    name, trials, brokers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    defect = sys.argv[4] if len(sys.argv) > 4 else None
    protocol = sys.argv[5] if len(sys.argv) > 5 else "classic"
    s = next(s for s in SCENARIOS if s.name == name)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    print(folder)
    with EmbeddedKafka(folder / "kafka", brokers=brokers) as kafka:
        t = time.monotonic()
        with Rig(
            kafka, folder / name, 1, replace(s.options, defect=defect, protocol=protocol)
        ) as rig:
            try:
                n = s.run(rig, trials)
                print(
                    "trials",
                    n,
                    "in",
                    round(time.monotonic() - t, 1),
                    "s; recover",
                    [round(x, 1) for x in rig.recoveries][-12:],
                    "stall",
                    round(rig.longest_stall(), 1),
                    rig.notes,
                )
            except Exception as e:
                print("FAILED", type(e), e)
            v = rig.finish()
            print(v, "exits", {m.spec.name: m.exits for m in rig.supervisor.members.values()})
            print("total", round(time.monotonic() - t, 1))


if __name__ == "__main__":
    main()
