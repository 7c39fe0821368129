"""Send a job with local files to a MultiTalk endpoint, show its progress, and save its clips and its video.

    python examples/client.py --endpoint ENDPOINT_ID --image face.png --audio voice.wav -o out.mp4
    python examples/client.py --url http://127.0.0.1:8000 --image face.png --audio voice.wav -o out.mp4

The first form uses RunPod, with the key in RUNPOD_API_KEY; the second form uses the local server of
``MODE=serverless python app.py --rp_serve_api``. Requires only ``requests``. Ctrl-C cancels the job.

A job costs money, so failed requests are retried for minutes, and ``--job ID`` resumes an earlier job.
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
    """An error that retries did not resolve; the message is for the user."""


def retry(send: Callable[[], requests.Response], what: str, patience: float) -> requests.Response:
    """Send a request, and retry on temporary errors.

    Args:
        send: Sends the request.
        what: Name of the request in messages.
        patience: Seconds after which to give up; 0 does not retry.

    Raises:
        Failed: The request was rejected, or still failed after the retries.
    """
    give_up, wait = time.monotonic() + patience, 1.0
    while True:
        try:
            response = send()
            if response.ok:
                return response
            problem = f"{what}: status {response.status_code}: {response.text[:300]}"
            temporary = response.status_code == 429 or response.status_code >= 500
        except requests.RequestException as error:
            problem, temporary = f"{what}: {error}", True
        if not temporary or time.monotonic() + wait > give_up:
            raise Failed(problem)
        print(f"\n{problem}; retrying in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


class Endpoint:
    """RunPod's API for one endpoint, or the SDK's local server.

    Args:
        url: Without a trailing slash.
        key: RunPod's API key; None for the local server.
        patience: Seconds for which failed requests are retried.
    """

    def __init__(self, url: str, key: str | None, patience: float) -> None:
        self.url, self.local, self.patience = url, key is None, patience
        # the local server responds when the job is done
        self.timeout = 24 * 3600 if self.local else 120
        self.session = requests.Session()
        if key is not None:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def run(self, fields: dict[str, Any]) -> str:
        """Queue a job; returns its ID. Not retried, because that could create two jobs."""
        return self._ask("POST", "run", {"input": fields}, patience=0)["id"]

    def status(self, job_id: str) -> dict[str, Any]:
        """Get the status of a job. The local server runs the job now and responds when it is done."""
        return self._ask("POST" if self.local else "GET", f"status/{job_id}")

    def stream(self, job_id: str) -> dict[str, Any]:
        """Get the messages since the last call."""
        return self._ask("POST" if self.local else "GET", f"stream/{job_id}")

    def cancel(self, job_id: str) -> None:
        """Cancel a job; the local server does not support this."""
        if not self.local:
            self._ask("POST", f"cancel/{job_id}", patience=10)

    def _ask(self, method: str, path: str, body: Any = None, patience: float | None = None) -> dict[str, Any]:
        def send() -> requests.Response:
            return self.session.request(method, f"{self.url}/{path}", json=body, timeout=self.timeout)

        what, _, _ = path.partition("/")
        return retry(send, what, self.patience if patience is None else patience).json()


def main() -> int:
    """Run from the command line; returns the exit status."""
    args = read_options()
    try:
        check_output(Path(args.output))  # before a job costs money
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
    except (Failed, OSError) as error:  # including a full disk
        print(f"\n{error}\nThe job is not lost. Use --job {job_id} to resume it.", file=sys.stderr)
        return 1


def find_endpoint(args: argparse.Namespace) -> Endpoint:
    """Return the endpoint that the options select."""
    if args.url:
        return Endpoint(args.url.rstrip("/"), None, args.patience)
    key = os.environ.get("RUNPOD_API_KEY")
    if not key:
        raise Failed("Set RUNPOD_API_KEY, or use a local server with --url.")
    base = os.environ.get("RUNPOD_ENDPOINT_BASE_URL", RUNPOD)  # the name that RunPod's SDK uses
    return Endpoint(f"{base}/{args.endpoint}", key, args.patience)


def check_output(path: Path) -> None:
    """Check that the video can be written."""
    if not path.parent.is_dir():
        raise Failed(
            f"--output: the folder {str(path.parent)!r} does not exist. Create it or choose another."
        )
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise Failed(f"--output: {str(path)!r} cannot be written. Choose another file name.")


def cancel(endpoint: Endpoint, job_id: str) -> None:
    """Cancel the job and report whether that worked."""
    try:
        endpoint.cancel(job_id)
        print("\ncancelled", file=sys.stderr)
    except (Failed, OSError) as error:
        print(
            f"\n{error}\nThe job {job_id} could not be cancelled and may still be running.", file=sys.stderr
        )


def read_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Generate a video from an image or a video, and audio, on a MultiTalk endpoint."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--endpoint", metavar="ID", help="a RunPod endpoint (API key: RUNPOD_API_KEY)")
    where.add_argument("--url", metavar="URL", help="a local server, such as http://127.0.0.1:8000")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", metavar="FILE", help="image: a file or a URL")
    what.add_argument("--video", metavar="FILE", help="video to dub, instead of an image")
    what.add_argument("--job", metavar="ID", help="resume an earlier job instead")
    parser.add_argument("--audio", metavar="FILE", help="audio of person 1: a file or a URL")
    parser.add_argument("--audio2", metavar="FILE", help="audio of person 2")
    parser.add_argument("--say", metavar="TEXT", help="text to speak instead of audio")
    parser.add_argument("--prompt", metavar="TEXT", help="what the video shows")
    parser.add_argument(
        "--set", metavar="FIELD=VALUE", action="append", default=[], help="any other field; the value is JSON"
    )
    parser.add_argument("--stream", action="store_true", help="the worker has STREAM_CLIPS=true")
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=PATIENCE_SECONDS,
        help="how long to retry failed requests (default: %(default)g)",
    )
    parser.add_argument("-o", "--output", metavar="OUT.mp4", required=True, help="the video to write")
    return parser.parse_args()


def job_input(args: argparse.Namespace) -> dict[str, Any]:
    """Build the job's input, with files as base64."""
    fields: dict[str, Any] = {}
    for name in ("image", "video"):
        if source := getattr(args, name):
            fields[name] = as_source(source)
    files = {"person1": args.audio, "person2": args.audio2}
    if audio := {person: as_source(name) for person, name in files.items() if name}:
        fields["audio"] = audio
    if args.say:  # spoken by the person without audio
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
    """Return a URL unchanged, and a file's content as base64."""
    if name.startswith(("http://", "https://", "data:", "/runpod-volume/")):
        return name
    try:
        return base64.b64encode(Path(name).read_bytes()).decode()
    except OSError as error:
        raise Failed(f"{name} cannot be read: {error.strerror}.") from None


