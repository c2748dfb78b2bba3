"""`saccade edge` with a model that answers at once: what is left is the pipeline around it.

    python -m lab.benchmarks.stub_edge edge [--set SECTION.KEY=VALUE ...]

The backends of this folder's `backends/` join the product's; `stub` is the default here.
"""

from __future__ import annotations

import os
from pathlib import Path

import vit.backends
from saccade.cli import main

if __name__ == "__main__":
    vit.backends.__path__.append(str(Path(__file__).with_name("backends")))
    os.environ.setdefault("SACCADE__EDGE__BACKEND", "stub")
    main()
