"""What workers are asked for now and then, and tell as far as they do in time."""

from __future__ import annotations

from dnslb.answer.snapshot import Question, RRsetKey
from dnslb.balance.rotation import Stand
from dnslb.parent.workers import Workers
from dnslb.worker.messages import Instruction
from dnslb.worker.watchers import TopCounts


async def state(workers: Workers) -> tuple[list[Question], dict[int, dict[RRsetKey, Stand]]]:
    """What they are asked, and where the turns of each stand."""
    told = await workers.told(Instruction.REPORT_STATE, lambda alive: not alive.has_told_state)
    questions = dict.fromkeys(question for alive in told for question in alive.questions)
    return list(questions), {alive.number: alive.stands for alive in told}


async def top(workers: Workers) -> list[TopCounts]:
    """What they are asked most.  It is counted for a while from now on."""
    told = await workers.told(Instruction.REPORT_TOP, lambda alive: alive.top is None)
    return [alive.top for alive in told if alive.top is not None]
