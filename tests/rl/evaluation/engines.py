"""A small GTP engine that is run as a program of its own, and made to fail in the ways in which engines do.

    python engines.py WAY [STATE_FILE]

It plays the first free vertex from the top left, on boards of up to nine lines. WAY is "sound" or one of the ways
below, most of which show at its third move of a game; what it was asked is appended to STATE_FILE.
"""

import os
import signal
import sys
import time

LETTERS = "ABCDEFGHJ"


def main(way: str, record: str | None) -> None:
    size = 9
    taken: list[str] = []
    if way == "never starts":
        sys.exit("no network file: giving up")
    if way == "ignores quit":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.system("sleep 600 &")  # a child of its own, in its group
    for line in sys.stdin:
        number, command, *words = line.split()
        if record:
            with open(record, "a") as file:
                print(os.getpid(), command, *words, file=file)
        answer = "= "
        third = command == "genmove" and len(taken) >= 4
        if way == "flood":
            sys.stderr.write("thinking about nothing in particular\n" * 20_000)
            sys.stderr.flush()
        if command == "quit" and way != "ignores quit":
            return
        if command == "name":
            answer = "? unknown command" if way == "nameless" else "= Tester"
        elif command == "version":
            answer = "= 1.0"
        elif command == "boardsize":
            answer = "? unacceptable size" if way == "refuses size" else "= "
            size = int(words[0])
        elif command == "clear_board":
            taken = []
        elif command == "play":
            taken.append(words[1].upper())
            if way == "refuses moves" or (way == "passes by itself" and words[1] == "pass"):
                answer = "? illegal move"
        elif command == "genmove":
            free = [f"{c}{r}" for r in range(size, 0, -1) for c in LETTERS[:size] if f"{c}{r}" not in taken]
            move = free[0] if free and way != "passes" else "pass"
            if third:
                if way == "dies":
                    sys.stderr.write("segmentation fault in the reading code\n")
                    sys.exit(3)
                if way == "hangs":
                    time.sleep(600)
                if way == "closes its output":
                    os.close(1)
                    time.sleep(600)
                move = {"illegal": taken[0], "garbage move": "the corner", "resigns": "resign"}.get(way, move)
            taken.append(move)
            answer = f"= {move}"
        if third and way == "garbage":
            print("I think that I am losing\n", flush=True)
        if third and way == "wrong number":
            number = "7"
        print(f"{answer[0]}{number}{answer[1:]}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
