"""Stage 2, from ``RecordBatch`` to ``EventBatch``.

Records become arrays. A record that can't be used becomes a dead letter, and a record on the wrong partition is
rerouted. May import ``schemas``, ``encoders``, ``kafka`` and ``fetch.record_batch``.
"""
