"""Plays the zygote for one worker: `stage.py FACTORY CHANNEL PAGE CONFIG ADDRESS LISTENER…`."""

import gc
import os
import sys
from types import SimpleNamespace

import apps

from leeward._core.config import Config
from leeward._sys.channel import Channel
from leeward._sys.page import Page
from leeward._worker.birth import Birth
from leeward._worker.main import preload, run


def main():
    name, channel, page, config, address, *listeners = sys.argv[1:]
    preload(Config(""))
    if name == "on_uvloop":
        import uvloop

        uvloop.install()
    gc.freeze()
    run(
        Birth(
            config=Config.from_json(config),
            generation=5,
            slot=2,
            ordinal=3,
            row_index=0,
            worker=9,
            supervisor=os.getppid(),
            channel=Channel(int(channel)),
            page=Page.attach(int(page)),
            listeners=tuple((int(fd), address) for fd in listeners),
            application=SimpleNamespace(
                kind="Tornado application",
                found=f"factory {name}() in apps.py",
                value=getattr(apps, name),
                factory=getattr(apps, name),
            ),
        )
    )


if __name__ == "__main__":
    main()
