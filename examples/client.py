"""Sends a job with local files to a MultiTalk endpoint, shows its progress, saves its clips and its video.

    python examples/client.py --endpoint ENDPOINT_ID --image face.png --audio voice.wav -o out.mp4
    python examples/client.py --url http://127.0.0.1:8000 --image face.png --audio voice.wav -o out.mp4

The first form asks RunPod, with the key in RUNPOD_API_KEY; the second the local server of
``MODE=serverless python app.py --rp_serve_api``. Needs nothing but ``requests``. Ctrl-C cancels the job.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import requests

RUNPOD = "https://api.runpod.ai/v2"
POLL_SECONDS = 1.0
DONE = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class Endpoint:
    """RunPod's API for one endpoint, or the SDK's local server.

    Args:
        url: Without a slash at the end.
        key: RunPod's API key; None for the local server.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self.url, self.local = url, key is None
        self.session = requests.Session()
        if key is not None:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def run(self, fields: dict[str, Any]) -> str:
        """Queue a job; returns its id."""
        return self._ask("POST", "run", {"input": fields})["id"]

    def status(self, job_id: str) -> dict[str, Any]:
        """How a job stands. The local server does the job now, and answers when it is done."""
        return self._ask("POST" if self.local else "GET", f"status/{job_id}")

    def stream(self, job_id: str) -> dict[str, Any]:
        """The messages that are new since the last call."""
        return self._ask("POST" if self.local else "GET", f"stream/{job_id}")

    def cancel(self, job_id: str) -> None:
        """Stop a job; the local server has no way to."""
        if not self.local:
            self._ask("POST", f"cancel/{job_id}")

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        response = self.session.request(method, f"{self.url}/{path}", json=body, timeout=24 * 3600)
        if response.status_code != 200:
            raise SystemExit(f"{path.split('/')[0]}: status {response.status_code}: {response.text[:300]}")
        return response.json()


def main() -> int:
    """Run from the command line; returns the exit status."""
    args = build_parser().parse_args()
    if args.url:
        endpoint = Endpoint(args.url.rstrip("/"), None)
    else:
        key = os.environ.get("RUNPOD_API_KEY")
        if not key:
            raise SystemExit("Set RUNPOD_API_KEY, or name a local server with --url.")
        base = os.environ.get("RUNPOD_ENDPOINT_BASE_URL", RUNPOD)  # the name that RunPod's SDK uses
        endpoint = Endpoint(f"{base}/{args.endpoint}", key)
    saver = Saver(Path(args.output))
    job_id = endpoint.run(job_input(args))
    print(f"job {job_id}", file=sys.stderr)
    try:
        answer = follow_stream(endpoint, job_id, saver) if args.stream else follow(endpoint, job_id, saver)
    except KeyboardInterrupt:
        endpoint.cancel(job_id)
        print("\ncancelled", file=sys.stderr)
        return 130
    return report(answer, saver)


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description="A picture and a voice become a video, on a MultiTalk endpoint."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--endpoint", metavar="ID", help="a RunPod endpoint; its key is in RUNPOD_API_KEY")
    where.add_argument("--url", metavar="URL", help="a local server, such as http://127.0.0.1:8000")
    parser.add_argument("--image", metavar="FILE", required=True, help="the picture: a file or a URL")
    parser.add_argument("--audio", metavar="FILE", help="person 1's sound: a file or a URL")
    parser.add_argument("--audio2", metavar="FILE", help="person 2's sound")
    parser.add_argument("--say", metavar="TEXT", help="words instead of a sound")
    parser.add_argument("--prompt", metavar="TEXT", help="what the video shows")
    parser.add_argument(
        "--set", metavar="FIELD=VALUE", action="append", default=[], help="any other field, the value as JSON"
    )
    parser.add_argument("--stream", action="store_true", help="the worker has STREAM_CLIPS=true")
    parser.add_argument("-o", "--output", metavar="OUT.mp4", required=True, help="the video to write")
    return parser


def job_input(args: argparse.Namespace) -> dict[str, Any]:
    """The input of the job, files as base64."""
    fields: dict[str, Any] = {"image": as_source(args.image)}
    if args.audio2:
        fields["audio"] = {"person1": as_source(args.audio), "person2": as_source(args.audio2)}
    elif args.audio:
        fields["audio"] = as_source(args.audio)
    if args.say:
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
        raise SystemExit(f"{name} can't be read: {error.strerror}.") from None


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
    """Take messages as they come until the job is done; the last one is the result."""
    output: dict[str, Any] = {}
    while True:
        answer = endpoint.stream(job_id)
        for item in answer.get("stream") or []:
            message = item["output"]
            saver.take(message)
            if "status" in message or "error" in message:
                output = message
        if answer["status"] in DONE:
            failed = "error" in output and answer["status"] == "COMPLETED"
            status = "FAILED" if failed else answer["status"]
            return {"status": status, "output": output, "error": answer.get("error")}
        time.sleep(POLL_SECONDS)


class Saver:
    """Writes clips beside the video, and the video from whatever form it comes in.

    Args:
        output: The video's file.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self._seen: set[tuple[int, int]] = set()
        self._parts: dict[int, bytes] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Save a clip, or keep a part of the video."""
        if message.get("type") == "video":
            self._parts[message["part"]] = base64.b64decode(message["video_base64"])
        if message.get("type") != "clip" or (message["clip"], message["part"]) in self._seen:
            return
        content = self._content(message)
        if content is None:
            return
        self._seen.add((message["clip"], message["part"]))
        path = self.output.with_name(
            f"{self.output.stem}-clip{message['clip']:03d}-{message['part']:02d}.mp4"
        )
        path.write_bytes(content)
        print(f"\n{path}", file=sys.stderr)

    def finish(self, result: dict[str, Any]) -> bool:
        """Save the video; whether there was one."""
        content = self._content(result)
        if content is None and result.get("video_parts") == len(self._parts) > 0:
            content = b"".join(self._parts[number] for number in sorted(self._parts))
        if content is None:
            return False
        self.output.write_bytes(content)
        return True

    @staticmethod
    def _content(message: dict[str, Any]) -> bytes | None:
        if "video_base64" in message:
            return base64.b64decode(message["video_base64"])
        if "video_url" in message:
            response = requests.get(message["video_url"], timeout=600)
            response.raise_for_status()
            return response.content
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
