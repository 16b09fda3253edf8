"""Signals are noted, and heard when all is in order."""

import os
import signal
import threading

import pytest

from asr_train.stopping import Stop, Stopped


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_waits_until_it_is_asked_for(number: int, status: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"stopped by {signal.Signals(number).name}") as raised, Stop() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.asked == number
        stop.check("anything")
    assert raised.value.status == raised.value.code == status
    assert signal.getsignal(number) == before


def test_a_second_interrupt_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), Stop():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_in_a_thread_nothing_is_changed() -> None:
    before, done = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with Stop() as stop:
            stop.check()
            done.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]
