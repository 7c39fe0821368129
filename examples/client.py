"""Sends a job with local files to a MultiTalk endpoint, shows its progress, saves its clips and its video.

    python examples/client.py --endpoint ENDPOINT_ID --image face.png --audio voice.wav -o out.mp4
    python examples/client.py --url http://127.0.0.1:8000 --image face.png --audio voice.wav -o out.mp4

The first form asks RunPod, with the key in RUNPOD_API_KEY; the second the local server of
``MODE=serverless python app.py --rp_serve_api``. Needs nothing but ``requests``. Ctrl-C cancels the job.

A job costs money, so its result isn't given up lightly: what fails on the way is asked for again for minutes,
and ``--job ID`` picks up a job that was sent before.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

RUNPOD = "https://api.runpod.ai/v2"
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
LONGEST_WAIT = 30.0  # seconds between two tries
DONE = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class Failed(Exception):
    """Something went wrong that trying again didn't help; the message is for the person who asked."""


def ask_again(send: Callable[[], requests.Response], what: str, patience: float) -> requests.Response:
    """The answer to a request, which is sent again while it fails for a reason that passes.

    Args:
        send: Sends it.
        what: What messages call it.
        patience: Seconds after which to give up; 0 asks once.

    Raises:
        Failed: It was refused, or it still failed in the end.
    """
    give_up, wait = time.monotonic() + patience, 1.0
    while True:
        try:
            response = send()
            if response.ok:
                return response
            problem = f"{what}: status {response.status_code}: {response.text[:300]}"
            passes = response.status_code == 429 or response.status_code >= 500
        except requests.RequestException as error:
            problem, passes = f"{what}: {error}", True
        if not passes or time.monotonic() + wait > give_up:
            raise Failed(problem)
        print(f"\n{problem}; asking again in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


class Endpoint:
    """RunPod's API for one endpoint, or the SDK's local server.

    Args:
        url: Without a slash at the end.
        key: RunPod's API key; None for the local server.
        patience: Seconds for which a job is asked after although no answer comes.
    """

    def __init__(self, url: str, key: str | None, patience: float) -> None:
        self.url, self.local, self.patience = url, key is None, patience
        # the local server answers when the job is done
        self.timeout = 24 * 3600 if self.local else 120
        self.session = requests.Session()
        if key is not None:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def run(self, fields: dict[str, Any]) -> str:
        """Queue a job; returns its id. Sent once: twice would be two jobs."""
        return self._ask("POST", "run", {"input": fields}, patience=0)["id"]

    def status(self, job_id: str) -> dict[str, Any]:
        """How a job stands. The local server does the job now, and answers when it is done."""
        return self._ask("POST" if self.local else "GET", f"status/{job_id}")

    def stream(self, job_id: str) -> dict[str, Any]:
        """The messages that are new since the last call."""
        return self._ask("POST" if self.local else "GET", f"stream/{job_id}")

    def cancel(self, job_id: str) -> None:
        """Stop a job; the local server has no way to."""
        if not self.local:
            self._ask("POST", f"cancel/{job_id}", patience=10)

    def _ask(self, method: str, path: str, body: Any = None, patience: float | None = None) -> dict[str, Any]:
        def send() -> requests.Response:
            return self.session.request(method, f"{self.url}/{path}", json=body, timeout=self.timeout)

        what, _, _ = path.partition("/")
        return ask_again(send, what, self.patience if patience is None else patience).json()


def main() -> int:
    """Run from the command line; returns the exit status."""
    args = read_options()
    try:
        check_output(Path(args.output))  # before a job is paid for
        endpoint = find_endpoint(args)
        job_id = args.job or endpoint.run(job_input(args))
    except (Failed, OSError) as error:
        raise SystemExit(str(error)) from None
    print(f"job {job_id}", file=sys.stderr)
    saver = Saver(Path(args.output), args.patience)
    try:
        answer = follow_stream(endpoint, job_id, saver) if args.stream else follow(endpoint, job_id, saver)
        return report(answer, saver)
    except KeyboardInterrupt:
        cancel(endpoint, job_id)
        return 130
    except (Failed, OSError) as error:  # also a disk that is full
        print(f"\n{error}\nThe job isn't lost: --job {job_id} picks it up again.", file=sys.stderr)
        return 1


def find_endpoint(args: argparse.Namespace) -> Endpoint:
    """The endpoint that the options name."""
    if args.url:
        return Endpoint(args.url.rstrip("/"), None, args.patience)
    key = os.environ.get("RUNPOD_API_KEY")
    if not key:
        raise Failed("Set RUNPOD_API_KEY, or name a local server with --url.")
    base = os.environ.get("RUNPOD_ENDPOINT_BASE_URL", RUNPOD)  # the name that RunPod's SDK uses
    return Endpoint(f"{base}/{args.endpoint}", key, args.patience)


def check_output(path: Path) -> None:
    """Look whether the video can be written where it is to go."""
    if not path.parent.is_dir():
        raise Failed(f"The folder {str(path.parent)!r} doesn't exist: create it, or choose another.")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise Failed(f"{str(path)!r} can't be written: choose another name for the video.")


def cancel(endpoint: Endpoint, job_id: str) -> None:
    """Stop the job, and say whether that worked."""
    try:
        endpoint.cancel(job_id)
        print("\ncancelled", file=sys.stderr)
    except (Failed, OSError) as error:
        print(f"\n{error}\nThe job {job_id} couldn't be cancelled and may go on.", file=sys.stderr)


def read_options() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description="A picture and a voice become a video, on a MultiTalk endpoint."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--endpoint", metavar="ID", help="a RunPod endpoint; its key is in RUNPOD_API_KEY")
    where.add_argument("--url", metavar="URL", help="a local server, such as http://127.0.0.1:8000")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", metavar="FILE", help="the picture: a file or a URL")
    what.add_argument("--job", metavar="ID", help="instead: pick up a job that was sent before")
    parser.add_argument("--audio", metavar="FILE", help="person 1's sound: a file or a URL")
    parser.add_argument("--audio2", metavar="FILE", help="person 2's sound")
    parser.add_argument("--say", metavar="TEXT", help="words instead of a sound")
    parser.add_argument("--prompt", metavar="TEXT", help="what the video shows")
    parser.add_argument(
        "--set", metavar="FIELD=VALUE", action="append", default=[], help="any other field, the value as JSON"
    )
    parser.add_argument("--stream", action="store_true", help="the worker has STREAM_CLIPS=true")
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=PATIENCE_SECONDS,
        help="how long to go on asking when no answer comes (%(default)g)",
    )
    parser.add_argument("-o", "--output", metavar="OUT.mp4", required=True, help="the video to write")
    return parser.parse_args()


