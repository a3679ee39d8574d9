"""A program: search texts for one regular expression, and be killed by one that never ends.

``expression`` runs it by its path, in isolation; it imports nothing of dnslb and is never imported itself.  It reads
blocks from its standard input, each after its length in four octets: the expression, then texts; to each text it
answers with one octet.  It ends when its input ends.
"""

import re
import signal
import struct
import sys

_CPU = 0.1  # seconds of processor time for a search; SIGVTALRM then ends us, wherever in a search we are


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all of us; our input tells us when to go
    wanted = re.compile(block().decode(errors="surrogatepass"))
    while True:
        text = block().decode(errors="replace")
        signal.setitimer(signal.ITIMER_VIRTUAL, _CPU)
        found = wanted.search(text) is not None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.stdout.buffer.write(b"+" if found else b"-")
        sys.stdout.buffer.flush()


def block() -> bytes:
    length = sys.stdin.buffer.read(4)
    if len(length) < 4:
        sys.exit()
    return sys.stdin.buffer.read(*struct.unpack("!I", length))


main()
