"""Speed and size of Perseus as ratios against named peers, measured in the same run: `python -m tests.bench --help`."""
