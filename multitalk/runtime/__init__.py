"""The runtime: detect the machine, plan how the model runs on it, and place the weights.

:mod:`.machine` describes the hardware, :mod:`.planner` plans a job, and :mod:`.placement` applies the plan.
"""