def job_input(args: argparse.Namespace) -> dict[str, Any]:
    """The input of the job, files as base64."""
    fields: dict[str, Any] = {"image": as_source(args.image)}
    sounds = {"person1": args.audio, "person2": args.audio2}
    if audio := {person: as_source(name) for person, name in sounds.items() if name}:
        fields["audio"] = audio
    if args.say:  # said by who has no sound
        fields["speech"] = {"text": args.say}
    if args.prompt:
        fields["prompt"] = args.prompt
    for setting in args.set:
        name, _, text = setting.partition("=")
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    return fields


def as_source(name: str) -> str:
    """A URL as it is, a file's content as base64."""
    if name.startswith(("http://", "https://", "data:", "/runpod-volume/")):
        return name
    try:
        return base64.b64encode(Path(name).read_bytes()).decode()
    except OSError as error:
        raise Failed(f"{name} can't be read: {error.strerror}.") from None


def follow(endpoint: Endpoint, job_id: str, saver: Saver) -> dict[str, Any]:
    """Ask for the status until the job is done; progress updates are its output until then."""
    while True:
        answer = endpoint.status(job_id)
        if answer["status"] in DONE:
            return answer
        update = answer.get("output")
        if isinstance(update, dict):
            show(update)
            for clip in update.get("finished_clips", []):
                saver.take(clip | {"type": "clip", "part": 0})
        time.sleep(POLL_SECONDS)


