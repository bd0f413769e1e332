"""The `rllib` command: train, train file, evaluate, reproduce, report, compare, example."""

import sys


def start() -> None:
    """Runs the command. Ctrl-C is answered in words while it is imported, too."""
    try:
        from rllib_biac.cli.main import main
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    main()
