"""How long until the code from before serves again?

A service of one worker gets new code and then goes back, over and over.  From the
request on the control socket until the first answer of the old generation: the
zygote of the generation before is still there, so that nothing is imported, and one
fork is all it takes.  `leeward rollback` itself starts an interpreter first.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from common import telling
from common.measure import ask, median, percentile

from leeward._core.messages import RollbackRequest
from leeward.cli.client import Client
from leeward.cli.instances import Instance
from leeward.testing import serve

_APP = """\
import os, tornado.web

class Root(tornado.web.RequestHandler):
    def get(self):
        self.write(os.environ["LEEWARD_GENERATION"])

def make_app():
    return tornado.web.Application([("/", Root)], log_function=lambda handler: None)
"""


def main() -> None:
    parser = telling.arguments(__doc__)
    parser.add_argument("--rollbacks", type=int, default=50)
    options = parser.parse_args()
    answers: list[float] = []
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as apps:
        Path(apps, "shop.py").write_text(_APP)
        with serve("shop", "-w", "1", "--drain-window", "0s", cwd=apps) as service:
            service.wait_ready(1)
            port = int(service.ps()["listeners"][0].rpartition(":")[2])
            control = service.ps()["control"]
            old = ask(port)
            for _ in range(options.rollbacks):
                done = service.leeward("reload")
                assert done.returncode == 0, done
                with Client(Instance(service.name, control)) as client:
                    begin = time.monotonic()
                    client.channel.send(RollbackRequest())
                    while ask(port) != old:
                        pass
                    answers.append((time.monotonic() - begin) * 1000)
                    client.channel.wait(30.0)
                    ends.append((time.monotonic() - begin) * 1000)
    report = telling.Report(
        "How long until the code from before serves again?", {"rollbacks": options.rollbacks}
    )
    for what, took in {"first answer of the old code": answers, "the caller is told": ends}.items():
        report.rows.append(
            {
                "": what,
                "median (ms)": median(took),
                "p90": percentile(took, 90),
                "worst": max(took),
            }
        )
    report.contracts = [
        telling.Contract(
            "request → first answer of the old code, median", median(answers), 50, "ms"
        )
    ]
    telling.finish(report, "rollback", options.keep)


if __name__ == "__main__":
    main()
