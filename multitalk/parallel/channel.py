"""Messages from process 0 to the others; their tensors go from device to device."""

from __future__ import annotations

import io
import pickle
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

# a server may be idle for a long time between two jobs
IDLE_TIMEOUT = timedelta(days=30)


class Channel:
    """Sends objects from process 0 to all others.

    An object is pickled and sent through host memory. Its tensors, on any device, are sent through the data
    group and arrive on the receiver's device, outside inference mode (torch 2.5 cannot write to tensors of
    inference mode). A tensor that occurs twice is sent once.

    Args:
        device: Device of this process.
        data: Group of all processes for tensors, with a backend for the device.
    """

    def __init__(self, device: torch.device, data: dist.ProcessGroup) -> None:
        self.device = device
        self.data = data
        self.control = dist.new_group(backend="gloo", timeout=IDLE_TIMEOUT)

    def send(self, message: Any) -> None:
        """Send a message to all others; in process 0 only."""
        tensors: list[torch.Tensor] = []
        buffer = io.BytesIO()
        _Pickler(buffer, tensors).dump(message)
        with torch.inference_mode(False):
            dist.broadcast_object_list([buffer.getvalue()], src=0, group=self.control)
        for tensor in tensors:
            self._broadcast(tensor.contiguous().to(self.device))

    def receive(self) -> Any:
        """Wait for the next message; in the other processes only."""
        box: list[Any] = [None]
        with torch.inference_mode(False):
            dist.broadcast_object_list(box, src=0, group=self.control)
        tensors: list[torch.Tensor] = []
        message = _Unpickler(io.BytesIO(box[0]), tensors, self.device).load()
        for tensor in tensors:
            self._broadcast(tensor)
        return message

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank; all must call it."""
        values: list[Any] = [None] * self.control.size()
        with torch.inference_mode(False):
            dist.all_gather_object(values, value, group=self.control)
        return values

    def _broadcast(self, tensor: torch.Tensor) -> None:
        # as bytes, since not every backend supports every dtype
        dist.broadcast(tensor.reshape(-1).view(torch.uint8), src=0, group=self.data)


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, tensors: list[torch.Tensor]) -> None:
        super().__init__(buffer)
        self._tensors = tensors

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return None
        index = next((index for index, tensor in enumerate(self._tensors) if tensor is value), None)
        if index is None:
            index = len(self._tensors)
            self._tensors.append(value)
        return index, tuple(value.shape), value.dtype


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, tensors: list[torch.Tensor], device: torch.device) -> None:
        super().__init__(buffer)
        self._tensors = tensors
        self._device = device

    def persistent_load(self, reference: Any) -> torch.Tensor:
        index, shape, dtype = reference
        if index == len(self._tensors):
            with torch.inference_mode(False):
                self._tensors.append(torch.empty(shape, dtype=dtype, device=self._device))
        return self._tensors[index]
