"""The worker: batches of events in, preference state and fresh recommendations out.

May import `schemas` and `encoders`. `preference.py` and `ranking.py` are maths on arrays: no clock, no I/O, no Faust.
"""
