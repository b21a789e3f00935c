"""Stage 2, from ``RecordBatch`` to ``EventBatch``.

Records become arrays, and a record that can't be used a dead letter. May import ``schemas``, ``fetch.record_batch``
and ``kafka``.
"""
