"""Stage 1, from Kafka to ``RecordBatch``: a Faust transport that hands over whole fetches, not single records.

Only this folder imports Faust and aiokafka. May import ``kafka`` and the modules that lie directly in ``streams``.
"""
