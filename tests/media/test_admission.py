"""How much is decoded at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from multitalk.errors import Busy
from multitalk.media.admission import Admission


def admitted(admission: Admission, size: int) -> bool:
    """Whether another thread may decode a file now."""

    def decode() -> bool:
        try:
            with admission.decoding(size):
                return True
        except Busy:
            return False

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(decode).result()


def test_the_total_is_limited() -> None:
    admission = Admission(total=100, large=1000, patience=0)
    with admission.decoding(60):
        assert admitted(admission, 40)
        assert not admitted(admission, 41)
    assert admitted(admission, 100)
    assert admitted(admission, 1000), "a file that is larger than the total is admitted alone"


def test_one_request_at_a_time_decodes_large_files() -> None:
    admission = Admission(total=10_000, large=100, patience=0)
    with admission.request():
        with admission.decoding(101):
            pass
        assert not admitted(admission, 101), "the request holds its first file, and may need another"
        assert admitted(admission, 100)
        with admission.decoding(500):
            pass
    assert admitted(admission, 101)


def test_a_request_keeps_the_room_of_its_files_until_it_is_read() -> None:
    admission = Admission(total=100, large=1000, patience=0)
    with admission.request():
        with admission.decoding(50):
            pass
        assert not admitted(admission, 60)
    assert admitted(admission, 60)


def test_the_number_of_processes_is_limited() -> None:
    admission = Admission(parallel=1, patience=0)
    with admission.decoding(0):
        assert not admitted(admission, 0)
    assert admitted(admission, 0)


def test_an_error_gives_the_room_back() -> None:
    admission = Admission(total=100, patience=0)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), admission.request(), admission.decoding(100):
            raise ValueError("damaged")
    assert admitted(admission, 100)


def test_a_file_waits_for_room() -> None:
    admission = Admission(total=100, patience=60)
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with admission.decoding(100):
            order.append("second")

    thread = threading.Thread(target=second)
    with admission.decoding(100):
        thread.start()
        entered.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_no_room_is_one_sentence() -> None:
    admission = Admission(total=100, patience=0)
    with admission.decoding(100), ThreadPoolExecutor(1) as thread:
        error = thread.submit(lambda: admission.decoding(1).__enter__()).exception()
    assert isinstance(error, Busy)
    assert str(error) == (
        "The memory for decoding is full with the files of other requests. Try again in a minute."
    )