def follow_stream(endpoint: Endpoint, job_id: str, saver: Saver) -> dict[str, Any]:
    """Take messages as they come until the job is done; the last one is the result.

    Each message is given once. What got lost on the way is asked for in the end: the status has them all.
    """
    output: dict[str, Any] = {}
    while True:
        answer = endpoint.stream(job_id)
        for item in answer.get("stream") or []:
            message = item["output"]
            saver.take(message)
            if "status" in message or "error" in message:
                output = message
        if answer["status"] in DONE:
            if answer["status"] == "COMPLETED" and not ("error" in output or saver.has_video(output)):
                return endpoint.status(job_id)
            failed = "error" in output and answer["status"] == "COMPLETED"
            status = "FAILED" if failed else answer["status"]
            return {"status": status, "output": output, "error": answer.get("error")}
        time.sleep(POLL_SECONDS)


class Saver:
    """Writes clips beside the video, and the video from whatever form it comes in.

    Args:
        output: The video's file.
        patience: Seconds for which the video is fetched from its URL although that fails.
    """

    def __init__(self, output: Path, patience: float) -> None:
        self.output, self.patience = output, patience
        self._seen: set[tuple[int, int]] = set()
        self._parts: dict[int, bytes] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Save a clip, or keep a part of the video."""
        if message.get("type") == "video":
            self._parts[message["part"]] = base64.b64decode(message["video_base64"])
        elif message.get("type") == "clip" and (message["clip"], message["part"]) not in self._seen:
            self._seen.add((message["clip"], message["part"]))
            self._save_clip(message)

    def has_video(self, result: dict[str, Any]) -> bool:
        """Whether a result is one, with all of the video that belongs to it."""
        return "video_base64" in result or "video_url" in result or self._has_parts(result)

    def finish(self, result: dict[str, Any]) -> bool:
        """Save the video; whether there was one."""
        if self._has_parts(result):
            content: bytes | None = b"".join(self._parts[number] for number in sorted(self._parts))
        else:
            content = self._content(result, self.patience)
        if content is None:
            return False
        self.output.write_bytes(content)
        return True

    def _has_parts(self, result: dict[str, Any]) -> bool:
        return result.get("video_parts") == len(self._parts) > 0

    def _save_clip(self, message: dict[str, Any]) -> None:
        name = f"{self.output.stem}-clip{message['clip']:03d}-{message['part']:02d}.mp4"
        path = self.output.with_name(name)
        try:
            content = self._content(message, patience=0)
            if content is not None:
                path.write_bytes(content)
                print(f"\n{path}", file=sys.stderr)
        except (Failed, OSError) as error:  # the whole video, which is still to come, has it too
            print(f"\n{name} is left out: {error}", file=sys.stderr)

    @staticmethod
    def _content(message: dict[str, Any], patience: float) -> bytes | None:
        if "video_base64" in message:
            return base64.b64decode(message["video_base64"])
        if "video_url" in message:
            url = message["video_url"]
            return ask_again(lambda: requests.get(url, timeout=600), "download", patience).content
        return None


def show(update: dict[str, Any]) -> None:
    """One line of progress, written over the last."""
    eta = update.get("eta")
    left = "" if eta is None else f", {eta:.0f} s left"
    clip = f"clip {update['clip'] + 1} of {update['clips']}, " if update.get("clips") else ""
    line = f"{update.get('fraction', 0):4.0%} {clip}{update.get('stage', '')}{left}    "
    print(f"\r{line}", end="", file=sys.stderr, flush=True)


def report(answer: dict[str, Any], saver: Saver) -> int:
    """Save the result and say what came out; returns the exit status."""
    output = answer.get("output")
    if isinstance(output, list):  # a streaming worker that was asked for its status
        for message in output[:-1]:
            saver.take(message)
        output = output[-1] if output else {}
    output = output if isinstance(output, dict) else {}
    error = answer.get("error") or output.get("error")
    if answer["status"] != "COMPLETED" or error:
        kind = f" ({output['error_type']})" if output.get("error_type") else ""
        print(f"\n{answer['status']}{kind}: {error}", file=sys.stderr)
        return 1
    if not saver.finish(output):
        print(f"\nthe answer has no video in it: {json.dumps(output)[:300]}", file=sys.stderr)
        return 1
    print(
        f"\n{saver.output}: {output['frames']} frames, {output['seconds']:.2f} seconds, seed {output['seed']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