def follow(endpoint: Endpoint, job_id: str, saver: Saver) -> dict[str, Any]:
    """Poll the status until the job is done; until then its output is the progress."""
    waiting = Waiting(endpoint)
    while True:
        answer = endpoint.status(job_id)
        if answer["status"] in DONE:
            return answer
        update = answer.get("output")
        if isinstance(update, dict):
            show(update)
            for clip in update.get("finished_clips", []):
                saver.take(clip | {"type": "clip", "part": 0})
        else:
            waiting.show(answer["status"])
        time.sleep(POLL_SECONDS)


def follow_stream(endpoint: Endpoint, job_id: str, saver: Saver) -> dict[str, Any]:
    """Process messages until the job is done; the last one is the result.

    Each message is returned once. Lost messages are read from the status in the end, which contains all.
    """
    output: dict[str, Any] = {}
    waiting = Waiting(endpoint)
    while True:
        answer = endpoint.stream(job_id)
        if not answer.get("stream") and answer["status"] not in DONE:
            waiting.show(answer["status"])
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
    """Save the clips and the video.

    Args:
        output: File of the video; clips are saved next to it.
        patience: Seconds for which failed downloads of the video are retried.
    """

    def __init__(self, output: Path, patience: float) -> None:
        self.output, self.patience = output, patience
        self._seen: set[tuple[int, int]] = set()
        self._parts: dict[int, bytes] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Save a clip, or collect a part of the video."""
        if message.get("type") == "video":
            self._parts[message["part"]] = base64.b64decode(message["video_base64"])
        elif message.get("type") == "clip" and (message["clip"], message["part"]) not in self._seen:
            self._seen.add((message["clip"], message["part"]))
            self._save_clip(message)

    def has_video(self, result: dict[str, Any]) -> bool:
        """Return whether a result contains the whole video."""
        return "video_base64" in result or "video_url" in result or self._has_parts(result)

    def finish(self, result: dict[str, Any]) -> bool:
        """Save the video; returns whether the result contains one."""
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
        except (Failed, OSError) as error:  # the whole video follows and contains the clip
            print(f"\n{name} is skipped: {error}", file=sys.stderr)

    @staticmethod
    def _content(message: dict[str, Any], patience: float) -> bytes | None:
        if "video_base64" in message:
            return base64.b64decode(message["video_base64"])
        if "video_url" in message:
            url = message["video_url"]
            return retry(lambda: requests.get(url, timeout=600), "download", patience).content
        return None


class Waiting:
    """Show that a job waits: for a worker, or until its first progress.

    Args:
        endpoint: Where the job is.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._started = time.monotonic()
        if endpoint.local:
            print("waiting: the local server responds when the video is ready", file=sys.stderr)

    def show(self, status: str) -> None:
        """Print the status over the last line."""
        words = "waiting for a worker" if status == "IN_QUEUE" else status.lower().replace("_", " ")
        seconds = time.monotonic() - self._started
        print(f"\r{words}, {seconds:.0f} s    ", end="", file=sys.stderr, flush=True)


def show(update: dict[str, Any]) -> None:
    """Print the progress over the last line."""
    eta = update.get("eta")
    left = "" if eta is None else f", {eta:.0f} s left"
    clip = f"clip {update['clip'] + 1} of {update['clips']}, " if update.get("clips") else ""
    line = f"{update.get('fraction', 0):4.0%} {clip}{update.get('stage', '')}{left}    "
    print(f"\r{line}", end="", file=sys.stderr, flush=True)


def report(answer: dict[str, Any], saver: Saver) -> int:
    """Save and report the result; returns the exit status."""
    output = answer.get("output")
    if isinstance(output, list):  # the status of a streaming worker
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
        print(f"\nthe output has no video: {json.dumps(output)[:300]}", file=sys.stderr)
        return 1
    print(
        f"\n{saver.output}: {output['frames']} frames, {output['seconds']:.2f} seconds, seed {output['seed']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
