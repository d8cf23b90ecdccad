"""`python -m cra`: the same as the command `cra`."""

from cra.cli import main

raise SystemExit(main())
