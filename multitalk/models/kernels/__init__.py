"""Triton kernels for what eager PyTorch computes in many passes over the tokens.

Every kernel is a torch operation (:mod:`.operations`) beside a PyTorch form that computes the same:
:mod:`multitalk.models.norms`, :mod:`multitalk.models.rotary`, :mod:`multitalk.models.quantized_matmul`.
:mod:`.dispatch` decides between the two. The files of the kernels import Triton and are imported at the
first launch.
"""
