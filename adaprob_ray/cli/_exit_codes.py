"""Exit codes of the commands. A command that returns None is done."""

DONE = 0
FAILED = 1  # some cells failed or are blocked, or the store cannot be read or written (`run`: three times in a row)
BAD_INPUT = 2  # click's usage errors as well
UNFINISHED = 3  # of `status --exit-code`: cells run or could run
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
