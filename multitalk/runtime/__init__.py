"""What this machine is, how the model runs on it, and where the weights are placed.

``machine`` describes the hardware, ``planner`` makes a plan for a job, ``placement`` carries it out.
"""
