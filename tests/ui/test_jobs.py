"""The queue: order and limits of jobs."""

from __future__ import annotations

import threading

import pytest
from PIL import Image
from starlette.requests import Request

from multitalk.errors import InvalidInput, MultiTalkError
from multitalk.ui.access import browser_of
from multitalk.ui.job import Job
from multitalk.ui.jobs import JobQueue
from multitalk.ui.queue_limits import MAX_PER_BROWSER, MAX_WAITING
from tests.ui.requests import small_request
from tests.waiting import wait_until


def test_jobs_run_in_order_and_waiting_ones_can_be_canceled(tmp_path):
    began, gate, made = threading.Event(), threading.Event(), []

    def run(job: Job) -> bool:
        began.set()
        assert gate.wait(60)
        made.append(job.title)
        if job.title == "bad":
            raise InvalidInput("boxes is empty.", "boxes")
        if job.title == "worse":
            raise RuntimeError("/secret/path")
        return True

    queue = JobQueue(tmp_path, lambda: None, run)
    owners = {"a": "anna", "bad": "bert", "worse": "bert", "out": "bert", "b": "anna"}
    jobs = [queue.submit(small_request(), title, owner) for title, owner in owners.items()]
    queue.start()
    assert began.wait(60)
    assert [queue.place(job) for job in jobs] == [0, 1, 2, 3, 4]
    queue.cancel(jobs[3])
    assert queue.place(jobs[4]) == 3
    assert queue.latest("anna") is jobs[0]
    assert queue.latest("carl") is None
    gate.set()
    wait_until(lambda: jobs[-1].is_over)
    assert made == ["a", "bad", "worse", "b"]
    assert [job.status for job in jobs] == ["done", "failed", "failed", "cancelled", "done"]
    assert (jobs[1].error, jobs[1].error_field) == ("boxes is empty.", "boxes")
    assert "secret" not in jobs[2].error
    assert queue.latest("anna") is jobs[-1]


def test_closing_the_queue_cancels_all_jobs(tmp_path):
    began, made = threading.Event(), []

    def run(job: Job) -> bool:
        made.append(job.title)
        began.set()
        assert job.cancel.wait(60)
        return False

    queue = JobQueue(tmp_path, lambda: None, run)
    jobs = [queue.submit(small_request(), title, "anna") for title in "ab"]
    queue.start()
    assert began.wait(60)
    queue.close(60)
    assert [job.status for job in jobs] == ["stopped", "cancelled"]
    assert made == ["a"]


def test_closing_the_queue_while_models_load(tmp_path):
    gate = threading.Event()
    queue = JobQueue(tmp_path, lambda: gate.wait(60) and None, lambda job: True)
    job = queue.submit(small_request(), "a", "anna")
    queue.start()
    queue.close(0.01)
    assert job.status == "cancelled"
    gate.set()


def test_the_next_jobs_of_a_browser_form_a_cycle(tmp_path):
    queue = waiting_queue(tmp_path)
    first, _, second, third = (
        queue.submit(small_request(), "one", who) for who in ("anna", "bert", *2 * ["anna"])
    )
    assert [queue.next_of_owner(job) for job in (first, second, third)] == [second, third, first]
    queue.cancel(second)
    assert [queue.next_of_owner(job) for job in (first, second, third)] == [third, third, first]
    queue.cancel(third)
    assert [queue.next_of_owner(job) for job in (first, second, third)] == [None, first, first]


def test_comparing_jobs_does_not_compare_images(tmp_path, monkeypatch):
    queue = waiting_queue(tmp_path)
    jobs = [queue.submit(small_request(), "one", "anna") for _ in range(3)]

    def compare(picture: Image.Image, other: object) -> bool:
        raise AssertionError("pictures are large")

    monkeypatch.setattr(Image.Image, "__eq__", compare)
    assert [queue.place(job) for job in jobs] == [0, 1, 2]
    queue.cancel(jobs[1])
    assert queue.place(jobs[2]) == 1


def waiting_queue(tmp_path, **options) -> JobQueue:
    """Return a queue that was not started."""
    return JobQueue(tmp_path, lambda: None, lambda job: True, **options)


def test_limit_of_waiting_jobs_per_browser(tmp_path):
    queue = waiting_queue(tmp_path)
    jobs = [queue.submit(small_request(), "mine", "anna") for _ in range(MAX_PER_BROWSER)]
    with pytest.raises(MultiTalkError, match=f"{MAX_PER_BROWSER} of your videos are already waiting"):
        queue.submit(small_request(), "one more", "anna")
    queue.submit(small_request(), "another's", "bert")
    queue.cancel(jobs[0])
    queue.submit(small_request(), "instead", "anna")
    with pytest.raises(MultiTalkError, match="of your videos"):
        queue.submit(small_request(), "one more", "anna")


def test_limit_of_waiting_jobs(tmp_path):
    queue = waiting_queue(tmp_path)
    for number in range(MAX_WAITING):
        queue.submit(small_request(), "one", f"browser {number}")
    with pytest.raises(MultiTalkError, match=rf"queue is full \({MAX_WAITING} videos\)"):
        queue.submit(small_request(), "one", "anna")


def test_limit_of_memory_for_jobs(tmp_path):
    request = small_request()
    size = request.audio["person1"].samples.nbytes + 64 * 64 * 3
    queue = waiting_queue(tmp_path, max_bytes=2 * size)
    jobs = [queue.submit(request, "one", name) for name in ("anna", "bert")]
    with pytest.raises(MultiTalkError, match="fill the memory"):
        queue.submit(request, "one", "carl")
    queue.cancel(jobs[0])
    queue.submit(request, "one", "carl")


def test_a_job_can_end_while_memory_is_counted(tmp_path, monkeypatch):
    class Ending(Job):
        """A job that ends once its request was read: the model thread takes no lock for that."""

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name == "request":
                self.request = None
            return value

    monkeypatch.setattr("multitalk.ui.jobs.Job", Ending)
    queue = waiting_queue(tmp_path)
    for owner in ("anna", "bert", "carl"):
        queue.submit(small_request(), "one", owner)


def test_a_request_without_a_cookie_is_identified_by_its_address():
    def owner(headers=(), client=("10.0.0.7", 1234)):
        return browser_of(Request({"type": "http", "headers": list(headers), "client": client}))

    assert owner([(b"cookie", b"multitalk_browser=abc")]) == "abc"
    assert owner() == owner(client=("10.0.0.7", 99)) != owner(client=("10.0.0.8", 1234))
    assert owner(client=None) == "", "requests without both share one owner"
